//! The peers as all flights know them: how fast each is, how busy, and whether it is worth asking now.
//!
//! Also the patience: what asking neighbours and the mirror has cost so far. Both forget: what was long ago counts less.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::limits::{
    HEAD_START_MAX, LOOKUP_COST, LOOKUP_COST_MAX, LOOKUP_COST_MIN, MIRROR_RATE_ENOUGH, NEIGHBOUR_REST_MAX,
    PEER_REST_MAX, PEER_REST_TIME, PEERS_KNOWN, RUNS_PER_NEIGHBOUR, RUNS_PER_STRANGER, TRIAL_PAUSE,
};
use crate::time::Time;

/// What is known of a peer.
#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    is_neighbour: bool,
    /// Bytes a second that it gave, recent runs counting most.
    rate: Option<u64>,
    runs: usize,
    /// It asked for a pause, or lied.
    paused_until: Time,
    /// It was silent, slow or broken …
    missed_until: Time,
    /// … at this time last, …
    missed: Time,
    /// … and so often in a row.
    misses: u32,
    /// It is asked although it rests, to see whether it is back …
    is_on_trial: bool,
    /// … and was at this time last.
    tried: Time,
    used: Time,
}

impl Peer {
    fn rests_until(&self) -> Time {
        self.paused_until.max(self.missed_until)
    }
}

/// All peers that any flight knows of.
#[derive(Default)]
pub(super) struct Roster {
    peers: HashMap<SocketAddr, Peer>,
    /// Bytes a second that mirrors gave of late.
    mirror_rate: Option<u64>,
    pub(super) patience: Patience,
}

impl Roster {
    /// Takes note of a peer. Full: the one that was used longest ago is forgotten, unless it is busy.
    pub(super) fn meet(&mut self, address: SocketAddr, is_neighbour: bool, now: Time) {
        if self.peers.len() >= PEERS_KNOWN && !self.peers.contains_key(&address) {
            let idle = self.peers.iter().filter(|(_, peer)| peer.runs == 0 && peer.rests_until() <= now);
            if let Some(oldest) = idle.min_by_key(|(_, peer)| peer.used).map(|(address, _)| *address) {
                self.peers.remove(&oldest);
            }
        }
        if self.peers.len() < PEERS_KNOWN || self.peers.contains_key(&address) {
            let peer = self.peers.entry(address).or_insert(Peer { used: now, ..Peer::default() });
            peer.is_neighbour |= is_neighbour;
        }
    }

    pub(super) fn is_neighbour(&self, address: SocketAddr) -> bool {
        self.peers.get(&address).is_some_and(|peer| peer.is_neighbour)
    }

    /// Whether it can be given another run now.
    pub(super) fn is_free(&self, address: SocketAddr, now: Time) -> bool {
        self.peers.get(&address).is_some_and(|peer| {
            let runs_max = if peer.is_neighbour { RUNS_PER_NEIGHBOUR } else { RUNS_PER_STRANGER };
            // One that was not tried yet, or failed last, has to show itself first.
            let runs_max = if peer.rate.is_none() || peer.misses > 0 { 1 } else { runs_max };
            peer.runs < runs_max && peer.rests_until() <= now
        })
    }

    /// When one that rests since it missed something may be asked where nobody else gives anything: it may be back.
    pub(super) fn trial_at(&self, address: SocketAddr, now: Time) -> Option<Time> {
        let peer = self.peers.get(&address)?;
        let at = peer.paused_until.max(peer.missed + TRIAL_PAUSE).max(peer.tried + TRIAL_PAUSE);
        (peer.missed_until > now && peer.runs == 0).then_some(at)
    }

    /// Whether one that rests is being asked just now.
    pub(super) fn is_on_trial(&self, address: SocketAddr, now: Time) -> bool {
        self.peers.get(&address).is_some_and(|peer| peer.is_on_trial && peer.paused_until <= now)
    }

    /// When it may be asked again.
    pub(super) fn rests_until(&self, address: SocketAddr) -> Time {
        self.peers.get(&address).map_or(Time(u64::MAX), Peer::rests_until)
    }

    pub(super) fn rate(&self, address: SocketAddr) -> Option<u64> {
        self.peers.get(&address).and_then(|peer| peer.rate)
    }

    /// Whether a mirror, at this rate or else at that of late, needs no help of strangers: it brings so many bytes before a
    /// lookup could end, or more in a second than strangers would. That is not looked up.
    pub(super) fn is_short(&self, len: u64, rate: Option<u64>) -> bool {
        rate.or(self.mirror_rate).is_some_and(|rate| {
            rate >= MIRROR_RATE_ENOUGH
                || Duration::from_millis(len.saturating_mul(1000) / rate.max(1)) < self.patience.lookup_cost()
        })
    }

    pub(super) fn note_mirror_rate(&mut self, rate: u64) {
        self.mirror_rate = Some(self.mirror_rate.map_or(rate, |known| (known + rate) / 2));
    }

    /// How much it is to be preferred: neighbours, then the fast, then the unknown, last who failed.
    pub(super) fn rank(&self, address: SocketAddr) -> (bool, bool, u64) {
        self.peers
            .get(&address)
            .map_or((false, false, 0), |peer| (peer.misses == 0, peer.is_neighbour, peer.rate.unwrap_or(1)))
    }

    pub(super) fn begin(&mut self, address: SocketAddr, now: Time) {
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.runs += 1;
            if peer.missed_until > now {
                (peer.is_on_trial, peer.tried) = (true, now);
            }
            peer.used = now;
        }
    }

    pub(super) fn end(&mut self, address: SocketAddr) {
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.runs = peer.runs.saturating_sub(1);
            peer.is_on_trial &= peer.runs > 0;
        }
    }

    /// It gave `bytes` within `time`.
    pub(super) fn served(&mut self, address: SocketAddr, bytes: u64, time: Duration) {
        if let Some(peer) = self.peers.get_mut(&address) {
            let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
            let rate = bytes.saturating_mul(1000) / millis;
            peer.rate = Some(peer.rate.map_or(rate, |known| (known + rate) / 2));
            peer.misses = 0;
        }
    }

    /// It answered what it was asked at the time `begun`: if it was asked although it rested, its rest is over.
    pub(super) fn answered(&mut self, address: SocketAddr, begun: Time) {
        if let Some(peer) = self.peers.get_mut(&address).filter(|peer| peer.missed < begun) {
            peer.missed_until = Time(0);
        }
    }

    /// It was silent, slow or broken: it rests, each time twice as long. What several runs meet at once is one time: a neighbour
    /// that starts anew is not to be left alone for hours.
    pub(super) fn failed(&mut self, address: SocketAddr, now: Time) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        (peer.missed, peer.is_on_trial) = (now, false);
        if peer.rests_until() <= now {
            let rest = PEER_REST_TIME * 2_u32.pow(peer.misses.min(16));
            let rest_max = if peer.is_neighbour { NEIGHBOUR_REST_MAX } else { PEER_REST_MAX };
            peer.misses += 1;
            peer.missed_until = now + rest.min(rest_max);
        }
    }

    /// It asked for a pause, or is not to be asked for so long.
    pub(super) fn rest(&mut self, address: SocketAddr, until: Time) {
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.paused_until = peer.paused_until.max(until);
        }
    }
}

/// Durations, sorted by their powers of two in milliseconds; the old ones fade.
#[derive(Default)]
pub(super) struct Histogram([u32; 16]);

impl Histogram {
    /// Counts one; when there are many, all fade by half.
    pub(super) fn note(&mut self, took: Duration) {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let bucket = usize::try_from(u64::BITS - millis.leading_zeros()).expect("a small number");
        let last = self.0.len() - 1;
        self.0[bucket.min(last)] += 2;
        if self.0.iter().sum::<u32>() > 128 {
            self.0.iter_mut().for_each(|count| *count /= 2);
        }
    }

    /// The time within which `percent` of them were; `None` when too few are known.
    pub(super) fn within(&self, percent: u32) -> Option<Duration> {
        let all: u32 = self.0.iter().sum();
        if all < 8 {
            return None;
        }
        let mut sum = 0;
        let bucket = self.0.iter().position(|count| {
            sum += count;
            sum * 100 >= all * percent
        })?;
        Some(Duration::from_millis(1 << bucket))
    }
}

/// What asking has cost: how long neighbours and mirrors take for small files, how often neighbours have what is asked, and
/// how long it takes until strangers help.
#[derive(Default)]
pub(super) struct Patience {
    pub(super) neighbour: Histogram,
    pub(super) mirror: Histogram,
    /// From the beginning of a lookup to its first peer.
    pub(super) lookup: Histogram,
    /// From an ask of a stranger to the head of its answer, the handshake included.
    pub(super) stranger: Histogram,
    /// Of 256 asks of late, how many a neighbour could serve.
    hits: u32,
}

impl Patience {
    /// A neighbour answered an ask for a small file, or did not.
    pub(super) fn note_neighbour(&mut self, served: Option<Duration>) {
        self.hits -= self.hits / 8;
        if let Some(took) = served {
            self.hits += 32;
            self.neighbour.note(took);
        }
    }

    /// How long the mirror is not asked while neighbours are: only where it is most likely slower than they are.
    pub(super) fn head_start(&self) -> Duration {
        match (self.neighbour.within(90), self.mirror.within(50)) {
            (Some(neighbour), Some(mirror)) if self.hits >= 128 && neighbour * 2 <= mirror => {
                neighbour.min(HEAD_START_MAX)
            }
            _ => Duration::ZERO,
        }
    }

    /// How long it takes from the beginning of a lookup until strangers help. What the mirror brings within that is not
    /// looked up.
    pub(super) fn lookup_cost(&self) -> Duration {
        let (lookup, stranger) = (self.lookup.within(50), self.stranger.within(50));
        let known = lookup.map(|lookup| lookup + stranger.unwrap_or_default());
        known.unwrap_or(LOOKUP_COST).clamp(LOOKUP_COST_MIN, LOOKUP_COST_MAX)
    }

    /// A mirror that takes longer than this for a small file is slow. Who has waited for as long as the other way takes
    /// never waits for more than twice what was needed, whatever the mirror does then.
    pub(super) fn mirror_is_slow_after(&self) -> Duration {
        let other_way = self.lookup_cost();
        self.mirror.within(90).map_or(other_way, |usual| (usual * 2).max(other_way))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_follows_what_happens_now() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.within(50), None);
        (0..100).for_each(|_| histogram.note(Duration::from_millis(3)));
        assert_eq!(histogram.within(90), Some(Duration::from_millis(4)));
        (0..200).for_each(|_| histogram.note(Duration::from_millis(100)));
        assert_eq!(histogram.within(50), Some(Duration::from_millis(128)));
    }

    #[test]
    fn neighbours_get_a_head_start_only_while_they_are_quicker_and_have_things() {
        let mut patience = Patience::default();
        assert_eq!(patience.head_start(), Duration::ZERO);
        for _ in 0..20 {
            patience.note_neighbour(Some(Duration::from_millis(1)));
            patience.mirror.note(Duration::from_millis(30));
        }
        assert_eq!(patience.head_start(), Duration::from_millis(2));
        (0..20).for_each(|_| patience.note_neighbour(None));
        assert_eq!(patience.head_start(), Duration::ZERO);
    }

    #[test]
    fn what_lookups_have_cost_says_when_the_next_one_pays() {
        let mut patience = Patience::default();
        assert_eq!(patience.lookup_cost(), LOOKUP_COST);
        for _ in 0..20 {
            patience.lookup.note(Duration::from_millis(50));
            patience.stranger.note(Duration::from_millis(30));
        }
        assert_eq!(patience.lookup_cost(), Duration::from_millis(64 + 32));
        assert_eq!(patience.mirror_is_slow_after(), Duration::from_millis(64 + 32));
        (0..20).for_each(|_| patience.mirror.note(Duration::from_millis(100)));
        assert_eq!(patience.mirror_is_slow_after(), Duration::from_millis(2 * 128));
        (0..200).for_each(|_| patience.lookup.note(Duration::from_secs(9)));
        assert_eq!(patience.lookup_cost(), LOOKUP_COST_MAX);
    }

    #[test]
    fn a_neighbour_that_was_off_all_night_is_asked_again_within_a_minute() {
        let mut roster = Roster::default();
        let [neighbour, stranger] = [[192, 168, 1, 2], [192, 0, 2, 1]].map(|ip| SocketAddr::from((ip, 9978)));
        roster.meet(neighbour, true, Time(0));
        roster.meet(stranger, false, Time(0));
        for address in [neighbour, stranger] {
            (0..20).for_each(|_| roster.failed(address, roster.rests_until(address)));
        }
        let last = roster.rests_until(neighbour);
        roster.failed(neighbour, last);
        assert_eq!(roster.rests_until(neighbour).since(last), NEIGHBOUR_REST_MAX);
        let last = roster.rests_until(stranger);
        roster.failed(stranger, last);
        assert_eq!(roster.rests_until(stranger).since(last), PEER_REST_MAX);
    }

    #[test]
    fn who_fails_rests_longer_each_time_and_a_full_roster_forgets_the_idle() {
        let mut roster = Roster::default();
        let address = |n: usize| SocketAddr::from(([192, 0, 2, 1], u16::try_from(n + 1024).expect("a port")));
        roster.meet(address(0), false, Time(0));
        assert!(roster.is_free(address(0), Time(0)));
        roster.failed(address(0), Time(0));
        let first = roster.rests_until(address(0));
        // Those that were under way beside it.
        (0..7).for_each(|n| roster.failed(address(0), Time(n)));
        assert_eq!(roster.rests_until(address(0)), first);
        roster.failed(address(0), first);
        assert_eq!(roster.rests_until(address(0)).since(first), 2 * first.since(Time(0)));
        for n in 1..=PEERS_KNOWN {
            roster.meet(address(n), false, Time(n as u64));
        }
        assert_eq!(roster.peers.len(), PEERS_KNOWN);
        assert!(roster.peers.contains_key(&address(0)), "a resting peer must not be met as a new one");
        assert!(!roster.peers.contains_key(&address(1)));
    }
}
