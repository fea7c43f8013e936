//! A BitTorrent DHT of programs that we did not write: libtorrent's nodes.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::netns::Host;
use super::skip;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/mainline.py");
const NODES: u8 = 8;

/// It ends when it is dropped.
pub struct Mainline {
    /// Where it is entered.
    pub entrance: String,
    child: Child,
    /// While it is open, the nodes run.
    _input: ChildStdin,
}

impl Mainline {
    /// Starts it on a machine, with addresses 198.18.n.1 from `first` on. `None`, after a word of why, without libtorrent.
    pub fn start(host: &Host, first: u8) -> Option<Mainline> {
        let has_it = |python: &&str| {
            let output = Command::new(python).args(["-c", "import libtorrent"]).output();
            output.is_ok_and(|output| output.status.success())
        };
        // Debian's own may not be the first that is found.
        let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(has_it) else {
            skip("libtorrent for Python (python3-libtorrent)");
            return None;
        };
        let addresses: Vec<String> = (first..first + NODES).map(|n| format!("198.18.{n}.1")).collect();
        addresses.iter().for_each(|address| host.add_address(address));
        let mut command = Command::new(python);
        command.arg(SCRIPT).args(&addresses).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = host.inside(|| command.spawn()).expect("it ran before");
        let input = child.stdin.take().expect("piped");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("text");
        let mainline = Mainline { entrance: format!("{}:6881", addresses[0]), child, _input: input };
        assert_eq!(line, "ready\n");
        Some(mainline)
    }
}

impl Drop for Mainline {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
