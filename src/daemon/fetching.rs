//! The fetcher, with what it needs of the configuration, and its threads.

use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::live::Live;
use super::{DaemonError, clock, threads};
use crate::config;
use crate::fetch::{self, Fetcher, Shelf};
use crate::limits::{FETCH_THREADS, NAME_THREADS, PEER_FETCH_THREADS};
use crate::signatures::Judge;

/// A fetcher and its threads: who looks names up, who fetches, who asks peers.
pub(super) fn start(
    live: &Live,
    shelf: &Shelf,
    ours: Arc<[SocketAddr]>,
    (clock, calendar): (&fetch::Clock, &fetch::Calendar),
    news: Sender<Box<fetch::News>>,
    finder: Option<fetch::Finder>,
) -> Result<Fetcher, DaemonError> {
    let (mapping, rule, size, public) = (live.clone(), live.clone(), live.clone(), live.clone());
    let (fetcher, name_thread) = Fetcher::new(fetch::Parts {
        shelf: shelf.clone(),
        upstreams: Arc::new(move |object| mapping.urls(object)),
        allowed: Arc::new(move |ip, host| rule.may_fetch_from(ip, host)),
        ours,
        proxy: upstream_proxy(live),
        is_public: Arc::new(move |object, found| {
            let whole = format!("{}/{}", object.host, object.path);
            found.is_promised && public.config().is_public(&whole, found.origin, found.addresses)
        }),
        clock: Arc::clone(clock),
        calendar: Arc::clone(calendar),
        keep_len_max: Arc::new(move || size.bytes_max() / 2),
        news,
        finder,
        signatures: signatures(live),
        prefetch: match live.config().prefetch {
            config::Prefetch::Off => fetch::Prefetch::Off,
            config::Prefetch::Lookup => fetch::Prefetch::Lookup,
            config::Prefetch::Night => fetch::Prefetch::Night,
        },
        is_night: Arc::new(clock::is_night),
    });
    for n in 0..NAME_THREADS {
        let names = name_thread.clone();
        threads::start(&format!("names-{n}"), move || names.run(n > 0)).map_err(DaemonError::System)?;
    }
    for n in 0..FETCH_THREADS {
        let fetcher = fetcher.clone();
        threads::start(&format!("fetch-{n}"), move || fetcher.work()).map_err(DaemonError::System)?;
    }
    for n in 0..PEER_FETCH_THREADS {
        let fetcher = fetcher.clone();
        threads::start(&format!("peer-{n}"), move || fetcher.work_peers()).map_err(DaemonError::System)?;
    }
    Ok(fetcher)
}

/// Who judges Releases, and what that decides.
fn signatures(live: &Live) -> fetch::Signatures {
    let (keys, live) = (live.clone(), live.clone());
    let judge = Judge::new(Arc::new(move || keys.config().keyrings.clone()));
    let policy = move || match live.config().signatures {
        config::Signatures::Off => fetch::Policy::Off,
        config::Signatures::Report => fetch::Policy::Report,
        config::Signatures::Enforce => fetch::Policy::Enforce,
    };
    fetch::Signatures { judge: Arc::new(judge), policy: Arc::new(policy) }
}

/// Who stands between us and the mirrors, and the rule who is reached without it.
fn upstream_proxy(live: &Live) -> Option<(fetch::Proxy, fetch::NearRule)> {
    let config::UpstreamProxy { host, port, credentials } = live.config().upstream_proxy.clone()?;
    let near = live.clone();
    let is_near: fetch::NearRule = Arc::new(move |host| near.config().is_near(host));
    Some((fetch::Proxy { host, port, credentials }, is_near))
}

/// Files that will be wanted soon are looked for, unless nobody wants that.
pub(super) fn start_looking_ahead(fetcher: &Fetcher, end: &Receiver<()>) -> Result<(), DaemonError> {
    if fetcher.looks_ahead() {
        let (fetcher, end) = (fetcher.clone(), end.clone());
        threads::start("ahead", move || fetcher.work_ahead(&end)).map_err(DaemonError::System)?;
    }
    Ok(())
}
