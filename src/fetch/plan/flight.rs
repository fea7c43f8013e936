//! The plan of one flight: its sources, its runs, and what the mirror is told.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::fill::Fill;
use super::follow::Follow;
use super::mirror::Mirror;
use super::roster::Roster;
use super::{End, Fetching, FlightId, NodeName, Output, Place, Prefer, RunId, RunNews, Target};
use crate::digest::{Digest, PIECE_LEN, PieceTable};
use crate::limits::{
    COMING_TIME, CONVICTED_REST_TIME, GAIN_TIME, HOPE_TIME, LOOKUP_AGAIN_PIECES, LOOKUP_AGAIN_TIME, LOOKUP_COST,
    LOOKUP_TIME, MIRROR_STALL_TIME, PAUSES_PER_SOURCE, PEER_HEAD_TIME, PEER_PAUSE_MIN, PEER_SLOW_TIME,
    PEER_STALL_TIME, SOURCE_RATE_MIN, SOURCES,
};
use crate::time::Time;

/// A peer as this flight knows it.
pub(super) struct Source {
    pub(super) peer: SocketAddr,
    pub(super) is_neighbour: bool,
    /// The table that it stands for.
    vouches: Option<Digest>,
    /// Not asked before this.
    pub(super) not_before: Time,
    /// Not asked again for this file.
    pub(super) is_out: bool,
    /// It did not have it, or never had room for us: that may change.
    is_absent: bool,
    /// It fetches the file itself; and whether it, and not we, is to ask the mirror.
    pub(super) fetching: Option<(Fetching, bool)>,
    /// It was asked although it rested.
    pub(super) is_tried: bool,
    /// How often it was followed.
    pub(super) follows: u32,
    /// How often it asked for a pause since it gave a piece.
    pub(super) pauses: u32,
    is_convicted: bool,
}

/// Pieces asked of a peer.
pub(super) struct Run {
    pub(super) id: RunId,
    pub(super) peer: SocketAddr,
    /// From the next piece to come to the last, exclusive.
    pub(super) left: Range<usize>,
    pub(super) begun: Time,
    pub(super) answered: Option<Time>,
    /// When bytes came last.
    pub(super) heard: Time,
    pub(super) bytes: u64,
    /// The table that the head of this answer named: its pieces are checked under that one, and count under no other.
    vouches: Option<Digest>,
    /// Its time is over: its pieces may be asked elsewhere.
    pub(super) is_lost: bool,
    /// It follows a neighbour: as slow as the mirror may be.
    follows: bool,
    /// The peer rests, and has not answered yet: others are asked for the same.
    pub(super) is_trial: bool,
}

impl Run {
    pub(super) fn new(id: RunId, peer: SocketAddr, left: Range<usize>, begun: Time, follows: bool) -> Run {
        let (answered, vouches, is_trial) = (None, None, false);
        Run { id, peer, left, begun, answered, heard: begun, bytes: 0, vouches, is_lost: false, follows, is_trial }
    }
}

pub(super) struct Plan {
    pub(super) id: FlightId,
    pub(super) fill: Fill,
    pub(super) runs: Vec<Run>,
    pub(super) leads_over: bool,
    pub(super) outputs: Vec<Output>,
    pub(super) prefer: Prefer,
    pub(super) own: NodeName,
    pub(super) digest: Digest,
    pub(super) follow: Option<Follow>,
    /// The mirror was asked.
    pub(super) has_asked: bool,
    pub(super) len: u64,
    pub(super) front: u64,
    pub(super) mirror: Mirror,
    pub(super) sources: Vec<Source>,
    pub(super) joined: Time,
    pub(super) looked_up: Option<Time>,
    /// The lookup has found somebody.
    has_found: bool,
    /// When bytes could last be shown to a client.
    pub(super) shown: Time,
    /// The piece that was handed over to complete the file: it is on its way.
    pub(super) handed: Option<usize>,
    /// When anything of the file came last.
    pub(super) gained: Time,
    /// With a small file: until when only neighbours are asked.
    pub(super) head_start_until: Time,
}

impl Plan {
    pub(super) fn new(
        id: FlightId,
        target: Target,
        (prefer, own): (Prefer, NodeName),
        now: Time,
        roster: &Roster,
    ) -> Plan {
        let Target { digest, len, front } = target;
        Plan {
            id,
            fill: Fill::new(len),
            runs: Vec::new(),
            leads_over: false,
            outputs: Vec::new(),
            prefer,
            own,
            digest,
            follow: None,
            has_asked: false,
            len,
            front,
            mirror: Mirror::new(now, front),
            sources: Vec::new(),
            joined: now,
            looked_up: None,
            has_found: false,
            shown: now,
            gained: now,
            handed: None,
            head_start_until: now + roster.patience.head_start(),
        }
    }

    pub(super) fn front(&self) -> u64 {
        self.front
    }

    pub(super) fn is_small(&self) -> bool {
        self.fill.count() == 1
    }

    /// The piece that the next byte from the start belongs to.
    pub(super) fn front_piece(&self) -> usize {
        usize::try_from(self.front / PIECE_LEN).expect("a piece's number")
    }

    pub(super) fn front_is_being_written(&self) -> bool {
        self.fill.is_being_written(self.front_piece())
    }

    // ── leads ────────────────────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn lead(&mut self, now: Time, peer: SocketAddr, is_neighbour: bool, roster: &mut Roster) {
        if let Some(since) = self.looked_up.filter(|_| !is_neighbour)
            && !std::mem::replace(&mut self.has_found, true)
        {
            roster.patience.lookup.note(now.since(since));
        }
        if let Some(known) = self.sources.iter_mut().find(|known| known.peer == peer) {
            // A later lookup finds who got it meanwhile.
            known.is_out &= !std::mem::take(&mut known.is_absent);
        } else if self.sources.len() < SOURCES {
            let (is_out, is_absent, is_tried, is_convicted) = (false, false, false, false);
            self.sources.push(Source {
                peer,
                is_neighbour,
                vouches: None,
                not_before: Time(0),
                is_out,
                is_absent,
                fetching: None,
                is_tried,
                follows: 0,
                pauses: 0,
                is_convicted,
            });
        }
    }

    pub(super) fn hint(&mut self, table: Arc<PieceTable>) {
        self.fill.offer(table);
    }

    /// Takes a table from a peer itself: it counts more than one that nobody stands for, and more than one of peers that
    /// named it and then were silent, cut off or busy; of several such the one goes under which the fewest pieces are here.
    fn offer(&mut self, now: Time, table: &Arc<PieceTable>, roster: &Roster) -> bool {
        if self.fill.offer(Arc::clone(table)) {
            return true;
        }
        let is_held = |hash: &Digest| {
            let holds = |source: &Source| !source.is_out && roster.rests_until(source.peer) <= now;
            self.sources.iter().any(|source| source.vouches.as_ref() == Some(hash) && holds(source))
        };
        let idle = self.fill.hashes().into_iter().filter(|hash| !is_held(hash));
        let Some(least) = idle.min_by_key(|hash| self.fill.pieces_under(hash)) else { return false };
        self.fill.forget(&least);
        self.fill.offer(Arc::clone(table))
    }

    /// Whether strangers are asked: for a small file only when the mirror does not do its part, or is to be spared.
    pub(super) fn wants_strangers(&self, now: Time, roster: &Roster) -> bool {
        !self.is_small() || self.prefer == Prefer::Offload || self.mirror_is_slow(now, roster)
    }

    fn mirror_is_slow(&self, now: Time, roster: &Roster) -> bool {
        self.mirror.has_failed || now.since(self.joined) > roster.patience.mirror_is_slow_after()
    }

    fn wants_lookup(&self, now: Time, roster: &Roster) -> bool {
        if self.looked_up.is_some() {
            return self.next_lookup().is_some_and(|at| now >= at);
        }
        if self.leads_over || !self.wants_strangers(now, roster) {
            return false;
        }
        let left = self.len - self.front;
        let is_short = match self.mirror_rate_until(now) {
            Some(rate) => roster.is_short(left, Some(rate)),
            // What it did of late is no promise.
            None => roster.is_short(left, None) && now.since(self.joined) <= roster.patience.lookup_cost(),
        };
        self.prefer == Prefer::Offload || self.mirror.has_failed || !is_short
    }

    /// While much of a file is missing and nobody gives it but the mirror, others may come to have it.
    fn next_lookup(&self) -> Option<Time> {
        let missing = self.fill.floor().saturating_sub(self.front_piece());
        let is_alone = self.leads_over && self.runs.iter().all(|run| run.is_lost);
        self.looked_up.filter(|_| is_alone && missing > LOOKUP_AGAIN_PIECES).map(|since| since + LOOKUP_AGAIN_TIME)
    }

    // ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn is_wanted(&self, id: RunId) -> bool {
        let run = self.runs.iter().find(|run| run.id == id);
        let is_useful = |run: &Run| match run.follows {
            true => self.follows(id) && self.front_piece() < self.fill.floor(),
            false => run.left.clone().any(|piece| self.is_useful(piece)),
        };
        run.is_some_and(|run| !run.is_lost && is_useful(run))
    }

    pub(super) fn place(&mut self, now: Time, id: RunId, piece: usize) -> Place {
        let Some(run) = self.runs.iter_mut().find(|run| run.id == id) else { return Place::Late };
        if run.follows {
            return self.place_followed(now, id, piece);
        }
        run.left.start = piece + 1;
        run.heard = now;
        let (peer, vouches) = (run.peer, run.vouches);
        // Whoever names one table and then another would stand for neither.
        let stands = |source: &Source| source.peer == peer && !source.is_convicted && source.vouches == vouches;
        let is_stood_for = self.sources.iter().any(stands);
        let front = self.front_piece();
        let may_show = self.fill.would_be_proved(piece, vouches.as_ref());
        let place = match piece {
            _ if !is_stood_for || piece < front => Place::Late,
            _ if piece == front => {
                if may_show {
                    Place::HandOver
                } else {
                    Place::Late
                }
            }
            _ if self.fill.begin_write(piece) => Place::Write,
            _ => Place::Late,
        };
        if place != Place::Late {
            self.gained = now;
            self.source(peer, |source| source.pauses = 0);
        }
        if place == Place::HandOver {
            self.handed = Some(piece);
        }
        place
    }

    pub(super) fn run_news(&mut self, now: Time, id: RunId, news: RunNews, roster: &mut Roster) {
        let Some(at) = self.runs.iter().position(|run| run.id == id) else { return };
        let peer = self.runs[at].peer;
        match news {
            RunNews::Table(table) => {
                self.answers(now, at, roster);
                if !self.offer(now, &table, roster) {
                    self.put_out(peer);
                }
            }
            RunNews::Head(vouches) => {
                if self.runs[at].answered.is_none() && !roster.is_neighbour(peer) {
                    roster.patience.stranger.note(now.since(self.runs[at].begun));
                }
                self.runs[at].answered.get_or_insert(now);
                self.answers(now, at, roster);
                self.vouch(now, at, vouches, roster);
            }
            RunNews::Bytes(bytes) => {
                self.runs[at].bytes += bytes;
                self.runs[at].heard = now;
            }
            RunNews::Written { piece, is_there } => {
                if let Some(hash) = self.runs[at].vouches {
                    let false_ones = self.fill.end_write(piece, &hash, is_there);
                    false_ones.iter().for_each(|hash| self.convict_all(now, hash, roster));
                    self.meet_followed(now, false, roster);
                }
            }
            RunNews::WrittenBehind { piece, is_there } => self.fill.end_followed(piece, is_there),
            RunNews::Followed(after) => {
                self.runs[at].answered.get_or_insert(now);
                self.followed(now, id, after, roster);
            }
            RunNews::Ended(end) => {
                let run = self.runs.swap_remove(at);
                self.run_ended(now, &run, end, roster);
            }
        }
    }

    fn answers(&mut self, now: Time, at: usize, roster: &mut Roster) {
        let run = &mut self.runs[at];
        (run.heard, run.is_trial) = (now, false);
        roster.answered(run.peer, run.begun);
    }

    /// The sender stands for this table: for one that is known to be false it answers at once.
    fn vouch(&mut self, now: Time, at: usize, vouches: Option<Digest>, roster: &mut Roster) {
        let run = &mut self.runs[at];
        run.vouches = vouches;
        let peer = run.peer;
        let Some(source) = self.sources.iter_mut().find(|source| source.peer == peer) else { return };
        if source.vouches.is_none() {
            source.vouches = vouches;
        } else if source.vouches != vouches {
            // It said something else of the same file before.
            source.is_out = true;
            run.is_lost = true;
        }
        if vouches.is_some_and(|hash| self.fill.is_false(&hash)) {
            self.convict(now, peer, roster);
        }
    }

    fn run_ended(&mut self, now: Time, run: &Run, end: End, roster: &mut Roster) {
        roster.end(run.peer);
        if run.follows {
            return self.follow_ended(now, run, end);
        }
        let took = now.since(run.begun);
        if self.is_small() && roster.is_neighbour(run.peer) && end != End::Stopped && !run.is_trial {
            roster.patience.note_neighbour((end == End::Whole).then_some(took));
        }
        if matches!(end, End::NotHere | End::Later { .. } | End::Fetching(_)) {
            roster.answered(run.peer, run.begun);
        }
        match end {
            End::Whole => roster.served(run.peer, run.bytes, took),
            // Its time was counted against it already.
            End::Stopped | End::Silent | End::Cut if run.is_lost => {}
            End::Stopped if run.bytes >= PIECE_LEN / 4 => roster.served(run.peer, run.bytes, took),
            End::Stopped => {}
            End::Silent => roster.failed(run.peer, now),
            End::Cut => {
                roster.failed(run.peer, now);
                if run.bytes < PIECE_LEN {
                    self.put_out(run.peer);
                }
            }
            End::NotHere => {
                self.put_out(run.peer);
                self.source(run.peer, |source| source.is_absent = true);
            }
            End::Later { pause, is_busy } => {
                let until = now + pause.max(PEER_PAUSE_MIN);
                if is_busy {
                    roster.rest(run.peer, until);
                }
                self.source(run.peer, |source| {
                    source.not_before = until;
                    source.pauses += 1;
                    source.is_absent = source.pauses >= PAUSES_PER_SOURCE;
                    source.is_out |= source.is_absent;
                });
            }
            End::Fetching(fetching) => self.note_fetching(now, run.peer, fetching),
            End::Unusable => {
                roster.failed(run.peer, now);
                self.put_out(run.peer);
            }
            End::Lied => self.convict(now, run.peer, roster),
        }
    }

    pub(super) fn source(&mut self, peer: SocketAddr, change: impl FnOnce(&mut Source)) {
        if let Some(source) = self.sources.iter_mut().find(|source| source.peer == peer) {
            change(source);
        }
    }

    pub(super) fn put_out(&mut self, peer: SocketAddr) {
        self.source(peer, |source| source.is_out = true);
    }

    pub(super) fn convict_all(&mut self, now: Time, table: &Digest, roster: &mut Roster) {
        let stood_for_it = |source: &&Source| source.vouches.as_ref() == Some(table);
        let all: Vec<_> = self.sources.iter().filter(stood_for_it).map(|source| source.peer).collect();
        all.into_iter().for_each(|peer| self.convict(now, peer, roster));
    }

    fn convict(&mut self, now: Time, peer: SocketAddr, roster: &mut Roster) {
        let Some(source) = self.sources.iter_mut().find(|source| source.peer == peer) else { return };
        if std::mem::replace(&mut source.is_convicted, true) {
            return;
        }
        source.is_out = true;
        let vouched = source.vouches;
        roster.rest(peer, now + CONVICTED_REST_TIME);
        self.runs.iter_mut().filter(|run| run.peer == peer).for_each(|run| run.is_lost = true);
        self.outputs.push(Output::Convict(peer));
        let has_others = self.sources.iter().any(|source| !source.is_convicted && source.vouches == vouched);
        if let Some(hash) = vouched.filter(|_| !has_others) {
            self.fill.forget(&hash);
        }
    }

    // ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /// When a run's time is over.
    fn deadline(run: &Run) -> Time {
        match run.answered {
            None => run.heard + PEER_HEAD_TIME,
            Some(answered) => {
                let too_slow =
                    !run.follows && run.bytes < SOURCE_RATE_MIN.saturating_mul(run.heard.since(answered).as_secs());
                let stalled = run.heard + PEER_STALL_TIME;
                if too_slow { stalled.min(answered + PEER_SLOW_TIME) } else { stalled }
            }
        }
    }

    pub(super) fn tick(&mut self, now: Time, roster: &mut Roster) {
        for run in self.runs.iter_mut().filter(|run| !run.is_lost && now >= Plan::deadline(run)) {
            run.is_lost = true;
            // Who is followed may be as far from the mirror as we are.
            if !run.follows {
                roster.failed(run.peer, now);
            }
        }
        self.check_lead(now);
        if self.looked_up.is_some_and(|since| now.since(since) > LOOKUP_TIME) {
            self.leads_over = true;
        }
        if self.wants_lookup(now, roster) {
            self.looked_up = Some(now);
            self.outputs.push(Output::Lookup(self.id));
        }
    }

    pub(super) fn wake_at(&self, now: Time, roster: &Roster) -> Time {
        let runs = self.runs.iter().filter(|run| !run.is_lost).map(Plan::deadline);
        let rests = self.sources.iter().filter(|source| !source.is_out);
        let rests = rests.map(|source| source.not_before.max(roster.rests_until(source.peer)));
        let trials = self.sources.iter().filter_map(|source| self.trial_at(source, now, roster));
        let lookup = match self.looked_up {
            Some(since) if !self.leads_over => Some(since + LOOKUP_TIME + Duration::from_millis(1)),
            Some(_) => None,
            None => Some(
                self.joined
                    + match self.is_small() {
                        true => roster.patience.mirror_is_slow_after(),
                        false => roster.patience.lookup_cost(),
                    }
                    + Duration::from_millis(1),
            ),
        };
        let late = (!self.runs.is_empty()).then(|| now + PEER_HEAD_TIME / 3);
        let stall = self.mirror.is_running.then(|| self.mirror.heard + MIRROR_STALL_TIME);
        let times = runs
            .chain(stall)
            .chain([self.gained + GAIN_TIME])
            .chain(self.mirror.failed.map(|failed| failed + PEER_HEAD_TIME))
            .chain(rests)
            .chain(trials)
            .chain(lookup)
            .chain(self.next_lookup())
            .chain([self.joined + COMING_TIME, self.joined + HOPE_TIME, self.joined + LOOKUP_COST])
            .chain(late)
            .chain([self.head_start_until]);
        times.filter(|at| *at > now).min().unwrap_or(Time(u64::MAX))
    }
}
