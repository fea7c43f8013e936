//! What a machine does to a service: too few descriptors or threads, an end while downloads run. Each time the log says what
//! to do, and nobody gets anything wrong.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use apt_p2p::digest::Digest;
use support::client::{Client, get, try_get};
use support::daemon::{BINARY, Daemon};
use support::mirror::Mirror;
use support::{Scratch, noise, skip, wait_until};

const FLAGS: [&str; 2] = ["--allow-upstream", "127.0.0.0/8"];

#[test]
fn with_64_descriptors_every_client_is_served_in_the_end_and_the_log_names_the_limit() {
    let scratch = Scratch::new();
    let mirror = Mirror::start();
    let mut few = Command::new("sh");
    few.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\"", BINARY]);
    let daemon = Daemon::try_start(&scratch.path().join("cache"), &FLAGS, few).expect("it starts");
    let limit = "64 open files are allowed, enough for 7 connections at once";
    assert!(
        daemon.log().iter().any(|line| line.contains(limit) && line.contains("LimitNOFILE=")),
        "{:?}",
        daemon.log()
    );
    let files: Vec<(String, Vec<u8>)> = (0..12)
        .map(|seed| {
            let content = noise(400_000, seed);
            (mirror.put_by_hash(&content[..]), content)
        })
        .collect();
    let fetch = |(path, content): &(String, Vec<u8>)| {
        wait_until(Duration::from_secs(60), "the file comes", || {
            let answer = try_get(daemon.address, &mirror.url(path));
            let good = answer.filter(|answer| answer.is_good());
            assert!(good.as_ref().is_none_or(|answer| answer.body == *content), "a whole file is a right one");
            good.is_some()
        });
    };
    for _ in 0..2 {
        thread::scope(|scope| {
            for _ in 0..3 {
                files.iter().for_each(|file| _ = scope.spawn(move || fetch(file)));
            }
        });
    }
    // Nothing was lost on the way: once the crowd has gone, it is as ever.
    let content = noise(300_000, 77);
    let path = mirror.put_by_hash(&content[..]);
    assert!(get(daemon.address, &mirror.url(&path)).body == content);
    daemon.wait_until_recorded(&Digest::of(&content).to_string());
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn without_threads_it_does_not_start_and_says_which_limit_to_raise() {
    let scratch = Scratch::new();
    // Limits on processes do not hold for root, and the program may lie where only root may look.
    let program = scratch.path().join("apt-p2p");
    fs::copy(BINARY, &program).expect("room");
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o777)).expect("our folder");
    let words = ["--reuid=65534", "--regid=65534", "--clear-groups", "prlimit", "--nproc=3"];
    let mut few = Command::new("setpriv");
    few.args(words).arg(&program).env("XDG_RUNTIME_DIR", scratch.path());
    let may = Command::new("setpriv").args(&words[..3]).arg("true").output();
    if !may.is_ok_and(|output| output.status.success()) {
        return skip("setpriv (root, util-linux)");
    }
    let said = Daemon::try_start(&scratch.path().join("cache"), &FLAGS, few).err().expect("it does not start");
    assert!(said.contains("gives no more threads") && said.contains("TasksMax="), "{said}");
}

#[test]
fn an_end_while_downloads_run_is_quick_and_what_had_come_is_not_fetched_again() {
    let scratch = Scratch::new();
    let mirror = Mirror::start();
    let cache = scratch.path().join("cache");
    let daemon = Daemon::start_with(&cache, &FLAGS);
    let files: Vec<(String, Vec<u8>)> = (0..3)
        .map(|seed| {
            let content = noise(6_000_000, seed);
            (mirror.put_by_hash(&content[..]), content)
        })
        .collect();
    mirror.hold_after(4_000_000);
    let clients: Vec<Client> = files
        .iter()
        .map(|(path, content)| {
            let mut client = Client::connect(daemon.address);
            client.ask("GET", &mirror.url(path), &[]);
            assert_eq!(client.head().status, 200);
            assert!(client.read_some(3_500_000) == content[..3_500_000]);
            client
        })
        .collect();
    // The mirror sends no more: who waited for it would not end.
    assert_eq!(daemon.terminate(), Some(0));
    drop(clients);
    mirror.release();
    mirror.forget_seen();
    let daemon = Daemon::start_with(&cache, &FLAGS);
    for (path, content) in &files {
        assert!(get(daemon.address, &mirror.url(path)).body == *content, "{path}");
        let from = mirror.seen(path)[0].range_start().unwrap_or(0);
        assert!(from >= 3_000_000, "{path} goes on where it was cut, not at {from}");
    }
    assert_eq!(daemon.terminate(), Some(0));
}

/// A panic in a router's build is a trap, which a signal from outside looks like.
#[test]
fn a_trap_has_last_words_and_ends_the_process() {
    for trap in ["TRAP", "ILL"] {
        let scratch = Scratch::new();
        let daemon = Daemon::start(&scratch);
        daemon.signal(trap);
        daemon.wait_for_log("a bug ended the process");
        assert_eq!(daemon.end(), Some(1), "{trap}");
    }
}
