//! Neighbours find each other, and clients find the proxy, by multicast DNS.
//!
//! Owns the process that speaks it (`responder`): hears what that tells, and starts another when it has ended.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use signal_hook::consts::SIGABRT;

use super::Neighbours;
pub use super::responder::Announcement;
use super::responder::{self, Heard};
use crate::limits::{MDNS_LINE_LEN, MDNS_PAUSE, MDNS_PAUSE_MAX};
use crate::time::Time;

/// This program, also when another has taken its place on the disk.
const OURSELVES: &str = "/proc/self/exe";

/// The responder that runs. When its standard input is closed, it says goodbye and ends.
type Leash = Arc<Mutex<Option<Child>>>;
/// Tells the time.
type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// Announces us and hears of others until it is dropped.
#[derive(Debug)]
pub struct Discovery {
    /// Dropped to end it.
    end: Option<Sender<()>>,
    leash: Leash,
    /// Closed when it has ended.
    ended: Receiver<()>,
}

/// Keeps a responder running, on a thread of its own, until the [`Discovery`] ends.
pub struct Watch {
    announcement: Announcement,
    neighbours: Neighbours,
    clock: Clock,
    end: Receiver<()>,
    leash: Leash,
    _ended: Sender<()>,
}

impl Discovery {
    /// Nothing is announced before the watch runs.
    #[must_use]
    pub fn new(announcement: Announcement, neighbours: Neighbours, clock: Clock) -> (Discovery, Watch) {
        let (end_sender, end) = bounded(0);
        let (ended_sender, ended) = bounded(0);
        let leash = Leash::default();
        let watch = Watch { announcement, neighbours, clock, end, leash: Arc::clone(&leash), _ended: ended_sender };
        (Discovery { end: Some(end_sender), leash, ended }, watch)
    }

    /// Says goodbye, so that nobody asks a machine that is gone; does not wait until that is said.
    pub fn leave(&mut self) {
        // In this order: whoever has just started a responder looks for the end after he has put it there.
        self.end = None;
        close_input(&self.leash);
    }

    /// Waits until it is, for no longer than is `left`.
    pub fn wait_until_gone(&mut self, left: &dyn Fn() -> Duration) {
        if self.ended.recv_timeout(left()) == Err(RecvTimeoutError::Timeout)
            && let Some(child) = &mut *lock(&self.leash)
        {
            log::debug!("multicast DNS does not end in time");
            child.kill().ok();
        }
    }
}

fn lock(leash: &Leash) -> MutexGuard<'_, Option<Child>> {
    leash.lock().expect("no holder of the lock panics")
}

fn close_input(leash: &Leash) {
    if let Some(child) = &mut *lock(leash) {
        child.stdin = None;
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keeps {:?}", self.announcement)
    }
}

impl Watch {
    /// Notes who comes and goes, until discovery ends.
    pub fn run(self) {
        let mut pause = MDNS_PAUSE;
        loop {
            let began = (self.clock)();
            let why = self.follow_one();
            if self.has_ended() {
                return;
            }
            if (self.clock)().since(began) >= MDNS_PAUSE_MAX {
                pause = MDNS_PAUSE;
            }
            // What ended it may be there for as long as whoever does it wants.
            log::warn!("{why}; it is started anew in {} s", pause.as_secs());
            if self.end.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            pause = (2 * pause).min(MDNS_PAUSE_MAX);
        }
    }

    fn has_ended(&self) -> bool {
        self.end.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Follows one responder to its end; why that came.
    fn follow_one(&self) -> String {
        let mut child = match self.start() {
            Ok(child) => child,
            Err(error) => {
                return format!(
                    "multicast DNS cannot be used ({OURSELVES}: {error}); --neighbour names the neighbours without it"
                );
            }
        };
        let told = child.stdout.take().expect("it is piped");
        *lock(&self.leash) = Some(child);
        if self.has_ended() {
            close_input(&self.leash);
        }
        let trouble = self.hear(BufReader::with_capacity(MDNS_LINE_LEN, told));
        let mut child = lock(&self.leash).take().expect("it is put there and taken here alone");
        // It may be in the middle of anything if it was not its end that was heard.
        child.kill().ok();
        match (trouble, child.wait()) {
            (Some(why), _) => why,
            (None, Ok(status)) => told_by(status),
            (None, Err(error)) => format!("multicast DNS ended: {error}"),
        }
    }

    fn start(&self) -> std::io::Result<Child> {
        Command::new(OURSELVES)
            .arg0(responder::NAME)
            .args(self.announcement.words())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
    }

    /// What it says of its own end.
    fn hear(&self, mut lines: impl BufRead) -> Option<String> {
        let mut line = String::new();
        // Known from the one before.
        let mut unheard = self.neighbours.names();
        loop {
            line.clear();
            (&mut lines).take(MDNS_LINE_LEN as u64).read_line(&mut line).ok()?;
            match Heard::parse(line.strip_suffix('\n')?)? {
                Heard::Neighbour(name, neighbour) => {
                    unheard.retain(|other| *other != name);
                    let address = neighbour.address;
                    if self.neighbours.note(&name, neighbour) {
                        log::info!("a neighbour on this LAN: {name:?} at {address}");
                    }
                }
                Heard::Left(name) => self.left(&name),
                Heard::Settled => unheard.drain(..).for_each(|name| self.left(&name)),
                Heard::Trouble(why) => return Some(why),
            }
        }
    }

    fn left(&self, name: &str) {
        if self.neighbours.forget(name).is_some() {
            log::info!("a neighbour has left: {name:?}");
        }
    }
}

/// An allocation that fails ends a program by SIGABRT; so does a panic, which is told before.
fn told_by(status: ExitStatus) -> String {
    if status.signal() == Some(SIGABRT) {
        return "more is announced by multicast DNS on this LAN than is remembered".to_owned();
    }
    format!("multicast DNS ended ({status})")
}
