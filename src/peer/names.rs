//! In a network with a secret: which file a name on the wire stands for.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::digest::Digest;
use crate::limits::{SECRET_NAMES, SECRET_NAMES_TIME};
use crate::store::{Store, StoreError};
use crate::time::Time;

/// The names of shared files.
pub(super) struct Names {
    secret: Option<Vec<u8>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    digests: HashMap<Digest, Digest>,
    read: Option<Time>,
}

impl Names {
    pub(super) fn new(secret: Option<Vec<u8>>) -> Names {
        Names { secret, known: Mutex::default() }
    }

    /// The digest that `name` stands for: without a secret, itself.
    pub(super) fn digest(&self, store: &Store, name: &Digest, now: Time) -> Result<Option<Digest>, StoreError> {
        let Some(secret) = &self.secret else { return Ok(Some(*name)) };
        let mut known = self.known.lock().expect("no holder of the lock panics");
        let is_old = known.read.is_none_or(|read| now.since(read) >= SECRET_NAMES_TIME);
        if !known.digests.contains_key(name) && is_old {
            let shared = store.shared_files(None, SECRET_NAMES)?;
            known.digests = shared.iter().map(|file| (file.digest.on_the_wire(Some(secret)), file.digest)).collect();
            known.read = Some(now);
        }
        Ok(known.digests.get(name).copied())
    }
}
