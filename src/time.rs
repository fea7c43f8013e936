//! Points in time as plain numbers, so that a test can make any of them.
//!
//! Owns the arithmetic; refuses to read a clock (the loops in `daemon` and `edge` do, and pass the value on).

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Milliseconds since a fixed but unspecified start, by a clock that never goes back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(pub u64);

impl Time {
    /// Time passed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    /// Saturates: a time-out far beyond the end of the clock is one that never comes.
    fn add(self, d: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, d: Duration) -> Time {
        Time(self.0.saturating_sub(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0 / 1000, self.0 % 1000)
    }
}

/// Seconds since 1970-01-01 UTC by the machine's calendar, which may jump: only for what is compared with dates
/// that others wrote (a Release's `Date`, a file's mtime).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Seconds passed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn secs_since(self, earlier: Stamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Time(5) - Duration::from_secs(1), Time(0));
        assert_eq!(Time(u64::MAX) + Duration::from_secs(1), Time(u64::MAX));
        assert_eq!(Time(1500).since(Time(500)), Duration::from_secs(1));
        assert_eq!(Time(500).since(Time(1500)), Duration::ZERO);
        assert_eq!(Time(61_007).to_string(), "61.007s");
    }
}
