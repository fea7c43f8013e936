//! What came over the last day, step by step, in memory of fixed size. PURE: the time is told.

use std::collections::VecDeque;
use std::time::Duration;

use crate::json::Object;
use crate::limits::{HISTORY_STEP, HISTORY_STEPS};
use crate::time::Time;

/// Bytes, by where they came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// What was stored, or came for somebody else who asked before.
    pub cache: u64,
    /// From neighbours on the LAN.
    pub neighbours: u64,
    /// From peers on the Internet.
    pub strangers: u64,
    /// From mirrors.
    pub mirrors: u64,
}

impl Traffic {
    /// All of it.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.parts().into_iter().fold(0, u64::saturating_add)
    }

    /// From what is nearest to what is farthest.
    #[must_use]
    pub fn parts(&self) -> [u64; 4] {
        [self.cache, self.neighbours, self.strangers, self.mirrors]
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Traffic) -> Traffic {
        Traffic {
            cache: self.cache.saturating_add(other.cache),
            neighbours: self.neighbours.saturating_add(other.neighbours),
            strangers: self.strangers.saturating_add(other.strangers),
            mirrors: self.mirrors.saturating_add(other.mirrors),
        }
    }

    /// What came since `before`.
    fn since(&self, before: &Traffic) -> Traffic {
        Traffic {
            cache: self.cache.saturating_sub(before.cache),
            neighbours: self.neighbours.saturating_sub(before.neighbours),
            strangers: self.strangers.saturating_sub(before.strangers),
            mirrors: self.mirrors.saturating_sub(before.mirrors),
        }
    }
}

/// The last steps of [`HISTORY_STEP`], [`HISTORY_STEPS`] at most.
#[derive(Debug)]
pub struct History {
    /// Steps that are over, the oldest first.
    over: VecDeque<Traffic>,
    /// When the present one began, and what had come till then.
    begun: Time,
    before: Traffic,
}

impl History {
    /// Nothing yet.
    #[must_use]
    pub fn new(now: Time) -> History {
        History { over: VecDeque::new(), begun: now, before: Traffic::default() }
    }

    /// So much has come since the start. What came since the last call belongs to the step of that call.
    pub fn note(&mut self, now: Time, total: Traffic) {
        let step_ms = u64::try_from(HISTORY_STEP.as_millis()).expect("a constant of minutes");
        let steps = u64::try_from(now.since(self.begun).as_millis()).unwrap_or(u64::MAX) / step_ms;
        if steps == 0 {
            return;
        }
        self.over.push_back(total.since(&self.before));
        self.before = total;
        self.begun = self.begun + Duration::from_millis(steps.saturating_mul(step_ms));
        // Nobody looked for longer than a step: the machine slept.
        for _ in 1..steps.min(HISTORY_STEPS as u64) {
            self.over.push_back(Traffic::default());
        }
        while self.over.len() >= HISTORY_STEPS {
            self.over.pop_front();
        }
    }

    /// The steps, the oldest first; the last is the present one.
    #[must_use]
    pub fn steps(&self, total: Traffic) -> Vec<Traffic> {
        let present = total.since(&self.before);
        self.over.iter().copied().chain([present]).collect()
    }
}

/// As JSON: a list of bytes for each source.
pub(super) fn fill(steps: &[Traffic], json: &mut Object) {
    json.plain("step_s", HISTORY_STEP.as_secs());
    for (at, name) in ["cache", "neighbours", "strangers", "mirrors"].into_iter().enumerate() {
        json.plains(name, steps.iter().map(|step| step.parts()[at]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(bytes: u64) -> Traffic {
        Traffic { cache: bytes, ..Traffic::default() }
    }

    fn told(history: &History, total: u64) -> Vec<u64> {
        history.steps(cache(total)).iter().map(Traffic::sum).collect()
    }

    #[test]
    fn what_came_stands_in_its_step() {
        let start = Time(1000);
        let mut history = History::new(start);
        history.note(start + Duration::from_secs(1), cache(5));
        assert_eq!(told(&history, 7), [7]);
        history.note(start + HISTORY_STEP, cache(9));
        assert_eq!(told(&history, 10), [9, 1]);
        // Three steps passed unseen.
        history.note(start + 4 * HISTORY_STEP + Duration::from_secs(2), cache(20));
        assert_eq!(told(&history, 21), [9, 11, 0, 0, 1]);
        history.note(start + 5 * HISTORY_STEP, cache(21));
        assert_eq!(told(&history, 21), [9, 11, 0, 0, 1, 0]);
    }

    #[test]
    fn it_is_bounded_however_long_nobody_looked() {
        let mut history = History::new(Time(0));
        for n in 1..3 * HISTORY_STEPS as u64 {
            history.note(Time(0) + HISTORY_STEP * u32::try_from(n).expect("few"), cache(n));
            assert!(told(&history, n).len() <= HISTORY_STEPS);
        }
        assert_eq!(told(&history, 5000).len(), HISTORY_STEPS);
        history.note(Time(u64::MAX), cache(u64::MAX));
        assert_eq!(told(&history, u64::MAX).len(), HISTORY_STEPS);
        assert_eq!(told(&history, 0).iter().sum::<u64>(), 0, "a total never goes back; if it did, nothing came");
    }
}
