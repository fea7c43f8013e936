//! The configuration: one file and the command line become one validated [`Config`].
//!
//! Owns every setting's name, default and meaning. What does not parse is an error that says where, what is wrong and
//! what to do; nothing later in the program has to doubt a setting. Knows no other module.

mod cidr;
mod file;
mod host;
mod on_link;
mod proxy;
mod public;
pub mod settings;
mod sharing;
mod size;
mod upstream;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::cidr::Cidr;
pub use self::on_link::on_link;
pub use self::proxy::UpstreamProxy;
pub use self::sharing::{Mainline, Secret, Share, Sharing};
pub use self::size::parse_duration;
pub use self::upstream::UpstreamRule;

use self::host::HostPattern;

/// Read if it is there, unless another file is named.
pub const DEFAULT_FILE: &str = "/etc/apt-p2p.toml";

/// Where apt's requests are answered, unless configured.
pub const PORT: u16 = 9977;
/// The port of apt-cacher-ng and apt-cacher, the one at which auto-apt-proxy looks for a proxy on the gateway.
pub const FOUND_AT: u16 = 3142;

/// Request workers, unless configured: at least so many, so that one that waits for the disk does not hold all.
const WORKERS_LEAST: usize = 2;
/// At most so many, and else one for each core: more only wake one another.
const WORKERS_MOST: usize = 4;
const WORKERS_MAX: usize = 64;
/// Bytes a second for strangers, unless configured: what a home's line hardly feels.
const UPLOAD_RATE: u64 = 256 * 1024;
const UPLOAD_RATE_MIN: u64 = 1024;
const GRACE: Duration = Duration::from_secs(3 * 86_400);

/// What was given on the command line; each beats the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Addresses to listen on.
    pub listen: Vec<String>,
    /// The cache folder.
    pub cache: Option<PathBuf>,
    /// The most bytes of files that stay in the cache.
    pub max_size: Option<String>,
    /// Clients that are served.
    pub allow: Vec<String>,
    /// Where archives are fetched from.
    pub upstream: Vec<String>,
    /// Private addresses that may be fetched from.
    pub allow_upstream: Vec<String>,
    /// The proxy by which mirrors are reached.
    pub upstream_proxy: Option<String>,
    /// Hosts that tunnels may lead to.
    pub allow_connect: Vec<String>,
    /// Archives that are public.
    pub public: Vec<String>,
    /// Bytes a second for others.
    pub upload_rate: Option<String>,
    /// With whom files are exchanged.
    pub share: Option<String>,
    /// Where others reach us.
    pub peer_listen: Option<String>,
    /// The overlay's name.
    pub network: Option<String>,
    /// The file with the overlay's secret.
    pub secret: Option<PathBuf>,
    /// Where the DHT starts.
    pub bootstrap: Vec<String>,
    /// How BitTorrent's DHT is used.
    pub mainline: Option<String>,
    /// Request workers.
    pub workers: Option<usize>,
    /// Peers on this LAN.
    pub neighbour: Vec<String>,
    /// What is to be spared.
    pub prefer: Option<String>,
    /// Whether multicast DNS is used.
    pub mdns: Option<String>,
    /// Whether the router is asked to let others in.
    pub port_mapping: Option<String>,
    /// What is done for files that will be wanted soon.
    pub prefetch: Option<String>,
    /// What is done about Releases' signatures.
    pub signatures: Option<String>,
    /// Keyrings besides apt's.
    pub keyring: Vec<String>,
}

/// What is to be spared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefer {
    /// Time.
    Speed,
    /// The mirror, or a metered line.
    Offload,
}

/// What is done for new versions of packages that were used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefetch {
    /// Nothing.
    Off,
    /// Who has them is looked up.
    Lookup,
    /// And they are fetched at night.
    Night,
}

/// What the signatures under a Release decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signatures {
    /// Nothing; nobody looks.
    Off,
    /// What is said of the archive.
    Report,
    /// Whether it is given out.
    Enforce,
}

/// Where apt looks for keys (apt-secure(8)), and where packages put those that `Signed-By` names.
const KEYRINGS: [&str; 4] =
    ["/etc/apt/trusted.gpg", "/etc/apt/trusted.gpg.d", "/etc/apt/keyrings", "/usr/share/keyrings"];

/// A configuration that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Whether [`FOUND_AT`] is listened on too, where it is free: unless addresses are named.
    pub listen_where_found: bool,
    /// The cache folder.
    pub cache: PathBuf,
    /// The most bytes of files that stay in the cache; by default a share of its disk.
    pub max_size: Option<u64>,
    /// How long a file stays that no index names any more.
    pub grace: Duration,
    /// With whom files are exchanged, and how they are found.
    pub sharing: Sharing,
    /// Bytes a second that strangers get in all; none: as many as there are.
    pub upload_rate: Option<u64>,
    /// Request workers.
    pub workers: usize,
    /// Peers on this LAN that are known without being announced.
    pub neighbours: Vec<SocketAddr>,
    /// What is to be spared.
    pub prefer: Prefer,
    /// Whether neighbours and clients find the proxy by multicast DNS.
    pub mdns: bool,
    /// Whether the router is asked to pass the peers' port on to us, when files are shared with the Internet.
    pub port_mapping: bool,
    /// What is done for new versions of packages that were used before.
    pub prefetch: Prefetch,
    /// What the signatures under a Release decide.
    pub signatures: Signatures,
    /// Keyrings and folders of keyrings: those named, and apt's.
    pub keyrings: Vec<PathBuf>,
    /// What is logged: a filter as `env_logger` takes it.
    pub log: String,
    allow: Vec<Cidr>,
    /// Whether those on the link with this machine's inner interfaces are served too: unless clients are named.
    pub allow_on_link: bool,
    upstream: Vec<UpstreamRule>,
    allow_upstream: Vec<HostPattern>,
    /// The proxy by which mirrors are reached, but for those that `allow-upstream` names.
    pub upstream_proxy: Option<UpstreamProxy>,
    /// None: any that may be fetched from.
    allow_connect: Option<Vec<HostPattern>>,
    public: Vec<public::Prefix>,
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable(PathBuf, String),
    /// The file is no TOML, or a setting in it has the wrong type or name.
    File {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A value cannot be used.
    Value {
        /// The setting, as it is called on the command line.
        setting: &'static str,
        /// What was given.
        value: String,
        /// What is expected.
        expected: &'static str,
    },
    /// The file with the overlay's secret cannot be used.
    Secret(PathBuf, String),
    /// There is no folder to keep files in.
    NoHome,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable(path, why) => {
                write!(f, "cannot read {}: {why}; name the file with --config", path.display())
            }
            ConfigError::File { path, line, problem } => write!(f, "{}:{line}: {problem}", path.display()),
            ConfigError::Value { setting, value, expected } => write!(f, "{setting} {value}: expected {expected}"),
            ConfigError::Secret(path, why) => {
                write!(f, "--secret {}: {why}; make one with: head -c 32 /dev/urandom | base64", path.display())
            }
            ConfigError::NoHome => f.write_str("no folder for the cache: name one with --cache"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the file, if there is one, puts the flags over it, and checks it all.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn load(flags: &Flags) -> Result<Config, ConfigError> {
        match &flags.config {
            Some(path) => Config::parse(&file::read(path)?, path, flags),
            None if Path::new(DEFAULT_FILE).exists() => {
                let path = Path::new(DEFAULT_FILE);
                Config::parse(&file::read(path)?, path, flags)
            }
            None => Config::parse("", Path::new(DEFAULT_FILE), flags),
        }
    }

    /// The same from the file's text; `path` is named in errors.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn parse(text: &str, path: &Path, flags: &Flags) -> Result<Config, ConfigError> {
        let in_file = |(line, problem)| ConfigError::File { path: path.to_owned(), line, problem };
        Config::from_settings(file::parse(text).map_err(in_file)?.overridden_by(flags))
    }

    fn from_settings(settings: file::Settings) -> Result<Config, ConfigError> {
        let listen = match settings.listen.as_slice() {
            [] => vec![SocketAddr::from(([0_u16; 8], PORT))],
            some => parse_all("--listen", some, "an address and a port, such as 192.0.2.1:9977 or [::]:9977")?,
        };
        let allow = match settings.allow.as_slice() {
            [] => cidr::local_networks(),
            some => parse_all("--allow", some, "an address or a network, such as 192.0.2.0/24")?,
        };
        let sharing = Sharing::from_settings(&settings)?;
        let max_size = settings.max_size.map(|text| {
            size::parse(&text).ok_or_else(|| value("--max-size", text, "a size in bytes, or with K, M, G or T: 50G"))
        });
        let grace = settings.grace.map(|text| {
            size::parse_duration(&text).ok_or_else(|| value("grace", text, "a time with s, m, h or d: 3d"))
        });
        let upstream: Vec<UpstreamRule> = parse_all(
            "--upstream",
            &settings.upstream,
            "HOST/PATH=URL, such as example.org/debian=https://example.org/debian",
        )?;
        let public =
            parse_all("--public", &settings.public, "an archive's HOST/PATH, such as mirror.example.org/debian")?;
        let workers = settings.workers.unwrap_or_else(|| workers(std::thread::available_parallelism().ok()));
        if !(1..=WORKERS_MAX).contains(&workers) {
            return Err(value("--workers", workers.to_string(), "a number from 1 to 64"));
        }
        let neighbours = parse_all(
            "--neighbour",
            &settings.neighbour,
            "an address and a port, such as 192.0.2.7:9978 or [2001:db8::7]:9978",
        )?;
        Ok(Config {
            sharing,
            neighbours,
            prefer: settings.prefer.as_deref().map_or(Ok(Prefer::Speed), prefer)?,
            mdns: on_or_off("--mdns", settings.mdns.as_deref())?,
            port_mapping: on_or_off("--port-mapping", settings.port_mapping.as_deref())?,
            prefetch: settings.prefetch.as_deref().map_or(Ok(Prefetch::Lookup), prefetch)?,
            signatures: settings.signatures.as_deref().map_or(Ok(Signatures::Report), signatures)?,
            keyrings: settings.keyring.iter().map(String::as_str).chain(KEYRINGS).map(PathBuf::from).collect(),
            upload_rate: settings.upload_rate.as_deref().map_or(Ok(Some(UPLOAD_RATE)), upload_rate)?,
            public,
            listen_where_found: settings.listen.is_empty(),
            listen,
            cache: settings.cache.map_or_else(default_cache, folder)?,
            max_size: max_size.transpose()?,
            grace: grace.transpose()?.unwrap_or(GRACE),
            workers,
            log: settings.log.unwrap_or_else(|| "info".into()),
            allow,
            allow_on_link: settings.allow.is_empty(),
            upstream: UpstreamRule::joined(upstream),
            allow_upstream: parse_all(
                "--allow-upstream",
                &settings.allow_upstream,
                "a host name, an address or a network, such as mirror.lan, *.lan or 192.0.2.0/24",
            )?,
            upstream_proxy: settings.upstream_proxy.map(upstream_proxy).transpose()?,
            allow_connect: allow_connect(&settings.allow_connect)?,
        })
    }

    /// Whether a client at this address is served.
    #[must_use]
    pub fn allows(&self, client: IpAddr) -> bool {
        self.allow.iter().any(|net| net.contains(client))
    }

    /// Whether this address, to which `host` resolved, may be fetched from: any public one, and what is named.
    #[must_use]
    pub fn upstream_allowed(&self, ip: IpAddr, host: &str) -> bool {
        cidr::is_public(ip) || self.upstream_named(ip, host)
    }

    /// Whether this address, to which `host` resolved, is one that the configuration names.
    #[must_use]
    pub fn upstream_named(&self, ip: IpAddr, host: &str) -> bool {
        self.allow_upstream.iter().any(|named| named.names_address(ip, host))
    }

    /// Whether a mirror is one of this network's own, which no proxy stands in front of.
    #[must_use]
    pub fn is_near(&self, host: &str) -> bool {
        self.allow_upstream.iter().any(|named| named.names(host))
    }

    /// Whether a tunnel may lead to `host`, if its address may be fetched from.
    #[must_use]
    pub fn may_connect(&self, host: &str) -> bool {
        self.allow_connect.as_ref().is_none_or(|named| named.iter().any(|pattern| pattern.names(host)))
    }

    /// Whether others may have what is fetched from `whole` (host/path): it is named, or its origin is a known distribution
    /// and all `addresses` that it came from are public ones, which ask for no password.
    #[must_use]
    pub fn is_public(&self, whole: &str, origin: Option<&str>, addresses: &[IpAddr]) -> bool {
        let is_opened = || self.upstream_for(whole).is_some_and(|(rule, _)| rule.has_password());
        self.public.iter().any(|prefix| prefix.has(whole)) || public::is_public(origin, addresses) && !is_opened()
    }

    /// Whether a peer at this address is a neighbour, and no stranger.
    #[must_use]
    pub fn is_neighbour(&self, peer: IpAddr) -> bool {
        cidr::is_neighbour(peer)
    }

    /// The rule for `host/path`, the longest that fits, and what of the path lies behind it.
    #[must_use]
    pub fn upstream_for<'a>(&self, whole: &'a str) -> Option<(&UpstreamRule, &'a str)> {
        let fits = self.upstream.iter().filter_map(|rule| rule.rest_of(whole).map(|rest| (rule, rest)));
        fits.min_by_key(|(_, rest)| rest.len())
    }
}

fn upstream_proxy(text: String) -> Result<UpstreamProxy, ConfigError> {
    let expected = "http://HOST:PORT, with NAME:PASSWORD@ in front of HOST where the proxy asks for it";
    // What was given may hold a password.
    text.parse().map_err(|_| value("--upstream-proxy", "…".into(), expected))
}

/// `none`, or hosts.
fn allow_connect(texts: &[String]) -> Result<Option<Vec<HostPattern>>, ConfigError> {
    let expected = "a host, such as mirror.example.org or *.example.org; or none, alone";
    match texts {
        [] => Ok(None),
        [none] if none == "none" => Ok(Some(Vec::new())),
        some if some.iter().any(|text| text == "none") => Err(value("--allow-connect", "none".into(), expected)),
        some => parse_all("--allow-connect", some, expected).map(Some),
    }
}

fn prefer(text: &str) -> Result<Prefer, ConfigError> {
    one_of("--prefer", text, &[("speed", Prefer::Speed), ("offload", Prefer::Offload)], "speed or offload")
}

fn prefetch(text: &str) -> Result<Prefetch, ConfigError> {
    one_of(
        "--prefetch",
        text,
        &[("off", Prefetch::Off), ("lookup", Prefetch::Lookup), ("night", Prefetch::Night)],
        "off, lookup or night",
    )
}

fn signatures(text: &str) -> Result<Signatures, ConfigError> {
    one_of(
        "--signatures",
        text,
        &[("off", Signatures::Off), ("report", Signatures::Report), ("enforce", Signatures::Enforce)],
        "off, report or enforce",
    )
}

/// On, unless somebody says otherwise.
fn on_or_off(setting: &'static str, text: Option<&str>) -> Result<bool, ConfigError> {
    match text {
        None | Some("on") => Ok(true),
        Some("off") => Ok(false),
        Some(text) => Err(value(setting, text.to_owned(), "on or off")),
    }
}

fn workers(cores: Option<NonZero<usize>>) -> usize {
    cores.map_or(WORKERS_LEAST, usize::from).clamp(WORKERS_LEAST, WORKERS_MOST)
}

/// None: as many bytes a second as there are.
fn upload_rate(text: &str) -> Result<Option<u64>, ConfigError> {
    if text == "unlimited" {
        return Ok(None);
    }
    let rate = size::parse(text).filter(|rate| *rate >= UPLOAD_RATE_MIN);
    let expected = "bytes a second, at least 1K, such as 256K or 2M, or unlimited";
    rate.map(Some).ok_or_else(|| value("--upload-rate", text.to_owned(), expected))
}

/// What one of these words stands for.
fn one_of<T: Copy>(
    setting: &'static str,
    text: &str,
    words: &[(&str, T)],
    expected: &'static str,
) -> Result<T, ConfigError> {
    let named = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
    named.ok_or_else(|| value(setting, text.to_owned(), expected))
}

fn value(setting: &'static str, value: String, expected: &'static str) -> ConfigError {
    ConfigError::Value { setting, value, expected }
}

fn parse_all<T: std::str::FromStr>(
    setting: &'static str,
    texts: &[String],
    expected: &'static str,
) -> Result<Vec<T>, ConfigError> {
    let parse = |text: &String| text.parse().map_err(|_| value(setting, text.clone(), expected));
    texts.iter().map(parse).collect()
}

/// An empty name is what a shell makes of a variable that nobody has set; it would be the folder that one stands in.
fn folder(path: PathBuf) -> Result<PathBuf, ConfigError> {
    if path.as_os_str().is_empty() { Err(value("--cache", String::new(), "a folder")) } else { Ok(path) }
}

fn default_cache() -> Result<PathBuf, ConfigError> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/cache/apt-p2p"));
    }
    let from_env = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = from_env("XDG_CACHE_HOME").or_else(|| from_env("HOME").map(|home| home.join(".cache")));
    folder.map(|folder| folder.join("apt-p2p")).ok_or(ConfigError::NoHome)
}

#[cfg(test)]
mod tests;
