//! What is done about the signatures under a Release: where they are enforced it is judged before anybody gets it, else behind.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::board::Flight;
use super::mirror::Ask;
use super::{Fetcher, Inner, failure};
use crate::catalog::{self, ClearSigned, ReleaseFile};
use crate::digest::{Digest, NameHash};
use crate::limits::RELEASE_LEN_MAX;
use crate::signatures::{Judge, Signature, Signed, Verdict};
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

/// Where a Release file lies, and where it came from.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    /// Its folder.
    pub(super) dir: &'a str,
    /// Which form.
    pub(super) file: ReleaseFile,
    /// Where the mirror has given it, or confirmed it, just now: beside it lies its signature. None: it is one that we have.
    pub(super) url: Option<&'a str>,
}

impl Fetcher {
    /// What was last found of the signatures of an archive's Release, since the start.
    #[must_use]
    pub fn signed_by(&self, host: &str, dir: &str) -> Option<Verdict> {
        self.0.parts.signatures.judge.last(host, dir)
    }
}

impl Inner {
    fn policy(&self) -> Policy {
        (self.parts.signatures.policy)()
    }

    /// Why a Release that just came must not be given out.
    pub(super) fn refused(&self, flight: &Flight, from: Origin<'_>, bytes: &[u8]) -> Option<Failure> {
        if self.policy() != Policy::Enforce {
            return None;
        }
        refusal(flight, from.dir, &self.judge(flight, from, Digest::of(bytes), bytes))
    }

    /// The same of one that is stored.
    pub(super) fn refused_stored(
        &self,
        flight: &Flight,
        from: Origin<'_>,
        (digest, stored): (Digest, &Stored),
    ) -> Option<Failure> {
        if self.policy() != Policy::Enforce {
            return None;
        }
        let known = self.parts.signatures.judge.known(&flight.job.object.host, from.dir, &digest);
        // Only what is good is remembered: the key may have come meanwhile, or the signature.
        let good = known.filter(|verdict| matches!(verdict, Verdict::Signed(_)));
        let verdict = good.unwrap_or_else(|| self.judge_stored(flight, from, (digest, stored)));
        refusal(flight, from.dir, &verdict)
    }

    /// Judges a Release that was given out, if it was not judged before.
    pub(super) fn report(&self, flight: &Flight, from: Origin<'_>, (digest, stored): (Digest, &Stored)) {
        let known = self.parts.signatures.judge.known(&flight.job.object.host, from.dir, &digest);
        if self.policy() == Policy::Report && known.is_none_or(|verdict| matches!(verdict, Verdict::Unjudged(_))) {
            self.judge_stored(flight, from, (digest, stored));
        }
    }

    fn judge_stored(&self, flight: &Flight, from: Origin<'_>, (digest, stored): (Digest, &Stored)) -> Verdict {
        match whole(stored) {
            Ok(bytes) => self.judge(flight, from, digest, &bytes),
            Err(error) => Verdict::Unjudged(format!("its file cannot be read: {error}")),
        }
    }

    fn judge(&self, flight: &Flight, from: Origin<'_>, digest: Digest, bytes: &[u8]) -> Verdict {
        let (text, signature) = match (catalog::split_signed(bytes), from.file) {
            (Ok(Some(ClearSigned { text, signature })), _) => (text, Signature::Is(signature.to_vec())),
            (Ok(None), ReleaseFile::Release) => (bytes.to_vec(), self.detached(flight, from)),
            (Ok(None) | Err(_), _) => (bytes.to_vec(), Signature::None),
        };
        let host = &flight.job.object.host;
        let signed = Signed { host, dir: from.dir, digest, text: &text, signature: &signature };
        self.parts.signatures.judge.judge(&signed)
    }

    /// What lies beside a `Release` for those who want to know who signed it: at the mirror that gave it, or here.
    fn detached(&self, flight: &Flight, from: Origin<'_>) -> Signature {
        match from.url {
            Some(url) => {
                let url = format!("{url}.gpg");
                let ask = Ask { credentials: self.credentials(flight), ..Ask::default() };
                match self.ask(flight, &url, ask) {
                    Ok(mut answer) if answer.status == 200 => {
                        self.read_whole(&url, &mut answer).map_or(Signature::Unknown, Signature::Is)
                    }
                    Ok(answer) if matches!(answer.status, 404 | 410) => Signature::None,
                    Ok(_) | Err(_) => Signature::Unknown,
                }
            }
            None => self.kept_signature(flight).map_or(Signature::Unknown, Signature::Is),
        }
    }

    /// What clients last got as the signature of this `Release`.
    fn kept_signature(&self, flight: &Flight) -> Option<Vec<u8>> {
        let (store, object) = (self.store()?, &flight.job.object);
        let name = NameHash::of(&object.host, &format!("{}.gpg", object.path));
        let kept = store.name(name).ok()??;
        whole(&store.open_file(&kept.digest, self.today()).ok()??).ok()
    }
}

fn whole(stored: &Stored) -> std::io::Result<Vec<u8>> {
    let len = stored.len.min(RELEASE_LEN_MAX as u64);
    let mut bytes = vec![0; usize::try_from(len).expect("a Release fits memory")];
    stored.file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn refusal(flight: &Flight, dir: &str, verdict: &Verdict) -> Option<Failure> {
    if let Verdict::Signed(_) = verdict {
        return None;
    }
    let host = &flight.job.object.host;
    let why = format!("{host}/{dir} is {verdict}; add its key with --keyring, or start with --signatures report");
    Some(failure(403, why))
}
