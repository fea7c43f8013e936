//! One run: a peer thread asks for adjacent pieces, checks each while it comes, and puts it where the plan wants it.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use super::peer::Sent;
use super::plan::{Ask, End, Input, Place, RunNews, Target};
use super::swarm::{Shared, Swarms};
use crate::digest::{Digest, Midstate, PIECE_LEN, PieceCheck, PieceHasher, PieceTable};
use crate::limits::{COPY_LEN, PEER_TABLE_TIME};
use crate::time::Time;

/// How often a slow peer's bytes are counted.
const TELL_TIME: Duration = Duration::from_millis(250);

/// One run, as its thread makes it.
pub(super) struct Errand<'a> {
    pub(super) swarms: &'a Swarms,
    pub(super) ask: &'a Ask,
    pub(super) shared: &'a Shared,
}

impl Errand<'_> {
    pub(super) fn run(&self) -> Result<(), End> {
        if self.ask.follows {
            return self.follow();
        }
        let Target { len, .. } = self.shared.target;
        let bytes = self.ask.pieces.start as u64 * PIECE_LEN..(self.ask.pieces.end as u64 * PIECE_LEN).min(len);
        if self.ask.table_first {
            match self.fetch_table() {
                // A neighbour that fetches the file itself has no table yet.
                Err(End::NotHere) if self.is_neighbour() => {}
                other => {
                    other?;
                }
            }
        }
        let (peers, name) = (&self.swarms.peers, self.shared.name.as_str());
        let mut sent = peers.ask(self.ask.peer, name, &bytes, len)?;
        self.tell(RunNews::Head(sent.vouches));
        let mut table = None;
        if let Some(hash) = sent.vouches {
            table = self.table(&hash);
            if table.is_none() {
                // It may also have landed meanwhile.
                self.note(0)?;
                if self.fetch_table()? != hash {
                    return Err(End::Unusable);
                }
                table = Some(self.table(&hash).ok_or(End::Stopped)?);
                sent = peers.ask(self.ask.peer, name, &bytes, len)?;
                if sent.vouches != Some(hash) {
                    return Err(End::Unusable);
                }
            }
        }
        self.read_pieces(&mut sent, table.as_deref())
    }

    fn now(&self) -> Time {
        (self.swarms.clock)()
    }

    fn is_neighbour(&self) -> bool {
        self.swarms.lock().plans.is_neighbour(self.ask.peer)
    }

    fn table(&self, hash: &Digest) -> Option<Arc<PieceTable>> {
        self.swarms.lock().plans.table(self.ask.run.flight, hash)
    }

    /// Its table's hash.
    fn fetch_table(&self) -> Result<Digest, End> {
        let begun = self.now();
        // Who sends it byte by byte would keep this thread from all other peers.
        let goes_on = || match self.now().since(begun) > PEER_TABLE_TIME {
            true => Err(End::Silent),
            false => self.note(0),
        };
        let table = self.swarms.peers.table(self.ask.peer, &self.shared.name, self.shared.target.len, goes_on)?;
        let hash = table.hash();
        self.tell(RunNews::Table(Arc::new(table)));
        Ok(hash)
    }

    fn tell(&self, news: RunNews) {
        self.swarms.tell(Input::Run(self.ask.run, news));
    }

    fn read_pieces(&self, sent: &mut Sent, table: Option<&PieceTable>) -> Result<(), End> {
        let Target { len, digest, .. } = self.shared.target;
        let mut buffer = Vec::new();
        let (mut untold, mut told) = (0, self.now());
        for piece in self.ask.pieces.clone() {
            let start = piece as u64 * PIECE_LEN;
            let piece_len = usize::try_from(PIECE_LEN.min(len - start)).expect("a piece fits memory");
            buffer.resize(piece_len, 0);
            let before = table.map_or(Midstate::INITIAL, |table| table.before(piece));
            let mut check = PieceCheck::new(before, piece);
            let mut filled = 0;
            while filled < piece_len {
                let read = sent.read(&mut buffer[filled..])?;
                check.update(&buffer[filled..filled + read]);
                filled += read;
                untold += read;
                if untold >= COPY_LEN || self.now().since(told) >= TELL_TIME || filled == piece_len {
                    self.note(untold)?;
                    (untold, told) = (0, self.now());
                }
            }
            let is_right = match table.and_then(|table| table.after(piece)) {
                Some(after) => check.leads_to(after),
                None => check.completes(&digest),
            };
            if !is_right {
                return Err(End::Lied);
            }
            self.put(piece, &buffer);
        }
        Ok(())
    }

    /// Takes the file from its first byte on from a neighbour that fetches it itself, as it grows: where it leads to is all
    /// that can be said of it.
    fn follow(&self) -> Result<(), End> {
        let Target { len, digest, .. } = self.shared.target;
        let mut sent = self.swarms.peers.follow(self.ask.peer, &self.shared.name, len)?;
        self.note(0)?;
        let (mut hasher, mut buffer) = (PieceHasher::default(), Vec::new());
        for piece in self.ask.pieces.clone() {
            let piece_len = usize::try_from(PIECE_LEN.min(len - hasher.len())).expect("a piece fits memory");
            buffer.resize(piece_len, 0);
            let mut filled = 0;
            while filled < piece_len {
                let read = sent.read(&mut buffer[filled..])?;
                self.note(read)?;
                filled += read;
            }
            hasher.update(&buffer, |_| ());
            let is_last = piece + 1 == self.ask.pieces.end;
            if is_last && hasher.clone().finish() != digest {
                return Err(End::Lied);
            }
            self.put(piece, &buffer);
            self.tell(RunNews::Followed(hasher.at_piece_end().filter(|_| !is_last)));
        }
        Ok(())
    }

    /// Bytes came; whether more are wanted.
    fn note(&self, read: usize) -> Result<(), End> {
        let mut hub = self.swarms.lock();
        self.swarms.turn(&mut hub, Some(Input::Run(self.ask.run, RunNews::Bytes(read as u64))));
        match hub.plans.is_wanted(self.ask.run) {
            true => Ok(()),
            false => Err(End::Stopped),
        }
    }

    /// Puts a right piece where the plan wants it.
    fn put(&self, piece: usize, bytes: &[u8]) {
        let (run, flight) = (self.ask.run, self.ask.run.flight);
        let mut hub = self.swarms.lock();
        let place = match hub.members.get(&flight) {
            Some(member) if !member.is_closed => hub.plans.place(run, piece),
            _ => Place::Late,
        };
        if place != Place::Late {
            let is_neighbour = hub.plans.is_neighbour(self.ask.peer);
            let received = &mut hub.received;
            *(if is_neighbour { &mut received.neighbours } else { &mut received.strangers }) += bytes.len() as u64;
        }
        if place == Place::HandOver
            && let Some(member) = hub.members.get_mut(&flight)
        {
            member.bytes += bytes.len() as u64;
            member.patch = Some((piece, bytes.to_vec()));
            self.swarms.turn(&mut hub, None);
        }
        drop(hub);
        if place != Place::Write {
            return;
        }
        let written = self.shared.file.write_all_at(bytes, piece as u64 * PIECE_LEN);
        let mut hub = self.swarms.lock();
        if let Some(member) = hub.members.get_mut(&flight) {
            member.bytes += bytes.len() as u64;
            member.is_closed |= written.is_err();
        }
        drop(hub);
        if let Err(error) = &written {
            log::warn!("a peer's piece cannot be written: {error}");
        }
        let is_there = written.is_ok();
        self.tell(match self.ask.follows {
            true => RunNews::WrittenBehind { piece, is_there },
            false => RunNews::Written { piece, is_there },
        });
        // The flight's thread may wait for this very piece.
        self.shared.news.notify_all();
    }
}
