//! How the descriptors that the system allows are shared out.

use crate::limits::{DESCRIPTORS_KEPT, PIPELINE};

/// How many connections there may be, and how many files beside them, with what the system allows.
pub(super) fn share_descriptors(connections_max: usize) -> (usize, usize) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    // The soft limit is low for the sake of programs that use select(2).
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).ok();
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let free = usize::try_from(allowed).unwrap_or(usize::MAX).saturating_sub(DESCRIPTORS_KEPT).max(16);
    let connections = connections_max.min(free / 2);
    if connections < connections_max {
        log::warn!(
            "{allowed} open files are allowed, enough for {connections} connections at once instead of {connections_max}; \
             raise the limit (ulimit -n, or LimitNOFILE= in a unit of systemd)"
        );
    }
    (connections, (free - connections).min(connections * PIPELINE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_shared_between_clients_and_their_files() {
        let (connections, files) = share_descriptors(usize::MAX / 16);
        assert!(connections > 0 && files > 0);
    }
}
