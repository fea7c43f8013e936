//! The page with everything on it, with the worst that may be on it, and with nothing.

use super::*;
use crate::edge::Given;
use crate::limits::{FLIGHT_NAME_LEN, HISTORY_STEPS, TROUBLE_LEN, TROUBLES};
use crate::report::{Archive, Dht, Flight, Sharing, Traffic};
use crate::time::Stamp;
use crate::troubles::Trouble;

/// All that is sent, in bytes.
const PAGE_LEN_MAX: usize = 30 * 1024;

fn ask(host: &str) -> Ask {
    let lines = [("X-For", "1.1 192.0.2.9 - GET"), ("Host", host)];
    Ask::new("/", lines.into_iter()).expect("complete")
}

/// A house after a day: an update by night, installations by day.
fn usual() -> Numbers {
    let busy = |n: usize| match n {
        20..24 => 14,
        96..104 | 160..166 => 5 + n % 7,
        120..128 | 230..260 => 3 + n * 7 % 5,
        n if n % 12 == 3 => 1,
        _ => 0,
    };
    let step = |n: usize| {
        let (rate, is_night) = ((busy(n) as u64) << 20, n < 24);
        let part = |percent: u64| rate * percent / 100 * 3;
        match is_night {
            true => Traffic { cache: 0, neighbours: part(10), strangers: part(45), mirrors: part(45) },
            false => Traffic { cache: part(72), neighbours: part(12), strangers: part(9), mirrors: part(7) },
        }
    };
    let flight = |name: &str, here: u64, len: u64, rate: u64, from_peers: u64| {
        let name = format!("archive.example.org/debian/pool/main/{name}");
        Flight { name, here, len: Some(len), rate, from_peers, is_waiting: rate == 0 }
    };
    let archive = |name: &str, hours: u64, is_whole| {
        let date = Stamp(1_800_000_000 - hours * 3600);
        Archive { name: name.into(), date, is_whole, signed: Some("signed by Test <a@example.org>".into()) }
    };
    Numbers {
        uptime_s: 9 * 86_400 + 5 * 3600,
        now: Stamp(1_800_000_000),
        connections: 6,
        requests: 18_204,
        hits: Given { count: 15_310, bytes: 21_400 << 20 },
        joined: Given { count: 402, bytes: 1800 << 20 },
        misses: Given { count: 1811, bytes: 7450 << 20 },
        bytes_from_mirrors: 3_350 << 20,
        bytes_from_neighbours: 1_400 << 20,
        bytes_from_strangers: 2_700 << 20,
        bytes_to_peers: Some(5_100 << 20),
        downloads: 3,
        flights: vec![
            flight("l/linux/linux-image-6.12.48-amd64_6.12.48-1_amd64.deb", 61 << 20, 104 << 20, 11 << 20, 38 << 20),
            flight("f/firefox-esr/firefox-esr_140.4.0esr-1_amd64.deb", 9 << 20, 66 << 20, 4 << 20, 0),
            flight("g/gcc-14/cpp-14-x86-64-linux-gnu_14.2.0-19_amd64.deb", 0, 11 << 20, 0, 0),
        ],
        stored: Some((6_204, 17_900 << 20)),
        bytes_free: Some(120 << 30),
        bytes_max: 40 << 30,
        archives: vec![
            archive("archive.example.org/debian/dists/trixie", 31, true),
            archive("archive.example.org/debian/dists/trixie-updates", 9, true),
            archive("security.example.org/debian-security/dists/trixie-security", 5, true),
            archive("ppa.example.net/tools/ubuntu/dists/noble", 700, false),
        ],
        archives_known: 4,
        sharing: Sharing {
            with: "internet",
            port: Some(9978),
            connections: 4,
            neighbours: 2,
            dht: Some(Dht {
                network: "apt-p2p".into(),
                families: vec![("ipv4", Some(true), 148), ("ipv6", None, 31)],
                files: (4_870, 4_856),
                bytes_a_day: 14 << 20,
            }),
        },
        history: (0..HISTORY_STEPS).map(step).collect(),
        troubles: vec![Trouble {
            what: "archive.example.org does not answer; serving the archive.example.org/debian of Sat, 09 Jan 2027 that is stored".into(),
            count: 3,
            last: Stamp(1_800_000_000 - 9 * 3600),
        }],
        ..Numbers::default()
    }
}

/// As much as can be of everything, in the longest form.
fn worst() -> Numbers {
    let wild = |n: usize| {
        let part = |k: usize| u64::MAX / 5 / ((n * k) as u64 % 97 + 1);
        Traffic { cache: part(3), neighbours: part(5), strangers: part(7), mirrors: part(11) }
    };
    let name = "\"<script>alert('&')</script>".repeat(FLIGHT_NAME_LEN / 28);
    Numbers {
        history: (0..HISTORY_STEPS).map(wild).collect(),
        flights: vec![
            Flight {
                name: name.replace("</", "/"),
                here: 1,
                len: Some(u64::MAX),
                rate: 1,
                from_peers: u64::MAX,
                is_waiting: false
            };
            32
        ],
        downloads: 256,
        archives: vec![
            Archive {
                name: format!("{name}/dists/{name}"),
                date: Stamp(1),
                is_whole: false,
                signed: Some(name.clone())
            };
            200
        ],
        archives_known: usize::MAX,
        problems: vec![name.repeat(9); 4],
        troubles: vec![Trouble { what: "'".repeat(TROUBLE_LEN), count: u64::MAX, last: Stamp(1) }; TROUBLES],
        now: Stamp(1_800_000_000),
        liars: u64::MAX,
        ..usual()
    }
}

#[test]
fn it_is_small_whatever_is_on_it() {
    let usual = html(&ask("router.lan:9977"), &usual());
    let worst = html(&ask(&format!("{}.lan:9977", "a".repeat(240))), &worst());
    let off = Sharing { with: "off", ..Sharing::default() };
    let fresh = html(&ask("router.lan:9977"), &Numbers { sharing: off, ..Numbers::default() });
    // For the tests with a browser.
    if let Some(folder) = std::env::var_os("APT_P2P_PAGES") {
        for (name, page) in [("usual", &usual), ("worst", &worst), ("fresh", &fresh)] {
            let path = std::path::Path::new(&folder).join(format!("{name}.html"));
            std::fs::write(path, page).expect("a folder that can be written to");
        }
        std::fs::write(std::path::Path::new(&folder).join("policy"), policy()).expect("the same");
    }
    println!("{} {} {}", fresh.len(), usual.len(), worst.len());
    for page in [usual, worst, fresh] {
        assert!(page.len() <= PAGE_LEN_MAX, "{} bytes", page.len());
    }
}

#[test]
fn what_others_name_is_text() {
    let page = html(&ask("router.lan"), &worst());
    assert_eq!(page.matches("<script").count(), 1, "ours");
    assert!(page.contains("&lt;script&gt;") && page.contains("&amp;"));
    let page = html(&ask("\"><script>alert(1)</script>"), &usual());
    assert!(!page.contains("alert(1)") && page.contains("this-machine:9977"));
}

#[test]
fn what_matters_stands_first() {
    let page = html(&ask("router.lan:9977"), &usual());
    let at = |words: &str| page.find(words).unwrap_or_else(|| panic!("{words} in {page}"));
    let order = [
        "All is well",
        "89%</span>",
        "Acquire::http::Proxy \"http://router.lan:9977\"",
        "<svg class=chart",
        "linux-image-6.12.48-amd64",
        "Shared with the Internet",
        "share = \"lan\"",
        "serving the archive.example.org/debian",
        "trixie-security",
    ];
    assert!(order.windows(2).all(|pair| at(pair[0]) < at(pair[1])));
    assert!(page.contains("<pre>echo router.lan:9977 | sudo tee /etc/apt/apt-p2p-hosts"));
    for (host, shown) in [("router.lan", "router.lan:80"), ("[2001:db8::1]", "[2001:db8::1]:80")] {
        assert!(html(&ask(host), &usual()).contains(&format!("<pre>echo {shown} |")), "{host}");
    }
    let bad = Numbers { problems: vec!["The disk is full.".into()], ..usual() };
    let page = html(&ask("router.lan"), &bad);
    assert!(page.contains("Something needs you") && page.contains("<p class=bad>The disk is full."));
    let lately = Trouble { what: "a mirror is away".into(), count: 1, last: Stamp(1_799_999_000) };
    let page = html(&ask("router.lan"), &Numbers { troubles: vec![lately], ..usual() });
    assert!(page.contains("It works, with 1 trouble in the last hour") && page.contains("16 min ago"));
}

#[test]
fn it_says_with_whom_files_are_shared_and_how_to_change_that() {
    let with = |with| {
        let sharing = Sharing { with, dht: None, ..usual().sharing };
        html(&ask("router.lan"), &Numbers { sharing, ..usual() })
    };
    for (mode, title, first) in [
        ("internet", "Shared with the Internet", "share = \"lan\""),
        ("lan", "Shared with this LAN alone", "share = \"internet\""),
        ("off", "Shared with nobody", "share = \"internet\""),
    ] {
        let page = with(mode);
        assert!(page.contains(title) && page.contains(first), "{mode}");
    }
    let mut shut = usual();
    if let Some(dht) = &mut shut.sharing.dht {
        dht.families = vec![("ipv4", Some(false), 0)];
    }
    let page = html(&ask("router.lan"), &shut);
    assert!(page.contains("Forward port 9978, TCP and UDP") && page.contains("no node answers yet"));
    // Another program has it.
    shut.sharing.port = None;
    let page = html(&ask("router.lan"), &shut);
    assert!(page.contains("The router lets nobody in") && !page.contains("Forward port"));
}

#[test]
fn a_client_s_file_names_the_address_that_it_was_fetched_from() {
    let conf = client_conf(&ask("Router.LAN:9977"));
    assert!(conf.lines().any(|line| line == "Acquire::http::Proxy \"http://router.lan:9977\";"), "{conf}");
    let conf = client_conf(&ask("x\";evil \""));
    assert!(conf.contains("http://this-machine:9977") && !conf.contains("evil"), "{conf}");
}
