//! The numbers of the page, of `status` and of `/metrics`: counted where they arise, put together here.

use std::sync::Arc;

use super::clock::today;
use super::live::Live;
use crate::edge::EdgeHandle;
use crate::fetch::{self, Fetcher, Shelf};
use crate::limits::{ARCHIVES_TOLD_LEN, DAMAGE_TIME_S};
use crate::report::{Numbers, counted};
use crate::signatures::Judge;
use crate::store::Damage;
use crate::time::Stamp;

/// Counts what there is to count.
pub(super) type Count = Arc<dyn Fn() -> Numbers + Send + Sync>;

/// What is counted, and what is wrong, at the moment it is asked.
pub(super) fn count(
    live: &Live,
    shelf: &Shelf,
    (fetcher, judge): (&Fetcher, &Arc<Judge>),
    (edge, peer_edge): (&EdgeHandle, Option<&EdgeHandle>),
    clock: &fetch::Clock,
) -> Count {
    let (live, shelf, fetcher, clock) = (live.clone(), shelf.clone(), fetcher.clone(), Arc::clone(clock));
    let (edge, peer_edge) = (edge.clone(), peer_edge.cloned());
    let judge = Arc::clone(judge);
    let start = clock();
    Arc::new(move || {
        let (stats, from_peers) = (edge.stats(), fetcher.from_peers());
        let mut numbers = Numbers {
            uptime_s: clock().since(start).as_secs(),
            connections: stats.connections,
            requests: stats.requests,
            bytes_sent: stats.bytes_sent,
            bytes_from_mirrors: fetcher.received().bytes,
            bytes_from_neighbours: from_peers.neighbours,
            bytes_from_strangers: from_peers.strangers,
            liars: from_peers.liars,
            bytes_to_peers: peer_edge.as_ref().map(|edge| edge.stats().bytes_sent),
            downloads: fetcher.under_way().len(),
            bytes_max: live.bytes_max(),
            signatures: signatures(&judge),
            ..Numbers::default()
        };
        match shelf.get() {
            Some(store) => {
                numbers.stored = store.usage().ok().map(|usage| (usage.files, usage.bytes));
                let suites = store.suites().unwrap_or_default();
                numbers.archives_known = suites.len();
                numbers.archives = told(suites);
                let damage = store.damage().unwrap_or_default();
                numbers.damaged = damage.files;
                numbers.problems.extend(disk_problem(damage, today()));
            }
            None => numbers.problems.push(format!(
                "The cache folder {} cannot be used, so nothing is kept; the log says why.",
                live.config().cache.display()
            )),
        }
        numbers
    })
}

/// Who signed which archive, as many as fit an answer.
fn signatures(judge: &Judge) -> Vec<(String, String)> {
    let mut room = ARCHIVES_TOLD_LEN;
    let lines = judge.all().into_iter().map(|(archive, verdict)| (archive, verdict.to_string()));
    let has_room = |line: &(String, String)| {
        room = room.saturating_sub(line.0.len() + line.1.len() + 1);
        room > 0
    };
    lines.take_while(has_room).collect()
}

/// The archives that are named, as many as fit an answer.
fn told(suites: Vec<(String, String)>) -> Vec<String> {
    let mut room = ARCHIVES_TOLD_LEN;
    let names = suites.into_iter().map(|(host, dir)| format!("{host}/{dir}"));
    let has_room = |name: &String| {
        room = room.saturating_sub(name.len() + 1);
        room > 0
    };
    names.take_while(has_room).collect()
}

/// What to do about a disk that spoils files; old stories are none.
fn disk_problem(damage: Damage, now: Stamp) -> Option<String> {
    let is_new = damage.files > 0 && now.secs_since(damage.last) < DAMAGE_TIME_S;
    let files = counted(usize::try_from(damage.files).unwrap_or(usize::MAX), "file", "files");
    is_new.then(|| {
        format!(
            "The disk has spoilt {files} of the cache, the last within a week. They are fetched again; look at the disk, \
             for example with smartctl -a, and run apt-p2p verify."
        )
    })
}
