//! What requests to mirrors and to peers have in common: ureq decides nothing by itself.
//!
//! Refuses redirects, proxies and packing: a status is an answer, and whoever asks judges it.

use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;

/// A configuration without the bounds, which are the asker's to set: almost none is by default.
pub(super) fn config() -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(concat!("apt-p2p/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
}
