//! The program under test, and a client that behaves as apt does.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use apt_p2p::digest::{Digest, PieceHasher};

/// Requests that apt has under way.
const PIPELINE: usize = 10;

/// A running proxy, on a cache of its own.
pub struct Proxy {
    child: Child,
    pub address: SocketAddr,
    cache: PathBuf,
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
        let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("peers-{}-{n}", std::process::id()));
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

    /// Fetches what apt's update fetches, and waits until the packages are promised.
    pub fn update(&self, suite: &str) {
        let mut client = Client::connect(self.address);
        for name in ["InRelease", "main/binary-amd64/Packages.gz"] {
            client.get(&format!("{suite}/{name}"));
        }
        self.wait_for_log("learnt ", 60);
    }

    pub fn wait_for_log(&self, word: &str, seconds: u64) {
        let start = Instant::now();
        while !self.log.lock().expect("no panic").iter().any(|line| line.contains(word)) {
            assert!(
                start.elapsed() < Duration::from_secs(seconds),
                "{word:?} is logged in {seconds} s: {:#?}",
                self.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic").clone()
    }

    pub fn print_log(&self, word: &str) {
        self.log().iter().filter(|line| line.contains(word)).for_each(|line| println!("{line}"));
    }

    /// Files that others find.
    pub fn announced(&self) -> u64 {
        let json =
            Command::new(env!("CARGO_BIN_EXE_apt-p2p")).args(["dht", "--json", "--cache"]).arg(&self.cache).output();
        let json: serde_json::Value =
            serde_json::from_slice(&json.expect("the program starts").stdout).unwrap_or_default();
        json["own_files_announced"].as_u64().unwrap_or(0)
    }

    /// What it says of its part of the DHT.
    pub fn dht(&self) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_apt-p2p")).args(["dht", "--cache"]).arg(&self.cache).output();
        String::from_utf8_lossy(&output.expect("the program starts").stdout).into_owned()
    }

    /// Anonymous and dirty memory of the process alone, in MB.
    pub fn private_mb(&self) -> f64 {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = fs::read_to_string(path).expect("the process lives");
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
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.cache).ok();
    }
}

/// One keep-alive connection.
pub struct Client(BufReader<TcpStream>);

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the proxy accepts");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
        stream.set_nodelay(true).expect("TCP");
        Client(BufReader::with_capacity(64 * 1024, stream))
    }

    /// Fetches one file; its digest.
    pub fn get(&mut self, url: &str) -> Digest {
        self.ask(url);
        self.read(url)
    }

    /// Fetches all, ten under way, and checks each.
    pub fn get_all(&mut self, files: &[(String, Digest)]) {
        let mut asked = 0;
        for (read, (url, digest)) in files.iter().enumerate() {
            while asked < files.len().min(read + PIPELINE) {
                self.ask(&files[asked].0);
                asked += 1;
            }
            assert_eq!(self.read(url), *digest, "{url}");
        }
    }

    fn ask(&mut self, url: &str) {
        let text = format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n");
        self.0.get_mut().write_all(text.as_bytes()).expect("a request");
    }

    fn read(&mut self, url: &str) -> Digest {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = self.0.read_line(&mut head).expect("an answer");
            assert!(read > 0, "{url}: the answer ends in its head: {head:?}");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{url}: {head}");
        let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<u64>().ok());
        let mut left = len.expect("a length");
        let (mut hasher, mut buffer) = (PieceHasher::default(), vec![0; 64 * 1024]);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let read = self.0.read(&mut buffer[..most]).expect("the body");
            assert!(read > 0, "{url}: the body ends {left} bytes early");
            hasher.update(&buffer[..read], |_| ());
            left -= read as u64;
        }
        hasher.finish()
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
