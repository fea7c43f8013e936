//! The file of contacts: whom to ask at the next start, so that nobody needs a bootstrap host twice.
//!
//! ```text
//! apt-p2p contacts 1
//! network apt-p2p
//! overlay 203.0.113.5:9978
//! mainline [2001:db8::5]:6881
//! ```
//!
//! A file that is not exactly so is ignored as a whole: contacts are a convenience.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;

use crate::dht::{Family, Network};
use crate::limits::{CLOSEST, CONTACTS_FILE_LEN, SAVED_CONTACTS};

const HEAD: &str = "apt-p2p contacts 1";

/// A node, and on which network.
pub(in super::super) type Known = (Network, SocketAddr);

/// The contacts in the file at `path`; none if there is no file. One that is damaged is told and ignored.
pub(in super::super) fn read(path: &Path, network: &str) -> Vec<Known> {
    match read_text(path) {
        Ok(text) => parse(&text, network).unwrap_or_else(|| {
            log::warn!("{} is damaged and ignored; it will be written anew", path.display());
            Vec::new()
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            log::warn!("cannot read {}: {error}; it will be written anew", path.display());
            Vec::new()
        }
    }
}

/// Those of a family are to be visited, from the first on; the other family's that still wait go on waiting.
pub(super) fn visit_again(to_visit: &mut VecDeque<Known>, saved: &[Known], family: Family) {
    let is_of = |known: &Known| Family::of(known.1) == family;
    to_visit.retain(|known| !is_of(known));
    to_visit.extend(saved.iter().filter(|known| is_of(known)));
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(CONTACTS_FILE_LEN + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// Contacts of another overlay are left out, those of mainline count.
fn parse(text: &str, network: &str) -> Option<Vec<Known>> {
    if text.len() as u64 > CONTACTS_FILE_LEN || !text.ends_with('\n') {
        return None;
    }
    let mut lines = text.lines();
    if lines.next() != Some(HEAD) {
        return None;
    }
    let is_same = lines.next()?.strip_prefix("network ")? == network;
    let mut contacts = Vec::new();
    for line in lines {
        let (name, address) = line.split_once(' ')?;
        let address = address.parse().ok()?;
        match name {
            "overlay" if is_same => contacts.push((Network::Overlay, address)),
            "overlay" => {}
            "mainline" => contacts.push((Network::Mainline, address)),
            _ => return None,
        }
    }
    Some(contacts)
}

fn text(network: &str, contacts: &[Known]) -> String {
    let mut text = format!("{HEAD}\nnetwork {network}\n");
    for (network, address) in contacts {
        let name = match network {
            Network::Overlay => "overlay",
            Network::Mainline => "mainline",
        };
        writeln!(text, "{name} {address}").expect("a string takes everything");
    }
    text
}

/// Writes the file: whole or not at all.
///
/// # Errors
/// What the system says.
pub(super) fn write(path: &Path, network: &str, contacts: &[Known]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(text(network, contacts).as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

/// What is worth saving: the contacts of now, and while they are few, those of before.
pub(super) fn merged(now: Vec<Known>, before: &[Known]) -> Vec<Known> {
    let mut all = now;
    for network in [Network::Overlay, Network::Mainline] {
        let of_now = all.iter().filter(|(of, _)| *of == network).count();
        if of_now < CLOSEST {
            let older: Vec<Known> =
                before.iter().filter(|known| known.0 == network && !all.contains(known)).copied().collect();
            all.extend(older.into_iter().take(SAVED_CONTACTS / 4));
        }
    }
    all.truncate(2 * SAVED_CONTACTS);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn known(network: Network, text: &str) -> Known {
        (network, text.parse().expect("an address"))
    }

    #[test]
    fn what_is_written_comes_back_and_nothing_else_does() {
        let contacts = [known(Network::Overlay, "203.0.113.5:9978"), known(Network::Mainline, "[2001:db8::5]:6881")];
        let whole = text("apt-p2p", &contacts);
        assert_eq!(parse(&whole, "apt-p2p").as_deref(), Some(&contacts[..]));
        assert_eq!(parse(&whole, "other").as_deref(), Some(&contacts[1..]));
        for len in 0..whole.len() {
            let is_line = whole[..len].ends_with('\n') && whole[..len].lines().count() >= 2;
            assert_eq!(parse(&whole[..len], "apt-p2p").is_some(), is_line, "cut after {len}");
        }
        for damaged in ["overlay 203.0.113.5", "overlay", "friend 203.0.113.5:9978", "overlay 1.2.3.4:99999", ""] {
            assert_eq!(parse(&format!("{whole}{damaged}\n"), "apt-p2p"), None, "{damaged:?}");
        }
        assert_eq!(parse(&format!("{whole}{}", "mainline 1.2.3.4:5\n".repeat(2000)), "apt-p2p"), None, "too long");
    }

    #[test]
    fn what_is_visited_again_in_one_family_leaves_the_other_its_turn() {
        let [four, other_four] = ["203.0.113.5:1", "203.0.113.6:1"].map(|at| known(Network::Overlay, at));
        let [six, other_six] = ["[2001:db8::5]:1", "[2001:db8::6]:1"].map(|at| known(Network::Mainline, at));
        let saved = [four, six, other_four, other_six];
        let mut to_visit = VecDeque::new();
        visit_again(&mut to_visit, &saved, Family::V6);
        to_visit.pop_front();
        visit_again(&mut to_visit, &saved, Family::V4);
        assert_eq!(to_visit, [other_six, four, other_four]);
        to_visit.pop_back();
        visit_again(&mut to_visit, &saved, Family::V4);
        assert_eq!(to_visit, [other_six, four, other_four]);
    }

    #[test]
    fn the_most_that_is_saved_can_be_read() {
        let longest = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535";
        let all = vec![known(Network::Mainline, longest); 2 * SAVED_CONTACTS];
        assert_eq!(parse(&text(&"n".repeat(64), &all), "x").map(|all| all.len()), Some(2 * SAVED_CONTACTS));
    }

    #[test]
    fn a_lost_network_does_not_wipe_what_was_known() {
        let before: Vec<Known> = (1..=20).map(|n| known(Network::Overlay, &format!("203.0.113.{n}:9978"))).collect();
        assert_eq!(merged(Vec::new(), &before), before);
        assert_eq!(merged(before[..3].to_vec(), &before), before);
        assert_eq!(merged(before[..CLOSEST].to_vec(), &before), before[..CLOSEST]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}") {
            let _ = parse(&format!("{HEAD}\nnetwork x\n{text}\n"), "x");
        }
    }
}
