//! Following a neighbour that fetches the same file itself: of several daemons on one LAN, one asks the mirror.
//!
//! It is the one whose SHA-256(digest ‖ name) is lowest, or that has asked already when another begins. What comes from it
//! has nobody who stands for it: it lies behind all that is shown, and counts only when the whole chain from the file's
//! first byte leads to the digest, or to what other peers proved of the file's end. Nobody waits longer than
//! [`COMING_TIME`] ([`HOPE_TIME`] to spare the mirror) for one that has nothing to show, and one that stops or is slower than the mirror was is left.

use std::net::SocketAddr;

use super::flight::{Plan, Run};
use super::roster::Roster;
use super::{Ask, End, Fetching, NodeName, Place, Prefer, RunId};
use crate::digest::{Digest, Midstate, PIECE_LEN};
use crate::limits::{
    COMING_PAUSE, COMING_TIME, FOLLOW_AHEAD_PIECES, FOLLOW_RATE_MAX, FOLLOW_TRIAL_TIME, FOLLOWS_PER_SOURCE,
    HOPE_TIME, LOOKUP_COST,
};
use crate::time::Time;

/// The neighbour that is followed, and how far.
pub(super) struct Follow {
    peer: SocketAddr,
    run: RunId,
    is_running: bool,
    /// Of the two of us, it is the one to ask the mirror.
    is_first: bool,
    /// The midstates after each piece that came, but the file's last.
    after: Vec<Midstate>,
    lead: Option<Lead>,
    /// It proved slower than the mirror.
    is_slow: bool,
}

/// A mirror that is let go for it.
#[derive(Clone, Copy)]
struct Lead {
    since: Time,
    pieces: usize,
    /// What the mirror gave before.
    mirror_rate: Option<u64>,
}

/// Whether the daemon `other` is to ask the mirror for a file, and not `own`.
pub(super) fn is_first(digest: &Digest, other: Option<NodeName>, own: &NodeName) -> bool {
    let rank = |name: &NodeName| Digest::of(&[&digest.0[..], &name[..]].concat());
    other.is_some_and(|other| rank(&other).0 < rank(own).0)
}

impl Plan {
    /// What a neighbour says that fetches the file itself.
    pub(super) fn note_fetching(&mut self, now: Time, peer: SocketAddr, fetching: Fetching) {
        let is_first = is_first(&self.digest, fetching.node, &self.own);
        let is_young = now.since(self.joined) < COMING_TIME;
        self.source(peer, |source| {
            // A stranger that says so is none of ours.
            source.is_out |= !source.is_neighbour;
            source.fetching = Some((fetching, is_first));
            source.not_before = now + if is_young { COMING_PAUSE } else { 5 * COMING_PAUSE };
        });
    }

    /// Whether a neighbour that fetches the file itself is waited for: it has asked before us, or is the one to ask.
    pub(super) fn is_awaited(&self, now: Time, (fetching, is_first): (Fetching, bool)) -> bool {
        let is_before_us = fetching.asks_mirror && !self.has_asked;
        let patience = if self.prefer == Prefer::Offload { HOPE_TIME } else { COMING_TIME };
        (is_before_us || is_first) && now.since(self.joined) < patience
    }

    pub(super) fn next_follow(&mut self, now: Time, run: RunId, roster: &Roster) -> Option<Ask> {
        let is_busy = self.follow.as_ref().is_some_and(|follow| follow.is_running || follow.is_slow);
        if self.is_small() || is_busy || !self.may_follow(now) {
            return None;
        }
        let source = self.sources.iter_mut().find(|source| {
            let grows = source.fetching.is_some_and(|(fetching, _)| fetching.grows);
            grows && !source.is_out && source.follows < FOLLOWS_PER_SOURCE && roster.is_free(source.peer, now)
        })?;
        source.follows += 1;
        let (peer, is_first) = (source.peer, source.fetching.is_some_and(|(_, is_first)| is_first));
        self.fill.forget_followed();
        let (after, lead) = (Vec::new(), None);
        self.follow = Some(Follow { peer, run, is_running: true, is_first, after, lead, is_slow: false });
        self.runs.push(Run::new(run, peer, 0..0, now, true));
        Some(Ask { run, peer, pieces: 0..self.fill.count(), table_first: false, follows: true })
    }

    /// To be quick, a neighbour is followed only where the line to the mirror is so slow that sharing it costs more than the
    /// file's last way, from the neighbour to the client.
    fn may_follow(&self, now: Time) -> bool {
        if self.prefer == Prefer::Offload || self.mirror.has_failed {
            return true;
        }
        let is_told = self.mirror.heard.since(self.mirror.asked) >= LOOKUP_COST;
        let missing = self.fill.floor().saturating_sub(self.front_piece());
        is_told
            && missing > FOLLOW_AHEAD_PIECES
            && now.since(self.joined) >= LOOKUP_COST
            && self.mirror_rate().is_some_and(|rate| rate <= FOLLOW_RATE_MAX)
    }

    /// Whether the mirror is let go for the neighbour that is followed.
    pub(super) fn is_led(&self) -> bool {
        let Some(follow) = self.follow.as_ref().filter(|follow| follow.is_running && !follow.is_slow) else {
            return false;
        };
        let (here, front) = (follow.after.len(), self.front_piece());
        // The one that is first may have begun a little later.
        let is_near = here > 0 && here + FOLLOW_AHEAD_PIECES > front;
        let is_ahead = here >= front + FOLLOW_AHEAD_PIECES;
        is_ahead || is_near && follow.is_first || self.prefer == Prefer::Offload && self.front == 0
    }

    /// Leaves a neighbour that leads more slowly than the mirror did.
    pub(super) fn check_lead(&mut self, now: Time) {
        let (is_led, mirror_rate) = (self.is_led(), self.mirror_rate());
        let Some(follow) = &mut self.follow else { return };
        match follow.lead {
            None if is_led => follow.lead = Some(Lead { since: now, pieces: follow.after.len(), mirror_rate }),
            Some(lead) if self.prefer == Prefer::Speed && now.since(lead.since) >= FOLLOW_TRIAL_TIME => {
                let millis = u64::try_from(now.since(lead.since).as_millis()).unwrap_or(u64::MAX);
                // The piece that is coming counts, too.
                let pieces = (follow.after.len() + 1 - lead.pieces) as u64;
                let rate = pieces * PIECE_LEN * 1000 / millis.max(1);
                follow.is_slow |= lead.mirror_rate.is_some_and(|before| rate < before);
                follow.lead = Some(Lead { since: now, pieces: follow.after.len(), ..lead });
            }
            _ => {}
        }
    }

    pub(super) fn follows(&self, run: RunId) -> bool {
        self.follow.as_ref().is_some_and(|follow| follow.is_running && follow.run == run)
    }

    /// What happens to a piece of the neighbour that is followed: never written where the mirror is or was, nor where a piece
    /// that was handed over is about to go.
    pub(super) fn place_followed(&mut self, now: Time, run: RunId, piece: usize) -> Place {
        let front = self.front_piece();
        let is_at_rest = self.front.is_multiple_of(PIECE_LEN) && !self.mirror.is_running;
        let is_free = piece > front || piece == front && is_at_rest && self.handed != Some(piece);
        if !self.follows(run) || !is_free || !self.fill.begin_write(piece) {
            return Place::Late;
        }
        self.gained = now;
        Place::Write
    }

    /// The next piece came, and led there; without a midstate it was the last one, and led to the digest.
    pub(super) fn followed(&mut self, now: Time, run: RunId, after: Option<Midstate>, roster: &mut Roster) {
        if !self.follows(run) {
            return;
        }
        let Some(follow) = &mut self.follow else { return };
        follow.after.extend(after);
        self.meet_followed(now, after.is_none(), roster);
    }

    /// Looks whether what was followed meets what is proved. Others' pieces may lie among what was followed: each proves on
    /// from where the other ends.
    pub(super) fn meet_followed(&mut self, now: Time, is_whole: bool, roster: &mut Roster) {
        loop {
            let Some(follow) = &mut self.follow else { return };
            let (peer, floor) = (follow.peer, self.fill.floor());
            if self.fill.meet_followed(&follow.after, is_whole) == Some(false) {
                follow.is_running = false;
                self.fill.forget_followed();
                return self.put_out(peer);
            }
            let false_ones = self.fill.extend_chain();
            false_ones.iter().for_each(|hash| self.convict_all(now, hash, roster));
            if self.fill.floor() == floor {
                return;
            }
        }
    }

    /// It has landed, or it stops: whoever it was may be asked as usual.
    pub(super) fn follow_ended(&mut self, now: Time, run: &Run, end: End) {
        let mut is_fruitless = false;
        if let Some(follow) = self.follow.as_mut().filter(|follow| follow.run == run.id) {
            follow.is_running = false;
            is_fruitless = follow.after.is_empty();
        }
        self.source(run.peer, |source| {
            if is_fruitless {
                source.follows = FOLLOWS_PER_SOURCE;
            }
            source.fetching = None;
            source.not_before = now + COMING_PAUSE;
            source.is_out |= matches!(end, End::Unusable | End::Lied);
        });
        if end == End::Lied {
            self.fill.forget_followed();
        }
    }
}
