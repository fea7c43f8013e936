//! Proxies of one LAN find each other by multicast DNS, and none is harmed by what another machine of it says there. Each has a
//! network namespace of its own: no packet leaves.

mod support;

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use apt_p2p::limits::MDNS_DATA_MAX;
use support::client::get;
use support::daemon::Daemon;
use support::netns::{Host, NEEDS, Net};
use support::{Scratch, skip, wait_until};

const GROUP: (Ipv4Addr, u16) = (Ipv4Addr::new(224, 0, 0, 251), 5353);
const FLAGS: [&str; 6] = ["--share", "lan", "--mdns", "on", "--listen", "0.0.0.0:9977"];

fn proxy(scratch: &Scratch, host: &Host) -> Daemon {
    host.inside(|| Daemon::start_with(&scratch.path().join(host.ip.to_string()), &FLAGS))
}

/// The process that speaks multicast DNS for it.
fn responder(daemon: &Daemon) -> Option<u32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("it runs").flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    children.collect::<String>().split_whitespace().next().map(|pid| pid.parse().expect("a number"))
}

fn wait_for_responder(daemon: &Daemon) -> u32 {
    wait_until(Duration::from_secs(30), "a responder runs", || responder(daemon).is_some());
    responder(daemon).expect("it runs")
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().is_ok_and(|status| status.success()));
}

#[test]
fn neighbours_find_each_other_and_say_goodbye() {
    let Some(net) = Net::new() else { return skip(NEEDS) };
    let (scratch, home) = (Scratch::new(), net.home(20));
    let hosts = [2, 3, 4].map(|k| home.host(k));
    let [first, second, third] = [0, 1, 2].map(|at| proxy(&scratch, &hosts[at]));
    first.wait_for_log("at 192.168.20.3:9978");
    first.wait_for_log("at 192.168.20.4:9978");
    second.wait_for_log("at 192.168.20.2:9978");
    // As systemd and a terminal do it: to all of them.
    signal("-TERM", wait_for_responder(&second));
    assert_eq!(second.terminate(), Some(0));
    let left = |count: usize| {
        wait_until(Duration::from_secs(10), "a goodbye is heard", || {
            first.log().iter().filter(|line| line.contains("a neighbour has left")).count() == count
        });
    };
    left(1);
    third.kill9();
    left(2);
    let leftover = wait_for_responder(&first);
    assert_eq!(first.terminate(), Some(0));
    assert!(!is_running(leftover), "it ends before its daemon does");
}

/// An answer that nobody asked for: of sixty machines, or of thirty neighbours, that there never were.
fn made_up(n: u32, of_neighbours: bool) -> Vec<u8> {
    let count: u16 = if of_neighbours { 30 } else { 60 };
    let mut packet = Vec::new();
    [0, 0x8400, 0, count, 0, 0].iter().for_each(|word: &u16| packet.extend(word.to_be_bytes()));
    for at in 0..u32::from(count) {
        let label = format!("\x08{:08x}", n * u32::from(count) + at);
        // Each four fields: the name, its kind and class, the seconds that it holds, and the data with their length.
        if of_neighbours {
            let kind: &[u8] = if at == 0 { b"\x08_apt-p2p\x04_tcp\x05local\0" } else { b"\xc0\x0c" };
            let data = [label.as_bytes(), b"\xc0\x0c"].concat();
            packet.extend([kind, b"\0\x0c\0\x01\0\0\x11\x94\0", &[data.len() as u8], &data].concat());
        } else {
            packet.extend([label.as_bytes(), b"\x05local\0\0\x01\0\x01\0\0\x11\x94\0\x04\xc0\xa8\x14\x09"].concat());
        }
    }
    packet
}

/// Where a machine sends what it wants to all of the LAN.
fn speaker(host: &Host, port: u16) -> UdpSocket {
    let socket = host.inside(|| UdpSocket::bind((host.ip, port))).expect("nobody else speaks there");
    socket.set_multicast_ttl_v4(255).expect("a multicast socket");
    socket
}

/// Announces machines till the proxy has said so many times that these are too many.
fn flood(from: &Host, daemon: &Daemon, of_neighbours: bool, times: usize) {
    let socket = speaker(from, GROUP.1);
    let mut packets = (0..).map(|n| made_up(n, of_neighbours));
    wait_until(Duration::from_secs(60), "it says that these are too many", || {
        for packet in packets.by_ref().take(1000) {
            // A full wire is no matter.
            socket.send_to(&packet, GROUP).ok();
        }
        daemon.log().iter().filter(|line| line.contains("more is announced by multicast DNS")).count() >= times
    });
}

/// How many it knows.
fn neighbours(host: &Host) -> u64 {
    let answer = host.inside(|| get(([127, 0, 0, 1], 9977).into(), "/status.json"));
    assert!(answer.is_good(), "clients are served all the while");
    let numbers: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    numbers["sharing"]["neighbours"].as_u64().expect("a number")
}

fn is_running(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).expect("the kernel says")
}

#[test]
fn a_flood_of_announcements_ends_only_the_process_that_hears_them_and_another_is_started() {
    let Some(net) = Net::new() else { return skip(NEEDS) };
    let (scratch, home) = (Scratch::new(), net.home(20));
    let (host, neighbour_host, liar) = (home.host(2), home.host(3), home.host(4));
    let (daemon, neighbour) = (proxy(&scratch, &host), proxy(&scratch, &neighbour_host));
    daemon.wait_for_log("at 192.168.20.3:9978");
    let before = daemon.private_kb();
    for (times, of_neighbours) in [(1, false), (2, true)] {
        let bounded = wait_for_responder(&daemon);
        let limits = fs::read_to_string(format!("/proc/{bounded}/limits")).expect("it runs");
        let data = limits.lines().find(|line| line.starts_with("Max data size")).expect("the kernel says it");
        assert!(data.contains(&MDNS_DATA_MAX.to_string()), "{data}");
        flood(&liar, &daemon, of_neighbours, times);
        assert!(!is_running(bounded), "it has ended");
        assert_eq!(neighbours(&host), 1, "who was known is not forgotten");
    }
    // Nobody hears that it goes.
    neighbour_host.unplug();
    drop(neighbour);
    wait_for_responder(&daemon);
    daemon.wait_for_log("a neighbour has left");
    assert_eq!(neighbours(&host), 0);
    assert!(daemon.private_kb() < before + 1024, "{before} KB before, {} KB after", daemon.private_kb());
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn whoever_asks_without_end_does_not_keep_it_from_ending() {
    let Some(net) = Net::new() else { return skip(NEEDS) };
    let (scratch, home) = (Scratch::new(), net.home(20));
    let (host, asker) = (home.host(2), home.host(4));
    let daemon = proxy(&scratch, &host);
    let responder = wait_for_responder(&daemon);
    // From no port of multicast DNS: each of these questions is answered for him alone.
    let socket = speaker(&asker, 5454);
    let mut packet = Vec::new();
    [0, 0, 220, 0, 0, 0].iter().for_each(|word: &u16| packet.extend(word.to_be_bytes()));
    packet.extend(b"\x08_apt-p2p\x04_tcp\x05local\0\0\x0c\0\x01");
    (1..220).for_each(|_| packet.extend(b"\xc0\x0c\0\x0c\0\x01"));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Bounded, where the test fails.
            for _ in (0..5_000_000).take_while(|_| !is_over.load(Ordering::Relaxed)) {
                socket.send_to(&packet, GROUP).ok();
            }
        });
        thread::sleep(Duration::from_secs(1));
        assert_eq!(daemon.terminate(), Some(0));
        wait_until(Duration::from_secs(5), "it ends, too", || !is_running(responder));
        is_over.store(true, Ordering::Relaxed);
    });
}
