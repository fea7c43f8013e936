//! How many requests of strangers are answered a second: whatever they send, it costs no more of the CPU than that. No
//! clock, no socket.
//!
//! A connection that must wait stands in a queue, once, so that all have their turn.

use std::collections::VecDeque;
use std::time::Duration;

use mio::Token;

use crate::limits::{STRANGERS_ASK_BURST, STRANGERS_ASK_RATE};
use crate::time::Time;

/// The allowance of all strangers.
pub(super) struct Asks {
    /// Thousandths of a request.
    tokens: u64,
    last: Time,
    waiting: VecDeque<Token>,
}

impl Asks {
    pub(super) fn new(now: Time) -> Asks {
        Asks { tokens: STRANGERS_ASK_BURST * 1000, last: now, waiting: VecDeque::new() }
    }

    /// Whether one more may be answered now; it counts.
    pub(super) fn take(&mut self, now: Time) -> bool {
        let ms = u64::try_from(now.since(self.last).as_millis()).unwrap_or(u64::MAX);
        self.last = now;
        self.tokens =
            self.tokens.saturating_add(ms.saturating_mul(STRANGERS_ASK_RATE)).min(STRANGERS_ASK_BURST * 1000);
        let may = self.tokens >= 1000;
        self.tokens -= if may { 1000 } else { 0 };
        may
    }

    /// This connection has to wait.
    pub(super) fn hold(&mut self, token: Token) {
        self.waiting.push_back(token);
    }

    /// The connections whose time has come.
    pub(super) fn release(&mut self, now: Time) -> Option<VecDeque<Token>> {
        (self.wake_at()? <= now).then(|| std::mem::take(&mut self.waiting))
    }

    /// When the next one may be answered, if one waits.
    pub(super) fn wake_at(&self) -> Option<Time> {
        let ms = 1000_u64.saturating_sub(self.tokens).div_ceil(STRANGERS_ASK_RATE);
        (!self.waiting.is_empty()).then(|| self.last + Duration::from_millis(ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_rate_and_everybody_has_his_turn() {
        let mut asks = Asks::new(Time(0));
        let (mut now, mut answered) = (Time(0), [0; 3]);
        let mut asking: VecDeque<Token> = (0..3).map(Token).collect();
        while now < Time(10_000) {
            while let Some(token) = asking.pop_front() {
                if asks.take(now) {
                    answered[token.0] += 1;
                    asking.push_back(token);
                } else {
                    asks.hold(token);
                }
            }
            let next = asks.wake_at().expect("all wait");
            assert!(next > now, "it would spin at {now}");
            now = next;
            asking = asks.release(now).expect("it is time");
        }
        let all: u64 = answered.iter().sum();
        let expected = STRANGERS_ASK_BURST + 10 * STRANGERS_ASK_RATE;
        assert!(all.abs_diff(expected) * 50 <= expected, "{all} of {expected}");
        assert!(answered.iter().all(|count| count.abs_diff(all / 3) * 10 <= all), "{answered:?}");
    }

    #[test]
    fn nobody_waits_where_nobody_asks() {
        let mut asks = Asks::new(Time(0));
        assert_eq!((asks.wake_at(), asks.release(Time(5))), (None, None));
    }
}
