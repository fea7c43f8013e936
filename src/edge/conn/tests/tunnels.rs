//! Transcripts of connections that become tunnels.

use super::*;

const CONNECT: &str = "CONNECT mirror.example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n";

fn way() -> Way {
    Way { to: vec!["192.0.2.1:443".parse().expect("an address")], greeting: Vec::new() }
}

#[test]
fn a_tunnel_is_dialled_in_its_turn_and_gets_what_came_with_its_request() {
    let mut pair = Pair::new();
    pair.say(&format!("{}{CONNECT}early", get("/a")));
    assert_eq!(pair.requests().len(), 2);
    pair.handle(Input::Reply(1, Some(Reply::Now(answer(200, Body::Tunnel(way()), None)))));
    assert!(pair.dialled.is_empty() && !pair.conn.wants_bytes(), "the answer before it comes first");
    pair.reply(0, "a");
    assert_eq!((pair.bodies(), pair.dialled.as_slice()), (vec!["a".to_owned()], &[way()][..]));
    pair.pass(1000);
    assert_eq!(pair.dialled.len(), 1, "it is dialled once");
    assert_eq!(pair.conn.open_tunnel(), b"early");
    let log = pair.conn.end_tunnel(pair.now, 200, 7, true);
    assert_eq!(log.to_string(), "CONNECT mirror.example.org:443 200 7 bytes from tunnel in 1000 ms");
}

#[test]
fn a_tunnel_that_cannot_be_had_is_told_of_in_the_status_line() {
    let mut pair = Pair::new();
    pair.say(CONNECT);
    pair.requests();
    pair.handle(Input::Reply(0, Some(Reply::Now(answer(200, Body::Tunnel(way()), None)))));
    pair.handle(Input::NoWay(502, "192.0.2.1:443: Connection refused".into()));
    let told = pair.text();
    assert!(told.starts_with("HTTP/1.1 502 192.0.2.1:443: Connection refused\r\n"), "{told}");
    assert!(told.ends_with("\r\n\r\napt-p2p: 192.0.2.1:443: Connection refused\n") && pair.shut, "{told}");
    assert_eq!((pair.logs[0].status, pair.logs[0].source), (502, OURS));
}

#[test]
fn a_tunnel_that_is_refused_says_that_the_connection_ends() {
    let mut pair = Pair::new();
    pair.say(CONNECT);
    pair.requests();
    pair.reply(0, "no");
    let told = pair.text();
    assert!(told.ends_with("\r\nConnection: close\r\n\r\nno") && pair.shut, "{told}");
}

#[test]
fn a_name_that_is_not_found_in_time_is_not_waited_for() {
    let mut pair = Pair::new();
    pair.say(CONNECT);
    pair.requests();
    let _stream = follow(&mut pair, 0, None, 0);
    let limit_ms = u64::try_from(RESOLVE_TIMEOUT.as_millis()).expect("short");
    pair.pass(limit_ms - 1);
    assert_eq!(pair.text(), "");
    pair.pass(1);
    assert!(pair.text().starts_with("HTTP/1.1 504 the name of mirror.example.org:443 was not found within 5 s\r\n"));
}
