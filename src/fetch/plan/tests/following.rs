//! Neighbours that fetch the same file.

use super::*;

/// Seconds until a file of 40 pieces is here beside one such neighbour, and bytes that came from the mirror.
fn beside(prefer: Prefer, word: Word, rate: u64, mirror_rate: u64) -> (f64, u64) {
    let mut world = World::new(prefer, vec![Peer { rtt: 1, ..peer(Kind::Fetches(word), rate) }]);
    world.join(40, mirror_rate);
    let took = world.run(10_000);
    assert!(world.flights[0].done.is_some() && world.convicted.is_empty());
    (took, world.flights[0].mirror_bytes)
}

#[test]
fn of_two_on_a_lan_one_asks_the_mirror() {
    let len = 40 * PIECE_LEN;
    // It has asked before us, whoever is first; and nothing is asked of the mirror but what keeps apt waiting.
    for word in [FIRST, Word { is_first: false, ..FIRST }] {
        let (took, from_mirror) = beside(Prefer::Offload, word, 3 * MB, 3 * MB);
        assert!(from_mirror == 0 && took < 8.0, "{took} s, {from_mirror} bytes, {word:?}");
    }
    // To be quick, both begin; then the slow line is left to the one that is first.
    let (took, from_mirror) = beside(Prefer::Speed, FIRST, 3 * MB, MB);
    assert!(from_mirror < len / 4 && took < 8.0, "{took} s, {from_mirror} bytes");
    let (_, from_mirror) = beside(Prefer::Speed, Word { is_first: false, ..FIRST }, MB, MB);
    assert!(from_mirror > len / 2, "{from_mirror} bytes: both wait for each other");
    // One that is far ahead is followed all the same.
    let (_, from_mirror) = beside(Prefer::Speed, Word { is_first: false, ..FIRST }, 9 * MB, MB);
    assert!(from_mirror < len / 2, "{from_mirror} bytes");
    // A line as quick as the LAN is not shared.
    let (_, from_mirror) = beside(Prefer::Speed, FIRST, 90 * MB, 30 * MB);
    assert_eq!(from_mirror, len - 1000);
}

#[test]
fn pieces_of_others_among_what_was_followed_are_proved_with_it() {
    // A stranger gave a piece from the middle, and is gone.
    let neighbour = Peer { rtt: 1, ..peer(Kind::Fetches(FIRST), 3 * MB) };
    let mut world = World::new(Prefer::Offload, vec![neighbour, peer(Kind::Silent, MB), peer(Kind::Vanishes(1), MB)]);
    world.join(40, 3 * MB);
    let took = world.run(100);
    assert!(world.peers[2].given > 0 && world.flights[0].mirror_bytes == 0 && took < 8.0, "{took} s");
}

#[test]
fn a_neighbour_that_fetches_and_fails_costs_little() {
    for prefer in [Prefer::Speed, Prefer::Offload] {
        let patience = if prefer == Prefer::Speed { 0.02 } else { 5.0 };
        for word in [FIRST, Word { grows: false, ..FIRST }, Word { grows: false, asks_mirror: false, ..FIRST }] {
            // It says that it fetches, and gives nothing.
            let (took, alone) = (beside(prefer, word, 0, MB).0, alone(40, MB));
            assert!(took <= alone * 1.05 + patience, "{took} s instead of {alone} s, {prefer:?}, {word:?}");
        }
        // Its bytes are false, as those of its mirror may be: the file comes right, and nobody is convicted.
        beside(prefer, Word { is_false: true, ..FIRST }, 3 * MB, MB);
    }
    let (took, alone) = (beside(Prefer::Speed, FIRST, 100_000, MB).0, alone(40, MB));
    assert!(took <= alone * 1.05 + 6.0, "{took} s behind a slow one instead of {alone} s");
}

#[test]
fn to_spare_the_mirror_a_neighbour_that_looks_for_peers_itself_is_waited_for() {
    let looks = Word { grows: false, asks_mirror: false, ..FIRST };
    for (prefer, is_waited_for) in [(Prefer::Offload, true), (Prefer::Speed, false)] {
        let mut world = World::new(prefer, vec![Peer { rtt: 1, ..peer(Kind::Fetches(looks), 3 * MB) }]);
        world.join(40, 3 * MB);
        (0..4000 / STEP).for_each(|_| world.step());
        world.peers[0].kind = Kind::Fetches(FIRST);
        world.run(100);
        assert_eq!(world.flights[0].mirror_bytes == 0, is_waited_for, "{prefer:?}");
    }
}

#[test]
fn who_is_first_waits_for_nobody() {
    let word = Word { grows: false, asks_mirror: false, is_first: false, is_false: false };
    let (took, _) = beside(Prefer::Offload, word, 0, 3 * MB);
    assert!(took < alone(40, 3 * MB) + 0.3, "{took} s");
}
