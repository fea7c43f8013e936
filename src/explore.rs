//! The commands that ask: `status` the running proxy, `dht`, `lookup` and `crawl` the DHT.
//!
//! `status`, `dht` and `lookup` ask the running daemon; without one a lookup is made by a node of its own, which answers nobody,
//! keeps nothing, and is gone afterwards.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Config;
use crate::control::{self, ControlError, Format, Request};
use crate::daemon::{self, CrawlNews, DhtHandle};
use crate::dht::{Ask, Event, Hop, Network, NodeId};
use crate::digest::Digest;
use crate::progress::Progress;
use crate::report::{self, Trace};

/// Why a command has nothing to say.
#[derive(Debug)]
pub enum ExploreError {
    /// The running daemon does not answer.
    Control(ControlError),
    /// A node of our own cannot be started.
    Node(io::Error),
    /// Nobody of the network is known, or there.
    Alone(String),
    /// The node ended in the middle.
    Cut,
}

impl fmt::Display for ExploreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExploreError::Control(error) => error.fmt(f),
            ExploreError::Node(error) => write!(f, "a node of its own cannot be started: {error}; see --peer-listen"),
            ExploreError::Alone(network) => write!(
                f,
                "nobody of the network {network} answers: is this machine online? A node to begin with can be named \
                 with --bootstrap"
            ),
            ExploreError::Cut => f.write_str("the node ended in the middle of it"),
        }
    }
}

impl std::error::Error for ExploreError {}

/// `status`: what the running proxy counts; the exit status.
///
/// # Errors
/// [`ExploreError::Control`]
pub fn status(config: &Config, format: Format, out: &mut impl Write) -> Result<u8, ExploreError> {
    control::ask(&config.cache, &Request::Status(format), out).map_err(ExploreError::Control)
}

/// `dht`: how the running daemon's DHT goes; the exit status.
///
/// # Errors
/// [`ExploreError::Control`]
pub fn dht(config: &Config, format: Format, out: &mut impl Write) -> Result<u8, ExploreError> {
    control::ask(&config.cache, &Request::Dht(format), out).map_err(ExploreError::Control)
}

/// `lookup`: who has this file, each step as it happens; the exit status: 0, somebody; 1, nobody.
///
/// The daemon is asked, unless it `is_alone`: then, and when there is none, by a node of its own.
///
/// # Errors
/// [`ExploreError`]
pub fn lookup(
    config: &Config,
    digest: &Digest,
    format: Format,
    is_alone: bool,
    out: &mut impl Write,
) -> Result<u8, ExploreError> {
    if !is_alone {
        match control::ask(&config.cache, &Request::Lookup(*digest, format), out) {
            Err(ControlError::NoDaemon(_)) => {}
            answer => return answer.map_err(ExploreError::Control),
        }
    }
    log::warn!("this lookup is made by a node of its own, which answers nobody and keeps nothing");
    let node = join(config)?;
    let mut trace = Trace::new(node.key(digest), format == Format::Json);
    // Who reads no more misses the rest; the exit status counts.
    let mut print = |text: &str| out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
    print(&trace.begin(digest, node.network()));
    let clock = daemon::clock();
    let began = clock();
    let ask = Ask::Peers { key: node.key(digest), network: Network::Overlay, traced: true };
    for event in node.ask(ask).ok_or(ExploreError::Cut)? {
        let ms = u64::try_from(clock().since(began).as_millis()).unwrap_or(u64::MAX);
        print(&trace.note(ms, &event));
        if matches!(event, Event::Done { .. }) {
            return Ok(trace.status());
        }
    }
    Err(ExploreError::Cut)
}

/// `crawl`: how many nodes there are, how many answer, how long they stay.
///
/// # Errors
/// [`ExploreError`]
pub fn crawl(config: &Config, format: Format, duration: Duration, out: &mut impl Write) -> Result<u8, ExploreError> {
    let begin_with = {
        let node = join(config)?;
        some_nodes(&node)
    };
    let is_json = format == Format::Json;
    let mut progress = Progress::new();
    let told = |news, survey: &dyn Fn() -> crate::dht::Survey| match news {
        CrawlNews::Swept if !duration.is_zero() => {
            progress.clear();
            log::warn!("{}", report::sweep_line(&survey()));
        }
        CrawlNews::Swept | CrawlNews::GoesOn => progress.show(|| report::sweep_line(&survey())),
    };
    let survey = daemon::crawl(config, duration, &begin_with, told).map_err(ExploreError::Node)?;
    progress.clear();
    if survey.answered + survey.sessions.seen == 0 {
        return Err(ExploreError::Alone(config.sharing.network.clone()));
    }
    let text = report::survey(&survey, &config.sharing.network, is_json);
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
    Ok(0)
}

/// A node of our own that has met somebody.
fn join(config: &Config) -> Result<DhtHandle, ExploreError> {
    let node = daemon::lone_node(config).map_err(ExploreError::Node)?;
    node.ok_or_else(|| ExploreError::Alone(config.sharing.network.clone()))
}

/// Nodes that answered a lookup of a place near to none: where a crawl begins.
fn some_nodes(node: &DhtHandle) -> Vec<SocketAddr> {
    let target = NodeId(Digest::of(b"a place like any other").0[..20].try_into().expect("32 bytes are more than 20"));
    let answers = node.ask(Ask::Nodes { target, network: Network::Overlay, traced: true });
    let answered = |event| match event {
        Event::Hop { hop: Hop::Answered { contact, .. }, .. } => Some(contact.address),
        _ => None,
    };
    answers.into_iter().flatten().filter_map(answered).collect()
}
