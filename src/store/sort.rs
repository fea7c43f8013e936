//! An index's entries in the order of their keys: sorted in runs that fit a small buffer, which lie in a file as soon as
//! there is more than one, and are read again as one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::learn::LearnReport;
use super::{StoreError, at};
use crate::digest::{Digest, NameHash};
use crate::limits::{INDEX_ENTRIES, RUN_ENTRIES, RUN_READ_ENTRIES};

/// An entry on its way: name, digest, length.
pub(super) type Item = (NameHash, Digest, u64);

const ITEM_LEN: usize = 16 + 32 + 8;

/// Why an entry was not taken.
pub(super) enum Unsorted {
    Store(StoreError),
    TooMany,
}

/// Gathers entries in sorted runs, in a file as soon as there is more than one.
pub(super) struct Sorter {
    buffer: Vec<Item>,
    path: PathBuf,
    file: Option<File>,
    /// Entries in each run of the file.
    runs: Vec<usize>,
    pub(super) total: usize,
}

impl Sorter {
    pub(super) fn new(path: PathBuf) -> Sorter {
        Sorter { buffer: Vec::new(), path, file: None, runs: Vec::new(), total: 0 }
    }

    pub(super) fn put(&mut self, item: Item) -> Result<(), Unsorted> {
        if self.total >= INDEX_ENTRIES {
            return Err(Unsorted::TooMany);
        }
        if self.buffer.len() == RUN_ENTRIES {
            self.spill().map_err(Unsorted::Store)?;
        }
        self.total += 1;
        self.buffer.push(item);
        Ok(())
    }

    fn spill(&mut self) -> Result<(), StoreError> {
        self.buffer.sort_unstable();
        let mut bytes = Vec::with_capacity(self.buffer.len() * ITEM_LEN);
        for (name, digest, len) in &self.buffer {
            bytes.extend(name.0);
            bytes.extend(digest.0);
            bytes.extend(len.to_be_bytes());
        }
        if self.file.is_none() {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&self.path);
            self.file = Some(file.map_err(at(&self.path))?);
            // Nobody else needs its name: it goes with the process, however that ends.
            fs::remove_file(&self.path).ok();
        }
        let file = self.file.as_ref().expect("made above");
        let start = self.runs.iter().sum::<usize>() * ITEM_LEN;
        file.write_all_at(&bytes, start as u64).map_err(at(&self.path))?;
        self.runs.push(self.buffer.len());
        self.buffer.clear();
        Ok(())
    }

    pub(super) fn sorted(mut self) -> Result<Sorted, StoreError> {
        let Some(file) = self.file.take() else {
            self.buffer.sort_unstable();
            let run = Run { file: None, at: 0, left: 0, buffer: self.buffer.into_iter().rev().collect() };
            return Sorted::new(vec![run], self.path);
        };
        self.file = Some(file);
        if !self.buffer.is_empty() {
            self.spill()?;
        }
        let file = std::sync::Arc::new(self.file.take().expect("put back above"));
        let mut start = 0;
        let runs = self.runs.iter().map(|len| {
            let run = Run { file: Some(file.clone()), at: start, left: *len, buffer: Vec::new() };
            start += (len * ITEM_LEN) as u64;
            run
        });
        let runs = runs.collect();
        Sorted::new(runs, self.path)
    }
}

/// One sorted run, read a little at a time.
struct Run {
    file: Option<std::sync::Arc<File>>,
    at: u64,
    left: usize,
    /// The next entries, the first of them last.
    buffer: Vec<Item>,
}

impl Run {
    fn next(&mut self, path: &std::path::Path) -> Result<Option<Item>, StoreError> {
        if self.buffer.is_empty()
            && self.left > 0
            && let Some(file) = &self.file
        {
            let count = self.left.min(RUN_READ_ENTRIES);
            let mut bytes = vec![0; count * ITEM_LEN];
            file.read_exact_at(&mut bytes, self.at).map_err(at(path))?;
            self.at += bytes.len() as u64;
            self.left -= count;
            self.buffer.extend(bytes.chunks_exact(ITEM_LEN).rev().map(item));
        }
        Ok(self.buffer.pop())
    }
}

fn item(bytes: &[u8]) -> Item {
    let name = bytes[..16].try_into().expect("an item's first part");
    let digest = bytes[16..48].try_into().expect("an item's second part");
    let len = bytes[48..ITEM_LEN].try_into().expect("an item's third part");
    (NameHash(name), Digest(digest), u64::from_be_bytes(len))
}

/// All runs as one, each name once.
pub(super) struct Sorted {
    runs: Vec<Run>,
    heads: BinaryHeap<Reverse<(Item, usize)>>,
    path: PathBuf,
}

impl Sorted {
    fn new(mut runs: Vec<Run>, path: PathBuf) -> Result<Sorted, StoreError> {
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for (n, run) in runs.iter_mut().enumerate() {
            if let Some(item) = run.next(&path)? {
                heads.push(Reverse((item, n)));
            }
        }
        Ok(Sorted { runs, heads, path })
    }

    pub(super) fn next(&mut self, report: &mut LearnReport) -> Result<Option<Item>, StoreError> {
        let Some(item) = self.pop()? else { return Ok(None) };
        report.entries += 1;
        while let Some(Reverse((other, _))) = self.heads.peek()
            && other.0 == item.0
        {
            report.contradictory += u64::from((other.1, other.2) != (item.1, item.2));
            self.pop()?;
        }
        Ok(Some(item))
    }

    fn pop(&mut self) -> Result<Option<Item>, StoreError> {
        let Some(Reverse((item, n))) = self.heads.pop() else { return Ok(None) };
        if let Some(next) = self.runs[n].next(&self.path)? {
            self.heads.push(Reverse((next, n)));
        }
        Ok(Some(item))
    }
}
