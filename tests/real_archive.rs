//! The archive that this machine's own apt is configured with, through the real program. Under CI only: it needs the
//! network.

mod support;

use std::collections::BTreeSet;
use std::fs::DirEntry;
use std::process::Command;

use support::apt::Apt;
use support::daemon::Daemon;
use support::{Scratch, skip};

/// With nothing installed yet these pull in some hundred packages of all sizes, 100 MB.
const INSTALL: [&str; 4] = ["install", "--download-only", "build-essential", "debhelper"];

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
        apt.run(&INSTALL).expect("cold install");
        let packages = downloaded(&apt);
        assert!(packages.len() >= 50, "{} packages are too few", packages.len());
        println!(
            "pipeline depth {pipeline}: {} packages, {} KB private memory after them",
            packages.len(),
            daemon.private_kb()
        );
        assert_eq!(daemon.terminate(), Some(0));

        let nowhere = format!("{}=http://127.0.0.1:9", source.host());
        let daemon = Daemon::start_with(&cache, &["--upstream", &nowhere, "--allow-upstream", "127.0.0.1"]);
        let apt =
            Apt::new(&scratch, "away", Some(daemon.address), depth, &source.line()).expect("this machine has apt");
        apt.run(&["update"]).expect("update with the mirror unreachable");
        apt.run(&INSTALL).expect("install with the mirror unreachable");
        assert_eq!(downloaded(&apt), packages);
        let from_mirror = daemon.log().iter().filter(|line| line.contains(" from mirror ")).count();
        assert_eq!(from_mirror, 0);
    }
}

/// The packages that apt has downloaded, with their lengths.
fn downloaded(apt: &Apt) -> BTreeSet<(String, u64)> {
    let entries = std::fs::read_dir(apt.here("cache/archives")).expect("apt's folder").flatten();
    let files = entries.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "deb"));
    let length = |entry: &DirEntry| entry.metadata().expect("apt is done").len();
    files.map(|entry| (entry.file_name().to_string_lossy().into_owned(), length(&entry))).collect()
}
