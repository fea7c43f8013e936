//! What this node announces: its own files, each again before the record expires, spread over the time.
//!
//! Keys that lie close to each other are announced one after the other, also before they are due, because what one
//! lookup found serves them all. Two announcements are some time apart: no node is to refuse them for their number.

use std::time::Duration;

use super::id::NodeId;
use super::message::Hint;
use super::rng::Rng;
use crate::limits::{
    ANNOUNCE_CHOICE, ANNOUNCE_EARLY_TIME, ANNOUNCE_PAUSE, ANNOUNCE_RETRY_TIME, ANNOUNCE_TIME, ANNOUNCED,
};
use crate::sorted::{LargeMap, LargeSet, SortedSet};
use crate::time::Time;

struct File {
    hint: Option<Hint>,
    due: Time,
    /// When it was last announced to somebody.
    announced: Option<Time>,
}

/// The files that are announced, and when each is due.
#[derive(Default)]
pub(super) struct Own {
    files: LargeMap<NodeId, File>,
    due: LargeSet<(Time, NodeId)>,
    /// On their way.
    under_way: SortedSet<NodeId>,
    /// Of these, those that tell others where we no longer are.
    outdated: SortedSet<NodeId>,
    /// Not before this the next one is begun.
    paused_until: Time,
}

impl Own {
    /// A file to be announced from now on; `false`: there are too many.
    pub(super) fn add(&mut self, key: NodeId, hint: Option<Hint>, now: Time) -> bool {
        if self.files.len() >= ANNOUNCED && !self.files.contains_key(&key) {
            return false;
        }
        self.remove(&key);
        self.files.insert(key, File { hint, due: now, announced: None });
        self.due.insert((now, key));
        true
    }

    /// No longer; what others recorded expires by itself.
    pub(super) fn remove(&mut self, key: &NodeId) {
        if let Some(file) = self.files.remove(key) {
            self.due.remove(&(file.due, *key));
        }
    }

    /// None of them any longer. One that is on its way tells others where we are no more: if it is added again, it is due again
    /// when that has ended.
    pub(super) fn clear(&mut self) {
        self.files.clear();
        self.due.clear();
        self.outdated.clone_from(&self.under_way);
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// How many are announced now: others can find them.
    pub(super) fn announced(&self, now: Time) -> usize {
        let is_live = |file: &&File| file.announced.is_some_and(|at| now.since(at) < crate::limits::RECORD_TIME);
        self.files.values().filter(is_live).count()
    }

    /// The next one whose time has come, if its key may be taken now.
    pub(super) fn next(&mut self, now: Time, may_be: impl Fn(&NodeId) -> bool) -> Option<(NodeId, Option<Hint>)> {
        let due = self.due.iter().take_while(|(at, _)| *at <= now).take(ANNOUNCE_CHOICE);
        let key = due.map(|(_, key)| *key).find(may_be)?;
        self.begin(key, now)
    }

    /// The next one with a key in this part that is due soon.
    pub(super) fn next_within(&mut self, part: (NodeId, NodeId), now: Time) -> Option<(NodeId, Option<Hint>)> {
        let soon = now + ANNOUNCE_EARLY_TIME;
        let is_next = |(key, file): &(&NodeId, &File)| file.due <= soon && self.due.contains(&(file.due, **key));
        let key = *self.files.range(part.0..=part.1).find(is_next)?.0;
        self.begin(key, now)
    }

    fn begin(&mut self, key: NodeId, now: Time) -> Option<(NodeId, Option<Hint>)> {
        let file = self.files.get(&key)?;
        let hint = file.hint.clone();
        self.due.remove(&(file.due, key));
        self.under_way.insert(key);
        // So fast that all have their turn twice before they are due again.
        let files = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        self.paused_until = now + ANNOUNCE_PAUSE.min(ANNOUNCE_TIME / 2 / files.max(1));
        Some((key, hint))
    }

    pub(super) fn is_paused(&self, now: Time) -> bool {
        now < self.paused_until
    }

    pub(super) fn next_time(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| self.paused_until.max(*at))
    }

    /// When one could be begun that is not yet due.
    pub(super) fn next_early_time(&self) -> Time {
        self.paused_until
    }

    /// It could not begin: again in a moment.
    pub(super) fn postpone(&mut self, key: NodeId, now: Time) {
        self.schedule(key, now + Duration::from_secs(1));
    }

    /// It was announced to `stored` nodes.
    pub(super) fn note_announced(&mut self, key: NodeId, stored: usize, now: Time, rng: &mut Rng) {
        if !self.under_way.contains(&key) {
            return;
        }
        if self.outdated.contains(&key) {
            return self.schedule(key, now);
        }
        if stored == 0 {
            return self.schedule(key, now + ANNOUNCE_RETRY_TIME);
        }
        if let Some(file) = self.files.get_mut(&key) {
            file.announced = Some(now);
        }
        let tenth = u64::try_from(ANNOUNCE_TIME.as_millis() / 10).expect("hours");
        let spread = Duration::from_millis(rng.below(2 * tenth));
        self.schedule(key, now + ANNOUNCE_TIME * 9 / 10 + spread);
    }

    /// All of them are due again: others know us at an address that we no longer have. Those on their way are when they
    /// have ended.
    pub(super) fn renew(&mut self, now: Time) {
        let keys: Vec<NodeId> = self.due.iter().map(|(_, key)| *key).collect();
        self.due.clear();
        for key in keys {
            self.schedule(key, now);
        }
        self.files.iter_mut().for_each(|(_, file)| file.announced = None);
        self.outdated.clone_from(&self.under_way);
    }

    fn schedule(&mut self, key: NodeId, at: Time) {
        self.under_way.remove(&key);
        self.outdated.remove(&key);
        if let Some(file) = self.files.get_mut(&key) {
            self.due.remove(&(file.due, key));
            file.due = at;
            self.due.insert((at, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_announced_again_in_time_and_not_after_it_is_gone() {
        let (mut own, mut rng) = (Own::default(), Rng::new([1; 32]));
        let (key, any) = (NodeId([1; 20]), |_: &NodeId| true);
        assert!(own.add(key, None, Time(5)));
        assert_eq!(own.next(Time(4), any), None);
        assert_eq!(own.next(Time(5), any), Some((key, None)));
        assert_eq!(own.next(Time(5), any), None);
        own.note_announced(key, 0, Time(10), &mut rng);
        assert_eq!(own.next_time(), Some(Time(10) + ANNOUNCE_RETRY_TIME));
        own.next(Time(10) + ANNOUNCE_RETRY_TIME, any).expect("due");
        own.note_announced(key, 8, Time(20), &mut rng);
        let again = own.next_time().expect("scheduled");
        assert!(again < Time(20) + crate::limits::RECORD_TIME && own.announced(Time(21)) == 1);
        let later = Time(10) + ANNOUNCE_RETRY_TIME + ANNOUNCE_PAUSE;
        own.renew(later);
        assert_eq!((own.next_time(), own.announced(later)), (Some(later), 0));
        own.remove(&key);
        own.note_announced(key, 8, Time(30), &mut rng);
        assert_eq!((own.next_time(), own.len()), (None, 0));
    }

    /// One file, which is being announced.
    fn on_its_way() -> (Own, NodeId, Rng) {
        let (mut own, key) = (Own::default(), NodeId([1; 20]));
        own.add(key, None, Time(0));
        own.next(Time(0), |_| true).expect("due");
        (own, key, Rng::new([1; 32]))
    }

    #[test]
    fn what_is_on_its_way_when_we_move_is_announced_again_at_once() {
        let (mut own, key, mut rng) = on_its_way();
        let any = |_: &NodeId| true;
        own.renew(Time(5));
        assert_eq!(own.next_time(), None, "not twice at once");
        own.note_announced(key, 8, Time(10), &mut rng);
        assert_eq!(own.announced(Time(10)), 0, "they were told the former place");
        let again = own.next_time().expect("scheduled");
        assert!(again <= Time(0) + ANNOUNCE_PAUSE, "{again:?}");
        own.next(again, any).expect("due");
        own.note_announced(key, 8, Time(20), &mut rng);
        assert_eq!(own.announced(Time(20)), 1);
    }

    #[test]
    fn what_is_withdrawn_on_its_way_and_wanted_again_is_announced_again() {
        let (mut own, key, mut rng) = on_its_way();
        own.clear();
        assert_eq!((own.len(), own.next_time()), (0, None));
        own.add(key, None, Time(5));
        own.note_announced(key, 8, Time(10), &mut rng);
        assert_eq!(own.announced(Time(10)), 0, "they were told the former place");
        assert!(own.next_time().is_some_and(|at| at <= Time(10) + ANNOUNCE_PAUSE));
    }

    #[test]
    fn neighbours_are_taken_early_and_nobody_twice() {
        let (mut own, mut rng) = (Own::default(), Rng::new([2; 32]));
        for n in 0..10 {
            own.add(NodeId([n; 20]), None, Time(0));
            own.next(Time(0), |_| true).expect("due");
            own.note_announced(NodeId([n; 20]), 8, Time(0), &mut rng);
        }
        let part = (NodeId([3; 20]), NodeId([5; 20]));
        let early = Time(0) + ANNOUNCE_TIME * 9 / 10 - ANNOUNCE_EARLY_TIME;
        assert_eq!(own.next_within(part, early - Duration::from_secs(1)), None);
        let soon = Time(0) + ANNOUNCE_TIME * 9 / 10;
        let taken: Vec<u8> = std::iter::from_fn(|| own.next_within(part, soon)).map(|(key, _)| key.0[0]).collect();
        assert_eq!(taken, [3, 4, 5]);
        assert!(own.is_paused(soon) && !own.is_paused(soon + ANNOUNCE_PAUSE));
        let late = Time(0) + ANNOUNCE_TIME * 2;
        assert_eq!(own.next(late, |key| key.0[0] > 8), Some((NodeId([9; 20]), None)));
    }
}
