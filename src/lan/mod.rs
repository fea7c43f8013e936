//! Who else runs apt-p2p on this LAN, and which of them fetches a file that several miss.
//!
//! Owns the list of neighbours: those that the configuration names, and those that announce themselves by DNS-SD
//! (`discovery`). Refuses to talk to them: `fetch` asks them for files, at the addresses that stand here.
//!
//! Neighbours are believed no more than strangers: what they send is checked like anything else. Being one only means
//! to be asked first, and to be served without a limit.

#[cfg(feature = "mdns")]
pub mod discovery;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::limits::NEIGHBOURS;

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
    /// Its id.
    pub id: LanId,
    /// Where its peer edge listens.
    pub address: SocketAddr,
}

/// The neighbours; clones share the list.
#[derive(Clone, Debug)]
pub struct Neighbours(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    own: LanId,
    configured: Vec<SocketAddr>,
    /// By the name that each announced itself under.
    announced: Mutex<BTreeMap<String, Neighbour>>,
}

impl Neighbours {
    /// The list as the configuration has it.
    #[must_use]
    pub fn new(own: LanId, configured: Vec<SocketAddr>) -> Neighbours {
        Neighbours(Arc::new(Inner { own, configured, announced: Mutex::default() }))
    }

    /// Our own id.
    #[must_use]
    pub fn own(&self) -> LanId {
        self.0.own
    }

    /// Where to ask, each address once: those that the configuration names, then those that announced themselves.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let mut all = self.0.configured.clone();
        for neighbour in self.lock().values() {
            if !all.contains(&neighbour.address) {
                all.push(neighbour.address);
            }
        }
        all
    }

    /// Those that announced themselves.
    #[must_use]
    pub fn announced(&self) -> Vec<Neighbour> {
        self.lock().values().cloned().collect()
    }

    /// Somebody announced himself, or moved. When too many do, the new ones are left out: the others are in use.
    pub fn note(&self, name: &str, neighbour: Neighbour) {
        if neighbour.id == self.0.own {
            return;
        }
        let mut announced = self.lock();
        if announced.contains_key(name) || announced.len() < NEIGHBOURS {
            announced.insert(name.to_owned(), neighbour);
        }
    }

    /// Somebody said goodbye, or was not heard of for too long.
    pub fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Of several daemons that miss the same file one fetches it, and the others take it from there as it grows: who that
    /// is, if not we. All that see the same neighbours come to the same answer without a word.
    #[must_use]
    pub fn elected(&self, digest: &Digest) -> Option<SocketAddr> {
        let announced = self.lock();
        let best = announced.values().min_by_key(|neighbour| rank(digest, neighbour.id))?;
        (rank(digest, best.id) < rank(digest, self.0.own)).then_some(best.address)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Neighbour>> {
        self.0.announced.lock().expect("no holder of the lock panics")
    }
}

/// Whoever has the lowest is elected: another one for each file, so that the work is shared.
fn rank(digest: &Digest, id: LanId) -> [u8; 32] {
    Sha256::new().chain_update(digest.0).chain_update(id.0).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> LanId {
        LanId([n; 20])
    }

    fn at(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 168, 1, n], 9978))
    }

    fn neighbours(own: u8, others: &[u8]) -> Neighbours {
        let neighbours = Neighbours::new(id(own), vec![]);
        others.iter().for_each(|n| neighbours.note(&n.to_string(), Neighbour { id: id(*n), address: at(*n) }));
        neighbours
    }

    #[test]
    fn all_elect_the_same_one_and_the_work_is_shared() {
        let all = [1, 2, 3, 4];
        let mut elected = [0; 5];
        for n in 0..400_u32 {
            let digest = Digest::of(&n.to_be_bytes());
            let votes: Vec<SocketAddr> =
                all.iter().map(|own| neighbours(*own, &all).elected(&digest).unwrap_or(at(*own))).collect();
            assert!(votes.windows(2).all(|pair| pair[0] == pair[1]), "{votes:?}");
            let winner = all.iter().find(|n| at(**n) == votes[0]).expect("one of them");
            elected[usize::from(*winner)] += 1;
        }
        assert!(elected[1..].iter().all(|count| (60..140).contains(count)), "{elected:?}");
        assert_eq!(neighbours(1, &[]).elected(&Digest::of(b"x")), None);
    }

    #[test]
    fn the_list_is_bounded_and_without_ourselves() {
        let neighbours = Neighbours::new(id(255), vec![at(1), at(200)]);
        neighbours.note("we", Neighbour { id: id(255), address: at(99) });
        for n in 0..200 {
            neighbours.note(&n.to_string(), Neighbour { id: id(n), address: at(n) });
        }
        assert_eq!(neighbours.announced().len(), NEIGHBOURS);
        let addresses = neighbours.addresses();
        assert_eq!(addresses[..2], [at(1), at(200)]);
        assert_eq!(addresses.iter().filter(|address| **address == at(1)).count(), 1);
        neighbours.note("0", Neighbour { id: id(0), address: at(250) });
        assert!(neighbours.addresses().contains(&at(250)), "it moved");
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
