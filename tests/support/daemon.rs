//! The real program, started on a cache of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::{Scratch, wait_until};

pub const BINARY: &str = env!("CARGO_BIN_EXE_apt-p2p");

/// A running proxy. Its log is printed when a test fails.
pub struct Daemon {
    pub address: SocketAddr,
    pub cache: PathBuf,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    /// Serves loopback clients from loopback mirrors, and shares nothing.
    pub fn start(scratch: &Scratch) -> Daemon {
        Daemon::start_with(&scratch.path().join("cache"), &["--allow-upstream", "127.0.0.0/8"])
    }

    pub fn start_with(cache: &Path, flags: &[&str]) -> Daemon {
        Daemon::try_start(cache, flags, Command::new(BINARY)).expect("the program starts")
    }

    /// Starts `command` with the program's arguments behind its own; the last lines of its log if it ends instead. No
    /// packet leaves the machine: it shares nothing, unless `flags` say with whom.
    pub fn try_start(cache: &Path, flags: &[&str], mut command: Command) -> Result<Daemon, String> {
        let share: &[&str] = if flags.contains(&"--share") { &[] } else { &["--share", "off"] };
        let mdns: &[&str] = if flags.contains(&"--mdns") { &[] } else { &["--mdns", "off"] };
        let listen: &[&str] = if flags.contains(&"--listen") { &[] } else { &["--listen", "127.0.0.1:0"] };
        let mapping: &[&str] = if flags.contains(&"--port-mapping") { &[] } else { &["--port-mapping", "off"] };
        let mut child = command
            .args(listen)
            .arg("--cache")
            .arg(cache)
            .args(share)
            .args(mdns)
            .args(mapping)
            .args(flags)
            .env_remove("RUST_LOG")
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                child.wait().ok();
                return Err(log.lock().expect("no panic").join("\n"));
            };
            if let Some(address) = line.strip_prefix("listening on ") {
                break address.parse().expect("an address");
            }
            log.lock().expect("no panic").push(line);
        };
        let sink = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                sink.lock().expect("no panic").push(line);
            }
        });
        Ok(Daemon { address, cache: cache.to_owned(), child, log })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic").clone()
    }

    pub fn wait_for_log(&self, words: &str) {
        wait_until(Duration::from_secs(30), &format!("the log says {words:?}"), || {
            self.log().iter().any(|line| line.contains(words))
        });
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_some()
    }

    pub fn kill9(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was killed");
    }

    /// SIGTERM; the exit status.
    pub fn terminate(self) -> Option<i32> {
        self.signal("TERM");
        self.end()
    }

    /// The exit status of one that ends by itself.
    pub fn end(mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(status.expect("kill is there").success());
    }

    /// Anonymous memory of the process alone: what it costs the machine. Pages of files are none, not even dirty ones: those of
    /// a program that was just built are.
    pub fn private_kb(&self) -> u64 {
        self.memory_kb("Pss_Anon:")
    }

    fn memory_kb(&self, field: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("a Linux kernel says it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs").count()
    }

    /// The stored file with this digest.
    pub fn stored_path(&self, digest: &str) -> PathBuf {
        self.cache.join("files").join(&digest[..2]).join(digest)
    }

    /// Waits until this file is recorded and served from its place; until then it is served from its draft, by whoever
    /// finished that.
    pub fn wait_until_recorded(&self, digest: &str) -> PathBuf {
        let (path, drafts) = (self.stored_path(digest), self.cache.join("drafts"));
        let is_log = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("finished-");
        let has_log = || fs::read_dir(&drafts).is_ok_and(|all| all.flatten().any(is_log));
        wait_until(Duration::from_secs(30), "the file is recorded", || path.exists() && !has_log());
        path
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            println!("the proxy's log:\n{}", self.log().join("\n"));
        }
    }
}
