//! What a running proxy counts: for people, for programs, and for Prometheus.
//!
//! The metrics are in Prometheus' text format, version 0.0.4; names end in their unit, counters in `_total`.

use std::fmt::Write as _;

use super::{counted, size, time};
use crate::json::object;

/// The numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Clients' connections now.
    pub connections: usize,
    /// Requests answered.
    pub requests: u64,
    /// Bytes of files sent to clients.
    pub bytes_sent: u64,
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
    /// Files in the cache, and their bytes; none without a usable disk.
    pub stored: Option<(u64, u64)>,
    /// Files that the disk has spoilt, and that were dropped for that.
    pub damaged: u64,
    /// The most bytes that cleanup leaves in the cache.
    pub bytes_max: u64,
    /// Archives whose Release is known: `host/dir`; of very many, some.
    pub archives: Vec<String>,
    /// How many there are.
    pub archives_known: usize,
    /// Of archives that clients have used since the start: who signed them.
    pub signatures: Vec<(String, String)>,
    /// What is wrong, in plain words with what to do.
    pub problems: Vec<String>,
}

impl Numbers {
    /// Bytes that clients got and no mirror had to send.
    #[must_use]
    pub fn saved(&self) -> u64 {
        self.bytes_sent.saturating_sub(self.bytes_from_mirrors)
    }

    /// Each number with its name, in words.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("Requests answered", self.requests.to_string()),
            ("Sent to clients", size(self.bytes_sent)),
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
            json.plain("bytes_sent", self.bytes_sent);
            json.plain("bytes_from_mirrors", self.bytes_from_mirrors);
            json.plain("bytes_from_neighbours", self.bytes_from_neighbours);
            json.plain("bytes_from_strangers", self.bytes_from_strangers);
            json.plain("bytes_to_peers", self.bytes_to_peers);
            json.plain("liars", self.liars);
            json.plain("downloads", self.downloads);
            json.plain("files", self.stored.map(|(files, _)| files));
            json.plain("bytes_stored", self.stored.map(|(_, bytes)| bytes));
            json.plain("damaged", self.damaged);
            json.plain("bytes_max", self.bytes_max);
            json.texts("archives", &self.archives);
            json.plain("archives_known", self.archives_known);
            json.object("signatures", |json| {
                self.signatures.iter().for_each(|(archive, verdict)| json.text(archive, verdict));
            });
            json.texts("problems", &self.problems);
        }) + "\n"
    }

    /// For Prometheus.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, values: &[(&str, u64)]| {
            writeln!(text, "# HELP apt_p2p_{name} {help}").expect("a string takes everything");
            writeln!(text, "# TYPE apt_p2p_{name} {kind}").expect("a string takes everything");
            for (labels, value) in values {
                writeln!(text, "apt_p2p_{name}{labels} {value}").expect("a string takes everything");
            }
        };
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
        family("build_info", "gauge", "The version that runs.", &[(version.as_str(), 1)]);
        family("uptime_seconds", "gauge", "Time since the start.", &[("", self.uptime_s)]);
        family("connections", "gauge", "Connections of clients.", &[("", count(self.connections))]);
        family("requests_total", "counter", "Requests of clients that were answered.", &[("", self.requests)]);
        family("sent_bytes_total", "counter", "Bytes of files sent to clients.", &[("", self.bytes_sent)]);
        let received = [
            ("{from=\"mirror\"}", self.bytes_from_mirrors),
            ("{from=\"neighbour\"}", self.bytes_from_neighbours),
            ("{from=\"stranger\"}", self.bytes_from_strangers),
        ];
        family("received_bytes_total", "counter", "Bytes of files received, by their source.", &received);
        let shared = self.bytes_to_peers.unwrap_or(0);
        family("shared_bytes_total", "counter", "Bytes of files sent to peers.", &[("", shared)]);
        family("liars_total", "counter", "Peers that sent false bytes.", &[("", self.liars)]);
        family("downloads", "gauge", "Files that are being fetched.", &[("", count(self.downloads))]);
        if let Some((files, bytes)) = self.stored {
            family("stored_files", "gauge", "Files in the cache.", &[("", files)]);
            family("stored_bytes", "gauge", "Bytes of the files in the cache.", &[("", bytes)]);
        }
        let spoilt = "Files found damaged on the disk, and dropped.";
        family("damaged_files_total", "counter", spoilt, &[("", self.damaged)]);
        family("stored_bytes_max", "gauge", "The most bytes that cleanup leaves.", &[("", self.bytes_max)]);
        family("archives", "gauge", "Archives whose Release is known.", &[("", count(self.archives_known))]);
        family("problems", "gauge", "Things that need somebody's attention.", &[("", count(self.problems.len()))]);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Numbers {
        Numbers {
            uptime_s: 3600,
            connections: 2,
            requests: 7,
            bytes_sent: 3 << 20,
            bytes_from_mirrors: 1 << 20,
            bytes_from_neighbours: 5,
            bytes_from_strangers: 6,
            liars: 1,
            bytes_to_peers: Some(9),
            downloads: 1,
            stored: Some((4, 2 << 20)),
            damaged: 3,
            bytes_max: 1 << 30,
            archives: vec!["mirror.example.org/debian/dists/stable".into()],
            archives_known: 1,
            signatures: vec![("mirror.example.org/debian/dists/stable".into(), "signed by A \"B\"".into())],
            problems: vec!["The disk is \"full\".".into()],
        }
    }

    #[test]
    fn people_read_problems_first_and_nothing_of_peers_where_there_are_none() {
        let text = some().text();
        assert!(text.starts_with("The disk is \"full\".\nRequests answered                  7\n"), "{text}");
        assert!(text.contains("Saved the mirrors                  2048 KB\n") && text.contains("Up for"), "{text}");
        assert!(text.contains("Damaged on the disk, and dropped   3\n"), "{text}");
        let alone = Numbers { bytes_to_peers: None, liars: 0, stored: None, ..some() }.text();
        assert!(!alone.contains("eers") && !alone.contains("neighbours") && !alone.contains("Stored"), "{alone}");
    }

    #[test]
    fn json_can_be_read() {
        let json: serde_json::Value = serde_json::from_str(&some().json()).expect("JSON");
        assert_eq!(json["bytes_from_mirrors"], 1 << 20);
        assert_eq!(json["files"], 4);
        assert_eq!(json["problems"][0], "The disk is \"full\".");
        let alone: serde_json::Value = serde_json::from_str(&Numbers::default().json()).expect("JSON");
        assert!(alone["files"].is_null() && alone["bytes_to_peers"].is_null(), "{alone}");
    }

    #[test]
    fn each_metric_has_its_help_and_type_before_its_values() {
        let metrics = some().metrics();
        let mut described = "";
        for line in metrics.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                described = rest.split(' ').next().expect("a name");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(rest.starts_with(described), "{line}");
                assert_eq!(rest.ends_with("counter"), described.ends_with("_total"), "{line}");
            } else {
                let name = line.split(['{', ' ']).next().expect("a name");
                assert_eq!(name, described);
                assert!(line.rsplit(' ').next().is_some_and(|value| value.parse::<u64>().is_ok()), "{line}");
            }
        }
        assert!(metrics.contains("apt_p2p_received_bytes_total{from=\"stranger\"} 6\n"), "{metrics}");
    }
}
