//! The program under test, for all benchmarks that measure it from outside.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A running proxy, on a cache of its own.
pub struct Proxy {
    child: Child,
    pub address: SocketAddr,
    pub cache: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// On loopback.
    pub fn start(flags: &[&str]) -> Proxy {
        let flags = [&["--listen", "127.0.0.1:0", "--allow-upstream", "127.0.0.0/8"], flags].concat();
        Proxy::start_by(Command::new(env!("CARGO_BIN_EXE_apt-p2p")), &flags)
    }

    /// By a command that runs the program with the arguments behind its own.
    pub fn start_by(mut command: Command, flags: &[&str]) -> Proxy {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::SeqCst);
        let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("proxy-{}-{n}", std::process::id()));
        let mut child = command
            .args(["--mdns", "off", "--cache"])
            .arg(&cache)
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut before = Vec::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("{}", before.join("\n"))).expect("text");
            if let Some(address) = line.strip_prefix("listening on ") {
                break address.parse().expect("an address");
            }
            before.push(line);
        };
        let log = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok).filter(|line| !line.contains(" GET ")) {
                sink.lock().expect("no panic").push(line);
            }
        });
        Proxy { child, address, cache, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic").clone()
    }

    pub fn print_log(&self, word: &str) {
        self.log().iter().filter(|line| line.contains(word)).for_each(|line| println!("{line}"));
    }

    /// Anonymous and dirty memory of the process alone, in MB.
    pub fn private_mb(&self) -> f64 {
        private_mb(self.pid())
    }
}

/// Anonymous and dirty memory of a process alone, in MB.
pub fn private_mb(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the process lives");
    let fields: BTreeMap<&str, f64> = text
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            Some((name, rest.trim().trim_end_matches(" kB").parse().ok()?))
        })
        .collect();
    let dirty_files = fields["Private_Dirty"] - fields["Anonymous"];
    (fields["Pss_Anon"] + dirty_files.max(0.0)) / 1024.0
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.cache).ok();
    }
}

/// The suite and the name of the main index of the http archive that this machine's apt is configured with.
pub fn archive_of_this_machine() -> Option<(String, String)> {
    let format = "$(SITE) $(RELEASE) $(REPO_URI) $(METAKEY)";
    let output = Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]).output();
    let text = String::from_utf8(output.ok()?.stdout).ok()?;
    let line = text.lines().find(|line| line.contains("http://") && line.contains("main/binary-amd64"))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, suite, uri, key] = words[..] else { return None };
    Some((format!("{}/dists/{suite}", uri.trim_end_matches('/')), format!("{key}.xz")))
}
