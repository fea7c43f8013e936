//! Which source supplies which piece next, for all flights at once. Pure: no clock, socket or thread.
//!
//! Two verbs: [`Plans::handle`] takes what happened, and [`Plans::poll`] is called until it answers
//! [`Output::WakeAt`]. [`Plans::order`] and [`Plans::place`] say what follows for the mirror and for a piece.
//!
//! ```text
//! byte 0                      front          floor                    end
//! ├── from the mirror, shown ──┤╌╌╌ missing ╌╌╌├── from peers, proved ──┤
//!                               ▲ the mirror    ▲ peers, in runs of 1–16
//! ```
//!
//! The mirror streams forward from the start; peers fill from the end backwards, in which order pieces prove one another
//! (see `fill`). What is proved is always the file's end, so the mirror never has to jump: when front and floor meet, it
//! is let go. Nothing waits for a peer: a piece that the mirror comes to is the mirror's, whoever was asked for it, and
//! so peers can make a download faster, but not slower. Only a piece that completes the file is taken from a peer while
//! the mirror is inside it.

mod choice;
mod fill;
mod flight;
mod follow;
mod mirror;
mod roster;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use self::flight::Plan;
use self::roster::Roster;
use crate::digest::{Digest, Midstate, PieceTable, pieces};
use crate::limits::TRIAL_THREADS_KEPT;
use crate::time::Time;

/// What is to be spared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefer {
    /// Time: the mirror is asked at once, and peers make it faster.
    #[default]
    Speed,
    /// The mirror, or a metered line: it is asked for what peers do not give.
    Offload,
}

/// A daemon's name among its neighbours, random.
pub type NodeName = [u8; 20];

/// Names a flight among those that have a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FlightId(pub(super) u64);

/// Names a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RunId {
    pub(super) flight: FlightId,
    number: u64,
}

/// What is fetched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) digest: Digest,
    /// More than zero.
    pub(super) len: u64,
    /// Bytes in place already, from the start.
    pub(super) front: u64,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Input {
    /// A flight asks for a plan.
    Join(FlightId, Target),
    /// It needs none any more.
    Leave(FlightId),
    /// This peer may have the file.
    Lead { flight: FlightId, peer: SocketAddr, is_neighbour: bool },
    /// A lookup is under way already.
    LookedUp(FlightId),
    /// No more leads will come.
    LeadsOver(FlightId),
    /// Somebody says that this is its piece table.
    Hint(FlightId, Arc<PieceTable>),
    /// News of the mirror.
    Mirror(FlightId, MirrorNews),
    /// News of a run.
    Run(RunId, RunNews),
    /// Time went by.
    Tick,
}

/// What the mirror's thread says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MirrorNews {
    /// It is asked now, up to this byte or to the end.
    Asked { until: Option<u64> },
    /// So many bytes are in place from the start.
    Front(u64),
    /// It is let go, or gave all that was asked.
    Idle,
    /// It is not asked while peers may give the file: it was found away a moment ago.
    Skipped,
    /// It is asked after all.
    Wanted,
    /// It does not help any more.
    Failed,
    /// The same, and it was asked and could not be reached, or was silent.
    Away,
}

/// What a peer's thread says.
#[derive(Debug)]
pub(super) enum RunNews {
    /// The sender's table came, and has the right length.
    Table(Arc<PieceTable>),
    /// The head of the answer came, and names the table that the sender stands for; a file of one piece needs none.
    Head(Option<Digest>),
    /// So many more bytes came.
    Bytes(u64),
    /// A piece with a place to be written to was written, or could not be.
    Written { piece: usize, is_there: bool },
    /// The same of a neighbour that is followed.
    WrittenBehind { piece: usize, is_there: bool },
    /// The next piece came of a neighbour that is followed, and leads there; the last one leads to the digest.
    Followed(Option<Midstate>),
    /// It is over.
    Ended(End),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All came that was asked for.
    Whole,
    /// It was not wanted any more.
    Stopped,
    /// The connection failed or the body was cut.
    Cut,
    /// Nothing came in time.
    Silent,
    /// The peer does not have it.
    NotHere,
    /// The peer has it or will, but does not serve it now.
    Later { pause: Duration, is_busy: bool },
    /// The neighbour fetches it itself.
    Fetching(Fetching),
    /// An answer that no peer gives.
    Unusable,
    /// Bytes that are not what the sender stands for, or, of one that is followed, not the file.
    Lied,
}

/// What a neighbour says of a file that it fetches itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fetching {
    /// Its name.
    pub(super) node: Option<NodeName>,
    /// It has asked the mirror, and does not wait for somebody else.
    pub(super) asks_mirror: bool,
    /// It has bytes to show.
    pub(super) grows: bool,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Ask a peer.
    Ask(Ask),
    /// This peer lied.
    Convict(SocketAddr),
    /// Look for peers.
    Lookup(FlightId),
    /// Nothing until then, unless something happens.
    WakeAt(Time),
}

/// A run: adjacent pieces from one peer in one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) run: RunId,
    pub(super) peer: SocketAddr,
    pub(super) pieces: Range<usize>,
    /// No table is known: the peer's own is asked for first.
    pub(super) table_first: bool,
    /// All of the file, from a neighbour that fetches it itself.
    pub(super) follows: bool,
}

/// What the mirror's thread does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Stream from the front, up to this byte or to the end.
    Fetch { until: Option<u64> },
    /// Nothing before this time, unless it is woken.
    Wait(Time),
    /// The rest is here and proved: take it over.
    Graft,
    /// All bytes are in place.
    Whole,
    /// Neither the mirror nor peers can give the rest.
    GiveUp,
}

/// What happens to a piece that was found right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is written to the file, and that is told with [`RunNews::Written`].
    Write,
    /// It completes the file: the mirror's thread appends what it lacks of it.
    HandOver,
    /// It came too late.
    Late,
}

/// What joins front and floor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Graft {
    /// What the bytes before the floor must lead to.
    pub(super) start: Midstate,
    /// The midstates after each proved piece but the last.
    pub(super) midstates: Vec<Midstate>,
}

/// The plans of all flights, and the peers that they share.
pub(super) struct Plans {
    prefer: Prefer,
    own: NodeName,
    /// Runs at once: one for each peer thread.
    runs_max: usize,
    runs: usize,
    roster: Roster,
    flights: VecDeque<Plan>,
    outputs: VecDeque<Output>,
    next_run: u64,
    now: Time,
}

impl Plans {
    pub(super) fn new(prefer: Prefer, own: NodeName, runs_max: usize) -> Plans {
        Plans {
            prefer,
            own,
            runs_max,
            runs: 0,
            roster: Roster::default(),
            flights: VecDeque::new(),
            outputs: VecDeque::new(),
            next_run: 0,
            now: Time(0),
        }
    }

    /// Takes what happened.
    pub(super) fn handle(&mut self, now: Time, input: Input) {
        self.now = self.now.max(now);
        let now = self.now;
        match input {
            Input::Join(flight, target) => {
                self.flights.push_back(Plan::new(flight, target, (self.prefer, self.own), now, &self.roster));
            }
            Input::Leave(flight) => self.leave(flight),
            Input::Lead { flight, peer, is_neighbour } => {
                self.roster.meet(peer, is_neighbour, now);
                self.with(flight, |plan, roster| plan.lead(now, peer, is_neighbour, roster));
            }
            Input::LookedUp(flight) => self.with(flight, |plan, _| plan.looked_up = Some(now)),
            Input::LeadsOver(flight) => self.with(flight, |plan, _| plan.leads_over = true),
            Input::Hint(flight, table) => self.with(flight, |plan, _| plan.hint(table)),
            Input::Mirror(flight, news) => self.with(flight, |plan, roster| plan.mirror_news(now, news, roster)),
            Input::Run(run, news) => self.run_news(run, news),
            Input::Tick => {}
        }
        for plan in &mut self.flights {
            plan.tick(now, &mut self.roster);
            self.outputs.extend(plan.outputs.drain(..));
        }
    }

    /// What is to be done next.
    pub(super) fn poll(&mut self) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        if self.runs < self.runs_max
            && let Some(ask) = self.next_ask()
        {
            self.runs += 1;
            self.roster.begin(ask.peer, self.now);
            return Output::Ask(ask);
        }
        let wakes = self.flights.iter().map(|plan| plan.wake_at(self.now, &self.roster));
        Output::WakeAt(wakes.min().unwrap_or(Time(u64::MAX)))
    }

    /// Those that may give something, and only then those that rest: of these some threads are kept free.
    fn next_ask(&mut self) -> Option<Ask> {
        let is_free = self.runs + TRIAL_THREADS_KEPT < self.runs_max;
        self.in_turn(Plan::next_ask).or_else(|| is_free.then(|| self.in_turn(Plan::next_trial))?)
    }

    /// Flights take turns, so that none has all peers.
    fn in_turn(&mut self, next: impl Fn(&mut Plan, Time, RunId, &Roster) -> Option<Ask>) -> Option<Ask> {
        for _ in 0..self.flights.len() {
            let mut plan = self.flights.pop_front()?;
            let run = RunId { flight: plan.id, number: self.next_run };
            let ask = next(&mut plan, self.now, run, &self.roster);
            self.flights.push_back(plan);
            if ask.is_some() {
                self.next_run += 1;
                return ask;
            }
        }
        None
    }

    /// What the mirror's thread of a flight does next.
    pub(super) fn order(&self, flight: FlightId) -> Order {
        self.plan(flight).map_or(Order::Fetch { until: None }, |plan| plan.order(self.now, &self.roster))
    }

    /// What happens to a piece that came with a run and was found right.
    pub(super) fn place(&mut self, run: RunId, piece: usize) -> Place {
        let now = self.now;
        self.plan_mut(run.flight).map_or(Place::Late, |plan| plan.place(now, run, piece))
    }

    /// Whether more of this run is wanted.
    pub(super) fn is_wanted(&self, run: RunId) -> bool {
        self.plan(run.flight).is_some_and(|plan| plan.is_wanted(run))
    }

    /// The table that this hash names, if the flight has it.
    pub(super) fn table(&self, flight: FlightId, hash: &Digest) -> Option<Arc<PieceTable>> {
        self.plan(flight)?.fill.table(hash)
    }

    /// Bytes in place from the start.
    pub(super) fn front(&self, flight: FlightId) -> u64 {
        self.plan(flight).map_or(0, Plan::front)
    }

    /// Whether the mirror of a flight does not help any more.
    pub(super) fn mirror_has_failed(&self, flight: FlightId) -> bool {
        self.plan(flight).is_some_and(|plan| plan.mirror.has_failed)
    }

    /// Whether a file that waits for its turn is worth a lookup meanwhile.
    pub(super) fn is_worth_lookup(&self, len: u64) -> bool {
        self.prefer == Prefer::Offload || pieces(len) > 1 && !self.roster.is_short(len, None)
    }

    /// Whether a peer is on this LAN.
    pub(super) fn is_neighbour(&self, peer: SocketAddr) -> bool {
        self.roster.is_neighbour(peer)
    }

    /// Whether the piece at the front of a flight is on its way to the disk.
    pub(super) fn front_is_being_written(&self, flight: FlightId) -> bool {
        self.plan(flight).is_some_and(Plan::front_is_being_written)
    }

    /// Whether any piece of a flight is.
    pub(super) fn is_being_written(&self, flight: FlightId) -> bool {
        self.plan(flight).is_some_and(|plan| plan.fill.any_being_written())
    }

    /// What joins front and floor, once they have met.
    pub(super) fn graft(&self, flight: FlightId) -> Option<Graft> {
        let fill = &self.plan(flight)?.fill;
        Some(Graft { start: fill.proved()?, midstates: fill.proved_midstates() })
    }

    fn run_news(&mut self, run: RunId, news: RunNews) {
        let now = self.now;
        if let RunNews::Ended(_) = news {
            self.runs = self.runs.saturating_sub(1);
        }
        self.with(run.flight, |plan, roster| plan.run_news(now, run, news, roster));
    }

    fn leave(&mut self, flight: FlightId) {
        self.with(flight, |plan, roster| {
            // Their threads still say that they ended; nobody listens then.
            plan.runs.iter().for_each(|run| roster.end(run.peer));
        });
        self.flights.retain(|plan| plan.id != flight);
    }

    fn with(&mut self, flight: FlightId, act: impl FnOnce(&mut Plan, &mut Roster)) {
        if let Some(plan) = self.flights.iter_mut().find(|plan| plan.id == flight) {
            act(plan, &mut self.roster);
            self.outputs.extend(plan.outputs.drain(..));
        }
    }

    fn plan(&self, flight: FlightId) -> Option<&Plan> {
        self.flights.iter().find(|plan| plan.id == flight)
    }

    fn plan_mut(&mut self, flight: FlightId) -> Option<&mut Plan> {
        self.flights.iter_mut().find(|plan| plan.id == flight)
    }
}
