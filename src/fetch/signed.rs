//! What is done about the signatures under a Release: where they are enforced it is judged before anybody gets it, else behind.

use std::borrow::Cow;
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
    /// What was found of this Release's signatures since the start; of one that nobody has looked at, what was last found of
    /// its archive.
    #[must_use]
    pub fn signed_by(&self, host: &str, dir: &str, release: &Digest) -> Option<Verdict> {
        let judge = &self.0.parts.signatures.judge;
        judge.known(host, dir, release).or_else(|| judge.last(host, dir))
    }

    /// Whether a stored Release may be given out, and followed: where signatures are enforced, one that was found to be
    /// signed since the start. What is not known here a flight judges anew.
    #[must_use]
    pub fn may_be_given(&self, host: &str, dir: &str, release: &Digest) -> bool {
        self.0.policy() != Policy::Enforce || self.0.is_signed(host, dir, release)
    }
}

impl Inner {
    fn policy(&self) -> Policy {
        (self.parts.signatures.policy)()
    }

    fn is_signed(&self, host: &str, dir: &str, release: &Digest) -> bool {
        matches!(self.parts.signatures.judge.known(host, dir, release), Some(Verdict::Signed(_)))
    }

    /// Why a Release that just came must not be given out.
    pub(super) fn refused(&self, flight: &Flight, from: Origin<'_>, bytes: &[u8]) -> Option<Failure> {
        let digest = Digest::of(bytes);
        // A mirror that knows no conditions sends it again; its signature beside it may be out of reach this time.
        if self.policy() != Policy::Enforce || self.is_signed(&flight.job.object.host, from.dir, &digest) {
            return None;
        }
        forbidden(flight, &self.judge(flight, from, digest, bytes))
    }

    /// The same of one that is stored.
    pub(super) fn refused_stored(
        &self,
        flight: &Flight,
        from: Origin<'_>,
        (digest, stored): (Digest, &Stored),
    ) -> Option<Failure> {
        // Only what is good is remembered: the key may have come meanwhile, or the signature.
        if self.policy() != Policy::Enforce || self.is_signed(&flight.job.object.host, from.dir, &digest) {
            return None;
        }
        forbidden(flight, &self.judge_stored(flight, from, (digest, stored)))
    }

    /// Judges a Release that was given out, unless that can have no other end than before.
    pub(super) fn report(&self, flight: &Flight, from: Origin<'_>, (digest, stored): (Digest, &Stored)) {
        let known = self.parts.signatures.judge.known(&flight.job.object.host, from.dir, &digest);
        if self.policy() == Policy::Report && known.as_ref().is_none_or(may_change) {
            self.judge_stored(flight, from, (digest, stored));
        }
    }

    fn judge_stored(&self, flight: &Flight, from: Origin<'_>, (digest, stored): (Digest, &Stored)) -> Verdict {
        if let Some(verdict) = self.unjudgeable(flight, from.dir, digest) {
            return verdict;
        }
        match whole(stored) {
            Ok(bytes) => self.judge(flight, from, digest, &bytes),
            Err(error) => Verdict::Unjudged(format!("its file cannot be read: {error}")),
        }
    }

    fn judge(&self, flight: &Flight, from: Origin<'_>, digest: Digest, bytes: &[u8]) -> Verdict {
        if let Some(verdict) = self.unjudgeable(flight, from.dir, digest) {
            return verdict;
        }
        let detached;
        let (text, signature) = match (catalog::split_signed(bytes), from.file) {
            (Ok(Some(ClearSigned { text, signature })), _) => (Cow::Owned(text), Signature::Is(signature)),
            (Ok(None), ReleaseFile::Release) => {
                detached = self.detached(flight, from);
                (Cow::Borrowed(bytes), detached.as_signature())
            }
            (Ok(None) | Err(_), _) => (Cow::Borrowed(bytes), Signature::None),
        };
        self.ask_judge(flight, from.dir, digest, &text, signature)
    }

    /// The verdict where nobody can judge: for that nothing needs to be read, or fetched.
    fn unjudgeable(&self, flight: &Flight, dir: &str, digest: Digest) -> Option<Verdict> {
        let can_judge = self.parts.signatures.judge.can_judge();
        (!can_judge).then(|| self.ask_judge(flight, dir, digest, &[], Signature::Unknown))
    }

    fn ask_judge(
        &self,
        flight: &Flight,
        dir: &str,
        digest: Digest,
        text: &[u8],
        signature: Signature<'_>,
    ) -> Verdict {
        let (host, told) = (&flight.job.object.host, flight.told());
        self.parts.signatures.judge.judge(&Signed { host, dir, digest, told: &told, text, signature })
    }

    /// What lies beside a `Release` for those who want to know who signed it: at the mirror that gave it, or here.
    fn detached(&self, flight: &Flight, from: Origin<'_>) -> Detached {
        match from.url {
            Some(url) => {
                let url = format!("{url}.gpg");
                let ask = Ask { credentials: self.credentials(flight), ..Ask::default() };
                match self.ask(flight, &url, ask) {
                    Ok(mut answer) if answer.status == 200 => {
                        self.read_whole(&url, &mut answer).map_or(Detached::Unknown, Detached::Is)
                    }
                    Ok(answer) if matches!(answer.status, 404 | 410) => Detached::None,
                    Ok(_) | Err(_) => Detached::Unknown,
                }
            }
            None => self.kept_signature(flight).map_or(Detached::Unknown, Detached::Is),
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

/// The signature that lies beside a `Release`.
enum Detached {
    Is(Vec<u8>),
    None,
    Unknown,
}

impl Detached {
    fn as_signature(&self) -> Signature<'_> {
        match self {
            Detached::Is(bytes) => Signature::Is(bytes),
            Detached::None => Signature::None,
            Detached::Unknown => Signature::Unknown,
        }
    }
}

/// Whether the same Release may be judged otherwise when its turn comes again. It may not be signed later, and what is signed
/// stays so; but a key can be added, and for a `Release` the signature beside it may come a moment after it.
fn may_change(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Signed(_) | Verdict::Unsigned => false,
        Verdict::Untrusted(_) | Verdict::Wrong(_) | Verdict::Unjudged(_) => true,
    }
}

/// Why a Release must not be given out where signatures are enforced.
fn forbidden(flight: &Flight, verdict: &Verdict) -> Option<Failure> {
    let advice = match verdict {
        Verdict::Signed(_) => return None,
        Verdict::Untrusted(_) | Verdict::Unjudged(_) => {
            "add its key with --keyring, or start with --signatures report"
        }
        // Whoever lets these pass lets everything pass.
        Verdict::Unsigned | Verdict::Wrong(_) => "--signatures enforce refuses it",
    };
    Some(failure(403, format!("{} is {verdict}; {advice}", flight.told())))
}
