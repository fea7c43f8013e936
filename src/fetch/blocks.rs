//! A mirror's body in blocks that end where a draft's do.
//!
//! What is appended to a file by whole blocks costs the kernel less than pieces which begin and end anywhere: it finds memory for
//! each at once. Nothing is held back for it while the mirror pauses.

use std::io::{self, ErrorKind, Read};
use std::sync::{Mutex, MutexGuard};

use super::let_go;
use crate::digest::PIECE_LEN;
use crate::limits::COPY_LEN;

// A peer may be writing the next piece: it is not entered before that is known.
const _: () = assert!(PIECE_LEN.is_multiple_of(COPY_LEN as u64));

/// A buffer that lies between two downloads: to map one anew for each package costs more than to fill it.
#[derive(Default)]
pub(super) struct Spare(Mutex<Option<Vec<u8>>>);

impl Spare {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.0.lock().expect("no holder of the lock panics")
    }
}

pub(super) struct Blocks<'a, R> {
    body: &'a mut R,
    spare: &'a Spare,
    buffer: Vec<u8>,
    /// Why there is no more behind the last block.
    end: Option<io::Error>,
}

impl<'a, R: Read> Blocks<'a, R> {
    pub(super) fn of(body: &'a mut R, spare: &'a Spare) -> Blocks<'a, R> {
        let buffer = spare.lock().take().unwrap_or_else(|| vec![0; COPY_LEN]);
        Blocks { body, spare, buffer, end: None }
    }

    /// The bytes up to the end of the block that holds the offset `at`, or as many as the mirror has now, at least one; none at
    /// the body's end.
    pub(super) fn next(&mut self, at: u64) -> io::Result<&[u8]> {
        if let Some(error) = self.end.take() {
            return Err(error);
        }
        let room = COPY_LEN - usize::try_from(at % COPY_LEN as u64).expect("less than a block");
        let mut filled = 0;
        while filled < room {
            let into = &mut self.buffer[filled..room];
            let read = if filled == 0 { self.body.read(into) } else { let_go::at_once(|| self.body.read(into)) };
            match read {
                Ok(0) => break,
                Ok(len) => filled += len,
                Err(error) if filled == 0 => return Err(error),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.end = Some(error);
                    break;
                }
            }
        }
        Ok(&self.buffer[..filled])
    }
}

impl<R> Drop for Blocks<'_, R> {
    fn drop(&mut self) {
        *self.spare.lock() = Some(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives these, one after the other.
    struct Script(Vec<Result<usize, ErrorKind>>);

    impl Read for Script {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some(next) = self.0.first_mut() else { return Ok(0) };
            let given = match next {
                Ok(left) => {
                    let len = into.len().min(*left);
                    *left -= len;
                    Ok(len)
                }
                Err(kind) => Err((*kind).into()),
            };
            if matches!(next, Ok(0) | Err(_)) {
                self.0.drain(..1);
            }
            given
        }
    }

    fn lengths(script: Vec<Result<usize, ErrorKind>>, mut at: u64) -> (Vec<usize>, Option<ErrorKind>) {
        let mut script = Script(script);
        let spare = Spare::default();
        let mut blocks = Blocks::of(&mut script, &spare);
        let mut lengths = Vec::new();
        loop {
            match blocks.next(at).map(<[u8]>::len) {
                Ok(0) => return (lengths, None),
                Ok(len) => {
                    lengths.push(len);
                    at += len as u64;
                }
                Err(error) => return (lengths, Some(error.kind())),
            }
        }
    }

    #[test]
    fn blocks_end_at_multiples_of_their_length_whatever_comes_at_once() {
        let pieces = vec![Ok(65_300), Ok(65_536), Ok(300), Ok(100_000)];
        assert_eq!(lengths(pieces, 0), (vec![65_536, 65_536, 65_536, 34_528], None));
        assert_eq!(lengths(vec![Ok(70_000)], 65_000), (vec![536, 65_536, 3928], None));
    }

    #[test]
    fn a_buffer_is_used_again_and_two_at_once_are_two() {
        let spare = Spare::default();
        let (mut one, mut two) = (io::empty(), io::empty());
        let first = Blocks::of(&mut one, &spare);
        let second = Blocks::of(&mut two, &spare);
        let lies_at = second.buffer.as_ptr();
        assert_ne!(first.buffer.as_ptr(), lies_at);
        drop(first);
        drop(second);
        assert_eq!(Blocks::of(&mut one, &spare).buffer.as_ptr(), lies_at);
    }

    #[test]
    fn what_is_here_is_given_while_the_mirror_pauses_and_before_it_fails() {
        let pause = || Err(ErrorKind::WouldBlock);
        assert_eq!(lengths(vec![Ok(10), pause(), Ok(20)], 0), (vec![10, 20], None));
        let cut = Err(ErrorKind::ConnectionReset);
        assert_eq!(lengths(vec![Ok(10), cut], 0), (vec![10], Some(ErrorKind::ConnectionReset)));
    }
}
