//! Notices that the network may be another: the machine slept, or has another address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::dht::Family;
use crate::limits::{NETWORK_WATCH_TIME, SUSPENDED_TIME};
use crate::time::Time;

/// What was seen last.
pub(super) struct Watch {
    turn_at: Time,
    look_at: Time,
    /// The address from which each family would send to the Internet; none: it has no way there.
    own: Vec<(Family, Option<IpAddr>)>,
    /// When each family's network was back last.
    back: Vec<(Family, Time)>,
}

impl Watch {
    pub(super) fn new(families: &[Family], now: Time) -> Watch {
        let own = families.iter().map(|family| (*family, own_address(*family))).collect();
        Watch { turn_at: now, look_at: now + NETWORK_WATCH_TIME, own, back: Vec::new() }
    }

    /// Whether the machine slept between this turn of the loop and the last.
    pub(super) fn has_slept(&mut self, now: Time) -> bool {
        let passed = now.since(self.turn_at);
        self.turn_at = now;
        passed >= SUSPENDED_TIME
    }

    /// Whether it is time to look at the network.
    pub(super) fn is_due(&mut self, now: Time) -> bool {
        let is_due = now >= self.look_at;
        if is_due {
            self.look_at = now + NETWORK_WATCH_TIME;
        }
        is_due
    }

    /// A family's network is back after it was lost; whether it was not just a moment ago.
    pub(super) fn is_news(&mut self, family: Family, now: Time) -> bool {
        let known = self.back.iter_mut().find(|(known, _)| *known == family);
        let is_news = known.as_ref().is_none_or(|(_, at)| now.since(*at) >= NETWORK_WATCH_TIME);
        match known {
            Some((_, at)) if is_news => *at = now,
            Some(_) => {}
            None => self.back.push((family, now)),
        }
        is_news
    }

    /// Families in which this machine has got an address, again or another one: while it had none, whoever was asked
    /// seemed to be silent.
    pub(super) fn moved(&mut self) -> Vec<Family> {
        self.moved_to(own_address)
    }

    fn moved_to(&mut self, own_address: impl Fn(Family) -> Option<IpAddr>) -> Vec<Family> {
        let mut moved = Vec::new();
        for (family, own) in &mut self.own {
            let address = own_address(*family);
            if address.is_some() && address != *own {
                moved.push(*family);
            }
            *own = address;
        }
        moved
    }
}

fn own_address(family: Family) -> Option<IpAddr> {
    way_out(match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    })
}

/// The address from which a socket that is bound to `from` would send to the Internet; none: it has no way there. A connected
/// UDP socket knows it, and sends nothing.
pub(super) fn way_out(from: IpAddr) -> Option<IpAddr> {
    // Addresses of documentation (RFC 5737, RFC 3849): nobody has them, and the default route leads there.
    let to: IpAddr = match from {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(from, 0)).ok()?;
    socket.connect(SocketAddr::new(to, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_jump_of_the_clock_is_a_suspend() {
        let mut watch = Watch::new(&[], Time(1000));
        assert!(!watch.has_slept(Time(1000) + Duration::from_secs(1)));
        assert!(watch.has_slept(Time(2000) + SUSPENDED_TIME));
        assert!(!watch.has_slept(Time(2001) + SUSPENDED_TIME));
    }

    #[test]
    fn another_address_is_a_move_and_one_after_none_too() {
        let at = |n: u8| Some(IpAddr::from([192, 168, 1, n]));
        let mut watch = Watch::new(&[], Time(0));
        watch.own.push((Family::V4, None));
        for (seen, has_moved) in
            [(None, false), (at(1), true), (at(1), false), (None, false), (at(1), true), (at(2), true)]
        {
            assert_eq!(!watch.moved_to(|_| seen).is_empty(), has_moved, "{seen:?}");
        }
    }

    #[test]
    fn a_network_that_comes_and_goes_is_joined_once_in_a_while() {
        let mut watch = Watch::new(&[], Time(0));
        let joined = |watch: &mut Watch, family| {
            (0..100).filter(|n| watch.is_news(family, Time(0) + Duration::from_secs(*n))).count()
        };
        assert_eq!([Family::V4, Family::V6].map(|family| joined(&mut watch, family)), [4, 4]);
    }
}
