//! Manual pages, completions, docs/CONFIG.md and the example configuration are what the program's own words make of them.

#[path = "../examples/manual/generated/mod.rs"]
mod generated;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use apt_p2p::cli::Cli;
use apt_p2p::config::settings::SETTINGS;
use argh::ArgsInfo;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn what_is_generated_is_as_the_code_is() {
    for (path, expected) in generated::all() {
        let text = std::fs::read_to_string(root().join(&path)).unwrap_or_default();
        assert!(text == expected, "{path} is old: renew it with cargo run --example manual");
    }
}

#[test]
fn every_option_is_a_setting_and_the_other_way_round() {
    let options: BTreeSet<&str> =
        Cli::get_args_info().flags.iter().map(|flag| flag.long.trim_start_matches("--")).collect();
    let settings: BTreeSet<&str> =
        SETTINGS.iter().flat_map(|(_, all)| all.iter().map(|setting| setting.name)).collect();
    let difference: Vec<&str> = options.symmetric_difference(&settings).copied().collect();
    assert_eq!(difference, ["config", "grace", "help", "log", "version"]);
}

/// What bash offers for a command line that ends in the word that is being typed.
fn offers(line: &[&str]) -> Vec<String> {
    let script = "source examples/completions/apt-p2p.bash; compopt() { :; }; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
                  _apt_p2p; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output = Command::new("bash").args(["-c", script, "bash"]).args(line).current_dir(root()).output();
    let output = output.expect("bash is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    assert_eq!(offers(&["apt-p2p", "cl"]), ["cleanup"]);
    assert_eq!(offers(&["apt-p2p", "--share", ""]), ["internet", "lan", "off"]);
    assert_eq!(offers(&["apt-p2p", "--cache", "/tm"]), ["/tmp"]);
    assert_eq!(offers(&["apt-p2p", "cleanup", "--d"]), ["--dry-run"]);
    assert_eq!(offers(&["apt-p2p", "import", "src/co"]), ["src/config"]);
    assert!(offers(&["apt-p2p", "--network", ""]).is_empty());
    assert!(offers(&["apt-p2p", "crawl", ""]).contains(&"--duration".to_owned()));
}
