//! The command line is a contract: names, words and exit statuses.

mod support;

use std::process::{Command, Output};

use apt_p2p::store::{Options, Store};
use support::Scratch;
use support::daemon::{BINARY, Daemon};

fn run(words: &[&str]) -> Output {
    Command::new(BINARY).args(words).env("HOME", "/nonexistent").output().expect("the program starts")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

#[test]
fn help_and_version() {
    let version = run(&["--version"]);
    assert_eq!(
        (version.status.code(), told(&version)),
        (Some(0), format!("apt-p2p {}\n", env!("CARGO_PKG_VERSION")))
    );
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for option in [
        "--listen",
        "--cache",
        "--max-size",
        "--allow",
        "--upstream",
        "--allow-upstream",
        "--upstream-proxy",
        "--allow-connect",
        "--share",
        "--peer-listen",
        "--network",
        "--secret",
        "--bootstrap",
        "--mainline",
        "--workers",
        "--config",
        "cleanup",
        "dht",
        "lookup",
        "crawl",
    ] {
        assert!(told(&help).contains(option), "{option} in {}", told(&help));
    }
    for (command, word) in
        [("cleanup", "--dry-run"), ("dht", "--json"), ("lookup", "DIGEST"), ("crawl", "--duration")]
    {
        let help = run(&[command, "--help"]);
        assert!(help.status.code() == Some(0) && told(&help).contains(word), "{command}: {}", told(&help));
    }
}

#[test]
fn what_cannot_be_used_ends_with_2_and_says_what_to_do() {
    let scratch = Scratch::new();
    let conf = scratch.path().join("conf.toml");
    std::fs::write(&conf, "# one\nlisten = '127.0.0.1:0'\nmax_size = '1G'\n").expect("a scratch file");
    let conf = conf.to_str().expect("a plain path");
    for (words, says) in [
        (vec!["--lisen", "x"], "--help"),
        (vec!["fly"], "--help"),
        (vec!["--listen", "9977"], "--listen 9977: expected an address and a port"),
        (vec!["--cache", ""], "--cache : expected a folder"),
        (vec!["--share", "all"], "--share all: expected internet, lan or off"),
        (vec!["--max-size", "big"], "--max-size big: expected a size"),
        (vec!["--config", "/nonexistent.toml"], "cannot read /nonexistent.toml"),
        (vec!["--config", conf], ":3: there is no setting max_size; did you mean max-size?"),
        (vec!["cleanup", "--config", conf], ":3: there is no setting max_size"),
    ] {
        let output = run(&words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", told(&output));
        assert!(told(&output).contains(says), "{words:?}: {}", told(&output));
    }
}

#[test]
fn what_fails_ends_with_1_in_one_line() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    let cache = scratch.path().join("other");
    let address = daemon.address.to_string();
    let output = run(&["--share", "off", "--listen", &address, "--cache", cache.to_str().expect("a plain path")]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(told(&output).lines().count(), 1, "{}", told(&output));
    assert!(told(&output).contains("is in use") && told(&output).contains("--listen"), "{}", told(&output));
    std::fs::write(&cache, "").expect("a scratch file");
    let output = run(&["cleanup", "--cache", cache.to_str().expect("a plain path")]);
    assert_eq!((output.status.code(), told(&output).lines().count()), (Some(1), 1), "{}", told(&output));
    // A wrong name, or a disk that is not mounted, is no cache in which all is well.
    let nowhere = scratch.path().join("nowhere");
    for command in ["cleanup", "verify"] {
        let output = run(&[command, "--cache", nowhere.to_str().expect("a plain path")]);
        assert_eq!((output.status.code(), told(&output).lines().count()), (Some(1), 1), "{}", told(&output));
        assert!(told(&output).contains("there is no cache in"), "{}", told(&output));
    }
    assert!(!nowhere.exists());
}

#[test]
fn a_reader_that_takes_nothing_is_no_error() {
    for word in ["--version", "--help"] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("a device");
        let status = Command::new(BINARY).arg(word).stdout(full).status().expect("the program starts");
        assert_eq!(status.code(), Some(0), "{word}");
    }
}

/// A line that comes and goes is for people who watch: none of it gets into a pipe, or to a terminal that keeps all.
#[test]
fn progress_is_shown_on_a_terminal_alone() {
    let scratch = Scratch::new();
    let cache = scratch.path().join("cache");
    let command = format!("{BINARY} cleanup --cache {}", cache.display());
    Store::open(&Options { dir: cache }).expect("a store");
    let on_terminal = |kind: &str| {
        let mut script = Command::new("script");
        let output =
            script.args(["-qec", &command, "/dev/null"]).env("TERM", kind).output().expect("script is there");
        told(&output)
    };
    let watched = on_terminal("xterm");
    assert!(watched.contains("looking at all that is stored\r\x1b[K0 files"), "{watched:?}");
    assert!(!on_terminal("dumb").contains("looking"));
    let output = Command::new("sh").args(["-c", &command]).output().expect("sh is there");
    assert!(output.stderr.is_empty() && told(&output).starts_with("0 files"), "{}", told(&output));
}
