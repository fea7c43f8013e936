//! A node for one command: it asks, answers nobody, keeps nothing.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::clock::boot_clock;
use super::sharing;
use super::udp::{CrawlNews, DhtHandle, run_dht, saved_contacts, walk};
use crate::config::Config;
use crate::dht::{CrawlPlan, Mainline, Network, Reach, Survey};
use crate::limits::{CLOSEST, LONE_JOIN_TIME};

/// How often it is looked whether somebody was met.
const TURN: Duration = Duration::from_millis(50);

/// Starts a node that begins where the daemon of this cache would, and waits until it has met somebody; `None`: nobody
/// is there.
///
/// # Errors
/// When it cannot have a socket or a thread.
pub fn lone_node(config: &Config) -> io::Result<Option<DhtHandle>> {
    let mut options = sharing::options(config)?;
    // Whoever takes itself to be out of reach says so in all that it asks (BEP 43).
    options.config.reach = Some(Reach::Closed);
    if options.config.mainline == Mainline::Serve {
        options.config.mainline = Mainline::Ask;
    }
    options.listen = vec![any_port(config)];
    let contacts = options.contacts.take();
    let known = contacts.map_or_else(Vec::new, |path| saved_contacts(&path, &config.sharing.network));
    let node = run_dht(options)?;
    for network in [Network::Overlay, Network::Mainline] {
        let of_it = known.iter().filter(|(of, _)| *of == network);
        of_it.take(CLOSEST).for_each(|(_, address)| node.enter(*address));
    }
    let clock = boot_clock();
    let until = clock() + LONE_JOIN_TIME;
    while clock() < until {
        let Some(report) = node.report() else { return Ok(None) };
        let is_met = |status: &crate::dht::NodeStatus| status.network == Network::Overlay && status.contacts > 0;
        if report.nodes.iter().any(is_met) {
            return Ok(Some(node));
        }
        std::thread::sleep(TURN);
    }
    Ok(None)
}

/// Walks over all nodes of the overlay, beginning with these; `told` hears how it goes, and may ask for what was seen. SIGINT
/// and SIGTERM end it early.
///
/// # Errors
/// When it cannot have a socket.
pub fn crawl(
    config: &Config,
    duration: Duration,
    begin_with: &[SocketAddr],
    told: impl FnMut(CrawlNews, &dyn Fn() -> Survey),
) -> io::Result<Survey> {
    let dht = sharing::options(config)?.config;
    let plan = CrawlPlan {
        seed: dht.seed,
        network: dht.network,
        families: Vec::new(),
        is_private: dht.is_private,
        duration,
    };
    walk(plan, any_port(config), begin_with, told)
}

/// Beside the daemon's own port.
fn any_port(config: &Config) -> SocketAddr {
    SocketAddr::new(config.sharing.peer_listen.ip(), 0)
}
