//! The page for people: what this is, how a machine is pointed at it, how that is undone, and a few numbers.

use std::fmt::Write as _;

use super::ask::Ask;
use crate::fetch::Object;
use crate::report::{Numbers, size};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:44em;margin:2em auto;padding:0 1em}\
pre{padding:.7em;white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid #8888;border-radius:4px}\
table{border-collapse:collapse}th{text-align:left;font-weight:normal;padding-right:2em}td{text-align:right}td,th{padding-top:.15em;padding-bottom:.15em;vertical-align:top}\
progress{width:8em}.bad{border-left:4px solid #c33;padding-left:.7em}:root{color-scheme:light dark}";

/// The page at `/`.
pub(super) fn html(ask: &Ask, numbers: &Numbers, under_way: &[(Object, u64, Option<u64>)]) -> String {
    let address = escape(&address(ask));
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>apt-p2p</title><style>{STYLE}</style><h1>apt-p2p</h1>\
         <p>This machine keeps the packages that apt downloads, so that each is fetched once for the whole network. \
         Every file is checked against the archive's own index before it is kept."
    );
    for problem in &numbers.problems {
        write!(page, "<p class=bad>{}", escape(problem)).expect("a String takes all");
    }
    write!(
        page,
        "<h2>Point a machine at it</h2>\
         <pre>echo 'Acquire::http::Proxy \"http://{address}\";' | sudo tee /etc/apt/apt.conf.d/30apt-p2p</pre>\
         <p>Or, for single archives, in <code>sources.list</code>:\
         <pre>deb http://{address}/mirror.example.org/debian stable main</pre>\
         <p>To undo it: <pre>sudo rm /etc/apt/apt.conf.d/30apt-p2p</pre>"
    )
    .expect("a String takes all");
    page.push_str("<h2>Numbers</h2><table>");
    for (name, value) in numbers.rows() {
        write!(page, "<tr><th scope=row>{name}<td>{}", escape(&value)).expect("a String takes all");
    }
    page.push_str("</table>");
    if !under_way.is_empty() {
        page.push_str("<h2>Being fetched</h2><ul>");
        for (object, here, len) in under_way {
            let what = escape(&format!("{}/{}", object.host, object.path));
            match len {
                Some(len) => write!(page, "<li>{what} <progress value={here} max={len}></progress>"),
                None => write!(page, "<li>{what} ({})", size(*here)),
            }
            .expect("a String takes all");
        }
        page.push_str("</ul>");
    }
    if !numbers.archives.is_empty() {
        page.push_str("<h2>Archives known</h2><ul>");
        for archive in &numbers.archives {
            write!(page, "<li>{}", escape(archive)).expect("a String takes all");
        }
        if numbers.archives.len() < numbers.archives_known {
            write!(page, "<li>… of {}", numbers.archives_known).expect("a String takes all");
        }
        page.push_str("</ul>");
    }
    page
}

/// For programs and for people without a browser.
pub(super) fn usage(ask: &Ask) -> String {
    let address = address(ask);
    format!(
        "apt-p2p {}: a caching proxy for apt\n\
         Point a machine at it:\n  \
         echo 'Acquire::http::Proxy \"http://{address}\";' > /etc/apt/apt.conf.d/30apt-p2p\n\
         Or in sources.list:\n  \
         deb http://{address}/mirror.example.org/debian stable main\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// The address by which the client reached us: what it called us, if that is a plain host.
fn address(ask: &Ask) -> String {
    let named = ask.host.as_deref().and_then(|host| super::route::host(host, 80));
    let local =
        || ask.local.map(|local| std::net::SocketAddr::new(local.ip().to_canonical(), local.port()).to_string());
    named.or_else(local).unwrap_or_else(|| "this-machine:9977".into())
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside_are_escaped() {
        let ask = Ask::new("/", [("X-Slot", "1.1"), ("X-Client", "192.0.2.9"), ("X-Method", "GET")].into_iter())
            .expect("complete");
        let object = Object { host: "a".into(), path: "<script>&'\"".into(), query: None };
        let page = html(&ask, &Numbers::default(), &[(object, 5, None)]);
        assert!(page.contains("a/&lt;script&gt;&amp;&#39;&quot;") && !page.contains("<script"));
    }
}
