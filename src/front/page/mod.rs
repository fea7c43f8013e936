//! The page for people: how it goes, how a machine is pointed at it, how that is undone. PURE: all that it shows is given.
//!
//! One answer has all of it, of bounded length: no script is needed, and the one that is there only asks for the same
//! again. What others name is escaped and cut. Nothing can be changed by it, and nothing on it is secret.

mod chart;
mod sections;
mod text;

use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use self::text::Escaped;
use super::ask::Ask;
use crate::digest::Digest;
use crate::report::{Numbers, counted, time};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Where clients keep the line that points them here.
const CLIENT_FILE: &str = "/etc/apt/apt.conf.d/30apt-p2p";
/// Troubles of so many seconds are spoken of at the top.
const LATELY_S: u64 = 3600;

/// A page as it is written.
#[derive(Default)]
struct Page(String);

impl Page {
    fn put(&mut self, text: &str) {
        self.0.push_str(text);
    }

    fn add(&mut self, text: fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a String takes all");
    }
}

/// The page at `/`.
pub(super) fn html(ask: &Ask, numbers: &Numbers) -> String {
    let address = address(ask);
    let mut page = Page(String::with_capacity(20 * 1024));
    page.add(format_args!(
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>apt-p2p at {}</title><link rel=icon href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' \
         viewBox='0 0 24 24'%3E%3Cpath d='M12 3v11m-5-5 5 5 5-5M4 15v6h16v-6' fill='none' stroke='%230e8a74' \
         stroke-width='3'/%3E%3C/svg%3E\"><style>{STYLE}</style></head><body>",
        Escaped(&address)
    ));
    header(&mut page, numbers);
    page.put("<main>");
    for problem in &numbers.problems {
        page.add(format_args!("<p class=bad>{}", text::Cut(problem, 500)));
    }
    sections::glance(&mut page, numbers);
    sections::clients(&mut page, &address);
    chart::chart(&mut page, &numbers.history, numbers.uptime_s);
    sections::downloads(&mut page, numbers);
    sections::sharing(&mut page, numbers);
    sections::troubles(&mut page, numbers);
    sections::archives(&mut page, numbers);
    page.put("</main>");
    page.add(format_args!(
        "<footer><noscript><span>These are the numbers of when this page was loaded.</span></noscript>\
         <span>apt-p2p {}</span><a href=/status.json>The same for programs</a><a href=/metrics>Prometheus</a></footer>\
         <script>{SCRIPT}</script></body></html>",
        env!("CARGO_PKG_VERSION")
    ));
    page.0
}

fn header(page: &mut Page, numbers: &Numbers) {
    page.put(
        "<header><h1><svg viewBox=\"0 0 24 24\" aria-hidden=true><path d=\"M12 3v11m-5-5 5 5 5-5M4 15v6h16v-6\"/></svg>apt-p2p</h1>",
    );
    let lately = numbers.troubles.iter().filter(|it| numbers.now.secs_since(it.last) < LATELY_S).count();
    let (class, state) = match (numbers.problems.len(), lately) {
        (0, 0) => ("ok", "All is well".to_owned()),
        (0, lately) => {
            ("warn", format!("It works, with {} in the last hour", counted(lately, "trouble", "troubles")))
        }
        (1, _) => ("alarm", "Something needs you".to_owned()),
        (count, _) => ("alarm", format!("{count} things need you")),
    };
    page.add(format_args!("<p id=state role=status class=\"state {class}\">{state}</p>"));
    let up = match numbers.uptime_s {
        // Words that do not change each second.
        0..60 => "Started just now".to_owned(),
        seconds => format!("Up for {}", time(std::time::Duration::from_secs(seconds / 60 * 60))),
    };
    page.add(format_args!("<small class=since>{up}</small></header>"));
}

/// What a browser may do with the page: what stands in it, and asking for it again.
pub(super) fn policy() -> String {
    let hash = |text: &str| BASE64_STANDARD.encode(Digest::of(text.as_bytes()).0);
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; base-uri \
         'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// For programs and for people without a browser.
pub(super) fn usage(ask: &Ask) -> String {
    let address = address(ask);
    format!(
        "apt-p2p {}: a caching proxy for apt\n\
         Point a machine at it:\n  \
         echo 'Acquire::http::Proxy \"http://{address}\";' > {CLIENT_FILE}\n\
         Or in sources.list:\n  \
         deb http://{address}/mirror.example.org/debian stable main\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// A file for a client's `apt.conf.d`.
pub(super) fn client_conf(ask: &Ask) -> String {
    format!(
        "// apt asks the apt-p2p at this address. To undo it, remove this file.\n\
         Acquire::http::Proxy \"http://{}\";\n\
         // Where that proxy is away apt fails by this line. A machine that travels had better have the package\n\
         // apt-p2p-client (or examples/client) in its place: apt then finds the proxy, or goes to the mirrors itself.\n",
        address(ask)
    )
}

/// The address by which the client reached us: what it called us, if that is a plain host.
fn address(ask: &Ask) -> String {
    let named = ask.host.as_deref().and_then(|host| super::route::host(host, 80));
    let local = || ask.local.map(|local| SocketAddr::new(local.ip().to_canonical(), local.port()).to_string());
    named.or_else(local).unwrap_or_else(|| "this-machine:9977".into())
}

#[cfg(test)]
mod tests;
