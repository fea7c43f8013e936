//! An answer on its way out: head and body in the right framing, from bytes, a file, or a stream that grows. PURE.

use std::fs::File;
use std::sync::Arc;

use super::exchange::{Answer, Body, Note};
use super::head::Request;
use super::verbs::Output;
use crate::stream::{Follower, Step};

/// An answer on its way out.
pub(super) struct Sending {
    pub(super) status: u16,
    pub(super) note: Note,
    pub(super) close: bool,
    /// Bytes to go out before anything else; the head first, then framing and memory chunks.
    pending: Vec<u8>,
    pending_at: usize,
    /// Then this part of a file.
    span: Option<Span>,
    source: Source,
    /// Bytes of the body that went out; framing does not count.
    pub(super) body_sent: u64,
    /// How many of `pending` are head or framing.
    overhead: usize,
    /// The head's last line waits for the body's first byte.
    is_head_open: bool,
}

struct Span {
    file: Arc<File>,
    at: u64,
    left: u64,
}

enum Source {
    /// What is pending is all.
    Done,
    Stream {
        follower: Follower,
        at: u64,
        left: Option<u64>,
        chunked: bool,
    },
    /// It broke: the client must see that.
    Broken,
}

impl Sending {
    pub(super) fn new(request: &Request, answer: Answer, follower: Option<Follower>) -> Sending {
        let Answer { status, head: mut pending, body, close, note } = answer;
        let is_head = request.method == "HEAD" || status == 304;
        let endless = matches!(body, Body::Stream { len: None, .. });
        let chunked = endless && request.is_1_1 && !is_head;
        // Without a length only the connection's end can tell the body's. Behind a CONNECT no request is read.
        let close =
            close || !request.keep_alive || request.method == "CONNECT" || endless && !request.is_1_1 && !is_head;
        if chunked {
            pending.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        let mut is_head_open = false;
        match (close, request.is_1_1) {
            (true, _) => pending.extend_from_slice(b"Connection: close\r\n"),
            (false, false) => pending.extend_from_slice(b"Connection: keep-alive\r\n"),
            (false, true) => {}
        }
        if let (Body::Stream { start, patient: true, .. }, Some(follower)) = (&body, &follower) {
            follower.seek(*start);
            let waits = !is_head && request.is_1_1 && matches!(follower.next(), Step::Wait);
            is_head_open = waits;
        }
        if !is_head_open {
            pending.extend_from_slice(b"\r\n");
        }
        let overhead = pending.len();
        let (mut span, mut source) = (None, Source::Done);
        match body {
            _ if is_head => {}
            // A tunnel is no answer: the connection has dealt with it.
            Body::Empty | Body::Tunnel(_) => {}
            Body::Bytes(bytes) => pending.extend_from_slice(&bytes),
            Body::File { file, start, len } => span = Some(Span { file, at: start, left: len }),
            Body::Stream { start, len, .. } => {
                source = match follower {
                    Some(follower) => {
                        follower.seek(start);
                        Source::Stream { follower, at: start, left: len, chunked }
                    }
                    None => Source::Broken,
                };
            }
        }
        Sending { status, note, close, pending, pending_at: 0, span, source, body_sent: 0, overhead, is_head_open }
    }

    /// One more line of a head that waits for its body: whoever counts seconds without a byte begins anew.
    pub(super) fn keep_alive(&mut self) {
        if self.is_head_open && !self.has_bytes() {
            self.pending = b"X-Wait: 1\r\n".to_vec();
            (self.pending_at, self.overhead) = (0, self.pending.len());
        }
    }

    /// Takes what the stream has, if there is nothing else to send.
    pub(super) fn fill(&mut self) {
        if self.has_bytes() {
            return;
        }
        let Source::Stream { follower, at, left, chunked } = &mut self.source else { return };
        if *left == Some(0) {
            self.source = Source::Done;
            if std::mem::take(&mut self.is_head_open) {
                self.pending = b"\r\n".to_vec();
                (self.pending_at, self.overhead) = (0, self.pending.len());
            }
            return;
        }
        let step = follower.next();
        let most = left.unwrap_or(u64::MAX);
        (self.pending_at, self.overhead) = (0, 0);
        self.pending.clear();
        if self.is_head_open && matches!(step, Step::File { .. } | Step::Memory { .. } | Step::End) {
            self.is_head_open = false;
            self.pending = b"\r\n".to_vec();
            self.overhead = self.pending.len();
            return;
        }
        match step {
            Step::File { file, until } => {
                let len = (until - *at).min(most);
                if *chunked {
                    self.pending = format!("{len:x}\r\n").into_bytes();
                    self.overhead = self.pending.len();
                }
                self.span = Some(Span { file, at: *at, left: len });
                *at += len;
                *left = left.map(|left| left - len);
                // The position moves when the bytes are out: see `sent`.
            }
            Step::Memory { chunk, skip } => {
                let bytes = &chunk[skip..];
                let len = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
                if *chunked {
                    self.pending = format!("{len:x}\r\n").into_bytes();
                    self.overhead = self.pending.len();
                }
                self.pending.extend_from_slice(&bytes[..len]);
                if *chunked {
                    self.pending.extend_from_slice(b"\r\n");
                    self.overhead += 2;
                }
                *at += len as u64;
                *left = left.map(|left| left - len as u64);
                follower.seek(*at);
            }
            Step::Wait => {}
            Step::End if left.is_none() => {
                if *chunked {
                    self.pending = b"0\r\n\r\n".to_vec();
                    self.overhead = self.pending.len();
                }
                self.source = Source::Done;
            }
            // The end came before the length that was announced.
            Step::End | Step::Broken => self.source = Source::Broken,
        }
    }

    /// The file ended too early: nothing more goes out.
    pub(super) fn break_off(&mut self) {
        self.source = Source::Broken;
        self.span = None;
        self.pending.clear();
        self.pending_at = 0;
    }

    pub(super) fn has_bytes(&self) -> bool {
        self.pending_at < self.pending.len() || self.span.is_some()
    }

    pub(super) fn is_done(&self) -> bool {
        !self.has_bytes() && matches!(self.source, Source::Done)
    }

    pub(super) fn is_broken(&self) -> bool {
        !self.has_bytes() && matches!(self.source, Source::Broken)
    }

    pub(super) fn output(&self) -> Output<'_> {
        if self.pending_at < self.pending.len() {
            return Output::Send { bytes: &self.pending[self.pending_at..], more: self.span.is_some() };
        }
        match &self.span {
            Some(span) => Output::SendFile { file: Arc::clone(&span.file), at: span.at, len: span.left },
            None => Output::Wait,
        }
    }

    pub(super) fn sent(&mut self, len: u64) {
        if self.pending_at < self.pending.len() {
            let before = self.pending_at.max(self.overhead);
            self.pending_at += usize::try_from(len).expect("no more than was pending");
            self.body_sent += self.pending_at.max(self.overhead).saturating_sub(before) as u64;
            return;
        }
        let Some(span) = &mut self.span else { return };
        span.at += len;
        span.left -= len;
        self.body_sent += len;
        let position = span.at;
        if span.left == 0 {
            self.span = None;
            if let Source::Stream { chunked: true, .. } = self.source {
                (self.pending, self.pending_at) = (b"\r\n".to_vec(), 0);
                self.overhead = 2;
            }
        }
        if let Source::Stream { follower, .. } = &self.source {
            follower.seek(position);
        }
    }
}
