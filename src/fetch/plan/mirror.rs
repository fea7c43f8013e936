//! What the mirror is told: to stream, to stop where peers carry, or to wait for them.

use super::flight::{Plan, Source};
use super::roster::Roster;
use super::{MirrorNews, Order, Prefer};
use crate::digest::PIECE_LEN;
use crate::limits::{GAIN_TIME, HOPE_PAUSES, HOPE_TIME, KEEP_APT_ALIVE_TIME, PEER_HEAD_TIME, PEER_REST_TIME};
use crate::time::Time;

/// What is known of the mirror.
#[derive(Clone, Copy)]
pub(super) struct Mirror {
    pub(super) is_running: bool,
    /// Nothing is to be had of it: it has failed, or is skipped as long as peers may give the file.
    pub(super) has_failed: bool,
    /// When it failed; one that is merely skipped has not.
    pub(super) failed: Option<Time>,
    /// It was skipped at first.
    pub(super) was_skipped: bool,
    /// It failed in that it could not be reached, or was silent.
    pub(super) is_away: bool,
    /// Of this request: where it ends, when it was asked, at which byte, and when bytes came last.
    pub(super) until: Option<u64>,
    pub(super) asked: Time,
    pub(super) asked_at: u64,
    pub(super) heard: Time,
}

impl Mirror {
    /// One that is to be asked for the bytes from `front` on.
    pub(super) fn new(now: Time, front: u64) -> Mirror {
        Mirror {
            is_running: false,
            has_failed: false,
            failed: None,
            was_skipped: false,
            is_away: false,
            until: None,
            asked: now,
            asked_at: front,
            heard: now,
        }
    }
}

impl Plan {
    pub(super) fn mirror_news(&mut self, now: Time, news: MirrorNews, roster: &mut Roster) {
        match news {
            MirrorNews::Asked { until } => {
                let (asked, asked_at) = (now, self.front);
                self.has_asked = true;
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
            MirrorNews::Skipped => {
                (self.mirror.has_failed, self.mirror.was_skipped) = (true, true);
            }
            MirrorNews::Wanted => self.mirror.has_failed = false,
            MirrorNews::Failed | MirrorNews::Away => {
                self.mirror.is_running = false;
                (self.mirror.has_failed, self.mirror.failed) = (true, Some(now));
                self.mirror.is_away |= news == MirrorNews::Away;
                // Peers were waited for already where it was skipped.
                if !self.mirror.was_skipped {
                    self.gained = now;
                }
            }
        }
    }

    fn front_moved(&mut self, now: Time, front: u64, roster: &mut Roster) {
        let before = self.front_piece();
        self.front = front;
        self.shown = now;
        self.gained = now;
        self.mirror.heard = now;
        let piece = self.front_piece();
        // What was handed over to complete this piece is appended after this: till then nobody else writes there.
        self.handed = self.handed.filter(|handed| *handed == piece);
        // All that it passed over and the piece that it is in now are the mirror's.
        (before..=piece).for_each(|piece| self.fill.give_up(piece));
        if self.is_small() && self.mirror.is_running && front == self.len {
            roster.patience.mirror.note(now.since(self.mirror.asked));
        }
    }

    /// Bytes a second of the current request, once that can be told.
    pub(super) fn mirror_rate(&self) -> Option<u64> {
        self.mirror_rate_until(self.mirror.heard)
    }

    /// The same, of a mirror that has sent nothing since it was heard last.
    pub(super) fn mirror_rate_until(&self, now: Time) -> Option<u64> {
        let bytes = self.front.saturating_sub(self.mirror.asked_at);
        let millis = u64::try_from(now.since(self.mirror.asked).as_millis()).unwrap_or(u64::MAX);
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
        // Once asked, it goes on: to let it go and ask again costs more time. To spare it, peers that carry suffice.
        let is_led = self.is_led();
        let is_spared = is_led || self.prefer == Prefer::Offload && self.is_carried();
        let is_released = is_spared && at_piece_start && self.mirror.until.is_none();
        if self.mirror.is_running && self.mirror.until.is_none_or(|until| self.front < until) && !is_released {
            return Order::Fetch { until: self.mirror.until };
        }
        let is_hopeful = self.is_hopeful(now, roster);
        if self.mirror.has_failed {
            return if is_hopeful { Order::Wait(self.wake_at(now, roster)) } else { Order::GiveUp };
        }
        if is_led || self.prefer == Prefer::Offload && is_hopeful {
            let keep_alive = self.shown + KEEP_APT_ALIVE_TIME;
            if now < keep_alive && (at_piece_start || !is_led) {
                return Order::Wait(keep_alive.min(self.wake_at(now, roster)));
            }
            let end = (self.front_piece() as u64 + 1) * PIECE_LEN;
            return Order::Fetch { until: Some(end.min(self.len)) };
        }
        if self.prefer == Prefer::Speed && self.holds_mirror(now) {
            return Order::Wait(self.head_start_until);
        }
        Order::Fetch { until: None }
    }

    /// Whether a peer is giving pieces right now.
    fn is_carried(&self) -> bool {
        self.runs.iter().any(|run| !run.is_lost && run.bytes > 0)
    }

    /// Whether a small file is given its neighbours' head start.
    fn holds_mirror(&self, now: Time) -> bool {
        self.is_small() && now < self.head_start_until && self.runs.iter().any(|run| !run.is_lost)
    }

    /// Whether peers may give more.
    fn is_hopeful(&self, now: Time, roster: &Roster) -> bool {
        // Where there is nobody else, a neighbour that missed a moment is asked again: its disk may have slept. Not where
        // apt has waited long for the mirror, nor for each file that comes while it is known to be away.
        let is_early = now.since(self.joined) < PEER_REST_TIME && !self.mirror.was_skipped;
        let is_last = |source: &Source| self.mirror.is_away && is_early && source.is_neighbour;
        let soon = |source: &Source| now + if is_last(source) { PEER_REST_TIME } else { HOPE_TIME };
        // One that rests is being tried for another flight, which tells all, or is tried as soon as a thread is free: not for
        // long where all have more to do.
        let is_soon = self.mirror.failed.is_some_and(|failed| now.since(failed) < PEER_HEAD_TIME);
        let is_tried = |source: &Source| {
            let is_on_trial = self.may_try(source) && roster.is_on_trial(source.peer, now);
            is_on_trial || is_soon && self.trial_at(source, now, roster).is_some_and(|at| at <= now)
        };
        let rests_until = |source: &Source| if is_tried(source) { Time(0) } else { roster.rests_until(source.peer) };
        let may_serve = |source: &Source| {
            let is_awaited = |fetching| self.mirror.has_failed || self.is_awaited(now, fetching);
            // Who always asks for a moment more is worth waiting for only where there is no mirror.
            !source.is_out
                && (self.mirror.has_failed || source.pauses < HOPE_PAUSES)
                && source.not_before.max(rests_until(source)) <= soon(source)
                && source.fetching.is_none_or(is_awaited)
        };
        // Peers that only promise are not waited for for ever.
        let is_moving = now.since(self.gained) < GAIN_TIME;
        let may_come =
            !self.leads_over || self.runs.iter().any(|run| !run.is_lost) || self.sources.iter().any(may_serve);
        is_moving && may_come
    }
}
