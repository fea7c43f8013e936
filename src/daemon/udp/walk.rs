//! Drives a crawl over sockets of its own, until it is over or a signal ends it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::{Events, Poll};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::super::clock::boot_clock;
use super::sockets::Sockets;
use crate::dht::{Crawl, CrawlInput, CrawlOutput, CrawlPlan, Survey};

/// What somebody who waits for a crawl hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrawlNews {
    /// A sweep is over.
    Swept,
    /// It goes on; said again and again.
    GoesOn,
}

/// Walks from `begin_with` on; `told` hears of each sweep. `families` of the plan are those that there are sockets for.
///
/// # Errors
/// When there can be no socket, or no waiting for it.
pub(in super::super) fn walk(
    plan: CrawlPlan,
    listen: SocketAddr,
    begin_with: &[SocketAddr],
    mut told: impl FnMut(CrawlNews, &dyn Fn() -> Survey),
) -> io::Result<Survey> {
    let mut poll = Poll::new()?;
    let mut sockets = Sockets::bind(&[listen], poll.registry().try_clone()?, 0)?;
    let is_ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&is_ended))?;
    }
    let clock = boot_clock();
    let mut crawl = Crawl::new(CrawlPlan { families: sockets.families(), ..plan }, clock());
    begin_with.iter().for_each(|address| crawl.handle(clock(), CrawlInput::Known(*address)));
    let (mut events, mut buffer) = (Events::with_capacity(16), Vec::new());
    while !is_ended.load(Ordering::Relaxed) {
        match crawl.poll(clock(), &mut buffer) {
            CrawlOutput::Send { to } => {
                // What the network does not take counts as not answered.
                sockets.send(to, &buffer);
            }
            CrawlOutput::Swept => told(CrawlNews::Swept, &|| crawl.survey(clock())),
            CrawlOutput::Done => break,
            CrawlOutput::WakeAt(at) => {
                told(CrawlNews::GoesOn, &|| crawl.survey(clock()));
                let now = clock();
                let pause = if sockets.has_more() { now } else { at }.since(now);
                match poll.poll(&mut events, Some(pause)) {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                    _ => {}
                }
                for event in &events {
                    sockets.note_ready(event.token(), event.is_readable(), event.is_writable());
                }
                sockets.receive(|from, bytes| crawl.handle(clock(), CrawlInput::Datagram { from, bytes }));
                sockets.flush();
                crawl.handle(clock(), CrawlInput::Tick);
            }
        }
    }
    Ok(crawl.survey(clock()))
}
