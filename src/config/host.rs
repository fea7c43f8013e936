//! Hosts as the configuration names them: one, or all below a domain.

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

#[cfg(test)]
mod tests {
    use super::*;

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
