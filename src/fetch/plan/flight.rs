//! The plan of one flight: its sources, its runs, and what the mirror is told.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::fill::Fill;
use super::roster::Roster;
use super::{End, FlightId, MirrorNews, Order, Output, Place, Prefer, RunId, RunNews, Target};
use crate::digest::{Digest, PIECE_LEN, PieceTable};
use crate::limits::{
    CONVICTED_REST_TIME, GAIN_TIME, HOPE_TIME, KEEP_APT_ALIVE_TIME, LOOKUP_TIME, LOOKUP_WORTH_TIME,
    MIRROR_STALL_TIME, PEER_HEAD_TIME, PEER_SLOW_TIME, PEER_STALL_TIME, SOURCE_RATE_MIN, SOURCES,
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
    /// Its time is over: its pieces may be asked elsewhere.
    pub(super) is_lost: bool,
}

/// What is known of the mirror.
#[derive(Clone, Copy)]
pub(super) struct Mirror {
    pub(super) is_running: bool,
    has_failed: bool,
    /// Of this request: where it ends, when it was asked, at which byte, and when bytes came last.
    until: Option<u64>,
    asked: Time,
    asked_at: u64,
    pub(super) heard: Time,
}

pub(super) struct Plan {
    pub(super) id: FlightId,
    pub(super) fill: Fill,
    pub(super) runs: Vec<Run>,
    pub(super) leads_over: bool,
    pub(super) outputs: Vec<Output>,
    prefer: Prefer,
    pub(super) len: u64,
    pub(super) front: u64,
    pub(super) mirror: Mirror,
    pub(super) sources: Vec<Source>,
    joined: Time,
    looked_up: Option<Time>,
    /// When bytes could last be shown to a client.
    shown: Time,
    /// The piece that was handed over to complete the file: it is on its way.
    pub(super) handed: Option<usize>,
    /// When anything of the file came last.
    gained: Time,
    /// With a small file: until when only neighbours are asked.
    head_start_until: Time,
}

impl Plan {
    pub(super) fn new(id: FlightId, target: Target, prefer: Prefer, now: Time, roster: &Roster) -> Plan {
        let Target { len, front, .. } = target;
        Plan {
            id,
            fill: Fill::new(len),
            runs: Vec::new(),
            leads_over: false,
            outputs: Vec::new(),
            prefer,
            len,
            front,
            mirror: Mirror {
                is_running: false,
                has_failed: false,
                until: None,
                asked: now,
                asked_at: front,
                heard: now,
            },
            sources: Vec::new(),
            joined: now,
            looked_up: None,
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

    pub(super) fn lead(&mut self, peer: SocketAddr, is_neighbour: bool) {
        if self.sources.len() < SOURCES && self.sources.iter().all(|known| known.peer != peer) {
            let (is_out, is_convicted) = (false, false);
            self.sources.push(Source {
                peer,
                is_neighbour,
                vouches: None,
                not_before: Time(0),
                is_out,
                is_convicted,
            });
        }
    }

    pub(super) fn hint(&mut self, table: Arc<PieceTable>) {
        self.fill.offer(table);
    }

    /// Takes a table from a peer itself: it counts more than one that nobody stands for.
    fn offer(&mut self, table: &Arc<PieceTable>) -> bool {
        if self.fill.offer(Arc::clone(table)) {
            return true;
        }
        let is_vouched =
            |hash: &Digest| self.sources.iter().any(|s| !s.is_convicted && s.vouches.as_ref() == Some(hash));
        let Some(hint) = self.fill.hashes().into_iter().find(|hash| !is_vouched(hash)) else { return false };
        self.fill.forget(&hint);
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
        if self.looked_up.is_some() || self.leads_over || !self.wants_strangers(now, roster) {
            return false;
        }
        // What the mirror brings before a lookup could end is not looked up.
        let is_short = self.mirror_rate().or(roster.mirror_rate()).is_some_and(|rate| {
            let left = Duration::from_millis((self.len - self.front).saturating_mul(1000) / rate.max(1));
            left < LOOKUP_WORTH_TIME
        });
        self.prefer == Prefer::Offload
            || self.mirror.has_failed
            || !is_short
            || now.since(self.joined) > LOOKUP_WORTH_TIME
    }

    // ── the mirror ───────────────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn mirror_news(&mut self, now: Time, news: MirrorNews, roster: &mut Roster) {
        match news {
            MirrorNews::Asked { until } => {
                let (asked, asked_at) = (now, self.front);
                self.mirror = Mirror { is_running: true, until, asked, asked_at, heard: now, ..self.mirror };
            }
            MirrorNews::Front(front) => self.front_moved(now, front, roster),
            MirrorNews::Idle => {
                // What a small file tells is how far the mirror is, not how fast.
                if let Some(rate) = self.mirror_rate()
                    && self.front - self.mirror.asked_at >= PIECE_LEN
                {
                    roster.note_mirror_rate(rate);
                }
                self.mirror.is_running = false;
            }
            MirrorNews::Failed => {
                self.mirror.is_running = false;
                self.mirror.has_failed = true;
                self.gained = now;
            }
        }
    }

    fn front_moved(&mut self, now: Time, front: u64, roster: &mut Roster) {
        let before = self.front_piece();
        self.front = front;
        self.shown = now;
        self.gained = now;
        self.handed = None;
        self.mirror.heard = now;
        let piece = self.front_piece();
        // All that it passed over and the piece that it is in now are the mirror's.
        (before..=piece).for_each(|piece| self.fill.give_up(piece));
        if self.is_small() && self.mirror.is_running && front == self.len {
            roster.patience.mirror.note(now.since(self.mirror.asked));
        }
    }

    /// Bytes a second of the current request, once that can be told.
    pub(super) fn mirror_rate(&self) -> Option<u64> {
        let bytes = self.front.saturating_sub(self.mirror.asked_at);
        let millis = u64::try_from(self.mirror.heard.since(self.mirror.asked).as_millis()).unwrap_or(u64::MAX);
        (self.mirror.is_running && bytes > 0 && millis > 0).then(|| bytes.saturating_mul(1000) / millis)
    }

    pub(super) fn order(&self, now: Time, roster: &Roster) -> Order {
        if self.front == self.len {
            return Order::Whole;
        }
        let at_piece_start = self.front.is_multiple_of(PIECE_LEN);
        if at_piece_start && self.fill.floor() <= self.front_piece() {
            return Order::Graft;
        }
        // Once asked, it goes on: to let it go and ask again costs more.
        if self.mirror.is_running && self.mirror.until.is_none_or(|until| self.front < until) {
            return Order::Fetch { until: self.mirror.until };
        }
        let is_hopeful = self.is_hopeful(now, roster);
        if self.mirror.has_failed {
            return if is_hopeful { Order::Wait(self.wake_at(now, roster)) } else { Order::GiveUp };
        }
        match self.prefer {
            Prefer::Speed if self.holds_mirror(now) => Order::Wait(self.head_start_until),
            Prefer::Offload if is_hopeful => {
                let keep_alive = self.shown + KEEP_APT_ALIVE_TIME;
                if now < keep_alive {
                    return Order::Wait(keep_alive.min(self.wake_at(now, roster)));
                }
                let end = (self.front_piece() as u64 + 1) * PIECE_LEN;
                Order::Fetch { until: Some(end.min(self.len)) }
            }
            Prefer::Speed | Prefer::Offload => Order::Fetch { until: None },
        }
    }

    /// Whether a small file is given its neighbours' head start.
    fn holds_mirror(&self, now: Time) -> bool {
        self.is_small() && now < self.head_start_until && self.runs.iter().any(|run| !run.is_lost)
    }

    /// Whether peers may give more.
    fn is_hopeful(&self, now: Time, roster: &Roster) -> bool {
        let soon = now + HOPE_TIME;
        let may_serve =
            |source: &Source| !source.is_out && source.not_before.max(roster.rests_until(source.peer)) <= soon;
        // Peers that only promise are not waited for for ever.
        let is_moving = now.since(self.gained) < GAIN_TIME;
        let may_come =
            !self.leads_over || self.runs.iter().any(|run| !run.is_lost) || self.sources.iter().any(may_serve);
        is_moving && may_come
    }

    // ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn is_wanted(&self, id: RunId) -> bool {
        let run = self.runs.iter().find(|run| run.id == id);
        run.is_some_and(|run| !run.is_lost && run.left.clone().any(|piece| self.is_useful(piece)))
    }

    pub(super) fn place(&mut self, now: Time, id: RunId, piece: usize) -> Place {
        let Some(run) = self.runs.iter_mut().find(|run| run.id == id) else { return Place::Late };
        run.left.start = piece + 1;
        run.heard = now;
        let peer = run.peer;
        let source = self.sources.iter().find(|source| source.peer == peer);
        let vouched = source.and_then(|source| source.vouches);
        let front = self.front_piece();
        let may_show = self.fill.would_be_proved(piece, vouched.as_ref());
        let place = match piece {
            _ if source.is_none_or(|source| source.is_convicted) || piece < front => Place::Late,
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
                self.runs[at].heard = now;
                if !self.offer(&table) {
                    self.put_out(peer);
                }
            }
            RunNews::Head(vouches) => {
                self.runs[at].answered.get_or_insert(now);
                self.runs[at].heard = now;
                self.vouch(now, peer, vouches, roster);
            }
            RunNews::Bytes(bytes) => {
                self.runs[at].bytes += bytes;
                self.runs[at].heard = now;
            }
            RunNews::Written { piece, is_there } => {
                let vouched = self.sources.iter().find(|source| source.peer == peer).and_then(|s| s.vouches);
                if let Some(hash) = vouched {
                    let false_ones = self.fill.end_write(piece, &hash, is_there);
                    false_ones.iter().for_each(|hash| self.convict_all(now, hash, roster));
                }
            }
            RunNews::Ended(end) => {
                let run = self.runs.swap_remove(at);
                self.run_ended(now, &run, end, roster);
            }
        }
    }

    /// The sender stands for this table: for one that is known to be false it answers at once.
    fn vouch(&mut self, now: Time, peer: SocketAddr, vouches: Option<Digest>, roster: &mut Roster) {
        let Some(source) = self.sources.iter_mut().find(|source| source.peer == peer) else { return };
        if source.vouches.is_none() {
            source.vouches = vouches;
        } else if source.vouches != vouches {
            // It said something else of the same file before.
            source.is_out = true;
        }
        if let Some(hash) = vouches.filter(|hash| self.fill.is_false(hash)) {
            self.convict_all(now, &hash, roster);
        }
    }

    fn run_ended(&mut self, now: Time, run: &Run, end: End, roster: &mut Roster) {
        roster.end(run.peer);
        let took = now.since(run.begun);
        if self.is_small() && roster.is_neighbour(run.peer) && end != End::Stopped {
            roster.patience.note_neighbour((end == End::Whole).then_some(took));
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
            End::NotHere => self.put_out(run.peer),
            End::Later { pause, is_busy } => {
                if is_busy {
                    roster.rest(run.peer, now + pause);
                }
                self.source(run.peer, |source| source.not_before = now + pause);
            }
            End::Unusable => {
                roster.failed(run.peer, now);
                self.put_out(run.peer);
            }
            End::Lied => self.convict(now, run.peer, roster),
        }
    }

    fn source(&mut self, peer: SocketAddr, change: impl FnOnce(&mut Source)) {
        if let Some(source) = self.sources.iter_mut().find(|source| source.peer == peer) {
            change(source);
        }
    }

    fn put_out(&mut self, peer: SocketAddr) {
        self.source(peer, |source| source.is_out = true);
    }

    fn convict_all(&mut self, now: Time, table: &Digest, roster: &mut Roster) {
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
                let too_slow = run.bytes < SOURCE_RATE_MIN.saturating_mul(run.heard.since(answered).as_secs());
                let stalled = run.heard + PEER_STALL_TIME;
                if too_slow { stalled.min(answered + PEER_SLOW_TIME) } else { stalled }
            }
        }
    }

    pub(super) fn tick(&mut self, now: Time, roster: &mut Roster) {
        for run in self.runs.iter_mut().filter(|run| !run.is_lost && now >= Plan::deadline(run)) {
            run.is_lost = true;
            roster.failed(run.peer, now);
        }
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
        let lookup = match self.looked_up {
            Some(since) if !self.leads_over => Some(since + LOOKUP_TIME + Duration::from_millis(1)),
            Some(_) => None,
            None => Some(
                (self.joined + roster.patience.mirror_is_slow_after()).max(self.joined + LOOKUP_WORTH_TIME)
                    + Duration::from_millis(1),
            ),
        };
        let late = (!self.runs.is_empty()).then(|| now + PEER_HEAD_TIME / 3);
        let stall = self.mirror.is_running.then(|| self.mirror.heard + MIRROR_STALL_TIME);
        let times = runs
            .chain(stall)
            .chain([self.gained + GAIN_TIME])
            .chain(rests)
            .chain(lookup)
            .chain(late)
            .chain([self.head_start_until]);
        times.filter(|at| *at > now).min().unwrap_or(Time(u64::MAX))
    }
}
