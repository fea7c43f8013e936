//! The configuration as it is now: SIGHUP replaces it while the daemon runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::{Arc, RwLock};

use crate::config::{Cidr, Config, on_link};
use crate::fetch::Object;
use crate::store::Store;

/// The current configuration; clones share it.
#[derive(Clone)]
pub(super) struct Live(Arc<RwLock<Current>>);

struct Current {
    config: Arc<Config>,
    /// What the size is when the configuration names none; known once the disk is there.
    default_bytes_max: Option<u64>,
    /// The public prefixes of this machine's inner networks.
    on_link: Vec<Cidr>,
}

impl Live {
    pub(super) fn new(config: Config) -> Live {
        let current = Current { config: Arc::new(config), default_bytes_max: None, on_link: Vec::new() };
        let live = Live(Arc::new(RwLock::new(current)));
        live.look_at_networks();
        live
    }

    /// Learns which networks are this machine's own: a provider gives out another prefix now and then.
    pub(super) fn look_at_networks(&self) {
        // Without these tables nothing more is served.
        let table = |name| std::fs::read_to_string(format!("/proc/net/{name}")).ok();
        let networks = match (table("route"), table("ipv6_route")) {
            (Some(routes_v4), Some(routes_v6)) => on_link(&routes_v4, &routes_v6),
            _ => Vec::new(),
        };
        self.0.write().expect("no holder of the lock panics").on_link = networks;
    }

    /// Whether a client at this address is served.
    pub(super) fn allows(&self, client: IpAddr) -> bool {
        let current = self.0.read().expect("no holder of the lock panics");
        let is_on_link = || current.on_link.iter().any(|net| net.contains(client));
        current.config.allows(client) || (current.config.allow_on_link && is_on_link())
    }

    /// Whether an address that `host` resolved to may be fetched from: one out on the Internet, and what is named. A public
    /// address on an inner link is one of the machines there, whether or not they are served for it.
    pub(super) fn may_fetch_from(&self, ip: IpAddr, host: &str) -> bool {
        let current = self.0.read().expect("no holder of the lock panics");
        let is_on_link = || current.on_link.iter().any(|net| net.contains(ip));
        current.config.upstream_named(ip, host)
            || current.config.upstream_allowed(ip, host) && !is_on_link() && !is_own(ip)
    }

    /// Takes note of what the disk of the store has room for.
    pub(super) fn measure(&self, store: &Store) {
        match store.default_max_bytes() {
            Ok(bytes) => self.0.write().expect("no holder of the lock panics").default_bytes_max = Some(bytes),
            Err(error) => log::warn!("{error}"),
        }
    }

    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.read().expect("no holder of the lock panics").config)
    }

    /// Another configuration from now on. The cache folder stays that of the start: what is open lies there.
    pub(super) fn replace(&self, mut config: Config) {
        let mut current = self.0.write().expect("no holder of the lock panics");
        config.cache.clone_from(&current.config.cache);
        current.config = Arc::new(config);
    }

    /// The most bytes that cleanup leaves in the cache; nothing is dropped for its size while nobody knows it.
    pub(super) fn bytes_max(&self) -> u64 {
        let current = self.0.read().expect("no holder of the lock panics");
        current.config.max_size.or(current.default_bytes_max).unwrap_or(u64::MAX)
    }

    /// Where an object is fetched from: as the configuration maps it, else from its own host.
    pub(super) fn urls(&self, object: &Object) -> Vec<String> {
        let config = self.config();
        let path = crate::catalog::encode(&object.path);
        let query = object.query.as_deref().map_or_else(String::new, |query| format!("?{query}"));
        let whole = format!("{}/{path}", object.host);
        if let Some((rule, rest)) = config.upstream_for(&whole) {
            return rule.urls.iter().map(|url| format!("{url}{rest}{query}")).collect();
        }
        let own = match object.host.strip_suffix(":443") {
            Some(host) => format!("https://{host}/{path}{query}"),
            None => format!("http://{whole}{query}"),
        };
        vec![own]
    }
}

/// Whether an address is one of this machine's: what is sent there would come from the same one. Nothing is sent. A router
/// has services for its LAN at its public address, too.
fn is_own(ip: IpAddr) -> bool {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    from.is_ok_and(|from| from.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    #[test]
    fn the_cache_folder_stays_that_of_the_start() {
        let config = |cache: &str, size: &str| {
            let (cache, max_size) = (Some(cache.into()), Some(size.to_owned()));
            let flags = Flags { config: Some("/dev/null".into()), cache, max_size, ..Flags::default() };
            Config::load(&flags).expect("a configuration")
        };
        let live = Live::new(config("/srv/first", "1M"));
        live.replace(config("/srv/second", "2M"));
        assert_eq!(live.config().cache, std::path::Path::new("/srv/first"));
        assert_eq!(live.bytes_max(), 2 << 20, "the rest is the new one's");
    }

    #[test]
    fn a_public_address_on_an_inner_link_is_fetched_from_where_it_is_named() {
        let (allow, allow_upstream) = (vec!["192.0.2.0/24".to_owned()], vec!["mirror.example.org".to_owned()]);
        let flags = Flags { config: Some("/dev/null".into()), allow, allow_upstream, ..Flags::default() };
        let live = Live::new(Config::load(&flags).expect("a configuration"));
        live.0.write().expect("no panic").on_link = vec!["2001:db8:1:2::/64".parse().expect("a network")];
        for (ip, host, may) in [
            ("2001:db8:1:2::7", "away.example.org", false),
            ("2001:db8:1:2::7", "mirror.example.org", true),
            ("2001:db8:1:3::7", "away.example.org", true),
        ] {
            assert_eq!(live.may_fetch_from(ip.parse().expect("an address"), host), may, "{ip} {host}");
        }
    }
}
