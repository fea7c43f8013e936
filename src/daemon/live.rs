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

    /// Another configuration from now on, but for what was made of it at the start: that stays, and is shown, as it was. The
    /// settings that are waiting for a restart.
    pub(super) fn replace(&self, mut config: Config) -> Vec<&'static str> {
        let mut current = self.0.write().expect("no holder of the lock panics");
        let waiting = waiting(&current.config, &config);
        keep_start(&current.config, &mut config);
        current.config = Arc::new(config);
        waiting
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

/// The settings that count at the start alone and are other ones now.
fn waiting(start: &Config, new: &Config) -> Vec<&'static str> {
    let (sharing, other) = (&start.sharing, &new.sharing);
    let listens = |config: &Config| (config.listen.clone(), config.listen_where_found);
    [
        ("listen", listens(start) != listens(new)),
        ("mdns", start.mdns != new.mdns),
        ("cache", start.cache != new.cache),
        ("upstream-proxy", start.upstream_proxy != new.upstream_proxy),
        ("share", sharing.share != other.share),
        ("peer-listen", sharing.peer_listen != other.peer_listen),
        ("port-mapping", start.port_mapping != new.port_mapping),
        ("network", sharing.network != other.network),
        ("secret", sharing.secret != other.secret),
        ("bootstrap", sharing.bootstrap != other.bootstrap),
        ("mainline", sharing.mainline != other.mainline),
        ("prefer", start.prefer != new.prefer),
        ("prefetch", start.prefetch != new.prefetch),
        ("workers", start.workers != new.workers),
        ("log", start.log != new.log),
    ]
    .into_iter()
    .filter_map(|(name, is_other)| is_other.then_some(name))
    .collect()
}

/// Gives these settings of a new configuration the values of the start.
fn keep_start(start: &Config, new: &mut Config) {
    let start = start.clone();
    (new.listen, new.listen_where_found, new.mdns) = (start.listen, start.listen_where_found, start.mdns);
    (new.cache, new.upstream_proxy) = (start.cache, start.upstream_proxy);
    (new.sharing, new.port_mapping) = (start.sharing, start.port_mapping);
    (new.prefer, new.prefetch) = (start.prefer, start.prefetch);
    (new.workers, new.log) = (start.workers, start.log);
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
    use crate::config::settings::{Counts, SETTINGS};
    use crate::store::test_dir::TestDir;

    #[test]
    fn what_counts_at_the_start_stays_as_it_was_and_the_rest_is_new() {
        let dir = TestDir::new();
        let (file, secret) = (dir.path().join("apt-p2p.toml"), dir.path().join("secret"));
        std::fs::write(&secret, "0123456789abcdef").expect("a scratch file");
        let load = |text: &str| {
            std::fs::write(&file, text).expect("a scratch file");
            Config::load(&Flags { config: Some(file.clone()), ..Flags::default() }).expect("a configuration")
        };
        for setting in SETTINGS.iter().flat_map(|(_, all)| *all) {
            let example = match setting.name {
                "secret" => format!("{secret:?}"),
                _ => setting.example.to_owned(),
            };
            let (start, new) = (load(""), load(&format!("{} = {example}", setting.name)));
            assert_ne!(start, new, "{}", setting.name);
            let live = Live::new(start.clone());
            match setting.counts {
                Counts::AtStart => {
                    assert_eq!(live.replace(new), [setting.name]);
                    assert_eq!(*live.config(), start, "{}", setting.name);
                }
                Counts::AtReload => {
                    assert!(live.replace(new.clone()).is_empty(), "{}", setting.name);
                    assert_eq!(*live.config(), new, "{}", setting.name);
                }
            }
        }
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
