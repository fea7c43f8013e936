//! What a request means: which object of which archive, the page, or nothing that we serve. PURE.
//!
//! Two forms lead to an object: the proxy form (`GET http://host/path`) and the path form (`GET /host/path`), which
//! needs no proxy setting. apt-cacher-ng's `HTTPS///host/path` asks for an https mirror in both.

use super::ask::Ask;
use crate::catalog::{self, Place};
use crate::fetch::Object;

/// The one port that tunnels lead to: apt's https sources are nowhere else, and much that is no archive is.
pub(super) const TUNNEL_PORT: u16 = 443;

/// What a request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// The page for people.
    Page,
    /// Its numbers, for programs.
    Status,
    /// The same for Prometheus.
    Metrics,
    /// A file that points a client here.
    ClientConf,
    /// Nothing for programs: the status by which apt's discovery tools know a proxy.
    Usage,
    /// Something of an archive.
    Object(Object, Place),
    /// A tunnel to port [`TUNNEL_PORT`] of this host.
    Tunnel(String),
    /// No: with the status and what to do.
    Refuse(u16, String),
}

/// Decides what `ask` means.
pub(super) fn route(ask: &Ask) -> Route {
    if ask.method == "CONNECT" {
        return tunnel(&ask.target);
    }
    let target = ask.target.as_str();
    if let Some(rest) = strip_scheme(target, "http://") {
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.eq_ignore_ascii_case("https") && path.starts_with("///") {
            return https_object(&path[3..], ask);
        }
        if is_ourselves(authority, ask) {
            return own(path, ask);
        }
        return object(authority, 80, path, ask);
    }
    if let Some(rest) = strip_scheme(target, "https://") {
        return https_object(rest, ask);
    }
    if target.starts_with('/') {
        return own(target, ask);
    }
    Route::Refuse(400, format!("{target} is no address of a file; expected http://HOST/PATH or /HOST/PATH"))
}

/// A path on this proxy itself.
fn own(path: &str, ask: &Ask) -> Route {
    let rest = path.trim_start_matches('/');
    if rest.is_empty() {
        return if ask.wants_html() { Route::Page } else { Route::Usage };
    }
    match rest {
        "status.json" => return Route::Status,
        "metrics" => return Route::Metrics,
        "client.conf" => return Route::ClientConf,
        _ => {}
    }
    if let Some(rest) = rest.strip_prefix("HTTPS///") {
        return https_object(rest, ask);
    }
    let (first, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if !first.contains(['.', ':']) && first != "localhost" || !path.starts_with('/') {
        let why = "there is nothing here; archives are at /HOST/PATH, for example /mirror.example.org/debian/";
        return Route::Refuse(404, why.into());
    }
    object(first, 80, path, ask)
}

fn https_object(rest: &str, ask: &Ask) -> Route {
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // An object's name has no room for a scheme: port 443 says it.
    if host(authority, 443).is_some_and(|host| !host.ends_with(":443")) {
        let why = format!(
            "https at another port than 443 is fetched by a name of its own: --upstream NAME/PATH=https://{authority}/PATH"
        );
        return Route::Refuse(403, why);
    }
    object(authority, 443, path, ask)
}

/// `HOST:443`, and nothing else.
fn tunnel(target: &str) -> Route {
    let Some((name, port)) = host(target, 80).filter(|_| target.contains(':')).map(|host| split_port(&host)) else {
        return Route::Refuse(400, format!("{target} is no HOST:PORT to connect to"));
    };
    if port != TUNNEL_PORT {
        let why = format!(
            "tunnels lead to port 443 only; for an archive at {target} use http:// in the client's sources, and \
             --upstream {name}/PATH=https://{target}/PATH here"
        );
        return Route::Refuse(403, why);
    }
    Route::Tunnel(name)
}

/// A host as [`host`] gives it, apart.
fn split_port(host: &str) -> (String, u16) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name.to_owned(), port.parse().unwrap_or(0)),
        _ => (host.to_owned(), 80),
    }
}

fn object(authority: &str, default_port: u16, path: &str, ask: &Ask) -> Route {
    let Some(host) = host(authority, default_port) else {
        let why = match authority.contains('@') {
            true => "names and passwords belong into apt's auth.conf(5), and not into an address".to_owned(),
            false => format!("{authority} is no host name"),
        };
        return Route::Refuse(400, why);
    };
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (path, None),
    };
    let normal = match catalog::normalise(path) {
        Ok(normal) => normal,
        Err(error) => return Route::Refuse(400, format!("{path}: {error}")),
    };
    let place = if query.is_some() || path.ends_with('/') { Place::Foreign } else { catalog::place(&normal) };
    if place == Place::Foreign && !ask.is_apt() {
        let why =
            format!("{host}/{normal} looks like no part of an apt archive; this proxy serves archives, not the web");
        return Route::Refuse(403, why);
    }
    Route::Object(Object { host, path: normal, query }, place)
}

/// A host with its port unless that is 80, in lower case; `None` for what cannot be one.
pub(super) fn host(authority: &str, default_port: u16) -> Option<String> {
    let lower = authority.to_ascii_lowercase();
    let (name, port) = match lower.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok().filter(|port| *port != 0)?),
        _ => (lower.as_str(), default_port),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let valid = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => literal.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !name.is_empty()
                && name.len() <= 253
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
    };
    if !valid {
        return None;
    }
    Some(if port == 80 { name.to_owned() } else { format!("{name}:{port}") })
}

/// Whether a proxy-form request names this very proxy: its page, not a loop.
fn is_ourselves(authority: &str, ask: &Ask) -> bool {
    let Some(local) = ask.local else { return false };
    let port = local.port();
    // Most name another port.
    let says_port = match authority.rsplit_once(':') {
        Some((_, said)) if !said.ends_with(']') => said.parse() == Ok(port),
        _ => port == 80,
    };
    says_port
        && host(authority, 80).is_some_and(|named| {
            let literal = match local.ip().to_canonical() {
                std::net::IpAddr::V4(ip) => ip.to_string(),
                std::net::IpAddr::V6(ip) => format!("[{ip}]"),
            };
            Some(named) == host(&format!("{literal}:{port}"), 80)
        })
}

fn strip_scheme<'a>(target: &'a str, scheme: &str) -> Option<&'a str> {
    let start = target.get(..scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then(|| &target[scheme.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, target: &str, extra: &[(&str, &str)]) -> Ask {
        let base = format!("1.1 192.0.2.9 192.0.2.1:9977 {method}");
        Ask::new(target, [("X-For", base.as_str())].iter().chain(extra).copied()).expect("complete")
    }

    fn object_of(target: &str) -> Option<(String, String)> {
        match route(&ask("GET", target, &[("User-Agent", "Debian APT-HTTP/1.3 (2.6.1)")])) {
            Route::Object(object, _) => Some((object.host, object.path)),
            _ => None,
        }
    }

    #[test]
    fn both_forms_name_the_same_object() {
        let wanted = Some(("mirror.example.org".to_owned(), "debian/pool/a+b.deb".to_owned()));
        for target in [
            "http://mirror.example.org/debian/pool/a+b.deb",
            "http://mirror.example.org/debian/pool/a%2bb.deb",
            "HTTP://Mirror.Example.Org.:80//debian/./pool/a%2Bb.deb",
            "/mirror.example.org/debian/pool/a+b.deb",
            "//mirror.example.org:80/debian/pool/a+b.deb",
        ] {
            assert_eq!(object_of(target), wanted, "{target}");
        }
    }

    #[test]
    fn https_mirrors_keep_their_port() {
        let wanted = Some(("mirror.example.org:443".to_owned(), "debian/a.deb".to_owned()));
        for target in [
            "https://mirror.example.org/debian/a.deb",
            "http://HTTPS///mirror.example.org/debian/a.deb",
            "/HTTPS///mirror.example.org/debian/a.deb",
        ] {
            assert_eq!(object_of(target), wanted, "{target}");
        }
    }

    #[test]
    fn what_is_no_archive_is_for_apt_only() {
        let target = "http://www.example.org/search?q=x";
        assert!(matches!(route(&ask("GET", target, &[("User-Agent", "curl/8")])), Route::Refuse(403, _)));
        let apt = ask("GET", target, &[("User-Agent", "Debian APT-HTTP/1.3 (2.6.1)")]);
        assert!(matches!(route(&apt), Route::Object(_, Place::Foreign)));
    }

    #[test]
    fn the_root_is_a_page_for_people_and_406_for_programs() {
        let html = [("Accept", "text/html,*/*")];
        assert_eq!(route(&ask("GET", "/", &html)), Route::Page);
        assert_eq!(route(&ask("GET", "http://192.0.2.1:9977/", &html)), Route::Page);
        assert_eq!(route(&ask("GET", "/status.json", &[])), Route::Status);
        assert_eq!(route(&ask("GET", "http://192.0.2.1:9977/metrics", &[])), Route::Metrics);
        assert_eq!(route(&ask("GET", "/client.conf", &[])), Route::ClientConf);
        assert_eq!(route(&ask("GET", "/", &[])), Route::Usage);
        assert_eq!(route(&ask("GET", "http://192.0.2.1:9977", &[])), Route::Usage);
    }

    #[test]
    fn tunnels() {
        for (target, host) in [
            ("mirror.example.org:443", "mirror.example.org"),
            ("Mirror.Example.Org.:443", "mirror.example.org"),
            ("192.0.2.1:443", "192.0.2.1"),
            ("[2001:DB8::1]:443", "[2001:db8::1]"),
        ] {
            assert_eq!(route(&ask("CONNECT", target, &[])), Route::Tunnel(host.into()), "{target}");
        }
    }

    #[test]
    fn refusals() {
        for (method, target, status) in [
            ("CONNECT", "mirror.example.org:80", 403),
            ("CONNECT", "mirror.example.org:22", 403),
            ("CONNECT", "mirror.example.org", 400),
            ("CONNECT", "[::1", 400),
            ("CONNECT", ":443", 400),
            ("CONNECT", "/mirror.example.org:443", 400),
            ("CONNECT", "me@mirror.example.org:443", 400),
            ("CONNECT", "http://mirror.example.org:443", 400),
            ("GET", "https://mirror.example.org:8443/x.deb", 403),
            ("GET", "http://HTTPS///mirror.example.org:8443/x.deb", 403),
            ("GET", "*", 400),
            ("GET", "ftp://mirror.example.org/x.deb", 400),
            ("GET", "http://user@mirror.example.org/x.deb", 400),
            ("GET", "http://mirror.example.org:0/x.deb", 400),
            ("GET", "http:///x.deb", 400),
            ("GET", "http://mirror.example.org/../etc/passwd", 400),
            ("GET", "http://mirror.example.org/a%2fb.deb", 400),
            ("GET", "http://mirror.example.org/a%00.deb", 400),
            ("GET", "/favicon", 404),
            ("GET", "/mirror.example.org", 404),
        ] {
            match route(&ask(method, target, &[("User-Agent", "APT")])) {
                Route::Refuse(got, _) => assert_eq!(got, status, "{target}"),
                other => panic!("{target}: {other:?}"),
            }
        }
    }

    #[test]
    fn ipv6_hosts() {
        assert_eq!(host("[2001:DB8::1]", 80).as_deref(), Some("[2001:db8::1]"));
        assert_eq!(host("[2001:db8::1]:8080", 80).as_deref(), Some("[2001:db8::1]:8080"));
        assert_eq!(host("[::1", 80), None);
        assert_eq!(host("2001:db8::1", 80), None);
    }
}
