//! Hosts as the configuration names them: one, or all below a domain; and what lies below one host.

use std::net::IpAddr;
use std::str::FromStr;

use super::Cidr;

/// A host, by its name or address, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostPattern {
    /// `mirror.example.org`
    One(String),
    /// `*.example.org`, without the star.
    Below(String),
    /// `192.0.2.0/24`, or one address.
    Net(Cidr),
}

/// A text that names no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotAHost;

impl FromStr for HostPattern {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<HostPattern, NotAHost> {
        if let Ok(net) = text.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(HostPattern::Net(net));
        }
        let name = text.strip_prefix("*.").unwrap_or(text);
        let is_name = !name.is_empty()
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        match (is_name, text.starts_with("*.")) {
            (false, _) => Err(NotAHost),
            (true, false) => Ok(HostPattern::One(name.to_ascii_lowercase())),
            (true, true) => Ok(HostPattern::Below(format!(".{}", name.to_ascii_lowercase()))),
        }
    }
}

impl HostPattern {
    /// Whether it names `host`: a name, or an address as a client writes it.
    pub(super) fn names(&self, host: &str) -> bool {
        let lower = host.to_ascii_lowercase();
        match self {
            HostPattern::One(name) => *name == lower,
            HostPattern::Below(domain) => lower.ends_with(domain.as_str()),
            HostPattern::Net(net) => {
                let bare = lower.trim_start_matches('[').trim_end_matches(']');
                bare.parse::<IpAddr>().is_ok_and(|ip| net.contains(ip))
            }
        }
    }

    /// The same for an address that `host` resolved to.
    pub(super) fn names_address(&self, ip: IpAddr, host: &str) -> bool {
        match self {
            HostPattern::Net(net) => net.contains(ip),
            HostPattern::One(_) | HostPattern::Below(_) => self.names(host),
        }
    }
}

/// `HOST/PATH` as objects are named that lie below it: in lower case up to the path, without a slash at its end, with the port
/// unless that is 80. What clients ask for by https is at port 443; a scheme's name is none of it, but that `http://` may stand
/// before it. `None` for what no object's name begins with.
pub(super) fn prefix(text: &str) -> Option<String> {
    let has_scheme = text.get(..HTTP.len()).is_some_and(|start| start.eq_ignore_ascii_case(HTTP));
    let text = if has_scheme { &text[HTTP.len()..] } else { text };
    let (authority, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    let lower = authority.to_ascii_lowercase();
    let (name, port) = match lower.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse::<u16>().ok().filter(|port| *port != 0)?),
        _ => (lower.as_str(), 80),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_clean = path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#'));
    // apt-cacher-ng's way to ask for https.
    let is_https = name == "https" && path.starts_with("///");
    if !is_host(name) || !is_clean || is_https {
        return None;
    }
    let mut prefix = if port == 80 { name.to_owned() } else { format!("{name}:{port}") };
    for segment in path.split('/').filter(|segment| !matches!(*segment, "" | ".")) {
        if segment == ".." {
            return None;
        }
        prefix.extend(["/", segment]);
    }
    Some(prefix)
}

const HTTP: &str = "http://";

fn is_host(name: &str) -> bool {
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => literal.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !name.is_empty()
                && name.len() <= 253
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_spelled_as_the_names_of_objects_are() {
        for (text, named) in [
            ("mirror.example.org", "mirror.example.org"),
            ("http://Mirror.Example.Org/Debian/", "mirror.example.org/Debian"),
            ("HTTP://mirror.example.org.:80//debian/./x", "mirror.example.org/debian/x"),
            ("mirror.example.org:443/debian", "mirror.example.org:443/debian"),
            ("mirror.example.org.:8080", "mirror.example.org:8080"),
            ("[2001:DB8::1]:80/debian", "[2001:db8::1]/debian"),
            ("https/debian", "https/debian"),
        ] {
            assert_eq!(prefix(text).as_deref(), Some(named), "{text}");
        }
        for bad in [
            "",
            "/debian",
            "http://",
            "https://mirror.example.org/debian",
            "http://https://mirror.example.org/debian",
            "ftp://mirror.example.org/debian",
            "HTTPS///mirror.example.org/debian",
            "mirror.example.org:0/debian",
            "mirror.example.org:x/debian",
            "2001:db8::1/debian",
            "[2001:db8::1/debian",
            "me@mirror.example.org/debian",
            "*.example.org/debian",
            "mirror.example.org/../debian",
            "mirror.example.org/x?y",
            "a b",
        ] {
            assert_eq!(prefix(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_pattern_ends_where_a_label_does() {
        for (pattern, host, named) in [
            ("mirror.example.org", "Mirror.Example.Org", true),
            ("mirror.example.org", "a.mirror.example.org", false),
            ("*.example.org", "a.mirror.Example.org", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", "badexample.org", false),
            ("192.0.2.0/24", "192.0.2.9", true),
            ("192.0.2.0/24", "192.0.3.9", false),
            ("[2001:db8::1]", "[2001:DB8::1]", true),
            ("2001:db8::/32", "[2001:db8::1]", true),
        ] {
            let parsed: HostPattern = pattern.parse().expect("a pattern");
            assert_eq!(parsed.names(host), named, "{pattern} {host}");
        }
        for bad in ["", "*", "*.", "*.*.org", "a b", "mirror.example.org:443", "https://x", "..", ".org"] {
            assert_eq!(bad.parse::<HostPattern>(), Err(NotAHost), "{bad}");
        }
    }
}
