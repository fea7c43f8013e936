//! Name look-ups with a fixed number of threads, and the rule which addresses may be fetched from.
//!
//! Owns the queue to the name threads and a small memory of answers. Refuses addresses inside the network unless the
//! configuration names them: a mirror's name or redirect must not become a way into the LAN. Where a proxy stands in between,
//! it looks names up, and only its own is asked for here.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select_biased};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::Clock;
use crate::limits::{ADDRESSES_PER_NAME, NAME_MEMORY, NAME_MEMORY_TIME, NAME_QUEUE, RESOLVE_TIMEOUT, TUNNELS};
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
            "{host} is an address inside a private network, or of this machine; to fetch from it start with \
             --allow-upstream {host}"
        )
    }
}

impl std::error::Error for PrivateUpstream {}

impl PrivateUpstream {
    pub(super) fn new(host: &str) -> PrivateUpstream {
        PrivateUpstream { host: host.to_owned() }
    }
}

/// Takes the addresses that a name has.
type Then = Box<dyn FnOnce(io::Result<Vec<IpAddr>>) + Send>;

struct Question {
    host: String,
    asked: Time,
    then: Then,
}

/// The end of the queue that a name thread serves.
#[derive(Debug, Clone)]
pub struct NameThread {
    downloads: Receiver<Box<Question>>,
    tunnels: Receiver<Box<Question>>,
    known: Arc<Known>,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)
    }
}

impl NameThread {
    /// Looks names up until every asker is gone. One thread serves downloads alone: clients ask for tunnels to names that
    /// nobody answers for, and each keeps a thread for as long as the resolver tries.
    pub fn run(&self, serves_tunnels: bool) {
        loop {
            let question = match serves_tunnels {
                true => select_biased! {
                    recv(self.downloads) -> question => question,
                    recv(self.tunnels) -> question => question,
                },
                false => self.downloads.recv(),
            };
            let Ok(question) = question else { return };
            let Question { host, asked, then } = *question;
            if (self.known.clock)().since(asked) >= RESOLVE_TIMEOUT {
                // Whoever asked was told so long ago.
                then(Err(io::ErrorKind::TimedOut.into()));
                continue;
            }
            // Whoever asked before may have asked for the same.
            if let Some(ips) = self.known.recall(&host) {
                then(Ok(ips));
                continue;
            }
            let found: io::Result<Vec<_>> =
                (host.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect());
            if let Ok(ips) = &found {
                self.known.remember(host, ips.clone());
            }
            then(found);
        }
    }
}

/// Addresses that were found lately.
struct Known {
    clock: Clock,
    names: Mutex<HashMap<String, (Vec<IpAddr>, Time)>>,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known")
    }
}

impl Known {
    fn recall(&self, host: &str) -> Option<Vec<IpAddr>> {
        let names = self.names.lock().expect("no holder of the lock panics");
        let (ips, since) = names.get(host)?;
        ((self.clock)().since(*since) < NAME_MEMORY_TIME).then(|| ips.clone())
    }

    /// What was found last, however long ago: an answer that has just come was asked for there.
    fn last(&self, host: &str) -> Option<Vec<IpAddr>> {
        self.names.lock().expect("no holder of the lock panics").get(host).map(|(ips, _)| ips.clone())
    }

    fn remember(&self, host: String, ips: Vec<IpAddr>) {
        let mut names = self.names.lock().expect("no holder of the lock panics");
        if names.len() >= NAME_MEMORY {
            names.clear();
        }
        names.insert(host, (ips, (self.clock)()));
    }
}

/// Answers ureq's questions for addresses. Clones share queue and memory.
#[derive(Clone)]
pub(super) struct Names(Arc<Shared>);

struct Shared {
    downloads: Sender<Box<Question>>,
    tunnels: Sender<Box<Question>>,
    allowed: AddressRule,
    /// The proxy's own host, which the configuration has named by naming it.
    proxy: Option<String>,
    known: Arc<Known>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

impl Names {
    pub(super) fn new(allowed: AddressRule, proxy: Option<String>, clock: Clock) -> (Names, NameThread) {
        let ((downloads, of_downloads), (tunnels, of_tunnels)) = (bounded(NAME_QUEUE), bounded(TUNNELS));
        let known = Arc::new(Known { clock, names: Mutex::default() });
        let shared = Shared { downloads, tunnels, allowed, proxy, known: Arc::clone(&known) };
        (Names(Arc::new(shared)), NameThread { downloads: of_downloads, tunnels: of_tunnels, known })
    }

    fn addresses(&self, host: &str, timeout: Duration) -> Result<Vec<IpAddr>, ureq::Error> {
        if let Some(ips) = self.at_hand(host) {
            return Ok(ips);
        }
        let too_late = || ureq::Error::Timeout(ureq::Timeout::Resolve);
        let (answer, answered) = bounded(1);
        // An asker that stopped waiting has dropped its end; the answer is of no use then.
        let then = Box::new(move |found| drop(answer.try_send(Box::new(found))));
        let question = Box::new(Question { host: host.to_owned(), asked: self.now(), then });
        self.0.downloads.send_timeout(question, timeout).map_err(|_| too_late())?;
        let found = answered.recv_timeout(timeout).map_err(|_| too_late())?;
        found.map_err(|_| ureq::Error::HostNotFound)
    }

    /// The same for a tunnel, without waiting: `then` is called by a name thread, or at once; never, if the queue is full.
    ///
    /// # Errors
    /// The queue is full.
    pub(super) fn ask(&self, host: &str, then: Then) -> Result<(), QueueFull> {
        match self.at_hand(host) {
            Some(ips) => then(Ok(ips)),
            None => {
                let question = Box::new(Question { host: host.to_owned(), asked: self.now(), then });
                self.0.tunnels.try_send(question).map_err(|_| QueueFull)?;
            }
        }
        Ok(())
    }

    /// Of the addresses of `host` those that may be fetched from.
    pub(super) fn allowed(&self, host: &str, ips: &[IpAddr]) -> Vec<IpAddr> {
        let is_proxy = self.0.proxy.as_deref() == Some(host);
        let may = |ip: &&IpAddr| is_proxy || (self.0.allowed)(ip.to_canonical(), host);
        ips.iter().filter(may).copied().take(ADDRESSES_PER_NAME).collect()
    }

    /// Whether a host that a proxy is to look up is an address that must not be fetched from.
    pub(super) fn is_refused(&self, host: &str) -> bool {
        // What its resolver makes of these is its own network, or itself.
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let last = name.rsplit('.').next().unwrap_or("");
        let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
        match literal(host) {
            Some(ip) => !(self.0.allowed)(ip.to_canonical(), host),
            None if last == "localhost" || is_number => !(self.0.allowed)(Ipv4Addr::LOCALHOST.into(), host),
            None => false,
        }
    }

    /// The addresses of `host:port` as they were last found, without asking anybody.
    pub(super) fn known(&self, authority: &str) -> Option<Vec<IpAddr>> {
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => host,
            _ => authority,
        };
        literal(host).map(|ip| vec![ip]).or_else(|| self.0.known.last(host))
    }

    fn now(&self) -> Time {
        (self.0.known.clock)()
    }

    fn at_hand(&self, host: &str) -> Option<Vec<IpAddr>> {
        literal(host).map(|ip| vec![ip]).or_else(|| self.0.known.recall(host))
    }
}

/// As many names wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueFull;

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
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
        let found = self.addresses(host, RESOLVE_TIMEOUT.min(*timeout.after))?;
        let mut usable = self.empty();
        for ip in self.allowed(host, &found) {
            usable.push(SocketAddr::new(ip, port));
        }
        match (usable.is_empty(), found.is_empty()) {
            (false, _) => Ok(usable),
            (true, true) => Err(ureq::Error::HostNotFound),
            (true, false) => Err(ureq::Error::Other(Box::new(PrivateUpstream::new(host)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(allowed: fn(IpAddr, &str) -> bool) -> Names {
        Names::new(Arc::new(allowed), None, Arc::new(|| Time(0))).0
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
    fn where_an_answer_came_from_is_known_though_it_was_slow() {
        let now = Arc::new(Mutex::new(Time(0)));
        let clock = Arc::clone(&now);
        let (names, _) = Names::new(Arc::new(|_, _| true), None, Arc::new(move || *clock.lock().expect("no panic")));
        let ip = IpAddr::from([192, 0, 2, 1]);
        names.0.known.remember("mirror.example.org".into(), vec![ip]);
        *now.lock().expect("no panic") = Time(0) + NAME_MEMORY_TIME;
        assert_eq!(names.at_hand("mirror.example.org"), None, "it is looked up again");
        assert_eq!(names.known("mirror.example.org:80"), Some(vec![ip]));
    }

    #[test]
    fn nobody_at_the_queue_means_a_time_out() {
        let names = names(|_, _| true);
        let error = names.addresses("mirror.example.org", Duration::from_millis(1)).expect_err("no thread");
        assert!(matches!(error, ureq::Error::Timeout(_)), "{error}");
    }
}
