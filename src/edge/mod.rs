//! HTTP at the network's side: an event loop with hard limits, where an idle, slow or hostile client costs bytes.
//!
//! ```text
//! clients ═▶ event_loop ─▶ conn ─▶ head (strict) ─▶ backend ─▶ private socket ─▶ tiny_http's workers
//!         ◀═ sendfile ◀── conn ◀─── exchange (slots) ◀────────────────────────────────────┘
//!                          └─ hot: what a worker said lately, while the store is the same
//! ```
//!
//! Two of them run: one for clients, with workers behind it, and one for peers, which are answered on its own thread from
//! the store (`peer`), paced to what may be uploaded.
//!
//! Owns everything that touches a client's socket. Refuses to know what a request means. tiny_http stands behind it,
//! since it neither bounds heads nor times out, ends the process on a huge `Content-Length`, and cannot close a
//! connection whose body failed: from here it gets clean, bodiless requests, a few at a time, on as many connections as
//! workers. A client's `CONNECT` becomes a tunnel of the loop itself (`tunnel`), once a worker has said where to.

mod asks;
mod backend;
mod client;
mod config;
mod conn;
mod descriptors;
mod door;
mod event_loop;
mod exchange;
mod head;
mod hot;
mod listen;
mod log;
mod mailbox;
mod pace;
mod range;
mod sending;
mod tunnel;
mod verbs;

pub use self::backend::ASKED_FOR;
pub use self::config::{Answerer, Asked, Behind, EdgeConfig, Recall, Upload};
#[cfg(fuzzing)]
pub use self::conn::fuzzed::play as play_conn;
pub use self::event_loop::Edge;
pub use self::exchange::{Answer, Body, CACHE, Doubt, Note, OURS, Reply, SlotId, Slots, Way};
pub use self::head::{Refusal, Request, parse as parse_head};
pub use self::listen::{bind, from_systemd};
pub use self::mailbox::{EdgeHandle, Given, Stats};
pub use self::range::{Conditions, Part, part};
