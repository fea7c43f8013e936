//! Commands that root runs on another user's cache act as that user: what root makes there, the proxy could not use.
//!
//! Owns the change of user, which is for good. What root may read can still be read: another cache, an index.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_keep_capabilities, set_thread_gid, set_thread_groups,
    set_thread_uid,
};

/// Acts as the owner of the cache from now on, if root runs us. It is called before there is another thread.
///
/// # Errors
/// When the system refuses.
pub(crate) fn become_owner_of(cache: &Path) -> io::Result<()> {
    // One that is made now is its maker's.
    let Ok(metadata) = fs::metadata(cache) else { return Ok(()) };
    let (uid, gid) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
    if !geteuid().is_root() || uid.is_root() {
        return Ok(());
    }
    set_keep_capabilities(true)?;
    set_thread_groups(&[])?;
    set_thread_gid(gid)?;
    set_thread_uid(uid)?;
    // Root of a container may lack this one right.
    only(CapabilitySet::DAC_READ_SEARCH).or_else(|_| only(CapabilitySet::empty()))
}

fn only(rights: CapabilitySet) -> io::Result<()> {
    let sets = CapabilitySets { effective: rights, permitted: rights, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}
