//! Where a tunnel may lead: to the addresses of its host that may be fetched from, or to the proxy that is configured.
//!
//! Nobody waits here: the name threads look the host up, and whoever follows the stream hears of it. Refuses to dial: the
//! edge does, exactly these addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use super::names::{Names, PrivateUpstream};
use super::{Fetcher, failure, gateway_timeout};
use crate::stream::{Failure, Head, Stream};

/// A tunnel's way, once it is known.
#[derive(Debug)]
pub struct Passage {
    /// It begins when the addresses are there, and has no body; it fails when there is no way.
    pub stream: Arc<Stream>,
    /// What the far side is told first: that it is a proxy's client who comes. Empty: nothing.
    pub greeting: Vec<u8>,
    found: OnceLock<Vec<SocketAddr>>,
}

impl Passage {
    /// The addresses, in the order in which they are to be tried; none before the stream has begun.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.found.get().cloned().unwrap_or_default()
    }

    fn take(&self, names: &Names, (host, port): (&str, u16), found: io::Result<Vec<IpAddr>>) {
        let ips = match found {
            Ok(ips) if !ips.is_empty() => ips,
            Ok(_) | Err(_) => {
                return self.stream.fail(gateway_timeout(format!("the name {host} cannot be resolved")));
            }
        };
        let allowed = names.allowed(host, &ips);
        if allowed.is_empty() {
            return self.stream.fail(failure(403, PrivateUpstream::new(host).to_string()));
        }
        // Set before the stream begins: whoever sees that sees the addresses.
        self.found.set(allowed.into_iter().map(|ip| SocketAddr::new(ip.to_canonical(), port)).collect()).ok();
        self.stream.begin(Head::default(), None);
    }
}

impl Fetcher {
    /// Finds out where a tunnel to `host` leads, without waiting for it.
    #[must_use]
    pub fn passage(&self, host: &str, port: u16) -> Arc<Passage> {
        let mirrors = &self.0.mirrors;
        let (near, greeting) = match mirrors.proxy_for(host) {
            Some(proxy) => ((proxy.host.clone(), proxy.port), proxy.greeting(host, port)),
            None => ((host.to_owned(), port), Vec::new()),
        };
        let is_refused = !greeting.is_empty() && mirrors.names.is_refused(host);
        let passage = Arc::new(Passage { stream: Arc::default(), greeting, found: OnceLock::new() });
        if is_refused {
            passage.stream.fail(failure(403, PrivateUpstream::new(host).to_string()));
            return passage;
        }
        let (names, theirs) = (mirrors.names.clone(), Arc::clone(&passage));
        let asked = near.0.clone();
        let then = Box::new(move |found| theirs.take(&names, (&near.0, near.1), found));
        if mirrors.names.ask(&asked, then).is_err() {
            let reason = "too many names are being looked up; try again shortly";
            passage.stream.fail(Failure { retry_after: Some(2), ..failure(503, reason) });
        }
        passage
    }
}
