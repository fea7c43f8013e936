//! docs/CONFIG.md and the example configuration.

use std::fmt::Write as _;

use super::{Command, every_setting, wrapped};
use apt_p2p::config::settings::{Counts, Kind, SETTINGS, Setting, Unset};

/// Columns of the example file, and of the document.
const COLUMNS: usize = 79;
const WIDE: usize = 120;

pub(super) fn files(program: &Command, commands: &[Command]) -> [(String, String); 2] {
    [("docs/CONFIG.md".to_owned(), document(program, commands)), ("examples/apt-p2p.toml".to_owned(), example())]
}

/// How a value is written.
pub(super) fn form(kind: Kind) -> String {
    match kind {
        Kind::Words(words) => words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or "),
        Kind::Text(form) => format!("\"{form}\""),
        Kind::List(form) => format!("[\"{form}\", …]"),
        Kind::Size => "bytes".into(),
        Kind::Rate => "bytes a second".into(),
        Kind::Time => "time".into(),
        Kind::Number(range) => range.into(),
    }
}

/// What holds where it is not written.
pub(super) fn without(setting: &Setting) -> String {
    match setting.unset {
        Unset::Value(value) => value.trim_matches('"').to_owned(),
        Unset::Words(words) => words.to_owned(),
    }
}

fn document(program: &Command, commands: &[Command]) -> String {
    let mut text = String::from(
        "# Configuration\n\n<!-- Made by `cargo run --example manual` of src/config/settings.rs and src/cli/: change it there. -->\n",
    );
    for words in [
        "Nothing has to be set. What is set stands in `/etc/apt-p2p.toml`, or in the file that `--config` names, as TOML, one setting \
         a line; [examples/apt-p2p.toml](../examples/apt-p2p.toml) shows each. Every setting is an option of the same name, too \
         (`share = \"lan\"` is `--share lan`), and options win; a list is an option given several times. What cannot be used ends \
         the program with status 2 and a line that says where, what is wrong and what is expected.",
        "`systemctl reload apt-p2p`, or SIGHUP, has the file read again; what is marked ¹ changes at a start.",
        "Bytes are numbers, or with `K`, `M`, `G` or `T` behind them, in powers of 1024: `\"20G\"`. Times have `s`, `m`, `h` or `d` \
         behind them: `\"3d\"`.",
    ] {
        text.push('\n');
        text.push_str(&wrapped(words, "", WIDE));
    }
    for (group, settings) in SETTINGS {
        write!(text, "\n## {group}\n\n| setting | value | without it | meaning |\n|---|---|---|---|\n").ok();
        for setting in settings {
            let mark = if setting.counts == Counts::AtStart { " ¹" } else { "" };
            let is_option = program.options.iter().any(|option| option.long == setting.name);
            let file_only = if is_option { "" } else { " In the file only." };
            writeln!(
                text,
                "| `{}`{mark} | {} | {} | {}{file_only} |",
                setting.name,
                shown_form(setting.kind),
                shown_unset(setting),
                setting.about.replace('|', "\\|"),
            )
            .ok();
        }
    }
    text.push_str("\n## Options that are no settings\n\n| option | meaning |\n|---|---|\n");
    for option in &program.options {
        if !every_setting().any(|setting| setting.name == option.long) {
            let value = option.takes.map_or_else(String::new, |name| format!(" {name}"));
            writeln!(text, "| `--{}{value}` | {} |", option.long, option.about).ok();
        }
    }
    text.push_str("\n## Exit status\n\n| command | 0 | 1 | 2 |\n|---|---|---|---|\n");
    for command in std::iter::once(program).chain(commands) {
        let of = |code| command.exits.iter().find(|(of, _)| *of == code).map_or("", |(_, about)| about.as_str());
        writeln!(text, "| `{}` | {} | {} | {} |", command.typed(), of(0), of(1), of(2)).ok();
    }
    text.push('\n');
    text.push_str(&wrapped(
        "With `--json` each command prints objects, one a line, on standard output; what went wrong stands on standard error. How \
         far a long command is, is shown on standard error, if that is a terminal. No colours are used. `RUST_LOG` in the \
         environment wins over `log`.",
        "",
        WIDE,
    ));
    text
}

fn shown_form(kind: Kind) -> String {
    match kind {
        Kind::Words(words) => words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", "),
        Kind::Text(form) => format!("`\"{form}\"`"),
        Kind::List(form) => format!("`[\"{}\"]`", form.replace('|', "\\|")),
        Kind::Size | Kind::Rate | Kind::Time | Kind::Number(_) => form(kind),
    }
}

fn shown_unset(setting: &Setting) -> String {
    match setting.unset {
        Unset::Value(value) => format!("`{value}`"),
        Unset::Words(words) => words.to_owned(),
    }
}

fn example() -> String {
    let mut text = String::new();
    text.push_str(&wrapped("apt-p2p reads /etc/apt-p2p.toml if it is there, or the file named with --config. Every setting has the name of its flag; \
         flags win. The lines below show each with an example; without them the defaults hold. After a change: systemctl reload \
         apt-p2p, or kill -HUP; what is marked (restart) needs systemctl restart apt-p2p. A password in it \
         is nobody else's with chown root:apt-p2p and chmod 640: the proxy's user has to read it.", "# ", COLUMNS));
    for (group, settings) in SETTINGS {
        write!(text, "\n# ── {group}\n").ok();
        for setting in settings {
            text.push('\n');
            let restart = if setting.counts == Counts::AtStart { " (restart)" } else { "" };
            text.push_str(&wrapped(
                &format!("{} Default: {}.{restart}", setting.about, without(setting)),
                "# ",
                COLUMNS,
            ));
            writeln!(text, "#{} = {}", setting.name, setting.example).ok();
        }
    }
    text
}
