//! Addresses that did not answer: lookups leave them out for a while, the longer the more often it happened.

use std::net::{IpAddr, SocketAddr};

use crate::limits::{CALL_TIME, QUARANTINE_TIME, QUARANTINED};
use crate::sorted::SortedMap;
use crate::time::Time;

#[derive(Default)]
pub(super) struct Quarantine {
    /// Until when, and after how many silences.
    silent: SortedMap<SocketAddr, (Time, u32)>,
}

impl Quarantine {
    pub(super) fn holds(&self, address: SocketAddr, now: Time) -> bool {
        self.silent.get(&address).is_some_and(|(until, _)| *until > now)
    }

    /// Whether anybody at this machine's address was silent to us lately.
    pub(super) fn knows(&self, ip: IpAddr) -> bool {
        self.silent.range(SocketAddr::new(ip, 0)..=SocketAddr::new(ip, u16::MAX)).next().is_some()
    }

    /// It is late, and never answered before: left out until it is known whether it answers at all.
    pub(super) fn suspect(&mut self, address: SocketAddr, now: Time) {
        let silences = self.silent.get(&address).map_or(0, |(_, silences)| *silences);
        self.put(address, now + CALL_TIME, silences);
    }

    /// It did not answer.
    pub(super) fn note_silence(&mut self, address: SocketAddr, now: Time) {
        let silences = self.silent.get(&address).map_or(0, |(_, silences)| *silences);
        self.put(address, now + QUARANTINE_TIME * (1 << silences.min(6)), silences + 1);
    }

    /// It answered.
    pub(super) fn release(&mut self, address: SocketAddr) {
        self.silent.remove(&address);
    }

    /// Forgets what ended long ago.
    pub(super) fn tick(&mut self, now: Time) {
        self.silent.retain(|_, (until, _)| *until + QUARANTINE_TIME * 4 > now);
    }

    fn put(&mut self, address: SocketAddr, until: Time, silences: u32) {
        if self.silent.len() >= QUARANTINED && !self.silent.contains_key(&address) {
            let first = self.silent.iter().min_by_key(|(_, (until, _))| *until).map(|(address, _)| *address);
            first.and_then(|first| self.silent.remove(&first));
        }
        self.silent.insert(address, (until, silences));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_longer_each_time_and_an_answer_ends_it() {
        let mut quarantine = Quarantine::default();
        let one = SocketAddr::from(([203, 0, 113, 1], 5000));
        quarantine.suspect(one, Time(0));
        assert!(quarantine.holds(one, Time(1)) && !quarantine.holds(one, Time(0) + CALL_TIME));
        quarantine.note_silence(one, Time(0));
        assert!(!quarantine.holds(one, Time(0) + QUARANTINE_TIME));
        quarantine.note_silence(one, Time(0));
        assert!(quarantine.holds(one, Time(0) + QUARANTINE_TIME) && quarantine.knows(one.ip()));
        quarantine.release(one);
        assert!(!quarantine.holds(one, Time(1)));
        for n in 0..5000 {
            quarantine.note_silence(SocketAddr::from(([203, 0, 113, 2], 1024 + n)), Time(0));
        }
        assert_eq!(quarantine.silent.len(), QUARANTINED);
        quarantine.tick(Time(u64::MAX));
        assert!(quarantine.silent.is_empty());
    }
}
