//! Whether peers reach our port, and when they are asked to dial it the next time. PURE.
//!
//! Where they do not, as behind a router that passes nothing on, they are asked less and less often: each time four strangers
//! have the work.

use crate::limits::{ANNOUNCER_TIME, DIALLED_TIME};
use crate::time::Time;

/// The place where others look for us: the port, and how often this machine has moved.
pub(super) type Place = (u16, u32);

/// What peers have said.
#[derive(Default)]
pub(super) struct Dialled {
    /// What it is about; none: nothing is served.
    place: Option<Place>,
    /// When they last reached us.
    reached: Option<Time>,
    /// When to ask again.
    due: Time,
    /// Failures in a row.
    failures: u32,
    /// Whether what they said was at another place.
    is_doubted: bool,
}

impl Dialled {
    /// Where we are now; whether what was announced names another port. After a move at the same port what was said holds until
    /// it proves wrong.
    pub(super) fn come(&mut self, place: Option<Place>, now: Time) -> bool {
        if place == self.place {
            return false;
        }
        let port = |place: Option<Place>| place.map(|(port, _)| port);
        let is_other_port = port(place) != port(self.place);
        if is_other_port {
            self.reached = None;
        }
        (self.place, self.due, self.failures, self.is_doubted) = (place, now, 0, true);
        is_other_port
    }

    /// The port that is to be dialled, if it is time.
    pub(super) fn due(&self, now: Time) -> Option<u16> {
        self.place.filter(|_| now >= self.due).map(|(port, _)| port)
    }

    /// They were asked and have reached us, or not; none: there was nobody to ask. Whether that is news.
    pub(super) fn note(&mut self, reached: Option<bool>, now: Time) -> bool {
        match reached {
            None => {
                self.due = now + ANNOUNCER_TIME;
                false
            }
            Some(true) => {
                (self.due, self.failures, self.is_doubted) = (now + DIALLED_TIME, 0, false);
                self.reached.replace(now).is_none()
            }
            Some(false) => {
                self.due = now + (ANNOUNCER_TIME * (1 << self.failures.min(16))).min(DIALLED_TIME);
                self.failures += 1;
                // Those of one time may all be gone.
                if self.is_doubted && self.failures > 1 {
                    self.reached = None;
                }
                false
            }
        }
    }

    /// Whether peers have reached us lately: nobody is to be sent to a machine that he cannot reach.
    pub(super) fn is_reached(&self, now: Time) -> bool {
        self.reached.is_some_and(|at| now.since(at) < 2 * DIALLED_TIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Time = Time(1_000_000);

    fn at(place: Place) -> Dialled {
        let mut dialled = Dialled::default();
        assert!(dialled.come(Some(place), NOW));
        dialled
    }

    /// After how many seconds each of so many dials is due that fail at once.
    fn pauses(dialled: &mut Dialled, mut now: Time, count: usize) -> Vec<u64> {
        let mut pauses = Vec::new();
        for _ in 0..count {
            let begun = now;
            while dialled.due(now).is_none() {
                now = now + Duration::from_secs(1);
            }
            pauses.push(now.since(begun).as_secs());
            dialled.note(Some(false), now);
        }
        pauses
    }

    #[test]
    fn who_is_not_reached_asks_less_and_less_often_and_anew_at_another_place() {
        let mut dialled = at((9978, 0));
        assert_eq!(pauses(&mut dialled, NOW, 11), [0, 15, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        let later = NOW + 10 * DIALLED_TIME;
        for place in [(9979, 0), (9979, 1)] {
            dialled.come(Some(place), later);
            assert_eq!(pauses(&mut dialled, later, 3), [0, 15, 30], "{place:?}");
        }
        assert!(!dialled.come(Some((9979, 1)), later));
        assert_eq!(pauses(&mut dialled, later, 1), [15 + 30 + 60]);
    }

    #[test]
    fn nobody_to_ask_is_no_failure() {
        let mut dialled = at((9978, 0));
        for n in 0..20 {
            let now = NOW + n * ANNOUNCER_TIME;
            assert_eq!(dialled.due(now), Some(9978));
            dialled.note(None, now);
        }
    }

    #[test]
    fn who_was_reached_is_not_for_ever() {
        let mut dialled = at((9978, 0));
        assert!(dialled.note(Some(true), NOW) && dialled.is_reached(NOW));
        assert!(!dialled.note(Some(true), NOW), "it was known");
        let late = NOW + DIALLED_TIME;
        assert_eq!((dialled.due(late - Duration::from_secs(1)), dialled.due(late)), (None, Some(9978)));
        (0..9).for_each(|_| _ = dialled.note(Some(false), late));
        assert!(dialled.is_reached(late), "those that were asked may be gone");
        assert!(!dialled.is_reached(late + DIALLED_TIME));
    }

    #[test]
    fn at_another_port_nothing_counts_and_after_a_move_what_proves_right() {
        let mut dialled = at((9978, 0));
        dialled.note(Some(true), NOW);
        assert!(!dialled.come(Some((9978, 1)), NOW) && dialled.is_reached(NOW) && dialled.due(NOW).is_some());
        dialled.note(Some(false), NOW);
        assert!(dialled.is_reached(NOW));
        dialled.note(Some(false), NOW);
        assert!(!dialled.is_reached(NOW));
        dialled.note(Some(true), NOW);
        assert!(dialled.come(Some((9979, 1)), NOW) && !dialled.is_reached(NOW));
        dialled.note(Some(true), NOW);
        assert!(dialled.come(None, NOW) && !dialled.is_reached(NOW) && dialled.due(NOW + DIALLED_TIME).is_none());
    }
}
