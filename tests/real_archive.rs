//! The archive that this machine's own apt is configured with, through the real program. Under CI only: it needs the
//! network.

mod support;

use support::apt::Apt;
use support::daemon::Daemon;
use support::source::Source;
use support::{Scratch, skip};

/// With nothing installed yet these pull in some hundred packages of all sizes, 100 MB.
const INSTALL: [&str; 4] = ["install", "--download-only", "build-essential", "debhelper"];

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
        let packages = apt.packages();
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
        assert_eq!(apt.packages(), packages);
        let from_mirror = daemon.log().iter().filter(|line| line.contains(" from mirror ")).count();
        assert_eq!(from_mirror, 0);
    }
}
