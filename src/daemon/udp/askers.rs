//! Who waits for what: passes events on without ever waiting for whoever reads them.

use super::handle::{Asker, is_last};
use crate::dht::{AskId, Event};
use crate::limits::{DHT_ANSWERS, DHT_ASKS};
use crate::sorted::SortedMap;

/// Asks under way.
#[derive(Default)]
pub(super) struct Askers {
    open: SortedMap<AskId, Asker>,
    last: u64,
}

impl Askers {
    /// A number for an ask; none if nobody waits for it any more, or too many are under way. Then the asker's channel
    /// closes, which to him is "nobody".
    pub(super) fn admit(&mut self, asker: Asker) -> Option<AskId> {
        if self.open.len() >= DHT_ASKS || asker.ticket.strong_count() == 0 {
            return None;
        }
        self.last += 1;
        let ask = AskId(self.last);
        self.open.insert(ask, asker);
        Some(ask)
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Passes on what was found. There is always room for the end.
    pub(super) fn give(&mut self, event: Event) {
        let (Event::Peer { ask, .. }
        | Event::Hint { ask, .. }
        | Event::Item { ask, .. }
        | Event::Hop { ask, .. }
        | Event::Done { ask, .. }
        | Event::Dialled { ask, .. }) = event
        else {
            return;
        };
        let Some(asker) = self.open.get(&ask) else { return };
        let is_last = is_last(&event);
        if is_last || asker.events.len() + 1 < DHT_ANSWERS {
            asker.events.try_send(Box::new(event)).ok();
        }
        if is_last {
            self.open.remove(&ask);
        }
    }

    /// Asks that nobody waits for any more.
    pub(super) fn take_abandoned(&mut self) -> Vec<AskId> {
        let mut abandoned = Vec::new();
        self.open.retain(|ask, asker| {
            let is_wanted = asker.ticket.strong_count() > 0;
            if !is_wanted {
                abandoned.push(*ask);
            }
            is_wanted
        });
        abandoned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::Summary;
    use crossbeam_channel::{Receiver, bounded};
    use std::net::SocketAddr;
    use std::sync::{Arc, Weak};

    fn asker(ticket: &Arc<()>) -> (Asker, Receiver<Box<Event>>) {
        let (events, receiver) = bounded(DHT_ANSWERS);
        (Asker { events, ticket: Arc::downgrade(ticket) }, receiver)
    }

    #[test]
    fn the_end_gets_through_to_who_does_not_read() {
        let (mut askers, ticket) = (Askers::default(), Arc::new(()));
        let (asker, events) = asker(&ticket);
        let ask = askers.admit(asker).expect("a place");
        let peer = SocketAddr::from(([203, 0, 113, 1], 1));
        (0..2 * DHT_ANSWERS).for_each(|_| askers.give(Event::Peer { ask, peer }));
        let done = Event::Done { ask, summary: Summary::default() };
        askers.give(done.clone());
        // What comes after the end is nobody's.
        askers.give(Event::Peer { ask, peer });
        let all: Vec<Event> = events.iter().map(|event| *event).collect();
        assert_eq!((all.len(), all.last(), askers.len()), (DHT_ANSWERS, Some(&done), 0));
    }

    #[test]
    fn places_are_bounded_and_free_again_when_their_askers_leave() {
        let (mut askers, stays, leaves) = (Askers::default(), Arc::new(()), Arc::new(()));
        let kept = askers.admit(asker(&stays).0).expect("a place");
        let gone: Vec<AskId> = (1..DHT_ASKS).map(|_| askers.admit(asker(&leaves).0).expect("a place")).collect();
        assert_eq!(askers.admit(asker(&stays).0), None);
        drop(leaves);
        assert_eq!(askers.take_abandoned(), gone);
        assert!(askers.admit(Asker { ticket: Weak::new(), ..asker(&stays).0 }).is_none(), "gone before his turn");
        askers.give(Event::Dialled { ask: kept, reached: false });
        assert_eq!(askers.len(), 0);
    }
}
