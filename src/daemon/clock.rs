//! The one place that reads clocks.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::fetch::{Calendar, Clock};
use crate::limits::NIGHT_HOURS;
use crate::time::{Stamp, Time};

/// A clock that never goes back; it starts at one second, so that zero is before everything.
#[must_use]
pub fn clock() -> Clock {
    #[expect(clippy::disallowed_methods, reason = "everything else gets the time from here")]
    let start = Instant::now();
    Arc::new(move || {
        let passed = start.elapsed().as_millis();
        Time(1000 + u64::try_from(passed).expect("less than 500 million years"))
    })
}

/// A clock that never goes back and runs on while the machine is suspended, so that what others forget meanwhile is not
/// taken to be known still.
pub(super) fn boot_clock() -> Clock {
    let read = || {
        let time = clock_gettime(ClockId::Boottime);
        let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
        1000 * seconds.expect("time since boot") + nanos.expect("below a second") / 1_000_000
    };
    let start = read();
    Arc::new(move || Time(1000 + read() - start))
}

/// Whether it is night by the local clock.
pub(super) fn is_night() -> bool {
    let Ok(seconds) = libc::time_t::try_from(today().0) else { return false };
    #[expect(unsafe_code, reason = "the local time is only to be had from libc")]
    // SAFETY: both point to values of this frame; the function fills in the second and keeps neither.
    let hour = unsafe {
        let mut local: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&raw const seconds, &raw mut local).is_null() {
            return false;
        }
        local.tm_hour
    };
    NIGHT_HOURS.contains(&hour)
}

/// The calendar; before 1970 counts as 1970.
pub(super) fn calendar() -> Calendar {
    Arc::new(today)
}

/// Seconds since 1970 now.
pub fn today() -> Stamp {
    #[expect(clippy::disallowed_methods, reason = "everything else gets the time from here")]
    let now = SystemTime::now();
    Stamp(now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
