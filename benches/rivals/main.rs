//! The proxy beside what would be picked instead, all in one run: direct nginx, nginx's proxy_cache, apt-cacher-ng, squid.
//!
//! ```text
//! cargo bench --bench rivals                        all of it: a Markdown table, and docs/rivals.svg
//! cargo bench --bench rivals -- warm small          only these parts
//! cargo bench --bench rivals -- --rounds 9          medians of so many rounds instead of five
//! ```
//!
//! `warm`   a stored file of 50 MB, at 1 and 8 clients: MB/s, CPU of all processes of the server for each GB
//! `small`  stored files of 10 KB: requests a second over 50 connections, CPU for each, and one request after the other on
//!          a single connection; also with a condition, which apt-p2p hands to its workers instead of its memory
//! `cold`   files that nobody had yet: the first byte of 10 KB, and 50 MB
//! `crowd`  20 clients that ask for the same 50 MB at once, the upstream at 25 MB/s a connection and at full speed
//! `apt`    the machine's apt-get with 50 packages, cold and warm, also at Pipeline-Depth 0
//! `memory` private memory of all processes of the server, at rest and with 50 clients
//!
//! The servers are Debian's packages nginx-light, apt-cacher-ng and squid, on loopback, beside each other and measured in
//! turn; each logs its requests to a file. It needs apt and gpg, and root: squid wants a user of its own.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads clocks and starts threads")]
#![allow(missing_docs, unreachable_pub, reason = "a program, not a library")]

mod archive;
mod load;
mod plot;
#[path = "../support/proxy.rs"]
#[allow(dead_code, reason = "only its sums are used here")]
mod proxy;
mod servers;
#[path = "../../tests/support/mod.rs"]
mod support;
mod table;

use std::time::Duration;

use archive::{COLD, Files};
use load::Wanted;
use servers::{Server, Servers};
use support::Scratch;
use support::apt::Apt;
use table::{Beside, Table};

const MB: f64 = 1e6;
/// How long a load is kept up, after a moment that does not count.
const TIME: Duration = Duration::from_millis(1500);
/// Has no effect but that it is not apt-p2p's memory that answers: nobody's file has this tag.
const CONDITION: &str = "If-None-Match: \"none\"\r\n";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let rounds = words.iter().position(|word| word == "--rounds").map(|at| words[at + 1].parse().expect("a number"));
    let parts: Vec<&str> =
        words.iter().map(String::as_str).filter(|word| word.starts_with(char::is_alphabetic)).collect();
    let scratch = Scratch::new();
    let rounds = rounds.unwrap_or(5);
    let files = Files::make(&scratch, rounds);
    let servers = Servers::start(&scratch, &files);
    let mut bench = Bench { rounds, scratch, files, servers, table: Table::default() };
    type Part = fn(&mut Bench);
    let all: [(&str, Part); 6] = [
        ("memory", Bench::at_rest),
        ("cold", Bench::cold),
        ("apt", Bench::apt),
        ("crowd", Bench::crowd),
        ("warm", Bench::warm),
        ("small", Bench::small),
    ];
    for (name, run) in all {
        if parts.is_empty() || parts.contains(&name) {
            eprintln!("── {name}");
            run(&mut bench);
        }
    }
    println!("{}", bench.table.markdown());
    if parts.is_empty() {
        std::fs::write("docs/rivals.svg", plot::panels(&bench.table)).expect("docs/ can be written");
    }
}

/// In the order in which it is let go.
struct Bench {
    servers: Servers,
    files: Files,
    scratch: Scratch,
    rounds: usize,
    table: Table,
}

impl Bench {
    /// The median of what `measure` finds of each server, in turn.
    fn each(&self, measure: impl Fn(&Server, usize) -> f64) -> Vec<f64> {
        self.each_of(|server, round| [measure(server, round)]).remove(0)
    }

    /// The same for several figures at once.
    fn each_of<const N: usize>(&self, measure: impl Fn(&Server, usize) -> [f64; N]) -> Vec<Vec<f64>> {
        let mut found = vec![vec![Vec::new(); self.servers.all.len()]; N];
        for round in 0..self.rounds {
            let mut turns: Vec<_> = self.servers.all.iter().enumerate().collect();
            // So that none always comes behind the same one.
            if round % 2 == 1 {
                turns.reverse();
            }
            for (at, server) in turns {
                for (n, figure) in measure(server, round).into_iter().enumerate() {
                    found[n][at].push(figure);
                }
            }
        }
        found.into_iter().map(|figure| figure.into_iter().map(median).collect()).collect()
    }

    fn at_rest(&mut self) {
        let idle = self.servers.all.iter().map(Server::private_mb).collect();
        self.table.add("private memory at rest", "MB", Beside::Nginx, idle);
    }

    fn warm(&mut self) {
        let wanted = |server: &Server| vec![server.wanted(&self.files.warm, "")];
        for server in &self.servers.all {
            load::fetch(server.address, &wanted(server)[0], load::Then::Check(&self.files.warm));
        }
        self.servers.settle();
        for clients in [1, 8] {
            let figures = self.each_of(|server, _| {
                let load = load::keep_up(server.address, &wanted(server), clients, TIME, &|| server.cpu_s());
                [load.bytes as f64 / load.seconds / MB, load.cpu_s / (load.bytes as f64 / 1e9)]
            });
            let [rate, cpu] = figures.try_into().expect("two figures");
            let clients = if clients == 1 { "1 client".to_owned() } else { format!("{clients} clients") };
            self.table.add(&format!("warm 50 MB, {clients}"), "MB/s", Beside::Nginx, rate);
            self.table.add(&format!("warm 50 MB, {clients}, CPU"), "s/GB", Beside::Nginx, cpu);
        }
    }

    fn small(&mut self) {
        let wanted = |server: &Server, lines: &str| -> Vec<Wanted> {
            self.files.small.iter().map(|file| server.wanted(file, lines)).collect()
        };
        for server in &self.servers.all {
            for (wanted, file) in wanted(server, "").iter().zip(&self.files.small) {
                load::fetch(server.address, wanted, load::Then::Check(file));
            }
        }
        self.servers.settle();
        for (lines, name) in [("", ""), (CONDITION, ", with a condition")] {
            let figures = self.each_of(|server, _| {
                let load = load::keep_up(server.address, &wanted(server, lines), 50, TIME, &|| server.cpu_s());
                [load.answers as f64 / load.seconds, load.cpu_s / load.answers as f64 * 1e6, server.private_mb()]
            });
            let [rate, cpu, memory] = figures.try_into().expect("three figures");
            self.table.add(&format!("warm 10 KB, 50 connections{name}"), "requests/s", Beside::Nginx, rate);
            self.table.add(&format!("warm 10 KB{name}, CPU"), "µs", Beside::Nginx, cpu);
            if lines.is_empty() {
                self.table.add("private memory, 50 clients", "MB", Beside::Nginx, memory);
            }
            let one = self.each(|server, _| load::one_by_one(server.address, &wanted(server, lines), 2000) * 1000.0);
            self.table.add(&format!("warm 10 KB, one connection{name}, median"), "ms", Beside::Nginx, one);
        }
    }

    fn cold(&mut self) {
        let first = self.each(|server, round| {
            self.servers.rest();
            let files = &self.files.cold[round * COLD..(round + 1) * COLD];
            let times = files.iter().map(|file| {
                let fetched = load::fetch(server.address, &server.wanted(file, ""), load::Then::Check(file));
                fetched.first_byte.as_secs_f64() * 1000.0
            });
            median(times.collect())
        });
        self.table.add("cold 10 KB, first byte, median", "ms", Beside::Direct, first);
        let (read, saved) = self.files.large.split_at(self.rounds);
        for (then, files, name) in [
            (load::Then::Drop, read, "cold 50 MB, read"),
            (load::Then::Save(self.scratch.path()), saved, "cold 50 MB, read, hashed and written"),
        ] {
            let whole = self.each(|server, round| {
                self.servers.rest();
                let wanted = server.wanted(&files[round], "");
                load::fetch(server.address, &wanted, then).whole.as_secs_f64() * 1000.0
            });
            self.table.add(name, "ms", Beside::Direct, whole);
        }
    }

    fn crowd(&mut self) {
        for (prefix, file, name) in
            [("/slow", &self.files.crowd[0], "at 25 MB/s"), ("", &self.files.crowd[1], "at full speed")]
        {
            let mut last = Vec::new();
            let mut fetches = Vec::new();
            for server in &self.servers.all {
                let before = self.servers.upstream_requests(&file.path);
                let wanted = server.wanted_below(prefix, file, "");
                let ends: Vec<Duration> = std::thread::scope(|scope| {
                    let all: Vec<_> = (0..20)
                        .map(|_| scope.spawn(|| load::fetch(server.address, &wanted, load::Then::Drop).whole))
                        .collect();
                    all.into_iter().map(|client| client.join().expect("a client gets the file")).collect()
                });
                last.push(ends.into_iter().max().expect("20 clients").as_secs_f64());
                fetches.push((self.servers.upstream_requests(&file.path) - before) as f64);
            }
            self.table.add(&format!("20 clients, one cold 50 MB file {name}, last byte"), "s", Beside::Direct, last);
            self.table.add(&format!("20 clients {name}, upstream fetches"), "", Beside::Nothing, fetches);
        }
    }

    fn apt(&mut self) {
        let mut downloaders = Vec::new();
        for (depth, first_set, name) in [(10, 0, ""), (0, self.rounds, ", Pipeline-Depth 0")] {
            let apts: Vec<Apt> =
                self.servers.all.iter().map(|server| self.files.apt(&self.scratch, server, depth)).collect();
            let install = |server: &Server, round: usize| {
                let at =
                    self.servers.all.iter().position(|other| other.name == server.name).expect("it is one of them");
                self.servers.rest();
                archive::install(&apts[at], first_set + round)
            };
            let cold = self.each(install);
            let warm = self.each(install);
            self.table.add(&format!("apt, 50 packages, cold{name}"), "s", Beside::Direct, cold);
            self.table.add(&format!("apt, 50 packages, warm{name}"), "s", Beside::Direct, warm);
            downloaders.extend(apts);
        }
        downloaders.iter().for_each(archive::forget);
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
