//! Which archives are public, so that others may know what is taken from them (docs/PROTOCOL.md).

use std::net::IpAddr;
use std::str::FromStr;

use super::{cidr, host};

/// The `Origin` of the Releases of distributions that anybody can fetch: Debian with its security and backports
/// archives, and those made from it. One that sells access to a part of it is here too: what credentials opened is
/// never shared. PPAs and vendors are not: their number has no end, and who names one with `--public` knows it.
const ORIGINS: [&str; 14] = [
    "Debian",
    "Debian Backports",
    "Debian Ports",
    "Devuan",
    "Kali",
    "linuxmint",
    "Parrot",
    "Proxmox",
    "PureOS",
    "Raspberry Pi Foundation",
    "Raspbian",
    "Tails",
    "Trisquel",
    "Ubuntu",
];

/// An archive that is public because the configuration says so: `host/path`, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prefix(String);

/// A text that is no archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotAPrefix;

impl FromStr for Prefix {
    type Err = NotAPrefix;

    fn from_str(text: &str) -> Result<Prefix, NotAPrefix> {
        host::prefix(text).map(Prefix).ok_or(NotAPrefix)
    }
}

impl Prefix {
    pub(super) fn has(&self, whole: &str) -> bool {
        whole.strip_prefix(self.0.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Whether an archive of this origin, found at these addresses, is public by itself: all of them must be.
pub(super) fn is_public(origin: Option<&str>, addresses: &[IpAddr]) -> bool {
    let known = origin.is_some_and(|origin| ORIGINS.iter().any(|known| known.eq_ignore_ascii_case(origin)));
    known && !addresses.is_empty() && addresses.iter().all(|ip| cidr::is_public(*ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_public_by_its_origin_and_all_its_addresses() {
        let ips =
            |texts: &[&str]| texts.iter().map(|text| text.parse().expect("an address")).collect::<Vec<IpAddr>>();
        for (origin, addresses, public) in [
            (Some("Debian"), &["198.51.100.7", "2001:db8::7"][..], true),
            (Some("ubuntu"), &["198.51.100.7"], true),
            (Some("Debian"), &[], false),
            (Some("Debian"), &["198.51.100.7", "10.0.0.7"], false),
            (Some("Debian"), &["0.0.0.0"], false),
            (Some("Example Corp"), &["198.51.100.7"], false),
            (None, &["198.51.100.7"], false),
        ] {
            assert_eq!(is_public(origin, &ips(addresses)), public, "{origin:?} at {addresses:?}");
        }
    }

    #[test]
    fn a_prefix_ends_where_a_folder_does() {
        let prefix: Prefix = "http://Mirror.example.org/debian/".parse().expect("an archive");
        for (whole, has) in [
            ("mirror.example.org/debian/pool/a.deb", true),
            ("mirror.example.org/debian", true),
            ("mirror.example.org/debian-security/a.deb", false),
            ("mirror.example.org/ubuntu/a.deb", false),
        ] {
            assert_eq!(prefix.has(whole), has, "{whole}");
        }
        assert_eq!("https://mirror.example.org/debian".parse::<Prefix>(), Err(NotAPrefix));
    }
}
