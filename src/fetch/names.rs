//! Name look-ups with a fixed number of threads, and the rule which addresses may be fetched from.
//!
//! Owns the queue to the name threads and a small memory of answers. Refuses addresses inside the network unless the
//! configuration names them: a mirror's name or redirect must not become a way into the LAN.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::Clock;
use crate::limits::{NAME_MEMORY, NAME_MEMORY_TIME, NAME_QUEUE, RESOLVE_TIMEOUT};
use crate::time::Time;

/// Whether an address that `host` resolved to may be fetched from.
pub type AddressRule = Arc<dyn Fn(IpAddr, &str) -> bool + Send + Sync>;

/// `host` resolves only to addresses inside the network, and the configuration does not name it.
#[derive(Debug)]
pub(super) struct PrivateUpstream {
    host: String,
}

impl fmt::Display for PrivateUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        write!(
            f,
            "{host} is an address inside a private network; to fetch from it start with --allow-upstream {host}"
        )
    }
}

impl std::error::Error for PrivateUpstream {}

struct Question {
    host: String,
    port: u16,
    answer: Sender<io::Result<Vec<SocketAddr>>>,
}

/// The end of the queue that a name thread serves.
#[derive(Debug, Clone)]
pub struct NameThread(Receiver<Question>);

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)
    }
}

impl NameThread {
    /// Looks names up until every asker is gone.
    pub fn run(&self) {
        while let Ok(Question { host, port, answer }) = self.0.recv() {
            let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            // An asker that stopped waiting has dropped its end; the answer is of no use then.
            answer.try_send(found).ok();
        }
    }
}

/// Answers ureq's questions for addresses. Clones share queue and memory.
#[derive(Clone)]
pub(super) struct Names(Arc<Shared>);

struct Shared {
    queue: Sender<Question>,
    allowed: AddressRule,
    clock: Clock,
    known: Mutex<HashMap<String, (Vec<IpAddr>, Time)>>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

impl Names {
    pub(super) fn new(allowed: AddressRule, clock: Clock) -> (Names, NameThread) {
        let (queue, questions) = bounded(NAME_QUEUE);
        let shared = Shared { queue, allowed, clock, known: Mutex::default() };
        (Names(Arc::new(shared)), NameThread(questions))
    }

    fn addresses(&self, host: &str, port: u16, timeout: Duration) -> Result<Vec<SocketAddr>, ureq::Error> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        if let Some(ips) = self.remembered(host) {
            return Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect());
        }
        let (answer, answered) = bounded(1);
        let question = Question { host: host.to_owned(), port, answer };
        let too_late = |_| ureq::Error::Timeout(ureq::Timeout::Resolve);
        self.0.queue.send_timeout(question, timeout).map_err(|_| ureq::Error::Timeout(ureq::Timeout::Resolve))?;
        let found = answered.recv_timeout(timeout).map_err(too_late)?;
        let found = found.map_err(|_| ureq::Error::HostNotFound)?;
        self.remember(host, found.iter().map(SocketAddr::ip).collect());
        Ok(found)
    }

    /// The addresses of `host:port` as they were last found, without asking anybody.
    pub(super) fn known(&self, authority: &str) -> Option<Vec<IpAddr>> {
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => host,
            _ => authority,
        };
        match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(ip) => Some(vec![ip]),
            Err(_) => self.remembered(host),
        }
    }

    fn remembered(&self, host: &str) -> Option<Vec<IpAddr>> {
        let known = self.0.known.lock().expect("no holder of the lock panics");
        let (ips, since) = known.get(host)?;
        ((self.0.clock)().since(*since) < NAME_MEMORY_TIME).then(|| ips.clone())
    }

    fn remember(&self, host: &str, ips: Vec<IpAddr>) {
        let mut known = self.0.known.lock().expect("no holder of the lock panics");
        if known.len() >= NAME_MEMORY {
            known.clear();
        }
        known.insert(host.to_owned(), (ips, (self.0.clock)()));
    }
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or_else(|| ureq::Error::BadUri(uri.to_string()))?;
        let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default_port);
        let found = self.addresses(host, port, RESOLVE_TIMEOUT.min(*timeout.after))?;
        let mut usable = self.empty();
        for address in found.iter().filter(|a| (self.0.allowed)(a.ip().to_canonical(), host)).take(16) {
            usable.push(*address);
        }
        match (usable.is_empty(), found.is_empty()) {
            (false, _) => Ok(usable),
            (true, true) => Err(ureq::Error::HostNotFound),
            (true, false) => Err(ureq::Error::Other(Box::new(PrivateUpstream { host: host.to_owned() }))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(allowed: fn(IpAddr, &str) -> bool) -> Names {
        Names::new(Arc::new(allowed), Arc::new(|| Time(0))).0
    }

    #[test]
    fn literal_addresses_need_no_name_thread_and_pass_the_rule() {
        let names = names(|ip, _| !ip.is_loopback());
        let config = ureq::config::Config::default();
        let ask = |uri: &str| {
            let timeout = NextTimeout { after: Duration::from_secs(1).into(), ..Default::default() };
            names.resolve(&uri.parse().expect("a URI"), &config, timeout)
        };
        assert_eq!(ask("http://192.0.2.1:81/x").expect("public")[0].to_string(), "192.0.2.1:81");
        assert_eq!(ask("https://[2001:db8::1]/x").expect("public")[0].to_string(), "[2001:db8::1]:443");
        for private in ["http://127.0.0.1/x", "http://[::ffff:127.0.0.1]/x"] {
            let error = ask(private).expect_err("refused").to_string();
            assert!(error.contains("--allow-upstream"), "{error}");
        }
    }

    #[test]
    fn nobody_at_the_queue_means_a_time_out() {
        let names = names(|_, _| true);
        let error = names.addresses("mirror.example.org", 80, Duration::from_millis(1)).expect_err("no thread");
        assert!(matches!(error, ureq::Error::Timeout(_)), "{error}");
    }
}
