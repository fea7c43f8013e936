//! A whole network over hours: who announces what, who looks for it, and how it went. The short test, the benchmark and
//! the example measure the same by it.

#![allow(dead_code, unreachable_pub, reason = "tests, the benchmark and the example use different parts of it")]

use std::fmt;
use std::time::Duration;

use apt_p2p::dht::{Input, NodeId, Reach};
use apt_p2p::time::Time;

use super::net::{Net, Plan, check, peers, percentile};

/// What is measured.
#[derive(Clone, Debug)]
pub struct World {
    pub plan: Plan,
    /// Before anything is announced.
    pub settle: Duration,
    /// After that.
    pub time: Duration,
    /// Files that are announced, each by one node.
    pub files: usize,
    /// Lookups made, spread over the time.
    pub lookups: usize,
}

/// How it went.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub nodes: usize,
    pub found: usize,
    pub lookups: usize,
    /// Milliseconds to the first peer, sorted.
    pub first_ms: Vec<u64>,
    /// Milliseconds to the end of lookups for what nobody has, sorted.
    pub nobody_ms: Vec<u64>,
    pub queries: f64,
    pub hops: f64,
    /// Datagrams that a node sends a second, on average.
    pub per_node: f64,
    /// The same for the node that sends most, while it was up.
    pub busiest: f64,
    pub datagrams: u64,
}

/// A file, who announces it, and in which of its sessions.
struct File {
    key: NodeId,
    machine: usize,
    came_up: Time,
    since: Time,
}

impl World {
    /// Half of the nodes are behind NATs, sessions are as the original's peers': half of them over 5 h.
    pub fn new(seed: u64, nodes: usize, time: Duration) -> World {
        World {
            plan: Plan {
                seed,
                nodes,
                behind_nat: 50,
                half_session: Duration::from_secs(5 * 3600),
                join_time: Duration::from_secs(600),
                ..Plan::default()
            },
            settle: Duration::from_secs(3600),
            time,
            files: nodes,
            lookups: 1000,
        }
    }

    /// Runs all of it.
    pub fn run(&self) -> Report {
        let mut net = Net::new(self.plan.clone());
        net.run_for(self.settle);
        let mut files: Vec<File> = Vec::new();
        let mut report = Report { nodes: self.plan.nodes, ..Report::default() };
        let (began, before) = (net.now, net.datagrams);
        let step = self.time / u32::try_from(self.lookups).expect("fewer than 2³²");
        for n in 0..self.lookups {
            self.announce(&mut net, &mut files);
            net.run_for(step / 2);
            self.look(&mut net, &files, &mut report);
            if n % 10 == 0 {
                self.look_for_nothing(&mut net, &mut report);
            }
            net.run_for(step / 2);
            if n % 100 == 0 {
                check::all_bounds(&net);
            }
        }
        report.first_ms.sort_unstable();
        report.nobody_ms.sort_unstable();
        report.queries /= report.nobody_ms.len().max(1) as f64;
        report.hops /= report.nobody_ms.len().max(1) as f64;
        report.datagrams = net.datagrams - before;
        let up = net.machines.iter().filter(|machine| machine.dht.is_some());
        let seconds = net.now.since(began).as_secs_f64();
        report.per_node = report.datagrams as f64 / seconds / up.clone().count() as f64;
        let rates = up.filter(|machine| net.now.since(machine.came_up) > Duration::from_secs(1800));
        let rates = rates.map(|machine| machine.datagrams_sent as f64 / net.now.since(machine.came_up).as_secs_f64());
        report.busiest = rates.fold(0.0, f64::max);
        report
    }

    /// Whose announcer has left gets another one.
    fn announce(&self, net: &mut Net, files: &mut Vec<File>) {
        files.retain(|file| {
            net.machines[file.machine].came_up == file.came_up && net.machines[file.machine].dht.is_some()
        });
        if files.len() >= self.files {
            return;
        }
        let is_open = |machine: &usize| {
            let dht = net.machines[*machine].dht.as_ref();
            dht.is_some_and(|dht| dht.status()[0].reach == Reach::Open)
        };
        let open: Vec<usize> = net.open().into_iter().filter(is_open).collect();
        while files.len() < self.files {
            let (key, machine) = (net.luck.id(), net.luck.pick(&open));
            files.push(File { key, machine, came_up: net.machines[machine].came_up, since: net.now });
            net.input(machine, Input::Announce { key, hint: None });
        }
    }

    /// Somebody looks for what somebody has had for two minutes.
    fn look(&self, net: &mut Net, files: &[File], report: &mut Report) {
        let ripe: Vec<usize> =
            (0..files.len()).filter(|n| net.now.since(files[*n].since) >= Duration::from_secs(120)).collect();
        if ripe.is_empty() {
            return;
        }
        let file = &files[net.luck.pick(&ripe)];
        let honest = net.honest();
        let machine = self.asker(net, &honest, file.machine);
        let asked = net.ask_and_wait(machine, peers(file.key));
        if net.is_up(machine) && net.is_up(file.machine) {
            report.lookups += 1;
            let ip = net.machines[file.machine].address.ip();
            report.found += usize::from(asked.peers.iter().any(|peer| peer.ip() == ip));
            report.first_ms.extend(asked.first_ms());
        }
    }

    fn look_for_nothing(&self, net: &mut Net, report: &mut Report) {
        let honest = net.honest();
        let (machine, target) = (self.asker(net, &honest, usize::MAX), net.luck.id());
        let what = apt_p2p::dht::Ask::Peers { key: target, network: apt_p2p::dht::Network::Overlay, traced: true };
        let asked = net.ask_and_wait(machine, what);
        if let Some(ms) = asked.done_ms() {
            report.nobody_ms.push(ms);
            report.queries += asked.queries as f64;
            report.hops += f64::from(asked.hops);
        }
    }

    /// Anybody who has been there for five minutes, but the announcer.
    fn asker(&self, net: &mut Net, honest: &[usize], but: usize) -> usize {
        let is_settled = |n: &usize| *n != but && net.now.since(net.machines[*n].came_up) >= Duration::from_secs(300);
        let settled: Vec<usize> = honest.iter().copied().filter(is_settled).collect();
        net.luck.pick(&settled)
    }
}

impl Report {
    /// The columns of [`Report`]'s rows, as a table in Markdown.
    pub fn head() -> String {
        let names = "| nodes | found | first peer p50 | p90 | p99 | \"nobody has it\" p50 | p90 | p99 | queries | hops \
                     | datagrams/s a node | the busiest node |";
        format!("{names}\n|{}", "---|".repeat(12))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { nodes, found, lookups, queries, hops, per_node, busiest, .. } = self;
        write!(f, "| {nodes} | {found} of {lookups} ")?;
        for times in [&self.first_ms, &self.nobody_ms] {
            let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|share| percentile(times, share));
            write!(f, "| {p50} ms | {p90} ms | {p99} ms ")?;
        }
        write!(f, "| {queries:.1} | {hops:.1} | {per_node:.2} | {busiest:.2} |")
    }
}
