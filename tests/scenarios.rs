//! What the original apt-p2p's own test program went through, one test each, with real apt: every machine has a network
//! namespace, a proxy and an apt of its own. Packages are downloaded and not unpacked, so that nothing of this machine changes.

mod support;

use std::time::Duration;

use support::archive::{Archive, BASE, Package};
use support::internet::{Internet, Machine};
use support::wait_until;

/// Two packages of one piece, one whose piece table is beside its peers in the DHT, one whose table is an item there.
fn few() -> Archive {
    let lens = [("small", 30_000), ("piece", 500_000), ("beside", 1_500_000), ("item", 4_000_000)];
    Archive::new(lens.iter().map(|(name, len)| Package::new(name, "1.0", *len)).collect())
}

/// Machines that enter the DHT at the first of them, and spare the mirror.
struct Village {
    internet: Internet,
    machines: Vec<Machine>,
}

impl Village {
    /// `None`, after a word of why, where it cannot be.
    fn new(archive: Archive, machines: u8) -> Option<Village> {
        let mut village = Village { internet: Internet::new(archive)?, machines: Vec::new() };
        let mut entrance = "none".to_owned();
        for n in 1..=machines {
            let mut flags = vec!["--share", "internet", "--upload-rate", "1G", "--prefer", "offload"];
            flags.extend(["--bootstrap", &entrance]);
            let machine = village.internet.machine(&format!("m{n}"), village.internet.net.host(n), &flags)?;
            if n == 1 {
                entrance = machine.entrance();
            }
            machine.update();
            village.machines.push(machine);
        }
        Some(village)
    }

    fn install_all(&self, machine: usize) {
        self.internet.install(&self.machines[machine], &self.internet.names());
    }

    /// All but the first, which has them from the mirror.
    fn others(&self) -> &[Machine] {
        &self.machines[1..]
    }

    /// The first machine has everything, and the others can know it.
    fn give_all_to_the_first(&self) {
        self.install_all(0);
        self.machines[0].wait_until_announced(self.internet.archive.packages.len());
    }
}

#[test]
fn one_machine_alone() {
    let Some(village) = Village::new(few(), 1) else { return };
    village.install_all(0);
    assert_eq!(village.internet.fetched(), 4);
    village.machines[0].run(&["clean"]).expect("apt forgets them");
    village.internet.mirror_host.unplug();
    village.install_all(0);
}

#[test]
fn the_second_machine_gets_everything_from_the_first() {
    let Some(village) = Village::new(few(), 2) else { return };
    village.give_all_to_the_first();
    let sent = village.internet.sent();
    village.install_all(1);
    assert_eq!(village.internet.sent(), sent, "the mirror was there, and not needed");
    assert!(village.machines[0].gave(&village.machines[1]) >= 4);
}

#[test]
fn six_machines_in_turn() {
    let Some(village) = Village::new(few(), 6) else { return };
    village.give_all_to_the_first();
    let sent = village.internet.sent();
    for machine in 1..6 {
        village.install_all(machine);
    }
    assert_eq!(village.internet.sent(), sent, "six have it, and the mirror sent it once");
}

#[test]
fn updates_are_repeated_while_the_archive_changes() {
    let Some(mut village) = Village::new(few(), 2) else { return };
    for machine in &village.machines {
        machine.run(&["update"]).expect("nothing new");
    }
    for version in ["2.0", "3.0"] {
        let packages = &mut village.internet.archive.packages;
        *packages = packages.iter().map(|old| Package::new(&old.name, version, old.content.len() + 100)).collect();
        village.internet.archive.date += 86_400;
        village.internet.publish();
        for machine in &village.machines {
            let knows = |text: &str| text.contains(&format!("small_{version}_all.deb"));
            // What the mirror said a moment ago is believed for ten seconds.
            wait_until(Duration::from_secs(60), &format!("version {version} is seen"), || {
                machine.run(&["update"]).expect("an update while the archive changes");
                knows(&machine.run(&["install", "--print-uris", "small"]).output)
            });
            village.internet.install(machine, &village.internet.names());
        }
    }
}

#[test]
fn fourteen_packages_in_one_pipelined_install() {
    let packages = (0..14).map(|n| Package::new(&format!("p{n}"), "1.0", 20_000 + 5_000 * n)).collect();
    let Some(village) = Village::new(Archive::new(packages), 2) else { return };
    village.give_all_to_the_first();
    village.internet.mirror_host.unplug();
    village.install_all(1);
}

#[test]
fn one_very_large_file_over_six_machines() {
    let Some(village) = Village::new(Archive::new(vec![Package::new("large", "1.0", 64_000_000)]), 6) else { return };
    village.give_all_to_the_first();
    for machine in 1..5 {
        village.install_all(machine);
    }
    village.machines[..5].iter().for_each(|machine| machine.wait_until_announced(1));
    let sent = village.internet.sent();
    village.install_all(5);
    assert_eq!(village.internet.sent(), sent);
    let gave: Vec<usize> = village.machines[..5].iter().map(|machine| machine.gave(&village.machines[5])).collect();
    assert!(gave.iter().filter(|parts| **parts > 0).count() >= 2, "parts from each: {gave:?}");
}

#[test]
fn an_interrupted_download_goes_on_after_a_restart() {
    let Some(mut village) = Village::new(Archive::new(vec![Package::new("large", "1.0", 20_000_000)]), 1) else {
        return;
    };
    let path = format!("{BASE}/{}", village.internet.archive.packages[0].path());
    village.internet.mirror.hold_after(8_000_000);
    let machine = village.machines.remove(0);
    let mut apt = machine.host.inside(|| machine.apt.start(&["install", "--download-only", "large"]));
    let digest = village.internet.archive.packages[0].digest();
    let draft = machine.proxy.cache.join(format!("drafts/{digest}.part"));
    wait_until(Duration::from_secs(30), "it is half-way", || {
        std::fs::metadata(&draft).is_ok_and(|file| file.len() > 6_000_000)
    });
    // Ctrl-C at apt, and a reboot.
    apt.kill().and_then(|()| apt.wait()).expect("it ran");
    let machine = machine.restarted();
    village.internet.mirror.release();
    village.internet.install(&machine, &["large"]);
    let starts: Vec<_> = village.internet.mirror.seen(&path).iter().map(|seen| seen.range_start()).collect();
    assert!(
        starts.iter().flatten().any(|start| *start > 4_000_000),
        "what was there was not fetched again: {starts:?}"
    );
}

#[test]
fn source_packages_come_from_peers_too() {
    let mut archive = few();
    archive.sources = vec![
        ("src_1.dsc".into(), b"Format: 1.0\nSource: src\nVersion: 1\n".to_vec()),
        ("src_1.tar.gz".into(), support::noise(1_700_000, 5)),
    ];
    let Some(village) = Village::new(archive, 2) else { return };
    for machine in &village.machines {
        machine.proxy.wait_for_log("source/Sources: 2 files");
    }
    let [first, second] = &village.machines[..] else { panic!("there are two") };
    first.run(&["source", "--download-only", "src"]).expect("from the mirror");
    // And the index of sources.
    first.wait_until_announced(3);
    village.internet.mirror_host.unplug();
    second.run(&["source", "--download-only", "src"]).expect("from the first machine");
    assert!(std::fs::read(second.apt.here("src_1.tar.gz")).expect("there") == village.internet.archive.sources[1].1);
}

#[test]
fn some_packages_come_from_peers_and_some_only_from_the_mirror() {
    let Some(village) = Village::new(few(), 3) else { return };
    let [first, second, third] = &village.machines[..] else { panic!("there are three") };
    village.internet.install(first, &["small", "item"]);
    first.wait_until_announced(2);
    let before = village.internet.fetched();
    for machine in village.others() {
        village.internet.install(machine, &village.internet.names());
    }
    let asked: Vec<String> = village.internet.mirror.all_seen().into_iter().map(|seen| seen.path).collect();
    let rest = asked.iter().filter(|path| path.contains("/pool/")).skip(before);
    assert!(rest.clone().all(|path| path.contains("piece") || path.contains("beside")), "{asked:?}");
    assert!(rest.count() >= 2 && first.gave(second) > 0 && first.gave(third) > 0);
}
