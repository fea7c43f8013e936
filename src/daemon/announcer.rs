//! What is stored is announced to the network, and what is not any more is withdrawn.
//!
//! Owns the comparison of the store with what was announced so far, once in a while: whatever way a file came or went
//! (a download, `cleanup` in another process, an index that stopped naming it), the next look finds it. What was just
//! downloaded is not left for that: others want it now. The DHT spreads the announcements over time. Only files that a
//! current index of a public archive names: the store knows which. Nothing while peers do not reach us.

use std::iter;

use crossbeam_channel::{Receiver, RecvTimeoutError, select};

use super::dialled::Dialled;
use super::udp::DhtHandle;
use crate::dht::bencode::Writer;
use crate::dht::{Ask, Event, Hint, Network, item_target};
use crate::digest::{Digest, Midstate, PIECE_LEN};
use crate::fetch::{Clock, Shelf};
use crate::limits::{
    ANNOUNCE_TIME, ANNOUNCED_FILES, ANNOUNCER_FIRST_TIME, ANNOUNCER_TIME, HINT_PIECES, ITEM_PIECES, ITEMS_PER_LOOK,
    LANDED_TIME, SHARED_PAGE,
};
use crate::sorted::SortedMap;
use crate::store::{Shared, Store, StoreError};
use crate::time::Time;

/// The announcing thread's things.
pub(super) struct Announcer {
    pub(super) shelf: Shelf,
    pub(super) dht: DhtHandle,
    pub(super) clock: Clock,
    /// Files that were just downloaded.
    pub(super) landed: Receiver<Digest>,
    /// Closed when the daemon ends.
    pub(super) end: Receiver<()>,
}

/// Where a file's piece table is found by who asks for the file.
#[derive(Debug, PartialEq, Eq)]
enum Table {
    /// With a peer, over HTTP; or it has none.
    Elsewhere,
    /// In the record itself.
    Beside(Vec<u8>),
    /// In an item of its own, which has to be put.
    Item(Vec<u8>),
}

/// A file that is announced, and when its item is to be put next, if it has one.
struct Announced {
    item_due: Option<Time>,
}

impl Announcer {
    /// Works until the daemon ends.
    pub(super) fn run(&self) {
        let mut announced = SortedMap::new();
        let mut dialled = Dialled::default();
        let mut next_look = (self.clock)() + ANNOUNCER_FIRST_TIME;
        loop {
            let landed = select! {
                recv(self.end) -> _ => return,
                // Who says so lives as long as the daemon.
                recv(self.landed) -> landed => match landed {
                    Ok(digest) => Some(digest),
                    Err(_) => return,
                },
                default(next_look.since((self.clock)())) => None,
            };
            let Some(store) = self.shelf.get() else {
                next_look = (self.clock)() + ANNOUNCER_TIME;
                continue;
            };
            let mut done = Ok(());
            if dialled.come(self.dht.place(), (self.clock)()) {
                self.withdraw_all(&mut announced);
            }
            if let Some(first) = landed {
                // What lands meanwhile wakes nobody: it comes by the dozen, while apt waits.
                if self.end.recv_timeout(LANDED_TIME) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                // What lands before anybody has reached us waits for the next look.
                let is_reached = dialled.is_reached((self.clock)());
                let mut all = iter::once(first).chain(self.landed.try_iter()).filter(|_| is_reached);
                done = all.try_for_each(|digest| self.announce_landed(&store, digest, &mut announced));
            }
            if done.is_ok() && (self.clock)() >= next_look {
                next_look = (self.clock)() + ANNOUNCER_TIME;
                self.ask_to_be_dialled(&mut dialled);
                if dialled.is_reached((self.clock)()) {
                    done = self.look(&store, &mut announced);
                } else if !announced.is_empty() {
                    log::info!("peers do not reach us any more: nothing is announced");
                    self.withdraw_all(&mut announced);
                }
            }
            if let Err(error) = done {
                log::warn!("{error}; what is stored is announced later");
            }
        }
    }

    /// Announces what was just downloaded.
    fn announce_landed(
        &self,
        store: &Store,
        digest: Digest,
        announced: &mut SortedMap<Digest, Announced>,
    ) -> Result<(), StoreError> {
        let Some(stored) = store.open_shared(&digest)?.filter(|_| announced.len() < ANNOUNCED_FILES) else {
            return Ok(());
        };
        self.announce(store, digest, stored.len, announced)?;
        self.put_items(store, &SortedMap::from_iter([(digest, stored.len)]), announced)
    }

    fn announce(
        &self,
        store: &Store,
        digest: Digest,
        len: u64,
        announced: &mut SortedMap<Digest, Announced>,
    ) -> Result<(), StoreError> {
        if announced.contains_key(&digest) {
            return Ok(());
        }
        let (hint, item_due) = match table(len, store.piece_table(&digest)?, self.dht.has_secret()) {
            Table::Elsewhere => (None, None),
            Table::Beside(table) => (Hint::new(&table), None),
            Table::Item(item) => (Hint::new(&item_target(&item).0), Some(Time(0))),
        };
        self.dht.announce(self.dht.key(&digest), hint);
        announced.insert(digest, Announced { item_due });
        Ok(())
    }

    /// Compares the store with what is announced, and puts some of the items that are due.
    fn look(&self, store: &Store, announced: &mut SortedMap<Digest, Announced>) -> Result<(), StoreError> {
        let files = newest(store)?;
        let mut gone = Vec::new();
        for digest in announced.keys().filter(|digest| !files.contains_key(digest)) {
            // What was just downloaded may not be recorded yet.
            if files.len() >= ANNOUNCED_FILES || store.open_shared(digest)?.is_none() {
                gone.push(*digest);
            }
        }
        for digest in gone {
            announced.remove(&digest);
            self.dht.withdraw(self.dht.key(&digest));
        }
        for (digest, len) in &files {
            self.announce(store, *digest, *len, announced)?;
        }
        self.put_items(store, &files, announced)
    }

    fn put_items(
        &self,
        store: &Store,
        files: &SortedMap<Digest, u64>,
        announced: &mut SortedMap<Digest, Announced>,
    ) -> Result<(), StoreError> {
        let now = (self.clock)();
        let due = announced.iter_mut().filter(|(_, file)| file.item_due.is_some_and(|due| due <= now));
        let due = due.filter_map(|(digest, file)| files.get(digest).map(|len| (digest, *len, file)));
        for (digest, len, file) in due.take(ITEMS_PER_LOOK) {
            if let Table::Item(item) = table(len, store.piece_table(digest)?, self.dht.has_secret())
                && let Some(mut answers) = self.dht.ask(Ask::Put { item, network: Network::Overlay })
                && answers.any(|event| matches!(event, Event::Done { summary, .. } if summary.stored > 0))
            {
                file.item_due = Some(now + ANNOUNCE_TIME);
            }
        }
        Ok(())
    }

    /// What others were told expires by itself.
    fn withdraw_all(&self, announced: &mut SortedMap<Digest, Announced>) {
        for (digest, _) in std::mem::take(announced) {
            self.dht.withdraw(self.dht.key(&digest));
        }
    }

    /// Has peers dial our port, if it is time.
    fn ask_to_be_dialled(&self, dialled: &mut Dialled) {
        let Some(port) = dialled.due((self.clock)()) else { return };
        let mut answers = self.dht.ask(Ask::Dial { port }).into_iter().flatten();
        let reached = answers.find_map(|event| match event {
            Event::Dialled { reached, .. } => Some(reached),
            _ => None,
        });
        if dialled.note(reached, (self.clock)()) {
            log::info!("peers reach us at port {port}: what is stored is announced");
        }
    }
}

/// What may be shared: of too many files the newest, which others are most likely to want now.
fn newest(store: &Store) -> Result<SortedMap<Digest, u64>, StoreError> {
    let mut all: Vec<Shared> = Vec::new();
    let mut after = None;
    loop {
        let page = store.shared_files(after, SHARED_PAGE)?;
        after = page.last().map(|file| file.digest);
        let is_last = page.len() < SHARED_PAGE;
        all.extend(page);
        if all.len() > 2 * ANNOUNCED_FILES || is_last && all.len() > ANNOUNCED_FILES {
            all.sort_unstable_by_key(|file| std::cmp::Reverse((file.stored, file.digest)));
            all.truncate(ANNOUNCED_FILES);
        }
        if is_last {
            // In their order, so that the map that is made of them only grows at its end.
            all.sort_unstable_by_key(|file| file.digest);
            return Ok(all.into_iter().map(|file| (file.digest, file.len)).collect());
        }
    }
}

/// Where the table of a file goes: by how many pieces it has. In a network with a secret nowhere but from peer to peer: by
/// its midstates, which are the plain file's, outsiders who have the file would know it.
fn table(len: u64, midstates: Option<Vec<Midstate>>, has_secret: bool) -> Table {
    let pieces = len.div_ceil(PIECE_LEN);
    let bytes = || midstates.iter().flatten().flat_map(|midstate| midstate.0).collect::<Vec<u8>>();
    // A table that was lost is made anew when the file is verified; until then peers do without.
    let is_whole = midstates.as_ref().is_some_and(|table| table.len() as u64 + 1 == pieces);
    if !is_whole || has_secret || pieces < 2 {
        Table::Elsewhere
    } else if pieces <= HINT_PIECES {
        Table::Beside(bytes())
    } else if pieces <= ITEM_PIECES {
        let mut item = Vec::new();
        Writer::new(&mut item).bytes(&bytes());
        Table::Item(item)
    } else {
        Table::Elsewhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ITEM_LEN;

    fn midstates(pieces: usize) -> Option<Vec<Midstate>> {
        Some(vec![Midstate([7; 32]); pieces - 1])
    }

    #[test]
    fn the_table_lies_where_its_length_puts_it() {
        assert_eq!(table(PIECE_LEN, midstates(1), false), Table::Elsewhere);
        assert_eq!(table(PIECE_LEN + 1, midstates(2), false), Table::Beside(vec![7; 32]));
        assert_eq!(table(4 * PIECE_LEN, midstates(4), false), Table::Beside(vec![7; 96]));
        assert!(
            matches!(table(4 * PIECE_LEN + 1, midstates(5), false), Table::Item(item) if item.starts_with(b"128:"))
        );
        assert!(matches!(table(32 * PIECE_LEN, midstates(32), false), Table::Item(item) if item.len() <= ITEM_LEN));
        assert_eq!(table(32 * PIECE_LEN + 1, midstates(33), false), Table::Elsewhere);
        assert_eq!(table(4 * PIECE_LEN, midstates(4), true), Table::Elsewhere, "it would tell what the secret hides");
        assert_eq!(
            table(32 * PIECE_LEN, midstates(32), true),
            Table::Elsewhere,
            "it would tell what the secret hides"
        );
        assert_eq!(table(2 * PIECE_LEN, None, false), Table::Elsewhere, "it was lost");
        assert_eq!(table(3 * PIECE_LEN, midstates(2), false), Table::Elsewhere, "it is not whole");
    }
}
