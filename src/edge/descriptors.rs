//! How the descriptors that the system allows are shared out.

use crate::limits::{DESCRIPTORS_KEPT, PIPELINE};

/// What the descriptors are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) connections: usize,
    /// Beside them, for their answers.
    pub(super) files: usize,
    /// Of answers that are kept.
    pub(super) hot: usize,
}

/// How many of each there may be, with what the system allows.
pub(super) fn share_descriptors(connections_max: usize, hot_max: usize) -> Shares {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    // The soft limit is low for the sake of programs that use select(2).
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).ok();
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let allowed_files = usize::try_from(allowed).unwrap_or(usize::MAX).saturating_sub(DESCRIPTORS_KEPT).max(16);
    let shares = share(allowed_files, connections_max, hot_max);
    if shares.connections < connections_max {
        log::warn!(
            "{allowed} open files are allowed, enough for {} connections at once instead of {connections_max}; \
             raise the limit (ulimit -n, or LimitNOFILE= in a unit of systemd)",
            shares.connections
        );
    }
    shares
}

fn share(allowed: usize, connections_max: usize, hot_max: usize) -> Shares {
    let hot = hot_max.min(allowed / 8);
    let connections = connections_max.min((allowed - hot) / 2);
    Shares { connections, files: (allowed - hot - connections).min(connections * PIPELINE), hot }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_shared_between_clients_and_their_files() {
        let Shares { connections, files, hot } = share_descriptors(usize::MAX / 16, 8);
        assert!(connections > 0 && files > 0 && hot > 0);
        for (allowed, shares) in [(16, (7, 7, 2)), (320, (140, 140, 40)), (100_000, (1000, 10_000, 100))] {
            let Shares { connections, files, hot } = share(allowed, 1000, 100);
            assert_eq!((connections, files, hot), shares, "{allowed}");
            assert!(connections + files + hot <= allowed);
        }
    }
}
