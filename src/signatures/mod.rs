//! Who signed the Release files: judged by the system's own sqv or gpgv, with the keyrings that apt has here.
//!
//! Every client's apt judges for itself; this is so that a wrong mirror is seen, and, if that is wanted, stopped, at the
//! proxy. Refuses to know any key of its own, and to judge where the system has no tool: then it says so.

mod armor;
mod tool;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::digest::Digest;
use crate::limits::SUITES_JUDGED;

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
    /// The file: two with the same digest are judged once.
    pub digest: Digest,
    /// What is signed.
    pub text: &'a [u8],
    /// The signatures, as armour or as bytes.
    pub signature: Option<&'a [u8]>,
}

/// Judges Releases, and remembers of each archive what was said last. Shared by all who need it.
pub struct Judge {
    keyrings: Vec<PathBuf>,
    seen: Mutex<BTreeMap<(String, String), (Digest, Verdict)>>,
}

impl Judge {
    /// One that trusts the keys of these files, and of the files in these folders.
    #[must_use]
    pub fn new(keyrings: Vec<PathBuf>) -> Judge {
        Judge { keyrings, seen: Mutex::default() }
    }

    /// What is known of this Release already.
    #[must_use]
    pub fn known(&self, host: &str, dir: &str, digest: &Digest) -> Option<Verdict> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (judged, verdict) = seen.get(&(host.to_owned(), dir.to_owned()))?;
        (judged == digest).then(|| verdict.clone())
    }

    /// Asks the system's tool, which takes tens of milliseconds; says in the log what is new.
    pub fn judge(&self, signed: &Signed<'_>) -> Verdict {
        let verdict = match signed.signature {
            None => Verdict::Unsigned,
            Some(_) if !cfg!(feature = "signatures") => {
                Verdict::Unjudged("this build checks no signatures".to_owned())
            }
            Some(signature) => match tool::find() {
                Some(tool) => tool.verify(&self.keyrings, signed.text, signature),
                None => Verdict::Unjudged("neither gpgv nor sqv is installed here".to_owned()),
            },
        };
        let archive = (signed.host.to_owned(), signed.dir.to_owned());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = seen.get(&archive).is_none_or(|(_, before)| *before != verdict);
        if seen.len() >= SUITES_JUDGED && !seen.contains_key(&archive) {
            seen.pop_first();
        }
        seen.insert(archive, (signed.digest, verdict.clone()));
        drop(seen);
        if is_news {
            // That a key is not here is no reason to worry: clients may have it.
            let level = if matches!(verdict, Verdict::Wrong(_)) { log::Level::Warn } else { log::Level::Info };
            log::log!(level, "{}/{} is {verdict}", signed.host, signed.dir);
        }
        verdict
    }

    /// What was said last of an archive.
    #[must_use]
    pub fn last(&self, host: &str, dir: &str) -> Option<Verdict> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&(host.to_owned(), dir.to_owned())).map(|(_, verdict)| verdict.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_archives_some_are_forgotten_and_none_is_judged_twice() {
        let judge = Judge::new(Vec::new());
        let host = |n: usize| format!("{n}.example.org");
        for n in 0..=SUITES_JUDGED {
            let (host, digest) = (host(n), Digest::of(&n.to_be_bytes()));
            let signed = Signed { host: &host, dir: "dists/x", digest, text: b"x", signature: None };
            assert_eq!(judge.known(&host, "dists/x", &digest), None);
            assert_eq!(judge.judge(&signed), Verdict::Unsigned);
            assert_eq!(judge.known(&host, "dists/x", &digest), Some(Verdict::Unsigned));
            assert_eq!(judge.known(&host, "dists/x", &Digest::of(b"newer")), None);
        }
        let kept = (0..=SUITES_JUDGED).filter(|n| judge.last(&host(*n), "dists/x").is_some()).count();
        assert_eq!(kept, SUITES_JUDGED);
    }
}
