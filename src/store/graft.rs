//! A draft takes over pieces that others wrote behind its end.
//!
//! Refuses what does not join the bytes in place. The hash jumps over the pieces to their last midstate, so that each
//! byte was hashed once: by whoever checked the piece.

use std::os::unix::fs::FileExt;

use super::draft::Draft;
use super::{StoreError, at};
use crate::digest::{Midstate, PIECE_LEN, PieceHasher};
use crate::limits::VERIFY_LEN;

impl Draft {
    /// Takes over pieces that lie in the file behind the bytes in place, up to its end at `len`: each was checked, and
    /// `midstates` are those after each of them but the last. The last piece is read back and hashed, so that
    /// [`Draft::finish`] still checks the chain's end. `false`, and nothing changes, if the bytes in place do not lead to
    /// `start`, where the first of these pieces starts from.
    ///
    /// The journal, if it has begun, hears of them only now: after a crash before this, they are fetched again.
    ///
    /// # Errors
    /// Those of the disk; the draft is as it was before.
    ///
    /// # Panics
    /// When the bytes in place and `midstates` do not end where the last piece begins.
    pub fn graft(&mut self, start: Midstate, midstates: &[Midstate], len: u64) -> Result<bool, StoreError> {
        if self.hasher.at_piece_end() != Some(start) {
            return Ok(false);
        }
        let last_piece = self.len() / PIECE_LEN + midstates.len() as u64;
        assert_eq!(last_piece, (len - 1) / PIECE_LEN, "the pieces are all but the last of the file");
        let mut hasher = PieceHasher::resume(midstates.last().copied().unwrap_or(start), last_piece);
        let mut new = midstates.to_vec();
        let mut buffer = vec![0; VERIFY_LEN];
        while hasher.len() < len {
            let left = usize::try_from(len - hasher.len()).expect("at most a piece").min(VERIFY_LEN);
            self.file.read_exact_at(&mut buffer[..left], hasher.len()).map_err(at(&self.path))?;
            hasher.update(&buffer[..left], |midstate| new.push(midstate));
        }
        self.hasher = hasher;
        let first_new = self.midstates.len();
        self.midstates.append(&mut new);
        if let Some(journal) = &mut self.journal {
            journal.note(&self.midstates, first_new);
        }
        Ok(true)
    }
}
