//! A node of this process, where a test's network begins.

use std::net::SocketAddr;

use apt_p2p::daemon::{DhtHandle, DhtOptions, run_dht};
use apt_p2p::dht::{Config, Mainline, Reach};

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
