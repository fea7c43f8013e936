//! A proxy that stands between this one and the mirrors, because the configuration says so: never the environment.
//!
//! It is asked as its clients ask us: by the whole URL for http, and by `CONNECT` for https, since many refuse that for
//! other ports. It looks names up itself.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// A proxy upstream.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Its name or address, an IPv6 address in brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Name and password.
    pub credentials: Option<(String, String)>,
}

impl Proxy {
    /// As ureq knows it.
    pub(super) fn for_ureq(&self) -> ureq::Proxy {
        let mut builder = ureq::Proxy::builder(ureq::ProxyProtocol::Http).host(&self.host).port(self.port);
        if let Some((name, password)) = &self.credentials {
            builder = builder.username(name).password(password);
        }
        builder.build().expect("the configuration has a host that can be one")
    }

    /// The value of `Proxy-Authorization`, if it asks for one.
    pub(super) fn authorization(&self) -> Option<String> {
        let (name, password) = self.credentials.as_ref()?;
        Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}"))))
    }

    /// What asks it for a tunnel.
    pub(super) fn greeting(&self, host: &str, port: u16) -> Vec<u8> {
        let authorization =
            self.authorization().map_or_else(String::new, |value| format!("Proxy-Authorization: {value}\r\n"));
        format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{authorization}\r\n").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_greeted_with_name_and_password() {
        let mut proxy = Proxy { host: "proxy.example.org".into(), port: 3128, credentials: None };
        let text = |proxy: &Proxy| String::from_utf8(proxy.greeting("mirror.example.org", 443)).expect("ASCII");
        let plain = "CONNECT mirror.example.org:443 HTTP/1.1\r\nHost: mirror.example.org:443\r\n";
        assert_eq!(text(&proxy), format!("{plain}\r\n"));
        proxy.credentials = Some(("Aladdin".into(), "open sesame".into()));
        // RFC 7617, section 2.
        let line = "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n";
        assert_eq!(text(&proxy), format!("{plain}{line}\r\n"));
        assert_eq!(proxy.for_ureq().host(), "proxy.example.org");
    }
}
