//! The configuration file: TOML, each setting by the name of its flag.

use std::path::{Path, PathBuf};

#[cfg(feature = "config-file")]
use toml::de::{DeTable, DeValue};

use super::{ConfigError, Flags};

/// Settings as they were written, from file and flags.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) listen: Vec<String>,
    pub(super) cache: Option<PathBuf>,
    pub(super) max_size: Option<String>,
    pub(super) grace: Option<String>,
    pub(super) allow: Vec<String>,
    pub(super) upstream: Vec<String>,
    pub(super) allow_upstream: Vec<String>,
    pub(super) upstream_proxy: Option<String>,
    pub(super) allow_connect: Vec<String>,
    pub(super) public: Vec<String>,
    pub(super) upload_rate: Option<String>,
    pub(super) share: Option<String>,
    pub(super) peer_listen: Option<String>,
    pub(super) network: Option<String>,
    pub(super) secret: Option<PathBuf>,
    pub(super) bootstrap: Vec<String>,
    pub(super) mainline: Option<String>,
    pub(super) workers: Option<usize>,
    pub(super) log: Option<String>,
    pub(super) neighbour: Vec<String>,
    pub(super) prefer: Option<String>,
    pub(super) mdns: Option<String>,
    pub(super) port_mapping: Option<String>,
    pub(super) prefetch: Option<String>,
    pub(super) signatures: Option<String>,
    pub(super) keyring: Vec<String>,
}

/// Every setting of the file.
#[cfg(feature = "config-file")]
pub(super) const KEYS: [&str; 26] = [
    "listen",
    "cache",
    "max-size",
    "grace",
    "allow",
    "upstream",
    "allow-upstream",
    "upstream-proxy",
    "allow-connect",
    "public",
    "upload-rate",
    "share",
    "peer-listen",
    "network",
    "secret",
    "bootstrap",
    "mainline",
    "workers",
    "log",
    "neighbour",
    "prefer",
    "mdns",
    "port-mapping",
    "prefetch",
    "signatures",
    "keyring",
];

impl Settings {
    pub(super) fn overridden_by(mut self, flags: &Flags) -> Settings {
        let list = |list: &mut Vec<String>, flag: &Vec<String>| {
            if !flag.is_empty() {
                list.clone_from(flag);
            }
        };
        list(&mut self.listen, &flags.listen);
        list(&mut self.allow, &flags.allow);
        list(&mut self.upstream, &flags.upstream);
        list(&mut self.allow_upstream, &flags.allow_upstream);
        list(&mut self.allow_connect, &flags.allow_connect);
        self.upstream_proxy = flags.upstream_proxy.clone().or(self.upstream_proxy);
        list(&mut self.public, &flags.public);
        self.upload_rate = flags.upload_rate.clone().or(self.upload_rate);
        list(&mut self.bootstrap, &flags.bootstrap);
        self.share = flags.share.clone().or(self.share);
        self.peer_listen = flags.peer_listen.clone().or(self.peer_listen);
        self.network = flags.network.clone().or(self.network);
        self.secret = flags.secret.clone().or(self.secret);
        self.mainline = flags.mainline.clone().or(self.mainline);
        list(&mut self.neighbour, &flags.neighbour);
        self.prefer = flags.prefer.clone().or(self.prefer);
        self.mdns = flags.mdns.clone().or(self.mdns);
        self.port_mapping = flags.port_mapping.clone().or(self.port_mapping);
        self.prefetch = flags.prefetch.clone().or(self.prefetch);
        self.signatures = flags.signatures.clone().or(self.signatures);
        list(&mut self.keyring, &flags.keyring);
        self.cache = flags.cache.clone().or(self.cache);
        self.max_size = flags.max_size.clone().or(self.max_size);
        self.workers = flags.workers.or(self.workers);
        self
    }
}

/// Reads the file at `path`.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable(path.to_owned(), error.to_string()))
}

/// Where it went wrong, and how.
type Problem = (usize, String);

#[cfg(feature = "config-file")]
pub(super) fn parse(text: &str) -> Result<Settings, Problem> {
    let line_of = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(span.start));
        (line, format!("{} (the file is TOML: key = value)", error.message()))
    })?;
    let mut settings = Settings::default();
    for (key, item) in table.get_ref() {
        let line = line_of(key.span().start);
        settings.take(key.get_ref(), item.get_ref()).map_err(|problem| (line, problem))?;
    }
    Ok(settings)
}

/// Routers' builds have their settings from flags alone, which the init script makes of UCI's options.
#[cfg(not(feature = "config-file"))]
pub(super) fn parse(text: &str) -> Result<Settings, Problem> {
    let is_empty = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    match text.lines().position(|line| !is_empty(line)) {
        Some(at) => Err((at + 1, "this build reads no settings from files: use flags".to_owned())),
        None => Ok(Settings::default()),
    }
}

#[cfg(feature = "config-file")]
impl Settings {
    fn take(&mut self, key: &str, item: &DeValue<'_>) -> Result<(), String> {
        match key {
            "listen" => self.listen = texts(key, item)?,
            "allow" => self.allow = texts(key, item)?,
            "upstream" => self.upstream = texts(key, item)?,
            "allow-upstream" => self.allow_upstream = texts(key, item)?,
            "upstream-proxy" => self.upstream_proxy = Some(text(key, item)?),
            "allow-connect" => self.allow_connect = texts(key, item)?,
            "public" => self.public = texts(key, item)?,
            "upload-rate" => self.upload_rate = Some(text_or_number(key, item)?),
            "bootstrap" => self.bootstrap = texts(key, item)?,
            "share" => self.share = Some(text(key, item)?),
            "peer-listen" => self.peer_listen = Some(text(key, item)?),
            "network" => self.network = Some(text(key, item)?),
            "secret" => self.secret = Some(PathBuf::from(text(key, item)?)),
            "mainline" => self.mainline = Some(text(key, item)?),
            "neighbour" => self.neighbour = texts(key, item)?,
            "prefer" => self.prefer = Some(text(key, item)?),
            "mdns" => self.mdns = Some(text(key, item)?),
            "port-mapping" => self.port_mapping = Some(text(key, item)?),
            "prefetch" => self.prefetch = Some(text(key, item)?),
            "signatures" => self.signatures = Some(text(key, item)?),
            "keyring" => self.keyring = texts(key, item)?,
            "cache" => self.cache = Some(PathBuf::from(text(key, item)?)),
            "max-size" => self.max_size = Some(text_or_number(key, item)?),
            "grace" => self.grace = Some(text(key, item)?),
            "log" => self.log = Some(text(key, item)?),
            "workers" => {
                let number = text_or_number(key, item)?;
                self.workers = Some(number.parse().map_err(|_| format!("{key} = {number}: expected a number"))?);
            }
            unknown => return Err(unknown_key(unknown)),
        }
        Ok(())
    }
}

#[cfg(feature = "config-file")]
fn unknown_key(unknown: &str) -> String {
    let nearest = KEYS.into_iter().min_by_key(|key| distance(key, unknown)).expect("there are keys");
    if distance(nearest, unknown) <= 2 {
        format!("there is no setting {unknown}; did you mean {nearest}?")
    } else {
        format!("there is no setting {unknown}; there are {}", KEYS.join(", "))
    }
}

#[cfg(feature = "config-file")]
fn text(key: &str, item: &DeValue<'_>) -> Result<String, String> {
    match item {
        DeValue::String(text) => Ok(text.to_string()),
        _ => Err(format!("{key}: expected a text in quotes")),
    }
}

#[cfg(feature = "config-file")]
fn text_or_number(key: &str, item: &DeValue<'_>) -> Result<String, String> {
    match item {
        DeValue::Integer(number) => Ok(number.to_string()),
        item => text(key, item),
    }
}

/// A text, or a list of texts.
#[cfg(feature = "config-file")]
fn texts(key: &str, item: &DeValue<'_>) -> Result<Vec<String>, String> {
    match item {
        DeValue::Array(items) => items.iter().map(|item| text(key, item.get_ref())).collect(),
        item => text(key, item).map(|text| vec![text]),
    }
}

/// Letters to add, drop or change to make one word of another (Levenshtein).
#[cfg(feature = "config-file")]
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let change = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
