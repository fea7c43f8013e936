//! What a client said, taken from the clean request that the edge hands on.

use std::net::{IpAddr, SocketAddr};

use crate::edge::{ASKED_FOR, Conditions, SlotId};

/// A client's request, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) slot: SlotId,
    pub(super) client: IpAddr,
    /// The address of ours that the client connected to.
    pub(super) local: Option<SocketAddr>,
    pub(super) method: String,
    /// As received: absolute form, origin form, or for CONNECT an authority.
    pub(super) target: String,
    pub(super) host: Option<String>,
    pub(super) user_agent: Option<String>,
    pub(super) accept: Option<String>,
    pub(super) credentials: Option<String>,
    /// `Cache-Control: no-cache`: the client doubts what it got.
    pub(super) doubts: bool,
    pub(super) conditions: Conditions,
}

impl Ask {
    /// Reads the edge's request. `None` if it did not come from the edge.
    pub(super) fn new<'a>(target: &str, headers: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Ask> {
        let mut ask = Ask {
            slot: "0.0".parse().ok()?,
            client: IpAddr::from([0, 0, 0, 0]),
            local: None,
            method: String::new(),
            target: target.to_owned(),
            host: None,
            user_agent: None,
            accept: None,
            credentials: None,
            doubts: false,
            conditions: Conditions::default(),
        };
        for (name, value) in headers {
            let owned = || Some(value.to_owned());
            // The edge writes each name in one way.
            match name {
                ASKED_FOR => ask.read_asked_for(value)?,
                "Host" => ask.host = owned(),
                "User-Agent" => ask.user_agent = owned(),
                "Accept" => ask.accept = owned(),
                "Authorization" => ask.credentials = owned(),
                "Cache-Control" => ask.doubts |= value.to_ascii_lowercase().contains("no-cache"),
                "Pragma" => ask.doubts |= value.eq_ignore_ascii_case("no-cache"),
                "Range" => ask.conditions.range = owned(),
                "If-Range" => ask.conditions.if_range = owned(),
                "If-Modified-Since" => ask.conditions.if_modified_since = owned(),
                "If-None-Match" => ask.conditions.if_none_match = owned(),
                _ => {}
            }
        }
        // It is empty unless the edge's own line was there.
        (!ask.method.is_empty()).then_some(ask)
    }

    fn read_asked_for(&mut self, value: &str) -> Option<()> {
        let mut words = value.split(' ');
        self.slot = words.next()?.parse().ok()?;
        self.client = words.next()?.parse::<IpAddr>().ok()?.to_canonical();
        self.local = words.next()?.parse().ok();
        self.method = words.next()?.to_owned();
        Some(())
    }

    /// Whether it is apt itself that asks; others get archives only.
    pub(super) fn is_apt(&self) -> bool {
        let agent = self.user_agent.as_deref().unwrap_or("");
        agent.contains("APT") || agent.starts_with("apt-")
    }

    /// Whether it wants the file itself, whatever it has of it.
    pub(super) fn wants_bytes(&self) -> bool {
        let Conditions { if_modified_since, if_none_match, .. } = &self.conditions;
        self.method == "GET" && if_modified_since.is_none() && if_none_match.is_none()
    }

    pub(super) fn wants_html(&self) -> bool {
        self.accept.as_deref().is_some_and(|accept| accept.contains("text/html"))
    }
}
