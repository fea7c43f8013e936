//! What is done about the signatures under a Release: where they are enforced it is judged before anybody gets it, else behind.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::board::Flight;
use super::mirror::Ask;
use super::{Fetcher, Inner, failure};
use crate::catalog::{self, ClearSigned, ReleaseFile};
use crate::digest::Digest;
use crate::limits::RELEASE_LEN_MAX;
use crate::signatures::{Judge, Signed, Verdict};
use crate::store::Stored;
use crate::stream::Failure;

/// What a Release's signatures decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Nothing; nobody looks.
    Off,
    /// What is said of the archive.
    Report,
    /// Whether it is given out.
    Enforce,
}

/// Who judges, and what that decides.
#[derive(Clone)]
pub struct Signatures {
    /// The judge.
    pub judge: Arc<Judge>,
    /// The policy, now.
    pub policy: Arc<dyn Fn() -> Policy + Send + Sync>,
}

impl Fetcher {
    /// What was last found of the signatures of an archive's Release, since the start.
    #[must_use]
    pub fn signed_by(&self, host: &str, dir: &str) -> Option<Verdict> {
        self.0.parts.signatures.judge.last(host, dir)
    }
}

impl Inner {
    /// Why a Release that just came must not be given out.
    pub(super) fn refused(&self, flight: &Flight, dir: &str, file: ReleaseFile, bytes: &[u8]) -> Option<Failure> {
        let verdict = match (self.parts.signatures.policy)() {
            Policy::Enforce => self.judge(flight, dir, file, Digest::of(bytes), bytes),
            Policy::Off | Policy::Report => return None,
        };
        refusal(flight, dir, &verdict)
    }

    /// The same of one that is stored.
    pub(super) fn refused_stored(
        &self,
        flight: &Flight,
        (dir, file, digest): (&str, ReleaseFile, Digest),
        stored: &Stored,
    ) -> Option<Failure> {
        let is_enforced = (self.parts.signatures.policy)() == Policy::Enforce;
        is_enforced
            .then(|| self.judge_stored(flight, (dir, file, digest), stored))
            .and_then(|v| refusal(flight, dir, &v))
    }

    /// Judges a Release that was given out, if it was not judged before.
    pub(super) fn report(&self, flight: &Flight, (dir, file, digest): (&str, ReleaseFile, Digest), stored: &Stored) {
        if (self.parts.signatures.policy)() == Policy::Report {
            self.judge_stored(flight, (dir, file, digest), stored);
        }
    }

    fn judge_stored(
        &self,
        flight: &Flight,
        (dir, file, digest): (&str, ReleaseFile, Digest),
        stored: &Stored,
    ) -> Verdict {
        if let Some(known) = self.parts.signatures.judge.known(&flight.job.object.host, dir, &digest) {
            return known;
        }
        let len = stored.len.min(RELEASE_LEN_MAX as u64);
        let mut bytes = vec![0; usize::try_from(len).expect("a Release fits memory")];
        match stored.file.read_exact_at(&mut bytes, 0) {
            Ok(()) => self.judge(flight, dir, file, digest, &bytes),
            Err(error) => Verdict::Unjudged(format!("its file cannot be read: {error}")),
        }
    }

    fn judge(&self, flight: &Flight, dir: &str, file: ReleaseFile, digest: Digest, bytes: &[u8]) -> Verdict {
        let (text, signature) = match (catalog::split_signed(bytes), file) {
            (Ok(Some(ClearSigned { text, signature })), _) => (text, Some(signature.to_vec())),
            (Ok(None), ReleaseFile::Release) => (bytes.to_vec(), self.detached(flight)),
            (Ok(None) | Err(_), _) => (bytes.to_vec(), None),
        };
        let host = &flight.job.object.host;
        self.parts.signatures.judge.judge(&Signed { host, dir, digest, text: &text, signature: signature.as_deref() })
    }

    /// What lies beside a `Release` for those who want to know who signed it.
    fn detached(&self, flight: &Flight) -> Option<Vec<u8>> {
        let mut rounds = self.rounds(flight);
        while let Some(turn) = rounds.next() {
            let url = format!("{}.gpg", turn.url);
            let ask = Ask { credentials: self.credentials(flight), ..Ask::default() };
            if let Ok(mut answer) = self.in_time(&turn, || self.ask(flight, &url, ask))
                && answer.status == 200
            {
                return self.read_whole(&url, &mut answer).ok();
            }
        }
        None
    }
}

fn refusal(flight: &Flight, dir: &str, verdict: &Verdict) -> Option<Failure> {
    if let Verdict::Signed(_) = verdict {
        return None;
    }
    let host = &flight.job.object.host;
    let why = format!("{host}/{dir} is {verdict}; add its key with --keyring, or start with --signatures report");
    Some(failure(403, why))
}
