//! The routing table of one node (BEP 5, "Routing Table"): contacts that have answered, more of them nearby.
//!
//! Only who answered us is in it, so nobody gets in by being named. A contact that misses an answer is not given out to
//! others until it answers again, and gives way when its place is wanted. The first levels are wide (128, 64, 32, 16),
//! as in libtorrent: a lookup's first hop then lands close to its target.
//!
//! Contacts lie sorted by id, so whatever shares some first bits (a level, what is close to a place) lies together.

use std::net::SocketAddr;
use std::ops::Range;

use super::contact::{Contact, is_sendable};
use super::id::NodeId;
use crate::limits::{
    BUCKET_LEN, CLOSEST, FIRST_BUCKETS, NODE_FRESH_TIME, NODE_FRESH_TIME_MAX, NODE_MISSES, NODE_RETRY_TIME,
};
use crate::sorted::SortedMap;
use crate::time::Time;

/// A contact that has answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) contact: Contact,
    /// When it last answered.
    pub(super) answered: Time,
    /// When it was last asked by upkeep.
    pub(super) asked: Time,
    /// Answers missed in a row.
    pub(super) misses: u8,
    /// When it first answered.
    pub(super) since: Time,
}

pub(super) struct Table {
    own: NodeId,
    /// Sorted by id.
    entries: Vec<Entry>,
    /// The ids at each address.
    ids: SortedMap<SocketAddr, NodeId>,
}

impl Table {
    pub(super) fn new(own: NodeId) -> Table {
        Table { own, entries: Vec::new(), ids: SortedMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The node has a new id: what does not fit into the table that belongs to it is dropped.
    pub(super) fn set_own(&mut self, own: NodeId) {
        let entries = std::mem::take(&mut self.entries);
        self.ids.clear();
        self.own = own;
        for entry in entries {
            if self.has_room(&entry.contact.id) && entry.contact.id != own {
                self.insert(entry);
            }
        }
    }

    /// A contact answered.
    pub(super) fn note_answer(&mut self, contact: Contact, now: Time) {
        if contact.id == self.own {
            return;
        }
        if let Some(entry) = self.entry_mut(contact.address) {
            if entry.contact.id == contact.id {
                (entry.answered, entry.misses) = (now, 0);
                return;
            }
            // It changed its id: it is another node now.
            self.remove(contact.address);
        }
        if self.is_taken(&contact) {
            return;
        }
        if !self.has_room(&contact.id) && !self.make_room(&contact.id, now) {
            return;
        }
        self.insert(Entry { contact, answered: now, asked: now, misses: 0, since: now });
    }

    /// Whoever was at this address is there no longer.
    pub(super) fn forget(&mut self, address: SocketAddr) {
        self.remove(address);
    }

    /// A query was not answered.
    pub(super) fn note_miss(&mut self, address: SocketAddr) {
        if let Some(entry) = self.entry_mut(address) {
            entry.misses = entry.misses.saturating_add(1);
            if entry.misses >= NODE_MISSES {
                self.remove(address);
            }
        }
    }

    /// Answers missed so far do not count: it was our own network that was away.
    pub(super) fn forgive(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.misses = 0);
    }

    /// Whether a contact at this address has answered us.
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.ids.contains_key(&address)
    }

    /// What is known of the contact at this address.
    pub(super) fn at(&self, address: SocketAddr) -> Option<&Entry> {
        let at = self.position(self.ids.get(&address)?).ok()?;
        self.entries.get(at)
    }

    /// The id of the contact at this address.
    pub(super) fn id_at(&self, address: SocketAddr) -> Option<NodeId> {
        self.ids.get(&address).copied()
    }

    /// Whether this contact would get a place if it answered.
    pub(super) fn wants(&self, contact: &Contact) -> bool {
        contact.id != self.own && self.has_room(&contact.id) && !self.is_taken(contact) && !self.has(contact.address)
    }

    /// The contacts closest to a place, closest first, to be given out: without those that miss answers.
    pub(super) fn closest(&self, target: &NodeId, count: usize) -> Vec<Contact> {
        // Whoever shares more bits with the target is closer to it: the part about it is widened, bit by bit, until it
        // has enough of them.
        let (Ok(at) | Err(at)) = self.position(target);
        let (mut start, mut end) = (at, at);
        let mut near: Vec<Contact> = Vec::with_capacity(2 * count);
        let mut bits = self.common_bits_max(target);
        loop {
            let (first, last) = target.sharing(bits);
            let added = self.entries[..start].iter().rev().take_while(|entry| entry.contact.id >= first);
            let before = added.clone().count();
            near.extend(added.filter(|entry| entry.misses == 0).map(|entry| entry.contact));
            let added = self.entries[end..].iter().take_while(|entry| entry.contact.id <= last);
            let after = added.clone().count();
            near.extend(added.filter(|entry| entry.misses == 0).map(|entry| entry.contact));
            (start, end) = (start - before, end + after);
            if near.len() >= count || bits == 0 {
                break;
            }
            bits -= 1;
        }
        let distance = |contact: &Contact| contact.id.distance(target);
        near.sort_unstable_by_key(distance);
        near.truncate(count);
        near
    }

    /// Where to begin a lookup: at the closest contacts. Where there are too few, those that missed an answer are tried too:
    /// in a small network one lost datagram must not leave nobody to ask.
    pub(super) fn seeds(&self, target: &NodeId, count: usize) -> Vec<Contact> {
        let mut seeds = self.closest(target, count);
        if seeds.len() < CLOSEST {
            let doubtful = self.entries.iter().filter(|entry| entry.misses > 0).map(|entry| entry.contact);
            seeds.extend(doubtful.take(CLOSEST - seeds.len()));
        }
        seeds
    }

    /// The contact that upkeep should ask next: the one that is overdue for longest.
    pub(super) fn stalest(&mut self, now: Time) -> Option<Contact> {
        let entry = self.entries.iter_mut().min_by_key(|entry| entry.due())?;
        (entry.due() <= now).then(|| {
            entry.asked = now;
            entry.contact
        })
    }

    /// Levels from the widest to the one that our nearest contacts are in: those that lookups can fill.
    pub(super) fn levels(&self) -> usize {
        if self.entries.is_empty() { 0 } else { self.common_bits_max(&self.own) + 1 }
    }

    /// Whether a level has no room for others.
    pub(super) fn is_full(&self, level: usize) -> bool {
        self.level(level).len() >= level_room(level)
    }

    /// Where the contacts of a level lie: those that share so many first bits with us, and not one more.
    fn level(&self, level: usize) -> Range<usize> {
        self.sharing(&self.own.beside(level), level + 1)
    }

    fn has_room(&self, id: &NodeId) -> bool {
        !self.is_full(self.own.common_bits(id))
    }

    /// Drops a contact of the same level that misses answers, or was not heard of for long.
    fn make_room(&mut self, id: &NodeId, now: Time) -> bool {
        let level = &self.entries[self.level(self.own.common_bits(id))];
        let worst = level.iter().max_by_key(|entry| (entry.misses, now.since(entry.answered)));
        let Some(worst) = worst.copied() else { return false };
        if worst.misses == 0 && now < worst.due() + NODE_FRESH_TIME {
            return false;
        }
        self.remove(worst.contact.address);
        true
    }

    /// Whether its id, or its machine, is in the table with another address: one machine gets one place, or it could
    /// fill a table alone. Machines of a private network may share an address.
    fn is_taken(&self, contact: &Contact) -> bool {
        let ip = contact.address.ip();
        let is_public = is_sendable(SocketAddr::new(ip, 1024), false);
        let ports = SocketAddr::new(ip, 0)..=SocketAddr::new(ip, u16::MAX);
        self.position(&contact.id).is_ok() || is_public && self.ids.range(ports).next().is_some()
    }

    // ── the sorted list ──────────────────────────────────────────────────────────────────────────────────────────

    fn position(&self, id: &NodeId) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.contact.id.cmp(id))
    }

    fn entry_mut(&mut self, address: SocketAddr) -> Option<&mut Entry> {
        let at = self.position(self.ids.get(&address)?).ok()?;
        self.entries.get_mut(at)
    }

    fn insert(&mut self, entry: Entry) {
        if let Err(at) = self.position(&entry.contact.id) {
            self.ids.insert(entry.contact.address, entry.contact.id);
            self.entries.insert(at, entry);
        }
    }

    fn remove(&mut self, address: SocketAddr) {
        if let Some(id) = self.ids.remove(&address)
            && let Ok(at) = self.position(&id)
        {
            self.entries.remove(at);
        }
    }

    /// Where those lie that share the first `bits` bits with a place.
    fn sharing(&self, place: &NodeId, bits: usize) -> Range<usize> {
        let (first, last) = place.sharing(bits);
        let start = self.entries.partition_point(|entry| entry.contact.id < first);
        let len = self.entries[start..].partition_point(|entry| entry.contact.id <= last);
        start..start + len
    }

    /// The most first bits that any contact shares with a place: one of its neighbours in the list does.
    fn common_bits_max(&self, place: &NodeId) -> usize {
        let (Ok(at) | Err(at)) = self.position(place);
        let near = self.entries[at.saturating_sub(1)..].iter().take(2);
        near.map(|entry| place.common_bits(&entry.contact.id)).max().unwrap_or(0)
    }
}

impl Entry {
    /// When it should be asked whether it is there: who has stayed for long will stay for longer.
    fn due(&self) -> Time {
        let wait = if self.misses > 0 {
            NODE_RETRY_TIME
        } else {
            self.answered.since(self.since).clamp(NODE_FRESH_TIME, NODE_FRESH_TIME_MAX)
        };
        self.answered.max(self.asked) + wait
    }
}

fn level_room(level: usize) -> usize {
    FIRST_BUCKETS.get(level).copied().unwrap_or(BUCKET_LEN)
}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::*;

    fn contact(rng: &mut Rng, n: u32) -> Contact {
        let ip = std::net::Ipv4Addr::from(0xcb00_0000 + n);
        Contact { id: NodeId(rng.bytes()), address: SocketAddr::from((ip, 5000)) }
    }

    #[test]
    fn levels_are_full_at_their_widths_and_the_closest_are_found() {
        let mut rng = Rng::new([1; 32]);
        let own = NodeId(rng.bytes());
        let mut table = Table::new(own);
        let all: Vec<Contact> = (0..5000).map(|n| contact(&mut rng, n)).collect();
        all.iter().for_each(|contact| table.note_answer(*contact, Time(0)));
        for level in 0..6 {
            assert_eq!(table.level(level).len(), level_room(level), "level {level}");
        }
        // What is closest to us is all there.
        let mut nearest = all.clone();
        nearest.sort_by_key(|contact| contact.id.distance(&own));
        assert_eq!(table.closest(&own, 8), nearest[..8]);
        assert!(table.levels() >= 10 && table.len() < 400);
    }

    #[test]
    fn who_misses_answers_is_not_given_out_and_then_goes() {
        let mut rng = Rng::new([2; 32]);
        let mut table = Table::new(NodeId(rng.bytes()));
        let one = contact(&mut rng, 1);
        table.note_answer(one, Time(0));
        table.note_miss(one.address);
        assert!(table.closest(&one.id, 8).is_empty() && table.has(one.address));
        assert_eq!(table.seeds(&one.id, 8), [one], "there is nobody else to ask");
        table.note_answer(one, Time(1));
        assert_eq!(table.closest(&one.id, 8), [one]);
        (0..NODE_MISSES).for_each(|_| table.note_miss(one.address));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn one_machine_has_one_place() {
        let mut rng = Rng::new([3; 32]);
        let mut table = Table::new(NodeId(rng.bytes()));
        let one = contact(&mut rng, 1);
        table.note_answer(one, Time(0));
        let many = |port, rng: &mut Rng| Contact {
            id: NodeId(rng.bytes()),
            address: SocketAddr::new(one.address.ip(), port),
        };
        (2000..2100).for_each(|port| table.note_answer(many(port, &mut rng), Time(0)));
        assert_eq!(table.len(), 1);
        // Its new id replaces the former.
        let renamed = Contact { id: NodeId(rng.bytes()), ..one };
        table.note_answer(renamed, Time(0));
        assert_eq!(table.closest(&one.id, 8), [renamed]);
        // Nobody takes the place of an id.
        let thief = Contact { id: renamed.id, ..contact(&mut rng, 9) };
        table.note_answer(thief, Time(0));
        assert_eq!(table.closest(&one.id, 8), [renamed]);
    }

    #[test]
    fn upkeep_asks_who_was_not_heard_of_for_longest() {
        let mut rng = Rng::new([4; 32]);
        let mut table = Table::new(NodeId(rng.bytes()));
        let (old, new) = (contact(&mut rng, 1), contact(&mut rng, 2));
        table.note_answer(old, Time(0));
        table.note_answer(new, Time(5000));
        let due = Time(0) + NODE_FRESH_TIME;
        assert_eq!(table.stalest(due), Some(old));
        assert_eq!(table.stalest(due), None);
        assert_eq!(table.stalest(due + std::time::Duration::from_secs(5)), Some(new));
    }

    #[test]
    fn a_new_id_keeps_what_fits() {
        let mut rng = Rng::new([5; 32]);
        let mut table = Table::new(NodeId(rng.bytes()));
        (0..3000).for_each(|n| table.note_answer(contact(&mut rng, n), Time(0)));
        let before = table.len();
        table.set_own(NodeId(rng.bytes()));
        assert!(table.len() > before / 3 && table.len() <= before);
        assert!((0..20).all(|level| table.level(level).len() <= level_room(level)));
    }
}
