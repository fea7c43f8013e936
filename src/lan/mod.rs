//! Who else runs apt-p2p on this LAN.
//!
//! Owns the list of neighbours that announce themselves by DNS-SD (`discovery`, and `responder`, which is a process of its own). Refuses to talk to them: `fetch` asks them for files, at the addresses that stand here.
//!
//! Neighbours are believed no more than strangers: what they send is checked like anything else. Being one only means
//! to be asked first, and to be served without a limit.

#[cfg(feature = "mdns")]
pub mod discovery;
#[cfg(feature = "mdns")]
pub mod responder;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::limits::NEIGHBOURS;
use crate::sorted::SortedMap;

/// Names a daemon among its neighbours: random, made anew at each start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LanId(pub [u8; 20]);

impl LanId {
    /// The id that 40 hexadecimal digits stand for.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<LanId> {
        let mut id = [0; 20];
        if hex.len() != 40 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (at, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(LanId(id))
    }
}

impl fmt::Display for LanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A daemon on this LAN that announced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its id, by which we know ourselves. None where the system announces it: OpenWrt's procd knows no such id.
    pub id: Option<LanId>,
    /// Where its peer edge listens.
    pub address: SocketAddr,
}

/// The neighbours; clones share the list.
#[derive(Clone, Debug)]
pub struct Neighbours(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    own: LanId,
    /// By the name that each announced itself under.
    announced: Mutex<SortedMap<String, Neighbour>>,
}

impl Neighbours {
    /// Nobody yet.
    #[must_use]
    pub fn new(own: LanId) -> Neighbours {
        Neighbours(Arc::new(Inner { own, announced: Mutex::default() }))
    }

    /// Our own id.
    #[must_use]
    pub fn own(&self) -> LanId {
        self.0.own
    }

    /// Those that announced themselves.
    #[must_use]
    pub fn announced(&self) -> Vec<Neighbour> {
        self.lock().values().cloned().collect()
    }

    /// Somebody announced himself, or moved; whether that was news. When too many do, the new ones are left out: the others
    /// are in use.
    pub fn note(&self, name: &str, neighbour: Neighbour) -> bool {
        let mut announced = self.lock();
        let has_room = announced.contains_key(name) || announced.len() < NEIGHBOURS;
        if neighbour.id == Some(self.0.own) || !has_room {
            return false;
        }
        announced.insert(name.to_owned(), neighbour.clone()).as_ref() != Some(&neighbour)
    }

    /// Somebody said goodbye, or was not heard of for too long.
    pub fn forget(&self, name: &str) -> Option<Neighbour> {
        self.lock().remove(name)
    }

    /// The names by which they announced themselves.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, SortedMap<String, Neighbour>> {
        self.0.announced.lock().expect("no holder of the lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> Option<LanId> {
        Some(LanId([n; 20]))
    }

    fn at(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 168, 1, n], 9978))
    }

    #[test]
    fn the_list_is_bounded_and_without_ourselves() {
        let neighbours = Neighbours::new(LanId([255; 20]));
        neighbours.note("we", Neighbour { id: id(255), address: at(99) });
        assert!(neighbours.note("a router", Neighbour { id: None, address: at(98) }), "the system announces it");
        neighbours.forget("a router");
        for n in 0..200 {
            neighbours.note(&n.to_string(), Neighbour { id: id(n), address: at(n) });
        }
        assert_eq!(neighbours.announced().len(), NEIGHBOURS);
        neighbours.note("0", Neighbour { id: id(0), address: at(250) });
        assert!(neighbours.announced().iter().any(|neighbour| neighbour.address == at(250)), "it moved");
        neighbours.forget("0");
        assert_eq!(neighbours.announced().len(), NEIGHBOURS - 1);
    }

    #[test]
    fn ids_are_texts_and_back() {
        let id = LanId(std::array::from_fn(|at| u8::try_from(at * 13).expect("small")));
        assert_eq!(LanId::from_hex(&id.to_string()), Some(id));
        for bad in ["", "00", &"g".repeat(40), &"é".repeat(20), &"0".repeat(41)] {
            assert_eq!(LanId::from_hex(bad), None, "{bad}");
        }
    }
}
