//! The bounds on fetching from peers.

use std::time::Duration;

/// Requests to peers at once, over all downloads; more wait. Each holds one piece in memory.
pub const PEER_FETCH_THREADS: usize = 8;
/// Pieces of one request at most; more would come too late when the mirror meets them.
pub const PIECES_PER_RUN: usize = 16;
/// A run is sized to take about this long at the peer's rate.
pub const RUN_TIME: Duration = Duration::from_secs(1);
/// Pieces of the first run of a neighbour; a stranger's is one piece.
pub const FIRST_RUN_OF_NEIGHBOUR: usize = 4;
/// Runs that one neighbour has at once, over all downloads: while one ends, the next begins.
pub const RUNS_PER_NEIGHBOUR: usize = 2;
/// The same for a peer on the Internet.
pub const RUNS_PER_STRANGER: usize = 1;
/// Peers that are asked for the same piece at once, when the first is late.
pub const ASKERS_PER_PIECE: usize = 2;
/// Peers that one download may ask; more leads are not taken up.
pub const SOURCES: usize = 32;
/// Strangers of one lookup that are dialled; more are left alone: a lie in the DHT must not send us far.
pub const STRANGERS_PER_LOOKUP: usize = 8;
/// Peers whose rate is remembered; full: the idle one that was used longest ago is forgotten.
pub const PEERS_KNOWN: usize = 256;
/// Tables of one file that are candidates at once; one more: its sender is not asked for this file. Each false one goes
/// with its senders.
pub const TABLES: usize = 4;
/// False tables of one file that are remembered; more are judged anew.
pub const FALSE_TABLES: usize = 16;
/// A longer table is not asked for: 32,768 pieces are 16 GB.
pub const TABLE_LEN_MAX: usize = 1024 * 1024;

/// A peer must accept a connection within this …
pub const PEER_CONNECT_TIME: Duration = Duration::from_millis(1000);
/// … and begin its answer within this; else its pieces are given to others.
pub const PEER_HEAD_TIME: Duration = Duration::from_millis(1500);
/// A peer that sends nothing for this long loses its pieces.
pub const PEER_STALL_TIME: Duration = Duration::from_secs(2);
/// A piece table may take this long: 1 MB from a line of 64 KB/s is there by then.
pub const PEER_TABLE_TIME: Duration = Duration::from_secs(16);
/// Bytes a second below which a peer loses its pieces: eight such peers hold no more than a slow line's worth.
pub const SOURCE_RATE_MIN: u64 = 64 * 1024;
/// After this much of an answer it is told that a peer is slower.
pub const PEER_SLOW_TIME: Duration = Duration::from_secs(2);
/// A peer that was silent, slow or broken rests this long; each time in a row twice as long …
pub const PEER_REST_TIME: Duration = Duration::from_secs(10);
/// … up to this.
pub const PEER_REST_MAX: Duration = Duration::from_secs(3600);
/// … and a neighbour up to this: it is met again for as long as it is switched off, and is the first to be asked when it is back.
pub const NEIGHBOUR_REST_MAX: Duration = Duration::from_secs(60);
/// Where the mirror has failed, a neighbour that rests is asked all the same: it may be back. Not more often than this: of many who
/// wait for nothing most are told so at once …
pub const TRIAL_PAUSE: Duration = Duration::from_secs(2);
/// … and with so many threads left to those who may give something.
pub const TRIAL_THREADS_KEPT: usize = 2;
/// A peer that lied is not asked for anything for this long; its second lie is a day (see [`REFUSED_TIME_S`]).
pub const CONVICTED_REST_TIME: Duration = Duration::from_secs(3600);
/// A peer's head may be this long; longer: it is no peer.
pub const PEER_HEAD_LEN: usize = 4 * 1024;
/// ureq's buffer for a peer's bytes.
pub const PEER_READ_LEN: usize = 16 * 1024;
/// Idle connections kept to peers; more: the oldest is closed.
pub const PEER_IDLE: usize = 16;
/// The longest pause that a peer's Retry-After asks for and gets …
pub const PEER_PAUSE_MAX: Duration = Duration::from_secs(60);
/// … and the shortest: who asks for none would be asked without end.
pub const PEER_PAUSE_MIN: Duration = Duration::from_secs(1);
/// A peer that asked for so many pauses for one file, and gave no piece of it since, is not waited for to spare the mirror …
pub const HOPE_PAUSES: u32 = 2;
/// … and after so many it is asked again only when a later lookup names it.
pub const PAUSES_PER_SOURCE: u32 = 4;

/// A mirror that sends nothing for this long is helped inside its own piece, when that is the last one.
pub const MIRROR_STALL_TIME: Duration = Duration::from_millis(500);
/// A lookup counts as over after this.
pub const LOOKUP_TIME: Duration = Duration::from_secs(5);
/// While only the mirror gives a file, it is looked up again after this: 15 queries a time …
pub const LOOKUP_AGAIN_TIME: Duration = Duration::from_secs(5);
/// … if more pieces than these are missing.
pub const LOOKUP_AGAIN_PIECES: usize = 4;
/// How long it takes until a lookup brings help, while that is not known: among 90 nodes it takes as long. What the mirror
/// brings before that is not looked up.
pub const LOOKUP_COST: Duration = Duration::from_millis(200);
/// What was learnt of that counts from here: a shorter wait is not worth a dozen datagrams …
pub const LOOKUP_COST_MIN: Duration = Duration::from_millis(50);
/// … to here: then the mirror is not waited for any longer.
pub const LOOKUP_COST_MAX: Duration = Duration::from_secs(2);
/// A mirror that gives so many bytes a second in one download is not helped by strangers: it fills the line of a gigabit by
/// half, and what strangers cost this machine's processor is more than they bring.
pub const MIRROR_RATE_ENOUGH: u64 = 60_000_000;
/// Peers that may serve within this are waited for when the mirror has failed, or is to be spared. Neighbours of a mirror that is
/// away as long as a first rest takes ([`PEER_REST_TIME`]).
pub const HOPE_TIME: Duration = Duration::from_secs(5);
/// But not when nothing of the file came from anybody for this long.
pub const GAIN_TIME: Duration = Duration::from_secs(20);
/// With `prefer = "offload"`: bytes are shown at least this often, from the mirror if need be; apt waits 30 s.
pub const KEEP_APT_ALIVE_TIME: Duration = Duration::from_secs(20);
/// Nobody waits longer than this for a neighbour that fetches the same file and has nothing to show yet; to spare the mirror,
/// no longer than [`HOPE_TIME`]: the neighbour, which spares it too, looks for peers as long before it asks.
pub const COMING_TIME: Duration = Duration::from_secs(1);
/// After this such a neighbour is asked again; when nobody waits for it, after five times as long.
pub const COMING_PAUSE: Duration = Duration::from_millis(50);
/// One that has so many pieces more than we is followed whoever of the two is to ask the mirror.
pub const FOLLOW_AHEAD_PIECES: usize = 4;
/// To be quick, one is followed only when the mirror gives less than this: over a LAN of 1 Gbit/s the file's last way, from
/// the neighbour to the client, takes a twentieth of that.
pub const FOLLOW_RATE_MAX: u64 = 5_000_000;
/// After each such time one that was slower than the mirror is left.
pub const FOLLOW_TRIAL_TIME: Duration = Duration::from_secs(3);
/// How often one neighbour is followed for one file.
pub const FOLLOWS_PER_SOURCE: u32 = 3;
/// An answer is begun after this, though nothing of it can be shown yet, when peers give the file: what they give counts when
/// all of it is here.
pub const BEGIN_TIME: Duration = Duration::from_secs(10);
/// Neighbours that are asked before the mirror get no more of a head start than this.
pub const HEAD_START_MAX: Duration = Duration::from_millis(20);

/// New versions that wait to be looked for ahead, at some 200 bytes each; more are looked for when they are asked for.
pub const WISHES: usize = 512;
/// Between two of these lookups: they are never in a client's way.
pub const WISH_PAUSE: Duration = Duration::from_secs(1);
/// Files for which it is remembered who has them, at 1 KB each at most; full: the oldest is forgotten …
pub const FOUND_AHEAD: usize = 256;
/// … and after this: four in five peers stay another hour.
pub const FOUND_AHEAD_TIME: Duration = Duration::from_secs(3600);
/// Lookups of files whose download waits for its turn; more begin with their download.
pub const LOOKUPS_AHEAD: usize = 16;
/// One whose download has not begun after this is given up.
pub const LOOKUP_AHEAD_TIME: Duration = Duration::from_secs(30);
/// How often it is looked whether it is night.
pub const NIGHT_TURN: Duration = Duration::from_secs(60);
/// At night no more than this part of the largest file that is kept is fetched ahead.
pub const NIGHT_SHARE: u64 = 4;
/// The hours that are night, by the local clock.
pub const NIGHT_HOURS: std::ops::Range<i32> = 1..5;

/// Addresses (/64 in IPv6) whose lies are remembered; full: the one whose last lie is oldest is forgotten.
pub const LIARS: usize = 1024;
/// Lies after which an address is refused …
pub const LIES: u32 = 2;
/// … for so many seconds after the last; until then a first lie counts, too.
pub const REFUSED_TIME_S: u64 = 86_400;
