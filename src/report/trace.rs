//! A lookup as it happens: a line for each step, then what was found.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::counted;
use crate::dht::{Contact, Event, Hop, NodeId, Summary};
use crate::json::object;
use crate::sorted::SortedMap;

/// Tells a lookup. Each call returns the lines that it is worth, which may be none.
#[derive(Debug)]
pub struct Trace {
    key: NodeId,
    is_json: bool,
    /// Where each node was met: how many answers led to it, and bits in common with the key.
    met: SortedMap<SocketAddr, (u8, usize)>,
    peers: Vec<SocketAddr>,
    hints: Vec<Vec<u8>>,
    first_ms: Option<u64>,
}

impl Trace {
    /// A lookup of `key`.
    #[must_use]
    pub fn new(key: NodeId, is_json: bool) -> Trace {
        Trace { key, is_json, met: SortedMap::new(), peers: Vec::new(), hints: Vec::new(), first_ms: None }
    }

    /// What is looked for, and the table's head.
    #[must_use]
    pub fn begin(&self, digest: &dyn std::fmt::Display, network: &str) -> String {
        if self.is_json {
            return line(object(|json| {
                json.text("event", "begin");
                json.text("digest", digest);
                json.text("key", self.key);
                json.text("network", network);
            }));
        }
        format!(
            "looking for {digest}\non the network {network}, where its key is {}\n\n{:>6}  {:>3}  {:<44}{:>5}\n",
            self.key, "ms", "hop", "node", "bits"
        )
    }

    /// Something happened, `ms` after the beginning.
    pub fn note(&mut self, ms: u64, event: &Event) -> String {
        match event {
            Event::Hop { hop, .. } => self.note_hop(ms, hop),
            Event::Peer { peer, .. } => {
                self.first_ms.get_or_insert(ms);
                self.peers.push(*peer);
                if self.is_json {
                    return line(object(|json| {
                        json.text("event", "peer");
                        json.plain("ms", ms);
                        json.text("peer", peer);
                    }));
                }
                format!("{ms:>6}       it is at {peer}\n")
            }
            Event::Hint { hint, .. } => {
                let is_new = !self.hints.iter().any(|known| known == hint.bytes());
                if is_new {
                    self.hints.push(hint.bytes().to_vec());
                }
                if self.is_json && is_new {
                    return line(object(|json| {
                        json.text("event", "hint");
                        json.plain("ms", ms);
                        json.text("hint", hex(hint.bytes()));
                    }));
                }
                String::new()
            }
            Event::Done { summary, .. } => self.end(ms, summary),
            _ => String::new(),
        }
    }

    /// The exit status: 0, somebody has it; 1, nobody.
    #[must_use]
    pub fn status(&self) -> u8 {
        u8::from(self.peers.is_empty())
    }

    fn note_hop(&mut self, ms: u64, hop: &Hop) -> String {
        let (address, word, took, peers) = match hop {
            Hop::Asked { contact, hop } => {
                self.met.insert(contact.address, (*hop, self.bits(contact)));
                (contact.address, "asked", None, None)
            }
            Hop::Answered { contact, ms, peers } => (contact.address, "answered", Some(*ms), Some(*peers)),
            Hop::Stalled { address } => (*address, "stalled", None, None),
            Hop::Lost { address } => (*address, "lost", None, None),
        };
        let (hops, bits) = self.met.get(&address).copied().unwrap_or_default();
        if self.is_json {
            return line(object(|json| {
                json.text("event", word);
                json.plain("ms", ms);
                json.plain("hop", u64::from(hops));
                json.text("node", address);
                json.plain("bits", bits);
                if let (Some(took), Some(peers)) = (took, peers) {
                    json.plain("took_ms", took);
                    json.plain("peers", peers);
                }
            }));
        }
        let what = match (took, peers) {
            (Some(took), Some(0)) => format!("answered in {took} ms"),
            (Some(took), Some(peers)) => format!("answered in {took} ms, {}", counted(peers, "peer", "peers")),
            _ if word == "stalled" => "late; others are asked".into(),
            _ if word == "lost" => "no answer".into(),
            _ => "asked".into(),
        };
        format!("{ms:>6}  {hops:>3}  {:<44}{bits:>5}  {what}\n", address.to_string())
    }

    fn bits(&self, contact: &Contact) -> usize {
        contact.id.common_bits(&self.key)
    }

    fn end(&self, ms: u64, summary: &Summary) -> String {
        if self.is_json {
            return line(object(|json| {
                json.text("event", "done");
                json.plain("ms", ms);
                json.plain("first_peer_ms", self.first_ms);
                json.plain("queries", summary.queries);
                json.plain("answers", summary.answers);
                json.texts("peers", &self.peers);
                json.texts("hints", self.hints.iter().map(|hint| hex(hint)));
            }));
        }
        let mut text = String::from("\n");
        self.write_findings(&mut text).expect("a string takes everything");
        let first = self.first_ms.map_or_else(String::new, |ms| format!("first peer after {ms} ms, "));
        let (queries, answers) =
            (counted(summary.queries, "query", "queries"), counted(summary.answers, "answer", "answers"));
        writeln!(text, "{first}over after {ms} ms: {queries}, {answers}").expect("a string takes everything");
        text
    }

    fn write_findings(&self, text: &mut String) -> std::fmt::Result {
        match self.peers.len() {
            0 => writeln!(text, "nobody is known to have it")?,
            count => writeln!(text, "{}:", counted(count, "peer says to have it", "peers say to have it"))?,
        }
        for peer in &self.peers {
            writeln!(text, "  {peer}")?;
        }
        for hint in &self.hints {
            match hint.len() {
                20 => writeln!(text, "its piece table is said to be the item {}", hex(hint))?,
                len => writeln!(text, "it is said to have {} pieces; their midstates: {}", len / 32 + 1, hex(hint))?,
            }
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn line(mut text: String) -> String {
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::{AskId, Hint};

    const ASK: AskId = AskId(1);

    fn told(is_json: bool, peers: usize) -> (String, u8) {
        let key = NodeId([0x80; 20]);
        let contact = Contact { id: NodeId([0x81; 20]), address: SocketAddr::from(([203, 0, 113, 5], 9978)) };
        let mut trace = Trace::new(key, is_json);
        let mut text = trace.begin(&"00ff", "test");
        let late = SocketAddr::from(([203, 0, 113, 6], 9978));
        let hint = Hint::new(&[7; 20]).expect("a length");
        let mut events = vec![
            (0, Event::Hop { ask: ASK, hop: Hop::Asked { contact, hop: 2 } }),
            (1, Event::Hop { ask: ASK, hop: Hop::Asked { contact: Contact { address: late, ..contact }, hop: 0 } }),
            (35, Event::Hop { ask: ASK, hop: Hop::Answered { contact, ms: 35, peers } }),
            (450, Event::Hop { ask: ASK, hop: Hop::Stalled { address: late } }),
            (10_001, Event::Hop { ask: ASK, hop: Hop::Lost { address: late } }),
        ];
        if peers > 0 {
            events.insert(3, (35, Event::Hint { ask: ASK, hint: hint.clone() }));
            events.insert(3, (35, Event::Hint { ask: ASK, hint }));
            events.insert(3, (35, Event::Peer { ask: ASK, peer: late }));
        }
        let summary = Summary { queries: 2, answers: 1, stored: 0 };
        events.push((10_001, Event::Done { ask: ASK, summary }));
        events.iter().for_each(|(ms, event)| text.push_str(&trace.note(*ms, event)));
        (text, trace.status())
    }

    #[test]
    fn people_see_a_table_and_then_what_was_found() {
        let key = "80".repeat(20);
        let row = |ms: u64, hop: u8, node: &str, what: &str| format!("{ms:>6}  {hop:>3}  {node:<44}    7  {what}\n");
        let (near, late) = ("203.0.113.5:9978", "203.0.113.6:9978");
        let (text, status) = told(false, 1);
        let expected = [
            format!("looking for 00ff\non the network test, where its key is {key}\n\n"),
            format!("    ms  hop  {:<44} bits\n", "node"),
            row(0, 2, near, "asked"),
            row(1, 0, late, "asked"),
            row(35, 2, near, "answered in 35 ms, 1 peer"),
            format!("    35       it is at {late}\n"),
            row(450, 0, late, "late; others are asked"),
            row(10_001, 0, late, "no answer"),
            format!("\n1 peer says to have it:\n  {late}\n"),
            format!("its piece table is said to be the item {}\n", "07".repeat(20)),
            "first peer after 35 ms, over after 10001 ms: 2 queries, 1 answer\n".into(),
        ]
        .concat();
        assert_eq!((text, status), (expected, 0));
        let (text, status) = told(false, 0);
        let end = "\nnobody is known to have it\nover after 10001 ms: 2 queries, 1 answer\n";
        assert!(text.ends_with(end) && status == 1, "{text}");
    }

    #[test]
    fn programs_get_an_object_a_line() {
        let (text, status) = told(true, 2);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), status), (9, 0), "{text}");
        let answered =
            r#"{"event":"answered","ms":35,"hop":2,"node":"203.0.113.5:9978","bits":7,"took_ms":35,"peers":2}"#;
        assert_eq!(lines[3], answered);
        assert!(lines[8].starts_with(r#"{"event":"done","ms":10001,"first_peer_ms":35,"queries":2,"answers":1,"#));
        assert!(told(true, 0).0.contains(r#""first_peer_ms":null"#));
    }
}
