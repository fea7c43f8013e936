//! One client's connection: requests in, answers out, in the same order. No socket, no clock.
//!
//! Two verbs: `handle(now, Input)` and `poll(now) -> Output`. After each `handle`, `poll` is called until it says
//! [`Output::Wait`]; what it asks to send is reported back as [`Input::Sent`].
//!
//! Owns pipelining, framing, keep-alive and the limits on time. Requests go to workers ahead of their turn, so that
//! their downloads start; their answers wait here. Those behind a Release go there when it is known which one it is, and
//! one whose download could not wait for its turn goes there once more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::exchange::{Answer, Body, Note, OURS, Reply, TUNNEL, Way};
use super::head::{self, HeadEnd, Refusal, Request};
use super::log::Log;
use super::sending::Sending;
use super::verbs::{Input, Output};
use crate::limits::{
    HEAD_LEN, HEAD_TIME, KEEP_CLIENT_TIME, LINGER_LEN, LINGER_TIME, PIPELINE, RESOLVE_TIMEOUT, SLOW_READER_LEN,
    SLOW_READER_TIME,
};
use crate::stream::{Follower, Outcome, Wake};
use crate::time::Time;

/// A BitTorrent handshake's first byte, which no request has: a client of mainline that took us for one of its own gets
/// no answer that it would not understand (BEP 3).
const BITTORRENT: u8 = 0x13;

/// A connection's state.
pub(super) struct Conn {
    input: Vec<u8>,
    end: HeadEnd,
    exchanges: VecDeque<Exchange>,
    /// The number of the first exchange in the queue.
    first: u64,
    /// Exchanges that were handed to workers, from the front.
    dispatched: usize,
    reading: Reading,
    /// When the first byte of an unfinished head came.
    head_since: Option<Time>,
    active: Time,
    /// Bytes sent since `slow_since`, to tell a reader that is too slow.
    slow_sent: u64,
    slow_since: Time,
    lingered: u64,
    idle_time: Duration,
    wake: Wake,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reading {
    /// Requests are taken.
    Open,
    /// No more requests are taken; what is queued is answered, then the connection closes.
    Last,
    /// All was sent and the sending side is shut; the rest of the input is thrown away until then.
    Lingering(Time),
    Closed,
}

struct Exchange {
    request: Request,
    since: Time,
    state: State,
    /// It goes to a worker for the second time.
    is_again: bool,
}

enum State {
    Asked,
    /// The worker named a stream, of which there is no news yet; with whether what stands behind must wait for it.
    Following(Follower, Box<dyn FnOnce(&Outcome) -> Answer + Send>, bool),
    /// Its turn has come, and the stream did not wait for it: what is not kept anywhere waits for nobody long.
    Missed,
    Sending(Box<Sending>),
    /// Where the tunnel leads, until it is dialled.
    Tunnel(Option<Way>),
}

impl State {
    fn answering(request: &Request, answer: Answer, follower: Option<Follower>) -> State {
        match answer {
            Answer { body: Body::Tunnel(way), .. } => State::Tunnel(Some(way)),
            answer => State::Sending(Box::new(Sending::new(request, answer, follower))),
        }
    }
}

impl Conn {
    /// A new connection, closed after `idle_time` without a request; `wake` is called by streams when they have news for it.
    pub(super) fn new(now: Time, idle_time: Duration, wake: Wake) -> Conn {
        Conn {
            input: Vec::new(),
            end: HeadEnd::default(),
            exchanges: VecDeque::new(),
            first: 0,
            dispatched: 0,
            reading: Reading::Open,
            head_since: None,
            active: now,
            slow_sent: 0,
            slow_since: now,
            lingered: 0,
            idle_time,
            wake,
        }
    }

    /// Takes in what happened.
    pub(super) fn handle(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::Bytes(bytes) => self.take_bytes(now, bytes),
            Input::End => self.take_end(),
            Input::Reply(number, reply) => self.take_reply(now, number, reply),
            Input::Sent(len) => self.take_sent(now, len),
            Input::FileCut => self.break_front(),
            Input::Held => (self.slow_since, self.slow_sent) = (now, 0),
            Input::NoWay(status, reason) => self.refuse_front(status, &reason),
            Input::Tick => self.tick(now),
        }
    }

    /// Whether more bytes can be taken.
    pub(super) fn wants_bytes(&self) -> bool {
        match self.reading {
            Reading::Open => self.exchanges.len() < PIPELINE && self.input.len() < HEAD_LEN,
            Reading::Last | Reading::Closed => false,
            Reading::Lingering(_) => true,
        }
    }

    /// Whether nothing is under way: such a connection may be closed for a new one.
    pub(super) fn is_idle(&self) -> bool {
        self.exchanges.is_empty() && self.reading == Reading::Open
    }

    /// Since when nothing happened.
    pub(super) fn active(&self) -> Time {
        self.active
    }

    /// The next request for a worker, with its number; at most `ahead_max` are with workers or answered at once.
    pub(super) fn next_request(&mut self, ahead_max: usize) -> Option<(u64, &Request)> {
        let at = self.next_at(ahead_max)?;
        self.dispatched = self.dispatched.max(at + 1);
        let exchange = self.exchanges.get_mut(at)?;
        if matches!(exchange.state, State::Missed) {
            (exchange.state, exchange.is_again) = (State::Asked, true);
        }
        Some((self.first + at as u64, &exchange.request))
    }

    /// The same request, left where it is.
    pub(super) fn waiting_request(&mut self, ahead_max: usize) -> Option<&Request> {
        let at = self.next_at(ahead_max)?;
        Some(&self.exchanges.get(at)?.request)
    }

    /// The request with this number, while it is under way.
    pub(super) fn request(&self, number: u64) -> Option<&Request> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        Some(&self.exchanges.get(at)?.request)
    }

    /// Whether a request waits for a worker.
    pub(super) fn has_request(&mut self, ahead_max: usize) -> bool {
        self.next_at(ahead_max).is_some()
    }

    fn next_at(&mut self, ahead_max: usize) -> Option<usize> {
        self.pass_answered();
        if let Some(Exchange { state: State::Missed, .. }) = self.exchanges.front() {
            return Some(0);
        }
        let is_next = self.dispatched < self.exchanges.len().min(ahead_max) && !self.is_held();
        is_next.then_some(self.dispatched)
    }

    /// Whether a request before the next one leads those behind it and has no answer yet. An InRelease follows none.
    fn is_held(&self) -> bool {
        if self.exchanges.get(self.dispatched).is_some_and(|next| next.request.target.ends_with("/InRelease")) {
            return false;
        }
        self.exchanges.iter().take(self.dispatched).any(|former| match &former.state {
            State::Asked | State::Missed => may_lead(&former.request.target),
            State::Following(_, _, leads) => *leads,
            State::Sending(_) | State::Tunnel(_) => false,
        })
    }

    /// Requests that the edge itself refuses never go to a worker.
    fn pass_answered(&mut self) {
        while let Some(Exchange { state: State::Sending(_), .. }) = self.exchanges.get(self.dispatched) {
            self.dispatched += 1;
        }
    }

    /// What to do next; called until [`Output::Wait`] or [`Output::Close`].
    pub(super) fn poll(&mut self, now: Time) -> Output<'_> {
        if self.reading == Reading::Closed {
            return Output::Close;
        }
        self.begin_front(now);
        let Some(Exchange { state: State::Sending(sending), .. }) = self.exchanges.front_mut() else {
            return self.poll_idle(now);
        };
        sending.fill();
        if sending.is_broken() {
            self.reading = Reading::Closed;
            return Output::Log(self.finish_front(now, false));
        }
        if sending.is_done() {
            let last = sending.close;
            let log = self.finish_front(now, true);
            if last {
                self.drop_rest();
            } else {
                self.parse_input(now);
            }
            return Output::Log(log);
        }
        let Some(Exchange { state: State::Sending(sending), .. }) = self.exchanges.front() else {
            unreachable!("it was there a moment ago")
        };
        sending.output()
    }

    fn poll_idle(&mut self, now: Time) -> Output<'_> {
        if let Some(Exchange { state: State::Tunnel(way), .. }) = self.exchanges.front_mut()
            && let Some(way) = way.take()
        {
            return Output::Dial(way);
        }
        if self.reading == Reading::Last && self.exchanges.is_empty() {
            self.reading = Reading::Lingering(now + LINGER_TIME);
            return Output::Shutdown;
        }
        Output::Wait
    }

    /// The tunnel opens: what the client sent behind its request, which is the far side's.
    pub(super) fn open_tunnel(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input)
    }

    /// The log line of a tunnel that has ended, after so many bytes for the client.
    pub(super) fn end_tunnel(&mut self, now: Time, status: u16, bytes: u64, whole: bool) -> Log {
        Log { status, bytes, source: TUNNEL, ..self.finish_front(now, whole) }
    }

    /// The log line of an exchange that the connection's end cuts off.
    pub(super) fn cut_off(&mut self, now: Time) -> Option<Log> {
        self.exchanges.front()?;
        let log = self.finish_front(now, false);
        self.exchanges.clear();
        Some(log)
    }

    fn take_bytes(&mut self, now: Time, bytes: &[u8]) {
        self.active = now;
        if let Reading::Lingering(_) = self.reading {
            self.lingered += bytes.len() as u64;
            if self.lingered > LINGER_LEN {
                self.reading = Reading::Closed;
            }
            return;
        }
        if self.reading == Reading::Open {
            if self.input.is_empty() && bytes.first() == Some(&BITTORRENT) {
                self.reading = Reading::Closed;
                return;
            }
            self.input.extend_from_slice(bytes);
            self.parse_input(now);
        }
    }

    fn parse_input(&mut self, now: Time) {
        while self.reading == Reading::Open && self.exchanges.len() < PIPELINE {
            let Some(len) = self.end.find(&self.input) else {
                if self.input.len() >= HEAD_LEN {
                    self.refuse(now, Refusal { status: 431, reason: "the request's head is too long" });
                }
                break;
            };
            self.end = HeadEnd::default();
            self.head_since = None;
            match head::parse(&self.input[..len]) {
                Ok(request) => {
                    if !request.keep_alive || request.method == "CONNECT" {
                        self.reading = Reading::Last;
                    }
                    self.exchanges.push_back(Exchange { request, since: now, state: State::Asked, is_again: false });
                }
                Err(refusal) => self.refuse(now, refusal),
            }
            self.input.drain(..len);
        }
        let is_tunnel = self.exchanges.back().is_some_and(|last| last.request.method == "CONNECT");
        if self.input.is_empty() || self.reading != Reading::Open && !is_tunnel {
            // An idle connection holds no buffer.
            self.input = Vec::new();
            self.head_since = None;
        } else if is_tunnel || self.exchanges.len() >= PIPELINE {
            // What stands here is the far side's, or may be a whole head that has to wait its turn.
            self.head_since = None;
        } else if self.head_since.is_none() {
            self.head_since = Some(now);
        }
    }

    /// Answers behind what is queued, without a worker, and takes no more requests.
    fn refuse(&mut self, now: Time, refusal: Refusal) {
        let answer = ours(refusal.status, refusal.reason);
        let request = Request {
            method: "(refused)".into(),
            target: "-".into(),
            is_1_1: true,
            keep_alive: false,
            host: None,
            lines: Vec::new(),
        };
        let sending = Box::new(Sending::new(&request, answer, None));
        self.exchanges.push_back(Exchange { request, since: now, state: State::Sending(sending), is_again: false });
        self.reading = Reading::Last;
    }

    fn take_end(&mut self) {
        match self.reading {
            // A client may close its sending side and still wait for its answers.
            Reading::Open | Reading::Last if !self.exchanges.is_empty() => self.reading = Reading::Last,
            _ => self.reading = Reading::Closed,
        }
        self.input = Vec::new();
    }

    fn take_reply(&mut self, now: Time, number: u64, reply: Option<Reply>) {
        let Some(at) = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok()) else { return };
        let wake = Arc::clone(&self.wake);
        // A second reply would begin in the middle of what the first one has said.
        let is_asked = |exchange: &&mut Exchange| matches!(exchange.state, State::Asked);
        let Some(exchange) = self.exchanges.get_mut(at).filter(is_asked) else { return };
        exchange.state = match reply {
            Some(Reply::Now(answer) | Reply::Again { answer, .. }) => {
                State::answering(&exchange.request, answer, None)
            }
            Some(Reply::Later { stream, answer, leads }) => State::Following(stream.follow(wake), answer, leads),
            None => State::answering(&exchange.request, worker_failed(), None),
        };
        self.active = now;
    }

    /// The stream of the exchange whose turn it is may have news by now. Those behind it are asked when their turn comes.
    fn begin_front(&mut self, now: Time) {
        let Some(front) = self.exchanges.front_mut() else { return };
        if let State::Following(follower, ..) = &front.state
            && let Some(outcome) = follower.outcome()
        {
            // It filled its window before this turn, was cut off, and nobody has seen a byte of it.
            if !front.is_again && front.request.method != "HEAD" && follower.is_passed() {
                front.state = State::Missed;
                return;
            }
            let State::Following(follower, answer, _) = std::mem::replace(&mut front.state, State::Asked) else {
                unreachable!("matched above")
            };
            let answer = answer(&outcome);
            front.state = State::answering(&front.request, answer, Some(follower));
            self.slow_since = now;
            self.slow_sent = 0;
        }
    }

    fn take_sent(&mut self, now: Time, len: u64) {
        self.active = now;
        self.slow_sent += len;
        if let Some(Exchange { state: State::Sending(sending), .. }) = self.exchanges.front_mut() {
            sending.sent(len);
        }
    }

    fn refuse_front(&mut self, status: u16, reason: &str) {
        let Some(front) = self.exchanges.front_mut() else { return };
        front.state = State::answering(&front.request, ours(status, reason), None);
    }

    /// A tunnel whose name is not found: nobody knows how long the resolver will take.
    fn end_lookup(&mut self, now: Time) {
        let Some(Exchange { request, since, state: State::Following(..), .. }) = self.exchanges.front() else {
            return;
        };
        if request.method == "CONNECT" && now.since(*since) >= RESOLVE_TIMEOUT {
            let why = format!("the name of {} was not found within {} s", request.target, RESOLVE_TIMEOUT.as_secs());
            self.refuse_front(504, &why);
        }
    }

    fn break_front(&mut self) {
        if let Some(Exchange { state: State::Sending(sending), .. }) = self.exchanges.front_mut() {
            sending.break_off();
        }
    }

    fn finish_front(&mut self, now: Time, whole: bool) -> Log {
        let exchange = self.exchanges.pop_front().expect("called with an exchange in front");
        self.first += 1;
        self.dispatched = self.dispatched.saturating_sub(1);
        self.slow_since = now;
        self.slow_sent = 0;
        let (status, bytes, note) = match exchange.state {
            State::Sending(sending) => (sending.status, sending.body_sent, sending.note),
            State::Asked | State::Following(..) | State::Missed | State::Tunnel(_) => (0, 0, Note::default()),
        };
        Log {
            method: exchange.request.method,
            target: exchange.request.target,
            status,
            bytes,
            source: note.source,
            remark: note.remark,
            joined: note.joined,
            ms: u64::try_from(now.since(exchange.since).as_millis()).unwrap_or(u64::MAX),
            whole,
        }
    }

    /// After an answer that closes the connection, what stands behind it will not be answered.
    fn drop_rest(&mut self) {
        self.first += self.exchanges.len() as u64;
        self.exchanges.clear();
        self.dispatched = 0;
        self.reading = Reading::Last;
        self.input = Vec::new();
    }

    fn tick(&mut self, now: Time) {
        if let Reading::Lingering(until) = self.reading {
            if now >= until {
                self.reading = Reading::Closed;
            }
            return;
        }
        self.end_lookup(now);
        if self.head_since.is_some_and(|since| now.since(since) >= HEAD_TIME) {
            self.head_since = None;
            return self.refuse(now, Refusal { status: 408, reason: "the request's head did not come in time" });
        }
        if self.is_idle() && self.head_since.is_none() && now.since(self.active) >= self.idle_time {
            self.reading = Reading::Closed;
        }
        if now.since(self.slow_since) >= SLOW_READER_TIME {
            let has_bytes = matches!(
                self.exchanges.front(),
                Some(Exchange { state: State::Sending(sending), .. }) if sending.has_bytes()
            );
            if has_bytes && self.slow_sent < SLOW_READER_LEN {
                self.reading = Reading::Closed;
            }
            self.slow_since = now;
            self.slow_sent = 0;
        }
        if now.since(self.active) >= KEEP_CLIENT_TIME
            && let Some(Exchange { state: State::Sending(sending), .. }) = self.exchanges.front_mut()
        {
            sending.keep_alive();
        }
    }
}

/// Whether a worker may yet say that those behind it depend on this request.
fn may_lead(target: &str) -> bool {
    ["/InRelease", "/Release", "/Release.gpg"].iter().any(|name| target.ends_with(name))
}

fn worker_failed() -> Answer {
    let answer = ours(500, "the request could not be worked on; the log says why");
    Answer { note: Note { source: OURS, remark: "a worker gave no reply".into(), joined: false }, ..answer }
}

/// A refusal of the edge's own, behind which the connection closes. apt shows its user no more of a proxy's refusal than the
/// status line.
fn ours(status: u16, reason: &str) -> Answer {
    let body = format!("apt-p2p: {reason}\n").into_bytes();
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n",
        body.len()
    );
    let note = Note { source: OURS, remark: reason.to_owned(), joined: false };
    Answer { status, head: head.into_bytes(), body: Body::Bytes(body), close: true, note }
}

#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "only the fuzzer reaches it from outside")]
pub mod fuzzed;
#[cfg(test)]
mod tests;
