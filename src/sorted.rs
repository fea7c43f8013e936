//! Maps and sets in sorted vectors, with the names of std's B-trees.
//!
//! A B-tree is five kilobytes of program for each pair of types, two when it is packed, and a router's flash has no room for
//! them. What has a few hundred entries is one vector here: whatever comes or goes moves all that lies behind it. Of many
//! thousands of entries what is filled in their order and emptied from its end costs nothing by that; anything else is a
//! [`LargeMap`].

mod large;

use std::borrow::Borrow;
use std::ops::RangeBounds;
use std::slice;

pub use self::large::{LargeMap, LargeSet};

/// A map, walked in the order of its keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SortedMap<K, V>(Vec<(K, V)>);

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        SortedMap(Vec::new())
    }
}

impl<K, V> SortedMap<K, V> {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        SortedMap(Vec::new())
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// All entries, in order.
    pub fn iter(&self) -> Entries<'_, K, V> {
        Entries(self.0.iter())
    }

    /// The same, with values to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    /// The values, in their keys' order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// The same, to change.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// Keeps what `is_kept` says.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain_mut(|(key, value)| is_kept(key, value));
    }

    /// Takes out the entry with the greatest key.
    pub fn pop_last(&mut self) -> Option<(K, V)> {
        self.0.pop()
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.0.binary_search_by(|(other, _)| other.borrow().cmp(key))
    }

    /// What `key` has.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().map(|at| &self.0[at].1)
    }

    /// The same, to change.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().map(|at| &mut self.0[at].1)
    }

    /// Whether there is such a key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.place(key).is_ok()
    }

    /// Gives `key` this value; the one that it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// What `key` has; `default` if it had nothing.
    pub fn get_or_insert(&mut self, key: K, default: V) -> &mut V {
        let at = match self.place(&key) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (key, default));
                at
            }
        };
        &mut self.0[at].1
    }

    /// Takes out what `key` has.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().map(|at| self.0.remove(at).1)
    }

    /// The entries with keys in `range`, in order.
    pub fn range(&self, range: impl RangeBounds<K>) -> Entries<'_, K, V> {
        let first = self.0.partition_point(|(key, _)| is_before(&range, key));
        let len = self.0[first..].partition_point(|(key, _)| range.contains(key));
        Entries(self.0[first..first + len].iter())
    }
}

fn is_before<K: Ord>(range: &impl RangeBounds<K>, key: &K) -> bool {
    use std::ops::Bound;
    match range.start_bound() {
        Bound::Included(start) => key < start,
        Bound::Excluded(start) => key <= start,
        Bound::Unbounded => false,
    }
}

impl<K: Ord, V> Extend<(K, V)> for SortedMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for SortedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = SortedMap::new();
        map.extend(entries);
        map
    }
}

/// Entries of a [`SortedMap`], in order.
#[derive(Clone, Debug)]
pub struct Entries<'a, K, V>(slice::Iter<'a, (K, V)>);

impl<'a, K, V> Iterator for Entries<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(key, value)| (key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<K, V> ExactSizeIterator for Entries<'_, K, V> {}

impl<'a, K, V> IntoIterator for &'a SortedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Entries<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K, V> IntoIterator for SortedMap<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A set, walked in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SortedSet<T>(Vec<T>);

impl<T> Default for SortedSet<T> {
    fn default() -> Self {
        SortedSet(Vec::new())
    }
}

impl<T: Ord> SortedSet<T> {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        SortedSet(Vec::new())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All, in order.
    pub fn iter(&self) -> slice::Iter<'_, T> {
        self.0.iter()
    }

    /// Whether it is there.
    pub fn contains(&self, one: &T) -> bool {
        self.0.binary_search(one).is_ok()
    }

    /// Adds it; whether it is new.
    pub fn insert(&mut self, one: T) -> bool {
        match self.0.binary_search(&one) {
            Ok(_) => false,
            Err(at) => {
                self.0.insert(at, one);
                true
            }
        }
    }

    /// Takes it out; whether it was there.
    pub fn remove(&mut self, one: &T) -> bool {
        self.0.binary_search(one).map(|at| self.0.remove(at)).is_ok()
    }

    /// The least.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.0.first()
    }

    /// Takes out the least.
    pub fn pop_first(&mut self) -> Option<T> {
        if self.0.is_empty() { None } else { Some(self.0.remove(0)) }
    }
}

impl<T: Ord> FromIterator<T> for SortedSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut set = SortedSet::new();
        for one in all {
            set.insert(one);
        }
        set
    }
}

impl<'a, T> IntoIterator for &'a SortedSet<T> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T> IntoIterator for SortedSet<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    proptest! {
        #[test]
        fn it_does_what_a_tree_does(steps in proptest::collection::vec((0..6, 0..24_u8, 0..24_u8), 0..200)) {
            let (mut tree, mut sorted) = (BTreeMap::new(), SortedMap::new());
            let (mut tree_set, mut sorted_set) = (BTreeSet::new(), SortedSet::new());
            for (step, a, b) in steps {
                match step {
                    0 | 1 => prop_assert_eq!(tree.insert(a, b), sorted.insert(a, b)),
                    2 => prop_assert_eq!(tree.remove(&a), sorted.remove(&a)),
                    3 => prop_assert_eq!(*tree.entry(a).or_insert(b), *sorted.get_or_insert(a, b)),
                    4 => prop_assert_eq!(tree.pop_last(), sorted.pop_last()),
                    _ => {
                        tree.retain(|key, _| *key % 5 != a % 5);
                        sorted.retain(|key, _| *key % 5 != a % 5);
                    }
                }
                match step {
                    0..=2 => prop_assert_eq!(tree_set.insert(a), sorted_set.insert(a)),
                    3 | 4 => prop_assert_eq!(tree_set.remove(&a), sorted_set.remove(&a)),
                    _ => prop_assert_eq!(tree_set.pop_first(), sorted_set.pop_first()),
                }
                prop_assert!(tree.iter().eq(sorted.iter()) && tree_set.iter().eq(sorted_set.iter()));
                prop_assert_eq!(tree.get(&b), sorted.get(&b));
                prop_assert_eq!(tree_set.contains(&b), sorted_set.contains(&b));
                prop_assert!(tree.range(b..).eq(sorted.range(b..)));
                let (low, high) = (a.min(b), a.max(b));
                prop_assert!(tree.range(low..=high).eq(sorted.range(low..=high)));
            }
        }
    }
}
