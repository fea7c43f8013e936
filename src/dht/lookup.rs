//! One iterative lookup: towards the nodes closest to a target (Kademlia, §2.3).
//!
//! Up to [`LOOKUP_WIDTH`] queries are in flight that have not stalled, and [`LOOKUP_AHEAD`] more if somebody waits. It is
//! over when the eight closest candidates that are not known to be silent have answered: a stalled call is not waited
//! for, but counts if it answers meanwhile. One that only reads for somebody who waits is over when eight have answered,
//! the closest among them, and at most [`LOOKUP_SPARE`] before them are awaited: whoever announces tells eight, so the
//! slowest decide nothing. There the late are asked once more, since what was asked may be lost. The end waits for that,
//! and for the slow, only if fewer than [`LOOKUP_SURE`] of the closest eight have answered, silent ones among these: then
//! those that are awaited may be all that have it, and what was found may be a lie. One that stores asks the late once
//! more too, and waits for them for a while: what is kept by others than the closest is not found.
//! Bounded against nodes that name ever more nodes: candidates, candidates from one machine, and queries in all. Who is only
//! named may not be there: he takes no room from those that others name, until he has answered.

use std::net::SocketAddr;

use super::contact::{Contact, Prefix, is_sendable};
use super::id::{Distance, NodeId};
use crate::limits::{
    CLOSEST, LOOKUP_AHEAD, LOOKUP_CANDIDATES, LOOKUP_PER_PREFIX, LOOKUP_QUERIES, LOOKUP_SPARE, LOOKUP_SURE,
    LOOKUP_WIDTH,
};
use crate::time::Time;

/// Where a candidate stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Fresh,
    Asked,
    /// Late, and asked once more.
    AskedAgain,
    /// Late, and not waited for.
    Stalled,
    Answered {
        token: Option<Vec<u8>>,
    },
    /// Silent, or not who it was said to be.
    Failed,
    /// Named by others, but silent lately: not asked.
    Silent,
}

#[derive(Clone, Debug)]
struct Candidate {
    distance: Distance,
    contact: Contact,
    state: State,
    /// Queries that led here.
    hop: u8,
    /// Who named it; none: we knew it.
    by: Option<SocketAddr>,
}

pub(super) struct Lookup {
    pub(super) target: NodeId,
    /// Whether somebody waits for it: then it asks a few nodes more than it must, in case that others are silent.
    is_urgent: bool,
    /// Whether it only reads for somebody who waits, and so does without the slowest.
    pub(super) is_brief: bool,
    /// Whether something is stored at its end.
    pub(super) is_storing: bool,
    /// Until then the late ones are waited for, so that the closest are the closest.
    patient_until: Time,
    /// How many of the closest are to answer.
    wanted: usize,
    candidates: Vec<Candidate>,
    queries: usize,
    answers: usize,
}

impl Lookup {
    pub(super) fn new(target: NodeId, is_urgent: bool, patient_until: Time, wanted: usize) -> Lookup {
        Lookup {
            target,
            is_urgent,
            is_brief: false,
            is_storing: false,
            patient_until,
            wanted,
            candidates: Vec::new(),
            queries: 0,
            answers: 0,
        }
    }

    /// Until when it waits for the late ones.
    pub(super) fn patient_until(&self) -> Time {
        self.patient_until
    }

    pub(super) fn queries(&self) -> usize {
        self.queries
    }

    pub(super) fn answers(&self) -> usize {
        self.answers
    }

    /// A node that we know, and that may be close.
    pub(super) fn offer(&mut self, contact: Contact) {
        self.put(contact, 0, None, State::Fresh);
    }

    /// One that somebody named; `hop` queries led to it.
    pub(super) fn offer_named(&mut self, contact: Contact, hop: u8, by: SocketAddr) {
        self.put(contact, hop, Some(by), State::Fresh);
    }

    /// One that somebody named, but that was silent lately: it may be one of those that know.
    pub(super) fn offer_silent(&mut self, contact: Contact, by: SocketAddr) {
        self.put(contact, 0, Some(by), State::Silent);
    }

    fn put(&mut self, contact: Contact, hop: u8, by: Option<SocketAddr>, state: State) {
        let distance = contact.id.distance(&self.target);
        let place = |known: &Candidate| (known.distance, known.contact.address);
        let found = self.candidates.binary_search_by_key(&(distance, contact.address), place);
        let Err(at) = found else { return };
        let counts = |known: &Candidate| match known.state {
            State::Answered { .. } => true,
            State::Failed => false,
            _ => known.by == by,
        };
        if at >= LOOKUP_CANDIDATES || self.is_taken(contact.address) || !self.has_room(&contact, counts) {
            return;
        }
        self.candidates.insert(at, Candidate { distance, contact, state, hop, by });
        if self.candidates.len() > LOOKUP_CANDIDATES {
            // One that was asked stays: its answer is on its way.
            let furthest = self.candidates.iter().rposition(|candidate| candidate.state == State::Fresh);
            self.candidates.remove(furthest.unwrap_or(at));
        }
    }

    /// A node with a token that is still good: it need not be asked.
    pub(super) fn offer_met(&mut self, contact: Contact, token: Vec<u8>) {
        self.offer(contact);
        let fresh = |known: &&mut Candidate| known.contact == contact && known.state == State::Fresh;
        if let Some(candidate) = self.candidates.iter_mut().find(fresh) {
            candidate.state = State::Answered { token: Some(token) };
        }
    }

    /// Whether this address is a candidate's that has not failed: which one an answer is from is known by its address alone,
    /// and one silent node by two ids would count as two that may know.
    fn is_taken(&self, address: SocketAddr) -> bool {
        self.candidates.iter().any(|known| known.contact.address == address && known.state != State::Failed)
    }

    /// Whether those that count leave room for one of this id, this machine, and its owner's others: who has many addresses
    /// next to each other could else surround any target.
    fn has_room(&self, contact: &Contact, counts: impl Fn(&Candidate) -> bool) -> bool {
        let ip = contact.address.ip();
        let (prefix, is_public) = (Prefix::of(ip), is_sendable(SocketAddr::new(ip, 1024), false));
        let mut near = 0;
        for known in self.candidates.iter().filter(|known| known.contact != *contact && counts(known)) {
            let other = known.contact.address.ip();
            if known.contact.id == contact.id || is_public && other == ip {
                return false;
            }
            near += usize::from(is_public && Prefix::of(other) == prefix);
        }
        near < LOOKUP_PER_PREFIX
    }

    /// Whom to ask next, if anybody; it counts as asked.
    pub(super) fn next(&mut self) -> Option<(Contact, u8)> {
        let width = if self.is_urgent { LOOKUP_WIDTH + LOOKUP_AHEAD } else { LOOKUP_WIDTH };
        if self.in_flight() >= width || self.queries >= LOOKUP_QUERIES {
            return None;
        }
        let ahead = if self.is_urgent { LOOKUP_AHEAD } else { 0 };
        let hopeful = self.candidates.iter_mut().filter(|candidate| candidate.state.is_hopeful());
        let next = hopeful.take(self.wanted + ahead).find(|candidate| candidate.state == State::Fresh)?;
        next.state = State::Asked;
        self.queries += 1;
        Some((next.contact, next.hop))
    }

    /// How many are asked and not late.
    fn in_flight(&self) -> usize {
        self.candidates.iter().filter(|candidate| candidate.state == State::Asked).count()
    }

    /// It answered; how many queries led to what it names. `None`: it was not asked, is not who it was said to be, or is one
    /// too many of its owner's.
    pub(super) fn note_answer(&mut self, address: SocketAddr, id: NodeId, token: Option<Vec<u8>>) -> Option<u8> {
        let at = self.candidates.iter().position(|known| known.is_asked(address))?;
        self.answers += 1;
        let (contact, hop) = (self.candidates[at].contact, self.candidates[at].hop);
        if contact.id != id || !self.has_room(&contact, Candidate::has_answered) {
            self.candidates[at].state = State::Failed;
            return None;
        }
        self.candidates[at].state = State::Answered { token };
        self.pass_over(&contact);
        Some(hop + 1)
    }

    /// Those for whom an answer has left no room need not be asked.
    fn pass_over(&mut self, contact: &Contact) {
        let prefix = Prefix::of(contact.address.ip());
        for at in 0..self.candidates.len() {
            let Candidate { contact: other, state, .. } = &self.candidates[at];
            let is_near = other.id == contact.id || Prefix::of(other.address.ip()) == prefix;
            if *state == State::Fresh && is_near && !self.has_room(other, Candidate::has_answered) {
                self.candidates[at].state = State::Failed;
            }
        }
    }

    /// It is late; whether it is asked once more, which counts as done.
    pub(super) fn note_stall(&mut self, address: SocketAddr) -> bool {
        let may_again = (self.is_brief || self.is_storing) && self.queries < LOOKUP_QUERIES;
        let Some(candidate) = self.asked(address) else { return false };
        let is_again = candidate.state == State::Asked && may_again;
        candidate.state = if is_again { State::AskedAgain } else { State::Stalled };
        self.queries += usize::from(is_again);
        is_again
    }

    pub(super) fn note_loss(&mut self, address: SocketAddr) {
        if let Some(candidate) = self.asked(address) {
            candidate.state = State::Failed;
        }
    }

    /// It could not be asked after all.
    pub(super) fn unask(&mut self, contact: &Contact) {
        let is_it = |known: &&mut Candidate| known.contact == *contact && known.state == State::Asked;
        if let Some(candidate) = self.candidates.iter_mut().find(is_it) {
            candidate.state = State::Fresh;
            self.queries -= 1;
        }
    }

    /// The candidate whose answer is awaited from there; there is never more than one.
    fn asked(&mut self, address: SocketAddr) -> Option<&mut Candidate> {
        self.candidates.iter_mut().find(|known| known.is_asked(address))
    }

    /// Whether the closest have answered, or there is nobody left to ask.
    pub(super) fn is_done(&self, now: Time) -> bool {
        let (mut answered, mut stalled, mut awaited, mut again) = (0, 0, 0, 0);
        let is_spent = self.queries >= LOOKUP_QUERIES;
        let spare = if self.is_brief { LOOKUP_SPARE } else { 0 };
        for candidate in &self.candidates {
            match candidate.state {
                State::Answered { .. } => answered += 1,
                State::Asked if answered == 0 || awaited == spare => return false,
                State::Asked => awaited += 1,
                State::AskedAgain if self.is_brief => again += 1,
                State::AskedAgain | State::Stalled if now < self.patient_until => return false,
                State::AskedAgain | State::Stalled => stalled += 1,
                State::Fresh if !is_spent => return false,
                State::Fresh | State::Failed | State::Silent => {}
            }
            if answered == self.wanted {
                return !self.is_brief || self.is_sure();
            }
        }
        // On a very slow link everybody stalls at first: then their answers are all there is. Otherwise too few have
        // answered for those to be left out that were asked again.
        awaited == 0 && again == 0 && (answered > 0 || stalled == 0)
    }

    /// Whether enough of the closest eight, silent ones among them, have answered, or none of them is waited for.
    fn is_sure(&self) -> bool {
        let closest = || self.candidates.iter().take(CLOSEST).map(|candidate| &candidate.state);
        let answered = closest().filter(|state| matches!(state, State::Answered { .. })).count();
        answered >= LOOKUP_SURE || !closest().any(|state| matches!(state, State::Asked | State::AskedAgain))
    }

    /// The nodes that answered, closest first, with their tokens.
    pub(super) fn closest(&self) -> impl Iterator<Item = (Contact, Option<&Vec<u8>>)> {
        self.candidates.iter().filter_map(|candidate| match &candidate.state {
            State::Answered { token } => Some((candidate.contact, token.as_ref())),
            _ => None,
        })
    }
}

impl Candidate {
    fn is_asked(&self, address: SocketAddr) -> bool {
        let is_awaited = matches!(self.state, State::Asked | State::AskedAgain | State::Stalled);
        is_awaited && self.contact.address == address
    }

    fn has_answered(&self) -> bool {
        matches!(self.state, State::Answered { .. })
    }
}

impl State {
    fn is_hopeful(&self) -> bool {
        matches!(self, State::Fresh | State::Asked | State::Answered { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CLOSEST;

    /// The node whose id begins with `n`.
    fn node(n: u8) -> Contact {
        let mut id = [0; 20];
        id[0] = n;
        Contact { id: NodeId(id), address: SocketAddr::from(([203, n, 113, 1], 5000)) }
    }

    fn lookup(nodes: impl Iterator<Item = u8>) -> Lookup {
        let mut lookup = Lookup::new(NodeId([0; 20]), false, Time(0), CLOSEST);
        nodes.for_each(|n| lookup.offer(node(n)));
        lookup
    }

    fn ask_all(lookup: &mut Lookup) -> Vec<u8> {
        std::iter::from_fn(|| lookup.next()).map(|(contact, _)| contact.id.0[0]).collect()
    }

    fn answer(lookup: &mut Lookup, n: u8) -> Option<u8> {
        lookup.note_answer(node(n).address, node(n).id, Some(vec![n]))
    }

    #[test]
    fn the_closest_are_asked_first_and_it_ends_when_they_answered() {
        let mut lookup = lookup((20..40).rev());
        assert_eq!(ask_all(&mut lookup), (20..28).collect::<Vec<_>>());
        assert_eq!(answer(&mut lookup, 20), Some(1));
        // One that it named is closer than all.
        lookup.offer_named(node(5), 1, node(99).address);
        assert_eq!(ask_all(&mut lookup), [5]);
        (21..27).for_each(|n| assert!(answer(&mut lookup, n).is_some() && !lookup.is_done(Time(0))));
        assert_eq!(answer(&mut lookup, 5), Some(2));
        assert!(lookup.is_done(Time(0)));
        let closest: Vec<_> = lookup.closest().map(|(contact, token)| (contact.id.0[0], token.cloned())).collect();
        assert_eq!(closest[0], (5, Some(vec![5])));
        assert_eq!(closest.len(), 8, "those that answered");
    }

    #[test]
    fn a_stalled_one_is_passed_over_but_its_answer_counts() {
        let mut lookup = lookup(20..40);
        ask_all(&mut lookup);
        lookup.note_stall(node(20).address);
        assert_eq!(ask_all(&mut lookup), [28]);
        (21..28).for_each(|n| assert!(answer(&mut lookup, n).is_some()));
        assert!(!lookup.is_done(Time(0)), "28 is one of the eight now");
        answer(&mut lookup, 20);
        assert!(lookup.is_done(Time(0)), "and now it is not");
        lookup.note_loss(node(28).address);
        assert!(lookup.is_done(Time(0)) && lookup.in_flight() == 0);
    }

    #[test]
    fn a_patient_one_waits_a_while_for_the_late() {
        let mut lookup = lookup(20..40);
        lookup.patient_until = Time(2000);
        ask_all(&mut lookup);
        lookup.note_stall(node(20).address);
        ask_all(&mut lookup);
        (21..29).for_each(|n| assert!(answer(&mut lookup, n).is_some()));
        assert!(!lookup.is_done(Time(1999)) && lookup.is_done(Time(2000)));
    }

    #[test]
    fn an_urgent_one_asks_fourteen_and_does_not_wait_for_the_slowest() {
        let mut lookup = lookup(20..40);
        (lookup.is_urgent, lookup.is_brief) = (true, true);
        assert_eq!(ask_all(&mut lookup), (20..34).collect::<Vec<_>>());
        (24..32).for_each(|n| assert!(answer(&mut lookup, n).is_some()));
        assert!(!lookup.is_done(Time(0)), "the closest might know, and nobody else");
        answer(&mut lookup, 20);
        assert!(lookup.is_done(Time(0)), "21, 22 and 23 are slow");
        // One that stores must know the closest eight.
        lookup.is_brief = false;
        assert!(!lookup.is_done(Time(0)));
        (21..24).for_each(|n| assert!(answer(&mut lookup, n).is_some()));
        assert!(lookup.is_done(Time(0)));
    }

    #[test]
    fn an_urgent_one_waits_while_more_than_four_of_the_closest_are_awaited() {
        let mut lookup = lookup(20..40);
        (lookup.is_urgent, lookup.is_brief) = (true, true);
        ask_all(&mut lookup);
        answer(&mut lookup, 20);
        (25..31).for_each(|n| assert!(answer(&mut lookup, n).is_some()));
        assert!(!lookup.is_done(Time(0)), "seven have answered");
        lookup.offer_named(node(5), 1, node(99).address);
        answer(&mut lookup, 31);
        assert!(!lookup.is_done(Time(0)), "somebody closer has not been asked");
        assert_eq!(ask_all(&mut lookup)[0], 5);
        answer(&mut lookup, 5);
        assert!(lookup.is_done(Time(0)));
    }

    #[test]
    fn an_urgent_one_gives_the_late_a_second_chance() {
        let late = |count: u8| {
            let mut lookup = lookup(20..40);
            (lookup.is_urgent, lookup.is_brief) = (true, true);
            ask_all(&mut lookup);
            (21..21 + count).for_each(|n| assert!(lookup.note_stall(node(n).address), "it is asked again"));
            ask_all(&mut lookup);
            answer(&mut lookup, 20);
            (21 + count..36).for_each(|n| assert!(answer(&mut lookup, n).is_some()));
            lookup
        };
        assert!(late(6).is_done(Time(0)), "20 and 27 would know");
        let mut lookup = late(7);
        assert!(!lookup.is_done(Time(0)), "20 alone may never have been told");
        assert!(!lookup.note_stall(node(21).address), "once");
        assert!(!lookup.is_done(Time(0)));
        assert!(answer(&mut lookup, 22).is_some() && lookup.is_done(Time(0)));
        assert!(lookup.closest().any(|(contact, _)| contact == node(22)));
    }

    #[test]
    fn an_urgent_one_waits_for_the_slow_where_those_that_know_may_be_silent() {
        let begin = || {
            let mut lookup = lookup(20..40);
            (lookup.is_urgent, lookup.is_brief) = (true, true);
            ask_all(&mut lookup);
            answer(&mut lookup, 20);
            (22..30).for_each(|n| assert!(answer(&mut lookup, n).is_some()));
            lookup
        };
        assert!(begin().is_done(Time(0)), "21 is slow");
        let mut lookup = begin();
        (10..16).for_each(|n| lookup.offer_silent(node(n), node(99).address));
        assert!(!lookup.is_done(Time(0)), "of the closest eight there are only 20 and 21");
        assert!(ask_all(&mut lookup).iter().all(|n| *n > 29), "a silent one is not asked");
        answer(&mut lookup, 21);
        assert!(lookup.is_done(Time(0)));
    }

    #[test]
    fn one_that_stores_asks_the_late_once_more_and_waits_for_them() {
        let mut lookup = lookup(20..40);
        (lookup.is_storing, lookup.patient_until) = (true, Time(2000));
        ask_all(&mut lookup);
        assert!(lookup.note_stall(node(20).address));
        assert_eq!(ask_all(&mut lookup), [28]);
        (21..29).for_each(|n| assert!(answer(&mut lookup, n).is_some()));
        assert!(!lookup.is_done(Time(1999)) && lookup.is_done(Time(2000)));
        assert!(!lookup.note_stall(node(20).address), "once");
        assert!(answer(&mut lookup, 20).is_some() && lookup.is_done(Time(1000)));
        assert_eq!(lookup.closest().next().map(|(contact, _)| contact), Some(node(20)));
    }

    #[test]
    fn it_ends_when_nobody_is_left() {
        let mut lookup = lookup(20..23);
        assert_eq!(ask_all(&mut lookup).len(), 3);
        (20..23).for_each(|n| assert!(!lookup.note_stall(node(n).address)));
        assert!(!lookup.is_done(Time(0)), "all are slow: they are waited for");
        answer(&mut lookup, 21);
        assert!(lookup.is_done(Time(0)));
        lookup.note_loss(node(20).address);
        lookup.note_loss(node(22).address);
        assert!(lookup.is_done(Time(0)));
        assert!(Lookup::new(NodeId([0; 20]), true, Time(0), CLOSEST).is_done(Time(0)));
    }

    #[test]
    fn who_answers_with_another_id_is_not_believed() {
        let mut lookup = lookup(20..21);
        ask_all(&mut lookup);
        assert_eq!(lookup.note_answer(node(20).address, node(21).id, None), None);
        assert!(lookup.is_done(Time(0)) && lookup.closest().next().is_none());
        lookup.offer_named(Contact { address: node(99).address, ..node(20) }, 1, node(98).address);
        assert_eq!(ask_all(&mut lookup), [20], "somebody else may have that id");
    }

    #[test]
    fn one_address_is_never_two_candidates_by_the_name_of_one_that_failed() {
        let mut lookup = lookup([20, 30].into_iter());
        ask_all(&mut lookup);
        lookup.note_loss(node(30).address);
        lookup.note_stall(node(20).address);
        // Whose answer is late is named by another's id: it would be asked twice, and each answer taken for the other's.
        let twice = Contact { address: node(20).address, ..node(30) };
        lookup.offer_named(twice, 1, node(99).address);
        assert!(ask_all(&mut lookup).is_empty());
        lookup.unask(&twice);
        assert!(lookup.in_flight() == 0 && lookup.queries() == 2, "it was not asked");
        lookup.offer_named(node(40), 1, node(99).address);
        assert_eq!(lookup.next(), Some((node(40), 1)));
        lookup.unask(&node(40));
        assert_eq!(lookup.next(), Some((node(40), 1)), "it could not be asked the first time");
        assert_eq!((lookup.in_flight(), lookup.queries()), (1, 3));
        assert_eq!(answer(&mut lookup, 20), Some(1), "and the late one still counts");
    }

    #[test]
    fn one_that_is_silent_is_not_two_by_two_names() {
        let mut lookup = lookup([20].into_iter());
        lookup.offer_silent(node(5), node(98).address);
        lookup.offer_silent(Contact { address: node(5).address, ..node(6) }, node(99).address);
        assert_eq!(lookup.candidates.len(), 2);
    }

    #[test]
    fn one_that_is_awaited_is_not_displaced() {
        let mut lookup = lookup(100..100 + u8::try_from(LOOKUP_CANDIDATES).expect("few"));
        lookup.wanted = LOOKUP_CANDIDATES;
        while lookup.queries() < LOOKUP_CANDIDATES {
            ask_all(&mut lookup).into_iter().for_each(|n| assert!(!lookup.note_stall(node(n).address)));
        }
        lookup.offer_silent(node(5), node(99).address);
        assert!((100..164).all(|n| answer(&mut lookup, n).is_some()));
    }

    /// As `node`, at another port or in the same /24.
    fn beside(n: u8, id: u8, host: u8, port: u16) -> Contact {
        Contact { address: SocketAddr::from(([203, n, 113, host], port)), ..node(id) }
    }

    #[test]
    fn nobody_is_kept_out_by_those_that_are_only_named_beside_him() {
        // At a wrong port by the right id, at a wrong port by another, and three of his /24.
        for lies in [
            vec![beside(30, 30, 1, 6000)],
            vec![beside(30, 5, 1, 6000)],
            (2..5).map(|host| beside(30, host, host, 5000)).collect(),
        ] {
            let mut lookup = lookup([100, 200].into_iter());
            ask_all(&mut lookup);
            assert!(answer(&mut lookup, 200).is_some());
            lies.iter().for_each(|lie| lookup.offer_named(*lie, 1, node(200).address));
            assert_eq!(ask_all(&mut lookup).len(), lies.len());
            assert!(answer(&mut lookup, 100).is_some());
            lookup.offer_named(node(30), 1, node(100).address);
            assert_eq!(ask_all(&mut lookup), [30]);
            assert_eq!(answer(&mut lookup, 30), Some(2));
            assert!(lookup.closest().any(|(contact, _)| contact == node(30)));
        }
    }

    #[test]
    fn one_owner_has_three_places_whoever_names_his_machines() {
        let mut lookup = lookup([100, 200].into_iter());
        ask_all(&mut lookup);
        let friend = |n: u8| node(n).address;
        for host in 1..=8 {
            lookup.offer_named(beside(66, host, host, 5000), 1, friend(100 + host % 2 * 100));
        }
        assert_eq!(lookup.candidates.len(), 2 + 2 * LOOKUP_PER_PREFIX);
        // One that is asked meanwhile may answer, but does not count.
        let asked: Vec<Contact> = (0..4).filter_map(|_| lookup.next()).map(|(contact, _)| contact).collect();
        let counted = asked.iter().filter(|it| lookup.note_answer(it.address, it.id, None).is_some()).count();
        assert_eq!((asked.len(), counted, lookup.closest().count()), (4, LOOKUP_PER_PREFIX, LOOKUP_PER_PREFIX));
        assert_eq!(lookup.next(), None, "the others are not asked");
        lookup.offer_named(beside(66, 9, 9, 5000), 1, friend(50));
        assert_eq!(lookup.next(), None);
    }

    #[test]
    fn endless_and_crowded_candidates_are_bounded() {
        let mut lookup = lookup(std::iter::empty());
        for n in 0..200_u8 {
            let contact = Contact { address: SocketAddr::from(([203, 0, 113, n], 5000)), ..node(n) };
            lookup.offer(contact);
        }
        assert_eq!(lookup.candidates.len(), LOOKUP_PER_PREFIX);
        let mut queries = 0;
        let mut nearest = 255;
        lookup.offer(node(255));
        while let Some((contact, hop)) = lookup.next() {
            queries += 1;
            lookup.note_answer(contact.address, contact.id, None);
            nearest = nearest.max(1) - 1;
            for near in 0..=255_u8 {
                let mut id = [0; 20];
                id[..3].copy_from_slice(&[nearest, near, u8::try_from(queries % 256).expect("small")]);
                let ip = [
                    11,
                    u8::try_from(queries / 256 * 64 + usize::from(near % 64)).expect("small"),
                    u8::try_from(queries % 256).expect("small"),
                    near,
                ];
                let named = Contact { id: NodeId(id), address: SocketAddr::from((ip, 5000)) };
                lookup.offer_named(named, hop.saturating_add(1), contact.address);
            }
            assert!(lookup.candidates.len() <= LOOKUP_CANDIDATES);
        }
        assert!(queries <= LOOKUP_QUERIES && lookup.is_done(Time(0)));
    }
}
