//! The plan among simulated mirrors and peers, in virtual time. Contents are numbers; SHA-256 of a midstate and a number
//! stands for compressing a piece.

mod following;
mod kinds;
mod lies;
mod sharing;

use std::collections::{BTreeSet, HashMap};

use super::*;
use kinds::{FIRST, Kind, Peer, Version, Word, peer, versions};

use crate::digest::PIECE_LEN;
use crate::limits::{GAIN_TIME, PEER_FETCH_THREADS};

/// Milliseconds of a step.
const STEP: u64 = 5;

fn compress(before: Midstate, content: u64) -> Midstate {
    Midstate(Digest::of(&[&before.0[..], &content.to_be_bytes()].concat()).0)
}

/// The midstates of these contents, and the digest.
fn chain(contents: &[u64]) -> (Vec<Midstate>, Digest) {
    let mut midstates = Vec::new();
    let mut state = Midstate::INITIAL;
    for content in contents {
        state = compress(state, *content);
        midstates.push(state);
    }
    midstates.pop();
    (midstates, Digest(state.0))
}

struct Flight {
    id: FlightId,
    truth: Vec<u64>,
    table: Vec<Midstate>,
    digest: Digest,
    len: u64,
    front: u64,
    file: Vec<Option<u64>>,
    patch: Option<(usize, u64)>,
    mirror_rate: u64,
    /// When its answer begins, while it is asked.
    mirror_since: Option<u64>,
    mirror_part: f64,
    mirror_bytes: u64,
    done: Option<u64>,
    failed: bool,
    /// Of each peer: what it gives in its first answer, and in all later ones.
    versions: Vec<[Version; 2]>,
}

struct Run {
    ask: Ask,
    /// Which of its peer's versions it is.
    version: usize,
    /// The next thing happens then: the table, the head.
    at: u64,
    stage: Stage,
    piece: usize,
    part: f64,
}

#[derive(PartialEq)]
enum Stage {
    Table,
    Head,
    Body,
}

struct World {
    now: u64,
    plans: Plans,
    flights: Vec<Flight>,
    peers: Vec<Peer>,
    runs: Vec<Run>,
    convicted: BTreeSet<usize>,
    peer_bytes: u64,
    /// Where the pieces of each run that follows lead to.
    followed: HashMap<RunId, Midstate>,
}

fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], u16::try_from(n + 1024).expect("a port")))
}

impl World {
    fn new(prefer: Prefer, peers: Vec<Peer>) -> World {
        let plans = Plans::new(prefer, [0; 20], PEER_FETCH_THREADS);
        let (flights, runs, convicted) = (Vec::new(), Vec::new(), BTreeSet::new());
        World { now: 0, plans, flights, peers, runs, convicted, peer_bytes: 0, followed: HashMap::new() }
    }

    fn join(&mut self, count: usize, mirror_rate: u64) {
        self.join_with(count, mirror_rate, self.peers.len());
    }

    /// A flight that the first `leads` peers may have something for.
    fn join_with(&mut self, count: usize, mirror_rate: u64, leads: usize) {
        let id = FlightId(self.flights.len() as u64);
        let truth: Vec<u64> = (0..count as u64).map(|n| n + 1000 * id.0).collect();
        let (table, digest) = chain(&truth);
        let len = count as u64 * PIECE_LEN - 1000;
        self.flights.push(Flight {
            id,
            file: vec![None; count],
            truth,
            table,
            digest,
            len,
            front: 0,
            patch: None,
            mirror_rate,
            mirror_since: None,
            mirror_part: 0.0,
            mirror_bytes: 0,
            done: None,
            failed: false,
            versions: Vec::new(),
        });
        let flight = self.flights.last().expect("just pushed");
        let versions = self.peers.iter().map(|peer| versions(peer.kind, flight)).collect();
        self.flights.last_mut().expect("just pushed").versions = versions;
        self.handle(Input::Join(id, Target { digest, len, front: 0 }));
        for n in 0..leads {
            let is_neighbour = self.peers[n].is_neighbour;
            self.handle(Input::Lead { flight: id, peer: address(n), is_neighbour });
        }
        self.handle(Input::LeadsOver(id));
    }

    fn handle(&mut self, input: Input) {
        self.plans.handle(Time(self.now), input);
        loop {
            match self.plans.poll() {
                Output::Ask(ask) => {
                    let peer = &mut self.peers[peer_number(ask.peer)];
                    let (at, version) = (self.now + peer.rtt * 2, usize::from(peer.asked > 0));
                    peer.asked += 1;
                    assert!(!self.convicted.contains(&peer_number(ask.peer)), "a liar is asked again");
                    let stage = if ask.table_first { Stage::Table } else { Stage::Head };
                    let piece = ask.pieces.start;
                    self.runs.push(Run { ask, version, at, stage, piece, part: 0.0 });
                    assert!(self.runs.len() <= PEER_FETCH_THREADS);
                }
                Output::Convict(peer) => {
                    let n = peer_number(peer);
                    assert!(self.peers[n].kind.is_liar(), "an honest peer is convicted: {:?}", self.peers[n]);
                    self.convicted.insert(n);
                }
                Output::Lookup(_) => {}
                Output::WakeAt(at) => {
                    assert!(at > Time(self.now), "it wants to be woken in the past");
                    break;
                }
            }
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        self.handle(Input::Tick);
        for at in 0..self.flights.len() {
            self.step_mirror(at);
        }
        for run in std::mem::take(&mut self.runs) {
            if let Some(run) = self.step_run(run) {
                self.runs.push(run);
            }
        }
    }

    fn step_mirror(&mut self, at: usize) {
        let id = self.flights[at].id;
        if self.flights[at].done.is_some() || self.flights[at].failed {
            return;
        }
        self.take_patch(at);
        match self.plans.order(id) {
            Order::Fetch { until } => self.mirror_moves(at, until),
            Order::Wait(_) => {
                if self.flights[at].mirror_since.take().is_some() {
                    self.handle(Input::Mirror(id, MirrorNews::Idle));
                }
            }
            Order::Graft => self.graft(at),
            Order::Whole => self.land(at),
            Order::GiveUp => {
                self.flights[at].failed = true;
                self.handle(Input::Leave(id));
            }
        }
    }

    fn mirror_moves(&mut self, at: usize, until: Option<u64>) {
        let id = self.flights[at].id;
        if self.flights[at].mirror_rate == 0 {
            return self.handle(Input::Mirror(id, MirrorNews::Away));
        }
        let Some(since) = self.flights[at].mirror_since else {
            self.flights[at].mirror_since = Some(self.now + 50);
            return self.handle(Input::Mirror(id, MirrorNews::Asked { until }));
        };
        if self.now < since {
            return;
        }
        let flight = &mut self.flights[at];
        flight.mirror_part += (flight.mirror_rate * STEP) as f64 / 1000.0;
        while self.flights[at].mirror_part >= 1.0 {
            let flight = &mut self.flights[at];
            let piece = flight.front / PIECE_LEN;
            let end = ((piece + 1) * PIECE_LEN).min(flight.len).min(until.unwrap_or(u64::MAX));
            let bytes = (end - flight.front).min(flight.mirror_part as u64);
            flight.mirror_part -= bytes as f64;
            flight.mirror_bytes += bytes;
            flight.front += bytes;
            let piece = usize::try_from(piece).expect("small");
            flight.file[piece] = Some(flight.truth[piece]);
            let front = flight.front;
            self.handle(Input::Mirror(id, MirrorNews::Front(front)));
            match self.plans.order(id) {
                Order::Fetch { .. } if Some(front) != until => {}
                _ => {
                    self.flights[at].mirror_part = 0.0;
                    self.flights[at].mirror_since = None;
                    self.handle(Input::Mirror(id, MirrorNews::Idle));
                    return self.step_mirror(at);
                }
            }
        }
    }

    fn take_patch(&mut self, at: usize) {
        let flight = &mut self.flights[at];
        let Some((piece, content)) = flight.patch.take() else { return };
        if flight.front / PIECE_LEN == piece as u64 {
            assert_eq!(content, flight.truth[piece], "a wrong piece would be shown");
            flight.file[piece] = Some(content);
            flight.front = ((piece as u64 + 1) * PIECE_LEN).min(flight.len);
            let (id, front) = (flight.id, flight.front);
            flight.mirror_since = None;
            self.handle(Input::Mirror(id, MirrorNews::Front(front)));
        }
    }

    fn graft(&mut self, at: usize) {
        let flight = &mut self.flights[at];
        let graft = self.plans.graft(flight.id).expect("they met");
        let whole = usize::try_from(flight.front / PIECE_LEN).expect("small");
        assert_eq!(graft.start, flight.truth[..whole].iter().fold(Midstate::INITIAL, |m, c| compress(m, *c)));
        assert_eq!(graft.midstates, flight.table[whole..]);
        flight.front = flight.len;
        self.land(at);
    }

    fn land(&mut self, at: usize) {
        let flight = &mut self.flights[at];
        let file: Vec<u64> = flight.file.iter().map(|content| content.expect("all is there")).collect();
        assert_eq!(file, flight.truth, "a wrong file");
        flight.done = Some(self.now);
        let id = flight.id;
        assert!(!self.plans.is_being_written(id));
        self.handle(Input::Leave(id));
    }

    fn step_run(&mut self, mut run: Run) -> Option<Run> {
        let id = run.ask.run;
        let n = peer_number(run.ask.peer);
        if !self.plans.is_wanted(id) {
            self.handle(Input::Run(id, RunNews::Ended(End::Stopped)));
            return None;
        }
        let at = usize::try_from(id.flight.0).expect("small");
        let table = Arc::clone(&self.flights[at].versions[n][run.version].1);
        if run.stage != Stage::Body {
            if self.now < run.at || self.peers[n].kind == Kind::Silent {
                return Some(run);
            }
            return self.step_head(run, n, &table);
        }
        if self.peers[n].rate == 0 {
            return Some(run);
        }
        run.part += (self.peers[n].rate * STEP) as f64 / 1000.0;
        self.handle(Input::Run(id, RunNews::Bytes(self.peers[n].rate * STEP / 1000)));
        self.peer_bytes += self.peers[n].rate * STEP / 1000;
        while run.part >= PIECE_LEN as f64 {
            run.part -= PIECE_LEN as f64;
            let mut content = self.flights[at].versions[n][run.version].0[run.piece];
            self.peers[n].given += 1;
            match self.peers[n].kind {
                Kind::Flips(part) if ((content * 7919 + n as u64 * 104_729) % 1009).is_multiple_of(part) => {
                    content += 5_000_000;
                }
                Kind::Vanishes(after) if self.peers[n].given > after => {
                    self.handle(Input::Run(id, RunNews::Ended(End::Cut)));
                    return None;
                }
                _ => {}
            }
            if run.ask.follows {
                self.followed(at, &run, content);
            } else if !self.piece_came(at, &run, &table, content) {
                self.peers[n].lied = true;
                self.handle(Input::Run(id, RunNews::Ended(End::Lied)));
                assert!(self.convicted.contains(&n), "a liar gets away with it");
                return None;
            }
            run.piece += 1;
            if run.piece == run.ask.pieces.end {
                self.handle(Input::Run(id, RunNews::Ended(End::Whole)));
                return None;
            }
        }
        Some(run)
    }

    fn step_head(&mut self, mut run: Run, n: usize, table: &Arc<PieceTable>) -> Option<Run> {
        let id = run.ask.run;
        let end = match self.peers[n].kind {
            Kind::NotHere => Some(End::NotHere),
            Kind::Busy(pause) => Some(End::Later { pause: Duration::from_millis(pause), is_busy: true }),
            Kind::Unusable => Some(End::Unusable),
            Kind::Fetches(word) if !run.ask.follows => {
                let flight = &self.flights[usize::try_from(id.flight.0).expect("small")];
                let names = (0..=255).map(|byte| [byte; 20]);
                let node = names
                    .into_iter()
                    .find(|name| follow::is_first(&flight.digest, Some(*name), &[0; 20]) == word.is_first);
                assert!(node.is_some());
                Some(End::Fetching(Fetching { node, asks_mirror: word.asks_mirror, grows: word.grows }))
            }
            Kind::Fetches(_) => {
                run.stage = Stage::Body;
                return Some(run);
            }
            _ => None,
        };
        if let Some(end) = end {
            self.handle(Input::Run(id, RunNews::Ended(end)));
            return None;
        }
        let hash = table.hash();
        if run.stage == Stage::Table {
            self.handle(Input::Run(id, RunNews::Table(Arc::clone(table))));
            run.stage = Stage::Head;
            run.at = self.now + self.peers[n].rtt;
            return Some(run);
        }
        let vouches = (self.flights[usize::try_from(id.flight.0).expect("small")].truth.len() > 1).then_some(hash);
        self.handle(Input::Run(id, RunNews::Head(vouches)));
        if matches!(self.peers[n].kind, Kind::Names(_)) {
            self.handle(Input::Run(id, RunNews::Ended(End::Cut)));
            return None;
        }
        if matches!(self.peers[n].kind, Kind::Turns(first, _) if first > 0 && run.version == 0) {
            let end = End::Later { pause: Duration::ZERO, is_busy: true };
            self.handle(Input::Run(id, RunNews::Ended(end)));
            return None;
        }
        if vouches.is_none() || self.plans.table(id.flight, &hash).is_some() {
            run.stage = Stage::Body;
            return Some(run);
        }
        if run.ask.table_first {
            self.handle(Input::Run(id, RunNews::Ended(End::Stopped)));
            return None;
        }
        run.ask.table_first = true;
        run.stage = Stage::Table;
        run.at = self.now + self.peers[n].rtt;
        Some(run)
    }

    fn followed(&mut self, at: usize, run: &Run, mut content: u64) {
        let (id, piece) = (run.ask.run, run.piece);
        if matches!(self.peers[peer_number(run.ask.peer)].kind, Kind::Fetches(word) if word.is_false && piece == 1) {
            content += 1;
        }
        let count = self.flights[at].truth.len();
        let sofar = self.followed.entry(id).or_insert(Midstate::INITIAL);
        *sofar = compress(*sofar, content);
        let sofar = *sofar;
        if piece + 1 == count && sofar.0 != self.flights[at].digest.0 {
            return self.handle(Input::Run(id, RunNews::Ended(End::Lied)));
        }
        if self.plans.place(id, piece) == Place::Write {
            assert!(self.flights[at].front <= piece as u64 * PIECE_LEN, "visible bytes are overwritten");
            self.flights[at].file[piece] = Some(content);
            self.handle(Input::Run(id, RunNews::WrittenBehind { piece, is_there: true }));
        }
        self.handle(Input::Run(id, RunNews::Followed((piece + 1 < count).then_some(sofar))));
    }

    fn piece_came(&mut self, at: usize, run: &Run, table: &PieceTable, content: u64) -> bool {
        let (id, piece) = (run.ask.run, run.piece);
        let after = table.after(piece).unwrap_or(Midstate(self.flights[at].digest.0));
        if compress(table.before(piece), content) != after {
            return false;
        }
        match self.plans.place(id, piece) {
            Place::Write => {
                assert!(self.flights[at].front <= piece as u64 * PIECE_LEN, "visible bytes are overwritten");
                self.flights[at].file[piece] = Some(content);
                self.handle(Input::Run(id, RunNews::Written { piece, is_there: true }));
            }
            Place::HandOver => self.flights[at].patch = Some((piece, content)),
            Place::Late => {}
        }
        true
    }

    /// Runs until all flights have ended; seconds of virtual time.
    fn run(&mut self, limit_s: u64) -> f64 {
        while self.flights.iter().any(|flight| flight.done.is_none() && !flight.failed) {
            assert!(self.now < limit_s * 1000, "not done after {limit_s} s");
            self.step();
        }
        self.now as f64 / 1000.0
    }
}

fn peer_number(address: SocketAddr) -> usize {
    usize::from(address.port()) - 1024
}

fn alone(count: usize, mirror_rate: u64) -> f64 {
    let mut world = World::new(Prefer::Speed, Vec::new());
    world.join(count, mirror_rate);
    world.run(100_000)
}

const MB: u64 = 1_000_000;
