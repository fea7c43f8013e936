//! With whom files are exchanged, and how the others are found.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;

use super::file::Settings;
use super::{ConfigError, cidr, one_of, value};

/// The overlay that everybody is in who names none.
const NETWORK: &str = "apt-p2p";
/// Bytes of a network's name: it is in every datagram.
const NETWORK_LEN_MAX: usize = 32;
/// Where mainline is entered: the routers that its clients have built in.
const ROUTERS: [&str; 3] = ["router.bittorrent.com:6881", "dht.transmissionbt.com:6881", "router.utorrent.com:6881"];
/// Bytes of a secret; a shorter one can be guessed.
const SECRET_LEN: std::ops::RangeInclusive<usize> = 16..=1024;

/// With whom files are exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// With everybody.
    Internet,
    /// With machines of this network.
    Lan,
    /// With nobody.
    Off,
}

/// How BitTorrent's DHT is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mainline {
    /// Asked for other nodes of the network.
    Ask,
    /// Asked, and answered.
    Serve,
    /// Not at all.
    Off,
}

/// What keeps a network's keys from others. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// With whom files are exchanged, and how they are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharing {
    /// With whom.
    pub share: Share,
    /// Where others reach us, by TCP and UDP.
    pub peer_listen: SocketAddr,
    /// The overlay's name.
    pub network: String,
    /// The overlay's secret.
    pub secret: Option<Secret>,
    /// Where the DHT starts, `HOST:PORT` each.
    pub bootstrap: Vec<String>,
    /// How BitTorrent's DHT is used.
    pub mainline: Mainline,
    /// Whether private addresses are as good as others on the overlay: the DHT starts at one.
    pub is_private: bool,
    /// The same on mainline: the DHT starts at private ones alone.
    pub is_mainline_private: bool,
}

impl Sharing {
    pub(super) fn from_settings(settings: &Settings) -> Result<Sharing, ConfigError> {
        let bootstrap = bootstrap(&settings.bootstrap)?;
        let is_inside =
            |host: &String| host.parse::<SocketAddr>().is_ok_and(|address| !cidr::is_public(address.ip()));
        let is_private = bootstrap.iter().any(is_inside);
        let is_mainline_private = is_private && bootstrap.iter().all(is_inside);
        Ok(Sharing {
            share: settings.share.as_deref().map_or(Ok(Share::Internet), share)?,
            peer_listen: match &settings.peer_listen {
                None => SocketAddr::from(([0_u16; 8], 9978)),
                Some(text) => text.parse().map_err(|_| {
                    let expected = "an address and a port, such as 192.0.2.1:9978 or [::]:9978";
                    value("--peer-listen", text.clone(), expected)
                })?,
            },
            network: settings.network.as_deref().map_or_else(|| Ok(NETWORK.to_owned()), network)?,
            secret: settings.secret.as_deref().map(secret).transpose()?,
            bootstrap,
            mainline: settings.mainline.as_deref().map_or(Ok(Mainline::Ask), mainline)?,
            is_private,
            is_mainline_private,
        })
    }
}

fn share(text: &str) -> Result<Share, ConfigError> {
    one_of(
        "--share",
        text,
        &[("internet", Share::Internet), ("lan", Share::Lan), ("off", Share::Off)],
        "internet, lan or off",
    )
}

fn mainline(text: &str) -> Result<Mainline, ConfigError> {
    one_of(
        "--mainline",
        text,
        &[("ask", Mainline::Ask), ("serve", Mainline::Serve), ("off", Mainline::Off)],
        "ask, serve or off",
    )
}

fn network(text: &str) -> Result<String, ConfigError> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if text.is_empty() || text.len() > NETWORK_LEN_MAX || !text.bytes().all(is_name) {
        return Err(value("--network", text.to_owned(), "a name of up to 32 letters, digits, dots, - or _"));
    }
    Ok(text.to_owned())
}

fn secret(path: &Path) -> Result<Secret, ConfigError> {
    let mut bytes = Vec::new();
    let limit = *SECRET_LEN.end() as u64 + 2;
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| ConfigError::Secret(path.to_owned(), error.to_string()))?;
    // An editor's last newline is no part of it.
    let bytes = bytes.trim_ascii_end().to_vec();
    if !SECRET_LEN.contains(&bytes.len()) {
        let why = format!("it has {} bytes, and 16 to 1024 are needed", bytes.len());
        return Err(ConfigError::Secret(path.to_owned(), why));
    }
    Ok(Secret(bytes))
}

fn bootstrap(texts: &[String]) -> Result<Vec<String>, ConfigError> {
    match texts {
        [] => Ok(ROUTERS.map(str::to_owned).to_vec()),
        [none] if none == "none" => Ok(Vec::new()),
        some => {
            for text in some {
                if !is_host_and_port(text) {
                    let expected = "HOST:PORT, such as node.example.org:9978, or none alone";
                    return Err(value("--bootstrap", text.clone(), expected));
                }
            }
            Ok(some.to_vec())
        }
    }
}

fn is_host_and_port(text: &str) -> bool {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return address.port() != 0;
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_name = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    is_name && port.parse::<u16>().is_ok_and(|port| port != 0)
}
