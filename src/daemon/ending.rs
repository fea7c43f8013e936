//! The end: all that has to end in order is told so before any of it is waited for, and together it has one time.

use std::time::Duration;

use super::udp::DhtHandle;
use crate::limits::STOP_TIME;
use crate::time::Time;

/// What has to end in order.
pub(super) trait Ends {
    /// Tells it to end, without waiting.
    fn begin(&mut self);

    /// Waits until it has ended, for no longer than is `left`.
    fn wait(&mut self, left: &dyn Fn() -> Duration);
}

/// Ends all of these; `meanwhile` is what else is to be done.
pub(super) fn end_all(all: &mut [&mut dyn Ends], clock: &dyn Fn() -> Time, meanwhile: impl FnOnce()) {
    let until = clock() + STOP_TIME;
    all.iter_mut().for_each(|one| one.begin());
    meanwhile();
    for one in all {
        one.wait(&|| until.since(clock()));
    }
}

impl Ends for DhtHandle {
    fn begin(&mut self) {
        self.begin_to_stop();
    }

    fn wait(&mut self, left: &dyn Fn() -> Duration) {
        if !self.has_stopped_within(left()) {
            log::warn!("the DHT did not end in time; its contacts of the last minutes are not saved");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Takes all the time that it gets.
    struct Slow<'a> {
        begun: &'a Cell<usize>,
        now: &'a Cell<Time>,
    }

    impl Ends for Slow<'_> {
        fn begin(&mut self) {
            self.begun.set(self.begun.get() + 1);
        }

        fn wait(&mut self, left: &dyn Fn() -> Duration) {
            assert_eq!(self.begun.get(), 3, "the others are not told before this one is waited for");
            self.now.set(self.now.get() + left());
        }
    }

    #[test]
    fn however_many_are_slow_they_have_one_time() {
        let (begun, now, done) = (Cell::new(0), Cell::new(Time(5)), Cell::new(false));
        let slow = || Slow { begun: &begun, now: &now };
        let (mut a, mut b, mut c) = (slow(), slow(), slow());
        end_all(&mut [&mut a, &mut b, &mut c], &|| now.get(), || {
            done.set(true);
            now.set(now.get() + STOP_TIME / 2);
        });
        assert!(done.get() && now.get() == Time(5) + STOP_TIME, "{}", now.get());
    }
}
