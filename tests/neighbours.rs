//! Two proxies on one LAN find each other by multicast DNS: in network namespaces of their own, so that no packet leaves.

mod support;

use std::process::Command;

use support::daemon::{BINARY, Daemon};
use support::{Scratch, skip};

/// Two hosts on a wire; gone when it is dropped.
struct Lan([String; 2]);

fn ip(words: &str) -> bool {
    Command::new("ip").args(words.split(' ')).output().is_ok_and(|output| output.status.success())
}

impl Lan {
    fn new() -> Option<Lan> {
        let hosts = ["a", "b"].map(|host| format!("apt-p2p-{}-{host}", std::process::id()));
        let lan = Lan(hosts.clone());
        let [a, b] = &hosts;
        let is_made = ip(&format!("netns add {a}"))
            && ip(&format!("netns add {b}"))
            && ip(&format!("link add eth0 netns {a} type veth peer name eth0 netns {b}"))
            && hosts.iter().enumerate().all(|(n, host)| {
                ip(&format!("-n {host} addr add 192.168.77.{}/24 dev eth0", n + 1))
                    && ip(&format!("-n {host} link set lo up"))
                    && ip(&format!("-n {host} link set eth0 up"))
            });
        is_made.then_some(lan)
    }

    fn proxy(&self, scratch: &Scratch, host: usize) -> Daemon {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0[host], BINARY]);
        let flags = ["--share", "lan", "--mdns", "on", "--peer-listen", "0.0.0.0:9978", "--listen", "0.0.0.0:9977"];
        Daemon::try_start(&scratch.path().join(&self.0[host]), &flags, command).expect("the program starts")
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for host in &self.0 {
            ip(&format!("netns del {host}"));
        }
    }
}

#[test]
fn neighbours_find_each_other_and_say_goodbye() {
    let Some(lan) = Lan::new() else { return skip("network namespaces (root, and ip of iproute2)") };
    let scratch = Scratch::new();
    let (first, second) = (lan.proxy(&scratch, 0), lan.proxy(&scratch, 1));
    first.wait_for_log("at 192.168.77.2:9978");
    second.wait_for_log("at 192.168.77.1:9978");
    assert_eq!(second.terminate(), Some(0));
    first.wait_for_log("a neighbour has left");
    assert_eq!(first.terminate(), Some(0));
}
