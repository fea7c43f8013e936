//! Which pieces of one file are here, and how far they are proved.
//!
//! Owns the candidate tables and the chain: from the digest backwards, each piece that was found right under a table
//! proves the table's midstate before it. Pieces below the chain's end are provisional; a table that contradicts a proved
//! midstate is false, and so are all pieces that only it accepts.

use std::sync::Arc;

use crate::digest::{Digest, Midstate, PieceTable, pieces};
use crate::limits::{FALSE_TABLES, TABLES};

/// A piece's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Missing,
    /// Found right, and on its way to the disk.
    Writing,
    /// On the disk, and right under the table in this slot.
    Here(usize),
    /// On the disk, from a neighbour that fetches the file itself: nobody stands for it.
    Followed,
    /// On the disk and right, and all behind it too: whatever its table was.
    Proved,
}

struct Candidate {
    hash: Digest,
    table: Arc<PieceTable>,
}

/// The pieces of one file.
pub(super) struct Fill {
    cells: Vec<Cell>,
    tables: [Option<Candidate>; TABLES],
    /// Proved false; more are judged anew.
    false_tables: Vec<Digest>,
    /// The midstates before the proved pieces, the last piece's first.
    chain: Vec<Midstate>,
}

impl Fill {
    pub(super) fn new(len: u64) -> Fill {
        let count = pieces(len);
        let (cells, tables) = (vec![Cell::Missing; count], [const { None }; TABLES]);
        Fill { cells, tables, false_tables: Vec::new(), chain: Vec::new() }
    }

    pub(super) fn count(&self) -> usize {
        self.cells.len()
    }

    /// From this piece on all are here and proved.
    pub(super) fn floor(&self) -> usize {
        self.count() - self.chain.len()
    }

    /// The midstate that the pieces before the floor must lead to: none while nothing is proved.
    pub(super) fn proved(&self) -> Option<Midstate> {
        self.chain.last().copied()
    }

    pub(super) fn is_missing(&self, piece: usize) -> bool {
        self.cells[piece] == Cell::Missing
    }

    pub(super) fn is_being_written(&self, piece: usize) -> bool {
        self.cells.get(piece) == Some(&Cell::Writing)
    }

    pub(super) fn any_being_written(&self) -> bool {
        self.cells.contains(&Cell::Writing)
    }

    pub(super) fn table(&self, hash: &Digest) -> Option<Arc<PieceTable>> {
        let found = self.tables.iter().flatten().find(|candidate| candidate.hash == *hash);
        found.map(|candidate| Arc::clone(&candidate.table))
    }

    pub(super) fn hashes(&self) -> Vec<Digest> {
        self.tables.iter().flatten().map(|candidate| candidate.hash).collect()
    }

    pub(super) fn has_tables(&self) -> bool {
        self.tables.iter().any(Option::is_some)
    }

    pub(super) fn is_false(&self, hash: &Digest) -> bool {
        self.false_tables.contains(hash)
    }

    /// Takes a table as a candidate; `false` if it contradicts what is proved, or there are too many.
    pub(super) fn offer(&mut self, table: Arc<PieceTable>) -> bool {
        let hash = table.hash();
        if self.table(&hash).is_some() {
            return true;
        }
        if self.contradicts(&table) {
            self.note_false(hash);
        }
        if self.is_false(&hash) {
            return false;
        }
        let Some(free) = self.tables.iter_mut().find(|slot| slot.is_none()) else { return false };
        *free = Some(Candidate { hash, table });
        true
    }

    /// A piece was found right; `false` if it is no longer wanted.
    pub(super) fn begin_write(&mut self, piece: usize) -> bool {
        let wanted = self.cells[piece] == Cell::Missing;
        if wanted {
            self.cells[piece] = Cell::Writing;
        }
        wanted
    }

    /// A piece that was right under the table `hash` is on the disk, or could not be put there. The tables that it
    /// proves false.
    pub(super) fn end_write(&mut self, piece: usize, hash: &Digest, is_there: bool) -> Vec<Digest> {
        let slot = self.tables.iter().position(|slot| slot.as_ref().is_some_and(|known| known.hash == *hash));
        self.cells[piece] = match slot.filter(|_| is_there) {
            Some(slot) => Cell::Here(slot),
            // Its table proved false meanwhile.
            None => Cell::Missing,
        };
        self.extend_chain()
    }

    /// A piece of the neighbour that is followed is on the disk, or could not be put there.
    pub(super) fn end_followed(&mut self, piece: usize, is_there: bool) {
        if self.cells[piece] == Cell::Writing {
            self.cells[piece] = if is_there { Cell::Followed } else { Cell::Missing };
        }
    }

    /// What was followed counts no more.
    pub(super) fn forget_followed(&mut self) {
        self.cells.iter_mut().filter(|cell| **cell == Cell::Followed).for_each(|cell| *cell = Cell::Missing);
    }

    /// Whether what was followed from the first piece on, by these midstates after each piece, is right: `None` while it has
    /// not come to what is proved, or, when nothing is, to the file's end. What is right is proved.
    pub(super) fn meet_followed(&mut self, after: &[Midstate], is_whole: bool) -> Option<bool> {
        match (self.proved(), self.floor().checked_sub(1)) {
            (None, _) if is_whole => {}
            (Some(proved), Some(last)) if *after.get(last)? != proved => return Some(false),
            (Some(_), Some(_)) => {}
            _ => return None,
        }
        while let Some(piece) = self.floor().checked_sub(1)
            && self.cells[piece] == Cell::Followed
        {
            self.cells[piece] = Cell::Proved;
            self.chain.push(piece.checked_sub(1).map_or(Midstate::INITIAL, |before| after[before]));
        }
        Some(true)
    }

    /// The download from the start comes to this piece: whatever was here of it counts no more.
    pub(super) fn give_up(&mut self, piece: usize) {
        if let Some(cell @ (Cell::Here(_) | Cell::Followed)) = self.cells.get_mut(piece) {
            *cell = Cell::Missing;
        }
    }

    /// How many pieces are here that are right under this table and not proved.
    pub(super) fn pieces_under(&self, hash: &Digest) -> usize {
        let is_this = |slot: usize| self.tables[slot].as_ref().is_some_and(|known| known.hash == *hash);
        self.cells.iter().filter(|cell| matches!(cell, Cell::Here(slot) if is_this(*slot))).count()
    }

    /// Nobody stands behind this table any more: it goes, with what only it accepts.
    pub(super) fn forget(&mut self, hash: &Digest) {
        let Some(slot) = self.tables.iter().position(|slot| slot.as_ref().is_some_and(|known| known.hash == *hash))
        else {
            return;
        };
        self.tables[slot] = None;
        for cell in self.cells.iter_mut().filter(|cell| **cell == Cell::Here(slot)) {
            *cell = Cell::Missing;
        }
    }

    /// The midstates behind the floor, after each proved piece but the last.
    pub(super) fn proved_midstates(&self) -> Vec<Midstate> {
        let behind = self.chain.len().saturating_sub(1);
        self.chain[..behind].iter().rev().copied().collect()
    }

    /// Whether a piece that is right under this table is proved at once: then it may be shown.
    pub(super) fn would_be_proved(&self, piece: usize, hash: Option<&Digest>) -> bool {
        if piece + 1 != self.floor() {
            return false;
        }
        let Some(proved) = self.proved() else { return true };
        hash.and_then(|hash| self.table(hash)).and_then(|table| table.after(piece)) == Some(proved)
    }

    /// Proves what is here before the floor, piece by piece. The tables that this proves false.
    pub(super) fn extend_chain(&mut self) -> Vec<Digest> {
        let mut false_ones = Vec::new();
        while let Some(piece) = self.floor().checked_sub(1)
            && let Cell::Here(slot) = self.cells[piece]
        {
            let table = Arc::clone(&self.tables[slot].as_ref().expect("a piece that is here has its table").table);
            // The last piece was held against the digest itself.
            if table.after(piece).is_some_and(|after| Some(after) != self.proved()) {
                false_ones.extend(self.drop_false(slot));
                continue;
            }
            self.cells[piece] = Cell::Proved;
            self.chain.push(table.before(piece));
            for slot in 0..TABLES {
                if self.tables[slot].as_ref().is_some_and(|other| self.contradicts(&other.table)) {
                    false_ones.extend(self.drop_false(slot));
                }
            }
        }
        false_ones
    }

    fn contradicts(&self, table: &PieceTable) -> bool {
        self.proved().is_some_and(|proved| table.before(self.floor()) != proved)
    }

    fn drop_false(&mut self, slot: usize) -> Option<Digest> {
        let hash = self.tables[slot].as_ref()?.hash;
        self.forget(&hash);
        self.note_false(hash);
        Some(hash)
    }

    fn note_false(&mut self, hash: Digest) {
        if !self.false_tables.contains(&hash) && self.false_tables.len() < FALSE_TABLES {
            self.false_tables.push(hash);
        }
    }
}
