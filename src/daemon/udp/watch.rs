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
}

impl Watch {
    pub(super) fn new(families: &[Family], now: Time) -> Watch {
        let own = families.iter().map(|family| (*family, own_address(*family))).collect();
        Watch { turn_at: now, look_at: now + NETWORK_WATCH_TIME, own }
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

/// The address from which datagrams to the Internet would leave: a connected UDP socket knows it, and sends nothing.
fn own_address(family: Family) -> Option<IpAddr> {
    // Addresses of documentation (RFC 5737, RFC 3849): nobody has them, and the default route leads there.
    let (from, to): (IpAddr, IpAddr) = match family {
        Family::V4 => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        Family::V6 => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
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
        let mut watch = Watch { turn_at: Time(0), look_at: Time(0), own: vec![(Family::V4, None)] };
        for (seen, has_moved) in
            [(None, false), (at(1), true), (at(1), false), (None, false), (at(1), true), (at(2), true)]
        {
            assert_eq!(!watch.moved_to(|_| seen).is_empty(), has_moved, "{seen:?}");
        }
    }
}
