//! What vouches for a draft's pieces after a crash: what the mirror said of the file, and the midstate after each piece.
//!
//! Eight bytes of magic, the head's length in four bytes, the head, then 32 bytes for each whole piece, appended as it
//! comes. A record that was cut short does not count. There is none before [`JOURNAL_PIECES`] whole pieces: most packages are
//! shorter, and a second file for each costs more than to fetch the few again that the end of the process meets. A download
//! that fails leaves one from its first piece on.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;

use super::record::Record;
use super::{StoreError, at};
use crate::digest::Midstate;
use crate::limits::JOURNAL_PIECES;
use crate::stream::Head;

const MAGIC: &[u8; 8] = b"AP2Pjrn1";

/// A draft's journal.
pub(super) struct Journal {
    path: PathBuf,
    state: State,
}

enum State {
    /// No file of ours; what the mirror said, once that is known.
    Absent(Option<Head>),
    Open(File),
    /// A record could not be written whole; no more are.
    Torn(File),
}

impl Journal {
    /// The journal at `path`, if an earlier process left one there.
    pub(super) fn open(path: PathBuf) -> Result<Journal, StoreError> {
        let state = match OpenOptions::new().read(true).append(true).open(&path) {
            Ok(file) => State::Open(file),
            Err(error) if error.kind() == ErrorKind::NotFound => State::Absent(None),
            Err(error) => return Err(at(&path)(error)),
        };
        Ok(Journal { path, state })
    }

    /// Begins it for a file of which the mirror said `head`.
    pub(super) fn begin(&mut self, head: &Head) -> Result<(), StoreError> {
        match &mut self.state {
            State::Absent(known) => {
                *known = Some(head.clone());
                Ok(())
            }
            State::Open(_) | State::Torn(_) => self.rewrite(head, &[]),
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) -> Result<(), StoreError> {
        match &mut self.state {
            State::Absent(known) => {
                *known = None;
                Ok(())
            }
            State::Open(file) | State::Torn(file) => file.set_len(0).map_err(at(&self.path)),
        }
    }

    /// Where its file lies, if there is one.
    pub(super) fn file(&self) -> Option<PathBuf> {
        (!matches!(self.state, State::Absent(_))).then(|| self.path.clone())
    }

    /// Deletes the file.
    pub(super) fn delete(&self) {
        if let Some(path) = self.file() {
            fs::remove_file(path).ok();
        }
    }

    /// Begins it anew with these midstates.
    pub(super) fn rewrite(&mut self, head: &Head, midstates: &[Midstate]) -> Result<(), StoreError> {
        let encoded = head.encode();
        let mut bytes = MAGIC.to_vec();
        bytes.extend(u32::try_from(encoded.len()).expect("a head is short").to_be_bytes());
        bytes.extend(encoded);
        midstates.iter().for_each(|midstate| bytes.extend(midstate.0));
        let mut file = match std::mem::replace(&mut self.state, State::Absent(None)) {
            State::Open(file) | State::Torn(file) => file,
            State::Absent(_) => {
                let file = OpenOptions::new().read(true).append(true).create(true).open(&self.path);
                file.map_err(at(&self.path))?
            }
        };
        let written = file.set_len(0).and_then(|()| file.write_all(&bytes));
        self.state = if written.is_ok() { State::Open(file) } else { State::Torn(file) };
        written.map_err(at(&self.path))
    }

    /// What an earlier process wrote; `None` if that is no journal. A record that was cut short does not count.
    pub(super) fn read(&mut self) -> Result<Option<(Head, Vec<Midstate>)>, StoreError> {
        let State::Open(file) = &mut self.state else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(at(&self.path))?;
        let parsed = bytes.strip_prefix(MAGIC).and_then(|rest| {
            let (len, rest) = rest.split_first_chunk::<4>()?;
            let (head, midstates) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
            let (midstates, _) = midstates.as_chunks::<32>();
            Some((Head::decode(head).ok()?, midstates.iter().copied().map(Midstate).collect()))
        });
        Ok(parsed)
    }

    /// Notes pieces that came: of `all`, those from `first_new` on. Without its journal a piece is fetched again after a crash;
    /// that is no reason to fail now. But a record cut short would shift all that follow, so none does.
    pub(super) fn note(&mut self, all: &[Midstate], first_new: usize) {
        if first_new == all.len() {
            return;
        }
        match &mut self.state {
            State::Absent(_) if all.len() < JOURNAL_PIECES => {}
            State::Absent(_) => self.begin_file(all),
            State::Open(file) => {
                let bytes: Vec<u8> = all[first_new..].iter().flat_map(|midstate| midstate.0).collect();
                if file.write_all(&bytes).is_err()
                    && let State::Open(file) = std::mem::replace(&mut self.state, State::Absent(None))
                {
                    self.state = State::Torn(file);
                }
            }
            State::Torn(_) => {}
        }
    }

    /// Makes its file if there is none yet and there are pieces to vouch for.
    pub(super) fn begin_file(&mut self, all: &[Midstate]) {
        if let State::Absent(head) = &mut self.state
            && !all.is_empty()
            && let Some(head) = head.take()
            && let Err(error) = self.rewrite(&head, all)
        {
            log::debug!("{error}");
        }
    }
}
