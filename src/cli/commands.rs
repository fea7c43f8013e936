//! The commands beside the proxy, one type each: their options, and how those join what stood before the command.

use std::path::PathBuf;

use crate::config::Flags;
use argh::{ArgsInfo, FromArgs};

/// A command: what it takes, and what all of them take besides.
macro_rules! command {
    ($(#[$about:meta])* $name:ident { $($own:tt)* }) => {
        #[derive(FromArgs, ArgsInfo, Debug)]
        $(#[$about])*
        pub struct $name {
            $($own)*

            /// configuration file; default: /etc/apt-p2p.toml, if it is there
            #[argh(option, arg_name = "FILE")]
            config: Option<PathBuf>,

            /// the cache folder
            #[argh(option, arg_name = "DIR")]
            cache: Option<PathBuf>,

            /// print it as JSON
            #[argh(switch)]
            pub json: bool,
        }

        impl $name {
            /// Options may stand before the command or behind it: what stands behind wins.
            pub fn with_files(&self, before: Flags) -> Flags {
                let (config, cache) = (self.config.clone(), self.cache.clone());
                Flags { config: config.or(before.config.clone()), cache: cache.or(before.cache.clone()), ..before }
            }
        }
    };
}

command! {
    /// Let go what may go: packages that no index has named for three days, the least recently used beyond --max-size,
    /// leftovers of crashes. For cron, beside the running proxy or without it.
    #[argh(
        subcommand,
        name = "cleanup",
        example = "Every night at four, from cron:\n  0 4 * * * root /usr/local/bin/{command_name} --cache /srv/apt\n\
                   See what would go:\n  {command_name} --max-size 5G --dry-run",
        note = "While the clock is behind it sees to the size alone, says so and fails: set the clock first.",
        error_code(0, "done"),
        error_code(1, "failed"),
        error_code(2, "the command line or the configuration cannot be used")
    )]
    Cleanup {
        /// the most that stays, e.g. 20G
        #[argh(option, arg_name = "SIZE")]
        pub max_size: Option<String>,

        /// only say what would go
        #[argh(switch)]
        pub dry_run: bool,
    }
}

command! {
    /// Say what the running proxy has done since its start: what clients got, what mirrors, neighbours and others sent, what is
    /// stored, and what is wrong.
    #[argh(
        subcommand,
        name = "status",
        example = "{command_name}\nOf a proxy with another cache, for a program:\n  {command_name} --cache /srv/apt --json",
        note = "It asks the running proxy by the socket named control in its cache folder, which only its own user may open. The \
                proxy gives the same at /status.json, and at /metrics for Prometheus.",
        error_code(0, "done"),
        error_code(1, "no proxy runs there"),
        error_code(2, "the command line or the configuration cannot be used")
    )]
    Status {}
}

command! {
    /// Say how the running proxy's part of the DHT goes: its ids and addresses, whether others reach it, whom it knows, what
    /// it keeps for others, its traffic.
    #[argh(
        subcommand,
        name = "dht",
        example = "{command_name}\nOf a proxy with another cache, for a program:\n  {command_name} --cache /srv/apt --json",
        note = "It asks the running proxy by the socket named control in its cache folder, which only its own user may open.",
        error_code(0, "done"),
        error_code(1, "no proxy runs there, or it has no DHT"),
        error_code(2, "the command line or the configuration cannot be used")
    )]
    Dht {}
}

command! {
    /// Look in the DHT for who has a file, and show each step as it happens: whom it asks, how many steps away, how many
    /// leading bits the node's id has in common with the file's key, who answers.
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
    Lookup {
        /// the file's SHA-256, 64 hexadecimal digits
        #[argh(positional, arg_name = "DIGEST")]
        pub digest: String,

        /// another network, by its name
        #[argh(option, arg_name = "NAME")]
        pub network: Option<String>,

        /// the file with that network's secret
        #[argh(option, arg_name = "FILE")]
        pub secret: Option<PathBuf>,

        /// where to begin, HOST:PORT; repeatable
        #[argh(option, arg_name = "HOST:PORT")]
        pub bootstrap: Vec<String>,
    }
}

command! {
    /// Walk over all nodes of the network and say how many there are, how many answer and how fast, which versions they are,
    /// and with --duration how long they stay.
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
    Crawl {
        /// another network, by its name
        #[argh(option, arg_name = "NAME")]
        pub network: Option<String>,

        /// where to begin, HOST:PORT; repeatable
        #[argh(option, arg_name = "HOST:PORT")]
        pub bootstrap: Vec<String>,

        /// how long to go on, e.g. 6h; default: one sweep
        #[argh(option, arg_name = "TIME")]
        pub duration: Option<String>,
    }
}

command! {
    /// Hash every stored file again and drop what is not right: it is fetched again when it is asked for. Beside the running
    /// proxy or without it.
    #[argh(
        subcommand,
        name = "verify",
        example = "Every first night of the month, from cron:\n  0 5 1 * * root /usr/local/bin/{command_name} --cache \
                   /srv/apt",
        note = "It reads the disk and not what memory still holds of it, and leaves memory as it was. With --json each dropped \
                file is one object on one line, and the last line says how many there were.",
        error_code(0, "all files are right"),
        error_code(1, "some were dropped, or it failed: then standard error says why"),
        error_code(2, "the command line or the configuration cannot be used")
    )]
    Verify {}
}

command! {
    /// Take over packages that another cache has: apt's own, apt-cacher-ng's, approx's, squid-deb-proxy's. Only what an index
    /// promises to the byte is taken; the other cache is only read.
    #[argh(
        subcommand,
        name = "import",
        example = "From this machine's apt, after apt-get update has run through the proxy:\n  {command_name} \
                   /var/cache/apt/archives\nFrom apt-cacher-ng:\n  {command_name} /var/cache/apt-cacher-ng",
        note = "A file whose path names what an index promises is refused if its bytes are others, and named. What no index \
                names is left: it is an old version, or no package. With --json each file is one object on one line, and the \
                last line says how many there were.",
        error_code(0, "done: nothing that an index names was refused"),
        error_code(1, "some files were refused, or it failed: then standard error says why"),
        error_code(2, "the command line or the configuration cannot be used")
    )]
    Import {
        /// the folder to take from, with all below it
        #[argh(positional, arg_name = "DIR")]
        pub dir: PathBuf,

        /// a Packages or Sources file that counts besides what the proxy knows; repeatable
        #[argh(option, arg_name = "FILE")]
        pub index: Vec<PathBuf>,

        /// the most that stays there, e.g. 20G: what does not fit is refused
        #[argh(option, arg_name = "SIZE")]
        pub max_size: Option<String>,
    }
}

impl Cleanup {
    /// What the options say of the configuration, over what stood `before` the command.
    pub fn flags(&self, before: Flags) -> Flags {
        let before = self.with_files(before);
        Flags { max_size: self.max_size.clone().or(before.max_size.clone()), ..before }
    }
}

impl Lookup {
    /// What the options say of the configuration, over what stood `before` the command.
    pub fn flags(&self, before: Flags) -> Flags {
        let before = self.with_files(before);
        Flags {
            network: self.network.clone().or(before.network.clone()),
            secret: self.secret.clone().or(before.secret.clone()),
            bootstrap: [before.bootstrap.clone(), self.bootstrap.clone()].concat(),
            ..before
        }
    }
}

impl Crawl {
    /// What the options say of the configuration, over what stood `before` the command.
    pub fn flags(&self, before: Flags) -> Flags {
        let before = self.with_files(before);
        Flags {
            network: self.network.clone().or(before.network.clone()),
            bootstrap: [before.bootstrap.clone(), self.bootstrap.clone()].concat(),
            ..before
        }
    }
}

impl Import {
    /// What the options say of the configuration, over what stood `before` the command.
    pub fn flags(&self, before: Flags) -> Flags {
        let before = self.with_files(before);
        Flags { max_size: self.max_size.clone().or(before.max_size.clone()), ..before }
    }
}
