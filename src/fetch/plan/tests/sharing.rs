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

/// A world with neighbours that missed what they were asked for more than [`TRIAL_PAUSE`] ago, and rest for much longer.
fn beside_some_that_rest(count: usize) -> World {
    let silent = Peer { is_neighbour: true, ..peer(Kind::Silent, 3 * MB) };
    let mut world = World::new(Prefer::Speed, vec![silent; count]);
    let rests_until =
        |world: &World| (0..count).map(|n| world.plans.roster.rests_until(address(n)).0).min().expect("one");
    for _ in 0..3 {
        world.now = world.flights.last().map_or(0, |_| rests_until(&world) + 1000);
        world.join(40, 4 * MB);
        world.run(200);
    }
    world.now += 3000;
    assert!(rests_until(&world) > world.now + 10_000);
    world.peers.iter_mut().for_each(|peer| peer.asked = 0);
    world
}

/// Runs until the flights from this one on have failed; milliseconds.
fn fails(world: &mut World, from: usize) -> u64 {
    let begun = world.now;
    while world.flights[from..].iter().any(|flight| !flight.failed) {
        assert!(world.now - begun < 100_000);
        world.step();
    }
    world.now - begun
}

#[test]
fn where_a_mirror_fails_a_neighbour_that_rests_and_is_back_gives_all_at_once() {
    for pieces in [1, 5] {
        let mut world = beside_some_that_rest(2);
        world.peers[1].kind = Kind::Honest;
        let begun = world.now;
        world.join(pieces, 0);
        world.join(pieces, 0);
        world.run(200);
        let given = &world.flights[3..];
        assert!(given.iter().all(|flight| flight.done.is_some_and(|done| done - begun < 4000)), "{pieces} pieces");
        // It rests no more where a mirror gives, either.
        assert!(world.plans.roster.is_free(address(1), Time(world.now)));
    }
}

#[test]
fn where_a_mirror_fails_neighbours_that_are_not_back_cost_little() {
    for count in [1, 6] {
        let mut world = beside_some_that_rest(count);
        let asked = |world: &World| world.peers.iter().map(|peer| peer.asked).max();
        world.join(5, 0);
        world.join(1, 0);
        let took = fails(&mut world, 3);
        assert!(took < 2000, "{took} ms");
        assert_eq!(asked(&world), Some(1), "once for both");
        world.join(5, 0);
        let took = fails(&mut world, 5);
        assert!(took < 50 && asked(&world) == Some(1), "{took} ms: they are not asked again so soon");
        world.now += 3000;
        // A mirror that gives is no reason.
        world.join(5, MB);
        world.run(200);
        // Nor is one that is not asked since it was found away a moment ago.
        world.join(1, MB);
        world.handle(Input::Mirror(FlightId(7), MirrorNews::Skipped));
        assert_eq!(world.plans.order(FlightId(7)), Order::GiveUp);
        world.handle(Input::Mirror(FlightId(7), MirrorNews::Wanted));
        world.run(200);
        assert!(world.flights[7].done.is_some() && asked(&world) == Some(1));
    }
}

/// Milliseconds until the plan has no more hope.
fn gives_up(world: &mut World, flight: FlightId) -> u64 {
    let begun = world.now;
    while matches!(world.plans.order(flight), Order::Wait(_)) {
        world.now += STEP;
        world.handle(Input::Tick);
        world.runs = std::mem::take(&mut world.runs).into_iter().filter_map(|run| world.step_run(run)).collect();
    }
    assert_eq!(world.plans.order(flight), Order::GiveUp);
    world.now - begun
}

#[test]
fn who_waited_where_the_mirror_was_skipped_waits_no_longer_once_it_is_asked() {
    let word = Word { is_first: false, asks_mirror: false, grows: false, is_false: false };
    let fetches = Peer { is_neighbour: true, ..peer(Kind::Fetches(word), MB) };
    for news in [MirrorNews::Wanted, MirrorNews::Failed] {
        let mut world = World::new(Prefer::Speed, vec![fetches]);
        let flight = FlightId(0);
        world.join(5, 0);
        world.handle(Input::Mirror(flight, MirrorNews::Skipped));
        // The neighbour says for good that it is about to fetch the file.
        let took = Duration::from_millis(gives_up(&mut world, flight));
        assert!(took >= GAIN_TIME && took < GAIN_TIME + Duration::from_secs(1), "{took:?}");
        world.handle(Input::Mirror(flight, news));
        if news == MirrorNews::Wanted {
            assert_eq!(world.plans.order(flight), Order::Fetch { until: None });
            world.handle(Input::Mirror(flight, MirrorNews::Asked { until: None }));
            world.handle(Input::Mirror(flight, MirrorNews::Away));
        }
        assert!(gives_up(&mut world, flight) < 1000);
    }
}

#[test]
fn who_waits_for_a_trial_that_gets_no_thread_does_not_wait_for_long() {
    let mut world = beside_some_that_rest(1);
    world.peers.extend(vec![Peer { is_neighbour: true, ..peer(Kind::Honest, MB / 4) }; 7]);
    // All threads have much to do.
    world.join(400, 1000);
    (0..200).for_each(|_| world.step());
    assert!(world.runs.len() + TRIAL_THREADS_KEPT >= PEER_FETCH_THREADS, "{} runs", world.runs.len());
    world.join_with(1, 0, 1);
    assert!(fails(&mut world, 4) < 2000);
    assert_eq!(world.peers[0].asked, 0);
}

#[test]
fn who_rests_is_left_alone_while_another_gives() {
    let mut world = beside_some_that_rest(1);
    world.peers.push(peer(Kind::Honest, MB));
    for pieces in [1, 20] {
        world.join(pieces, 0);
        world.run(200);
    }
    assert_eq!(world.peers[0].asked, 0);
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
