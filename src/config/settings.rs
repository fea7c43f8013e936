//! What every setting is, for whoever documents it: `examples/manual` makes docs/CONFIG.md, the example file and the manual
//! page of this table, and a test holds it to what the parser does.
//!
//! The program itself does not use it: words for people do not belong into a router's flash twice.

/// A setting of the configuration file.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name, in the file and, with two dashes in front, on the command line.
    pub name: &'static str,
    /// What is written there.
    pub kind: Kind,
    /// What holds without it, in words; where it is a value that can be written, in TOML.
    pub unset: Unset,
    /// Another value, in TOML.
    pub example: &'static str,
    /// When a changed value counts.
    pub counts: Counts,
    /// What it means: a line, and more if needed.
    pub about: &'static str,
}

/// What can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One of these words.
    Words(&'static [&'static str]),
    /// A text of this form.
    Text(&'static str),
    /// One text of this form, or a list of them.
    List(&'static str),
    /// Bytes: a number, or one with K, M, G or T, which are powers of 1024.
    Size,
    /// Bytes a second, likewise.
    Rate,
    /// A number with s, m, h or d.
    Time,
    /// A whole number in this range.
    Number(&'static str),
}

/// What holds where nothing is written.
#[derive(Debug, Clone, Copy)]
pub enum Unset {
    /// This value, in TOML.
    Value(&'static str),
    /// What these words say.
    Words(&'static str),
}

/// When a changed value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// As soon as the file is read again (SIGHUP).
    AtReload,
    /// When the proxy starts.
    AtStart,
}

use Counts::{AtReload, AtStart};
use Kind::{List, Number, Rate, Size, Text, Time};
use Unset::{Value, Words};

/// What the settings are about, and all of them.
pub const SETTINGS: [(&str, &[Setting]); 5] = [
    ("Clients", &CLIENTS),
    ("The cache", &CACHE),
    ("Mirrors", &MIRRORS),
    ("Sharing", &SHARING),
    ("The program", &PROGRAM),
];

const CLIENTS: [Setting; 4] = [
    Setting {
        name: "listen",
        kind: List("ADDR:PORT"),
        unset: Words("[::]:9977, and [::]:3142, where auto-apt-proxy looks, if nobody else listens there"),
        example: "[\"192.168.1.1:9977\", \"[::1]:9977\"]",
        counts: AtStart,
        about: "Where apt's requests are answered. Sockets that systemd hands over, as the Debian package's, take its place: \
                systemctl edit apt-p2p.socket.",
    },
    Setting {
        name: "allow",
        kind: List("CIDR"),
        unset: Words(
            "this machine, its links, private networks, and the public IPv6 prefixes of inner interfaces: those with a \
             private network",
        ),
        example: "[\"192.168.1.0/24\", \"127.0.0.1\"]",
        counts: AtReload,
        about: "Which clients are served, by address or network.",
    },
    Setting {
        name: "allow-connect",
        kind: List("HOST"),
        unset: Words("any public host, and those of allow-upstream"),
        example: "[\"download.example.org\", \"*.example.com\"]",
        counts: AtReload,
        about: "Hosts to which clients' https sources are tunnelled (CONNECT, port 443), uncached: a name, *.DOMAIN, or none, \
                alone, for no host.",
    },
    Setting {
        name: "mdns",
        kind: Kind::Words(&["on", "off"]),
        unset: Value("\"on\""),
        example: "\"off\"",
        counts: AtStart,
        about: "Whether clients and neighbours find the proxy by multicast DNS: as _apt_proxy._tcp and, if anything is shared, \
                _apt-p2p._tcp. It is announced on interfaces with a private address alone.",
    },
];

const CACHE: [Setting; 3] = [
    Setting {
        name: "cache",
        kind: Text("DIR"),
        unset: Words("/var/cache/apt-p2p for root, else apt-p2p in the user's cache folder (~/.cache)"),
        example: "\"/srv/apt-p2p\"",
        counts: AtStart,
        about: "Where files are kept. The Debian package's services write to another folder only with \
                ReadWritePaths= (OPERATING.md).",
    },
    Setting {
        name: "max-size",
        kind: Size,
        unset: Words(
            "80% of what is free at the start, at most 50G; on a tmpfs an eighth of the memory, at most 16M",
        ),
        example: "\"20G\"",
        counts: AtReload,
        about: "The most that cleanup leaves there. No file of more than half of it is kept.",
    },
    Setting {
        name: "grace",
        kind: Time,
        unset: Value("\"3d\""),
        example: "\"12h\"",
        counts: AtReload,
        about: "How long a package stays that no index names any more.",
    },
];

const MIRRORS: [Setting; 5] = [
    Setting {
        name: "upstream",
        kind: List("HOST/PATH=URL"),
        unset: Words("where clients say"),
        example: "[\"archive.example.org/debian=https://mirror.example.org/debian\"]",
        counts: AtReload,
        about: "Where an archive is fetched from, when that is not where clients think it is: an https mirror for http clients, \
                or a nearer one. Several for one archive stand in for one another; who failed or was slow is asked later for a \
                while.",
    },
    Setting {
        name: "allow-upstream",
        kind: List("HOST|CIDR"),
        unset: Words("none"),
        example: "[\"mirror.lan\", \"*.lan\", \"192.168.1.10\"]",
        counts: AtReload,
        about: "Mirrors inside the network, which are refused otherwise: names, addresses, networks.",
    },
    Setting {
        name: "upstream-proxy",
        kind: Text("URL"),
        unset: Words("none; the environment's is not obeyed"),
        example: "\"http://name:password@proxy.example.org:3128\"",
        counts: AtStart,
        about: "The proxy by which mirrors are reached, where only one reaches them; those of allow-upstream are reached without \
                it.",
    },
    Setting {
        name: "signatures",
        kind: Kind::Words(&["off", "report", "enforce"]),
        unset: Value("\"report\""),
        example: "\"enforce\"",
        counts: AtReload,
        about: "Who signed an archive's Release, judged with gpgv or sqv, where one is installed, and apt's keyrings: nobody looks, \
                the page and the log say it, or what nobody known here has signed is refused. Every client's apt judges for \
                itself in any case.",
    },
    Setting {
        name: "keyring",
        kind: List("PATH"),
        unset: Words("those of apt alone"),
        example: "[\"/etc/apt-p2p/keyrings\"]",
        counts: AtReload,
        about: "Keyrings, or folders of keyrings, that count besides apt's own.",
    },
];

const SHARING: [Setting; 12] = [
    Setting {
        name: "share",
        kind: Kind::Words(&["internet", "lan", "off"]),
        unset: Value("\"internet\""),
        example: "\"lan\"",
        counts: AtStart,
        about: "With whom files of public archives are exchanged: with everybody, with this LAN, or with nobody.",
    },
    Setting {
        name: "public",
        kind: List("HOST/PATH"),
        unset: Words(
            "archives whose Release names a known distribution as its origin, fetched from public addresses",
        ),
        example: "[\"mirror.example.org/debian\"]",
        counts: AtReload,
        about: "Archives whose files may be shared though their origin is no known distribution.",
    },
    Setting {
        name: "upload-rate",
        kind: Rate,
        unset: Value("\"256K\""),
        example: "\"1M\"",
        counts: AtReload,
        about: "Bytes a second that others on the Internet get in all, at least 1K, or unlimited. Neighbours get what they take.",
    },
    Setting {
        name: "peer-listen",
        kind: Text("ADDR:PORT"),
        unset: Value("\"[::]:9978\""),
        example: "\"[::]:7999\"",
        counts: AtStart,
        about: "Where others reach this machine, by TCP and UDP.",
    },
    Setting {
        name: "port-mapping",
        kind: Kind::Words(&["on", "off"]),
        unset: Value("\"on\""),
        example: "\"off\"",
        counts: AtStart,
        about: "Whether the router is asked to pass that port on to this machine (PCP, NAT-PMP or UPnP), so that strangers reach \
                it, if files are shared with the Internet.",
    },
    Setting {
        name: "neighbour",
        kind: List("ADDR:PORT"),
        unset: Words("those that multicast DNS finds"),
        example: "[\"192.168.1.7:9978\"]",
        counts: AtReload,
        about: "Other apt-p2p machines on this network, where they do not find one another by themselves.",
    },
    Setting {
        name: "network",
        kind: Text("NAME"),
        unset: Value("\"apt-p2p\""),
        example: "\"example\"",
        counts: AtStart,
        about: "Another network than the public one: machines find each other when they name the same.",
    },
    Setting {
        name: "secret",
        kind: Text("FILE"),
        unset: Words("none"),
        example: "\"/etc/apt-p2p.secret\"",
        counts: AtStart,
        about: "A file with a secret of 16 bytes or more, which the proxy's user can read: only who has it too can find what this \
                network shares. Make one with: head -c 32 /dev/urandom | base64",
    },
    Setting {
        name: "bootstrap",
        kind: List("HOST:PORT"),
        unset: Words("the routers of BitTorrent's DHT"),
        example: "[\"node.example.org:9978\", \"192.168.1.10:9978\"]",
        counts: AtStart,
        about: "Where others are looked for first; none, alone, waits until somebody comes. A private address makes the network \
                private, and BitTorrent's DHT too if there are no others.",
    },
    Setting {
        name: "mainline",
        kind: Kind::Words(&["ask", "serve", "off"]),
        unset: Value("\"ask\""),
        example: "\"off\"",
        counts: AtStart,
        about: "Use of BitTorrent's DHT: ask it for others of this network, serve it too, or off.",
    },
    Setting {
        name: "prefer",
        kind: Kind::Words(&["speed", "offload"]),
        unset: Value("\"speed\""),
        example: "\"offload\"",
        counts: AtStart,
        about: "What to spare: time (the mirror is asked at once, and peers make it faster), or the mirror or a metered line (it \
                gives only what peers do not).",
    },
    Setting {
        name: "prefetch",
        kind: Kind::Words(&["off", "lookup", "night"]),
        unset: Value("\"lookup\""),
        example: "\"night\"",
        counts: AtStart,
        about: "New versions of packages that were used before: nothing is done, peers that have them are looked for when an \
                index changes, or they are fetched, too, from one to five by the local clock.",
    },
];

const PROGRAM: [Setting; 2] = [
    Setting {
        name: "workers",
        kind: Number("1 to 64"),
        unset: Words("one for each core, from two to four"),
        example: "8",
        counts: AtStart,
        about: "Requests worked on at once: not downloads, and not clients, which may be many more.",
    },
    Setting {
        name: "log",
        kind: Text("FILTER"),
        unset: Value("\"info\""),
        example: "\"warn\"",
        counts: AtStart,
        about: "What is logged: error, warn, info (with a line for each request) or debug. RUST_LOG in the environment wins.",
    },
];
