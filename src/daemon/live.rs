//! The configuration as it is now: SIGHUP replaces it while the daemon runs.

use std::sync::{Arc, RwLock};

use crate::config::Config;
use crate::fetch::Object;
use crate::store::Store;

/// The current configuration; clones share it.
#[derive(Clone)]
pub(super) struct Live(Arc<RwLock<Current>>);

struct Current {
    config: Arc<Config>,
    /// What the size is when the configuration names none; known once the disk is there.
    default_bytes_max: Option<u64>,
}

impl Live {
    pub(super) fn new(config: Config) -> Live {
        Live(Arc::new(RwLock::new(Current { config: Arc::new(config), default_bytes_max: None })))
    }

    /// Takes note of what the disk of the store has room for.
    pub(super) fn measure(&self, store: &Store) {
        match store.default_max_bytes() {
            Ok(bytes) => self.0.write().expect("no holder of the lock panics").default_bytes_max = Some(bytes),
            Err(error) => log::warn!("{error}"),
        }
    }

    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.read().expect("no holder of the lock panics").config)
    }

    pub(super) fn replace(&self, config: Config) {
        self.0.write().expect("no holder of the lock panics").config = Arc::new(config);
    }

    /// The most bytes that cleanup leaves in the cache; nothing is dropped for its size while nobody knows it.
    pub(super) fn bytes_max(&self) -> u64 {
        let current = self.0.read().expect("no holder of the lock panics");
        current.config.max_size.or(current.default_bytes_max).unwrap_or(u64::MAX)
    }

    /// Where an object is fetched from: as the configuration maps it, else from its own host.
    pub(super) fn urls(&self, object: &Object) -> Vec<String> {
        let config = self.config();
        let path = crate::catalog::encode(&object.path);
        let query = object.query.as_deref().map_or_else(String::new, |query| format!("?{query}"));
        let whole = format!("{}/{path}", object.host);
        if let Some((rule, rest)) = config.upstream_for(&whole) {
            return rule.urls.iter().map(|url| format!("{url}{rest}{query}")).collect();
        }
        let own = match object.host.strip_suffix(":443") {
            Some(host) => format!("https://{host}/{path}{query}"),
            None => format!("http://{whole}{query}"),
        };
        vec![own]
    }
}
