//! Where the open store stands: it is taken down when its disk fails or is gone, and put back when there is one again.
//!
//! Whoever works with the store takes a share of it for as long as one request or one file takes.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use super::Store;

/// A place for a store; clones share it.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Place>);

#[derive(Default)]
struct Place {
    store: RwLock<Option<Store>>,
    /// Something failed as it does on a failing disk.
    suspected: AtomicBool,
}

impl Shelf {
    /// The store, while its disk is there.
    #[must_use]
    pub fn get(&self) -> Option<Store> {
        self.0.store.read().expect("no holder of the lock panics").clone()
    }

    /// Puts a store there.
    pub fn put(&self, store: Store) {
        self.0.suspected.store(false, Ordering::Relaxed);
        *self.0.store.write().expect("no holder of the lock panics") = Some(store);
    }

    /// Takes the store away. It is closed when the last one who works with it has ended.
    pub fn clear(&self) {
        *self.0.store.write().expect("no holder of the lock panics") = None;
    }

    /// A file could not be read or written: the disk is to be looked at. Never waits.
    pub fn suspect(&self) {
        self.0.suspected.store(true, Ordering::Relaxed);
    }

    /// Whether the disk is to be looked at; asked once for each suspicion.
    #[must_use]
    pub fn take_suspicion(&self) -> bool {
        self.0.suspected.swap(false, Ordering::Relaxed)
    }
}

impl From<Store> for Shelf {
    fn from(store: Store) -> Shelf {
        let shelf = Shelf::default();
        shelf.put(store);
        shelf
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shelf with {:?}", self.get())
    }
}
