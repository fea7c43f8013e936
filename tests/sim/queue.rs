//! What happens when: a wheel with a slot for each millisecond of the next second, and a map for what is further off.
//! Of one millisecond, what was queued first happens first.

use std::collections::BTreeMap;

use apt_p2p::time::Time;

const SLOTS: u64 = 1024;

pub struct Queue<T> {
    /// Everything before this has happened.
    now: u64,
    near: Vec<Vec<T>>,
    far: BTreeMap<u64, Vec<T>>,
}

impl<T> Queue<T> {
    pub fn new() -> Queue<T> {
        Queue { now: 0, near: (0..SLOTS).map(|_| Vec::new()).collect(), far: BTreeMap::new() }
    }

    pub fn push(&mut self, at: Time, happening: T) {
        let at = at.0.max(self.now);
        if at < self.now + SLOTS {
            self.near[(at % SLOTS) as usize].push(happening);
        } else {
            self.far.entry(at).or_default().push(happening);
        }
    }

    /// Takes what happens in the next millisecond up to `end` that has something; when that is.
    pub fn next(&mut self, end: Time, taken: &mut Vec<T>) -> Option<Time> {
        while self.now <= end.0 {
            if let Some(entry) = self.far.first_entry()
                && *entry.key() <= self.now
            {
                taken.extend(entry.remove());
            }
            taken.append(&mut self.near[(self.now % SLOTS) as usize]);
            if !taken.is_empty() {
                return Some(Time(self.now));
            }
            self.now += 1;
        }
        None
    }
}
