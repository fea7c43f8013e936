//! The DHT among many of its kind, in virtual time. A failure prints the seed that makes it again.

mod crawl;
mod net;

use std::time::Duration;

use apt_p2p::dht::{Ask, Network, NodeId};
use net::{Net, Plan, announce, peers, percentile};

fn key(net: &mut Net) -> NodeId {
    NodeId(net.rng.bytes())
}

fn pick(net: &mut Net, from: &[usize]) -> usize {
    from[usize::try_from(net.rng.below(from.len() as u64)).expect("an index")]
}

#[test]
fn what_one_announces_all_others_find() {
    let mut net = Net::new(Plan { nodes: 60, loss: 0, ..Plan::default() });
    net.run_for(Duration::from_secs(120));
    let key = key(&mut net);
    let stored = net.ask_and_wait(7, announce(key)).stored;
    assert_eq!(stored, 8);
    let address = net.machines[7].address;
    for machine in net.honest() {
        let found = net.ask_and_wait(machine, peers(key));
        assert_eq!(found.peers, [address], "machine {machine}");
    }
    let nobody = self::key(&mut net);
    assert!(net.ask_and_wait(3, peers(nobody)).peers.is_empty());
}

#[test]
fn items_are_put_and_got() {
    let mut net = Net::new(Plan { nodes: 40, ..Plan::default() });
    net.run_for(Duration::from_secs(120));
    let item = [b"900:".as_slice(), &[7; 900]].concat();
    let target = apt_p2p::dht::item_target(&item);
    let put = net.ask_and_wait(5, Ask::Put { item: item.clone(), network: Network::Overlay });
    assert!(put.stored >= 6, "{}", put.stored);
    for machine in [0, 11, 39] {
        let got = net.ask_and_wait(machine, Ask::Item { target, network: Network::Overlay });
        assert_eq!(got.item.as_ref(), Some(&item), "machine {machine}");
    }
}

#[test]
fn the_closest_eight_are_the_closest_eight() {
    let mut net = Net::new(Plan { nodes: 300, loss: 0, ..Plan::default() });
    net.run_for(Duration::from_secs(600));
    let (mut right, mut all) = (0, 0);
    for _ in 0..40 {
        let (target, open) = (key(&mut net), net.open());
        let machine = pick(&mut net, &open);
        let mut truth: Vec<NodeId> = (open.iter().filter(|n| **n != machine))
            .filter_map(|n| Some(net.machines[*n].dht.as_ref()?.status()[0].id))
            .collect();
        truth.sort_by_key(|id| id.distance(&target));
        let asked = net.ask_and_wait(machine, Ask::Nodes { target, network: Network::Overlay, traced: true });
        let answered: Vec<NodeId> = asked.answered.iter().map(|contact| contact.id).collect();
        right += truth[..8].iter().filter(|id| answered.contains(id)).count();
        all += 8;
    }
    assert!(right * 100 >= all * 99, "{right} of {all}");
}

/// Liars, silent nodes, NATs, loss and churn at once.
fn hostile(seed: u64) {
    let plan = Plan {
        seed,
        nodes: 80,
        loss: 30,
        behind_nat: 30,
        silent: 15,
        lying: 15,
        half_session: Duration::from_secs(5 * 3600),
        ..Plan::default()
    };
    let mut net = Net::new(plan);
    net.run_for(Duration::from_secs(300));
    let mut found = 0;
    for _ in 0..10 {
        let (key, open, honest) = (key(&mut net), net.open(), net.honest());
        let (announcer, asker) = (pick(&mut net, &open), pick(&mut net, &honest));
        net.ask_and_wait(announcer, announce(key));
        let address = net.machines[announcer].address;
        let asked = net.ask_and_wait(asker, peers(key));
        if !net.is_up(asker) || !net.is_up(announcer) {
            // It left in the middle of it.
            found += 1;
            continue;
        }
        assert!(asked.done.is_some(), "seed {seed}: a lookup does not end");
        assert!(asked.peers.len() <= 128, "seed {seed}: {} peers", asked.peers.len());
        found += usize::from(asked.peers.contains(&address));
    }
    assert!(found >= 9, "seed {seed}: {found} of 10 were found");
    for machine in net.honest() {
        let status = net.machines[machine].dht.as_ref().expect("up").status();
        let node = &status[0];
        assert!(node.contacts <= 450 && node.calls <= 1024 && node.lookups <= 64, "seed {seed}: {node:?}");
    }
}

#[test]
fn hostile_networks_are_survived() {
    let seeds: u64 = std::env::var("APT_P2P_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let first: u64 = std::env::var("APT_P2P_FIRST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    (first..first + seeds).for_each(hostile);
}

#[test]
fn a_partition_heals() {
    let mut net = Net::new(Plan { nodes: 60, loss: 0, ..Plan::default() });
    net.run_for(Duration::from_secs(120));
    net.split_at = Some(30);
    net.run_for(Duration::from_secs(1200));
    let key = key(&mut net);
    net.ask_and_wait(10, announce(key));
    assert!(!net.ask_and_wait(20, peers(key)).peers.is_empty(), "its own side finds it");
    assert!(net.ask_and_wait(50, peers(key)).peers.is_empty());
    net.split_at = None;
    net.run_for(Duration::from_secs(3600));
    assert!(!net.ask_and_wait(50, peers(key)).peers.is_empty());
}

#[test]
fn an_announced_file_stays_findable_while_nodes_come_and_go() {
    let plan = Plan { nodes: 100, behind_nat: 50, half_session: Duration::from_secs(5 * 3600), ..Plan::default() };
    let mut net = Net::new(plan);
    net.run_for(Duration::from_secs(1200));
    let keys: Vec<NodeId> = (0..30).map(|_| key(&mut net)).collect();
    for key in &keys {
        net.input(1, apt_p2p::dht::Input::Announce { key: *key, hint: None });
    }
    let (mut found, mut all, mut times) = (0, 0, Vec::new());
    for _ in 0..8 {
        net.run_for(Duration::from_secs(1800));
        for key in &keys[..10] {
            let honest = net.honest();
            let machine = pick(&mut net, &honest);
            let asked = net.ask_and_wait(machine, peers(*key));
            all += 1;
            found += usize::from(!asked.peers.is_empty());
            times.extend(asked.first.map(|at| u64::try_from(at.since(asked.began).as_millis()).expect("ms")));
        }
    }
    times.sort_unstable();
    assert!(found * 100 >= all * 98, "{found} of {all}");
    assert!(percentile(&times, 0.5) <= 250, "median {} ms", percentile(&times, 0.5));
}
