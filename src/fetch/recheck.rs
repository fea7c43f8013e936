//! A stored file that a client doubts is hashed again before anybody gets it.

use super::Inner;
use super::board::Flight;
use crate::digest::Digest;
use crate::store::Store;

impl Inner {
    /// Whether the stored file is what its digest says, as far as it is there. One that is not, or that cannot be read, is
    /// dropped, and fetched again by the flight that asked.
    pub(super) fn is_right(&self, flight: &Flight, store: &Store, digest: Digest) -> bool {
        let told = flight.told();
        match store.verify_file(&digest, self.today()) {
            Ok(true) => true,
            Ok(false) => {
                log::warn!("{told} ({digest}) was damaged on the disk; it is dropped and fetched again");
                false
            }
            Err(error) => {
                log::warn!("{told} ({digest}) cannot be checked, or not be dropped: {error}; it is fetched again");
                false
            }
        }
    }
}
