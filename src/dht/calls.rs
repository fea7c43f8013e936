//! Queries in flight: whose answer is awaited, since when, and when it is no longer hoped for.
//!
//! A call *stalls* when most answers would have come: its lookup goes on without it, and still takes the answer if it
//! comes. When that is, is learnt from the answers (the idea of mldht): beyond their 90th percentile, and at least
//! 100 ms beyond the 10th. One burst of late answers, as after a suspend, at most doubles it: an answer counts as no
//! later than twice the time after which its call stalled.

use std::net::SocketAddr;
use std::time::Duration;

use super::id::NodeId;
use super::rng::Rng;
use crate::limits::{CALL_TIME, CALLS, RTT_BUCKETS, RTT_STEP_MS, STALL_MARGIN};
use crate::sorted::{SortedMap, SortedSet};
use crate::time::Time;

/// One query that was sent.
#[derive(Clone, Debug)]
pub(super) struct Call<P> {
    pub(super) to: SocketAddr,
    /// Who should answer, where that is known.
    pub(super) id: Option<NodeId>,
    pub(super) sent: Time,
    pub(super) stalled: bool,
    pub(super) purpose: P,
    /// After what time it stalls.
    stall_time: Duration,
    /// When it stalls or is lost.
    timer: Time,
}

/// What time brought.
#[derive(Debug)]
pub(super) enum Late<P> {
    /// It is late; its answer still counts.
    Stalled(Call<P>),
    /// No answer.
    Lost(Call<P>),
}

pub(super) struct Calls<P> {
    /// By transaction id, as a number.
    calls: SortedMap<u32, Call<P>>,
    /// When each call stalls or is lost.
    timers: SortedSet<(Time, u32)>,
    rtt: Rtt,
    tx_len: usize,
}

impl<P: Clone> Calls<P> {
    /// `tx_len`: bytes of a transaction id.
    pub(super) fn new(tx_len: usize) -> Calls<P> {
        Calls { calls: SortedMap::new(), timers: SortedSet::new(), rtt: Rtt::default(), tx_len }
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Notes a query that is sent now; its transaction id, or none when too many are under way.
    pub(super) fn begin(
        &mut self,
        to: SocketAddr,
        id: Option<NodeId>,
        purpose: P,
        now: Time,
        rng: &mut Rng,
    ) -> Option<Vec<u8>> {
        if self.calls.len() >= CALLS {
            return None;
        }
        let tx = loop {
            let tx = u32::from_be_bytes(rng.bytes()) >> (32 - 8 * self.tx_len);
            if !self.calls.contains_key(&tx) {
                break tx;
            }
        };
        let stall_time = self.rtt.stall_time;
        let timer = now + stall_time;
        self.timers.insert((timer, tx));
        self.calls.insert(tx, Call { to, id, sent: now, stalled: false, purpose, stall_time, timer });
        Some(tx.to_be_bytes()[4 - self.tx_len..].to_vec())
    }

    /// The call that an answer from `from` belongs to. An answer from elsewhere is a forgery, and is none.
    pub(super) fn answered(&mut self, tx: &[u8], from: SocketAddr) -> Option<Call<P>> {
        if tx.len() != self.tx_len {
            return None;
        }
        let tx = tx.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        if self.calls.get(&tx)?.to != from {
            return None;
        }
        let call = self.calls.remove(&tx)?;
        self.timers.remove(&(call.timer, tx));
        Some(call)
    }

    /// Learns from how long an answer took that was given at once.
    pub(super) fn note_round_trip(&mut self, call: &Call<P>, now: Time) {
        self.rtt.note(now.since(call.sent).min(2 * call.stall_time));
    }

    /// The next call whose time has come.
    pub(super) fn late(&mut self, now: Time) -> Option<Late<P>> {
        while let Some((at, tx)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            let Some(call) = self.calls.get_mut(&tx) else { continue };
            if now.since(call.sent) >= CALL_TIME {
                return self.calls.remove(&tx).map(Late::Lost);
            }
            call.timer = call.sent + CALL_TIME;
            self.timers.insert((call.timer, tx));
            if !call.stalled {
                call.stalled = true;
                return Some(Late::Stalled(call.clone()));
            }
        }
        None
    }

    /// Whether a call is under way to such an address.
    pub(super) fn any(&self, mut is_such: impl FnMut(SocketAddr) -> bool) -> bool {
        self.calls.values().any(|call| is_such(call.to))
    }

    pub(super) fn next_time(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// How long an answer is waited for before others are asked instead.
    pub(super) fn stall_time(&self) -> Duration {
        self.rtt.stall_time
    }
}

/// Round-trip times as weights in steps of [`RTT_STEP_MS`]; what is old decays.
struct Rtt {
    weights: [f32; RTT_BUCKETS],
    total: f32,
    /// After what time a call stalls.
    stall_time: Duration,
}

impl Default for Rtt {
    /// Before anything is known: up to half a second (Jiménez 2011: 90% of mainline's answers come within that).
    fn default() -> Rtt {
        let mut rtt = Rtt { weights: [0.0; RTT_BUCKETS], total: 0.0, stall_time: Duration::ZERO };
        for step in 0..50 {
            rtt.weights[step] = 0.1;
            rtt.total += 0.1;
        }
        rtt.learn();
        rtt
    }
}

impl Rtt {
    fn note(&mut self, rtt: Duration) {
        let millis = u64::try_from(rtt.as_millis()).unwrap_or(u64::MAX);
        let step = usize::try_from(millis / RTT_STEP_MS).map_or(RTT_BUCKETS - 1, |step| step.min(RTT_BUCKETS - 1));
        // Half of the weight is in the last 70 answers.
        for weight in &mut self.weights {
            *weight *= 0.99;
        }
        self.total = self.total.mul_add(0.99, 1.0);
        self.weights[step] += 1.0;
        self.learn();
    }

    /// The upper end of the step in which this share of the answers had come.
    fn quantile(&self, share: f32) -> Duration {
        let mut sum = 0.0;
        let step = self.weights.iter().position(|weight| {
            sum += weight;
            sum >= self.total * share
        });
        let steps = step.unwrap_or(RTT_BUCKETS - 1) as u64 + 1;
        Duration::from_millis(steps * RTT_STEP_MS)
    }

    fn learn(&mut self) {
        self.stall_time = self.quantile(0.9).max(self.quantile(0.1) + STALL_MARGIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, n], 5000))
    }

    fn calls() -> (Calls<u8>, Rng) {
        (Calls::new(4), Rng::new([1; 32]))
    }

    #[test]
    fn an_answer_counts_once_and_only_from_where_it_was_asked() {
        let (mut calls, mut rng) = calls();
        let tx = calls.begin(address(1), None, 7, Time(0), &mut rng).expect("room");
        assert!(calls.answered(&tx, address(2)).is_none());
        assert!(calls.answered(b"none", address(1)).is_none());
        assert_eq!(calls.answered(&tx, address(1)).expect("ours").purpose, 7);
        assert!(calls.answered(&tx, address(1)).is_none());
        assert_eq!((calls.len(), calls.next_time()), (0, None));
    }

    #[test]
    fn a_call_stalls_and_may_still_be_answered_or_is_lost() {
        let (mut calls, mut rng) = calls();
        let late = calls.begin(address(1), None, 1, Time(0), &mut rng).expect("room");
        calls.begin(address(2), None, 2, Time(0), &mut rng).expect("room");
        let stall = Time(0) + calls.stall_time();
        assert!(calls.late(stall - Duration::from_millis(1)).is_none());
        assert!(
            matches!(calls.late(stall), Some(Late::Stalled(_)))
                && matches!(calls.late(stall), Some(Late::Stalled(_)))
        );
        assert!(calls.late(stall).is_none());
        assert!(calls.answered(&late, address(1)).expect("it still counts").stalled);
        assert!(matches!(calls.late(Time(0) + CALL_TIME), Some(Late::Lost(call)) if call.purpose == 2));
        assert!(calls.late(Time(u64::MAX)).is_none() && calls.len() == 0);
    }

    #[test]
    fn the_stall_time_follows_the_answers() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.stall_time, Duration::from_millis(450));
        (0..300).for_each(|_| rtt.note(Duration::from_millis(3)));
        assert_eq!(rtt.stall_time, Duration::from_millis(110));
        (0..300).for_each(|n| rtt.note(Duration::from_millis(20 + n % 10 * 20)));
        assert!((180..=220).contains(&rtt.stall_time.as_millis()), "{:?}", rtt.stall_time);
        (0..300).for_each(|_| rtt.note(Duration::from_secs(60)));
        assert!(rtt.stall_time <= Duration::from_secs(1) + STALL_MARGIN);
    }

    #[test]
    fn a_burst_of_late_answers_at_most_doubles_the_stall_time_and_a_slow_link_is_learnt() {
        let (mut calls, mut rng) = calls();
        let mut now = Time(0);
        let mut round = |calls: &mut Calls<u8>, count, ms| {
            let begun: Vec<_> =
                (0..count).map(|_| calls.begin(address(1), None, 0, now, &mut rng).expect("room")).collect();
            now = now + Duration::from_millis(ms);
            while calls.late(now).is_some() {}
            for tx in begun {
                let call = calls.answered(&tx, address(1)).expect("it was begun");
                calls.note_round_trip(&call, now);
            }
        };
        (0..300).for_each(|_| round(&mut calls, 1, 60));
        let before = calls.stall_time();
        assert_eq!(before, Duration::from_millis(170));
        round(&mut calls, 200, 9000);
        assert!(calls.stall_time() <= 2 * before + STALL_MARGIN, "{:?}", calls.stall_time());
        (0..300).for_each(|_| round(&mut calls, 1, 60));
        assert_eq!(calls.stall_time(), before);
        (0..100).for_each(|_| round(&mut calls, 8, 700));
        assert!(calls.stall_time() >= Duration::from_millis(700), "{:?}", calls.stall_time());
    }

    #[test]
    fn calls_are_bounded() {
        let (mut calls, mut rng) = calls();
        for _ in 0..CALLS {
            calls.begin(address(1), None, 0, Time(0), &mut rng).expect("room");
        }
        assert!(calls.begin(address(1), None, 0, Time(0), &mut rng).is_none());
    }
}
