//! What a killed process leaves for the next one: which of its drafts were finished, and what their records were to be.
//!
//! `drafts/finished-<process>.log`: for each file its digest, the record's length in four bytes, the record; one that was cut short
//! does not count. It is one file for all that wait, since to make and delete one for each package costs more than all else
//! that is done for a small one. It is locked by the process that writes it, and lies there as long as something waits.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::draft::try_lock;
use super::record::{FileRecord, Record};
use super::verify::is_named;
use super::{StoreError, at};
use crate::digest::Digest;
use crate::limits::FINISHED_LOG_LEN_MAX;

const PREFIX: &str = "finished-";
const ENDING: &str = ".log";

/// The log of this process.
#[derive(Default)]
pub(super) struct FinishedLog(Option<Open>);

struct Open {
    path: PathBuf,
    file: File,
    /// Up to the end of the last entry that was written whole.
    len: u64,
}

impl FinishedLog {
    /// Notes a finished draft.
    pub(super) fn note(&mut self, drafts: &Path, digest: &Digest, record: &FileRecord) -> Result<(), StoreError> {
        if self.0.is_none() {
            self.0 = Some(make(drafts)?);
        }
        let log = self.0.as_mut().expect("made above");
        log.append(&encode(digest, record))
    }

    /// Forgets all but what still waits.
    pub(super) fn keep(&mut self, waiting: &[(Digest, FileRecord)]) -> Result<(), StoreError> {
        if waiting.is_empty() {
            let Some(Open { path, .. }) = &self.0 else { return Ok(()) };
            // Still locked: nobody takes over what is about to go.
            let deleted = fs::remove_file(path).map_err(at(path));
            self.0 = None;
            return deleted;
        }
        let Some(log) = &mut self.0 else { return Ok(()) };
        log.file.set_len(0).map_err(at(&log.path))?;
        log.len = 0;
        log.append(&waiting.iter().flat_map(|(digest, record)| encode(digest, record)).collect::<Vec<u8>>())
    }
}

impl Open {
    /// All of it or nothing: what is cut short would hide all that follows.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if let Err(error) = self.file.write_all(bytes) {
            self.file.set_len(self.len).ok();
            return Err(at(&self.path)(error));
        }
        self.len += bytes.len() as u64;
        Ok(())
    }
}

/// Whether a file in `drafts/` is called like one of these logs.
pub(super) fn is_log(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(ENDING)
}

/// Takes up each log that no living process writes: what it says goes to `each`, which says whether it is done with that. When
/// it is done with all, the log goes.
pub(super) fn take_over(drafts: &Path, mut each: impl FnMut(Digest, FileRecord) -> bool) -> Result<(), StoreError> {
    for entry in fs::read_dir(drafts).map_err(at(drafts))?.flatten() {
        let name = entry.file_name();
        let is_log = name.to_str().is_some_and(is_log);
        let path = entry.path();
        if is_log && let Err(error) = take_over_one(&path, &mut each) {
            log::debug!("{}: {error}", path.display());
        }
    }
    Ok(())
}

fn take_over_one(path: &Path, each: &mut impl FnMut(Digest, FileRecord) -> bool) -> io::Result<()> {
    // Locked until it is deleted: this process may have the number of the one before, and begins another log meanwhile.
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    // Its process lives, or another one takes it over.
    if try_lock(&file).is_err() || !is_named(path, &file) {
        return Ok(());
    }
    let mut bytes = Vec::new();
    (&file).take(FINISHED_LOG_LEN_MAX).read_to_end(&mut bytes)?;
    let (mut rest, mut is_done) = (&bytes[..], true);
    while let Some((digest, record, behind)) = decode(rest) {
        rest = behind;
        match record {
            Some(record) => is_done &= each(digest, record),
            None => log::debug!("{}: the record of {digest} is damaged", path.display()),
        }
    }
    if is_done { fs::remove_file(path) } else { Ok(()) }
}

/// An empty log that nobody else writes or takes over: processes that share the folder from two containers may have the same
/// number, and one that was killed may have left its own.
fn make(drafts: &Path) -> Result<Open, StoreError> {
    let mut last = None;
    for n in 0..8 {
        let path = drafts.join(format!("{PREFIX}{}-{n}{ENDING}", std::process::id()));
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path);
        match file.and_then(|file| try_lock(&file).map(|()| file)) {
            Ok(file) if is_named(&path, &file) && file.metadata().is_ok_and(|metadata| metadata.len() == 0) => {
                return Ok(Open { path, file, len: 0 });
            }
            Ok(_) => {}
            Err(error) => last = Some(at(&path)(error)),
        }
    }
    Err(last.unwrap_or_else(|| at(drafts)(io::ErrorKind::AlreadyExists.into())))
}

fn encode(digest: &Digest, record: &FileRecord) -> Vec<u8> {
    let record = record.encode();
    let len = u32::try_from(record.len()).expect("a record is short");
    [&digest.0[..], &len.to_be_bytes(), &record].concat()
}

/// The first entry, its record if that can be read, and what lies behind it.
fn decode(bytes: &[u8]) -> Option<(Digest, Option<FileRecord>, &[u8])> {
    let (digest, rest) = bytes.split_first_chunk::<32>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (record, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
    Some((Digest(*digest), FileRecord::decode(record).ok(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::test_dir::TestDir;
    use crate::time::Stamp;

    fn record(len: u64) -> FileRecord {
        FileRecord {
            stored: Stamp(1),
            unreferenced: Stamp(0),
            public: true,
            owner: None,
            len,
            head: crate::stream::Head::default(),
        }
    }

    fn taken(dir: &Path, is_done: bool) -> Vec<(Digest, u64)> {
        let mut all = Vec::new();
        take_over(dir, |digest, record| {
            all.push((digest, record.len));
            is_done
        })
        .expect("a folder");
        all
    }

    #[test]
    fn a_log_is_taken_over_when_its_process_is_gone_and_until_all_is_done() {
        let dir = TestDir::new();
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let mut log = FinishedLog::default();
        log.note(dir.path(), &one, &record(10)).expect("room");
        log.note(dir.path(), &two, &record(20)).expect("room");
        assert_eq!(taken(dir.path(), true), [], "its process lives");
        drop(log);
        assert_eq!(taken(dir.path(), false), [(one, 10), (two, 20)]);
        // What begins now leaves that alone, though it is another log of the same process.
        let mut log = FinishedLog::default();
        log.note(dir.path(), &one, &record(30)).expect("room");
        assert_eq!(taken(dir.path(), true), [(one, 10), (two, 20)]);
        log.keep(&[]).expect("ours");
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn what_waits_no_more_is_forgotten() {
        let dir = TestDir::new();
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let mut log = FinishedLog::default();
        for (digest, len) in [(one, 10), (two, 20)] {
            log.note(dir.path(), &digest, &record(len)).expect("room");
        }
        log.keep(&[(two, record(20))]).expect("ours");
        log.note(dir.path(), &one, &record(30)).expect("room");
        drop(log);
        assert_eq!(taken(dir.path(), true), [(two, 20), (one, 30)]);
    }

    #[test]
    fn an_entry_that_was_cut_short_hides_nothing_before_it() {
        let dir = TestDir::new();
        let mut log = FinishedLog::default();
        log.note(dir.path(), &Digest::of(b"1"), &record(10)).expect("room");
        let Some(Open { path, .. }) = &log.0 else { panic!("it was made") };
        let whole = encode(&Digest::of(b"2"), &record(20));
        fs::write(path, [&whole[..], &whole[..whole.len() - 1]].concat()).expect("ours");
        drop(log);
        assert_eq!(taken(dir.path(), true), [(Digest::of(b"2"), 20)]);
    }
}
