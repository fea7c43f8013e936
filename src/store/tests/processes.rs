//! What a process that was killed leaves behind.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use super::*;

/// Names the cache to the process that is to be killed.
const CACHE: &str = "APT_P2P_TEST_CACHE";

#[test]
fn a_killed_reader_is_forgotten() {
    if let Some(dir) = std::env::var_os(CACHE) {
        let store = Store::open(&Options { dir: dir.into() }).expect("a store");
        let _read = store.0.index.read().expect("a free place");
        println!("\nreading");
        // Until it is killed.
        std::io::stdin().read_to_end(&mut Vec::new()).expect("nothing comes");
        return;
    }
    let dir = TestDir::new();
    let store = open(&dir);
    let mut other = Command::new(std::env::current_exe().expect("this test"));
    other.args(["--exact", "store::tests::processes::a_killed_reader_is_forgotten", "--nocapture"]);
    other.env(CACHE, dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut reader = other.spawn().expect("this test, again");
    let said = BufReader::new(reader.stdout.take().expect("piped")).lines();
    assert!(said.map_while(Result::ok).any(|line| line == "reading"), "it ended early");
    assert_eq!(store.forget_dead_readers().expect("an index"), 0, "it lives");
    reader.kill().expect("it runs");
    reader.wait().expect("it was killed");
    assert_eq!(store.forget_dead_readers().expect("an index"), 1);
}
