//! Every bound on one page: what it holds, why it is so, and what happens when it is reached.
//!
//! Owns numbers only. The sums that matter for a router with 64 MB (docs/ARCHITECTURE.md, "Memory") are asserted at
//! the end, at compile time.

use std::time::Duration;

// ── streams ──────────────────────────────────────────────────────────────────────────────────────────────────────

/// Bytes of a growing body kept in memory when they can be on no disk; full: the download waits for its readers.
pub const STREAM_WINDOW_LEN: usize = 256 * 1024;

// ── edge ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Client connections at once; full: the longest idle one is closed, or else the newest is told 503.
pub const CONNECTIONS: usize = 1024;
/// Of these, from one address: a school behind one router has fewer machines; full: the newest is told 503.
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
/// Connections that wait to be accepted.
pub const BACKLOG: i32 = 1024;
/// A worker must answer within this; later: its connection is opened anew, and the client gets 500.
pub const WORKER_TIME: Duration = Duration::from_secs(60);
/// Descriptors kept for everything but clients and their files: store, mirrors, workers, logs.
pub const DESCRIPTORS_KEPT: usize = 192;

// ── front and fetch ──────────────────────────────────────────────────────────────────────────────────────────────

/// Request workers behind the edge, unless configured.
pub const WORKERS: usize = 4;
/// Downloads that run at once; more wait in the queue.
pub const FETCH_THREADS: usize = 8;
/// Of these, how many may be busy with one host: a dead mirror must not stop the others.
pub const FETCH_THREADS_PER_HOST: usize = FETCH_THREADS / 2;
/// Downloads that run or wait, at a few hundred bytes each; beyond, a client is told 503 with `Retry-After`, on which apt
/// tries again. Enough for 25 machines that each pipeline ten different packages.
pub const FLIGHTS: usize = 256;
/// Of these, how many may be for one host; the rest stays for the others.
pub const FLIGHTS_PER_HOST: usize = FLIGHTS / 4 * 3;
/// Threads that look up names; a look-up that finds both busy waits, and its download with it.
pub const NAME_THREADS: usize = 2;

/// A mirror must accept a connection within this.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A name must be looked up within this.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// A mirror must send the head of its answer within this; apt itself waits 30 s.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// A mirror must send something within this; apt itself waits 30 s.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Names that wait for a name thread; full: the download waits for a place, within [`RESOLVE_TIMEOUT`].
pub const NAME_QUEUE: usize = 16;
/// Names whose addresses are remembered; full: all are forgotten.
pub const NAME_MEMORY: usize = 256;
/// How long addresses are remembered: mirrors' records live a minute or more.
pub const NAME_MEMORY_TIME: Duration = Duration::from_secs(60);
/// A mirror's head may be this long; longer: its answer is refused.
pub const MIRROR_HEAD_LEN: usize = 16 * 1024;
/// ureq's buffer for a connection's input; its default of 128 KiB is too much for eight threads of a router.
pub const MIRROR_READ_LEN: usize = 32 * 1024;
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
/// Bytes of a stored file that a worker asks the kernel to read ahead.
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
/// Reads of the index at once, in all processes; more: that read fails.
pub const INDEX_READERS: u32 = 126;
/// Finished files that wait to be recorded; so many: they are recorded once their clients have their bytes.
pub const BATCH_FILES: usize = 32;
/// Finished files that wait while a batch is recorded, with a descriptor each; nearly full: downloads wait for the batch. Full,
/// which is so only when recording fails: what comes passes through unkept.
pub const WAITING_FILES: usize = 4 * BATCH_FILES;
/// Seconds after which they are recorded however few they are.
pub const BATCH_TIME_S: u64 = 4;
/// Missing files remembered until the next batch; more are remembered when they are next asked for.
pub const LOST_MEMORY: usize = 256;
/// Seconds after which a hit renews a file's time.
pub const TOUCH_TIME_S: u64 = 3600;
/// Bytes read at a time when a file is hashed again.
pub const VERIFY_LEN: usize = 128 * 1024;
/// Snapshots of a Release that are kept; more: the oldest goes, but never the newest complete one.
pub const SNAPSHOTS: usize = 4;
/// Index files of a suite that are noted as used by clients; more are not noted.
pub const WANTED: usize = 256;
/// Seconds for which such a note counts: a stable release may not change for two months.
pub const WANTED_TIME_S: u64 = 90 * 86_400;
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
/// Files dropped in one transaction: others wait for it.
pub const SWEEP_BATCH: usize = 256;
/// Seconds after which a file without a record, or a draft that nobody writes, is a leftover.
pub const LEFTOVER_TIME_S: u64 = 86_400;
/// Seconds for which a file counts as being in use.
pub const IN_USE_TIME_S: u64 = 60;

// ── dht ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Bytes of a datagram that we send: IPv6's least MTU of 1,280 less the headers.
pub const DATAGRAM_LEN: usize = 1232;
/// Bytes of a datagram that we read; a longer one is cut, and then no message.
pub const DATAGRAM_READ_LEN: usize = 2048;
/// Lists and dictionaries inside each other; deeper: no message. KRPC needs 3, an item may have its own.
pub const BENCODE_DEPTH: usize = 12;
/// Bytes of a transaction id that is echoed; longer: no message.
pub const TX_LEN: usize = 64;
/// Bytes of a token of others that is kept until we announce; longer: there is none. The longest in use have 20.
pub const TOKEN_LEN: usize = 64;
/// Bytes of the longest piece table that travels as a hint: four pieces.
pub const HINT_LEN: usize = 96;
/// Bytes of an item (BEP 44); longer: error 205.
pub const ITEM_LEN: usize = 1000;
/// Peers that are read from one reply; what follows is ignored.
pub const VALUES_READ: usize = 128;
/// Peers that one reply names: with 26 bytes for each of eight nodes they fit a datagram.
pub const VALUES: usize = 40;
/// Peers that one lookup passes on: what eight nodes name; more are ignored.
pub const PEERS_FOUND: usize = 8 * VALUES;

/// How many closest nodes hold a record, and are given out (BEP 5's K).
pub const CLOSEST: usize = 8;
/// Contacts in a level of the routing table (BEP 5).
pub const BUCKET_LEN: usize = 8;
/// Contacts in its first levels: a first hop that lands close (libtorrent, "extended routing table").
pub const FIRST_BUCKETS: [usize; 4] = [128, 64, 32, 16];
/// Answers missed in a row after which a contact leaves the table.
pub const NODE_MISSES: u8 = 3;
/// A contact that was not heard of for this long is asked whether it is there; half of the original's peers stayed 5 h.
/// One that has stayed for longer than this is asked after as long as it stayed …
pub const NODE_FRESH_TIME: Duration = Duration::from_secs(30 * 60);
/// … and at the latest after this: then one in eight may have left.
pub const NODE_FRESH_TIME_MAX: Duration = Duration::from_secs(2 * 3600);
/// A contact that missed an answer is asked again after this.
pub const NODE_RETRY_TIME: Duration = Duration::from_secs(60);
/// Silent addresses that lookups leave out; full: the one that would be forgotten first is.
pub const QUARANTINED: usize = 512;
/// How long the first time; each time it doubles, up to 64 times as long.
pub const QUARANTINE_TIME: Duration = Duration::from_secs(60);

/// Queries of one lookup in flight that have not stalled.
pub const LOOKUP_WIDTH: usize = 8;
/// Queries more of a lookup for which somebody waits, so that it may end without the slowest of twelve: among round trips of 20 to
/// 200 ms the eighth of twelve answers comes after 140 ms, the last of eight after 185.
pub const LOOKUP_AHEAD: usize = 4;
/// Of the closest nodes that are late, so many make a lookup wait until they had a second chance: of eight that are
/// there, with one answer in 25 lost, that is in three lookups of a thousand.
pub const LOOKUP_DOUBTS: usize = 3;
/// Contacts that a lookup begins with. It asks few of them, but it must not run dry where many are gone: in a network that
/// was split half of the table may be.
pub const LOOKUP_SEEDS: usize = 4 * CLOSEST;
/// Candidates of one lookup; full: the furthest goes.
pub const LOOKUP_CANDIDATES: usize = 64;
/// Of these, how many from one /24 or /48 of the public Internet.
pub const LOOKUP_PER_PREFIX: usize = 3;
/// How long a lookup that stores something waits for late answers, so that the closest are the closest.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Queries of one lookup in all; then it ends with what it has. Lookups among 10,000 nodes need 20.
pub const LOOKUP_QUERIES: usize = 96;
/// Lookups at once that somebody waits for; more: the ask gets "nobody" at once.
pub const LOOKUPS: usize = 64;
/// Lookups at once that upkeep makes; more of them wait for their turn.
pub const UPKEEP_LOOKUPS: usize = 4;

/// Queries in flight at once; full: those that want to ask wait.
pub const CALLS: usize = 1024;
/// An answer counts for this long after its query.
pub const CALL_TIME: Duration = Duration::from_secs(10);
/// Round-trip times are sorted into so many steps …
pub const RTT_BUCKETS: usize = 100;
/// … of so many milliseconds; longer ones count as the last.
pub const RTT_STEP_MS: u64 = 10;
/// A call stalls no earlier than this after the fastest tenth of the answers (mldht).
pub const STALL_MARGIN: Duration = Duration::from_millis(100);

/// A token's secret changes after this; the last one still counts (BEP 5).
pub const TOKEN_TIME: Duration = Duration::from_secs(5 * 60);
/// How long an announcement counts on the overlay: four in five of the original's peers stayed another hour.
pub const RECORD_TIME: Duration = Duration::from_secs(3 * 3600);
/// The same on mainline, where clients announce every 15 minutes.
pub const MAINLINE_RECORD_TIME: Duration = Duration::from_secs(30 * 60);
/// Our own files are announced again after this, give or take a tenth.
pub const ANNOUNCE_TIME: Duration = Duration::from_secs(135 * 60);
/// One of them is announced so much earlier when the nodes near its key were just met.
pub const ANNOUNCE_EARLY_TIME: Duration = Duration::from_secs(27 * 60);
/// How many of these nodes an announcement looks for: of the space about their middle, all closest nodes are known then.
pub const ANNOUNCE_WIDTH: usize = 3 * CLOSEST;
/// Parts of the space whose nodes are known so; full: others are looked up when these are done.
pub const NEIGHBOURHOODS: usize = 4;
/// Between two announcements, unless there are so many that they must go faster: a node answers one address twice a second.
pub const ANNOUNCE_PAUSE: Duration = Duration::from_secs(1);
/// Of the files that are due, how many are looked at for one far from those that are being announced.
pub const ANNOUNCE_CHOICE: usize = 512;
/// The rendezvous is announced again after this on mainline.
pub const RENDEZVOUS_TIME: Duration = Duration::from_secs(20 * 60);
/// An announcement that reached nobody is made again after this.
pub const ANNOUNCE_RETRY_TIME: Duration = Duration::from_secs(5 * 60);
/// Files that are announced; more are not.
pub const ANNOUNCED: usize = 20_000;
/// Records of others; full: the largest holder gives way.
pub const RECORDS: usize = 20_000;
/// Of these, for one key.
pub const PEERS_PER_KEY: usize = 64;
/// Records that upkeep looks through at a time for expired ones.
pub const SWEPT_RECORDS: usize = 1024;
/// Bytes of hints in all records; full: a record is kept without its hint.
pub const HINTS_LEN: usize = 512 * 1024;
/// Items of others; full: the oldest gives way.
pub const ITEMS: usize = 512;
/// How long an item is kept (BEP 44: 2 h, republished each hour).
pub const ITEM_TIME: Duration = Duration::from_secs(3 * 3600);

/// Queries that one address may make at once …
pub const QUERY_BURST: u64 = 10;
/// … and a second after that; more are not answered.
pub const QUERY_RATE: u64 = 2;
/// Addresses whose queries are counted. They are forgotten each minute if they have recovered, so these are 34 new ones a
/// second; the busiest of 3,000 nodes has 4. Forged ones fill it; full: a neighbour gives way and has its burst again, for
/// which somebody had to send a datagram. What goes to forged addresses is counted apart.
pub const GUARDED_ADDRESSES: usize = 2048;
/// Addresses known to be no forgeries; full: the old ones are forgotten.
pub const VERIFIED: usize = 2048;
/// How long an address counts as such.
pub const VERIFIED_TIME: Duration = Duration::from_secs(10 * 60);
/// A reply to an unverified address may be so many times as long as its query …
pub const AMPLIFICATION: usize = 4;
/// … or it comes out of an allowance of so many bytes a second for all of them together …
pub const UNVERIFIED_RATE: u64 = 30 * 1024;
/// … and so many at once: in any 10 s at most 320 KB.
pub const UNVERIFIED_BURST_LEN: u64 = 20 * 1024;

/// What a ping of ours counts there: its length with a name of 32 bytes.
pub const PING_LEN: usize = 128;

/// Queries that we send a second, when it goes on: home routers' NAT tables hold few.
pub const OWN_RATE: u64 = 50;
/// And at once.
pub const OWN_BURST: u64 = 1000;
/// What upkeep leaves of that to lookups that somebody waits for.
pub const OWN_KEPT: u64 = 700;
/// Replies that wait to be sent; full: the newest is dropped.
pub const REPLIES: usize = 256;

/// Votes on our own address, one a prefix.
pub const ADDRESS_VOTES: usize = 15;
/// Votes that change it.
pub const ADDRESS_VOTES_MIN: usize = 3;
/// A node that no stranger has asked for this long after joining is taken to be unreachable.
pub const REACH_TRIAL_TIME: Duration = Duration::from_secs(15 * 60);
/// After this it is measured again.
pub const REACH_TIME: Duration = Duration::from_secs(2 * 3600);
/// Dials for others that are under way; more are refused.
pub const DIALS: usize = 8;
/// One address may ask for a dial this often.
pub const DIAL_TIME: Duration = Duration::from_secs(60);

/// How often upkeep looks what is to be done; what has a time of its own is done at that.
pub const UPKEEP_TIME: Duration = Duration::from_secs(60);
/// Contacts that upkeep asks at a time whether they are there.
pub const UPKEEP_PINGS: usize = 16;
/// How soon upkeep looks again when it could not do all, or began something.
pub const UPKEEP_PAUSE: Duration = Duration::from_secs(1);
/// A node without contacts tries to join again after this; each time it doubles, up to 64 times as long.
pub const JOIN_TIME: Duration = Duration::from_secs(5);
/// Each level of the routing table is looked into this often, give or take a quarter.
pub const REFRESH_TIME: Duration = Duration::from_secs(60 * 60);
/// Contacts that are saved for the next start.
pub const SAVED_CONTACTS: usize = 200;

/// Asks that wait for the DHT's thread, and as many that it works on; full: an ask gets "nobody" at once.
pub const DHT_ASKS: usize = 64;
/// Answers that wait for their asker; full: more are dropped, but never the end.
pub const DHT_ANSWERS: usize = 256;
/// A report must come within this; later: there is none.
pub const DHT_REPORT_TIME: Duration = Duration::from_secs(1);
/// The DHT has this long to save its contacts; later: the daemon ends without it.
pub const DHT_STOP_TIME: Duration = Duration::from_millis(1500);
/// Datagrams that are read from a socket before everything else has its turn.
pub const DATAGRAMS_PER_TURN: usize = 64;
/// Datagrams that wait for a socket that takes no more; full: the newest is dropped, as the network would.
pub const DATAGRAMS_KEPT: usize = 256;
/// Addresses of bootstrap hosts; more are not asked.
pub const ENTRANCES: usize = 16;
/// Names of bootstrap hosts are looked up again after this while nobody is known; each time it doubles, up to 64 times as
/// long.
pub const ENTRANCE_TIME: Duration = Duration::from_secs(15);
/// A dial for somebody ends after this.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// How often contacts are saved.
pub const CONTACTS_SAVE_TIME: Duration = Duration::from_secs(10 * 60);
/// Bytes of the file of contacts; a longer one is not ours.
pub const CONTACTS_FILE_LEN: u64 = 32 * 1024;
/// When the loop's clock jumped by this much the machine was suspended, and the network may be another.
pub const SUSPENDED_TIME: Duration = Duration::from_secs(2 * 60);
/// How often it is looked whether this machine has another address, and whether a broken socket can be made anew.
pub const NETWORK_WATCH_TIME: Duration = Duration::from_secs(30);

/// Queries that a crawl sends a second, to all nodes together.
pub const CRAWL_RATE: u64 = 20;
/// Nodes of a crawl, at 150 bytes each; more are counted as left out. The original had some hundreds.
pub const CRAWL_NODES: usize = 20_000;
/// Of these, at one public address: who names many ports of one machine must not make us flood it.
pub const CRAWL_PER_ADDRESS: usize = 4;
/// Times that a node that does not answer is asked in one sweep.
pub const CRAWL_TRIES: u8 = 2;
/// From the beginning of one sweep to that of the next.
pub const CRAWL_SWEEP_TIME: Duration = Duration::from_secs(10 * 60);
/// Sessions that ended; more are not counted.
pub const CRAWL_SESSIONS: usize = 50_000;
/// Client versions that are told apart; more count as one.
pub const CRAWL_VERSIONS: usize = 32;
/// A command's own node must meet somebody within this; later: there is nobody to ask.
pub const LONE_JOIN_TIME: Duration = Duration::from_secs(20);

// ── control ──────────────────────────────────────────────────────────────────────────────────────────────────────

/// Bytes of a request on the control socket; longer: it is closed.
pub const CONTROL_REQUEST_LEN: usize = 256;
/// Each read and write of the daemon there ends after this: one client at a time is served.
pub const CONTROL_TIME: Duration = Duration::from_secs(3);
/// A command waits this long for the next line of an answer: a lookup among silent nodes is quiet for 10 s.
pub const CONTROL_ANSWER_TIME: Duration = Duration::from_secs(20);
/// Bytes of a line of an answer; longer: it is none.
pub const CONTROL_LINE_LEN: u64 = 64 * 1024;

// ── daemon ───────────────────────────────────────────────────────────────────────────────────────────────────────

/// A thread's stack: enough for a TLS handshake and an xz block header, small enough for 25 threads on a router.
pub const THREAD_STACK_LEN: usize = 512 * 1024;
/// News waiting to be learnt; full: it is dropped, and comes again with the next request.
pub const NEWS: usize = 64;
/// How often a cache that cannot be used is tried again.
pub const STORE_RETRY_TIME: Duration = Duration::from_secs(10);
/// How often the daemon looks whether the cache is over its size; between two looks it may be, by what is downloaded.
pub const SIZE_CHECK_TIME: Duration = Duration::from_secs(60);
/// Bytes of a compressed index read at a time.
pub const LEARN_READ_LEN: usize = 32 * 1024;
