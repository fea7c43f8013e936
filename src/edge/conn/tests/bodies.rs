//! What follows a head: nothing, a growing body in one framing or the other, one that breaks.

use super::*;

#[test]
fn head_has_no_body_whatever_the_answer_says() {
    let mut pair = Pair::new();
    pair.say("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n");
    pair.requests();
    pair.reply(0, "body");
    assert!(pair.text().ends_with("Content-Length: 4\r\n\r\n"));
    pair.say(&get("/b"));
    pair.requests();
    pair.reply(1, "b");
    assert_eq!(pair.bodies(), ["b"]);
}

#[test]
fn a_growing_body_is_chunked_for_1_1_and_ends_the_connection_for_1_0() {
    let mut pair = Pair::new();
    pair.say(&get("/a"));
    pair.requests();
    let stream = follow(&mut pair, 0, None, 0);
    assert_eq!(pair.text(), "");
    stream.begin(Head::default(), None);
    let patience = std::time::Duration::from_millis(1);
    for part in ["abc", "defg"] {
        stream.push(part.as_bytes(), patience).expect("followed");
        pair.drain();
    }
    stream.finish(7);
    pair.drain();
    let text = pair.text();
    assert!(text.contains("Transfer-Encoding: chunked\r\n\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"), "{text}");
    assert_eq!((pair.logs[0].bytes, pair.logs[0].whole, pair.shut), (7, true, false));

    let mut pair = Pair::new();
    pair.say("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    pair.requests();
    let stream = follow(&mut pair, 0, None, 0);
    stream.begin(Head::default(), None);
    stream.push(b"abc", patience).expect("followed");
    pair.drain();
    stream.finish(3);
    pair.drain();
    let text = pair.text();
    assert!(text.ends_with("Connection: close\r\n\r\nabc") && pair.shut, "{text}");
}

#[test]
fn a_body_that_breaks_closes_the_connection_at_once() {
    for len in [None, Some(10)] {
        let mut pair = Pair::new();
        pair.say(&[get("/a"), get("/b")].concat());
        pair.requests();
        pair.reply(1, "must not be sent");
        let stream = follow(&mut pair, 0, len, 0);
        stream.begin(Head { len, ..Head::default() }, None);
        stream.push(b"abc", std::time::Duration::from_millis(1)).expect("followed");
        pair.drain();
        stream.fail(Failure { status: 502, reason: "x".into(), retry_after: None, challenge: None });
        pair.drain();
        let text = pair.text();
        assert!(text.ends_with("abc") || text.ends_with("abc\r\n"), "{text}");
        assert!(pair.closed && !pair.logs[0].whole);
    }
}

#[test]
fn a_stream_that_ends_before_its_announced_length_is_broken() {
    let mut pair = Pair::new();
    pair.say(&get("/a"));
    pair.requests();
    let stream = follow(&mut pair, 0, Some(10), 0);
    stream.begin(Head { len: Some(10), ..Head::default() }, None);
    stream.push(b"abc", std::time::Duration::from_millis(1)).expect("followed");
    stream.finish(3);
    pair.drain();
    assert!(pair.closed && !pair.logs[0].whole);
}

#[test]
fn a_failure_before_the_body_is_an_answer_and_the_connection_goes_on() {
    let mut pair = Pair::new();
    pair.say(&get("/a"));
    pair.requests();
    let stream = follow(&mut pair, 0, Some(10), 0);
    stream.fail(Failure { status: 502, reason: "x".into(), retry_after: None, challenge: None });
    pair.drain();
    assert!(pair.text().starts_with("HTTP/1.1 502 "));
    pair.say(&get("/b"));
    assert_eq!(pair.requests(), [(1, "/b".into())]);
}

#[test]
fn a_part_of_a_file_lies_where_no_32_bits_count() {
    let file = rustix::fs::memfd_create("huge", rustix::fs::MemfdFlags::CLOEXEC).expect("memory");
    let file = File::from(file);
    // What is not written takes no memory.
    let start = (4 << 30) - 2;
    file.set_len(5 << 30).expect("sparse");
    std::os::unix::fs::FileExt::write_all_at(&file, b"abcdef", start).expect("it is ours");
    let mut pair = Pair::new();
    pair.say(&get("/a"));
    pair.requests();
    let body = Body::File { file: Arc::new(file), start: start + 1, len: 4 };
    pair.handle(Input::Reply(0, Some(Reply::Now(answer(206, body, Some(4))))));
    assert_eq!(pair.bodies(), ["bcde"]);
}

/// A body that is kept nowhere, of more than the window holds, and cut off as nobody takes it.
fn miss(pair: &mut Pair, number: u64) -> Arc<Stream> {
    let stream = follow(pair, number, Some(10), 0);
    stream.begin(Head { len: Some(10), ..Head::default() }, None);
    let chunk = [0; crate::limits::STREAM_WINDOW_LEN];
    stream.push(&chunk, std::time::Duration::ZERO).expect("followed");
    assert!(stream.push(&chunk, std::time::Duration::ZERO).is_err(), "the answer before it takes too long");
    stream
}

#[test]
fn a_download_that_could_not_wait_for_its_turn_is_asked_for_once_more() {
    let mut pair = Pair::new();
    pair.say(&[get("/a"), get("/b"), get("/c")].concat());
    assert_eq!(pair.requests().len(), 3);
    miss(&mut pair, 1);
    pair.reply(2, "third");
    assert_eq!(pair.requests(), [], "not before its turn");
    pair.reply(0, "first");
    assert!(!pair.closed && pair.conn.has_request(1));
    assert_eq!(pair.requests(), [(1, "/b".into())]);
    let again = follow(&mut pair, 1, Some(6), 0);
    pair.bring(&again, b"second");
    assert_eq!(pair.bodies(), ["first", "second", "third"]);
    pair.say(&get("/d"));
    assert_eq!(pair.requests(), [(3, "/d".into())]);
}

#[test]
fn a_download_that_is_missed_twice_is_not_asked_for_for_ever() {
    let mut pair = Pair::new();
    pair.say(&[get("/a"), get("/b")].concat());
    pair.requests();
    miss(&mut pair, 1);
    pair.reply(0, "first");
    assert_eq!(pair.requests(), [(1, "/b".into())]);
    // The wake of its beginning comes when the window has long gone on.
    let stream = Arc::new(Stream::default());
    let other = stream.follow(Arc::new(|| ()));
    let chunk = [0; crate::limits::STREAM_WINDOW_LEN];
    stream.begin(Head::default(), None);
    for n in 1..3 {
        stream.push(&chunk, std::time::Duration::ZERO).expect("followed");
        other.seek(n * chunk.len() as u64);
    }
    let answer = Box::new(|_: &Outcome| answer(200, Body::Stream { start: 0, len: Some(1), patient: true }, Some(1)));
    pair.handle(Input::Reply(1, Some(Reply::Later { stream, answer, leads: false })));
    assert!(pair.closed && pair.requests().is_empty());
    assert!(pair.logs[0].whole && !pair.logs[1].whole);
}
