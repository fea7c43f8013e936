//! What this node announces: its own files, each again before the record expires, spread over the time.
//!
//! Keys that lie close to each other are announced one after the other: the nodes that the last lookup met are in the
//! routing table and the closest of the next one, so a lookup starts where the last one ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::id::NodeId;
use super::message::Hint;
use super::rng::Rng;
use crate::limits::{ANNOUNCE_RETRY_TIME, ANNOUNCE_TIME, ANNOUNCED};
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
    files: BTreeMap<NodeId, File>,
    due: BTreeSet<(Time, NodeId)>,
    /// On their way.
    under_way: BTreeSet<NodeId>,
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

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// How many are announced now: others can find them.
    pub(super) fn announced(&self, now: Time) -> usize {
        let is_live = |file: &&File| file.announced.is_some_and(|at| now.since(at) < crate::limits::RECORD_TIME);
        self.files.values().filter(is_live).count()
    }

    /// The next one whose time has come.
    pub(super) fn next(&mut self, now: Time) -> Option<(NodeId, Option<Hint>)> {
        let (at, key) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        let file = self.files.get(&key)?;
        self.under_way.insert(key);
        Some((key, file.hint.clone()))
    }

    pub(super) fn next_time(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
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

    /// All of them are due again: others know us at an address that we no longer have.
    pub(super) fn renew(&mut self, now: Time) {
        let keys: Vec<NodeId> = self.due.iter().map(|(_, key)| *key).collect();
        self.due.clear();
        for key in keys {
            self.schedule(key, now);
        }
        self.files.values_mut().for_each(|file| file.announced = None);
    }

    fn schedule(&mut self, key: NodeId, at: Time) {
        self.under_way.remove(&key);
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
        let key = NodeId([1; 20]);
        assert!(own.add(key, None, Time(5)));
        assert_eq!(own.next(Time(4)), None);
        assert_eq!(own.next(Time(5)), Some((key, None)));
        assert_eq!(own.next(Time(5)), None);
        own.note_announced(key, 0, Time(10), &mut rng);
        assert_eq!(own.next_time(), Some(Time(10) + ANNOUNCE_RETRY_TIME));
        own.next(Time(u64::MAX)).expect("due");
        own.note_announced(key, 8, Time(20), &mut rng);
        let again = own.next_time().expect("scheduled");
        assert!(again < Time(20) + crate::limits::RECORD_TIME && own.announced(Time(21)) == 1);
        own.renew(Time(25));
        assert_eq!((own.next_time(), own.announced(Time(25))), (Some(Time(25)), 0));
        own.remove(&key);
        own.note_announced(key, 8, Time(30), &mut rng);
        assert_eq!((own.next_time(), own.len()), (None, 0));
    }
}
