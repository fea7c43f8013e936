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
use super::{StoreError, at};
use crate::digest::Digest;
use crate::limits::FINISHED_LOG_LEN_MAX;

const PREFIX: &str = "finished-";
const ENDING: &str = ".log";

/// The log of this process.
#[derive(Default)]
pub(super) struct FinishedLog(Option<(PathBuf, File)>);

impl FinishedLog {
    /// Notes a finished draft.
    pub(super) fn note(&mut self, drafts: &Path, digest: &Digest, record: &FileRecord) -> Result<(), StoreError> {
        if self.0.is_none() {
            self.0 = Some(make(drafts)?);
        }
        let Some((path, file)) = &mut self.0 else { unreachable!("made above") };
        file.write_all(&encode(digest, record)).map_err(at(path))
    }

    /// Forgets all but what still waits.
    pub(super) fn keep(&mut self, waiting: &[(Digest, FileRecord)]) -> Result<(), StoreError> {
        let Some((path, mut file)) = self.0.take() else { return Ok(()) };
        if waiting.is_empty() {
            return fs::remove_file(&path).map_err(at(&path));
        }
        let bytes: Vec<u8> = waiting.iter().flat_map(|(digest, record)| encode(digest, record)).collect();
        file.set_len(0).and_then(|()| file.write_all(&bytes)).map_err(at(&path))?;
        self.0 = Some((path, file));
        Ok(())
    }
}

/// Takes up each log that no living process writes: what it says goes to `each`, and the log goes when that is done.
pub(super) fn take_over(drafts: &Path, mut each: impl FnMut(Digest, FileRecord)) -> Result<(), StoreError> {
    for entry in fs::read_dir(drafts).map_err(at(drafts))?.flatten() {
        let name = entry.file_name();
        let is_log = name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(ENDING));
        let path = entry.path();
        if is_log && let Err(error) = take_over_one(&path, &mut each) {
            log::debug!("{}: {error}", path.display());
        }
    }
    Ok(())
}

fn take_over_one(path: &Path, each: &mut impl FnMut(Digest, FileRecord)) -> io::Result<()> {
    // Locked until it is deleted: this process may have the number of the one before, and begins another log meanwhile.
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    // Its process lives, or another one takes it over.
    if try_lock(&file).is_err() {
        return Ok(());
    }
    let mut bytes = Vec::new();
    (&file).take(FINISHED_LOG_LEN_MAX).read_to_end(&mut bytes)?;
    let mut rest = &bytes[..];
    while let Some((digest, record, behind)) = decode(rest) {
        rest = behind;
        match record {
            Some(record) => each(digest, record),
            None => log::debug!("{}: the record of {digest} is damaged", path.display()),
        }
    }
    fs::remove_file(path)
}

fn make(drafts: &Path) -> Result<(PathBuf, File), StoreError> {
    // Processes that share the folder from two containers may have the same number.
    let mut last = None;
    for n in 0..4 {
        let path = drafts.join(format!("{PREFIX}{}-{n}{ENDING}", std::process::id()));
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path);
        match file.and_then(|file| try_lock(&file).map(|()| file)) {
            Ok(file) => return Ok((path, file)),
            Err(error) => last = Some(at(&path)(error)),
        }
    }
    Err(last.expect("four were tried"))
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
