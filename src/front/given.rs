//! Which Release each client got last: index files asked for by name follow it, so that no client sees the Release of
//! one day with the Packages of another.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use crate::limits::GIVEN_MEMORY;
use crate::store::IndexId;

#[derive(Debug, Default)]
pub(super) struct Given {
    /// By client, host and folder.
    last: Mutex<HashMap<(IpAddr, String, String), IndexId>>,
}

impl Given {
    pub(super) fn note(&self, client: IpAddr, host: &str, dir: &str, snapshot: IndexId) {
        let mut last = self.last.lock().expect("no holder of the lock panics");
        if last.len() >= GIVEN_MEMORY {
            // The forgotten follow the newest Release, which is what nearly all of them got.
            last.clear();
        }
        last.insert((client, host.to_owned(), dir.to_owned()), snapshot);
    }

    pub(super) fn last(&self, client: IpAddr, host: &str, dir: &str) -> Option<IndexId> {
        let last = self.last.lock().expect("no holder of the lock panics");
        last.get(&(client, host.to_owned(), dir.to_owned())).copied()
    }
}
