//! A body that is still growing: one writer, many followers.
//!
//! Owns the meeting point between a download (which blocks) and the edge (which must not): what is known of the answer,
//! how far the body may be shown, and who wants to hear of more. Refuses to know where the bytes come from or go to.
//!
//! ```text
//!            begin(Head) ─▶ advance(n) / push(bytes) ─▶ finish(len)
//! (nothing) ─┤                         └──(withdraw)──▶ fail
//!            ├─ stored(file)        the body is an older file after all (revalidated, or the mirror is away)
//!            └─ fail(Failure)
//! ```
//!
//! Bytes live in a file that grows (`advance` says how far it may be shown) and, where the disk gave up or nothing is
//! to be kept, behind the file's end in a small window in memory (`push` waits for the slowest follower).

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::limits::{STREAM_TELL_LEN, STREAM_WINDOW_LEN};

/// What is known of a body besides its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Bytes in the whole body, where the source said so.
    pub len: Option<u64>,
    /// The source's `Last-Modified`, to the letter: apt compares it when it resumes.
    pub last_modified: Option<String>,
    /// The source's `ETag`.
    pub etag: Option<String>,
    /// The source's `Content-Type`.
    pub content_type: Option<String>,
}

/// Why there is no body, as it is told to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The HTTP status to answer with.
    pub status: u16,
    /// One line: what went wrong and, where something can be done, what.
    pub reason: String,
    /// Seconds after which another try is worth it.
    pub retry_after: Option<u32>,
    /// The source's `WWW-Authenticate`, with status 401.
    pub challenge: Option<String>,
}

/// The first news of a stream.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The body has begun and grows.
    Growing(Head),
    /// The body is this file, whole: nothing had to be downloaded.
    Stored(Arc<File>, Head),
    /// There will be no body.
    Failed(Failure),
}

/// What a follower can do next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Bytes from the follower's position up to `until` may be read from `file`, at their own offsets.
    File {
        /// The file that holds them.
        file: Arc<File>,
        /// The end of what may be read, exclusive.
        until: u64,
    },
    /// These bytes come next: `chunk[skip..]`.
    Memory {
        /// A chunk of the window.
        chunk: Arc<[u8]>,
        /// Bytes of it that lie before the follower's position.
        skip: usize,
    },
    /// Nothing yet; the follower's wake is called when there is.
    Wait,
    /// The position is the end of the body.
    End,
    /// The rest will never come: close the connection, so that the client sees a short body.
    Broken,
}

/// Called, from the writer's thread, when a follower that was told to wait has news; once more, perhaps, when it has just
/// left. Must not block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Nobody follows the stream any more, so there is no one to push bytes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned;

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no client waits for it any more")
    }
}

impl std::error::Error for Abandoned {}

/// A growing body. Shared by its writer and its followers through an `Arc`.
#[derive(Debug, Default)]
pub struct Stream {
    state: Mutex<State>,
    /// Signalled when a follower moves on or leaves: `push` waits for room in the window.
    room: Condvar,
}

#[derive(Default)]
struct State {
    outcome: Option<Outcome>,
    end: Option<End>,
    file: Option<Arc<File>>,
    /// Bytes of the file that may be shown.
    visible: u64,
    /// As many as the followers have heard of.
    told: u64,
    /// Chunks behind the file's end, and the offset of the first; empty while everything goes to the file.
    window: VecDeque<Arc<[u8]>>,
    window_start: u64,
    window_len: usize,
    followers: Vec<Seat>,
    next_seat: u64,
    /// Whether a client may have some of the body.
    is_shown: bool,
    /// The body is wrong, and nobody is given more of it.
    is_withdrawn: bool,
    /// The writer waits for room, or for somebody to follow.
    is_awaited: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Whole(u64),
    Broken,
}

struct Seat {
    id: u64,
    at: u64,
    waiting: bool,
    wake: Wake,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { outcome, end, visible, followers, .. } = self;
        write!(f, "{outcome:?} {visible} bytes visible, {end:?}, {} followers", followers.len())
    }
}

/// The writer's side: called by the one thread that downloads.
impl Stream {
    /// The answer begins; `file` is where its bytes will be, if anywhere.
    pub fn begin(&self, head: Head, file: Option<Arc<File>>) {
        self.begin_with(head, file, 0, None);
    }

    /// The answer begins with the first `visible` bytes of the file, which may be shown at once.
    pub fn begin_growing(&self, head: Head, file: Arc<File>, visible: u64) {
        self.begin_with(head, Some(file), visible, None);
    }

    /// The answer is `file`, whole and `len` bytes long: it begins and ends at once, and the followers are woken once.
    pub fn begin_whole(&self, head: Head, file: Arc<File>, len: u64) {
        self.begin_with(head, Some(file), len, Some(End::Whole(len)));
    }

    fn begin_with(&self, head: Head, file: Option<Arc<File>>, visible: u64, end: Option<End>) {
        let mut state = self.lock();
        debug_assert!(state.outcome.is_none(), "a stream begins once");
        state.outcome = Some(Outcome::Growing(head));
        (state.file, state.visible, state.end) = (file, visible, end);
        wake_all(state);
    }

    /// The answer is this stored file.
    pub fn stored(&self, file: Arc<File>, head: Head) {
        let mut state = self.lock();
        debug_assert!(state.outcome.is_none(), "a stream begins once");
        state.outcome = Some(Outcome::Stored(file, head));
        wake_all(state);
    }

    /// The first `visible` bytes of the file may be shown.
    pub fn advance(&self, visible: u64) {
        let mut state = self.lock();
        if visible > state.visible {
            debug_assert!(state.window_start == 0, "the file does not grow behind the window");
            state.visible = visible;
            wake_all(state);
        }
    }

    /// The same, and the followers hear of it when there is much, or of [`Stream::tell`]: each that is woken for a little costs
    /// more than the little.
    pub fn advance_quietly(&self, visible: u64) {
        let mut state = self.lock();
        if visible > state.visible {
            state.visible = visible;
            if visible - state.told >= STREAM_TELL_LEN {
                wake_all(state);
            }
        }
    }

    /// The followers hear of all that may be shown: no more comes at once.
    pub fn tell(&self) {
        let state = self.lock();
        if state.told < state.visible {
            wake_all(state);
        }
    }

    /// Appends bytes that are in no file. Waits while the window is full; a follower that takes nothing for
    /// `patience` is cut off.
    ///
    /// # Errors
    /// [`Abandoned`] when nobody follows (any more).
    pub fn push(&self, bytes: &[u8], patience: Duration) -> Result<(), Abandoned> {
        let mut state = self.lock();
        debug_assert!(!state.is_withdrawn, "only a failure follows");
        if state.window_start == 0 {
            state.window_start = state.visible;
        }
        loop {
            state.trim_window();
            if state.followers.is_empty() {
                // The edge may not have sat down yet: the download can be faster than the worker's answer.
                let arrival = |state: &mut State| state.followers.is_empty();
                state.is_awaited = true;
                state =
                    self.room.wait_timeout_while(state, patience, arrival).expect("no holder of the lock panics").0;
                state.is_awaited = false;
                if state.followers.is_empty() {
                    return Err(Abandoned);
                }
            }
            if state.window_len + bytes.len() <= STREAM_WINDOW_LEN || state.window.is_empty() {
                break;
            }
            let slowest = state.slowest();
            state.is_awaited = true;
            let (guard, wait) = self.room.wait_timeout(state, patience).expect("no holder of the lock panics");
            state = guard;
            state.is_awaited = false;
            if wait.timed_out() && state.slowest() == slowest {
                slowest.iter().for_each(|(id, _)| state.cut_off(*id));
            }
        }
        state.window_len += bytes.len();
        state.window.push_back(bytes.into());
        wake_all(state);
        Ok(())
    }

    /// The body is whole and `len` bytes long; all of it may be shown.
    pub fn finish(&self, len: u64) {
        let mut state = self.lock();
        debug_assert!(!state.is_withdrawn, "only a failure follows");
        if state.window.is_empty() && state.window_start == 0 {
            state.visible = len;
        }
        state.end = Some(End::Whole(len));
        wake_all(state);
    }

    /// There is no body, or the rest of it will never come.
    pub fn fail(&self, failure: Failure) {
        let mut state = self.lock();
        if state.outcome.is_none() {
            state.outcome = Some(Outcome::Failed(failure));
        }
        state.end.get_or_insert(End::Broken);
        wake_all(state);
    }

    /// How many follow.
    #[must_use]
    pub fn followers(&self) -> usize {
        self.lock().followers.len()
    }

    /// Some of the body was here before the stream: a client may have seen it at an earlier try.
    pub fn presume_shown(&self) {
        self.lock().is_shown = true;
    }

    /// The body is wrong: no follower is given more of it, and each waits for [`Stream::fail`], which alone may follow. Whether a
    /// client may have some of it.
    ///
    /// Both at once: a follower that came between the question and the failure would get wrong bytes that nobody knows of.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        let mut state = self.lock();
        state.is_withdrawn = true;
        state.is_shown
    }

    /// There may be room in the window now. Each signal is a system call: not where nobody waits.
    fn make_room(&self, state: MutexGuard<'_, State>) {
        let is_awaited = state.is_awaited;
        drop(state);
        if is_awaited {
            self.room.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }
}

/// The followers' side.
impl Stream {
    /// The first news, once there is any.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.lock().outcome.clone()
    }

    /// Whether a newcomer can read the body from its start, and may hope for all of it.
    #[must_use]
    pub fn joinable(&self) -> bool {
        let state = self.lock();
        let is_answered = matches!(state.outcome, Some(Outcome::Stored(..) | Outcome::Failed(_)));
        state.end != Some(End::Broken) && !is_answered && state.window_start == 0 && state.window.is_empty()
    }

    /// Follows the stream from its start; `wake` is called once after each time the follower was told to wait.
    #[must_use]
    pub fn follow(self: &Arc<Self>, wake: Wake) -> Follower {
        let mut state = self.lock();
        let id = state.next_seat;
        state.next_seat += 1;
        state.followers.push(Seat { id, at: 0, waiting: false, wake });
        self.make_room(state);
        Follower { stream: Arc::clone(self), id }
    }
}

/// Wakes those who wait once the lock is let go: it is the first thing that they want.
fn wake_all(mut state: MutexGuard<'_, State>) {
    let wakes = state.take_waiting();
    drop(state);
    wakes.iter().for_each(|wake| wake());
}

/// One reader of a [`Stream`]; leaving is dropping it.
#[derive(Debug)]
pub struct Follower {
    stream: Arc<Stream>,
    id: u64,
}

impl Follower {
    /// The first news; without any, the wake is called when it comes.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        let mut state = self.stream.lock();
        let outcome = state.outcome.clone();
        if outcome.is_none() {
            state.wait(self.id);
        }
        outcome
    }

    /// What can be read at the follower's position; after [`Step::Wait`] the wake is called when that changes.
    #[must_use]
    pub fn next(&self) -> Step {
        let mut state = self.stream.lock();
        let Some(at) = state.seat(self.id).map(|seat| seat.at) else { return Step::Broken };
        let step = state.step(at);
        match step {
            Step::Wait => state.wait(self.id),
            Step::File { .. } | Step::Memory { .. } => state.is_shown = true,
            Step::End | Step::Broken => {}
        }
        step
    }

    /// Whether a body that grows went on without this follower: what stands at its position comes from here no more.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        let mut state = self.stream.lock();
        let is_growing = matches!(state.outcome, Some(Outcome::Growing(_)));
        let Some(at) = state.seat(self.id).map(|seat| seat.at) else { return is_growing };
        let in_file = state.file.is_some() && at < state.visible;
        is_growing && !in_file && at < state.window_start
    }

    /// Moves the position to `at`: forward over bytes that were read or are not wanted.
    pub fn seek(&self, at: u64) {
        let mut state = self.stream.lock();
        // Who begins behind the start has what lies before it from an earlier try, which this one may continue.
        state.is_shown |= at > 0;
        if let Some(seat) = state.seat(self.id) {
            seat.at = at;
        }
        self.stream.make_room(state);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut state = self.stream.lock();
        state.cut_off(self.id);
        self.stream.make_room(state);
    }
}

impl State {
    fn step(&self, at: u64) -> Step {
        if self.is_withdrawn {
            return if self.end.is_some() { Step::Broken } else { Step::Wait };
        }
        if at < self.visible
            && let Some(file) = &self.file
        {
            return Step::File { file: Arc::clone(file), until: self.visible };
        }
        if self.end == Some(End::Whole(at)) {
            return Step::End;
        }
        let mut start = self.window_start;
        if at < start {
            return Step::Broken;
        }
        for chunk in &self.window {
            let end = start + chunk.len() as u64;
            if at < end {
                let skip = usize::try_from(at - start).expect("inside a chunk");
                return Step::Memory { chunk: Arc::clone(chunk), skip };
            }
            start = end;
        }
        match self.end {
            Some(_) => Step::Broken,
            None => Step::Wait,
        }
    }

    fn seat(&mut self, id: u64) -> Option<&mut Seat> {
        self.followers.iter_mut().find(|seat| seat.id == id)
    }

    fn wait(&mut self, id: u64) {
        if let Some(seat) = self.seat(id) {
            seat.waiting = true;
        }
    }

    /// Those who wait, and from now on are told.
    fn take_waiting(&mut self) -> Vec<Wake> {
        self.told = self.visible;
        let waiting = |seat: &mut Seat| std::mem::take(&mut seat.waiting).then(|| Arc::clone(&seat.wake));
        self.followers.iter_mut().filter_map(waiting).collect()
    }

    /// The follower that holds the window back, with its position.
    fn slowest(&self) -> Option<(u64, u64)> {
        self.followers.iter().min_by_key(|seat| seat.at).map(|seat| (seat.id, seat.at))
    }

    /// Nobody is woken for it: one that is too slow does not wait (who waits has read all), and one that leaves need not hear.
    fn cut_off(&mut self, id: u64) {
        self.followers.retain(|seat| seat.id != id);
    }

    /// Forgets the chunks that every follower has passed.
    fn trim_window(&mut self) {
        let Some(needed) = self.followers.iter().map(|seat| seat.at).min() else { return };
        while let Some(chunk) = self.window.front()
            && self.window_start + chunk.len() as u64 <= needed
        {
            self.window_start += chunk.len() as u64;
            self.window_len -= chunk.len();
            self.window.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const PATIENCE: Duration = Duration::from_millis(20);

    fn counting() -> (Arc<AtomicUsize>, Wake) {
        let count = Arc::new(AtomicUsize::new(0));
        let clone = Arc::clone(&count);
        (
            count,
            Arc::new(move || {
                clone.fetch_add(1, Ordering::SeqCst);
            }),
        )
    }

    fn file() -> Arc<File> {
        Arc::new(File::open("/dev/null").expect("/dev/null opens"))
    }

    fn memory(step: Step) -> Vec<u8> {
        match step {
            Step::Memory { chunk, skip } => chunk[skip..].to_vec(),
            other => panic!("{other:?} instead of bytes"),
        }
    }

    fn failure() -> Failure {
        Failure { status: 502, reason: "digest".into(), retry_after: None, challenge: None }
    }

    /// A stream of a file whose first `visible` bytes are shown, with a follower and how often that was woken.
    fn showing(visible: u64) -> (Arc<Stream>, Follower, Arc<AtomicUsize>) {
        let stream = Arc::new(Stream::default());
        let (wakes, wake) = counting();
        let follower = stream.follow(wake);
        stream.begin_growing(Head::default(), file(), visible);
        (stream, follower, wakes)
    }

    #[test]
    fn a_follower_is_woken_once_for_each_time_it_waited() {
        let stream = Arc::new(Stream::default());
        let (wakes, wake) = counting();
        let follower = stream.follow(wake);
        assert!(follower.outcome().is_none());
        stream.begin(Head::default(), Some(file()));
        stream.advance(10);
        stream.advance(20);
        assert_eq!(wakes.load(Ordering::SeqCst), 1);
        assert!(matches!(follower.next(), Step::File { until: 20, .. }));
        follower.seek(20);
        assert!(matches!(follower.next(), Step::Wait));
        stream.finish(25);
        assert_eq!(wakes.load(Ordering::SeqCst), 2);
        assert!(matches!(follower.next(), Step::File { until: 25, .. }));
        follower.seek(25);
        assert!(matches!(follower.next(), Step::End));
    }

    #[test]
    fn what_begins_with_bytes_or_whole_wakes_once() {
        for is_whole in [false, true] {
            let stream = Arc::new(Stream::default());
            let (wakes, wake) = counting();
            let follower = stream.follow(wake);
            assert!(follower.outcome().is_none());
            match is_whole {
                false => stream.begin_growing(Head::default(), file(), 9),
                true => stream.begin_whole(Head::default(), file(), 9),
            }
            stream.tell();
            assert_eq!(wakes.load(Ordering::SeqCst), 1, "nothing is to be told that is not known");
            assert!(matches!(follower.next(), Step::File { until: 9, .. }));
            follower.seek(9);
            assert!(matches!((is_whole, follower.next()), (true, Step::End) | (false, Step::Wait)));
        }
    }

    #[test]
    fn the_lock_is_let_go_before_a_follower_is_woken() {
        let stream = Arc::new(Stream::default());
        let asks = Arc::clone(&stream);
        let follower = stream.follow(Arc::new(move || assert!(asks.outcome().is_some())));
        assert!(follower.outcome().is_none());
        stream.begin(Head::default(), None);
    }

    #[test]
    fn what_was_held_back_is_never_shown_after_a_failure() {
        let (stream, follower, _) = showing(10);
        stream.fail(failure());
        assert!(matches!(follower.next(), Step::File { until: 10, .. }));
        follower.seek(10);
        assert!(matches!(follower.next(), Step::Broken));
        assert!(!stream.joinable() && !follower.is_passed(), "nobody could have had more of it");
    }

    #[test]
    fn nothing_of_a_wrong_body_is_given_once_it_is_known_whether_any_was() {
        for has_seen in [false, true] {
            let (stream, follower, wakes) = showing(4);
            if has_seen {
                assert!(
                    matches!(follower.next(), Step::File { .. }),
                    "it is on its way, wherever the follower stands"
                );
            }
            assert_eq!(stream.withdraw(), has_seen);
            assert!(matches!(follower.next(), Step::Wait));
            // Who comes now waits for the failure too: by then it is noted what was seen.
            assert!(stream.joinable());
            stream.fail(failure());
            assert_eq!(wakes.load(Ordering::SeqCst), 1);
            assert!(matches!(follower.next(), Step::Broken));
            assert!(!stream.joinable() && !follower.is_passed(), "nobody could have had more of it");
            assert_eq!(stream.withdraw(), has_seen, "nor afterwards");
        }
    }

    #[test]
    fn who_resumes_has_the_beginning_though_nothing_is_read_here() {
        let (stream, follower, _) = showing(4);
        follower.seek(4);
        assert!(matches!(follower.next(), Step::Wait));
        drop(follower);
        assert!(stream.withdraw());
        let stream = Stream::default();
        stream.presume_shown();
        assert!(stream.withdraw(), "it was here before anybody followed");
    }

    #[test]
    fn the_window_continues_where_the_file_ended() {
        let (stream, follower, _) = showing(4);
        assert!(stream.joinable());
        stream.push(b"abc", PATIENCE).expect("followed");
        assert!(!stream.joinable());
        assert!(matches!(follower.next(), Step::File { until: 4, .. }));
        follower.seek(5);
        assert_eq!(memory(follower.next()), b"bc");
        follower.seek(7);
        assert!(matches!(follower.next(), Step::Wait));
        stream.finish(7);
        assert!(matches!(follower.next(), Step::End));
    }

    #[test]
    fn a_follower_that_takes_nothing_is_cut_off_and_the_others_go_on() {
        let stream = Arc::new(Stream::default());
        let (stuck, quick) = (stream.follow(counting().1), stream.follow(counting().1));
        stream.begin(Head::default(), None);
        let chunk = vec![7; STREAM_WINDOW_LEN];
        stream.push(&chunk, PATIENCE).expect("followed");
        quick.seek(chunk.len() as u64);
        stream.push(b"next", PATIENCE).expect("followed by the quick one");
        assert!(matches!(stuck.next(), Step::Broken));
        assert!(stuck.is_passed() && !quick.is_passed());
        assert!(stream.follow(counting().1).is_passed(), "it came when the beginning was gone");
        assert_eq!(memory(quick.next()), b"next");
        drop(quick);
        assert_eq!(stream.push(b"x", PATIENCE), Err(Abandoned));
    }
}
