//! What a node does from time to time: joins, asks contacts whether they are there, looks into each level of its table.

use std::time::Duration;

use super::common::Common;
use super::message::{Query, Want};
use super::node::{Node, Purpose};
use super::running::{Goal, Owner};
use crate::limits::{CLOSEST, JOIN_TIME, REFRESH_TIME, UPKEEP_PINGS, UPKEEP_TIME};
use crate::time::Time;

impl Node {
    /// What is to be done from time to time; when there will be more.
    pub(super) fn upkeep(&mut self, now: Time, common: &mut Common) -> Time {
        self.tokens.tick(&mut common.rng, now);
        self.records.tick(now);
        self.items.tick(now);
        self.quarantine.tick(now);
        self.address.tick(now, self.table.len() > 0);
        self.join(now, common);
        for _ in 0..UPKEEP_PINGS {
            if !common.has_spare(now) {
                return now;
            }
            let Some(contact) = self.table.stalest(now) else {
                self.refresh(now, common);
                return self.next_upkeep(now);
            };
            if common.may_ask(false, now) {
                self.ask(contact.address, Some(contact.id), Query::Ping, Purpose::Ping, now, common);
            }
        }
        now
    }

    fn next_upkeep(&self, now: Time) -> Time {
        let is_lonely = self.table.len() < CLOSEST;
        if self.lookups_len() > 0 {
            // When it ends there are levels to look into.
            return now;
        }
        let refresh_at = self.refresh_at.iter().min().copied();
        let join_at = is_lonely.then_some(self.join_at);
        refresh_at.into_iter().chain(join_at).min().unwrap_or(now + UPKEEP_TIME)
    }

    fn join(&mut self, now: Time, common: &mut Common) {
        if now < self.join_at || self.table.len() >= CLOSEST && !self.is_joining {
            return;
        }
        self.is_joining = false;
        self.join_at = now + JOIN_TIME * (1 << self.joins.min(6));
        self.joins += 1;
        for address in self.entrances.clone() {
            if common.may_ask(true, now) {
                let query = Query::FindNode { target: self.id, want: Want::default() };
                self.ask(address, None, query, Purpose::Join, now, common);
            }
        }
        if self.table.len() > 0 {
            self.start(self.id, Goal::Nodes, Owner::Table, now);
        }
    }

    /// Looks into each level of the table in turn, from the widest to the one below our nearest contact.
    fn refresh(&mut self, now: Time, common: &mut Common) {
        let levels = self.table.levels();
        while self.refresh_at.len() < levels {
            // The first time soon, but not all at once.
            let soon = Duration::from_millis(1000 + common.rng.below(5000) + 2000 * self.refresh_at.len() as u64);
            self.refresh_at.push(now + soon);
        }
        self.refresh_at.truncate(levels);
        for level in 0..levels {
            if now < self.refresh_at[level] {
                continue;
            }
            // Of a full level each contact is asked whether it is there: there is nobody to look for.
            let target = self.id.random_beside(level, &mut common.rng);
            if !self.table.is_full(level) && !self.start(target, Goal::Nodes, Owner::Table, now) {
                return;
            }
            let quarter = u64::try_from(REFRESH_TIME.as_millis() / 4).expect("an hour");
            self.refresh_at[level] =
                now + REFRESH_TIME * 3 / 4 + Duration::from_millis(common.rng.below(2 * quarter));
        }
    }
}
