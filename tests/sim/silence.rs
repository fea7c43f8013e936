//! The emulated Internet of docs/DHT.md in virtual time: 96 nodes, of which some fall silent at once. Six look for what was
//! announced before, and for what nobody has.

use std::net::SocketAddr;
use std::time::Duration;

use apt_p2p::dht::{Input, Network, NodeId};

use super::net::{Net, Plan, announce, peers, percentile};

/// Those that look, and the others.
const OURS: usize = 6;
const OTHERS: usize = 90;
const KEYS: u64 = 20;
/// Lookups of each sort in one network.
const LOOKUPS: usize = 120;

/// How the lookups of several networks went.
#[derive(Default)]
struct Outcome {
    first_ms: Vec<u64>,
    nobody_ms: Vec<u64>,
    queries: usize,
    looked: usize,
    missed: usize,
}

impl Outcome {
    /// Networks in which so many of the others fall silent after all has been announced.
    fn of(seeds: u64, silent: usize) -> Outcome {
        let mut outcome = Outcome::default();
        for seed in 1..=seeds {
            let mut net = Net::new(Plan { seed, nodes: OTHERS + OURS, ..Plan::default() });
            net.run_for(Duration::from_secs(60));
            let addresses: Vec<SocketAddr> = net.machines.iter().map(|machine| machine.address).collect();
            for ours in OTHERS..OTHERS + OURS {
                addresses.iter().for_each(|it| net.input(ours, Input::Known(Network::Overlay, *it)));
            }
            net.run_for(Duration::from_secs(30));
            let all: Vec<usize> = (0..OTHERS + OURS).collect();
            let keys: Vec<NodeId> = (0..KEYS).map(|_| net.luck.id()).collect();
            for key in &keys {
                let announcer = net.luck.pick(&all);
                net.ask_and_wait(announcer, announce(*key));
            }
            for _ in 0..silent {
                let others: Vec<usize> = (0..OTHERS).filter(|n| !net.machines[*n].is_stopped).collect();
                let stopped = net.luck.pick(&others);
                net.machines[stopped].is_stopped = true;
            }
            outcome.look(&mut net, &keys);
        }
        outcome.first_ms.sort_unstable();
        outcome.nobody_ms.sort_unstable();
        outcome
    }

    fn look(&mut self, net: &mut Net, keys: &[NodeId]) {
        let ours: Vec<usize> = (OTHERS..OTHERS + OURS).collect();
        for _ in 0..LOOKUPS {
            let (key, asker) = (keys[net.luck.below(KEYS) as usize], net.luck.pick(&ours));
            let asked = net.ask_and_wait(asker, peers(key));
            self.looked += 1;
            self.first_ms.extend(asked.first_ms());
            self.missed += usize::from(asked.peers.is_empty());
            let (key, asker) = (net.luck.id(), net.luck.pick(&ours));
            let asked = net.ask_and_wait(asker, peers(key));
            self.nobody_ms.extend(asked.done_ms());
            self.queries += asked.queries;
        }
    }

    fn p99_ms(&self) -> (u64, u64) {
        (percentile(&self.first_ms, 0.99), percentile(&self.nobody_ms, 0.99))
    }
}

#[test]
fn those_that_fall_silent_hide_nothing_and_are_hardly_waited_for() {
    for (silent, limits_ms) in [(0, (130, 250)), (30, (200, 350)), (45, (250, 500))] {
        let outcome = Outcome::of(6, silent);
        let Outcome { queries, looked, missed, .. } = outcome;
        let (first_ms, nobody_ms) = outcome.p99_ms();
        let each = queries as f64 / looked as f64;
        println!(
            "{silent} silent: p99 {first_ms} and {nobody_ms} ms, {missed} of {looked} missed, {each:.1} queries"
        );
        assert!(first_ms <= limits_ms.0 && nobody_ms <= limits_ms.1, "{silent} silent: {first_ms}, {nobody_ms} ms");
        assert!(missed * 700 <= looked, "{silent} silent: {missed} of {looked} are not found");
    }
}
