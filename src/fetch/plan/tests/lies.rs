//! Peers that lie, stall, vanish: the file comes right, and no later.

use proptest::prelude::*;

use super::*;
use crate::limits::PAUSES_PER_SOURCE;

#[test]
fn ten_thousand_pieces_with_a_fifth_of_lies() {
    // Liars come and go: each file meets others, as a big network would show them.
    let mut lies = 0;
    let mut pieces = 0;
    let mut n = 0;
    while pieces < 10_000 {
        let mut peers = vec![peer(Kind::Honest, 5 * MB); 6];
        peers.extend(vec![peer(Kind::Flips(5), 6 * MB); 4]);
        peers.push(peer(Kind::FalseTable(40 * (n % 7)), 6 * MB));
        peers.push(peer(Kind::Flips(1 + n % 9), 8 * MB));
        let mut world = World::new(Prefer::Speed, peers);
        world.join(500, 200_000);
        world.run(10_000);
        pieces += 500;
        n += 1;
        lies += world.peers.iter().filter(|peer| peer.lied).count();
    }
    assert!(lies >= 60, "{lies} lies were told");
}

#[test]
fn who_names_another_table_in_a_later_answer_is_heard_no_more() {
    // Right at first; then with false pieces below, under a table that only differs there: they would be counted under the
    // first one.
    let mut peers = vec![Peer { rtt: 5, ..peer(Kind::Turns(0, 240), 50 * MB) }];
    peers.extend(vec![peer(Kind::Honest, 2 * MB); 3]);
    let mut world = World::new(Prefer::Speed, peers);
    world.join(40, 200_000);
    world.run(1000);
    assert!(world.peers[0].asked > 1 && world.peers[0].given <= 1, "{:?}", world.peers[0]);
    // False at first; then a right piece under the right table, which would speak for the false one.
    let mut peers = vec![Peer { rtt: 5, ..peer(Kind::Turns(256, 0), 50 * MB) }];
    peers.extend(vec![peer(Kind::Honest, 100_000); 3]);
    let mut world = World::new(Prefer::Speed, peers);
    world.join(40, MB);
    world.run(1000);
    assert!(world.peers[0].asked > 1 && world.flights[0].done.is_some(), "{:?}", world.peers[0]);
}

#[test]
fn four_who_name_false_tables_and_go_keep_no_honest_table_out() {
    let mut peers: Vec<Peer> = (1..5).map(|n| Peer { rtt: 5, ..peer(Kind::Names(50 * n), MB) }).collect();
    peers.push(peer(Kind::Honest, 3 * MB));
    let mut world = World::new(Prefer::Speed, peers);
    world.join(20, 0);
    world.run(100);
    assert!(world.flights[0].done.is_some(), "an honest peer was put out");
}

#[test]
fn who_asks_for_no_pause_gets_one_and_is_not_asked_for_ever() {
    let mut peers = vec![Peer { rtt: 1, ..peer(Kind::Busy(0), 50 * MB) }, peer(Kind::Honest, MB)];
    peers[1].rtt = 100;
    let mut world = World::new(Prefer::Speed, peers);
    world.join(40, MB);
    (0..100).for_each(|_| world.step());
    assert_eq!(world.peers[0].asked, 1, "it was asked again within half a second");
    world.run(1000);
    assert_eq!(world.peers[0].asked, u64::from(PAUSES_PER_SOURCE));
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => Just(Kind::Honest),
        1 => (1..6_u64).prop_map(Kind::Flips),
        1 => (0..256_u64).prop_map(Kind::FalseTable),
        1 => (0..257_u64, 0..257_u64).prop_map(|(first, later)| Kind::Turns(first, later)),
        1 => (1..256_u64).prop_map(Kind::Names),
        1 => Just(Kind::Silent),
        1 => Just(Kind::NotHere),
        1 => prop_oneof![Just(0), 1..9000_u64].prop_map(Kind::Busy),
        1 => Just(Kind::Unusable),
        1 => (0..9_u64).prop_map(Kind::Vanishes),
    ]
}

fn sources() -> impl Strategy<Value = Vec<Peer>> {
    let rates = prop_oneof![Just(50_000), 100_000..20 * MB];
    let one = (kinds(), rates, 1..150_u64).prop_map(|(kind, rate, rtt)| Peer { rtt, ..peer(kind, rate) });
    proptest::collection::vec(one, 0..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_peers_do_the_file_comes_right_and_no_later(
        peers in sources(), count in 1..80_usize, rate in prop_oneof![Just(300_000), 2 * MB..30 * MB], second in any::<bool>()
    ) {
        let mut world = World::new(Prefer::Speed, peers);
        world.join(count, rate);
        if second {
            world.join(count / 2 + 1, rate);
        }
        let together = world.run(100_000);
        let alone = alone(count, rate);
        prop_assert!(world.flights.iter().all(|flight| flight.done.is_some()));
        prop_assert!(together <= alone * 1.05 + 0.02, "{together} s instead of {alone} s");
    }

    #[test]
    fn without_a_mirror_the_file_comes_right_or_not_at_all(peers in sources(), count in 1..40_usize) {
        let mut world = World::new(Prefer::Speed, peers);
        let has_good = world.peers.iter().any(|peer| peer.kind == Kind::Honest && peer.rate > 64 * 1024);
        world.join(count, 0);
        world.run(100_000);
        // A good peer suffices, however many lie.
        prop_assert!(world.flights[0].done.is_some() || !has_good, "a good peer was not used");
    }

    #[test]
    fn offload_completes_whatever_peers_do(peers in sources(), count in 1..15_usize) {
        let mut world = World::new(Prefer::Offload, peers);
        world.join(count, 2 * MB);
        world.run(100_000);
        prop_assert!(world.flights[0].done.is_some());
    }
}
