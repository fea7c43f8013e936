//! The command line: what can be typed, and what it says about itself.
//!
//! A contract (docs/ARCHITECTURE.md): names and defaults stay. Owns the words; `config` owns their meaning.

use std::path::PathBuf;

use apt_p2p::config::Flags;
use argh::FromArgs;

/// A caching proxy for apt: keeps the packages of a whole network, each checked against its archive's own index.
/// Without a command it runs the proxy in the foreground.
#[derive(FromArgs, Debug)]
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
pub(crate) struct Cli {
    /// configuration file; default: /etc/apt-p2p.toml, if it is there
    #[argh(option, arg_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// where apt's requests are answered; repeatable; default: [::]:9977
    #[argh(option, arg_name = "ADDR:PORT")]
    pub(crate) listen: Vec<String>,

    /// where files are kept; default: /var/cache/apt-p2p as root, else in the user's cache folder
    #[argh(option, arg_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,

    /// the most that stays there, e.g. 20G; default: 80% of the free space, at most 50G
    #[argh(option, arg_name = "SIZE")]
    pub(crate) max_size: Option<String>,

    /// a network or address that is served; repeatable; default: this machine, its links and private networks
    #[argh(option, arg_name = "CIDR")]
    pub(crate) allow: Vec<String>,

    /// where an archive is fetched from, HOST/PATH=URL; repeatable, several for one archive are tried in order
    #[argh(option, arg_name = "PREFIX=URL")]
    pub(crate) upstream: Vec<String>,

    /// a private or loopback mirror that may be fetched from: name, address or network; repeatable
    #[argh(option, arg_name = "HOST|CIDR")]
    pub(crate) allow_upstream: Vec<String>,

    /// with whom files are exchanged: internet, lan or off; default: internet
    #[argh(option, arg_name = "WITH")]
    pub(crate) share: Option<String>,

    /// where others reach this machine, by TCP and UDP; default: [::]:9978
    #[argh(option, arg_name = "ADDR:PORT")]
    pub(crate) peer_listen: Option<String>,

    /// an archive whose files may be shared though its origin is unknown, HOST/PATH; repeatable
    #[argh(option, arg_name = "PREFIX")]
    pub(crate) public: Vec<String>,

    /// bytes a second that others on the Internet get in all; default: 256K
    #[argh(option, arg_name = "RATE")]
    pub(crate) upload_rate: Option<String>,

    /// another network than the public one, by its name
    #[argh(option, arg_name = "NAME")]
    pub(crate) network: Option<String>,

    /// a file with a secret: only who has it too can find what this network shares
    #[argh(option, arg_name = "FILE")]
    pub(crate) secret: Option<PathBuf>,

    /// where others are looked for first, HOST:PORT, or none; repeatable; default: the routers of BitTorrent's DHT. A
    /// private address makes the network private
    #[argh(option, arg_name = "HOST:PORT")]
    pub(crate) bootstrap: Vec<String>,

    /// use of BitTorrent's DHT: ask it for others of this network, serve it too, or off; default: ask
    #[argh(option, arg_name = "HOW")]
    pub(crate) mainline: Option<String>,
    /// a peer on this network, known without being announced; repeatable
    #[argh(option, arg_name = "ADDR:PORT")]
    pub(crate) neighbour: Vec<String>,

    /// what to spare: speed (time) or offload (the mirror, a metered line); default: speed
    #[argh(option, arg_name = "speed|offload")]
    pub(crate) prefer: Option<String>,

    /// on or off: whether neighbours and clients find the proxy by multicast DNS; default: on
    #[argh(option, arg_name = "on|off")]
    pub(crate) mdns: Option<String>,

    /// requests worked on at once; default: 4
    #[argh(option, arg_name = "N")]
    pub(crate) workers: Option<usize>,

    /// print name and version
    #[argh(switch)]
    pub(crate) version: bool,

    #[argh(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What else it can do.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub(crate) enum Command {
    Cleanup(Cleanup),
    Dht(Dht),
    Lookup(Lookup),
    Crawl(Crawl),
}

/// Let go what may go: packages that no index has named for three days, the least recently used beyond --max-size,
/// leftovers of crashes. For cron, beside the running proxy or without it.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "cleanup",
    example = "Every night at four, from cron:\n  0 4 * * * root {command_name}\nSee what would go:\n  {command_name} \
               --max-size 5G --dry-run",
    note = "It does nothing while the clock is before the newest file of the cache: set the clock first.",
    error_code(0, "done"),
    error_code(1, "failed"),
    error_code(2, "the command line or the configuration cannot be used")
)]
pub(crate) struct Cleanup {
    /// configuration file; default: /etc/apt-p2p.toml, if it is there
    #[argh(option, arg_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// the cache folder
    #[argh(option, arg_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,

    /// the most that stays, e.g. 20G
    #[argh(option, arg_name = "SIZE")]
    pub(crate) max_size: Option<String>,

    /// only say what would go
    #[argh(switch)]
    pub(crate) dry_run: bool,

    /// print the report as JSON
    #[argh(switch)]
    pub(crate) json: bool,
}

/// Say how the running proxy's part of the DHT goes: its ids and addresses, whether others reach it, whom it knows, what
/// it keeps for others, its traffic.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "dht",
    example = "{command_name}\nOf a proxy with another cache, for a program:\n  {command_name} --cache /srv/apt --json",
    note = "It asks the running proxy by the socket named control in its cache folder, which only its own user may open.",
    error_code(0, "done"),
    error_code(1, "no proxy runs there, or it has no DHT"),
    error_code(2, "the command line or the configuration cannot be used")
)]
pub(crate) struct Dht {
    /// configuration file; default: /etc/apt-p2p.toml, if it is there
    #[argh(option, arg_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// the cache folder of the running proxy
    #[argh(option, arg_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,

    /// print it as JSON
    #[argh(switch)]
    pub(crate) json: bool,
}

/// Look in the DHT for who has a file, and show each step as it happens: whom it asks, how many steps away, how many
/// leading bits the node's id has in common with the file's key, who answers.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "lookup",
    example = "Who has this package?\n  {command_name} $(sha256sum < hello_2.10-3_amd64.deb | cut -c1-64)\nIn a private \
               network, without a proxy:\n  {command_name} --bootstrap node.example.org:9978 --secret \
               /etc/apt-p2p.secret DIGEST",
    note = "The running proxy makes the lookup. Where none runs, or --network, --secret or --bootstrap is given here, a node \
            of its own does: it answers nobody and keeps nothing. With --json each step is one object on one line.",
    error_code(0, "somebody says to have it"),
    error_code(1, "nobody is known to have it, or it failed: then standard error says why"),
    error_code(2, "the command line or the configuration cannot be used")
)]
pub(crate) struct Lookup {
    /// the file's SHA-256, 64 hexadecimal digits
    #[argh(positional, arg_name = "DIGEST")]
    pub(crate) digest: String,

    /// configuration file; default: /etc/apt-p2p.toml, if it is there
    #[argh(option, arg_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// the cache folder of the running proxy
    #[argh(option, arg_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,

    /// another network, by its name
    #[argh(option, arg_name = "NAME")]
    pub(crate) network: Option<String>,

    /// the file with that network's secret
    #[argh(option, arg_name = "FILE")]
    pub(crate) secret: Option<PathBuf>,

    /// where to begin, HOST:PORT; repeatable
    #[argh(option, arg_name = "HOST:PORT")]
    pub(crate) bootstrap: Vec<String>,

    /// print each step as JSON
    #[argh(switch)]
    pub(crate) json: bool,
}

/// Walk over all nodes of the network and say how many there are, how many answer and how fast, which versions they are,
/// and with --duration how long they stay.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "crawl",
    example = "{command_name}\nFor six hours, with a sweep each ten minutes:\n  {command_name} --duration 6h --json",
    note = "It is polite: at most 20 queries a second in all and two for each node and sweep, only for nodes, never for \
            files. It answers nobody. Ctrl-C ends it with what it has seen.",
    error_code(0, "done"),
    error_code(1, "nobody answers, or it failed"),
    error_code(2, "the command line or the configuration cannot be used")
)]
pub(crate) struct Crawl {
    /// configuration file; default: /etc/apt-p2p.toml, if it is there
    #[argh(option, arg_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// the cache folder: contacts that are saved there are a beginning
    #[argh(option, arg_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,

    /// another network, by its name
    #[argh(option, arg_name = "NAME")]
    pub(crate) network: Option<String>,

    /// where to begin, HOST:PORT; repeatable
    #[argh(option, arg_name = "HOST:PORT")]
    pub(crate) bootstrap: Vec<String>,

    /// how long to go on, e.g. 6h; default: one sweep
    #[argh(option, arg_name = "TIME")]
    pub(crate) duration: Option<String>,

    /// print the result as JSON
    #[argh(switch)]
    pub(crate) json: bool,
}

impl Cli {
    pub(crate) fn flags(&self) -> Flags {
        Flags {
            config: self.config.clone(),
            listen: self.listen.clone(),
            cache: self.cache.clone(),
            max_size: self.max_size.clone(),
            allow: self.allow.clone(),
            upstream: self.upstream.clone(),
            allow_upstream: self.allow_upstream.clone(),
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
        }
    }
}

impl Cleanup {
    /// Options may stand before the command or behind it.
    pub(crate) fn flags(&self, before: Flags) -> Flags {
        Flags {
            config: self.config.clone().or(before.config.clone()),
            cache: self.cache.clone().or(before.cache.clone()),
            max_size: self.max_size.clone().or(before.max_size.clone()),
            ..before
        }
    }
}

impl Dht {
    pub(crate) fn flags(&self, before: Flags) -> Flags {
        Flags {
            config: self.config.clone().or(before.config.clone()),
            cache: self.cache.clone().or(before.cache.clone()),
            ..before
        }
    }
}

impl Lookup {
    pub(crate) fn flags(&self, before: Flags) -> Flags {
        Flags {
            config: self.config.clone().or(before.config.clone()),
            cache: self.cache.clone().or(before.cache.clone()),
            network: self.network.clone().or(before.network.clone()),
            secret: self.secret.clone().or(before.secret.clone()),
            bootstrap: [before.bootstrap.clone(), self.bootstrap.clone()].concat(),
            ..before
        }
    }
}

impl Crawl {
    pub(crate) fn flags(&self, before: Flags) -> Flags {
        Flags {
            config: self.config.clone().or(before.config.clone()),
            cache: self.cache.clone().or(before.cache.clone()),
            network: self.network.clone().or(before.network.clone()),
            bootstrap: [before.bootstrap.clone(), self.bootstrap.clone()].concat(),
            ..before
        }
    }
}
