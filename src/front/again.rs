//! Who got which stored file last: a client that asks for it again has a reason. apt does when what it got was not what the
//! index promises, so the file is hashed again before it is served a second time.
//!
//! Machines behind one address ask for the same, too; each file is hashed again for it once in a while only.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use crate::digest::Digest;
use crate::limits::{AGAIN_MEMORY, AGAIN_TIME_S, RECHECK_TIME_S};
use crate::time::Stamp;

#[derive(Debug, Default)]
pub(super) struct Again(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    given: HashMap<(IpAddr, Digest), Stamp>,
    rechecked: HashMap<Digest, Stamp>,
}

impl Again {
    /// Notes that `client` asks for a stored file; whether that is a reason to hash it again, which is done then.
    pub(super) fn is_doubtful(&self, client: IpAddr, digest: Digest, now: Stamp) -> bool {
        let mut memory = self.0.lock().expect("no holder of the lock panics");
        let is_doubtful = memory.is_asked_again(client, digest, now);
        if is_doubtful {
            memory.given.insert((client, digest), now);
            memory.rechecked.insert(digest, now);
        }
        is_doubtful
    }

    /// The same for a file that is about to be given without [`Again::is_doubtful`] being asked; only if that is a reason,
    /// it is still to be.
    pub(super) fn is_asked_again(&self, client: IpAddr, digest: Digest, now: Stamp) -> bool {
        self.0.lock().expect("no holder of the lock panics").is_asked_again(client, digest, now)
    }
}

impl Memory {
    fn is_asked_again(&mut self, client: IpAddr, digest: Digest, now: Stamp) -> bool {
        let Memory { given, rechecked } = self;
        let since = |at: &Stamp| now.secs_since(*at);
        if let Some(at) = given.get_mut(&(client, digest)) {
            if since(at) < AGAIN_TIME_S && may_recheck(rechecked, digest, now) {
                return true;
            }
            *at = now;
            return false;
        }
        if given.len() >= AGAIN_MEMORY {
            given.retain(|_, at| since(at) < AGAIN_TIME_S);
        }
        if given.len() < AGAIN_MEMORY {
            given.insert((client, digest), now);
        }
        false
    }
}

/// Whether a file was not hashed again lately. Without room that would not be remembered, and so it is not done: each request
/// would hash the file.
fn may_recheck(rechecked: &mut HashMap<Digest, Stamp>, digest: Digest, now: Stamp) -> bool {
    let is_over = |at: &Stamp| now.secs_since(*at) >= RECHECK_TIME_S;
    if let Some(at) = rechecked.get(&digest) {
        return is_over(at);
    }
    if rechecked.len() >= AGAIN_MEMORY {
        rechecked.retain(|_, at| !is_over(at));
    }
    rechecked.len() < AGAIN_MEMORY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn the_same_client_s_second_request_is_a_reason_and_its_third_is_none() {
        let (again, file) = (Again::default(), Digest::of(b"a"));
        assert!(!again.is_doubtful(client(1), file, Stamp(1000)));
        assert!(!again.is_doubtful(client(2), file, Stamp(1000)), "another client");
        assert!(!again.is_doubtful(client(1), Digest::of(b"b"), Stamp(1000)), "another file");
        assert!(again.is_doubtful(client(1), file, Stamp(1005)));
        assert!(!again.is_doubtful(client(1), file, Stamp(1006)) && !again.is_doubtful(client(2), file, Stamp(1006)));
        let later = Stamp(1006 + RECHECK_TIME_S);
        assert!(!again.is_doubtful(client(1), file, later), "long after the last time");
        assert!(again.is_doubtful(client(1), file, later));
    }

    #[test]
    fn what_is_given_without_a_worker_counts_too_and_leaves_the_check_to_one() {
        let (again, file) = (Again::default(), Digest::of(b"a"));
        assert!(!again.is_asked_again(client(1), file, Stamp(1000)));
        assert!(
            again.is_asked_again(client(1), file, Stamp(1001)) && again.is_asked_again(client(1), file, Stamp(1002))
        );
        assert!(again.is_doubtful(client(1), file, Stamp(1003)), "the worker hears of it");
        assert!(!again.is_asked_again(client(1), file, Stamp(1004)), "it was checked");
    }

    #[test]
    fn the_memory_is_bounded_and_makes_room_for_what_is_new() {
        let again = Again::default();
        for n in 0..2 * AGAIN_MEMORY {
            let file = Digest::of(&n.to_be_bytes());
            assert!(!again.is_doubtful(client(1), file, Stamp(1000)));
        }
        assert_eq!(again.0.lock().expect("no panic").given.len(), AGAIN_MEMORY);
        let (file, later) = (Digest::of(b"new"), Stamp(1000 + AGAIN_TIME_S));
        assert!(!again.is_doubtful(client(1), file, later) && again.is_doubtful(client(1), file, later));
    }
}
