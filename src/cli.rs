//! The command line: what can be typed, and what it says about itself.
//!
//! A contract (docs/CHANGELOG.md): names and defaults stay. Owns the words; `config` owns their meaning, and
//! `examples/manual` makes manual pages and the shells' completions of them.

#![allow(rustdoc::broken_intra_doc_links, reason = "what stands above an option is what --help prints")]

mod commands;

use std::path::PathBuf;

use crate::config::Flags;
use argh::{ArgsInfo, FromArgs};

pub use self::commands::{Cleanup, Crawl, Dht, Import, Lookup, Status, Verify};

/// A caching proxy for apt: keeps the packages of a whole network, each checked against its archive's own index.
/// Without a command it runs the proxy in the foreground.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    example = "Serve the network on port 9977:\n  {command_name}\nKeep at most 20 GB on another disk:\n  {command_name} \
               --cache /srv/apt --max-size 20G\nFetch an archive over https for clients that ask by http:\n  \
               {command_name} --upstream archive.example.org/debian=https://mirror.example.org/debian\n\
               Point a machine at it:\n  echo 'Acquire::http::Proxy \"http://this-machine:9977\";' > \
               /etc/apt/apt.conf.d/30apt-p2p",
    note = "Settings can also stand in /etc/apt-p2p.toml or the file named with --config; flags win. SIGHUP reads the \
            file again, SIGTERM ends the proxy. Downloads that were cut short are resumed.",
    error_code(0, "done"),
    error_code(1, "failed; the last line on standard error says why and what to do"),
    error_code(2, "the command line or the configuration cannot be used")
)]
pub struct Cli {
    /// configuration file; default: /etc/apt-p2p.toml, if it is there
    #[argh(option, arg_name = "FILE")]
    pub config: Option<PathBuf>,

    /// where apt's requests are answered; repeatable; default: [::]:9977, and [::]:3142, where auto-apt-proxy looks, if that
    /// is free
    #[argh(option, arg_name = "ADDR:PORT")]
    pub listen: Vec<String>,

    /// where files are kept; default: /var/cache/apt-p2p as root, else in the user's cache folder
    #[argh(option, arg_name = "DIR")]
    pub cache: Option<PathBuf>,

    /// the most that stays there, e.g. 20G; default: 80% of the free space, at most 50G
    #[argh(option, arg_name = "SIZE")]
    pub max_size: Option<String>,

    /// a network or address that is served; repeatable; default: this machine, its links and private networks
    #[argh(option, arg_name = "CIDR")]
    pub allow: Vec<String>,

    /// where an archive is fetched from, HOST/PATH=URL; repeatable; several for one archive stand in for one another
    #[argh(option, arg_name = "PREFIX=URL")]
    pub upstream: Vec<String>,

    /// a private or loopback mirror that may be fetched from: name, address or network; repeatable
    #[argh(option, arg_name = "HOST|CIDR")]
    pub allow_upstream: Vec<String>,

    /// the proxy by which mirrors are reached, http://HOST:PORT; those that --allow-upstream names are reached without it
    #[argh(option, arg_name = "URL")]
    pub upstream_proxy: Option<String>,

    /// a host to which clients' https sources may be tunnelled (CONNECT, port 443): a name, *.DOMAIN, or none; repeatable;
    /// default: any public host
    #[argh(option, arg_name = "HOST")]
    pub allow_connect: Vec<String>,

    /// with whom files are exchanged: internet, lan or off; default: internet
    #[argh(option, arg_name = "WITH")]
    pub share: Option<String>,

    /// where others reach this machine, by TCP and UDP; default: [::]:9978
    #[argh(option, arg_name = "ADDR:PORT")]
    pub peer_listen: Option<String>,

    /// an archive whose files may be shared though its origin is unknown, HOST/PATH; repeatable
    #[argh(option, arg_name = "PREFIX")]
    pub public: Vec<String>,

    /// bytes a second that others on the Internet get in all; default: 256K
    #[argh(option, arg_name = "RATE")]
    pub upload_rate: Option<String>,

    /// another network than the public one, by its name
    #[argh(option, arg_name = "NAME")]
    pub network: Option<String>,

    /// a file with a secret: only who has it too can find what this network shares
    #[argh(option, arg_name = "FILE")]
    pub secret: Option<PathBuf>,

    /// where others are looked for first, HOST:PORT, or none; repeatable; default: the routers of BitTorrent's DHT. A
    /// private address makes the network private, and BitTorrent's DHT too if there are no others
    #[argh(option, arg_name = "HOST:PORT")]
    pub bootstrap: Vec<String>,

    /// use of BitTorrent's DHT: ask it for others of this network, serve it too, or off; default: ask
    #[argh(option, arg_name = "HOW")]
    pub mainline: Option<String>,

    /// a peer on this network, known without being announced; repeatable
    #[argh(option, arg_name = "ADDR:PORT")]
    pub neighbour: Vec<String>,

    /// what to spare: speed (time) or offload (the mirror, a metered line); default: speed
    #[argh(option, arg_name = "speed|offload")]
    pub prefer: Option<String>,

    /// on or off: whether neighbours and clients find the proxy by multicast DNS; default: on
    #[argh(option, arg_name = "on|off")]
    pub mdns: Option<String>,

    /// on or off: whether the router is asked to let strangers reach this machine (PCP, NAT-PMP, UPnP); default: on
    #[argh(option, arg_name = "on|off")]
    pub port_mapping: Option<String>,

    /// new versions of packages that were used before: off (nothing), lookup (look for peers that have them) or night (fetch
    /// them from one to five, too); default: lookup
    #[argh(option, arg_name = "off|lookup|night")]
    pub prefetch: Option<String>,

    /// who signed an archive's Release: off (nobody asks), report (the page and the log say it) or enforce (what nobody known here
    /// has signed is refused); default: report
    #[argh(option, arg_name = "off|report|enforce")]
    pub(crate) signatures: Option<String>,

    /// a keyring, or a folder of keyrings, besides apt's own; may be repeated
    #[argh(option, arg_name = "PATH")]
    pub(crate) keyring: Vec<String>,

    /// requests worked on at once; default: one for each core, two to four
    #[argh(option, arg_name = "N")]
    pub workers: Option<usize>,

    /// print name and version
    #[argh(switch)]
    pub version: bool,

    /// what else to do than to run the proxy
    #[argh(subcommand)]
    pub command: Option<Command>,
}

/// What else it can do.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
pub enum Command {
    /// `cleanup`
    Cleanup(Cleanup),
    /// `verify`
    Verify(Verify),
    /// `import`
    Import(Import),
    /// `status`
    Status(Status),
    /// `dht`
    Dht(Dht),
    /// `lookup`
    Lookup(Lookup),
    /// `crawl`
    Crawl(Crawl),
}

impl Cli {
    /// What the options say of the configuration.
    pub fn flags(&self) -> Flags {
        Flags {
            config: self.config.clone(),
            listen: self.listen.clone(),
            cache: self.cache.clone(),
            max_size: self.max_size.clone(),
            allow: self.allow.clone(),
            upstream: self.upstream.clone(),
            allow_upstream: self.allow_upstream.clone(),
            upstream_proxy: self.upstream_proxy.clone(),
            allow_connect: self.allow_connect.clone(),
            public: self.public.clone(),
            upload_rate: self.upload_rate.clone(),
            share: self.share.clone(),
            peer_listen: self.peer_listen.clone(),
            network: self.network.clone(),
            secret: self.secret.clone(),
            bootstrap: self.bootstrap.clone(),
            mainline: self.mainline.clone(),
            workers: self.workers,
            neighbour: self.neighbour.clone(),
            prefer: self.prefer.clone(),
            mdns: self.mdns.clone(),
            port_mapping: self.port_mapping.clone(),
            prefetch: self.prefetch.clone(),
            signatures: self.signatures.clone(),
            keyring: self.keyring.clone(),
        }
    }
}
