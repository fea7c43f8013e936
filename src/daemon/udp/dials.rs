//! Connections made so that somebody learns whether he can be reached. Nothing is ever sent on them.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::dht::Input;
use crate::limits::{DIAL_TIMEOUT, DIALS};
use crate::time::Time;

/// Who asked, in what words: what the answer must name.
pub(super) struct Dialler {
    pub(super) from: SocketAddr,
    pub(super) tx: Vec<u8>,
    pub(super) len: usize,
}

impl Dialler {
    pub(super) fn told(self, reached: bool) -> Input<'static> {
        Input::Dialled { from: self.from, tx: self.tx, len: self.len, reached }
    }
}

struct Dial {
    stream: TcpStream,
    dialler: Dialler,
    until: Time,
}

/// Dials under way. The token of each is its place and `first_token`.
pub(super) struct Dials {
    places: [Option<Dial>; DIALS],
    registry: Registry,
    first_token: usize,
}

impl Dials {
    pub(super) fn new(registry: Registry, first_token: usize) -> Dials {
        Dials { places: Default::default(), registry, first_token }
    }

    /// Begins to connect.
    ///
    /// # Errors
    /// The dialler, when that is not possible.
    pub(super) fn begin(&mut self, target: SocketAddr, dialler: Dialler, now: Time) -> Result<(), Dialler> {
        let Some(n) = self.places.iter().position(Option::is_none) else { return Err(dialler) };
        let connect = || -> io::Result<TcpStream> {
            let mut stream = TcpStream::connect(target)?;
            self.registry.register(&mut stream, Token(self.first_token + n), Interest::WRITABLE)?;
            Ok(stream)
        };
        match connect() {
            Ok(stream) => {
                self.places[n] = Some(Dial { stream, dialler, until: now + DIAL_TIMEOUT });
                Ok(())
            }
            Err(error) => {
                log::debug!("{target} cannot be dialled: {error}");
                Err(dialler)
            }
        }
    }

    /// The dial with this token, if it is one of ours and has ended.
    pub(super) fn note_ready(&mut self, token: Token) -> Option<Input<'static>> {
        let place = token.0.checked_sub(self.first_token).and_then(|n| self.places.get_mut(n))?;
        let dial = place.as_ref()?;
        let reached = match (dial.stream.take_error(), dial.stream.peer_addr()) {
            (Ok(None), Ok(_)) => true,
            (Ok(None), Err(error)) if error.kind() == io::ErrorKind::NotConnected => return None,
            _ => false,
        };
        // Closing it takes it out of the poll.
        place.take().map(|dial| dial.dialler.told(reached))
    }

    /// A dial that took too long.
    pub(super) fn take_late(&mut self, now: Time) -> Option<Input<'static>> {
        let place = self.places.iter_mut().find(|place| place.as_ref().is_some_and(|dial| dial.until <= now))?;
        place.take().map(|dial| dial.dialler.told(false))
    }

    /// When the first one will have taken too long.
    pub(super) fn next_time(&self) -> Option<Time> {
        self.places.iter().flatten().map(|dial| dial.until).min()
    }
}
