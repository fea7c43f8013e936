//! A crawl of a simulated network: nodes with routing tables that they learnt themselves.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use apt_p2p::dht::{Crawl, CrawlInput, CrawlOutput, CrawlPlan, Family, Input, Output};
use apt_p2p::time::Time;

use super::net::{Nat, Net, Plan};

/// What the machine at `to` answers to the crawler; what it sends to others meanwhile is lost.
fn answers(net: &mut Net, machine: usize, now: Time, crawler: SocketAddr, bytes: &[u8]) -> Vec<Vec<u8>> {
    let Some(dht) = &mut net.machines[machine].dht else { return Vec::new() };
    dht.handle(now, Input::Datagram { from: crawler, bytes });
    let (mut sent, mut buffer) = (Vec::new(), Vec::new());
    loop {
        match dht.poll(now, &mut buffer) {
            Output::Send { to } if to == crawler => sent.push(buffer.clone()),
            Output::Send { .. } | Output::Event(_) => {}
            Output::WakeAt(_) => return sent,
        }
    }
}

#[test]
fn a_crawl_meets_all_that_can_be_reached() {
    let mut net = Net::new(Plan { nodes: 150, behind_nat: 30, ..Plan::default() });
    net.run_for(Duration::from_secs(300));
    let by_address: HashMap<SocketAddr, usize> =
        net.machines.iter().enumerate().map(|(n, machine)| (machine.address, n)).collect();
    let crawler: SocketAddr = "198.51.100.9:40000".parse().expect("an address");
    let plan = CrawlPlan {
        seed: [5; 32],
        network: "apt-p2p".into(),
        families: vec![Family::V4],
        is_private: false,
        duration: Duration::ZERO,
    };
    let mut now = net.now;
    let mut crawl = Crawl::new(plan, now);
    crawl.handle(now, CrawlInput::Known(net.machines[0].address));
    let mut buffer = Vec::new();
    loop {
        match crawl.poll(now, &mut buffer) {
            CrawlOutput::Send { to } => {
                // Where a NAT has moved its machine's port, nobody is any more.
                let machine = by_address.get(&to).filter(|machine| net.machines[**machine].nat == Nat::None);
                if let Some(machine) = machine {
                    for bytes in answers(&mut net, *machine, now, crawler, &buffer) {
                        crawl.handle(now, CrawlInput::Datagram { from: to, bytes: &bytes });
                    }
                }
            }
            CrawlOutput::Swept => {}
            CrawlOutput::Done => break,
            CrawlOutput::WakeAt(at) => {
                now = at;
                crawl.handle(now, CrawlInput::Tick);
            }
        }
    }
    let (survey, open) = (crawl.survey(now), net.open().len());
    println!("{} of {open} that can be reached: {survey:?}", survey.answered);
    assert!(survey.answered * 100 >= open * 99 && survey.answered <= open, "{} of {open}", survey.answered);
    assert!(survey.queries <= 2 * survey.nodes as u64, "{survey:?}");
}
