//! The bounds of the DHT: of what it knows, sends and waits for.

use std::time::Duration;

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
/// Queries more of a lookup for which somebody waits: with a third of all nodes silent, eight of so many answer, and it need not
/// find out first who is silent. Of 96 nodes 30 then cost it 280 ms at the 99th of a hundred; with four more 320 ms.
pub const LOOKUP_AHEAD: usize = 6;
/// Of the closest nodes so many may still be awaited when it ends: among round trips of 20 to 200 ms the eighth of twelve answers
/// comes after 140 ms, the last of eight after 185.
pub const LOOKUP_SPARE: usize = 4;
/// Of the closest eight so many must have answered, or the late ones have had a second chance. What is announced all of them
/// were told: with one answer in 25 lost, two that have nothing to say are wrong in one case of 600.
pub const LOOKUP_SURE: usize = 2;
/// Contacts that a lookup begins with. It asks few of them, but it must not run dry where many are gone: in a network that
/// was split half of the table may be.
pub const LOOKUP_SEEDS: usize = 4 * CLOSEST;
/// Candidates of one lookup; full: the furthest goes.
pub const LOOKUP_CANDIDATES: usize = 64;
/// Of these, how many from one /24 or /48 of the public Internet that one node names, and how many in all that answered.
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
/// How many of these nodes an announcement looks for, so that others can follow it.
pub const ANNOUNCE_WIDTH: usize = 3 * CLOSEST;
/// Parts of the space whose nodes are known so; full: others are looked up when these are done.
pub const NEIGHBOURHOODS: usize = 4;
/// Nodes of one of these; more are not kept.
pub const NEAR_NODES: usize = 64;
/// Of them, how many an announcement asks who is closest to its key: with one answer in 25 lost, both are in one of 600.
pub const NEAR_ASKED: usize = 2;
/// Nodes beyond the closest eight that are told if some of those do not answer.
pub const SPARE_NODES: usize = 4;
/// Between two announcements, unless there are so many that they must go faster: a node answers one address twice a second.
pub const ANNOUNCE_PAUSE: Duration = Duration::from_secs(1);
/// Of the files that are due, how many are looked at for one far from those that are being announced.
pub const ANNOUNCE_CHOICE: usize = 512;
/// The rendezvous is announced again after this on mainline.
pub const RENDEZVOUS_TIME: Duration = Duration::from_secs(20 * 60);
/// Who has met nobody there looks again after this, then after twice as long each time, up to five minutes.
pub const RENDEZVOUS_ALONE_TIME: Duration = Duration::from_secs(20);
/// An announcement that reached nobody is made again after this.
pub const ANNOUNCE_RETRY_TIME: Duration = Duration::from_secs(5 * 60);
/// Files that are announced; more are not.
pub const ANNOUNCED: usize = 20_000;
/// Records of others; full: the largest holder gives way.
pub const RECORDS: usize = 20_000;
/// Records that are walked over to one of the largest holder; where it has none among so many, the last of them goes. Who
/// holds a dozen has one there, and who has thousands beside each other costs the others one in so many for each time round.
pub const EVICTION_STEPS: usize = 2048;
/// Of the records, for one key.
pub const PEERS_PER_KEY: usize = 64;
/// Records that upkeep looks through at a time for expired ones.
pub const SWEPT_RECORDS: usize = 1024;
/// Bytes of hints in all records; full: a record is kept without its hint.
pub const HINTS_LEN: usize = 512 * 1024;
/// Items of others; full: of who put most, the one that expires first gives way.
pub const ITEMS: usize = 512;
/// How long an item is kept (BEP 44: 2 h, republished each hour).
pub const ITEM_TIME: Duration = Duration::from_secs(3 * 3600);

/// Queries that one address may make at once: of a small network each node is asked for each of a hundred packages that one
/// apt installs …
pub const QUERY_BURST: u64 = 256;
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

/// Nodes of different networks (/24, /48) that must have reached us before anything is announced; where fewer are known,
/// as many as there are.
pub const WITNESSES: usize = 2;
/// Of these so many are asked: some have gone, or have dialled us within the minute.
pub const WITNESSES_ASKED: usize = 4;
/// They are chosen among so many contacts near a random place.
pub const WITNESS_CHOICE: usize = 32;

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
/// Keys to be announced or withdrawn that the DHT's thread takes at a time.
pub const WISHES_PER_TURN: usize = 64;
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
