//! A proxy between this one and the mirrors.

use std::fmt;
use std::str::FromStr;

/// Where it stands, and who we are to it.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamProxy {
    /// Its name or address, an IPv6 address in brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Name and password.
    pub credentials: Option<(String, String)>,
}

impl fmt::Debug for UpstreamProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password is for the proxy's eyes alone.
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A text that names no proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAProxy;

impl FromStr for UpstreamProxy {
    type Err = NotAProxy;

    /// `http://HOST:PORT`, with `NAME:PASSWORD@` in front of the host where it is needed.
    fn from_str(text: &str) -> Result<UpstreamProxy, NotAProxy> {
        let rest = text.strip_prefix("http://").ok_or(NotAProxy)?.trim_end_matches('/');
        let (credentials, authority) = match rest.rsplit_once('@') {
            Some((user, authority)) => (Some(user.split_once(':').ok_or(NotAProxy)?), authority),
            None => (None, rest),
        };
        let (host, port) = authority.rsplit_once(':').ok_or(NotAProxy)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(NotAProxy)?;
        let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(literal) => literal.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
            }
        };
        let is_clean = |(name, password): &(&str, &str)| {
            [name, password].iter().all(|text| text.bytes().all(|b| b.is_ascii_graphic()))
        };
        if !is_host || !credentials.as_ref().is_none_or(is_clean) {
            return Err(NotAProxy);
        }
        let credentials = credentials.map(|(name, password)| (name.to_owned(), password.to_owned()));
        Ok(UpstreamProxy { host: host.to_ascii_lowercase(), port, credentials })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies() {
        let of = |text: &str| text.parse::<UpstreamProxy>().map(|proxy| (proxy.host, proxy.port, proxy.credentials));
        assert_eq!(of("http://Proxy.example.org:3128/"), Ok(("proxy.example.org".into(), 3128, None)));
        assert_eq!(of("http://[2001:db8::1]:80"), Ok(("[2001:db8::1]".into(), 80, None)));
        let credentials = Some(("me".to_owned(), "p@ss:word".to_owned()));
        assert_eq!(of("http://me:p@ss:word@proxy:8080"), Ok(("proxy".into(), 8080, credentials)));
        for bad in [
            "",
            "proxy:3128",
            "http://proxy",
            "https://proxy:1",
            "socks5://proxy:1",
            "http://proxy:0",
            "http://me@proxy:1",
            "http://a b:1",
            "http://:1",
            "http://proxy:3128/x",
        ] {
            assert_eq!(of(bad), Err(NotAProxy), "{bad}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let proxy: UpstreamProxy = "http://me:secret@proxy:8080".parse().expect("a proxy");
        assert_eq!(format!("{proxy:?}"), "proxy:8080");
    }
}
