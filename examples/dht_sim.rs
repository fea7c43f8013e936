//! A small network in virtual time: a hundred nodes, half of them behind NATs, with loss and churn, for two hours.
//!
//!     cargo run --release --example dht_sim
//!     cargo run --release --example dht_sim -- 500     # so many nodes

#[path = "../tests/sim/net.rs"]
mod net;
#[path = "../tests/sim/world.rs"]
mod world;

use std::time::Duration;

use net::percentile;
use world::World;

fn main() {
    let nodes = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(100);
    let world = World { lookups: 500, ..World::new(1, nodes, Duration::from_secs(2 * 3600)) };
    println!("{nodes} nodes, {} files, {} lookups in two hours …", world.files, world.lookups);
    let report = world.run();
    let p = |times: &[u64], share| percentile(times, share);
    println!("found            {} of {}", report.found, report.lookups);
    println!(
        "first peer       {} ms, of 100 lookups 99 within {} ms",
        p(&report.first_ms, 0.5),
        p(&report.first_ms, 0.99)
    );
    println!(
        "\"nobody has it\"  {} ms, of 100 lookups 99 within {} ms",
        p(&report.nobody_ms, 0.5),
        p(&report.nobody_ms, 0.99)
    );
    println!("a lookup         {:.1} queries, {:.1} hops", report.queries, report.hops);
    println!("a node           {:.2} datagrams a second, the busiest {:.2}", report.per_node, report.busiest);
}
