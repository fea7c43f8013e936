//! Networks in which everything goes wrong at once, each by its seed: loss, NATs, silent, slow and lying nodes, short
//! sessions, and now and then a partition.

use std::time::Duration;

use super::net::{Kind, Net, Plan, announce, check, peers};

/// What the network of a seed is like.
fn plan(seed: u64) -> Plan {
    let mut luck = super::net::Luck(seed ^ 0x5eed);
    let mut below = |bound| luck.below(bound);
    Plan {
        seed,
        nodes: 40 + usize::try_from(below(80)).expect("small"),
        rtt_ms: (10 + below(30), 100 + below(300)),
        loss: below(60),
        behind_nat: below(60),
        silent: below(25),
        slow: below(10),
        lying: below(20),
        half_session: Duration::from_secs(if below(2) == 0 { 1800 } else { 5 * 3600 }),
        join_time: Duration::from_secs(30),
        ..Plan::default()
    }
}

/// Runs the network of a seed, and holds it to all rules.
pub(super) fn run(seed: u64) {
    let mut net = Net::new(plan(seed));
    net.run_for(Duration::from_secs(300));
    check::all_bounds(&net);
    if seed.is_multiple_of(4) {
        net.split_at = Some(net.machines.len() / 2);
        net.run_for(Duration::from_secs(600));
        net.split_at = None;
        net.run_for(Duration::from_secs(900));
    }
    for _ in 0..8 {
        let (key, open) = (net.luck.id(), net.open());
        let announcer = net.luck.pick(&open);
        let stored = net.ask_and_wait(announcer, announce(key)).stored;
        let address = net.machines[announcer].address;
        for _ in 0..4 {
            let honest = net.honest();
            let asker = net.luck.pick(&honest);
            let asked = net.ask_and_wait(asker, peers(key));
            if !net.is_up(asker) || !net.is_up(announcer) || asker == announcer {
                continue;
            }
            assert!(asked.done.is_some(), "seed {seed}: a lookup does not end");
            assert!(asked.peers.len() <= 128, "seed {seed}: {} peers", asked.peers.len());
            let settled = net.now.since(net.machines[asker].came_up) >= Duration::from_secs(60);
            assert!(
                !settled || asked.peers.contains(&address),
                "seed {seed}: machine {asker} does not find what {stored} keep"
            );
        }
        net.run_for(Duration::from_secs(60));
        check::all_bounds(&net);
    }
    // Who only asks is not hurt by who lies: nobody is believed to be where he is not.
    for machine in net.honest() {
        let it = &net.machines[machine];
        let status = &it.dht.as_ref().expect("it is up").status()[0];
        if net.now.since(it.came_up) >= Duration::from_secs(60) {
            let own = status.address.map(|address| address.ip());
            assert_eq!(own, Some(it.address.ip()), "seed {seed}: machine {machine} believes liars");
        }
    }
    assert!(net.machines.iter().all(|it| it.kind != Kind::Honest || it.asks.is_empty()), "seed {seed}: asks left");
}
