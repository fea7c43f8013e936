//! The DHT among 100 to 10,000 nodes: the table and the plot of docs/DHT.md.
//!
//!     cargo bench --profile dev --bench sim              # 100, 300, 1,000, 3,000 and 10,000 nodes
//!     cargo bench --profile dev --bench sim -- 1         # the same for one hour each, not a day
//!     cargo bench --profile dev --bench sim -- 10000 24  # 10,000 nodes, 24 hours
//!
//! `--profile dev` is made for speed, the release for size. Writes docs/dht-lookups.svg when it runs all of them, anew
//! after each.

#[path = "../../tests/sim/net.rs"]
mod net;
mod plot;
#[path = "../../tests/sim/world.rs"]
mod world;

use std::time::{Duration, Instant};

use world::{Report, World};

fn measure(nodes: usize, hours: u64) -> Report {
    #[expect(clippy::disallowed_methods, reason = "a benchmark takes the time")]
    let began = Instant::now();
    let lookups = if nodes >= 10_000 { 4000 } else { 2000 };
    let world = World { lookups, ..World::new(1, nodes, Duration::from_secs(hours * 3600)) };
    let report = world.run();
    let seconds = began.elapsed().as_secs_f64();
    println!("{report}");
    eprintln!("{nodes} nodes, {hours} h: {seconds:.0} s, {:.1} million datagrams", report.datagrams as f64 / 1e6);
    report
}

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|text| text.parse().ok()).collect();
    println!("{}", Report::head());
    if let [nodes, hours] = numbers[..] {
        measure(usize::try_from(nodes).expect("a number of nodes"), hours);
        return;
    }
    let hours = numbers.first().copied().unwrap_or(24);
    let mut reports = Vec::new();
    for nodes in [100, 300, 1000, 3000, 10_000] {
        reports.push(measure(nodes, hours));
        std::fs::write("docs/dht-lookups.svg", plot::lookups(&reports)).expect("docs/ can be written");
    }
}
