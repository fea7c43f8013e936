//! The last things that went wrong, for the page and for `status`: warnings of the log, and downloads that failed.
//!
//! Owns a short list for the whole process, as the log is one for the whole process: `main` passes on what is logged.
//! The same again, but for its numbers, is counted and not listed twice. Refuses to keep what nobody else should read:
//! credentials and queries in addresses are cut out.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use crate::limits::{TROUBLE_LEN, TROUBLES};
use crate::time::Stamp;

/// The log's target for what is a trouble and no line of the log: its request has one.
pub const TROUBLE: &str = "trouble";

/// Something that went wrong, once or more often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What it was the last time, in one line.
    pub what: String,
    /// How often it was so.
    pub count: u64,
    /// When it was so for the last time.
    pub last: Stamp,
}

impl Trouble {
    /// What to do, where the text itself does not say it.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        let says = |words: &[&str]| words.iter().any(|word| self.what.contains(word));
        if says(&["--", "ulimit", "No restart is needed", "thrown away, and it is asked no more"]) {
            None
        } else if says(&["is full"]) {
            Some(
                "Clients are served from the mirror until there is room: apt-p2p cleanup --max-size SIZE makes some.",
            )
        } else if says(&["promises", "SHA-256"]) {
            Some(
                "Nothing of it was kept, and the next request asks the mirror again. If it stays so, name another with --upstream.",
            )
        } else if says(&["older than the Release we have"]) {
            Some("Nothing to do: the newer one is served until the mirror has caught up.")
        } else if says(&["damaged on the disk", "bytes long instead of"]) {
            Some("It is fetched again. If there are more of these, the disk may be failing: smartctl -a tells.")
        } else if says(&[
            "does not answer",
            "did not give",
            "did not come",
            "ended early",
            "connect",
            "timed out",
            "serving the",
        ]) {
            Some(
                "Is the mirror or the line down? What is stored is served meanwhile. A second mirror can be named with --upstream.",
            )
        } else {
            None
        }
    }
}

/// The list; the newest at the end.
#[derive(Debug, Default)]
struct Troubles(VecDeque<Trouble>);

static LAST: Mutex<Troubles> = Mutex::new(Troubles(VecDeque::new()));

/// Takes note of one.
pub fn note(what: &str, now: Stamp) {
    lock().note(what, now);
}

/// The last ones, the newest first.
#[must_use]
pub fn last() -> Vec<Trouble> {
    lock().0.iter().rev().cloned().collect()
}

fn lock() -> MutexGuard<'static, Troubles> {
    LAST.lock().expect("no holder of the lock panics")
}

impl Troubles {
    fn note(&mut self, what: &str, now: Stamp) {
        let what = fit_to_show(what);
        let known = self.0.iter().position(|known| is_like(&known.what, &what));
        let former = known.and_then(|at| self.0.remove(at));
        if former.is_none() && self.0.len() >= TROUBLES {
            self.0.pop_front();
        }
        let count = match former {
            // A failed download is in the log, and told to its client.
            Some(former) if former.what == what && former.last == now => former.count,
            Some(former) => former.count + 1,
            None => 1,
        };
        self.0.push_back(Trouble { what, count, last: now });
    }
}

/// Whether two texts differ in their numbers alone.
fn is_like(one: &str, other: &str) -> bool {
    let words = |text| str::chars(text).filter(|c| !c.is_ascii_digit());
    words(one).eq(words(other))
}

/// One line of bounded length, without what an address has of passwords and queries.
fn fit_to_show(text: &str) -> String {
    let mut out = String::new();
    for word in
        without_passwords(text).split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty())
    {
        if !out.is_empty() {
            out.push(' ');
        }
        push_word(&mut out, word);
        if out.len() > TROUBLE_LEN {
            break;
        }
    }
    if out.len() > TROUBLE_LEN {
        let end = (0..=TROUBLE_LEN).rev().find(|at| out.is_char_boundary(*at)).unwrap_or(0);
        out.truncate(end);
        out.push('…');
    }
    out
}

fn push_word(out: &mut String, word: &str) {
    match word.find('?').filter(|at| word[..*at].contains('/')) {
        Some(at) => {
            out.push_str(&word[..=at]);
            out.push('…');
        }
        None => out.push_str(word),
    }
}

/// A text without the names and passwords that stand in its addresses: whoever reads a log or an error may not be meant to know
/// them.
#[must_use]
pub fn without_passwords(text: &str) -> Cow<'_, str> {
    if !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for word in text.split_inclusive(|c: char| c.is_whitespace() || c.is_control()) {
        let mut told = 0;
        if let Some(last_at) = word.rfind('@') {
            let mut ahead = Ahead { word, last_at, ..Ahead::default() };
            for start in addresses(word).into_iter().take_while(|start| *start <= last_at) {
                if start >= told
                    && let Some(secret) = ahead.secret(start)
                {
                    out.push_str(&word[told..secret.start]);
                    told = secret.end;
                }
            }
        }
        out.push_str(&word[told..]);
    }
    Cow::Owned(out)
}

/// Where addresses may begin in a word, in order: at its beginning, and behind what quotes or separates, a scheme's colon too;
/// slashes aside.
fn addresses(word: &str) -> Vec<usize> {
    let heads = word.match_indices(SEPARATORS).map(|(at, separator)| at + separator.len());
    let schemes = word.match_indices(":/").map(|(at, _)| at + 1);
    let mut all: Vec<usize> =
        std::iter::once(0).chain(heads).chain(schemes).map(|at| behind_slashes(word, at)).collect();
    all.sort_unstable();
    all
}

fn behind_slashes(word: &str, at: usize) -> usize {
    word.len() - word[at..].trim_start_matches('/').len()
}

/// What stands ahead of an address's beginning in its word. It is asked about beginnings in their order, and finds each thing
/// once, however many beginnings stand before it: what a client sends may be nothing but such.
#[derive(Default)]
struct Ahead<'a> {
    word: &'a str,
    /// The word's last `@`, behind which nothing is a secret.
    last_at: usize,
    /// How far it has looked: the next slash, or the word's end.
    slash: Option<usize>,
    /// The last `@` before that slash.
    at: Option<usize>,
    /// The next colon, or the word's end.
    colon: Option<usize>,
    /// Where the digits behind that colon end.
    port_end: usize,
}

impl Ahead<'_> {
    /// Where the address that begins at `start` names who asks and with what password: `http://me:secret@host/`, the same as
    /// it is asked of a proxy (`/me:secret@host/`, `/HTTPS///me:secret@host/`), and `me:secret@host` alone. What looks like
    /// somebody's mail address is none.
    fn secret(&mut self, mut start: usize) -> Option<Range<usize>> {
        let word = self.word;
        if word.get(start..start + HTTPS.len()).is_some_and(|name| name.eq_ignore_ascii_case(HTTPS)) {
            start = behind_slashes(word, start + HTTPS.len());
        }
        let (slash, colon) = (self.slash(start), self.colon(start));
        let is_address = word[..start].ends_with('/');
        if let Some(end) = self.at.filter(|at| *at >= start) {
            return (is_address || colon < end).then_some(start..end + 1);
        }
        // A slash in the password: what stands behind the colon is no port. Behind digits alone it cannot be told from a path.
        let is_cut = is_address && self.port_end < slash && !word[start..].starts_with('[');
        is_cut.then_some(start..self.last_at + 1)
    }

    fn slash(&mut self, start: usize) -> usize {
        if let Some(slash) = self.slash.filter(|slash| *slash >= start) {
            return slash;
        }
        let rest = &self.word[start..];
        let len = rest.find('/').unwrap_or(rest.len());
        self.slash = Some(start + len);
        self.at = rest[..len].rfind('@').map(|at| start + at);
        start + len
    }

    fn colon(&mut self, start: usize) -> usize {
        if let Some(colon) = self.colon.filter(|colon| *colon >= start) {
            return colon;
        }
        let len = self.word.len();
        let colon = self.word[start..].find(':').map_or(len, |at| start + at);
        self.colon = Some(colon);
        let port = self.word.get(colon + 1..).unwrap_or("").bytes();
        self.port_end = (colon + 1 + port.take_while(u8::is_ascii_digit).count()).min(len);
        colon
    }
}

/// What may stand before an address in a word.
const SEPARATORS: [char; 10] = ['"', '\'', '`', '(', '<', '[', '{', '=', ',', ';'];

/// apt-cacher-ng's way to ask for an https mirror.
const HTTPS: &str = "HTTPS///";

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        let mut all = Troubles::default();
        all.note(text, Stamp(1));
        all.0[0].what.clone()
    }

    #[test]
    fn the_same_but_for_its_numbers_is_counted() {
        let mut all = Troubles::default();
        all.note("refused 3 connections, the last from 192.0.2.1", Stamp(1));
        all.note("the disk is full", Stamp(2));
        all.note("refused 12 connections, the last from 192.0.2.77", Stamp(3));
        all.note("refused 12 connections, the last from 192.0.2.77", Stamp(3));
        let told: Vec<_> = all.0.iter().map(|it| (it.what.as_str(), it.count, it.last.0)).collect();
        let refused = "refused 12 connections, the last from 192.0.2.77";
        assert_eq!(told, [("the disk is full", 1, 2), (refused, 2, 3)]);
    }

    #[test]
    fn the_list_and_each_text_are_bounded() {
        let mut all = Troubles::default();
        for n in 0..3 * TROUBLES {
            all.note(&"é".repeat(n + 1), Stamp(1));
        }
        all.note(&"€".repeat(100_000), Stamp(2));
        assert_eq!(all.0.len(), TROUBLES);
        assert!(all.0.iter().all(|it| it.what.len() <= TROUBLE_LEN + 3));
        assert!(all.0.back().is_some_and(|it| it.what.starts_with("€€") && it.what.ends_with("€…")));
    }

    #[test]
    fn passwords_and_queries_are_left_out() {
        for (text, shown) in [
            ("http://me:secret@proxy.example.org:3128/x is away", "http://proxy.example.org:3128/x is away"),
            ("https://a.example.org/x?token=secret: 502", "https://a.example.org/x?…"),
            ("a.example.org/x?token=secret is short", "a.example.org/x?… is short"),
            ("mail a@b.example.org why?", "mail a@b.example.org why?"),
            ("two\nlines\u{1b}[31m", "two lines [31m"),
            ("http://a@b@c.example.org/@d", "http://c.example.org/@d"),
            ("GET /me:secret@a.example.org/x 400", "GET /a.example.org/x 400"),
            ("GET /HTTPS///me:secret@a.example.org/x", "GET /HTTPS///a.example.org/x"),
            ("GET http://HTTPS///me:secret@a.example.org/x", "GET http://HTTPS///a.example.org/x"),
            ("CONNECT me:secret@a.example.org:443 400", "CONNECT a.example.org:443 400"),
            ("x=https://secret@a.example.org", "x=https://a.example.org"),
            ("GET //me:secret@a.example.org/x", "GET //a.example.org/x"),
            ("GET HTTPS///secret@a.example.org/x", "GET HTTPS///a.example.org/x"),
            ("url=/me:secret@a.example.org", "url=/a.example.org"),
            ("http:/me:secret@a.example.org/x", "http:/a.example.org/x"),
            ("http:////me:secret@a.example.org/x", "http:////a.example.org/x"),
            ("GET HTTPS////me:secret@a.example.org/x", "GET HTTPS////a.example.org/x"),
            ("[/me:secret@a.example.org,//u:secret@b]", "[/a.example.org,//b]"),
            ("\"/me:secret@a.example.org/x\"", "\"/a.example.org/x\""),
            ("http://a.example.org/,http://me:secret@b.example.org/", "http://a.example.org/,http://b.example.org/"),
            ("http://me:secret@a.example.org,http://u:secret@b:80/", "http://a.example.org,http://b:80/"),
            ("--upstream-proxy http://me:se/secret@a.example.org:80", "--upstream-proxy http://a.example.org:80"),
            ("http://me:s://secret@a.example.org", "http://a.example.org"),
            ("http://[2001:db8::1]:80/a@b http://a:80/b@c", "http://[2001:db8::1]:80/a@b http://a:80/b@c"),
            ("signed by A <a@example.org>: é@ü", "signed by A <a@example.org>: é@ü"),
            ("/x/a@b.deb", "/x/a@b.deb"),
        ] {
            let told = said(text);
            assert!(told.starts_with(shown) && !told.contains("secret"), "{text}: {told}");
        }
    }

    #[test]
    fn a_word_of_nothing_but_beginnings_is_read_through_in_bounded_time() {
        // Each of a million beginnings that looked through the rest of its word would take minutes.
        const COUNT: usize = 1 << 20;
        let many = |text: &str| text.repeat(COUNT);
        for (text, shown) in [
            (format!("/@{}", many(",")), format!("/{}", many(","))),
            (format!("{}me@", many(",")), format!("{}me@", many(","))),
            (format!("/{}:{}/@", many(","), many("1")), format!("/{}:{}/@", many(","), many("1"))),
            (format!("/{}:{}s/@b", many(","), many("1")), "/b".to_owned()),
            (format!("{}@", many(",:/a")), format!("{},:/", ",:/a".repeat(COUNT - 1))),
            (format!("{}@", many(":")), String::new()),
            (format!("{}s:@", many("=/")), many("=/")),
        ] {
            assert!(without_passwords(&text) == shown, "{}…", &text[..9]);
        }
    }

    #[test]
    fn advice_is_given_where_the_text_has_none() {
        let advice = |what: &str| Trouble { what: what.into(), count: 1, last: Stamp(1) }.advice();
        assert!(advice("mirror.example.org does not answer").is_some_and(|text| text.contains("--upstream")));
        assert!(advice("a/b from the mirror has SHA-256 x, and its index promises y").is_some());
        assert!(advice("192.0.2.9 is not among the clients that are served; start with --allow 192.0.2.9").is_none());
    }
}
