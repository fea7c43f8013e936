//! Every bound on one page: what it holds, why it is so, and what happens when it is reached.
//!
//! Owns numbers only. The sums that matter for a router with 64 MB (docs/ARCHITECTURE.md, "Memory") are asserted at
//! the end, at compile time.

use std::time::Duration;

// ── streams ──────────────────────────────────────────────────────────────────────────────────────────────────────

/// Bytes of a growing body kept in memory when they can be on no disk; full: the download waits for its readers.
pub const STREAM_WINDOW_LEN: usize = 256 * 1024;

// ── edge ─────────────────────────────────────────────────────────────────────────────────────────────────────────

// ── front and fetch ──────────────────────────────────────────────────────────────────────────────────────────────

/// Request workers behind the edge, unless configured.
pub const WORKERS: usize = 4;
/// Downloads that run at once; more wait in the queue.
pub const FETCH_THREADS: usize = 8;
/// Of these, how many may be busy with one host: a dead mirror must not stop the others.
pub const FETCH_THREADS_PER_HOST: usize = FETCH_THREADS / 2;
/// Downloads that run or wait; beyond, a client is told 503 with `Retry-After`, on which apt tries again.
pub const FLIGHTS: usize = 64;
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
