//! Nodes of this process: where a test's network begins, and what they say of themselves.

use std::net::SocketAddr;
use std::time::Duration;

use apt_p2p::daemon::{DhtHandle, DhtOptions, DhtReport, run_dht};
use apt_p2p::dht::{Config, Mainline, Reach};

use super::wait_until;

/// Of the network `test`, at this loopback address.
pub fn first_node(ip: &str) -> DhtHandle {
    let config = Config {
        network: "test".into(),
        mainline: Mainline::Off,
        is_private: true,
        reach: Some(Reach::Open),
        ..Config::new([1; 32])
    };
    run_dht(DhtOptions::new(config, SocketAddr::new(ip.parse().expect("an address"), 0))).expect("loopback")
}

/// What a node says of itself, once its loop has a moment for it.
pub fn report(node: &DhtHandle) -> DhtReport {
    let mut told = None;
    wait_until(Duration::from_secs(20), "the loop answers", || {
        told = node.report();
        told.is_some()
    });
    told.expect("waited for")
}
