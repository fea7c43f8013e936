//! Who waits for what: passes events on without ever waiting for whoever reads them.

use std::collections::BTreeMap;

use super::handle::{Asker, is_last};
use crate::dht::{AskId, Event};
use crate::limits::{DHT_ANSWERS, DHT_ASKS};

/// Asks under way.
#[derive(Default)]
pub(super) struct Askers {
    open: BTreeMap<AskId, Asker>,
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
            asker.events.try_send(event).ok();
        }
        if is_last {
            self.open.remove(&ask);
        }
    }

    /// Asks that nobody waits for any more.
    pub(super) fn take_abandoned(&mut self) -> Vec<AskId> {
        self.open.extract_if(.., |_, asker| asker.ticket.strong_count() == 0).map(|(ask, _)| ask).collect()
    }
}
