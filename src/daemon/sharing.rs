//! What the configuration says of sharing, made into a running DHT. The proxy runs without it too.

use std::io;
use std::net::SocketAddr;

use rustix::rand::{GetRandomFlags, getrandom};

use super::udp::{DhtHandle, DhtOptions, run_dht};
use crate::config::{self, Config, Share};
use crate::dht;

/// Starts the DHT, if files are shared with the Internet, and says what is shared. What prevents it is logged: the
/// proxy must never fail because of it. `peer_port` is where peers are served, by TCP.
pub(super) fn start(config: &Config, peer_port: Option<u16>) -> Option<DhtHandle> {
    match config.sharing.share {
        Share::Internet => {}
        Share::Lan => {
            log::info!("packages are shared with other proxies of this LAN, and not with the Internet (--share lan)");
            return None;
        }
        Share::Off => {
            log::info!("nothing is shared (--share off)");
            return None;
        }
    }
    let with_port =
        |options: DhtOptions| DhtOptions { config: dht::Config { port: peer_port, ..options.config }, ..options };
    match options(config).map(with_port).and_then(run_dht) {
        Ok(dht) => {
            let addresses: Vec<String> = dht.addresses().iter().map(SocketAddr::to_string).collect();
            log::info!(
                "packages of public archives are shared with the Internet, as part of the network {} at {} (UDP); --share lan or \
                 --share off ends that",
                dht.network(),
                addresses.join(" and ")
            );
            Some(dht)
        }
        Err(error) => {
            let address = config.sharing.peer_listen;
            if error.kind() == io::ErrorKind::AddrInUse {
                log::error!(
                    "{address} (UDP) is in use, so nothing is shared with the Internet: is apt-p2p running already? Another can be \
                     given with --peer-listen"
                );
            } else {
                log::error!(
                    "nothing is shared with the Internet, for {address} (UDP) cannot be used: {error}; see --peer-listen"
                );
            }
            None
        }
    }
}

/// What the configuration says of the DHT.
pub(super) fn options(config: &Config) -> io::Result<DhtOptions> {
    let sharing = &config.sharing;
    let mut seed = [0; 32];
    getrandom(&mut seed, GetRandomFlags::empty())?;
    let dht = dht::Config {
        network: sharing.network.clone(),
        secret: sharing.secret.as_ref().map(|secret| secret.0.clone()),
        mainline: match sharing.mainline {
            config::Mainline::Ask => dht::Mainline::Ask,
            config::Mainline::Serve => dht::Mainline::Serve,
            config::Mainline::Off => dht::Mainline::Off,
        },
        is_private: sharing.is_private,
        is_mainline_private: sharing.is_mainline_private,
        ..dht::Config::new(seed)
    };
    Ok(DhtOptions {
        contacts: Some(config.cache.join("contacts")),
        bootstrap: sharing.bootstrap.clone(),
        ..DhtOptions::new(dht, sharing.peer_listen)
    })
}
