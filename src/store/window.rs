//! The bytes of a file through windows of the memory map, for commands that read whole caches.
//!
//! What was read leaves the page cache again: reading a cache through must not push out of memory what the network uses.
//! Each window is asked of the kernel before it is looked at, so that a disk that cannot be read is an error and not the
//! end of the process; kernels before Linux 5.14 cannot be asked, and are read from as ever. Refuses the daemon: there a
//! file might be cut while it is looked at.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memmap2::{Advice, Mmap, MmapOptions};
use rustix::fs::{Advice as FileAdvice, fadvise};

use crate::limits::{VERIFY_LEN, WINDOW_LEN};

/// Passes `len` bytes from `start` on to `visit`, piece by piece.
///
/// # Errors
/// Those of the disk; a file that is shorter is one.
pub fn each_window(file: &File, start: u64, len: u64, mut visit: impl FnMut(&[u8])) -> io::Result<()> {
    let end = start.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
    if end > file.metadata()?.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // What memory holds of the file says nothing of the disk.
    forget(file, start, len);
    let mut at = start;
    while at < end {
        let here = (end - at).min(WINDOW_LEN);
        match map(file, at, here)? {
            Some(window) => visit(&window),
            None => read(file, at, here, &mut visit)?,
        }
        forget(file, at, here);
        at += here;
    }
    Ok(())
}

/// A window whose pages are in memory; `None` if this kernel cannot be asked for that, or maps no such file.
fn map(file: &File, at: u64, len: u64) -> io::Result<Option<Mmap>> {
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
    #[expect(unsafe_code, reason = "a memory map can only be had this way")]
    // SAFETY: the map is only read, and only for as long as `visit` looks at it. Who cuts the file in that moment ends
    // this command by a signal, with nothing half done.
    let Ok(window) = (unsafe { MmapOptions::new().offset(at).len(len).map(file) }) else { return Ok(None) };
    match window.advise(Advice::PopulateRead) {
        Ok(()) => Ok(Some(window)),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        Err(error) => Err(error),
    }
}

fn read(file: &File, at: u64, len: u64, visit: &mut impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; VERIFY_LEN];
    let (mut at, end) = (at, at + len);
    while at < end {
        let wanted = usize::try_from(end - at).map_or(VERIFY_LEN, |left| left.min(VERIFY_LEN));
        match file.read_at(&mut buffer[..wanted], at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            got => {
                visit(&buffer[..got]);
                at += got as u64;
            }
        }
    }
    Ok(())
}

/// Best effort: a file system that keeps its pages loses only the kindness.
fn forget(file: &File, at: u64, len: u64) {
    if let Some(len) = std::num::NonZeroU64::new(len) {
        fadvise(file, at, Some(len), FileAdvice::DontNeed).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_dir::TestDir;
    use super::*;

    #[test]
    fn every_byte_once_in_order_from_anywhere() {
        let dir = TestDir::new();
        let path = dir.path().join("file");
        let bytes: Vec<u8> = (0..WINDOW_LEN * 2 + 4097).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &bytes).expect("a file");
        let file = File::open(&path).expect("a file");
        let all = bytes.len();
        for (start, len) in [(0, all), (0, 0), (all, 0), (1, all - 1), (4095, 2), (4096, all - 4096), (all - 1, 1)] {
            let mut seen = Vec::new();
            each_window(&file, start as u64, len as u64, |window| seen.extend_from_slice(window)).expect("bytes");
            assert!(seen == bytes[start..start + len], "{len} bytes from {start}");
            seen.clear();
            read(&file, start as u64, len as u64, &mut |window| seen.extend_from_slice(window)).expect("bytes");
            assert!(seen == bytes[start..start + len], "{len} bytes from {start}, on an old kernel");
        }
        for (start, len) in [(0, all + 1), (all, 1), (1, all), (2, usize::MAX)] {
            assert!(each_window(&file, start as u64, len as u64, |_| ()).is_err(), "{len} bytes from {start}");
        }
    }
}
