//! Who signed the Release files: judged by the system's own gpgv or sqv, with the keyrings that apt has here.
//!
//! Every client's apt judges for itself; this is so that a wrong mirror is seen, and, if that is wanted, stopped, at the
//! proxy. Refuses to know any key of its own, and to judge where the system has no tool: then it says so.

mod armor;
mod tool;

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::digest::Digest;
use crate::limits::RELEASES_JUDGED;

/// What is known of the signatures under a Release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Signed by somebody whose key is here: their names, or their keys' fingerprints.
    Signed(Vec<String>),
    /// Signed by nobody.
    Unsigned,
    /// Signed, but by no key that is here.
    Untrusted(String),
    /// A signature does not fit the file.
    Wrong(String),
    /// It could not be judged.
    Unjudged(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Signed(names) => write!(f, "signed by {}", names.join(" and ")),
            Verdict::Unsigned => f.write_str("not signed"),
            Verdict::Untrusted(why) => write!(f, "not signed by anybody known here: {why}"),
            Verdict::Wrong(why) => write!(f, "wrongly signed: {why}"),
            Verdict::Unjudged(why) => write!(f, "not checked: {why}"),
        }
    }
}

/// A Release file and what vouches for it.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The archive's host.
    pub host: &'a str,
    /// The Release's folder there.
    pub dir: &'a str,
    /// The digest of the file as it is stored: its verdict is remembered under that, and another file's there beside it.
    pub digest: Digest,
    /// What the log and the page may call it: what needs credentials may have a name that is one.
    pub told: &'a str,
    /// What is signed.
    pub text: &'a [u8],
    /// What vouches for it.
    pub signature: Signature<'a>,
}

/// What is known of what vouches for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature<'a> {
    /// These signatures, as armour or as bytes.
    Is(&'a [u8]),
    /// There is none.
    None,
    /// It could not be had.
    Unknown,
}

/// Judges Releases, and remembers what it said of the last ones. Shared by all who need it.
pub struct Judge {
    keyrings: Arc<dyn Fn() -> Vec<PathBuf> + Send + Sync>,
    /// The newest first.
    seen: Mutex<VecDeque<Judged>>,
}

struct Judged {
    host: String,
    dir: String,
    digest: Digest,
    verdict: Verdict,
}

impl Judged {
    fn is_of(&self, host: &str, dir: &str) -> bool {
        self.host == host && self.dir == dir
    }
}

impl Judge {
    /// One that trusts the keys of these files, and of the files in these folders.
    #[must_use]
    pub fn new(keyrings: Arc<dyn Fn() -> Vec<PathBuf> + Send + Sync>) -> Judge {
        Judge { keyrings, seen: Mutex::default() }
    }

    /// What was said of this Release already.
    #[must_use]
    pub fn known(&self, host: &str, dir: &str, digest: &Digest) -> Option<Verdict> {
        let seen = self.seen();
        let judged = seen.iter().find(|judged| judged.is_of(host, dir) && judged.digest == *digest)?;
        Some(judged.verdict.clone())
    }

    /// What was said last of an archive.
    #[must_use]
    pub fn last(&self, host: &str, dir: &str) -> Option<Verdict> {
        self.seen().iter().find(|judged| judged.is_of(host, dir)).map(|judged| judged.verdict.clone())
    }

    /// Whether this machine can ask anybody. Where it cannot, no Release needs to be read for [`Judge::judge`], nor a
    /// signature fetched.
    #[must_use]
    pub fn can_judge(&self) -> bool {
        the_tool().is_ok()
    }

    /// Asks the system's tool, which takes tens of milliseconds; says in the log what is new.
    pub fn judge(&self, signed: &Signed<'_>) -> Verdict {
        let unjudged = |why: &str| Verdict::Unjudged(why.to_owned());
        let verdict = match (signed.signature, the_tool()) {
            (Signature::None, _) => Verdict::Unsigned,
            (_, Err(why)) => unjudged(why),
            (Signature::Unknown, Ok(_)) => unjudged("its signature is not to be had now"),
            (Signature::Is(signature), Ok(tool)) => tool.verify(&(self.keyrings)(), signed.text, signature),
        };
        if self.last(signed.host, signed.dir).is_none_or(|before| before != verdict) {
            // That a key is not here is no reason to worry: clients may have it.
            let level = if matches!(verdict, Verdict::Wrong(_)) { log::Level::Warn } else { log::Level::Info };
            log::log!(level, "{} is {verdict}", signed.told);
        }
        let Signed { host, dir, digest, .. } = *signed;
        let mut seen = self.seen();
        seen.retain(|judged| !(judged.is_of(host, dir) && judged.digest == digest));
        seen.truncate(RELEASES_JUDGED - 1);
        seen.push_front(Judged { host: host.to_owned(), dir: dir.to_owned(), digest, verdict: verdict.clone() });
        verdict
    }

    fn seen(&self) -> MutexGuard<'_, VecDeque<Judged>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is asked here, or why nobody is.
fn the_tool() -> Result<tool::Tool, &'static str> {
    if !cfg!(feature = "signatures") {
        return Err("this build checks no signatures");
    }
    tool::find().ok_or("neither gpgv nor sqv is installed here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_releases_the_oldest_are_forgotten() {
        let judge = Judge::new(Arc::new(Vec::new));
        let host = |n: usize| format!("{n}.example.org");
        for n in 0..=RELEASES_JUDGED {
            let (host, digest) = (host(n), Digest::of(&n.to_be_bytes()));
            let signature = Signature::None;
            let signed = Signed { host: &host, dir: "dists/x", digest, told: &host, text: b"x", signature };
            assert_eq!(judge.known(&host, "dists/x", &digest), None);
            assert_eq!(judge.judge(&signed), Verdict::Unsigned);
            assert_eq!(judge.known(&host, "dists/x", &digest), Some(Verdict::Unsigned));
            assert_eq!(judge.known(&host, "dists/x", &Digest::of(b"newer")), None);
            // Another form of the same Release does not drive it out, and is what was said last.
            let other = Signed { digest: Digest::of(b"other"), signature: Signature::Unknown, ..signed };
            if n == RELEASES_JUDGED {
                judge.judge(&other);
                assert_eq!(judge.known(&host, "dists/x", &digest), Some(Verdict::Unsigned));
                assert!(matches!(judge.last(&host, "dists/x"), Some(Verdict::Unjudged(_))));
            }
        }
        let kept = (0..=RELEASES_JUDGED).filter(|n| judge.last(&host(*n), "dists/x").is_some()).count();
        assert_eq!((kept, judge.last(&host(0), "dists/x")), (RELEASES_JUDGED - 1, None));
    }
}
