//! Every bound on one page (the DHT's and those on peers on two more): what it holds, why it is so, and what happens when it is reached.
//!
//! Owns numbers only. Where one depends on another, that is asserted in `held`, at compile time. Their sum is in
//! docs/ARCHITECTURE.md, "Memory".

mod dht;
mod held;
mod peers;

use std::time::Duration;

pub use self::dht::*;
pub use self::peers::*;

// ── streams ──────────────────────────────────────────────────────────────────────────────────────────────────────

/// Bytes of a growing body kept in memory when they can be on no disk; full: the download waits for its readers.
pub const STREAM_WINDOW_LEN: usize = 256 * 1024;
/// Bytes after which followers hear of more while more comes without a pause.
pub const STREAM_TELL_LEN: u64 = 256 * 1024;

// ── edge ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Client connections at once; full: the longest idle one is closed, or else the newest is told 503.
pub const CONNECTIONS: usize = 1024;
/// Of these, from one address: a school behind one router has fewer machines; full: its longest idle one is closed, or else
/// the newest is told 503.
pub const CONNECTIONS_PER_ADDRESS: usize = 512;
/// Bytes of a request's head; longer: 431.
pub const HEAD_LEN: usize = 8 * 1024;
/// Lines of a request's head; more: 431.
pub const HEADER_LINES: usize = 64;
/// A head must be whole within this after its first byte; later: 408.
pub const HEAD_TIME: Duration = Duration::from_secs(10);
/// A connection without a request is closed after this.
pub const IDLE_TIME: Duration = Duration::from_secs(60);
/// Requests of one connection that are under way at once (apt's own depth); more stay in the socket.
pub const PIPELINE: usize = 10;
/// A client must read this much in [`SLOW_READER_TIME`] while there is something to read; else it is closed.
pub const SLOW_READER_LEN: u64 = 64 * 1024;
/// See [`SLOW_READER_LEN`].
pub const SLOW_READER_TIME: Duration = Duration::from_secs(120);
/// A client whose answer has begun and has no body yet gets a line more of the head after this; apt gives up after 30 s.
pub const KEEP_CLIENT_TIME: Duration = Duration::from_secs(15);
/// After the last answer a client has this long to close: closing at once would take the answer out of its hands.
pub const LINGER_TIME: Duration = Duration::from_secs(2);
/// Bytes that are thrown away meanwhile; more: closed.
pub const LINGER_LEN: u64 = 1024 * 1024;
/// Bytes read from a client at a time.
pub const READ_LEN: usize = 16 * 1024;
/// Bytes sent to one connection before the others have their turn.
pub const TURN_LEN: u64 = 1024 * 1024;
/// The kernel's send buffer for a client: its default lets each slow reader hold 4 MB.
pub const SEND_BUFFER_LEN: usize = 256 * 1024;
/// Connections that are taken at once; the others wait until these were heard: a flood must not push out whoever has just
/// come and asked.
pub const ACCEPTS_PER_TURN: usize = 64;
/// Connections that wait to be accepted.
pub const BACKLOG: i32 = 1024;
/// Requests that wait on one worker's connection, when there are more of them than workers; more wait at the edge. Each that
/// is answered with others spares the waking of a thread; one behind a slow one takes its own worker's time, too.
pub const ERRANDS_PER_WORKER: usize = 8;
/// Nobody stands behind a request whose worker has been at it for so long.
pub const ERRAND_PATIENCE: Duration = Duration::from_millis(100);
/// A worker must answer within this; later: its connection is opened anew, and the client gets 500.
pub const WORKER_TIME: Duration = Duration::from_secs(60);
/// Tunnels at once, with 32 KB each while neither side takes what the other sent, and nothing when idle: 2 MB at most. Full:
/// the newest is told 503, on which apt tries again.
pub const TUNNELS: usize = 64;
/// Of these, from one address: apt opens one for each host of its sources.
pub const TUNNELS_PER_ADDRESS: usize = TUNNELS / 2;
/// A tunnel in which nothing moves is closed after this …
pub const TUNNEL_IDLE_TIME: Duration = Duration::from_secs(120);
/// … and after this, which is as long as apt itself waits, while there is no place for another.
pub const TUNNEL_IDLE_TIME_FULL: Duration = Duration::from_secs(30);
/// Answers that the edge gives again without a worker, with an open file and below 1 KB each, and no more than an eighth of
/// the descriptors; full: the one that was given longest ago is forgotten.
pub const HOT_ANSWERS: usize = 256;
/// Bytes of a target whose answer is kept; a longer one is nobody's usual name for a file.
pub const HOT_TARGET_LEN: usize = 512;
/// After this a worker is asked again: it renews the file's recency, and opens it anew where the disk is another.
pub const HOT_TIME: Duration = Duration::from_secs(60);
/// Descriptors kept for everything but clients and their files: store, mirrors, workers, logs, tunnels' far sides, peers and
/// their files.
pub const DESCRIPTORS_KEPT: usize = 192 + TUNNELS + 2 * PEER_CONNECTIONS;

// ── peers ────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Peers' connections at once; full: the longest idle one is closed, or else the newest is told 503. Below 1 KB each when
/// idle, and 8 KB with half a head: 2 MB at most.
pub const PEER_CONNECTIONS: usize = 256;
/// Of these, from one address or IPv6 network: as many as another's fetch threads make, twice; full: its longest idle one is
/// closed, or else the newest is told 503.
pub const PEER_CONNECTIONS_PER_ADDRESS: usize = 16;
/// A peer's connection without a request is closed after this.
pub const PEER_IDLE_TIME: Duration = Duration::from_secs(30);
/// Requests answered on the peer edge's thread before its sockets have their turn, at less than 100 µs each.
pub const ANSWERS_PER_TURN: usize = 32;
/// Requests of strangers that are answered a second, all together: at 100 µs each, 4% of a core, however many are sent.
/// Who serves them 0.5 MB a request gives 200 MB/s all the same …
pub const STRANGERS_ASK_RATE: u64 = 400;
/// … and at once after a pause. More wait, and with them what else their connections send.
pub const STRANGERS_ASK_BURST: u64 = 400;
/// It is logged at most this often that connections were refused: who makes a flood of them must not fill the log.
pub const REFUSALS_LOG_TIME: Duration = Duration::from_secs(60);
/// Strangers that are served at once; one more is told 429.
pub const PEERS_SERVED: usize = 64;
/// And no more than get this many bytes a second each: less is slower than any mirror.
pub const PEER_RATE_MIN: u64 = 16 * 1024;
/// A stranger that is told 429 may come back after so many seconds: by then a few have gone.
pub const PEER_RETRY_S: u32 = 5;
/// The upload is shared out in slices of this time: 20 wake-ups a second …
pub const PACE_TIME: Duration = Duration::from_millis(50);
/// … of at least so many bytes for one peer, about a packet …
pub const PACE_LEN_MIN: u64 = 1024;
/// … and what was not used is kept for this long: little enough to keep the rate within 5% over 5 s.
pub const PACE_BURST_TIME: Duration = Duration::from_millis(120);
/// Names of shared files remembered in a network with a secret, at 64 bytes each; more are not found there.
pub const SECRET_NAMES: usize = 20_000;
/// They are read again when a name is not found, at most this often.
pub const SECRET_NAMES_TIME: Duration = Duration::from_secs(5);

// ── front and fetch ──────────────────────────────────────────────────────────────────────────────────────────────

/// Downloads that run at once; more wait in the queue.
pub const FETCH_THREADS: usize = 8;
/// Of these, how many may be busy with one host: a dead mirror must not stop the others.
pub const FETCH_THREADS_PER_HOST: usize = FETCH_THREADS / 2;
/// Of these, how many are for hosts that keep none busy yet: two slow mirrors must not stop the others either.
pub const FETCH_THREADS_KEPT: usize = 2;
/// Downloads that run or wait, at a few hundred bytes each; beyond, a client is told 503 with `Retry-After`, on which apt
/// tries again. Enough for 25 machines that each pipeline ten different packages.
pub const FLIGHTS: usize = 256;
/// Of these, how many may be for one host; the rest stays for the others.
pub const FLIGHTS_PER_HOST: usize = FLIGHTS / 4 * 3;
/// Threads that look up names, the first for downloads alone; a look-up that finds both busy waits, and its download with it.
pub const NAME_THREADS: usize = 2;

/// A mirror must accept a connection within this.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A name must be looked up within this.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// A mirror must send the head of its answer within this; apt itself waits 30 s.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// A mirror must send something within this; apt itself waits 30 s.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Names that wait for a name thread; full: the download waits for a place, within [`RESOLVE_TIMEOUT`]. Of tunnels as many as
/// there may be wait beside them; one more is refused with 503.
pub const NAME_QUEUE: usize = 16;
/// Names whose addresses are remembered; full: all are forgotten.
pub const NAME_MEMORY: usize = 256;
/// Addresses of one name that are tried; more are not needed.
pub const ADDRESSES_PER_NAME: usize = 16;
/// How long addresses are remembered: mirrors' records live a minute or more.
pub const NAME_MEMORY_TIME: Duration = Duration::from_secs(60);
/// A mirror's head may be this long; longer: its answer is refused.
pub const MIRROR_HEAD_LEN: usize = 16 * 1024;
/// ureq's buffer for a connection's input; its default of 128 KiB is too much for eight threads of a router, and half of this
/// costs a large file a tenth more time.
pub const MIRROR_READ_LEN: usize = 64 * 1024;
/// Idle connections kept to mirrors; more: the oldest is closed.
pub const MIRROR_IDLE: usize = 8;
/// How long one is kept: shorter than the 15 s or more after which servers close.
pub const MIRROR_IDLE_TIME: Duration = Duration::from_secs(10);
/// Bytes that a fetch thread moves at a time.
pub const COPY_LEN: usize = 64 * 1024;
/// Redirects that are followed for one request; more: an error.
pub const REDIRECTS: usize = 5;
/// Tries of one download at one mirror, whatever they bring: one that gives a few bytes at a time does not hold a thread.
pub const TRIES: usize = 8;
/// Tries of one download that brought no byte more; then it fails, and its draft stays for the next request.
pub const FRUITLESS_TRIES: usize = 3;
/// A mirror must send something within this while another of its archive can be asked; half a minute without a byte is
/// all that apt waits for both of them …
pub const MIRROR_HURRY_TIME: Duration = Duration::from_secs(5);
/// … and so many bytes a second, over that time.
pub const MIRROR_RATE_MIN: u64 = 32 * 1024;
/// A mirror that failed or was slow is asked after the others of its archive for this long; each time in a row twice as
/// long …
pub const MIRROR_REST_TIME: Duration = Duration::from_secs(60);
/// … up to this.
pub const MIRROR_REST_MAX: Duration = Duration::from_secs(16 * 60);
/// Such mirrors that are remembered; full: of the newest it is found out anew.
pub const MIRRORS_KNOWN: usize = 64;
/// A download that nobody waits for goes on when no more than this is missing.
pub const UNWATCHED_REST_LEN: u64 = 8 * 1024 * 1024;
/// How long a download must be unwatched before it is ended for that: a client that comes back finds it running.
pub const UNWATCHED_TIME: Duration = Duration::from_secs(5);
/// A mutable name is asked for at a mirror at most once in this time.
pub const REVALIDATE_TIME: Duration = Duration::from_secs(10);
/// Names and hosts remembered for that; full: the newest is not remembered and asked for again.
pub const REVALIDATE_MEMORY: usize = 1024;

/// Clients and suites for which the Release last given is remembered; full: all are forgotten, and follow the newest.
pub const GIVEN_MEMORY: usize = 4096;

/// Indexes remembered as offered for learning; full: the oldest is offered again.
pub const OFFERED_MEMORY: usize = 256;
/// Bytes of an index of patches that a worker reads to place one of them (Debian's have 30 KB); a longer one places none
/// before it is learnt.
pub const DIFF_INDEX_LEN: u64 = 1024 * 1024;
/// Clients and files for which it is remembered that they got it from the cache, at 80 bytes each; full: the newest is not
/// remembered, and its next request is no reason to hash the file again.
pub const AGAIN_MEMORY: usize = 2048;
/// Seconds in which a second request of one client for a file is a reason to hash it again: apt gave it up, and somebody
/// has typed the command anew.
pub const AGAIN_TIME_S: u64 = 600;
/// Seconds in which a file is hashed again for that once: machines behind one address ask for the same as well.
pub const RECHECK_TIME_S: u64 = 3600;
/// Bytes of a stored file that the kernel is asked to read ahead, for a client or a peer.
pub const READ_AHEAD_LEN: u64 = 2 * 1024 * 1024;

/// The end of a download that is shown to clients only when its digest holds. Small, because apt gives up when it
/// sees no byte for 30 s: a mirror at 3 KB/s still passes.
pub const HELD_BACK_LEN: u64 = 64 * 1024;

// ── catalog ──────────────────────────────────────────────────────────────────────────────────────────────────────

/// Bytes of a decoded path below a host; a longer one is refused, or its entry skipped. The longest in Debian has 190.
pub const PATH_LEN_MAX: usize = 1024;
/// Bytes of a Release file; a larger one is passed on but not learnt from. It is held in memory whole; Ubuntu's largest
/// has 300 KB.
pub const RELEASE_LEN_MAX: usize = 4 * 1024 * 1024;
/// A Release file may take this long: a mirror that sends a byte now and then would hold a download thread for ever.
pub const RELEASE_TIME: Duration = Duration::from_secs(60);
/// Files that one Release may name; one with more is passed on but not learnt from. Ubuntu's largest names 2,000.
pub const RELEASE_FILES_MAX: usize = 16 * 1024;
/// Bytes of a decompressor's dictionary or window; an index that needs more is learnt in another compression. `xz -6`
/// and `zstd -19` need 8 MiB, `xz -7` 16 MiB.
pub const DICTIONARY_LEN_MAX: usize = 16 * 1024 * 1024;
/// Bytes of an index without its compression; one that goes on is not learnt (a few KB of zeros can claim any length).
/// The largest in Debian and Ubuntu are below 100 MB.
pub const PLAIN_INDEX_LEN_MAX: u64 = 1024 * 1024 * 1024;
/// Bytes of an index read at a time, before and after decompression; a longer line of it is skipped over.
pub const INDEX_BUFFER_LEN: usize = 32 * 1024;
/// Files that one source package may have; more of them are skipped and counted. Debian's largest has 60.
pub const SOURCE_FILES_MAX: usize = 512;

// ── store ────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Bytes of address space for the index. All processes must agree on it, so it is a constant; a 32-bit process has no
/// room for more. Full: what is stored serves, nothing new is recorded.
pub const INDEX_MAP_LEN: usize = if usize::BITS == 32 { 512 << 20 } else { 4 << 30 };
/// This part of it is left to files when archives are learnt: no new archive is beyond that, and a known one's index grows no
/// more. The largest archives take some 10 MB each.
pub const INDEX_KEPT_SHARE: usize = 5;
/// When no more than this part is free, the index is made anew at the next start: what is full cannot even be deleted from.
pub const INDEX_FREE_SHARE: usize = 16;
/// Bytes of the index that a promise takes, with its share of half-filled pages.
pub const INDEX_ENTRY_LEN: usize = 96;
/// Reads of the index at once, in all processes; more: that read fails.
pub const INDEX_READERS: u32 = 126;
/// Finished files that wait to be recorded; so many: they are recorded once their clients have their bytes.
pub const BATCH_FILES: usize = 64;
/// Finished files that wait while a batch is recorded, with a descriptor each; nearly full: downloads wait for the batch. Full,
/// which is so only when recording fails: what comes passes through unkept.
pub const WAITING_FILES: usize = 2 * BATCH_FILES;
/// Bytes of what an earlier process noted of them that are read: some 300 for each.
pub const FINISHED_LOG_LEN_MAX: u64 = 1024 * 1024;
/// Seconds after which they are recorded however few they are.
pub const BATCH_TIME_S: u64 = 4;
/// Whole pieces of a draft before its journal begins, 2 MB, which a package of the usual length has not: they are fetched again
/// when the process ends before.
pub const JOURNAL_PIECES: usize = 4;
/// Missing files remembered until the next batch; more are remembered when they are next asked for.
pub const LOST_MEMORY: usize = 256;
/// Files remembered that proved wrong on a disk that cannot let them go; more are served again.
pub const SPOILT_MEMORY: usize = 256;
/// Seconds after which a hit renews a file's time.
pub const TOUCH_TIME_S: u64 = 3600;
/// Bytes read at a time when a file is hashed again.
pub const VERIFY_LEN: usize = 128 * 1024;
/// Bytes of a file that the commands verify and import map at a time: some pages, and few calls for each.
pub const WINDOW_LEN: u64 = 1024 * 1024;
/// Files in a row that cannot be read before verify gives the disk up instead of dropping all that is on it.
pub const UNREADABLE_FILES: usize = 8;
/// Folders in folders that import looks into; a mirror's pool has seven levels.
pub const IMPORT_DEPTH: usize = 16;
/// Bytes at the start of a file of squid's cache in which its body begins: its notes, and a mirror's head.
pub const SQUID_HEAD_LEN: usize = 64 * 1024;
/// Snapshots of a Release that are kept; more: the oldest goes, but never the newest complete one.
pub const SNAPSHOTS: usize = 4;
/// The same when the index is nearly full.
pub const SNAPSHOTS_MIN: usize = 2;
/// Index files of a suite that are noted as used by clients; more are not noted.
pub const WANTED: usize = 256;
/// Seconds for which such a note counts: a stable release may not change for two months.
pub const WANTED_TIME_S: u64 = 90 * 86_400;
/// Packages that clients use and that wait to be noted with the next batch; more are noted when their next version comes.
pub const USED_MEMORY: usize = 512;
/// Packages whose next versions are looked for ahead, at 40 bytes each while an index is learnt; more are left out.
pub const USED_PACKAGES: usize = 8192;
/// Seconds for which a package counts as used: half a year.
pub const USED_TIME_S: u64 = 180 * 86_400;
/// Digests remembered as shown to a client in part and then found wrong; full: the oldest is forgotten.
pub const POISONED: usize = 1024;
/// Entries of one index; Debian unstable's main has 77,000. More: it is not learnt.
pub const INDEX_ENTRIES: usize = 1_000_000;
/// Entries sorted in memory at a time, at 56 bytes each.
pub const RUN_ENTRIES: usize = 8192;
/// Entries read at a time of each sorted run.
pub const RUN_READ_ENTRIES: usize = 64;
/// Changes of the index written in one transaction: each holds its pages in memory until then.
pub const MERGE_CHANGES: usize = 2048;
/// Files stored before their archive was public that are looked for in an index at once, at 32 bytes each; more have their
/// turn with its next version.
pub const ADOPTED_FILES: usize = 8192;
/// Files changed or dropped in one transaction: others wait for it.
pub const SWEEP_BATCH: usize = 256;
/// Seconds after which a file without a record, or a draft that nobody writes, is a leftover.
pub const LEFTOVER_TIME_S: u64 = 86_400;
/// Drafts that one sweep may let go; more are seen by the next one.
pub const DRAFTS_SWEPT: usize = 4096;
/// Seconds for which a file counts as being in use.
pub const IN_USE_TIME_S: u64 = 60;

// ── control ──────────────────────────────────────────────────────────────────────────────────────────────────────

/// Bytes of a request on the control socket; longer: it is closed.
pub const CONTROL_REQUEST_LEN: usize = 256;
/// Each read and write of the daemon there ends after this: one client at a time is served.
pub const CONTROL_TIME: Duration = Duration::from_secs(3);
/// A command waits this long for the next line of an answer: a lookup among silent nodes is quiet for 10 s.
pub const CONTROL_ANSWER_TIME: Duration = Duration::from_secs(20);
/// Bytes of a line of an answer; longer: it is none.
pub const CONTROL_LINE_LEN: u64 = 256 * 1024;
/// Bytes of the names and signers of archives that status tells, some 30 signed ones; of more, how many there are. JSON makes
/// up to six bytes of one, and an answer is one line.
pub const ARCHIVES_TOLD_LEN: usize = 8 * 1024;
/// Bytes of what is told there of one's signers; more are cut: who signs an archive must not keep others from being told.
pub const SIGNED_TOLD_LEN: usize = 240;

// ── the page ─────────────────────────────────────────────────────────────────────────────────────────────────────

/// Things that went wrong that are told, at half a KB each; full: what was longest ago is forgotten.
pub const TROUBLES: usize = 16;
/// Bytes of one's text; a longer one is cut.
pub const TROUBLE_LEN: usize = 360;
/// Steps of the history that the page draws, at 32 bytes each: a day; full: the oldest goes.
pub const HISTORY_STEPS: usize = 288;
/// How long each of them is.
pub const HISTORY_STEP: Duration = Duration::from_secs(300);
/// Downloads under way that are told; of more, how many there are.
pub const FLIGHTS_TOLD: usize = 32;
/// Of them, on the page; …
pub const FLIGHTS_SHOWN: usize = 8;
/// … of its troubles, the last …
pub const TROUBLES_SHOWN: usize = 6;
/// … and of archives: of more, how many there are.
pub const ARCHIVES_SHOWN: usize = 12;
/// Bytes of a name there; a longer one is cut.
pub const NAME_SHOWN_LEN: usize = 100;
/// Bytes there of who signed an archive; more are cut.
pub const SIGNED_SHOWN_LEN: usize = 160;
/// What is not just read from a counter is looked at anew after this, however many look at the page.
pub const SLOW_NUMBERS_TIME: Duration = Duration::from_secs(3);
/// Bytes of one's name; a longer one is cut.
pub const FLIGHT_NAME_LEN: usize = 300;
/// Seconds by which a Release may be of the future before the clock counts as wrong.
pub const CLOCK_SLACK_S: u64 = 86_400;
/// With less room than this its disk counts as full.
pub const DISK_FREE_MIN: u64 = 4 * 1024 * 1024;

// ── lan ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Neighbours that announced themselves; full: new ones are left out. Each is asked for each miss.
pub const NEIGHBOURS: usize = 32;

/// Bytes of memory for multicast DNS, which any machine of the LAN can fill: two threads' stacks, and some thousand
/// announcements. More ends its process, and no other.
pub const MDNS_DATA_MAX: u64 = 8 * 1024 * 1024;
/// A line of what that process tells: a DNS name has 255 bytes, an address and an id a hundred.
pub const MDNS_LINE_LEN: usize = 512;
/// How long each of two goodbyes may take to be sent.
pub const GOODBYE_TIME: Duration = Duration::from_millis(500);
/// Who has not answered so many of a new process's questions has left meanwhile: they are asked after 0, 1, 3 and 7 s.
pub const MDNS_QUESTIONS: usize = 4;
/// When multicast DNS has ended, by too many announcements or for want of a network, it is started anew after this; each time
/// after twice as long …
pub const MDNS_PAUSE: Duration = Duration::from_secs(5);
/// … up to this, as nobody new finds the proxy meanwhile, and a start costs milliseconds. One that lived for so long begins
/// with the short pause again.
pub const MDNS_PAUSE_MAX: Duration = Duration::from_secs(300);
/// The lowest port at which a neighbour that announced itself is asked: below are the services of other machines, to which
/// nobody's announcement is to lead us.
pub const NEIGHBOUR_PORT_MIN: u16 = 1024;

/// Hosts of archives whose addresses are remembered; full: all are forgotten, and learnt again with the next answer.
pub const HOST_MEMORY: usize = 256;

// ── signatures ───────────────────────────────────────────────────────────────────────────────────────────────────

/// Releases of which it is remembered who signed them; full: the oldest is forgotten, and judged again when it is next given out.
pub const RELEASES_JUDGED: usize = 256;

/// Signers, or keys that are missing, that a verdict names; of more, how many there are.
pub const SIGNERS: usize = 4;

/// Keyrings that are read: a Debian machine has about twenty; more are not looked into.
pub const KEYRINGS: usize = 64;

/// Keyrings that gpgv takes at once: its MAX_KEYDB_RESOURCES (g10/keydb.c). Of more it only says that its resources are
/// exhausted, so it is run again with the others.
pub const KEYRINGS_AT_ONCE: usize = 40;

/// Bytes of an armoured keyring; Debian's have 12 KB.
pub const KEYRING_LEN_MAX: u64 = 1 << 20;

/// How long one run of gpgv or sqv may be silent in all; they need tens of milliseconds, and some hundreds on a router.
pub const JUDGE_TIME: Duration = Duration::from_secs(10);

/// Bytes that they may say; a signature takes a few lines.
pub const JUDGE_SAID_MAX: usize = 64 << 10;

// ── the router's mapping of our port ─────────────────────────────────────────────────────────────────────────────

/// Seconds for which a mapping is asked: what is not ended in order leads nowhere soon.
pub const MAPPING_TIME_S: u32 = 3600;
/// It is renewed this often: a router that was restarted has forgotten it.
pub const MAPPING_RENEW_TIME: Duration = Duration::from_secs(10 * 60);
/// A router that gave none is asked again after this; each time it doubles …
pub const MAPPING_RETRY_TIME: Duration = Duration::from_secs(60);
/// … up to this.
pub const MAPPING_RETRY_MAX: Duration = Duration::from_secs(60 * 60);
/// How often it is looked whether the router is another.
pub const MAPPING_LOOK_TIME: Duration = Duration::from_secs(30);
/// A router must answer within this; each time it doubles (RFC 6886, 3.1) …
pub const MAPPING_ANSWER_TIME: Duration = Duration::from_millis(250);
/// … and it is asked so many times: 4 s in all. RFC 6886 goes on for a minute, but no router is that slow.
pub const MAPPING_TRIES: u32 = 4;
/// Datagrams of the router that answer something else are passed over, up to so many a try.
pub const MAPPING_STRAYS: usize = 8;
/// A router that speaks UPnP must be found within this.
pub const IGD_SEARCH_TIME: Duration = Duration::from_secs(3);

// ── announcer ────────────────────────────────────────────────────────────────────────────────────────────────────

/// Files that are announced; of more, the newest. So many cost a router 9 datagrams a second (docs/DHT.md).
pub const ANNOUNCED_FILES: usize = 5_000;
/// Files that are read from the index at once.
pub const SHARED_PAGE: usize = 256;
/// When the store is first compared with what is announced …
pub const ANNOUNCER_FIRST_TIME: Duration = Duration::from_secs(3);
/// … and how often then: 5,000 records take some milliseconds.
pub const ANNOUNCER_TIME: Duration = Duration::from_secs(15);
/// Files just downloaded that wait to be announced; full: the next look finds them.
pub const LANDED: usize = 256;
/// How long they wait, for others to be announced with them.
pub const LANDED_TIME: Duration = Duration::from_secs(1);
/// A peer shows us that it reaches us this often. Where none does, some are asked again after [`ANNOUNCER_TIME`], each time
/// after twice as long, up to this.
pub const DIALLED_TIME: Duration = Duration::from_secs(60 * 60);
/// Files of up to so many pieces have their piece table in the record.
pub const HINT_PIECES: u64 = 4;
/// Files of up to so many pieces have it in an item: 992 bytes.
pub const ITEM_PIECES: u64 = 32;
/// Items that are put in one look: with 15 queries each, 10 queries a second.
pub const ITEMS_PER_LOOK: usize = 10;

// ── daemon ───────────────────────────────────────────────────────────────────────────────────────────────────────

/// A thread's stack: enough for a TLS handshake and an xz block header, small enough for some 40 threads on a router.
pub const THREAD_STACK_LEN: usize = 512 * 1024;
/// News waiting to be learnt; full: it is dropped, and comes again with the next request.
pub const NEWS: usize = 64;
/// How often a cache that cannot be used is tried again.
pub const STORE_RETRY_TIME: Duration = Duration::from_secs(10);
/// At the end the DHT, the router's mapping and the goodbyes on the LAN have this together: SIGTERM ends all within two
/// seconds. Later: contacts of the last minutes are not saved, a mapping ends by itself.
pub const STOP_TIME: Duration = Duration::from_millis(1500);
/// How often the daemon looks whether the cache is over its size; between two looks it may be, by what is downloaded.
pub const SIZE_CHECK_TIME: Duration = Duration::from_secs(60);
/// Seconds for which a damaged file is a problem that somebody should look at: a week.
pub const DAMAGE_TIME_S: u64 = 7 * 86_400;
/// Kinds of packages for which one Release is looked at in [`CATCH_UP_TIME_S`]; more wait for the next.
pub const LOOKS_PER_RELEASE: usize = 8;
/// Packages remembered that were asked for before their index was learnt, at 200 bytes each; full: the oldest is not held
/// against its promise when there is one, and is asked of the mirror until then.
pub const LATE_PACKAGES: usize = 256;
/// Seconds after which it is looked again whether an index is missing to place packages: what a mirror did not give then.
pub const CATCH_UP_TIME_S: u64 = 60;
/// Releases remembered as looked at for that, at 60 bytes each; full: none is looked at.
pub const LOOKS: usize = 256;
/// Indexes remembered as fetched for it; full: the oldest counts as a client's.
pub const CAUGHT_UP: usize = 64;
/// Indexes in line that should name a package which has come; more are not fetched for it.
pub const PRESUMED: usize = 16;
/// Of these, how many one look at a Release may add: a hostile one names thousands for one component.
pub const PRESUMED_PER_RELEASE: usize = 2;
/// The longest of these that is fetched: the largest archives' have a quarter.
pub const PRESUMED_LEN_MAX: u64 = 64 * 1024 * 1024;
/// Seconds for which a suite counts as in use once a client was given its Release.
pub const SUITE_IN_USE_TIME_S: u64 = 7 * 86_400;
/// Bytes of a compressed index read at a time.
pub const LEARN_READ_LEN: usize = 32 * 1024;
