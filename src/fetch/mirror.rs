//! One GET to a mirror: ureq with every phase bounded, our own redirects, and the head put into our own words.
//!
//! Refuses: addresses inside the network (see `names`), redirects that leave http(s) or go from https back to http, and
//! ranges other than those asked for. A proxy in between is asked for all but what lies inside the network.

use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ureq::config::ConfigBuilder;
use ureq::http::{HeaderMap, Response, header};
use ureq::typestate::AgentScope;
use ureq::{Agent, Timeout};

use super::let_go::{self, LettingGo, Ourselves, within};
use super::names::{AddressRule, NameThread, Names, PrivateUpstream};
use super::proxy::Proxy;
use super::{Clock, url};
use crate::limits::{
    CONNECT_TIMEOUT, HEAD_TIMEOUT, MIRROR_HEAD_LEN, MIRROR_IDLE, MIRROR_IDLE_TIME, MIRROR_READ_LEN, REDIRECTS,
    RESOLVE_TIMEOUT, STALL_TIMEOUT,
};
use crate::stream::Head;

/// What is asked of a mirror.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ask<'a> {
    /// The first byte wanted; 0 asks for the whole.
    pub(super) from: u64,
    /// The byte before which the mirror may stop; 0 asks for all.
    pub(super) until: u64,
    /// What the bytes before `from` came with: the mirror must still have the same (`If-Range`).
    pub(super) same_as: Option<&'a Head>,
    /// Answer 304 if it is still this.
    pub(super) unless: Option<&'a Head>,
    /// The client's own `Authorization`.
    pub(super) credentials: Option<&'a str>,
    /// Only whether it would be given.
    pub(super) head_only: bool,
}

/// A mirror's answer, its body unread.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: Head,
    /// Where the body starts in the whole file, from `Content-Range`.
    pub(super) start: u64,
    /// Whether the end of the body can be told from a cut, and the body is the file itself: else it is not kept.
    pub(super) framed: bool,
    pub(super) challenge: Option<String>,
    pub(super) retry_after: Option<u32>,
    /// All addresses of the hosts that had a part in it, redirects included.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) body: Body,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} from {}", self.status, self.head, self.start)
    }
}

/// A body that is read as it comes; each read brings a byte of it within [`STALL_TIMEOUT`], or sooner where another
/// mirror can be asked.
pub(super) struct Body {
    reader: ureq::BodyReader<'static>,
    clock: Clock,
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        within((self.clock)() + let_go::patience(STALL_TIMEOUT), || self.reader.read(into))
    }
}

/// Why a mirror gave no usable answer.
#[derive(Debug)]
pub enum MirrorError {
    /// It could not be reached: others will not reach it either.
    Away(String),
    /// It fell silent: they will not hear of it either.
    Silent(String),
    /// It resolves to an address that must not be fetched from: a private one, or our own.
    Private(String),
    /// It answered with something that cannot be used.
    Nonsense(String),
}

impl fmt::Display for MirrorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MirrorError::Away(why)
            | MirrorError::Silent(why)
            | MirrorError::Private(why)
            | MirrorError::Nonsense(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for MirrorError {}

/// Whether a mirror of this name is reached without the proxy.
pub type NearRule = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The door to all mirrors; shared by the fetch threads.
pub(super) struct Mirrors {
    direct: Agents,
    /// Through the proxy, if there is one, and who is reached without it.
    via: Option<(Agents, Proxy, NearRule)>,
    pub(super) names: Names,
    clock: Clock,
}

/// Connections of one kind.
struct Agents {
    plain: Agent,
    /// Made when first needed: the certificate authorities take memory that many never use.
    #[cfg(feature = "tls")]
    tls: std::sync::OnceLock<Agent>,
    /// What that takes.
    #[cfg(feature = "tls")]
    makings: Makings,
}

#[cfg(feature = "tls")]
struct Makings {
    proxy: Option<ureq::Proxy>,
    names: Names,
    /// Where we listen ourselves: nothing is fetched from there.
    ours: Arc<[SocketAddr]>,
    clock: Clock,
}

impl fmt::Debug for Mirrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mirrors")
    }
}

impl Agents {
    fn new(proxy: Option<ureq::Proxy>, names: &Names, ours: &Arc<[SocketAddr]>, clock: &Clock) -> Agents {
        let connector = LettingGo::new(Arc::clone(ours), Arc::clone(clock));
        Agents {
            plain: Agent::with_parts(config().proxy(proxy.clone()).build(), connector, names.clone()),
            #[cfg(feature = "tls")]
            tls: std::sync::OnceLock::new(),
            #[cfg(feature = "tls")]
            makings: Makings { proxy, names: names.clone(), ours: Arc::clone(ours), clock: Arc::clone(clock) },
        }
    }

    #[cfg(feature = "tls")]
    fn agent(&self, url: &str) -> Result<&Agent, MirrorError> {
        if !url.starts_with("https://") {
            return Ok(&self.plain);
        }
        let with_tls = || {
            let Makings { proxy, names, ours, clock } = &self.makings;
            let connector = LettingGo::new(Arc::clone(ours), Arc::clone(clock));
            let config = config().proxy(proxy.clone()).tls_config(super::tls::config()).build();
            Agent::with_parts(config, connector, names.clone())
        };
        Ok(self.tls.get_or_init(with_tls))
    }

    #[cfg(not(feature = "tls"))]
    fn agent(&self, url: &str) -> Result<&Agent, MirrorError> {
        if url.starts_with("https://") {
            return Err(MirrorError::Nonsense(format!("{url}: this apt-p2p is built without https")));
        }
        Ok(&self.plain)
    }
}

impl Mirrors {
    /// The door through which nothing leads to `ours`.
    pub(super) fn new(
        allowed: AddressRule,
        ours: &Arc<[SocketAddr]>,
        proxy: Option<(Proxy, NearRule)>,
        clock: Clock,
    ) -> (Mirrors, NameThread) {
        let proxy_host = proxy.as_ref().map(|(proxy, _)| proxy.host.clone());
        let (names, name_thread) = Names::new(allowed, proxy_host, Arc::clone(&clock));
        let agents = |proxy| Agents::new(proxy, &names, ours, &clock);
        let via = proxy.map(|(proxy, is_near)| (agents(Some(proxy.for_ureq())), proxy, is_near));
        let direct = agents(None);
        (Mirrors { direct, via, names, clock }, name_thread)
    }

    /// The proxy that stands in front of a host.
    pub(super) fn proxy_for(&self, host: &str) -> Option<&Proxy> {
        let (_, proxy, is_near) = self.via.as_ref()?;
        (!is_near(host)).then_some(proxy)
    }

    /// Who is to ask `url`; with what the proxy asks of us, where it is told by each request.
    fn agent(&self, url: &str) -> Result<(&Agent, Option<String>), MirrorError> {
        let host = url::name(url).unwrap_or("");
        match (&self.via, self.proxy_for(host)) {
            (Some((agents, ..)), Some(proxy)) => {
                if self.names.is_refused(host) {
                    return Err(MirrorError::Private(PrivateUpstream::new(host).to_string()));
                }
                let authorization = proxy.authorization().filter(|_| url.starts_with("http://"));
                Ok((agents.agent(url)?, authorization))
            }
            _ => Ok((self.direct.agent(url)?, None)),
        }
    }

    /// Asks `url`, following redirects.
    ///
    /// # Errors
    /// [`MirrorError`]; any status that is no redirect is an answer, not an error.
    pub(super) fn ask(&self, first_url: &str, ask: Ask<'_>) -> Result<Answer, MirrorError> {
        let mut url = first_url.to_owned();
        let mut credentials = ask.credentials;
        let mut addresses = Vec::new();
        for _ in 0..=REDIRECTS {
            let ask = Ask { credentials, ..ask };
            let answer = self.ask_once(&url, ask)?;
            let known = self.names.known(url::host(&url).unwrap_or(""));
            // Nobody knows where it came from: then it came from anywhere.
            addresses.extend(known.unwrap_or_else(|| vec![Ipv4Addr::UNSPECIFIED.into()]));
            let Some(location) = answer.1 else { return Ok(Answer { addresses, ..answer.0 }) };
            let next = url::join(&url, &location)
                .filter(|next| next.starts_with("https://") || !url.starts_with("https://"))
                .ok_or_else(|| MirrorError::Nonsense(format!("{url} redirects to {location}, which is refused")))?;
            if url::host(&next) != url::host(&url) {
                credentials = None;
            }
            url = next;
        }
        Err(MirrorError::Nonsense(format!("{first_url} redirects more than {REDIRECTS} times")))
    }

    /// One request; with a redirect, where to.
    fn ask_once(&self, url: &str, ask: Ask<'_>) -> Result<(Answer, Option<String>), MirrorError> {
        let (agent, to_proxy) = self.agent(url)?;
        let to_proxy = to_proxy.as_deref();
        let response = match request(agent, url, ask, to_proxy) {
            // A connection kept from before may have been closed by the mirror at this very moment.
            Err(ureq::Error::Io(_)) => request(agent, url, ask, to_proxy),
            other => other,
        }
        .map_err(|error| in_our_words(url, error))?;
        let status = response.status().as_u16();
        let location = matches!(status, 301 | 302 | 303 | 307 | 308)
            .then(|| text(response.headers(), header::LOCATION))
            .flatten();
        let (parts, body) = response.into_parts();
        let answer =
            answer(status, &parts.headers, Body { reader: body.into_reader(), clock: Arc::clone(&self.clock) });
        if status == 206 && answer.start != ask.from {
            let why = format!("{url} sent bytes from {} where {} was asked", answer.start, ask.from);
            return Err(MirrorError::Nonsense(why));
        }
        Ok((answer, location))
    }
}

fn request(
    agent: &Agent,
    url: &str,
    ask: Ask<'_>,
    to_proxy: Option<&str>,
) -> Result<Response<ureq::Body>, ureq::Error> {
    let mut request = if ask.head_only { agent.head(url) } else { agent.get(url) };
    if ask.from > 0 || ask.until > 0 {
        let last = ask.until.checked_sub(1).map_or_else(String::new, |last| last.to_string());
        request = request.header(header::RANGE, format!("bytes={}-{last}", ask.from));
        if let Some(validator) = ask.same_as.and_then(strong_validator) {
            request = request.header(header::IF_RANGE, validator);
        }
    }
    if let Some(known) = ask.unless {
        if let Some(etag) = &known.etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        if let Some(date) = &known.last_modified {
            request = request.header(header::IF_MODIFIED_SINCE, date);
        }
    }
    if let Some(credentials) = ask.credentials {
        request = request.header(header::AUTHORIZATION, credentials);
    }
    if let Some(authorization) = to_proxy {
        request = request.header(header::PROXY_AUTHORIZATION, authorization);
    }
    request.call()
}

fn config() -> ConfigBuilder<AgentScope> {
    super::agent::config()
        .accept("*/*")
        .timeout_resolve(Some(RESOLVE_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_send_request(Some(HEAD_TIMEOUT))
        .timeout_recv_response(Some(HEAD_TIMEOUT))
        .timeout_per_read(Some(STALL_TIMEOUT))
        .max_response_header_size(MIRROR_HEAD_LEN)
        .input_buffer_size(MIRROR_READ_LEN)
        .output_buffer_size(4096)
        .max_idle_connections(MIRROR_IDLE)
        .max_idle_connections_per_host(MIRROR_IDLE / 2)
        .max_idle_age(MIRROR_IDLE_TIME)
}

fn answer(status: u16, headers: &HeaderMap, body: Body) -> Answer {
    let length = text(headers, header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    let chunked = text(headers, header::TRANSFER_ENCODING).is_some_and(|t| t.eq_ignore_ascii_case("chunked"));
    // Asked for as it is, and yet encoded: a mirror that calls a .gz file so, or one that packs what it sends.
    let encoded = text(headers, header::CONTENT_ENCODING).is_some_and(|e| !e.eq_ignore_ascii_case("identity"));
    let range = (status == 206).then(|| text(headers, header::CONTENT_RANGE)).flatten();
    let (start, len) = match range.as_deref().map(content_range) {
        Some(Some((start, total))) => (start, total),
        // Nothing that was asked for starts at the end of all numbers: the caller refuses it.
        Some(None) => (u64::MAX, None),
        None if status == 416 => (0, text(headers, header::CONTENT_RANGE).as_deref().and_then(unsatisfied_range)),
        None => (0, length.filter(|_| !chunked)),
    };
    let head = Head {
        len,
        last_modified: text(headers, header::LAST_MODIFIED),
        etag: text(headers, header::ETAG),
        content_type: text(headers, header::CONTENT_TYPE),
    };
    Answer {
        status,
        head,
        start,
        framed: (chunked || length.is_some()) && !encoded,
        challenge: text(headers, header::WWW_AUTHENTICATE),
        retry_after: text(headers, header::RETRY_AFTER).and_then(|text| text.parse().ok()),
        addresses: Vec::new(),
        body,
    }
}

/// The first byte's position and the whole file's length of `bytes 5-9/10` or `bytes 5-9/*`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end): (u64, u64) = (start.trim().parse().ok()?, end.trim().parse().ok()?);
    let total = total.trim().parse::<u64>().ok();
    (start <= end && total.is_none_or(|total| end < total)).then_some((start, total))
}

/// The whole file's length of `bytes */10`, which comes with status 416.
fn unsatisfied_range(text: &str) -> Option<u64> {
    text.strip_prefix("bytes */")?.trim().parse().ok()
}

/// What `If-Range` may carry: a strong ETag, else the date (RFC 9110, §13.1.5).
pub(super) fn strong_validator(head: &Head) -> Option<&str> {
    head.etag.as_deref().filter(|etag| etag.starts_with('"')).or(head.last_modified.as_deref())
}

/// A header's value if it is short printable ASCII: it goes on to clients and into the store.
fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    (value.len() <= 1024).then(|| value.trim().to_owned())
}

fn in_our_words(url: &str, error: ureq::Error) -> MirrorError {
    let host = url::host(url).unwrap_or(url);
    let seconds = |timeout: Duration| timeout.as_secs();
    match error {
        ureq::Error::Timeout(Timeout::Resolve) => {
            MirrorError::Away(format!("the name {host} was not found within {} s", seconds(RESOLVE_TIMEOUT)))
        }
        ureq::Error::Timeout(Timeout::Connect) => {
            MirrorError::Away(format!("{host} did not accept a connection within {} s", seconds(CONNECT_TIMEOUT)))
        }
        ureq::Error::Timeout(_) => {
            let patience = let_go::patience(HEAD_TIMEOUT);
            MirrorError::Silent(format!("{host} fell silent for {} s", seconds(patience)))
        }
        ureq::Error::HostNotFound => MirrorError::Away(format!("the name {host} cannot be resolved")),
        ureq::Error::Other(other) if other.is::<PrivateUpstream>() => MirrorError::Private(other.to_string()),
        ureq::Error::Other(other) if other.is::<Ourselves>() => {
            MirrorError::Private(format!("{url} is asked for, and {other}: it would wait for itself"))
        }
        // A certificate that is not right, before all.
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            MirrorError::Nonsense(format!("{host}: {error}"))
        }
        ureq::Error::Io(error) => MirrorError::Away(format!("{host}: {error}")),
        ureq::Error::ConnectProxyFailed(why) => MirrorError::Away(format!("{host} by way of the proxy: {why}")),
        ureq::Error::ConnectionFailed => MirrorError::Away(format!("{host} cannot be reached")),
        ureq::Error::LargeResponseHeader(..) => {
            MirrorError::Nonsense(format!("{host} sent a head of over {MIRROR_HEAD_LEN} bytes"))
        }
        other => MirrorError::Nonsense(format!("{host}: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for bad in ["", "bytes", "bytes */10", "bytes 9-5/10", "bytes 5-10/10", "items 5-9/10", "bytes -1-9/10"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_weak_etag_does_not_guard_a_range() {
        let date = "Sat, 01 Mar 2025 10:00:00 GMT".to_owned();
        let mut head = Head { etag: Some("W/\"1\"".into()), last_modified: Some(date.clone()), ..Head::default() };
        assert_eq!(strong_validator(&head), Some(date.as_str()));
        head.etag = Some("\"1\"".into());
        assert_eq!(strong_validator(&head), Some("\"1\""));
    }
}
