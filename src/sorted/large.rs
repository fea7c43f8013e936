//! A map and a set of many thousands, in blocks of a sorted vector.
//!
//! What comes or goes moves what lies behind it in its block, and now and then the list of blocks: with 20,000 entries some tens
//! of kilobytes at most. Of two blocks side by side never both are less than a quarter full.

use std::ops::RangeBounds;
use std::slice;

use super::is_before;

/// Entries of a block: few enough to be moved at each change, and so many that the blocks are few. It bounds nothing that grows.
const BLOCK_LEN: usize = 64;

/// A map, walked in the order of its keys.
pub struct LargeMap<K, V> {
    /// None of them is empty.
    blocks: Vec<Vec<(K, V)>>,
    len: usize,
}

/// Where an entry is, or would be: its block, and its place there.
struct Place {
    block: usize,
    at: usize,
    is_there: bool,
}

impl<K, V> Default for LargeMap<K, V> {
    fn default() -> Self {
        LargeMap { blocks: Vec::new(), len: 0 }
    }
}

impl<K, V> LargeMap<K, V> {
    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Drops all.
    pub fn clear(&mut self) {
        *self = LargeMap::default();
    }

    /// All entries, in order.
    pub fn iter(&self) -> Entries<'_, K, V> {
        Entries { block: [].iter(), rest: &self.blocks }
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// The values, in their keys' order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// All entries, in order, with values to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.blocks.iter_mut().flatten().map(|(key, value)| (&*key, value))
    }

    /// Keeps what `is_kept` says.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&K, &mut V) -> bool) {
        self.len = 0;
        self.blocks.retain_mut(|block| {
            block.retain_mut(|(key, value)| is_kept(key, value));
            self.len += block.len();
            !block.is_empty()
        });
        self.blocks.dedup_by(|next, block| {
            let are_few = are_few(block, next);
            if are_few {
                block.append(next);
            }
            are_few
        });
    }

    /// The entry with the greatest key.
    #[must_use]
    pub fn last(&self) -> Option<(&K, &V)> {
        self.blocks.last()?.last().map(|(key, value)| (key, value))
    }
}

impl<K: Ord, V> LargeMap<K, V> {
    fn place(&self, key: &K) -> Place {
        let ends_before = |block: &Vec<(K, V)>| block.last().is_some_and(|(last, _)| last < key);
        // What is greater than all is put at the end of the last block.
        let block = self.blocks.partition_point(ends_before).min(self.blocks.len().saturating_sub(1));
        let found =
            self.blocks.get(block).map_or(Err(0), |block| block.binary_search_by(|(other, _)| other.cmp(key)));
        let (Ok(at) | Err(at)) = found;
        Place { block, at, is_there: found.is_ok() }
    }

    /// What `key` has.
    pub fn get(&self, key: &K) -> Option<&V> {
        let place = self.place(key);
        place.is_there.then(|| &self.blocks[place.block][place.at].1)
    }

    /// The same, to change.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = self.place(key);
        place.is_there.then(|| &mut self.blocks[place.block][place.at].1)
    }

    /// Whether there is such a key.
    pub fn contains_key(&self, key: &K) -> bool {
        self.place(key).is_there
    }

    /// Gives `key` this value; the one that it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let place = self.place(&key);
        if place.is_there {
            return Some(std::mem::replace(&mut self.blocks[place.block][place.at].1, value));
        }
        self.add(place, key, value);
        None
    }

    /// What `key` has; `default` if it had nothing.
    pub fn get_or_insert(&mut self, key: K, default: V) -> &mut V {
        let place = self.place(&key);
        if place.is_there {
            return &mut self.blocks[place.block][place.at].1;
        }
        self.add(place, key, default)
    }

    fn add(&mut self, place: Place, key: K, value: V) -> &mut V {
        let Place { mut block, mut at, .. } = place;
        self.len += 1;
        match self.blocks.get_mut(block) {
            None => self.blocks.push(Vec::new()),
            Some(full) if full.len() >= BLOCK_LEN => {
                // What comes in order fills each block, and then begins the next.
                let half = if at == BLOCK_LEN { BLOCK_LEN } else { BLOCK_LEN / 2 };
                let behind = full.split_off(half);
                self.blocks.insert(block + 1, behind);
                if at >= half {
                    (block, at) = (block + 1, at - half);
                }
            }
            Some(_) => {}
        }
        self.blocks[block].insert(at, (key, value));
        &mut self.blocks[block][at].1
    }

    /// Takes out what `key` has.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.place(key);
        if !place.is_there {
            return None;
        }
        self.len -= 1;
        let (_, value) = self.blocks[place.block].remove(place.at);
        if self.blocks[place.block].is_empty() {
            self.blocks.remove(place.block);
        } else if !self.join(place.block) && place.block > 0 {
            self.join(place.block - 1);
        }
        Some(value)
    }

    /// Blocks that empty by and by become one, or there would be as many as ever: this one and the next, if so few are left.
    fn join(&mut self, block: usize) -> bool {
        let is_joined = self.blocks.get(block..=block + 1).is_some_and(|pair| are_few(&pair[0], &pair[1]));
        if is_joined {
            let mut next = self.blocks.remove(block + 1);
            self.blocks[block].append(&mut next);
        }
        is_joined
    }

    /// The entries with keys in `range`, in order.
    pub fn range<R: RangeBounds<K>>(&self, range: R) -> impl Iterator<Item = (&K, &V)> {
        let ends_before = |block: &Vec<(K, V)>| block.last().is_some_and(|(last, _)| is_before(&range, last));
        let rest = &self.blocks[self.blocks.partition_point(ends_before)..];
        let entries = match rest.split_first() {
            None => Entries { block: [].iter(), rest },
            Some((block, rest)) => {
                let first = block.partition_point(|(key, _)| is_before(&range, key));
                Entries { block: block[first..].iter(), rest }
            }
        };
        entries.take_while(move |(key, _)| range.contains(key))
    }
}

/// Whether two blocks are to be one.
fn are_few<T>(block: &[T], next: &[T]) -> bool {
    block.len() + next.len() <= BLOCK_LEN / 2
}

/// Entries of a [`LargeMap`], in order.
pub struct Entries<'a, K, V> {
    block: slice::Iter<'a, (K, V)>,
    rest: &'a [Vec<(K, V)>],
}

impl<'a, K, V> Iterator for Entries<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.block.next() {
                return Some((key, value));
            }
            let (block, rest) = self.rest.split_first()?;
            (self.block, self.rest) = (block.iter(), rest);
        }
    }
}

impl<'a, K, V> IntoIterator for &'a LargeMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Entries<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A set, walked in order.
pub struct LargeSet<T>(LargeMap<T, ()>);

impl<T> Default for LargeSet<T> {
    fn default() -> Self {
        LargeSet(LargeMap::default())
    }
}

impl<T: Ord> LargeSet<T> {
    /// Drops all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.keys()
    }

    /// Whether it is there.
    pub fn contains(&self, one: &T) -> bool {
        self.0.contains_key(one)
    }

    /// Adds it; whether it is new.
    pub fn insert(&mut self, one: T) -> bool {
        self.0.insert(one, ()).is_none()
    }

    /// Takes it out; whether it was there.
    pub fn remove(&mut self, one: &T) -> bool {
        self.0.remove(one).is_some()
    }

    /// The least.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.iter().next()
    }

    /// The greatest.
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.0.last().map(|(one, ())| one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// What each block must be, and what all of them are.
    fn whole(map: &LargeMap<u16, u16>) -> Vec<(u16, u16)> {
        assert!(
            map.blocks.iter().all(|block| (1..=BLOCK_LEN).contains(&block.len()) && block.capacity() <= BLOCK_LEN)
        );
        assert!(map.blocks.windows(2).all(|pair| !are_few(&pair[0], &pair[1])));
        let all: Vec<_> = map.iter().map(|(key, value)| (*key, *value)).collect();
        assert_eq!(all.len(), map.len());
        all
    }

    proptest! {
        #[test]
        fn it_does_what_a_tree_does(steps in proptest::collection::vec((0..20, 0..600_u16, 0..600_u16), 0..1500)) {
            let (mut tree, mut map) = (BTreeMap::new(), LargeMap::default());
            for (step, a, b) in steps {
                match step {
                    0..=11 => prop_assert_eq!(tree.insert(a, b), map.insert(a, b)),
                    12..=16 => prop_assert_eq!(tree.remove(&a), map.remove(&a)),
                    17 => prop_assert_eq!(*tree.entry(a).or_insert(b), *map.get_or_insert(a, b)),
                    18 => {
                        tree.retain(|key, _| *key % 9 != a % 9);
                        map.retain(|key, _| *key % 9 != a % 9);
                    }
                    // A run of them goes, from one end or from the middle.
                    _ => (a..a + 100).for_each(|key| assert_eq!(tree.remove(&key), map.remove(&key))),
                }
                prop_assert_eq!(tree.get(&b), map.get(&b));
                prop_assert_eq!(tree.get_mut(&a), map.get_mut(&a));
                prop_assert_eq!(tree.last_key_value(), map.last());
                prop_assert!(tree.range(b..).eq(map.range(b..)));
                let (low, high) = (a.min(b), a.max(b));
                prop_assert!(tree.range(low..=high).eq(map.range(low..=high)));
                let after = (std::ops::Bound::Excluded(low), std::ops::Bound::Unbounded);
                prop_assert!(tree.range(after).eq(map.range(after)));
            }
            prop_assert_eq!(whole(&map), tree.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_comes_in_order_fills_its_blocks_and_what_goes_leaves_few() {
        let mut map = LargeMap::default();
        (0..6400).for_each(|key| assert_eq!(map.insert(key, key), None));
        assert_eq!(map.blocks.len(), 100);
        (0..6400).filter(|key| key % 64 > 0).for_each(|key| assert_eq!(map.remove(&key), Some(key)));
        assert_eq!(whole(&map), (0..100).map(|n| (64 * n, 64 * n)).collect::<Vec<_>>());
        let mut sparse = LargeMap::default();
        (0..6400).for_each(|key| assert_eq!(sparse.insert(key, key), None));
        sparse.retain(|key, _| key % 64 == 0);
        assert_eq!(whole(&sparse), whole(&map));
    }
}
