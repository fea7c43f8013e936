//! What vouches for a draft's pieces after a crash: what the mirror said of the file, and the midstate after each piece.
//!
//! Eight bytes of magic, the head's length in four bytes, the head, then 32 bytes for each whole piece, appended as it
//! comes. A record that was cut short does not count.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::PathBuf;

use super::record::Record;
use super::{StoreError, at};
use crate::digest::Midstate;
use crate::stream::Head;

const MAGIC: &[u8; 8] = b"AP2Pjrn1";

/// A draft's journal, open.
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    /// A record could not be written whole; no more are.
    torn: bool,
}

impl Journal {
    /// Opens the journal at `path`, or makes it.
    pub(super) fn open(path: PathBuf) -> Result<Journal, StoreError> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path);
        Ok(Journal { file: file.map_err(at(&path))?, path, torn: false })
    }

    /// Begins it for a file of which the mirror said `head`.
    pub(super) fn begin(&mut self, head: &Head) -> Result<(), StoreError> {
        self.rewrite(head, &[])
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) -> Result<(), StoreError> {
        self.file.set_len(0).map_err(at(&self.path))
    }

    /// Deletes the file.
    pub(super) fn delete(&self) {
        fs::remove_file(&self.path).ok();
    }

    /// Begins it anew with these midstates.
    pub(super) fn rewrite(&mut self, head: &Head, midstates: &[Midstate]) -> Result<(), StoreError> {
        let encoded = head.encode();
        let mut bytes = MAGIC.to_vec();
        bytes.extend(u32::try_from(encoded.len()).expect("a head is short").to_be_bytes());
        bytes.extend(encoded);
        midstates.iter().for_each(|midstate| bytes.extend(midstate.0));
        self.torn = false;
        self.file.set_len(0).and_then(|()| self.file.write_all(&bytes)).map_err(at(&self.path))
    }

    /// What an earlier process wrote; `None` if that is no journal. A record that was cut short does not count.
    pub(super) fn read(&mut self) -> Result<Option<(Head, Vec<Midstate>)>, StoreError> {
        let mut bytes = Vec::new();
        (&self.file).read_to_end(&mut bytes).map_err(at(&self.path))?;
        let parsed = bytes.strip_prefix(MAGIC).and_then(|rest| {
            let (len, rest) = rest.split_first_chunk::<4>()?;
            let (head, midstates) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
            let (midstates, _) = midstates.as_chunks::<32>();
            Some((Head::decode(head).ok()?, midstates.iter().copied().map(Midstate).collect()))
        });
        Ok(parsed)
    }

    /// Without its journal a piece is fetched again after a crash; that is no reason to fail now. But a record cut short
    /// would shift all that follow, so none does.
    pub(super) fn note(&mut self, midstates: &[Midstate]) {
        let bytes: Vec<u8> = midstates.iter().flat_map(|midstate| midstate.0).collect();
        if !self.torn && self.file.write_all(&bytes).is_err() {
            self.torn = true;
        }
    }
}
