//! How the DHT goes, in words and as JSON.

use std::fmt::Write as _;

use super::super::udp::DhtReport;
use crate::dht::{Family, Network, NodeStatus, Reach};
use crate::json::{Object, object};
use crate::report::{counted, size, time};

/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// For people.
pub(super) fn text(report: &DhtReport) -> String {
    let mut text = String::new();
    write_text(report, &mut text).expect("a string takes everything");
    text
}

fn write_text(report: &DhtReport, text: &mut String) -> std::fmt::Result {
    let addresses: Vec<String> = report.addresses.iter().map(ToString::to_string).collect();
    writeln!(text, "{:<14}{}", "network", report.network)?;
    writeln!(text, "{:<14}{} (UDP), for {}", "listens at", addresses.join(" and "), time(report.uptime))?;
    for node in &report.nodes {
        writeln!(text)?;
        write_node(node, text)?;
    }
    let (traffic, datagrams) = (&report.traffic, &report.datagrams);
    writeln!(text)?;
    writeln!(
        text,
        "{:<14}{} announced, {} of them found by others now",
        "own files", traffic.own, traffic.announced
    )?;
    writeln!(text, "{:<14}{}", "asks", counted(report.asks, "is waited for", "are waited for"))?;
    writeln!(
        text,
        "{:<14}{} of lookups, {} of upkeep; {} of others answered, {} refused for their number",
        "queries", traffic.asked, traffic.upkeep, traffic.replied, traffic.refused
    )?;
    for (name, count, bytes) in
        [("sent", datagrams.sent, datagrams.bytes_sent), ("received", datagrams.received, datagrams.bytes_received)]
    {
        let day = size(a_day(bytes, report));
        writeln!(text, "{name:<14}{count} datagrams, {}; {day} a day at this rate", size(bytes))?;
    }
    if datagrams.refused + datagrams.dropped > 0 {
        let (refused, dropped) = (datagrams.refused, datagrams.dropped);
        writeln!(text, "{:<14}{refused} refused by the system, {dropped} dropped for want of room", "not sent")?;
    }
    writeln!(text, "{:<14}{}", "saved", counted(report.contacts_saved, "contact", "contacts"))
}

fn write_node(node: &NodeStatus, text: &mut String) -> std::fmt::Result {
    let address = node.address.map_or_else(|| "not known yet".into(), |address| address.to_string());
    writeln!(text, "{}  {}", names(node).join(", "), node.id)?;
    writeln!(text, "  {:<12}{address}", "seen at")?;
    writeln!(text, "  {:<12}{}", "reached", reach(node.reach))?;
    writeln!(text, "  {:<12}{}", "table", counted(node.contacts, "contact", "contacts"))?;
    let (keys, items) = (counted(node.keys, "key", "keys"), counted(node.items, "item", "items"));
    let records = counted(node.records, "record", "records");
    writeln!(text, "  {:<12}{records} under {keys}, {items}", "for others")?;
    let (lookups, calls) = (counted(node.lookups, "lookup", "lookups"), counted(node.calls, "query", "queries"));
    writeln!(text, "  {:<12}{lookups}, {calls} in flight; an answer is late after {} ms", "under way", node.stall_ms)
}

/// For programs.
pub(super) fn json(report: &DhtReport) -> String {
    object(|json| {
        json.text("network", &report.network);
        json.texts("addresses", &report.addresses);
        json.plain("uptime_s", report.uptime.as_secs());
        json.objects("nodes", report.nodes.iter().map(|node| object(|json| fill_node(node, json))));
        json.plain("own_files", report.traffic.own);
        json.plain("own_files_announced", report.traffic.announced);
        json.plain("asks", report.asks);
        json.object("queries", |json| {
            json.plain("asked", report.traffic.asked);
            json.plain("upkeep", report.traffic.upkeep);
            json.plain("replied", report.traffic.replied);
            json.plain("refused", report.traffic.refused);
        });
        json.object("datagrams", |json| {
            json.plain("sent", report.datagrams.sent);
            json.plain("bytes_sent", report.datagrams.bytes_sent);
            json.plain("bytes_sent_a_day", a_day(report.datagrams.bytes_sent, report));
            json.plain("received", report.datagrams.received);
            json.plain("bytes_received", report.datagrams.bytes_received);
            json.plain("bytes_received_a_day", a_day(report.datagrams.bytes_received, report));
            json.plain("refused", report.datagrams.refused);
            json.plain("dropped", report.datagrams.dropped);
        });
        json.plain("contacts_saved", report.contacts_saved);
    }) + "\n"
}

fn fill_node(node: &NodeStatus, json: &mut Object) {
    let [network, family] = names(node);
    json.text("network", network);
    json.text("family", family);
    json.text("id", node.id);
    match node.address {
        Some(address) => json.text("address", address),
        None => json.plain("address", None::<u64>),
    }
    json.text(
        "reach",
        match node.reach {
            Reach::Unknown => "unknown",
            Reach::Open => "open",
            Reach::Closed => "closed",
        },
    );
    json.plain("contacts", node.contacts);
    json.plain("records", node.records);
    json.plain("keys", node.keys);
    json.plain("items", node.items);
    json.plain("calls", node.calls);
    json.plain("lookups", node.lookups);
    json.plain("stall_ms", node.stall_ms);
}

fn names(node: &NodeStatus) -> [&'static str; 2] {
    let network = match node.network {
        Network::Overlay => "overlay",
        Network::Mainline => "mainline",
    };
    let family = match node.family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    [network, family]
}

fn reach(reach: Reach) -> &'static str {
    match reach {
        Reach::Unknown => "not known yet: nothing is announced until a stranger's query arrives",
        Reach::Open => "yes: strangers' queries arrive",
        Reach::Closed => "no: nothing is announced; open the UDP port on the router to share",
    }
}

/// What so many bytes since the start are in a day; in the first minute nothing can be said.
fn a_day(bytes: u64, report: &DhtReport) -> u64 {
    bytes.saturating_mul(DAY_S) / report.uptime.as_secs().max(60)
}

#[cfg(test)]
mod tests {
    use super::super::super::udp::Datagrams;
    use super::*;
    use crate::dht::{NodeId, Traffic};
    use std::time::Duration;

    fn report() -> DhtReport {
        let node = NodeStatus {
            network: Network::Overlay,
            family: Family::V4,
            id: NodeId([0xab; 20]),
            address: Some("203.0.113.5:9978".parse().expect("an address")),
            reach: Reach::Closed,
            contacts: 1,
            records: 30,
            keys: 20,
            items: 2,
            calls: 3,
            lookups: 1,
            stall_ms: 210,
        };
        DhtReport {
            network: "test".into(),
            addresses: vec!["0.0.0.0:9978".parse().expect("an address")],
            nodes: vec![node],
            traffic: Traffic { asked: 1, upkeep: 2, replied: 3, refused: 4, own: 6, announced: 5 },
            datagrams: Datagrams {
                sent: 10,
                bytes_sent: 3600,
                received: 9,
                bytes_received: 900,
                refused: 1,
                dropped: 0,
            },
            asks: 1,
            contacts_saved: 7,
            uptime: Duration::from_secs(3600),
        }
    }

    #[test]
    fn people_read_words_and_units() {
        let text = text(&report());
        for line in [
            "listens at    0.0.0.0:9978 (UDP), for 1 h",
            &format!("overlay, IPv4  {}", "ab".repeat(20)),
            "  seen at     203.0.113.5:9978",
            "  reached     no: nothing is announced; open the UDP port on the router to share",
            "  table       1 contact",
            "  for others  30 records under 20 keys, 2 items",
            "  under way   1 lookup, 3 queries in flight; an answer is late after 210 ms",
            "own files     6 announced, 5 of them found by others now",
            "sent          10 datagrams, 3600 bytes; 84 KB a day at this rate",
            "not sent      1 refused by the system, 0 dropped for want of room",
        ] {
            assert!(text.lines().any(|of| of == line), "{line:?} in\n{text}");
        }
    }

    #[test]
    fn programs_read_numbers() {
        let json = json(&report());
        assert!(json.starts_with(r#"{"network":"test","addresses":["0.0.0.0:9978"],"uptime_s":3600,"nodes":[{"#));
        assert!(json.contains(r#""reach":"closed","contacts":1,"records":30,"keys":20,"items":2,"#), "{json}");
        assert!(json.contains(r#""sent":10,"bytes_sent":3600,"bytes_sent_a_day":86400,"#), "{json}");
    }
}
