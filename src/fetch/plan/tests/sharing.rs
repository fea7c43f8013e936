//! Who gives what: the mirror and good peers, to be quick or to spare the mirror.

use super::*;

#[test]
fn four_peers_and_the_mirror_are_nearly_five_times_as_fast() {
    let mut world = World::new(Prefer::Speed, vec![peer(Kind::Honest, 3 * MB); 4]);
    world.join(200, 3 * MB);
    let (together, alone) = (world.run(1000), alone(200, 3 * MB));
    assert!(together * 4.2 < alone, "{together} s together, {alone} s alone");
    // What peers brought was not brought twice.
    let sum = world.peer_bytes + world.flights[0].mirror_bytes;
    assert!(sum < world.flights[0].len * 104 / 100, "{sum} bytes for {}", world.flights[0].len);
}

#[test]
fn a_file_of_two_pieces_comes_half_from_a_peer() {
    let mut world = World::new(Prefer::Speed, vec![peer(Kind::Honest, 3 * MB)]);
    world.join(2, MB);
    assert!(world.run(100) < alone(2, MB) * 0.7);
}

#[test]
fn peers_alone_give_the_whole_file_when_the_mirror_is_away() {
    for count in [1, 2, 3, 40] {
        let mut world = World::new(Prefer::Speed, vec![peer(Kind::Honest, 3 * MB); 3]);
        world.join(count, 0);
        world.run(100);
        assert!(world.flights[0].done.is_some(), "{count} pieces");
    }
}

#[test]
fn without_mirror_and_peers_it_is_given_up() {
    for kind in [
        Kind::NotHere,
        Kind::Busy(0),
        Kind::Busy(3000),
        Kind::Silent,
        Kind::Unusable,
        Kind::Flips(1),
        Kind::FalseTable(200),
    ] {
        let mut world = World::new(Prefer::Speed, vec![peer(kind, 3 * MB); 3]);
        world.join(5, 0);
        world.run(22);
        assert!(world.flights[0].failed, "{kind:?}");
    }
}

#[test]
fn where_the_mirror_is_away_a_neighbour_that_missed_a_moment_is_asked_once_more() {
    for (is_neighbour, comes_back) in [(true, true), (true, false), (false, false)] {
        let mut world = World::new(Prefer::Speed, vec![Peer { is_neighbour, ..peer(Kind::Silent, 3 * MB) }]);
        world.join(5, 0);
        (0..1000).for_each(|_| world.step());
        assert_eq!(world.flights[0].failed, !is_neighbour, "after {} ms", world.now);
        if comes_back {
            world.peers[0].kind = Kind::Honest;
        }
        world.run(14);
        assert_eq!(world.flights[0].done.is_some(), comes_back);
        // Once more while it rests, and once more after that.
        let times = if is_neighbour { 3 } else { 1 };
        assert!(comes_back || world.peers[0].asked == times, "{} times", world.peers[0].asked);
    }
}

/// A world with a neighbour that missed what it was asked for more than [`TRIAL_PAUSE`] ago, and rests for much longer.
fn beside_one_that_rests(comes_back: bool) -> World {
    let mut world = World::new(Prefer::Speed, vec![Peer { is_neighbour: true, ..peer(Kind::Silent, 3 * MB) }]);
    let rests_until = |world: &World| world.plans.roster.rests_until(address(0)).0;
    for _ in 0..3 {
        world.join(8, MB);
        world.run(200);
        if world.peers[0].asked < 3 {
            world.now = rests_until(&world);
        }
    }
    world.now += 3000;
    assert!(rests_until(&world) > world.now + 10_000);
    assert_eq!(world.peers[0].asked, 3);
    if comes_back {
        world.peers[0].kind = Kind::Honest;
    }
    world
}

#[test]
fn where_a_mirror_fails_a_neighbour_that_rests_and_is_back_gives_all_at_once() {
    for pieces in [1, 5] {
        let mut world = beside_one_that_rests(true);
        let begun = world.now;
        world.join(pieces, 0);
        world.join(pieces, 0);
        world.run(100);
        let given = &world.flights[3..];
        assert!(given.iter().all(|flight| flight.done.is_some_and(|done| done - begun < 4000)), "{pieces} pieces");
        // It rests no more for a flight whose mirror gives, either.
        assert!(world.plans.roster.is_free(address(0), Time(world.now)));
    }
}

#[test]
fn where_a_mirror_fails_a_neighbour_that_is_not_back_costs_little() {
    let mut world = beside_one_that_rests(false);
    let begun = world.now;
    let asked = |world: &World| world.peers[0].asked;
    world.join(5, 0);
    world.join(1, 0);
    while world.flights[3..].iter().any(|flight| !flight.failed) {
        world.step();
    }
    assert!(world.now - begun < 2000, "{} ms", world.now - begun);
    assert_eq!(asked(&world), 4, "once for both");
    world.join(5, 0);
    (0..2).for_each(|_| world.step());
    assert!(world.flights[5].failed && asked(&world) == 4, "it is not asked again so soon");
    // A mirror that gives is no reason.
    world.now += 3000;
    world.join(5, MB);
    world.run(100);
    assert_eq!(asked(&world), 4);
}

#[test]
fn without_a_mirror_silent_strangers_are_given_up_before_apt_is() {
    for count in [1, 5] {
        let mut world = World::new(Prefer::Speed, vec![peer(Kind::Silent, MB); 8]);
        world.join(count, 0);
        world.run(22);
        assert!(world.flights[0].failed);
    }
}

#[test]
fn offload_leaves_the_mirror_alone_while_peers_give() {
    let mut world = World::new(Prefer::Offload, vec![peer(Kind::Honest, 3 * MB); 4]);
    world.join(60, 3 * MB);
    world.join(1, 3 * MB);
    world.run(100);
    assert_eq!(world.flights.iter().map(|flight| flight.mirror_bytes).sum::<u64>(), 0);
}

#[test]
fn offload_shows_bytes_before_apt_gives_up() {
    let mut world = World::new(Prefer::Offload, vec![peer(Kind::Honest, 100_000)]);
    world.join(20, 3 * MB);
    let mut shown_at = 0;
    while world.flights[0].done.is_none() {
        let before = world.flights[0].front;
        world.step();
        if world.flights[0].front > before {
            assert!(world.now - shown_at < 25_000, "nothing to show for {} ms", world.now - shown_at);
            shown_at = world.now;
        }
    }
    assert!(world.flights[0].mirror_bytes < world.flights[0].len / 2);
}

#[test]
fn offload_without_peers_takes_the_mirror() {
    let mut world = World::new(Prefer::Offload, vec![peer(Kind::NotHere, MB)]);
    world.join(20, 3 * MB);
    assert!(world.run(100) < alone(20, 3 * MB) + 0.2);
}

#[test]
fn offload_does_not_wait_for_a_peer_that_is_always_busy() {
    for pause in [0, 1000, 4000] {
        let mut world = World::new(Prefer::Offload, vec![peer(Kind::Busy(pause), MB)]);
        world.join(20, 3 * MB);
        let (took, alone) = (world.run(100), alone(20, 3 * MB));
        // It is asked twice.
        assert!(took < alone + pause.max(1000) as f64 / 1000.0 + 0.5, "{took} s instead of {alone} s, {pause} ms");
    }
}

#[test]
fn who_did_not_have_it_is_asked_again_when_a_later_lookup_names_him() {
    let mut world = World::new(Prefer::Offload, vec![peer(Kind::NotHere, 3 * MB)]);
    world.join(40, MB);
    (0..400).for_each(|_| world.step());
    assert!(world.peer_bytes == 0 && world.flights[0].mirror_bytes > 0);
    world.peers[0].kind = Kind::Honest;
    world.handle(Input::Lead { flight: FlightId(0), peer: address(0), is_neighbour: false });
    world.run(100);
    // The mirror is let go while he gives.
    assert!(world.flights[0].mirror_bytes < world.flights[0].len / 5, "{}", world.flights[0].mirror_bytes);
}

#[test]
fn flights_share_peers_fairly() {
    let mut world = World::new(Prefer::Speed, vec![peer(Kind::Honest, 3 * MB); 4]);
    world.join(60, MB);
    world.join(60, MB);
    world.run(1000);
    let done: Vec<u64> = world.flights.iter().map(|flight| flight.done.expect("done")).collect();
    assert!(done[0].abs_diff(done[1]) * 5 < done[0], "{done:?} ms");
}
