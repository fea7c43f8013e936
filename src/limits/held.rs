//! What holds between bounds, asserted at compile time: whoever changes one of them hears what else it was for.

use super::*;

// What is one's part of all leaves something to others.
const _: () = assert!(CONNECTIONS_PER_ADDRESS < CONNECTIONS);
const _: () = assert!(PEER_CONNECTIONS_PER_ADDRESS < PEER_CONNECTIONS);
const _: () = assert!(PEERS_SERVED < PEER_CONNECTIONS);
const _: () = assert!(RUNS_PER_NEIGHBOUR < PEER_FETCH_THREADS);
const _: () = assert!(FETCH_THREADS_PER_HOST + FETCH_THREADS_KEPT < FETCH_THREADS);
const _: () = assert!(OWN_KEPT < OWN_BURST);
const _: () = assert!(CRAWL_PER_ADDRESS < CRAWL_NODES);
const _: () = assert!(LOOKS_PER_RELEASE < CAUGHT_UP);

// Another proxy's peer threads are all served, twice.
const _: () = assert!(PEER_CONNECTIONS_PER_ADDRESS == 2 * PEER_FETCH_THREADS);

// What is held back of a stream that is on no disk lies in its window.
const _: () = assert!(HELD_BACK_LEN < STREAM_WINDOW_LEN as u64);

// A batch begins long before there is no room for what each thread finishes meanwhile.
const _: () = assert!(WAITING_FILES - FETCH_THREADS > BATCH_FILES);

// The newest Release and the newest complete one.
const _: () = assert!(SNAPSHOTS_MIN >= 2 && SNAPSHOTS_MIN < SNAPSHOTS);

// apt waits half a minute for a byte, and then for its proxy no longer.
const APT_WAITS: Duration = Duration::from_secs(30);
const _: () = assert!(is_before(KEEP_CLIENT_TIME, APT_WAITS) && is_before(KEEP_APT_ALIVE_TIME, APT_WAITS));
const _: () = assert!(is_before(HEAD_TIMEOUT, APT_WAITS) && is_before(STALL_TIMEOUT, APT_WAITS));
const _: () = assert!(is_before(MIRROR_HURRY_TIME, STALL_TIMEOUT) && is_before(GAIN_TIME, APT_WAITS));

// Where the mirror is away, a neighbour is asked again before nothing is hoped for.
const _: () = assert!(is_before(PEER_REST_TIME.saturating_add(PEER_HEAD_TIME), GAIN_TIME));

// Who is tried while it rests is so before its rest is over.
const _: () = assert!(is_before(TRIAL_PAUSE, PEER_REST_TIME) && TRIAL_THREADS_KEPT < PEER_FETCH_THREADS);

// SIGTERM ends all within two seconds.
const _: () = assert!(!is_before(STOP_TIME, DHT_STOP_TIME) && is_before(STOP_TIME, Duration::from_secs(2)));

// What grows up to something begins below it.
const _: () = assert!(is_before(MIRROR_REST_TIME, MIRROR_REST_MAX) && is_before(PEER_REST_TIME, PEER_REST_MAX));
const _: () = assert!(is_before(PEER_REST_TIME, NEIGHBOUR_REST_MAX) && is_before(NEIGHBOUR_REST_MAX, PEER_REST_MAX));
const _: () = assert!(is_before(MDNS_PAUSE, MDNS_PAUSE_MAX));
const _: () = assert!(is_before(PEER_PAUSE_MIN, PEER_PAUSE_MAX) && HOPE_PAUSES < PAUSES_PER_SOURCE);
const _: () = assert!(is_before(LOOKUP_COST_MIN, LOOKUP_COST) && is_before(LOOKUP_COST, LOOKUP_COST_MAX));
const _: () = assert!(is_before(MAPPING_RETRY_TIME, MAPPING_RETRY_MAX));
const _: () = assert!(is_before(NODE_FRESH_TIME, NODE_FRESH_TIME_MAX));
const _: () = assert!(is_before(TUNNEL_IDLE_TIME_FULL, TUNNEL_IDLE_TIME));

// A table, at 32 bytes for each piece but the last, fits where its length puts it: with its own length before it in an item.
const _: () = assert!(32 * (HINT_PIECES as usize - 1) == HINT_LEN);
const _: () = assert!("992:".len() + 32 * (ITEM_PIECES as usize - 1) <= ITEM_LEN && HINT_PIECES < ITEM_PIECES);

// What is sent can be read, and what is announced finds its place.
const _: () = assert!(DATAGRAM_LEN <= DATAGRAM_READ_LEN);
const _: () = assert!(ANNOUNCED_FILES <= ANNOUNCED && ANNOUNCED_FILES <= SECRET_NAMES);

// An answer of `status` is one line. JSON makes up to six bytes of one, and a number of the day has up to twenty digits; a
// quarter is left for what stands around them.
const TOLD_LEN: usize = ARCHIVES_TOLD_LEN + FLIGHTS_TOLD * FLIGHT_NAME_LEN + TROUBLES * TROUBLE_LEN;
const _: () = assert!((6 * TOLD_LEN + 4 * 21 * HISTORY_STEPS) as u64 <= CONTROL_LINE_LEN / 4 * 3);
const _: () =
    assert!(SIGNED_TOLD_LEN < ARCHIVES_TOLD_LEN && FLIGHTS_SHOWN <= FLIGHTS_TOLD && TROUBLES_SHOWN <= TROUBLES);

const fn is_before(one: Duration, other: Duration) -> bool {
    one.as_nanos() < other.as_nanos()
}
