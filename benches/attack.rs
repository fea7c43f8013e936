//! What a client feels while others attack the proxy with all they have:
//!
//! ```text
//! cargo bench --bench attack
//! ```
//!
//! 1,000 half-open connections, heads of 400 MiB, bodies of 2^63 bytes, 50,000 pipelined requests and bursts of 64
//! connections, all at once and again and again for ten seconds, from loopback addresses of their own. Meanwhile a client
//! asks for a stored file of 10 KB, each time on a new connection.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads clocks and starts threads")]
#![allow(missing_docs, unreachable_pub, reason = "a program, not a library")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::attack::{burst, half_open, pipeline, raise_descriptors, said, send_long_head};
use support::client::get;
use support::daemon::Daemon;
use support::mirror::Mirror;
use support::{Scratch, noise};

const ATTACK_TIME: Duration = Duration::from_secs(10);

fn main() {
    raise_descriptors();
    let scratch = Scratch::new();
    let (mirror, daemon) = (Mirror::start(), Daemon::start(&scratch));
    let content = noise(10_000, 1);
    let url = mirror.url(&mirror.put_by_hash(content.clone()));
    let fetch = || {
        let start = Instant::now();
        let got = get(daemon.address, &url);
        assert!(got.is_good() && got.body == content, "{}", got.status);
        start.elapsed()
    };
    fetch();
    burst(daemon.address);
    let mut quiet: Vec<_> = (0..1000).map(|_| fetch()).collect();
    let before = daemon.private_kb();
    let (over, bursts) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut attacked, mut most) = (Vec::new(), 0);
    let address = daemon.address;
    thread::scope(|scope| {
        let again = |attack: &(dyn Fn() + Sync)| {
            while !over.load(Ordering::SeqCst) {
                attack();
            }
        };
        let held = scope.spawn(|| half_open(address));
        scope.spawn(move || again(&|| send_long_head(address)));
        scope.spawn(move || again(&|| pipeline(address)));
        let huge = "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775808\r\n\r\n";
        scope.spawn(move || again(&|| assert_eq!(said(address, huge), ["413"])));
        let bursts = &bursts;
        scope.spawn(move || {
            again(&|| {
                burst(address);
                bursts.fetch_add(1, Ordering::SeqCst);
            });
        });
        let start = Instant::now();
        while start.elapsed() < ATTACK_TIME {
            attacked.push(fetch());
            most = most.max(daemon.private_kb());
        }
        over.store(true, Ordering::SeqCst);
        drop(held.join());
    });
    let start = Instant::now();
    while daemon.private_kb() > before + 1000 && start.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(100));
    }
    print("quiet", &mut quiet);
    print("attacked", &mut attacked);
    println!(
        "private memory: {before} KB before, {most} KB at most, {} KB after {:.1?}",
        daemon.private_kb(),
        start.elapsed()
    );
    println!("bursts of 64 connections, each answered: {}", bursts.load(Ordering::SeqCst));
}

fn print(name: &str, times: &mut [Duration]) {
    times.sort();
    let ms = |at: usize| times[at.min(times.len() - 1)].as_secs_f64() * 1000.0;
    let (p50, p99, max) = (ms(times.len() / 2), ms(times.len() * 99 / 100), ms(times.len()));
    println!("{name:>9}: p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms of {}", times.len());
}
