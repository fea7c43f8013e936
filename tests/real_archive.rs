//! The archive that this machine's own apt is configured with, through the real program. Under CI only: it needs the
//! network.

mod support;

use std::process::Command;

use support::apt::Apt;
use support::daemon::Daemon;
use support::{Scratch, skip};

/// A source of this machine's apt.
struct Source {
    uri: String,
    suite: String,
}

impl Source {
    /// Read from apt itself.
    fn of_this_machine() -> Option<Source> {
        let format = "$(REPO_URI) $(RELEASE) $(METAKEY)";
        let output =
            Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]).output();
        let text = String::from_utf8(output.ok()?.stdout).ok()?;
        let lines =
            text.lines().filter(|line| line.starts_with("http://") && line.ends_with("main/binary-amd64/Packages"));
        // The largest suite: the one whose name has no ending.
        let line = lines.min_by_key(|line| line.len())?;
        let words: Vec<&str> = line.split(' ').collect();
        Some(Source { uri: words[0].trim_end_matches('/').to_owned(), suite: words[1].to_owned() })
    }

    fn line(&self) -> String {
        format!("deb [signed-by={}] {} {} main\n", keyrings().join(","), self.uri, self.suite)
    }

    fn host(&self) -> &str {
        let rest = self.uri.strip_prefix("http://").expect("an http source");
        &rest[..rest.find('/').unwrap_or(rest.len())]
    }
}

/// All keys that this machine trusts for some archive.
fn keyrings() -> Vec<String> {
    let folders = ["/usr/share/keyrings", "/etc/apt/trusted.gpg.d", "/etc/apt/keyrings"];
    let files = folders.into_iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flat_map(Iterator::flatten);
    let paths = files.map(|entry| entry.path().to_string_lossy().into_owned());
    paths.filter(|path| path.ends_with(".gpg") && !path.contains("removed")).collect()
}

#[test]
fn fifty_packages_cold_and_again_with_the_mirror_unreachable() {
    if std::env::var_os("CI").is_none() {
        return println!("skipped: it needs the network; run with CI=true");
    }
    let Some(source) = Source::of_this_machine() else {
        return skip("an http source with main/binary-amd64 in apt's lists");
    };
    for pipeline in ["10", "0"] {
        let scratch = Scratch::new();
        let cache = scratch.path().join("cache");
        let depth = pipeline.parse().expect("a number");
        let daemon = Daemon::start_with(&cache, &[]);
        let apt =
            Apt::new(&scratch, "cold", Some(daemon.address), depth, &source.line()).expect("this machine has apt");
        apt.run(&["update"]).expect("cold update");
        daemon.wait_for_log("main/binary-amd64/Packages: ");
        let packages = fifty_packages(&apt);
        let mut install = vec!["download"];
        install.extend(packages.iter().map(String::as_str));
        apt.run(&install).expect("cold download");
        println!("pipeline depth {pipeline}: {} KB private memory after it", daemon.private_kb());
        assert_eq!(daemon.terminate(), Some(0));

        let nowhere = format!("{}=http://127.0.0.1:9", source.host());
        let daemon = Daemon::start_with(&cache, &["--upstream", &nowhere, "--allow-upstream", "127.0.0.1"]);
        let apt =
            Apt::new(&scratch, "away", Some(daemon.address), depth, &source.line()).expect("this machine has apt");
        apt.run(&["update"]).expect("update with the mirror unreachable");
        apt.run(&install).expect("download with the mirror unreachable");
        let from_mirror = daemon.log().iter().filter(|line| line.contains(" from mirror ")).count();
        assert_eq!(from_mirror, 0);
    }
}

/// Fifty packages of all sizes from the lists that apt has just fetched.
fn fifty_packages(apt: &Apt) -> Vec<String> {
    let lists = std::fs::read_dir(apt.here("state/lists")).expect("apt's folder").flatten();
    let list = lists.map(|entry| entry.path()).find(|path| path.to_string_lossy().ends_with("binary-amd64_Packages"));
    let text = std::fs::read_to_string(list.expect("a list, not compressed")).expect("text");
    let field = |stanza: &str, name: &str| -> Option<String> {
        stanza.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
    };
    let small = |stanza: &&str| {
        field(stanza, "Size: ").and_then(|size| size.parse::<u64>().ok()).is_some_and(|size| size < 20_000_000)
    };
    let all: Vec<&str> = text.split("\n\n").filter(small).collect();
    let step = all.len() / 50;
    let names = all.iter().step_by(step).take(50).filter_map(|stanza| field(stanza, "Package: "));
    let names: Vec<String> = names.collect();
    assert_eq!(names.len(), 50);
    names
}
