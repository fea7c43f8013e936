//! The LAN face: what a request means, and what is answered. Never waits for the network.
//!
//! ```text
//! tiny_http ─▶ serve ─▶ ask (what was said) ─▶ route (what it means) ─▶ find ─▶ hit:  answer ─▶ slot
//!                                                                        └ miss: flight ─▶ slot, answer later
//! ```
//!
//! Owns HTTP's meaning (conditions, ranges, refusals) and the page. Refuses to touch sockets: the edge has them.

mod again;
mod answer;
mod ask;
mod find;
mod given;
mod page;
mod route;
mod serve;

pub use self::serve::{Front, Parts};
