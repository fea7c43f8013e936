//! Who lied. Two lies, and the address is refused for a day after the last.
//!
//! Owns the count by address, a stranger's IPv6 by /64: whoever has one address of such a network has them all. On this LAN
//! all have the same one, so a neighbour answers for its own address alone. The store keeps the count over restarts. Who was
//! slow or served well is the plan's roster's to know.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard};

use crate::limits::{LIARS, LIES, REFUSED_TIME_S};
use crate::store::{Liar, Store};
use crate::time::Stamp;

/// Shared by all flights.
#[derive(Default)]
pub(super) struct Trust {
    known: Mutex<Known>,
    /// Held while the list is written, that an older one may not come last.
    writing: Mutex<()>,
}

#[derive(Default)]
struct Known {
    liars: Vec<Liar>,
    /// Whether the store was read.
    is_read: bool,
}

/// The address that answers for `ip`.
fn house_of(ip: IpAddr, is_neighbour: bool) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) if !is_neighbour => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        own => own,
    }
}

impl Trust {
    /// Whether nothing is to be fetched from this address.
    pub(super) fn refuses(&self, ip: IpAddr, is_neighbour: bool, store: Option<&Store>, today: Stamp) -> bool {
        // A neighbour that lied is no better where the DHT names it.
        let (known, houses) = (self.known(store), [house_of(ip, is_neighbour), house_of(ip, true)]);
        let is_refused = |liar: &Liar| houses.contains(&liar.house) && liar.lies >= LIES && counts(liar, today);
        known.liars.iter().any(is_refused)
    }

    /// This address lied; how often it has of late.
    pub(super) fn convict(&self, ip: IpAddr, is_neighbour: bool, store: Option<&Store>, today: Stamp) -> u32 {
        let (mut known, house) = (self.known(store), house_of(ip, is_neighbour));
        let former = known.liars.iter().position(|liar| liar.house == house).map(|at| known.liars.swap_remove(at));
        let lies = former.filter(|liar| counts(liar, today)).map_or(0, |liar| liar.lies) + 1;
        known.liars.retain(|liar| counts(liar, today));
        if known.liars.len() >= LIARS
            && let Some(oldest) = (0..known.liars.len()).min_by_key(|at| known.liars[*at].last)
        {
            known.liars.swap_remove(oldest);
        }
        known.liars.push(Liar { house, lies, last: today });
        drop(known);
        if let Some(store) = store {
            self.keep(store);
        }
        lies
    }

    /// Writes the list. Meanwhile it can be read: downloads wait for that, and the disk may be slow.
    fn keep(&self, store: &Store) {
        let _turn = self.writing.lock().expect("no holder of the lock panics");
        let liars = self.known(Some(store)).liars.clone();
        if let Err(error) = store.keep_liars(&liars) {
            log::warn!("{error}");
        }
    }

    fn known(&self, store: Option<&Store>) -> MutexGuard<'_, Known> {
        let mut known = self.known.lock().expect("no holder of the lock panics");
        if !known.is_read
            && let Some(store) = store
        {
            known.is_read = true;
            match store.liars() {
                Ok(liars) => known.liars.extend(liars),
                Err(error) => log::warn!("{error}"),
            }
        }
        known
    }
}

/// A clock that was set back forgives.
fn counts(liar: &Liar, today: Stamp) -> bool {
    liar.last <= today && today.secs_since(liar.last) < REFUSED_TIME_S
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn two_lies_and_the_address_is_refused_for_a_day() {
        let trust = Trust::default();
        let (liar, now) = (ip("192.0.2.1"), Stamp(1_000_000));
        assert_eq!(trust.convict(liar, false, None, now), 1);
        assert!(!trust.refuses(liar, false, None, now));
        assert_eq!(trust.convict(ip("::ffff:192.0.2.1"), false, None, Stamp(now.0 + 80_000)), 2);
        assert!(trust.refuses(liar, false, None, Stamp(now.0 + 90_000)));
        assert!(!trust.refuses(ip("192.0.2.2"), false, None, now));
        assert!(!trust.refuses(liar, false, None, Stamp(now.0 + 80_000 + REFUSED_TIME_S)));
        assert_eq!(trust.convict(liar, false, None, Stamp(now.0 + 80_000 + REFUSED_TIME_S)), 1);
    }

    #[test]
    fn a_network_of_ipv6_addresses_is_one() {
        let trust = Trust::default();
        trust.convict(ip("2001:db8::1"), false, None, Stamp(5));
        trust.convict(ip("2001:db8::2:3:4:5"), false, None, Stamp(5));
        assert!(trust.refuses(ip("2001:db8::9"), false, None, Stamp(5)));
        assert!(!trust.refuses(ip("2001:db8:0:1::9"), false, None, Stamp(5)));
    }

    #[test]
    fn a_neighbour_answers_for_itself_alone() {
        let (trust, liar, other) = (Trust::default(), ip("2001:db8::1"), ip("2001:db8::2"));
        trust.convict(liar, true, None, Stamp(5));
        assert_eq!(trust.convict(liar, true, None, Stamp(5)), 2);
        assert!(trust.refuses(liar, true, None, Stamp(5)) && trust.refuses(liar, false, None, Stamp(5)));
        assert!(!trust.refuses(other, true, None, Stamp(5)) && !trust.refuses(other, false, None, Stamp(5)));
        // Nor is it refused for what strangers at other addresses of its network did.
        trust.convict(other, false, None, Stamp(5));
        trust.convict(ip("2001:db8::3"), false, None, Stamp(5));
        assert!(trust.refuses(other, false, None, Stamp(5)) && !trust.refuses(other, true, None, Stamp(5)));
    }

    #[test]
    fn a_flood_of_liars_pushes_out_the_oldest() {
        let trust = Trust::default();
        for n in 0..=LIARS {
            let n = u32::try_from(n).expect("small");
            trust.convict(IpAddr::from(n.to_be_bytes()), false, None, Stamp(u64::from(n)));
        }
        assert_eq!(trust.known.lock().expect("no panic").liars.len(), LIARS);
    }
}
