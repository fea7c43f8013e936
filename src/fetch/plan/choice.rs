//! Who is asked for which pieces: the choice of a flight's next run.

use std::net::SocketAddr;
use std::ops::Range;

use super::flight::{Plan, Run, Source};
use super::roster::Roster;
use super::{Ask, RunId};
use crate::digest::PIECE_LEN;
use crate::limits::{
    ASKERS_PER_PIECE, FIRST_RUN_OF_NEIGHBOUR, MIRROR_STALL_TIME, PEER_HEAD_TIME, PIECES_PER_RUN, RUN_TIME,
};
use crate::time::Time;

impl Plan {
    pub(super) fn next_ask(&mut self, now: Time, run: RunId, roster: &Roster) -> Option<Ask> {
        if let Some(ask) = self.next_follow(now, run, roster) {
            return Some(ask);
        }
        let strangers = self.wants_strangers(now, roster);
        let can_be_asked = |source: &&Source| {
            !source.is_out
                && source.not_before <= now
                && (source.is_neighbour || strangers)
                && roster.is_free(source.peer, now)
        };
        let mut free: Vec<SocketAddr> = self.sources.iter().filter(can_be_asked).map(|s| s.peer).collect();
        free.sort_by_key(|peer| std::cmp::Reverse(roster.rank(*peer)));
        let (peer, pieces) =
            free.into_iter().find_map(|peer| self.pieces_for(peer, now, roster).map(|pieces| (peer, pieces)))?;
        Some(self.ask(Run::new(run, peer, pieces, now, false)))
    }

    fn ask(&mut self, run: Run) -> Ask {
        let (peer, pieces) = (run.peer, run.left.clone());
        let table_first = !self.is_small() && !self.fill.has_tables();
        let ask = Ask { run: run.id, peer, pieces, table_first, follows: false };
        self.runs.push(run);
        ask
    }

    /// A neighbour that rests and may be back, where nobody gives anything. All that rest are asked at the same time.
    pub(super) fn next_trial(&mut self, now: Time, run: RunId, roster: &Roster) -> Option<Ask> {
        if self.runs.iter().any(|run| !run.is_lost && !run.is_trial) {
            return None;
        }
        let is_due = |source: &&Source| self.trial_at(source, now, roster).is_some_and(|at| at <= now);
        let peers: Vec<SocketAddr> = self.sources.iter().filter(is_due).map(|source| source.peer).collect();
        let (peer, pieces) =
            peers.into_iter().find_map(|peer| self.pieces_for(peer, now, roster).map(|pieces| (peer, pieces)))?;
        self.source(peer, |source| source.is_tried = true);
        let mut run = Run::new(run, peer, pieces, now, false);
        run.is_trial = true;
        Some(self.ask(run))
    }

    /// Whether a neighbour may be asked although it rests: where the mirror has failed, and once for each file. A mirror that is
    /// skipped is asked before.
    pub(super) fn may_try(&self, source: &Source) -> bool {
        self.mirror.failed.is_some() && source.is_neighbour && !source.is_out && !source.is_tried
    }

    /// When it may.
    pub(super) fn trial_at(&self, source: &Source, now: Time, roster: &Roster) -> Option<Time> {
        let at = roster.trial_at(source.peer, now).filter(|_| self.may_try(source))?;
        Some(at.max(source.not_before))
    }

    /// Which pieces this peer is to give: the highest that nobody was asked for, else one that another is late with.
    fn pieces_for(&self, peer: SocketAddr, now: Time, roster: &Roster) -> Option<Range<usize>> {
        // Any neighbour may have a small file: they are asked side by side.
        let at_once = if self.is_small() && roster.is_neighbour(peer) { ASKERS_PER_PIECE } else { 1 };
        let open = |piece: &usize| {
            self.is_useful(*piece)
                && self.askers(*piece) < at_once
                && !self.is_asked(peer, *piece)
                && self.may_ask(*piece, peer, now, roster)
        };
        let last = self.front_piece()..self.fill.floor();
        let Some(high) = last.clone().rev().find(open) else {
            return last.rev().find(|piece| self.is_late(*piece, peer, now, roster)).map(|piece| piece..piece + 1);
        };
        let open_count = last.filter(open).count();
        let count = self.run_len(peer, open_count, roster);
        let low = (high + 1 - count.min(high + 1)..=high).rev().take_while(open).last().unwrap_or(high);
        Some(low..high + 1)
    }

    /// Pieces for about a second at the peer's rate, and not more than half of its share of what is left: near the end
    /// the pieces must be spread over all.
    fn run_len(&self, peer: SocketAddr, open: usize, roster: &Roster) -> usize {
        let Some(rate) = roster.rate(peer) else {
            let first = if roster.is_neighbour(peer) { FIRST_RUN_OF_NEIGHBOUR } else { 1 };
            return first.min((open / 2).max(1));
        };
        let others: u64 = self
            .runs
            .iter()
            .filter(|run| !run.is_lost && !run.is_trial && run.peer != peer)
            .map(|run| roster.rate(run.peer).unwrap_or(rate))
            .sum();
        let all = rate + others + self.mirror_rate().unwrap_or(0);
        let share = u64::try_from(open).unwrap_or(u64::MAX).saturating_mul(rate) / all.max(1) / 2;
        let in_time = rate.saturating_mul(RUN_TIME.as_secs()) / PIECE_LEN;
        usize::try_from(share.min(in_time)).unwrap_or(1).clamp(1, PIECES_PER_RUN)
    }

    fn askers(&self, piece: usize) -> usize {
        self.runs.iter().filter(|run| !run.is_lost && !run.is_trial && run.left.contains(&piece)).count()
    }

    fn is_asked(&self, peer: SocketAddr, piece: usize) -> bool {
        self.runs.iter().any(|run| run.peer == peer && run.left.contains(&piece))
    }

    /// Whether a peer's piece would still be taken.
    pub(super) fn is_useful(&self, piece: usize) -> bool {
        let front = self.front_piece();
        (piece > front && self.fill.is_missing(piece))
            || (piece == front && self.fill.floor() == piece + 1 && self.handed != Some(piece))
    }

    /// The piece at the front is asked of peers only when the mirror does not bring it, or much later.
    fn may_ask(&self, piece: usize, peer: SocketAddr, now: Time, roster: &Roster) -> bool {
        if piece > self.front_piece() || !self.mirror.is_running || self.is_small() {
            return true;
        }
        if now.since(self.mirror.heard) >= MIRROR_STALL_TIME {
            return true;
        }
        let end = ((piece as u64 + 1) * PIECE_LEN).min(self.len);
        let by_mirror = self.mirror_rate().map(|rate| (end - self.front) * 1000 / rate.max(1));
        let by_peer = roster.rate(peer).map(|rate| PIECE_LEN * 1000 / rate.max(1) + 50);
        match (by_mirror, by_peer) {
            (Some(by_mirror), Some(by_peer)) => by_mirror > 2 * by_peer,
            (None, _) => true,
            (Some(_), None) => false,
        }
    }

    /// Whether a piece that another was asked for is better asked for again.
    fn is_late(&self, piece: usize, peer: SocketAddr, now: Time, roster: &Roster) -> bool {
        if !self.is_useful(piece) || self.askers(piece) >= ASKERS_PER_PIECE || !self.may_ask(piece, peer, now, roster)
        {
            return false;
        }
        if self.is_asked(peer, piece) {
            return false;
        }
        let is_asked = |run: &&Run| !run.is_lost && !run.is_trial && run.left.contains(&piece);
        let Some(run) = self.runs.iter().find(is_asked) else { return false };
        let Some(rate) = roster.rate(peer) else { return now.since(run.heard) > PEER_HEAD_TIME / 3 };
        let ours = PIECE_LEN * 1000 / rate.max(1);
        let elapsed = u64::try_from(now.since(run.begun).as_millis()).unwrap_or(u64::MAX);
        let left = (piece + 1 - run.left.start) as u64 * PIECE_LEN - run.bytes % PIECE_LEN;
        let theirs = left.saturating_mul(elapsed).checked_div(run.bytes).unwrap_or(4 * elapsed);
        theirs > 2 * ours
    }
}
