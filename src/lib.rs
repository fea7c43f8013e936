//! apt-p2p: a caching apt proxy for a whole LAN.
//!
//! The modules, in reading order; who may import whom stands in `docs/ARCHITECTURE.md` and is checked by
//! `tests/tidy.rs`.

pub mod digest;
pub mod json;
pub mod limits;
pub mod sorted;
pub mod stream;
pub mod time;
pub mod troubles;

pub mod catalog;
pub mod config;
pub mod control;
pub mod dht;
pub mod fetch;
pub mod lan;
pub mod learn;
#[cfg(feature = "port-mapping")]
pub mod reach;
pub mod report;
pub mod signatures;
pub mod store;

pub mod daemon;
pub mod edge;
pub mod front;
pub mod peer;

pub mod cleanup;
pub mod cli;
pub mod explore;
pub mod import;
pub mod progress;
pub mod verify;
