//! Addresses that lied, kept over restarts: one small record, written only when somebody lies.

use std::net::IpAddr;

use super::record::{LiarsRecord, key};
use super::{Store, StoreError};
use crate::time::Stamp;

/// An address that gave false bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liar {
    /// The address that answers for it: of IPv6 the network's.
    pub house: IpAddr,
    /// How often of late.
    pub lies: u32,
    /// When last.
    pub last: Stamp,
}

impl Store {
    /// Those that were kept.
    ///
    /// # Errors
    /// Those of the index.
    pub fn liars(&self) -> Result<Vec<Liar>, StoreError> {
        Ok(self.0.index.read()?.get::<LiarsRecord>(key::LIARS)?.map_or_else(Vec::new, |record| record.0))
    }

    /// Keeps these, and no others.
    ///
    /// # Errors
    /// Those of the index.
    pub fn keep_liars(&self, liars: &[Liar]) -> Result<(), StoreError> {
        let mut write = self.0.index.write()?;
        write.put(key::LIARS, &LiarsRecord(liars.to_vec()))?;
        write.commit()
    }
}
