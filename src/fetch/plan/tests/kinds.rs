//! How the simulated peers are.

use super::*;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Honest,
    /// A part of its pieces is false: one in so many.
    Flips(u64),
    /// False pieces up to this part of the file (in 256ths), with a table that goes with them.
    FalseTable(u64),
    /// The same with one part in its first answer, which names a table and gives nothing if that is false, and with another in
    /// all later ones.
    Turns(u64, u64),
    /// It names such a table, and is gone.
    Names(u64),
    Silent,
    NotHere,
    /// It asks for a pause of so many milliseconds, each time.
    Busy(u64),
    Unusable,
    /// Gone after so many pieces.
    Vanishes(u64),
    /// A neighbour that fetches the file itself, and shows it as it grows.
    Fetches(Word),
}

/// What such a neighbour says, and does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Word {
    pub(super) grows: bool,
    pub(super) asks_mirror: bool,
    pub(super) is_first: bool,
    pub(super) is_false: bool,
}

pub(super) const FIRST: Word = Word { grows: true, asks_mirror: true, is_first: true, is_false: false };

impl Kind {
    pub(super) fn is_liar(self) -> bool {
        matches!(self, Kind::Flips(_) | Kind::FalseTable(_) | Kind::Turns(..) | Kind::Names(_))
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) kind: Kind,
    pub(super) is_neighbour: bool,
    /// Bytes a second.
    pub(super) rate: u64,
    pub(super) rtt: u64,
    pub(super) asked: u64,
    pub(super) given: u64,
    pub(super) lied: bool,
}

pub(super) fn peer(kind: Kind, rate: u64) -> Peer {
    let is_neighbour = matches!(kind, Kind::Fetches(_));
    Peer { kind, is_neighbour, rate, rtt: 40, asked: 0, given: 0, lied: false }
}

/// What a peer gives for each piece, and the table that it stands for.
pub(super) type Version = (Vec<u64>, Arc<PieceTable>);

/// What a peer of this kind gives in its first answer, and in all later ones.
pub(super) fn versions(kind: Kind, flight: &Flight) -> [Version; 2] {
    match kind {
        Kind::FalseTable(part) | Kind::Names(part) => [part, part],
        Kind::Turns(first, later) => [first, later],
        _ => [0, 0],
    }
    .map(|part| false_up_to(part, flight))
}

fn false_up_to(part: u64, flight: &Flight) -> Version {
    let (mut contents, mut table) = (flight.truth.clone(), flight.table.clone());
    let until = contents.len() * usize::try_from(part).expect("small") / 256;
    contents[..until].iter_mut().for_each(|content| *content += 1_000_000);
    let (false_table, _) = chain(&contents);
    let until = until.min(table.len());
    table[..until].copy_from_slice(&false_table[..until]);
    (contents, Arc::new(PieceTable::new(table, flight.len).expect("it fits")))
}
