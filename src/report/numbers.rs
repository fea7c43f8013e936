//! What a running proxy counts and knows of itself: for people, for programs, and for the page.

use std::fmt::Write as _;

use super::history::Traffic;
use super::{counted, size, time};
use crate::dht::Reach;
use crate::edge::Given;
use crate::json::{Object, object};
use crate::time::Stamp;
use crate::troubles::Trouble;

/// The numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Seconds since the start.
    pub uptime_s: u64,
    /// The calendar now.
    pub now: Stamp,
    /// Clients' connections now.
    pub connections: usize,
    /// Requests answered.
    pub requests: u64,
    /// Of these, with what was stored.
    pub hits: Given,
    /// With a download that another client had brought about.
    pub joined: Given,
    /// With a download of their own.
    pub misses: Given,
    /// Bytes received from mirrors.
    pub bytes_from_mirrors: u64,
    /// Bytes of pieces that were right, from neighbours on the LAN.
    pub bytes_from_neighbours: u64,
    /// The same from peers on the Internet.
    pub bytes_from_strangers: u64,
    /// Peers that lied.
    pub liars: u64,
    /// Bytes of files sent to peers; none where nothing is shared.
    pub bytes_to_peers: Option<u64>,
    /// Files that are being fetched now.
    pub downloads: usize,
    /// The first of them.
    pub flights: Vec<Flight>,
    /// Files in the cache, and their bytes; none without a usable disk.
    pub stored: Option<(u64, u64)>,
    /// Bytes that its disk has left.
    pub bytes_free: Option<u64>,
    /// Files that the disk has spoilt, and that were dropped for that.
    pub damaged: u64,
    /// The most bytes that cleanup leaves in the cache.
    pub bytes_max: u64,
    /// Archives whose Release is known; of very many, some.
    pub archives: Vec<Archive>,
    /// How many there are.
    pub archives_known: usize,
    /// With whom files are exchanged.
    pub sharing: Sharing,
    /// What came, step by step; the oldest first, the last one is not over.
    pub history: Vec<Traffic>,
    /// What is wrong now, in plain words with what to do.
    pub problems: Vec<String>,
    /// What went wrong lately, the newest first.
    pub troubles: Vec<Trouble>,
}

/// A download under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flight {
    /// `host/path`, without a query.
    pub name: String,
    /// Bytes that are here.
    pub here: u64,
    /// Of how many, where that is known.
    pub len: Option<u64>,
    /// Bytes a second, lately.
    pub rate: u64,
    /// Of the bytes, those that peers gave.
    pub from_peers: u64,
    /// Whether it has not begun yet.
    pub is_waiting: bool,
}

/// An archive's suite with a known Release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archive {
    /// `host/dir`.
    pub name: String,
    /// The `Date` of the newest Release; 0 if it has none.
    pub date: Stamp,
    /// Whether all is here that clients use of it, so that it is served when its mirror is away.
    pub is_whole: bool,
    /// Who signed it, in words; none: nobody has looked since the start.
    pub signed: Option<String>,
}

/// With whom files are exchanged, and how that goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sharing {
    /// `internet`, `lan` or `off`, as the configuration says.
    pub with: &'static str,
    /// The TCP port at which peers are served; none: they are not.
    pub port: Option<u16>,
    /// Peers' connections now.
    pub connections: usize,
    /// Neighbours on the LAN.
    pub neighbours: usize,
    /// The part in the DHT; none: there is none.
    pub dht: Option<Dht>,
}

/// The part in the DHT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dht {
    /// The network's name.
    pub network: String,
    /// Each family of addresses: its name, whether strangers reach us by it, and the contacts in its table.
    pub families: Vec<(&'static str, Option<bool>, usize)>,
    /// Files of ours that others are to find, and those of them that they can find now.
    pub files: (usize, usize),
    /// Bytes of datagrams a day, sent and received, at the rate so far.
    pub bytes_a_day: u64,
}

/// As a DHT says it; none: not known yet.
#[must_use]
pub fn is_reached(reach: Reach) -> Option<bool> {
    match reach {
        Reach::Unknown => None,
        Reach::Open => Some(true),
        Reach::Closed => Some(false),
    }
}

impl Numbers {
    /// Bytes of files sent to clients.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.hits.bytes + self.joined.bytes + self.misses.bytes
    }

    /// What came since the start, by where it came from.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        Traffic {
            cache: self.hits.bytes + self.joined.bytes,
            neighbours: self.bytes_from_neighbours,
            strangers: self.bytes_from_strangers,
            mirrors: self.bytes_from_mirrors,
        }
    }

    /// Bytes that clients got and no mirror had to send: those that were here already, came for somebody else, or from peers.
    /// What was fetched ahead counts once, when somebody gets it, and as nothing that was saved where a mirror sent it.
    #[must_use]
    pub fn saved(&self) -> u64 {
        self.bytes_sent().saturating_sub(self.bytes_from_mirrors)
    }

    /// Each number with its name, in words.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("Requests answered", self.requests.to_string()),
            ("Of these, from the cache", (self.hits.count + self.joined.count).to_string()),
            ("Sent to clients", size(self.bytes_sent())),
            ("Fetched from mirrors", size(self.bytes_from_mirrors)),
            ("Saved the mirrors", size(self.saved())),
        ];
        if let Some(bytes) = self.bytes_to_peers {
            rows.push(("Fetched from neighbours", size(self.bytes_from_neighbours)));
            rows.push(("Fetched from the Internet's peers", size(self.bytes_from_strangers)));
            rows.push(("Given to peers", size(bytes)));
        }
        if self.liars > 0 {
            rows.push(("Peers that lied", self.liars.to_string()));
        }
        if let Some((files, bytes)) = self.stored {
            let files = counted(usize::try_from(files).unwrap_or(usize::MAX), "file", "files");
            rows.push(("Stored", format!("{} in {files}, at most {}", size(bytes), size(self.bytes_max))));
        }
        if self.damaged > 0 {
            rows.push(("Damaged on the disk, and dropped", self.damaged.to_string()));
        }
        rows.push(("Up for", time(std::time::Duration::from_secs(self.uptime_s))));
        rows
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            writeln!(text, "{problem}").expect("a string takes everything");
        }
        let now = [
            ("Connections now", self.connections.to_string()),
            ("Downloads now", self.downloads.to_string()),
            ("Archives known", self.archives_known.to_string()),
        ];
        for (name, value) in self.rows().into_iter().chain(now) {
            writeln!(text, "{name:<35}{value}").expect("a string takes everything");
        }
        text
    }

    /// For programs: one object.
    #[must_use]
    pub fn json(&self) -> String {
        object(|json| {
            json.text("version", env!("CARGO_PKG_VERSION"));
            json.plain("uptime_s", self.uptime_s);
            json.plain("connections", self.connections);
            json.plain("requests", self.requests);
            for (name, answers) in [("hits", self.hits), ("joined", self.joined), ("misses", self.misses)] {
                json.object(name, |json| {
                    json.plain("count", answers.count);
                    json.plain("bytes", answers.bytes);
                });
            }
            json.plain("bytes_sent", self.bytes_sent());
            json.plain("bytes_saved", self.saved());
            json.plain("bytes_from_mirrors", self.bytes_from_mirrors);
            json.plain("bytes_from_neighbours", self.bytes_from_neighbours);
            json.plain("bytes_from_strangers", self.bytes_from_strangers);
            json.plain("bytes_to_peers", self.bytes_to_peers);
            json.plain("liars", self.liars);
            json.plain("downloads", self.downloads);
            json.objects("flights", self.flights.iter().map(Flight::json));
            json.plain("files", self.stored.map(|(files, _)| files));
            json.plain("bytes_stored", self.stored.map(|(_, bytes)| bytes));
            json.plain("bytes_free", self.bytes_free);
            json.plain("damaged", self.damaged);
            json.plain("bytes_max", self.bytes_max);
            json.objects("archives", self.archives.iter().map(Archive::json));
            json.plain("archives_known", self.archives_known);
            json.object("sharing", |json| self.sharing.fill(json));
            json.object("history", |json| super::history::fill(&self.history, json));
            json.texts("problems", &self.problems);
            json.objects("troubles", self.troubles.iter().map(trouble));
        }) + "\n"
    }
}

impl Flight {
    fn json(&self) -> String {
        object(|json| {
            json.text("name", &self.name);
            json.plain("bytes", self.here);
            json.plain("bytes_len", self.len);
            json.plain("bytes_per_s", self.rate);
            json.plain("bytes_from_peers", self.from_peers);
            json.plain("waiting", self.is_waiting);
        })
    }
}

impl Archive {
    fn json(&self) -> String {
        object(|json| {
            json.text("name", &self.name);
            json.plain("date", self.date.0);
            json.plain("whole", self.is_whole);
            if let Some(signed) = &self.signed {
                json.text("signed", signed);
            }
        })
    }
}

impl Sharing {
    fn fill(&self, json: &mut Object) {
        json.text("with", self.with);
        json.plain("port", self.port.map(u64::from));
        json.plain("connections", self.connections);
        json.plain("neighbours", self.neighbours);
        if let Some(dht) = &self.dht {
            json.object("dht", |json| {
                json.text("network", &dht.network);
                json.objects(
                    "families",
                    dht.families.iter().map(|(family, reached, contacts)| {
                        object(|json| {
                            json.text("family", family);
                            json.plain("reached", *reached);
                            json.plain("contacts", *contacts);
                        })
                    }),
                );
                json.plain("files", dht.files.0);
                json.plain("files_announced", dht.files.1);
                json.plain("bytes_a_day", dht.bytes_a_day);
            });
        }
    }
}

fn trouble(trouble: &Trouble) -> String {
    object(|json| {
        json.text("what", &trouble.what);
        json.plain("count", trouble.count);
        json.plain("last", trouble.last.0);
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::report) fn some() -> Numbers {
        Numbers {
            uptime_s: 3600,
            connections: 2,
            requests: 7,
            hits: Given { count: 3, bytes: 1 << 20 },
            joined: Given { count: 1, bytes: (1 << 20) - 11 },
            misses: Given { count: 1, bytes: (1 << 20) + 11 },
            bytes_from_mirrors: 1 << 20,
            bytes_from_neighbours: 5,
            bytes_from_strangers: 6,
            liars: 1,
            bytes_to_peers: Some(9),
            downloads: 1,
            stored: Some((4, 2 << 20)),
            damaged: 3,
            bytes_max: 1 << 30,
            archives: vec![Archive { name: "mirror.example.org/debian/dists/stable".into(), ..Archive::default() }],
            archives_known: 1,
            sharing: Sharing {
                with: "internet",
                port: Some(9978),
                neighbours: 2,
                dht: Some(Dht {
                    network: "apt-p2p".into(),
                    families: vec![("ipv4", Some(true), 40), ("ipv6", None, 0)],
                    files: (5, 4),
                    bytes_a_day: 1 << 20,
                }),
                ..Sharing::default()
            },
            flights: vec![Flight { name: "mirror.example.org/x".into(), here: 5, ..Flight::default() }],
            history: vec![Traffic { cache: 1, ..Traffic::default() }],
            problems: vec!["The disk is \"full\".".into()],
            troubles: vec![Trouble { what: "it was \"away\"".into(), count: 2, last: Stamp(7) }],
            ..Numbers::default()
        }
    }

    #[test]
    fn people_read_problems_first_and_nothing_of_peers_where_there_are_none() {
        let text = some().text();
        assert!(
            text.starts_with(
                "The disk is \"full\".\nRequests answered                  7\nOf these, from the cache           4\n"
            ),
            "{text}"
        );
        assert!(text.contains("Saved the mirrors                  2048 KB\n") && text.contains("Up for"), "{text}");
        assert!(text.contains("Damaged on the disk, and dropped   3\n"), "{text}");
        let alone = Numbers { bytes_to_peers: None, liars: 0, stored: None, ..some() }.text();
        assert!(!alone.contains("eers") && !alone.contains("neighbours") && !alone.contains("Stored"), "{alone}");
    }

    #[test]
    fn what_was_fetched_ahead_is_saved_once_and_only_when_no_mirror_sent_it() {
        let ahead = Numbers { bytes_from_neighbours: 100, ..Numbers::default() };
        assert_eq!(ahead.saved(), 0, "nobody has got it yet");
        let given = Numbers { hits: Given { count: 1, bytes: 100 }, ..ahead };
        assert_eq!((given.saved(), given.bytes_sent()), (100, 100));
        assert_eq!(Numbers { bytes_from_mirrors: 130, ..given }.saved(), 0);
    }

    #[test]
    fn json_can_be_read() {
        let json: serde_json::Value = serde_json::from_str(&some().json()).expect("JSON");
        assert_eq!(json["bytes_from_mirrors"], 1 << 20);
        assert_eq!(json["files"], 4);
        assert_eq!(json["problems"][0], "The disk is \"full\".");
        assert_eq!((json["hits"]["count"].as_u64(), json["bytes_sent"].as_u64()), (Some(3), Some(3 << 20)));
        assert_eq!(json["sharing"]["dht"]["families"][0]["reached"], true);
        assert_eq!(
            (&json["troubles"][0]["count"], &json["flights"][0]["bytes_len"]),
            (&2.into(), &serde_json::Value::Null)
        );
        assert_eq!(json["history"]["cache"][0], 1);
        let alone: serde_json::Value = serde_json::from_str(&Numbers::default().json()).expect("JSON");
        assert!(alone["files"].is_null() && alone["bytes_to_peers"].is_null(), "{alone}");
    }
}
