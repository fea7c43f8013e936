//! Flights with peers: the plans' hands and feet.
//!
//! ```text
//! flight's thread ── Swarm ──┐                       ┌── peer threads: one run each
//!   (mirror, draft, stream)  ├─▶ Hub: plans, asks ◀──┤   (one piece in memory, checked, then written)
//!           finder's leads ──┘                       └── the first idle one keeps the time
//! ```
//!
//! Owns the lock around the plans, and the order of writing: a peer's piece is written only after the plan gave it its
//! place, behind everything that clients may see, and the flight's thread does not enter a piece that is being written.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel::TryRecvError;

use super::ahead::Ahead;
use super::errand::Errand;
use super::finder::{Finder, Lead, Leads};
use super::let_go::LetGo;
use super::peer::Peers;
use super::plan::{Ask, End, FlightId, Graft, Input, MirrorNews, Order, Output, Plans, RunNews, Target};
use super::trust::Trust;
use super::{Calendar, Clock, Shelf};
use crate::digest::{PIECE_LEN, PieceTable};
use crate::limits::{PEER_FETCH_THREADS, STRANGERS_PER_LOOKUP};
use crate::time::Time;

/// What came from peers since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FromPeers {
    /// Bytes of pieces that were right, from neighbours.
    pub neighbours: u64,
    /// The same from the Internet.
    pub strangers: u64,
    /// Peers that lied.
    pub liars: u64,
}

/// How often open lookups are looked at.
const LEADS_TURN: Duration = Duration::from_millis(5);
/// How long a flight's thread waits before it looks whether anybody still waits for it.
const FLIGHT_TURN: Duration = Duration::from_secs(1);

/// All flights with peers.
pub(super) struct Swarms {
    finder: Finder,
    pub(super) peers: Peers,
    trust: Trust,
    shelf: Shelf,
    pub(super) clock: Clock,
    calendar: Calendar,
    ahead: Arc<Ahead>,
    hub: Mutex<Hub>,
    /// Signalled when there is an ask.
    asks: Condvar,
    /// Where the one thread waits that keeps the time: signalled when that moved, or there is an ask.
    watch: Condvar,
}

pub(super) struct Hub {
    pub(super) plans: Plans,
    asks: VecDeque<Ask>,
    pub(super) members: HashMap<FlightId, Member>,
    wake_at: Time,
    /// A thread keeps the time …
    is_watched: bool,
    /// … and sleeps till then, if nobody wakes it.
    sleeps_until: Time,
    next: u64,
    /// With whether they are neighbours.
    liars: Vec<(SocketAddr, bool)>,
    pub(super) received: FromPeers,
}

/// A flight in the hub.
pub(super) struct Member {
    pub(super) shared: Arc<Shared>,
    /// The piece that completes the file.
    pub(super) patch: Option<(usize, Vec<u8>)>,
    /// Ends the mirror's request.
    let_go: Option<LetGo>,
    leads: Option<Leads>,
    is_looked_up: bool,
    began_ahead: bool,
    strangers: usize,
    pub(super) bytes: u64,
    /// The disk failed under a peer's piece: no more of them are taken.
    pub(super) is_closed: bool,
    /// The flight's thread waits for news.
    is_awaited: bool,
}

pub(super) struct Shared {
    pub(super) target: Target,
    pub(super) name: String,
    pub(super) file: Arc<File>,
    /// Signalled when the flight's thread may have something to do.
    pub(super) news: Condvar,
}

/// What the flight's thread does next.
#[derive(Debug)]
pub(super) enum Next {
    /// Stream from the mirror, up to this byte or to the end.
    Fetch(Option<u64>, LetGo),
    /// Append these bytes: they complete the file's front.
    Append(Vec<u8>),
    /// Take over the rest.
    Graft(Graft),
    /// Nothing yet; look whether anybody still waits for it.
    Again,
    /// All bytes are in place.
    Whole,
    /// Nobody can give the rest.
    GiveUp,
}

impl Swarms {
    pub(super) fn new(
        finder: Finder,
        shelf: Shelf,
        (clock, calendar): (Clock, Calendar),
        ahead: Arc<Ahead>,
    ) -> Swarms {
        let hub = Hub {
            plans: Plans::new(finder.prefer, finder.node, PEER_FETCH_THREADS),
            asks: VecDeque::new(),
            members: HashMap::new(),
            wake_at: Time(u64::MAX),
            is_watched: false,
            sleeps_until: Time(0),
            next: 0,
            liars: Vec::new(),
            received: FromPeers::default(),
        };
        let (trust, peers) = (Trust::default(), Peers::new());
        Swarms {
            finder,
            peers,
            trust,
            shelf,
            clock,
            calendar,
            ahead,
            hub: Mutex::new(hub),
            asks: Condvar::new(),
            watch: Condvar::new(),
        }
    }

    pub(super) fn received(&self) -> FromPeers {
        self.lock().received
    }

    /// Lets a flight take part, whose bytes go to `file`.
    pub(super) fn join(self: &Arc<Self>, target: Target, file: Arc<File>) -> Swarm {
        let mut neighbours = (self.finder.neighbours)();
        neighbours.retain(|peer| self.may_ask(*peer, true));
        let name = (self.finder.wire_name)(&target.digest);
        let shared = Arc::new(Shared { target, name, file, news: Condvar::new() });
        let now = (self.clock)();
        let (leads, found) = self.ahead.take(&target.digest, now);
        let mut hub = self.lock();
        let id = FlightId(hub.next);
        hub.next += 1;
        let is_looked_up = leads.is_some();
        let member = Member {
            shared: Arc::clone(&shared),
            patch: None,
            let_go: None,
            leads,
            is_looked_up,
            began_ahead: is_looked_up,
            strangers: 0,
            bytes: 0,
            is_closed: false,
            is_awaited: false,
        };
        hub.members.insert(id, member);
        hub.plans.handle(now, Input::Join(id, target));
        for peer in neighbours {
            hub.plans.handle(now, Input::Lead { flight: id, peer, is_neighbour: true });
        }
        if is_looked_up {
            hub.plans.handle(now, Input::LookedUp(id));
        }
        self.take_found(&mut hub, (id, target.len), found, now);
        self.turn(&mut hub, None);
        drop(hub);
        Swarm { swarms: Arc::clone(self), id, shared }
    }

    pub(super) fn may_ask(&self, peer: SocketAddr, is_neighbour: bool) -> bool {
        !self.trust.refuses(peer.ip(), is_neighbour, self.shelf.get().as_ref(), (self.calendar)())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().expect("no holder of the lock panics")
    }

    /// Tells the plans what happened and does what they say.
    pub(super) fn tell(&self, input: Input) {
        let mut hub = self.lock();
        self.turn(&mut hub, Some(input));
        let liars = std::mem::take(&mut hub.liars);
        drop(hub);
        for (peer, is_neighbour) in liars {
            let lies = self.trust.convict(peer.ip(), is_neighbour, self.shelf.get().as_ref(), (self.calendar)());
            log::warn!("{peer} gave false bytes (lie number {lies}); they were thrown away, and it is asked no more");
        }
    }

    pub(super) fn turn(&self, hub: &mut Hub, input: Option<Input>) {
        let now = (self.clock)();
        self.take_leads(hub, now);
        hub.plans.handle(now, input.unwrap_or(Input::Tick));
        loop {
            match hub.plans.poll() {
                Output::Ask(ask) => {
                    hub.asks.push_back(ask);
                    self.asks.notify_one();
                    self.watch.notify_one();
                }
                Output::Convict(peer) => {
                    hub.received.liars += 1;
                    hub.liars.push((peer, hub.plans.is_neighbour(peer)));
                }
                Output::Lookup(flight) => self.look_up(hub, flight, now),
                Output::WakeAt(at) => {
                    // Not for each flight that comes and goes: a thread that wakes costs more than a small file.
                    // Its sleep does not end while the machine is suspended, and the clock goes on.
                    if hub.is_watched && (at < hub.sleeps_until || hub.sleeps_until <= now) {
                        self.watch.notify_one();
                    }
                    hub.wake_at = at;
                    break;
                }
            }
        }
        let Hub { members, plans, .. } = hub;
        for (id, member) in members {
            let order = plans.order(*id);
            // A mirror that brought all to the end keeps its connection for the next file.
            if member.patch.is_some() || order == Order::Graft {
                member.let_go.take().inspect(LetGo::end);
            }
            // Each is a system call: not where nobody waits.
            if member.is_awaited && (member.patch.is_some() || !matches!(order, Order::Wait(_))) {
                member.shared.news.notify_all();
            }
        }
    }

    fn look_up(&self, hub: &mut Hub, flight: FlightId, now: Time) {
        let Some(member) = hub.members.get_mut(&flight) else { return };
        // One that began while the download waited stands for the first.
        if std::mem::take(&mut member.began_ahead) {
            return;
        }
        member.leads = (self.finder.lookup)(&member.shared.target.digest);
        member.strangers = 0;
        // Again: neighbours may have come to fetch it, too.
        if std::mem::replace(&mut member.is_looked_up, true) {
            for peer in (self.finder.neighbours)().into_iter().filter(|peer| self.may_ask(*peer, true)) {
                hub.plans.handle(now, Input::Lead { flight, peer, is_neighbour: true });
            }
        }
        let Some(member) = hub.members.get_mut(&flight) else { return };
        self.watch.notify_one();
        if member.leads.is_none() {
            hub.plans.handle(now, Input::LeadsOver(flight));
        }
    }

    fn take_leads(&self, hub: &mut Hub, now: Time) {
        let Hub { members, plans, .. } = hub;
        for (id, member) in members {
            let Some(leads) = &mut member.leads else { continue };
            let is_over = loop {
                match leads() {
                    Ok(Lead::Peer(peer)) if member.strangers < STRANGERS_PER_LOOKUP => {
                        if self.may_ask(peer, false) {
                            member.strangers += 1;
                            plans.handle(now, Input::Lead { flight: *id, peer, is_neighbour: false });
                        }
                    }
                    Ok(Lead::Peer(_)) => {}
                    Ok(Lead::Table(midstates)) => {
                        if let Some(table) = PieceTable::new(midstates, member.shared.target.len) {
                            plans.handle(now, Input::Hint(*id, Arc::new(table)));
                        }
                    }
                    Err(TryRecvError::Empty) => break false,
                    Err(TryRecvError::Disconnected) => break true,
                }
            };
            if is_over {
                member.leads = None;
                plans.handle(now, Input::LeadsOver(*id));
            }
        }
    }

    // ── peer threads ─────────────────────────────────────────────────────────────────────────────────────────────

    /// Makes one run after another; never returns.
    pub(super) fn work(&self) -> ! {
        loop {
            let (ask, shared) = self.next_ask();
            let errand = Errand { swarms: self, ask: &ask, shared: &shared };
            let end = errand.run().err().unwrap_or(End::Whole);
            log::debug!("{}: pieces {:?} of {}: {end:?}", ask.peer, ask.pieces, shared.target.digest);
            self.tell(Input::Run(ask.run, RunNews::Ended(end)));
        }
    }

    /// The next ask; the first thread that has to wait for one keeps the time.
    fn next_ask(&self) -> (Ask, Arc<Shared>) {
        let mut hub = self.lock();
        loop {
            if let Some(ask) = hub.asks.pop_front() {
                match hub.members.get(&ask.run.flight) {
                    Some(member) => {
                        let shared = Arc::clone(&member.shared);
                        return (ask, shared);
                    }
                    // The flight has landed.
                    None => self.turn(&mut hub, Some(Input::Run(ask.run, RunNews::Ended(End::Stopped)))),
                }
                continue;
            }
            if hub.is_watched {
                hub = self.asks.wait(hub).expect("no holder of the lock panics");
                continue;
            }
            hub.is_watched = true;
            let has_leads = hub.members.values().any(|member| member.leads.is_some());
            let until_wake = hub.wake_at.since((self.clock)()).max(Duration::from_millis(1));
            let wait = if has_leads { until_wake.min(LEADS_TURN) } else { until_wake };
            // A year is as good as for ever, and no more than the clock can hold.
            let wait = wait.min(Duration::from_secs(365 * 86_400));
            hub.sleeps_until = (self.clock)() + wait;
            hub = self.watch.wait_timeout(hub, wait).expect("no holder of the lock panics").0;
            hub.is_watched = false;
            self.turn(&mut hub, None);
            // Another keeps the time when this one goes to work.
            if !hub.asks.is_empty() {
                self.asks.notify_one();
            }
        }
    }
}

/// A flight's part in it; leaving is dropping it.
pub(super) struct Swarm {
    swarms: Arc<Swarms>,
    id: FlightId,
    shared: Arc<Shared>,
}

impl Swarm {
    fn wait<'a>(&self, mut hub: MutexGuard<'a, Hub>, limit: Option<Duration>) -> MutexGuard<'a, Hub> {
        let note = |hub: &mut Hub, is_awaited| {
            hub.members.get_mut(&self.id).into_iter().for_each(|member| member.is_awaited = is_awaited);
        };
        note(&mut hub, true);
        let news = &self.shared.news;
        let mut hub = match limit {
            None => news.wait(hub).expect("no holder of the lock panics"),
            Some(limit) => news.wait_timeout(hub, limit).expect("no holder of the lock panics").0,
        };
        note(&mut hub, false);
        hub
    }

    /// What to do next; waits for up to a second.
    pub(super) fn next(&self) -> Next {
        let mut hub = self.swarms.lock();
        self.swarms.turn(&mut hub, None);
        let mut has_waited = false;
        loop {
            let Hub { plans, members, .. } = &mut *hub;
            let Some(member) = members.get_mut(&self.id) else { return Next::GiveUp };
            // A neighbour that is followed may be writing, right or wrong, where the piece is to go.
            if member.patch.is_some() && plans.front_is_being_written(self.id) {
                hub = self.wait(hub, None);
                continue;
            }
            if let Some((piece, bytes)) = member.patch.take() {
                let front = plans.front(self.id);
                let start = piece as u64 * PIECE_LEN;
                if let Some(bytes) = front.checked_sub(start).and_then(|at| bytes.get(usize::try_from(at).ok()?..)) {
                    return Next::Append(bytes.to_vec());
                }
                continue;
            }
            let order = match plans.order(self.id) {
                // Nothing that peers give can be put anywhere.
                Order::Wait(_) if member.is_closed && plans.mirror_has_failed(self.id) => Order::GiveUp,
                Order::Wait(_) if member.is_closed => Order::Fetch { until: None },
                order => order,
            };
            match order {
                Order::Fetch { until } => {
                    let let_go = LetGo::default();
                    member.let_go = Some(let_go.clone());
                    return Next::Fetch(until, let_go);
                }
                Order::Graft => return plans.graft(self.id).map_or(Next::GiveUp, Next::Graft),
                Order::Whole => return Next::Whole,
                Order::GiveUp => return Next::GiveUp,
                Order::Wait(_) if has_waited => return Next::Again,
                Order::Wait(at) => {
                    let wait = at.since((self.swarms.clock)()).clamp(Duration::from_millis(1), FLIGHT_TURN);
                    hub = self.wait(hub, Some(wait));
                    has_waited = true;
                    self.swarms.turn(&mut hub, None);
                }
            }
        }
    }

    /// The mirror is asked now.
    pub(super) fn asked(&self, until: Option<u64>) {
        self.swarms.tell(Input::Mirror(self.id, MirrorNews::Asked { until }));
        // A neighbour that is followed may be writing where the mirror is to begin.
        let mut hub = self.swarms.lock();
        while hub.plans.front_is_being_written(self.id) {
            hub = self.wait(hub, None);
        }
    }

    /// So many bytes are in place from the start; whether the mirror is to go on.
    pub(super) fn moved(&self, front: u64) -> bool {
        self.swarms.tell(Input::Mirror(self.id, MirrorNews::Front(front)));
        let mut hub = self.swarms.lock();
        while hub.plans.front_is_being_written(self.id) {
            hub = self.wait(hub, None);
            // What was written there is the mirror's to write again.
            self.swarms.turn(&mut hub, Some(Input::Mirror(self.id, MirrorNews::Front(front))));
        }
        let has_patch = hub.members.get(&self.id).is_some_and(|member| member.patch.is_some());
        !has_patch && matches!(hub.plans.order(self.id), Order::Fetch { .. })
    }

    /// The mirror is let go, does not help any more, or is not asked yet.
    pub(super) fn tell_of_mirror(&self, news: MirrorNews) {
        if let Some(member) = self.swarms.lock().members.get_mut(&self.id) {
            member.let_go = None;
        }
        self.swarms.tell(Input::Mirror(self.id, news));
    }

    /// No more of peers' pieces are taken: the bytes go elsewhere now.
    pub(super) fn close(&self) {
        if let Some(member) = self.swarms.lock().members.get_mut(&self.id) {
            member.is_closed = true;
        }
    }

    /// The file's length.
    pub(super) fn len(&self) -> u64 {
        self.shared.target.len
    }

    /// Bytes of the file that peers gave.
    pub(super) fn bytes(&self) -> u64 {
        self.swarms.lock().members.get(&self.id).map_or(0, |member| member.bytes)
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        let mut hub = self.swarms.lock();
        if let Some(member) = hub.members.get_mut(&self.id) {
            member.is_closed = true;
        }
        // The file may be another's next: nobody may write to it any more.
        while hub.plans.is_being_written(self.id) {
            hub = self.wait(hub, None);
        }
        hub.members.remove(&self.id);
        self.swarms.turn(&mut hub, Some(Input::Leave(self.id)));
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::thread;

    use super::*;
    use crate::digest::{Digest, Midstate};
    use crate::fetch::plan::{Fetching, Place, Prefer, RunId};
    use crate::time::Stamp;

    /// A flight that has joined for a file of this many pieces, and whose lookup goes on.
    fn joined(pieces: u64, prefer: Prefer) -> Swarm {
        let finder = Finder {
            neighbours: Arc::new(Vec::new),
            lookup: Arc::new(|_| Some(Box::new(|| Err(TryRecvError::Empty)))),
            wire_name: Arc::new(ToString::to_string),
            prefer,
            node: [0; 20],
            landed: Arc::new(|_| ()),
        };
        let clocks: (Clock, Calendar) = (Arc::new(|| Time(1)), Arc::new(|| Stamp(1)));
        let swarms = Arc::new(Swarms::new(finder, Shelf::default(), clocks, Arc::new(Ahead::new())));
        let target = Target { digest: Digest::of(b"it"), len: pieces * PIECE_LEN, front: 0 };
        swarms.join(target, Arc::new(File::open("/dev/null").expect("there")))
    }

    #[test]
    fn where_no_piece_can_be_put_a_mirror_that_failed_is_not_asked_again() {
        let swarm = joined(3, Prefer::Offload);
        swarm.close();
        assert!(matches!(swarm.next(), Next::Fetch(None, _)));
        swarm.tell_of_mirror(MirrorNews::Failed);
        assert!(matches!(swarm.next(), Next::GiveUp));
    }

    const NEIGHBOUR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9978);
    const STRANGER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 9978);

    impl Swarm {
        fn hears(&self, run: RunId, news: RunNews) {
            self.swarms.tell(Input::Run(run, news));
        }

        fn place(&self, run: RunId, piece: usize) -> Place {
            self.swarms.lock().plans.place(run, piece)
        }

        /// What this peer is asked for next.
        fn ask_of(&self, peer: SocketAddr) -> RunId {
            let mut hub = self.swarms.lock();
            let at = hub.asks.iter().position(|ask| ask.peer == peer).expect("it is asked");
            hub.asks.remove(at).expect("found").run
        }
    }

    /// A flight of two pieces that follows a neighbour, and to which a stranger gives pieces: of these the last is here.
    fn between_two() -> (Swarm, RunId, RunId) {
        let swarm = joined(2, Prefer::Offload);
        for (peer, is_neighbour) in [(NEIGHBOUR, true), (STRANGER, false)] {
            swarm.swarms.tell(Input::Lead { flight: swarm.id, peer, is_neighbour });
        }
        let fetching = Fetching { node: None, asks_mirror: true, grows: true };
        swarm.hears(swarm.ask_of(NEIGHBOUR), RunNews::Ended(End::Fetching(fetching)));
        let (follows, run) = (swarm.ask_of(NEIGHBOUR), swarm.ask_of(STRANGER));
        let table = PieceTable::new(vec![Midstate([7; 32])], 2 * PIECE_LEN).expect("it fits");
        let hash = table.hash();
        swarm.hears(run, RunNews::Table(Arc::new(table)));
        swarm.hears(run, RunNews::Head(Some(hash)));
        assert_eq!(swarm.place(run, 1), Place::Write);
        swarm.hears(run, RunNews::Written { piece: 1, is_there: true });
        (swarm, follows, run)
    }

    #[test]
    fn a_piece_that_completes_the_file_waits_for_what_is_being_written_there() {
        let (swarm, follows, run) = between_two();
        // The neighbour's first piece is on its way to the disk when the stranger's comes, which is the right one.
        assert_eq!(swarm.place(follows, 0), Place::Write);
        assert_eq!(swarm.place(run, 0), Place::HandOver);
        swarm.swarms.lock().members.get_mut(&swarm.id).expect("joined").patch = Some((0, vec![1]));
        thread::scope(|scope| {
            let (next, came) = crossbeam_channel::bounded(1);
            let swarm = &swarm;
            scope.spawn(move || next.send(swarm.next()));
            let early = came.recv_timeout(Duration::from_millis(100));
            swarm.hears(follows, RunNews::WrittenBehind { piece: 0, is_there: true });
            swarm.shared.news.notify_all();
            assert!(early.is_err(), "{early:?}");
            assert!(matches!(came.recv(), Ok(Next::Append(bytes)) if bytes == [1]));
        });
        // The other way round nothing is written where it is about to be appended.
        let (swarm, follows, run) = between_two();
        assert_eq!(swarm.place(run, 0), Place::HandOver);
        assert_eq!(swarm.place(follows, 0), Place::Late);
        // Nor when a mirror was let go that had sent nothing of it.
        swarm.moved(0);
        swarm.tell_of_mirror(MirrorNews::Idle);
        assert_eq!(swarm.place(follows, 0), Place::Late);
    }
}
