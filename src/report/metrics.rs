//! The numbers for Prometheus, in its text format, version 0.0.4: names end in their unit, counters in `_total`.

use std::fmt::Write as _;

use super::Numbers;

impl Numbers {
    /// For Prometheus.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut text = Families(String::new());
        text.of_clients(self);
        text.of_sources(self);
        text.of_the_cache(self);
        text.0
    }
}

struct Families(String);

impl Families {
    fn of_clients(&mut self, numbers: &Numbers) {
        let version = concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
        self.add("build_info", "gauge", "The version that runs.", &[(version, 1)]);
        self.add("uptime_seconds", "gauge", "Time since the start.", &[("", numbers.uptime_s)]);
        self.add("connections", "gauge", "Connections of clients.", &[("", count(numbers.connections))]);
        let Numbers { hits, joined, misses, requests, .. } = numbers;
        let rest = requests.saturating_sub(hits.count + joined.count + misses.count);
        let results = ["{result=\"hit\"}", "{result=\"joined\"}", "{result=\"miss\"}", "{result=\"other\"}"];
        let counts = [hits.count, joined.count, misses.count, rest];
        let help = "Requests of clients: stored files, downloads of others that were joined, own downloads, and what is no file.";
        self.add("requests_total", "counter", help, &pairs(results, counts));
        let bytes = [hits.bytes, joined.bytes, misses.bytes];
        let results = ["{result=\"hit\"}", "{result=\"joined\"}", "{result=\"miss\"}"];
        self.add("sent_bytes_total", "counter", "Bytes of files sent to clients.", &pairs(results, bytes));
    }

    fn of_sources(&mut self, numbers: &Numbers) {
        let sources = ["{from=\"mirror\"}", "{from=\"neighbour\"}", "{from=\"stranger\"}"];
        let bytes = [numbers.bytes_from_mirrors, numbers.bytes_from_neighbours, numbers.bytes_from_strangers];
        let help = "Bytes of files received, by their source.";
        self.add("received_bytes_total", "counter", help, &pairs(sources, bytes));
        let shared = numbers.bytes_to_peers.unwrap_or(0);
        self.add("shared_bytes_total", "counter", "Bytes of files sent to peers.", &[("", shared)]);
        self.add("liars_total", "counter", "Peers that sent false bytes.", &[("", numbers.liars)]);
        self.add("downloads", "gauge", "Files that are being fetched.", &[("", count(numbers.downloads))]);
        let sharing = &numbers.sharing;
        self.add("peer_connections", "gauge", "Connections of peers.", &[("", count(sharing.connections))]);
        self.add("neighbours", "gauge", "Proxies known on this LAN.", &[("", count(sharing.neighbours))]);
        if let Some(dht) = &sharing.dht {
            let label = |family: &str| format!("{{family=\"{family}\"}}");
            let families: Vec<(String, Option<bool>, usize)> =
                dht.families.iter().map(|(family, reached, contacts)| (label(family), *reached, *contacts)).collect();
            let contacts: Vec<_> =
                families.iter().map(|(label, _, contacts)| (label.as_str(), count(*contacts))).collect();
            self.add("dht_contacts", "gauge", "Nodes in the routing table.", &contacts);
            let reached: Vec<_> = families
                .iter()
                .filter_map(|(label, reached, _)| Some((label.as_str(), u64::from((*reached)?))))
                .collect();
            self.add(
                "dht_reached",
                "gauge",
                "Whether strangers reach this proxy; absent until that is known.",
                &reached,
            );
            let help = "Files that others can find here.";
            self.add("dht_announced_files", "gauge", help, &[("", count(dht.files.1))]);
        }
    }

    fn of_the_cache(&mut self, numbers: &Numbers) {
        if let Some((files, bytes)) = numbers.stored {
            self.add("stored_files", "gauge", "Files in the cache.", &[("", files)]);
            self.add("stored_bytes", "gauge", "Bytes of the files in the cache.", &[("", bytes)]);
        }
        if let Some(bytes) = numbers.bytes_free {
            self.add("disk_free_bytes", "gauge", "Bytes that the cache's disk has left.", &[("", bytes)]);
        }
        let spoilt = "Files found damaged on the disk, and dropped.";
        self.add("damaged_files_total", "counter", spoilt, &[("", numbers.damaged)]);
        self.add("stored_bytes_max", "gauge", "The most bytes that cleanup leaves.", &[("", numbers.bytes_max)]);
        let known = count(numbers.archives_known);
        self.add("archives", "gauge", "Archives whose Release is known.", &[("", known)]);
        let problems = count(numbers.problems.len());
        self.add("problems", "gauge", "Things that need somebody's attention.", &[("", problems)]);
    }

    fn add(&mut self, name: &str, kind: &str, help: &str, values: &[(&str, u64)]) {
        if values.is_empty() {
            return;
        }
        writeln!(self.0, "# HELP apt_p2p_{name} {help}\n# TYPE apt_p2p_{name} {kind}")
            .expect("a string takes everything");
        for (labels, value) in values {
            writeln!(self.0, "apt_p2p_{name}{labels} {value}").expect("a string takes everything");
        }
    }
}

fn pairs<const N: usize>(labels: [&'static str; N], values: [u64; N]) -> Vec<(&'static str, u64)> {
    labels.into_iter().zip(values).collect()
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::numbers::tests::some;

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
