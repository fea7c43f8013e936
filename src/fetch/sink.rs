//! Where the bytes of a download go: into a draft, or past a disk that takes no more through memory.
//!
//! Owns the rule what clients may see: of a promised file all but its end, which waits for the digest. A client that
//! has the whole file has the right one.

use std::fmt;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use super::plan::Graft;
use crate::digest::{Digest, PieceHasher};
use crate::limits::{HELD_BACK_LEN, STALL_TIMEOUT};
use crate::store::{Draft, FileMeta, FinishError, Finished, StoreError};
use crate::stream::{Head, Stream};
use crate::time::Stamp;

/// Why bytes could not be put anywhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SinkError {
    /// Nobody reads, and nothing keeps them.
    Unwanted,
    /// What clients have seen cannot be unsaid.
    Shown,
}

/// How a download ended.
#[derive(Debug)]
pub(super) enum Landed {
    /// Whole, right and kept.
    Kept(Finished),
    /// Whole and right, but on no disk.
    Passed,
    /// Not what was promised; `got` is its digest.
    Wrong { got: Digest },
}

pub(super) struct Sink<'a> {
    stream: &'a Stream,
    place: Place,
    /// What the index promised; without a promise nothing is held back.
    promise: Option<Digest>,
    len_promised: Option<u64>,
    /// Bytes that the disk takes: one of which the mirror told no length may go on for good.
    keep_len_max: u64,
    is_wrong: bool,
    /// What the mirror said of the file, once it answered; its length is the promised one where there is a promise of it.
    head: Option<Head>,
    /// Bytes that the followers may have seen.
    shown: u64,
    /// Whether the followers know.
    announced: bool,
}

enum Place {
    Draft(Box<Draft>),
    Memory(Memory),
}

#[derive(Default)]
struct Memory {
    hasher: PieceHasher,
    /// The end that clients may not see yet.
    held: Vec<u8>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(
        stream: &'a Stream,
        draft: Option<Draft>,
        promise: Option<Digest>,
        len_promised: Option<u64>,
    ) -> Sink<'a> {
        let place = draft.map_or_else(|| Place::Memory(Memory::default()), |draft| Place::Draft(Box::new(draft)));
        Sink {
            stream,
            place,
            promise,
            len_promised,
            keep_len_max: u64::MAX,
            is_wrong: false,
            head: None,
            shown: 0,
            announced: false,
        }
    }

    /// Beyond so many bytes it passes through without being kept.
    pub(super) fn keep_at_most(mut self, len: u64) -> Sink<'a> {
        self.keep_len_max = len;
        self
    }

    /// Bytes in place.
    pub(super) fn len(&self) -> u64 {
        match &self.place {
            Place::Draft(draft) => draft.len(),
            Place::Memory(memory) => memory.hasher.len(),
        }
    }

    /// What the bytes in place came with, if they are from an earlier try.
    pub(super) fn resumed_head(&self) -> Option<Head> {
        match &self.place {
            Place::Draft(draft) => draft.head().cloned(),
            Place::Memory(_) => None,
        }
    }

    /// The length that the followers were told, which cannot be unsaid.
    pub(super) fn told_len(&self) -> Option<u64> {
        self.head.as_ref().filter(|_| self.announced)?.len
    }

    /// The mirror's answer begins. The followers hear of it when there is something to show: till then a failure is an
    /// answer of its own, and not a body that is cut short.
    pub(super) fn begin(&mut self, head: &Head) {
        if let Place::Draft(draft) = &mut self.place
            && draft.is_empty()
            && let Err(error) = draft.begin(head.clone())
        {
            self.leave_disk(&error);
        }
        // Nobody has heard of what a mirror said that brought nothing.
        if !self.announced {
            self.head = Some(Head { len: self.len_promised.or(head.len), ..head.clone() });
            self.show();
        }
    }

    /// The followers hear of the answer before there is something to show.
    pub(super) fn announce_early(&mut self) {
        self.announce();
    }

    /// The file that grows, while the disk takes it.
    pub(super) fn file(&self) -> Option<&Arc<std::fs::File>> {
        match &self.place {
            Place::Draft(draft) => Some(draft.file()),
            Place::Memory(_) => None,
        }
    }

    /// Takes over pieces that lie in the file behind the bytes in place, up to its end at `len`; `false` if the bytes in
    /// place do not lead there. An error is the disk's, and says nothing of them.
    pub(super) fn graft(&mut self, graft: &Graft, len: u64) -> Result<bool, StoreError> {
        let Place::Draft(draft) = &mut self.place else { return Ok(false) };
        let is_joined = draft.graft(graft.start, &graft.midstates, len)?;
        if is_joined {
            self.show();
        }
        Ok(is_joined)
    }

    /// Takes the next bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        if let Place::Draft(draft) = &mut self.place {
            if draft.len() + bytes.len() as u64 > self.keep_len_max {
                self.leave_disk(&format!("there is no end after {} bytes, half of --max-size", self.keep_len_max));
                return self.push(bytes);
            }
            match draft.append(bytes) {
                Ok(()) => {
                    self.show();
                    return Ok(());
                }
                Err(error) => self.leave_disk(&error),
            }
        }
        self.push(bytes)
    }

    /// Forgets all bytes, to begin anew from the start; possible while no client can have seen any. What peers wrote behind
    /// them stays.
    pub(super) fn restart(&mut self) -> Result<(), SinkError> {
        if self.shown > 0 {
            return Err(SinkError::Shown);
        }
        self.is_wrong = false;
        // Another length may be announced with what comes now.
        if !self.announced {
            self.head = None;
        }
        match &mut self.place {
            Place::Memory(memory) => *memory = Memory::default(),
            Place::Draft(draft) => {
                if let Err(error) = draft.restart() {
                    log::warn!("{error}");
                    self.place = Place::Memory(Memory::default());
                }
            }
        }
        Ok(())
    }

    /// What is here is not the file's beginning: more came than it is long, or it does not lead to pieces that are proven.
    pub(super) fn condemn(&mut self) {
        self.is_wrong = true;
    }

    /// The download ended early. What is known to be wrong, or may be the beginning of anything since nobody told a length, is
    /// not kept for the next request; whether it is known to be wrong.
    pub(super) fn forget_useless(&mut self) -> bool {
        let told = self.head.as_ref().and_then(|head| head.len).or(self.len_promised);
        let told = told.or_else(|| self.resumed_head()?.len);
        if (self.is_wrong || told.is_none())
            && let Place::Draft(draft) = std::mem::replace(&mut self.place, Place::Memory(Memory::default()))
        {
            draft.discard();
        }
        self.is_wrong
    }

    /// The last byte came: checks the digest, shows the rest, keeps the file.
    pub(super) fn finish(mut self, meta: FileMeta, today: Stamp) -> Result<Landed, StoreError> {
        // What a draft was made for is its own affair; what clients were promised is ours.
        let promise = self.promise;
        let head = self.head.take().filter(|_| !self.announced);
        match self.place {
            Place::Draft(draft) => match draft.finish(meta, today) {
                Ok(finished) if promise.is_some_and(|digest| digest != finished.digest) => {
                    Ok(Landed::Wrong { got: finished.digest })
                }
                Ok(finished) => {
                    match head {
                        Some(head) => self.stream.begin_whole(head, Arc::clone(&finished.file), finished.len),
                        None => self.stream.finish(finished.len),
                    }
                    Ok(Landed::Kept(finished))
                }
                Err(FinishError::Mismatch { got }) => Ok(Landed::Wrong { got }),
                Err(FinishError::Store(error)) => Err(error),
            },
            Place::Memory(memory) => {
                let (len, got) = (memory.hasher.len(), memory.hasher.finish());
                if self.promise.is_some_and(|digest| digest != got) {
                    return Ok(Landed::Wrong { got });
                }
                if let Some(head) = head {
                    self.stream.begin(head, None);
                }
                // Whoever left in the meantime does not need the rest.
                self.stream.push(&memory.held, STALL_TIMEOUT).ok();
                self.stream.finish(len);
                Ok(Landed::Passed)
            }
        }
    }

    fn visible(&self) -> u64 {
        let len = self.len();
        match (self.promise, self.head.as_ref().and_then(|head| head.len).or(self.len_promised)) {
            (None, _) => len,
            (Some(_), Some(total)) => len.min(total.saturating_sub(HELD_BACK_LEN)),
            (Some(_), None) => len.saturating_sub(HELD_BACK_LEN),
        }
    }

    fn show(&mut self) {
        let visible = self.visible();
        if visible > 0 || self.promise.is_none() {
            self.announce();
        }
        if self.announced && matches!(self.place, Place::Draft(_)) {
            self.stream.advance_quietly(visible);
            self.shown = self.shown.max(visible);
        }
    }

    fn announce(&mut self) {
        if !self.announced
            && let Some(head) = &self.head
        {
            let head = head.clone();
            match &self.place {
                Place::Draft(draft) => {
                    let visible = self.visible();
                    self.stream.begin_growing(head, Arc::clone(draft.file()), visible);
                    self.shown = self.shown.max(visible);
                }
                Place::Memory(_) => self.stream.begin(head, None),
            }
            self.announced = true;
        }
    }

    /// The disk takes no more: what it has shown stays readable for the followers, the rest passes through memory.
    fn leave_disk(&mut self, why: &dyn fmt::Display) {
        log::warn!("{why}; the file passes through without being kept");
        let visible = self.visible().max(self.shown);
        let (visible, held) = match self.read_back(visible) {
            Ok(held) => (visible, held),
            // Nor can the followers read it: they are cut off.
            Err(error) => {
                log::warn!("what it took cannot be read: {error}");
                (self.len(), Vec::new())
            }
        };
        // While the place is still the draft: the followers must get its file.
        if visible > 0 {
            self.announce();
        }
        let Place::Draft(draft) = std::mem::replace(&mut self.place, Place::Memory(Memory::default())) else {
            return;
        };
        if self.announced {
            self.stream.advance(visible);
            self.shown = visible;
        }
        self.place = Place::Memory(Memory { hasher: draft.into_hasher(), held });
    }

    /// What the draft has behind `visible`: clients may not see it yet.
    fn read_back(&self, visible: u64) -> io::Result<Vec<u8>> {
        let Place::Draft(draft) = &self.place else { return Ok(Vec::new()) };
        let mut held = vec![0; usize::try_from(draft.len() - visible).expect("no more than is held back")];
        draft.file().read_exact_at(&mut held, visible)?;
        Ok(held)
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        let hold = if self.promise.is_some() { HELD_BACK_LEN } else { 0 };
        let Place::Memory(memory) = &mut self.place else { unreachable!("only called once the disk was left") };
        memory.hasher.update(bytes, |_| ());
        memory.held.extend_from_slice(bytes);
        let excess = memory.held.len().saturating_sub(usize::try_from(hold).expect("a small bound"));
        if excess == 0 {
            return Ok(());
        }
        let shown: Vec<u8> = memory.held.drain(..excess).collect();
        self.announce();
        self.shown += shown.len() as u64;
        self.stream.push(&shown, STALL_TIMEOUT.max(Duration::from_secs(1))).map_err(|_| SinkError::Unwanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::test_dir::TestDir;
    use crate::store::{Options, Store, Want};
    use crate::stream::{Follower, Outcome, Step};
    use std::sync::Arc;

    fn told(follower: &Follower) -> Option<Head> {
        match follower.outcome() {
            Some(Outcome::Growing(head)) => Some(head),
            _ => None,
        }
    }

    fn head(len: u64) -> Head {
        Head { len: Some(len), ..Head::default() }
    }

    #[test]
    fn what_a_mirror_said_before_it_had_to_begin_anew_is_forgotten() {
        let stream = Arc::new(Stream::default());
        let follower = stream.follow(Arc::new(|| ()));
        let content = [7; 300];
        let mut sink = Sink::new(&stream, None, Some(Digest::of(&content)), None);
        sink.begin(&head(100));
        sink.append(&content[..30]).expect("memory takes it");
        sink.restart().expect("nothing was shown");
        sink.begin(&head(300));
        sink.append(&content).expect("memory takes it");
        assert!(matches!(sink.finish(FileMeta::default(), Stamp(0)), Ok(Landed::Passed)));
        assert_eq!(told(&follower), Some(head(300)));
    }

    #[test]
    fn what_was_shown_is_not_begun_anew() {
        let stream = Arc::new(Stream::default());
        let follower = stream.follow(Arc::new(|| ()));
        let content = vec![7; 200_000];
        let mut sink = Sink::new(&stream, None, Some(Digest::of(&content)), None);
        sink.begin(&head(200_000));
        assert_eq!(sink.told_len(), None, "nothing is told before there is something to show");
        sink.append(&content[..100_000]).expect("memory takes it");
        assert_eq!(sink.told_len(), Some(200_000));
        assert!(matches!(follower.next(), Step::Memory { chunk, .. } if chunk.len() == 100_000 - 65_536));
        assert_eq!(sink.restart(), Err(SinkError::Shown));
    }

    /// A sink whose disk takes `keeps` bytes.
    fn on_disk<'a>(store: &Store, stream: &'a Stream, content: &[u8], promise: Digest, keeps: u64) -> Sink<'a> {
        let draft = store.draft(Want::Digest { digest: promise, len: None }).expect("a draft");
        let mut sink = Sink::new(stream, Some(draft), Some(promise), None).keep_at_most(keeps);
        sink.begin(&head(content.len() as u64));
        content.chunks(10_000).for_each(|chunk| sink.append(chunk).expect("memory takes it"));
        sink
    }

    #[test]
    fn what_a_full_disk_took_is_held_back_till_the_digest_holds() {
        let dir = TestDir::new();
        let store = Store::open(&Options { dir: dir.path().join("cache") }).expect("a store");
        let content: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        // One of which nothing may be shown, and one that has shown all but the last of what the disk took.
        for (len, keeps) in [(50_000, 20_000), (200_000, 150_000)] {
            for is_right in [true, false] {
                let content = &content[..len];
                let promise = if is_right { Digest::of(content) } else { Digest::of(&len.to_be_bytes()) };
                let stream = Arc::new(Stream::default());
                let follower = stream.follow(Arc::new(|| ()));
                let sink = on_disk(&store, &stream, content, promise, keeps);
                let may_see = len.saturating_sub(usize::try_from(HELD_BACK_LEN).expect("small"));
                assert_eq!(told(&follower).is_some(), may_see > 0);
                let mut got = read(&follower, Vec::new());
                assert!(got == content[..may_see], "{} of {may_see}", got.len());
                let landed = sink.finish(FileMeta::default(), Stamp(0)).expect("no disk is needed");
                assert_eq!(matches!(landed, Landed::Passed), is_right, "{landed:?}");
                got = read(&follower, got);
                assert!(got == content[..if is_right { len } else { may_see }], "{} bytes", got.len());
            }
        }
    }

    /// Adds to `got`, which was read before, what can be read now.
    fn read(follower: &Follower, mut got: Vec<u8>) -> Vec<u8> {
        loop {
            let at = got.len();
            match follower.next() {
                Step::File { file, until } => {
                    got.resize(usize::try_from(until).expect("small"), 0);
                    file.read_exact_at(&mut got[at..], at as u64).expect("it can be read");
                }
                Step::Memory { chunk, skip } => got.extend_from_slice(&chunk[skip..]),
                Step::Wait | Step::End | Step::Broken => return got,
            }
            follower.seek(got.len() as u64);
        }
    }
}
