//! The servers, each started on loopback from a folder of its own, and ended with the run.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::archive::{File, Files, has};
use super::load::Wanted;
use super::proxy;
use super::support::archive::SUITE;
use super::support::{Scratch, client, wait_until};

/// In the order of the table's columns.
pub const NAMES: [&str; 5] = ["direct", "nginx", "apt-cacher-ng", "squid", "apt-p2p"];
/// Where the upstream sends 25 MB/s a connection.
const SLOW: &str = "/slow";

/// One of them.
pub struct Server {
    pub name: &'static str,
    pub address: SocketAddr,
    /// The mirror behind it.
    pub upstream: SocketAddr,
    child: Child,
}

pub struct Servers {
    pub all: Vec<Server>,
    upstream_log: PathBuf,
    drafts: PathBuf,
}

impl Servers {
    pub fn start(scratch: &Scratch, files: &Files) -> Servers {
        for program in ["nginx", "apt-cacher-ng", "squid"] {
            assert!(has(program), "{program} is missing: apt-get install nginx-light apt-cacher-ng squid");
        }
        let upstream = free_address();
        let folder = |name: &str| {
            let folder = scratch.path().join(name);
            fs::create_dir_all(&folder).expect("a scratch folder");
            folder
        };
        let origin = folder("origin");
        let p2p = folder("apt-p2p");
        let all = vec![
            start("direct", upstream, upstream, direct(&origin, &files.root, upstream)),
            start("nginx", upstream, free_address(), |address| proxy_cache(&folder("nginx"), address, upstream)),
            start("apt-cacher-ng", upstream, free_address(), |address| apt_cacher_ng(&folder("acng"), address)),
            start("squid", upstream, free_address(), |address| squid(&folder("squid"), address)),
            start("apt-p2p", upstream, free_address(), |address| apt_p2p(&p2p, address)),
        ];
        let servers = Servers { all, upstream_log: origin.join("access.log"), drafts: p2p.join("cache/drafts") };
        servers.learn(&p2p.join("log"));
        servers
    }

    /// Each has the archive's index, and apt-p2p has learnt it, at both speeds.
    fn learn(&self, log: &Path) {
        for server in &self.all[1..] {
            for prefix in ["", SLOW] {
                for name in ["InRelease", "main/binary-amd64/Packages.gz"] {
                    let got = client::get(server.address, &server.target(prefix, &format!("{SUITE}/{name}")));
                    assert!(got.is_good(), "{} gives {name}: {}", server.name, got.text());
                }
            }
        }
        wait_until(Duration::from_secs(30), "apt-p2p has learnt both", || {
            fs::read_to_string(log).is_ok_and(|log| log.matches("learnt ").count() >= 2)
        });
        self.settle();
    }

    /// Waits until what was downloaded is recorded, so that nothing runs beside what is measured.
    pub fn settle(&self) {
        wait_until(Duration::from_secs(30), "everything is recorded", || {
            let drafts = fs::read_dir(&self.drafts).expect("the cache").flatten();
            drafts.filter(|entry| entry.file_name().to_string_lossy().starts_with("finished-")).count() == 0
        });
    }

    /// Nor is anything of it still written to the disk.
    pub fn rest(&self) {
        self.settle();
        assert!(Command::new("sync").status().is_ok_and(|it| it.success()), "sync is there");
    }

    /// How often the upstream was asked for a file.
    pub fn upstream_requests(&self, path: &str) -> usize {
        let log = fs::read_to_string(&self.upstream_log).expect("the upstream logs");
        log.lines().filter(|line| line.contains(path)).count()
    }
}

impl Server {
    pub fn is_direct(&self) -> bool {
        self.address == self.upstream
    }

    fn target(&self, prefix: &str, path: &str) -> String {
        match self.is_direct() {
            true => format!("{prefix}{path}"),
            false => format!("http://{}{prefix}{path}", self.upstream),
        }
    }

    pub fn wanted(&self, file: &File, lines: &str) -> Wanted {
        self.wanted_below("", file, lines)
    }

    /// A request as apt makes it, with more header lines.
    pub fn wanted_below(&self, prefix: &str, file: &File, lines: &str) -> Wanted {
        let (target, host) = (self.target(prefix, &file.path), self.upstream);
        let text = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Debian APT-HTTP/1.3 (2.6.1)\r\n{lines}\r\n"
        );
        Wanted { text, len: file.len }
    }

    /// The server and its children.
    fn pids(&self) -> Vec<u32> {
        let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
            .expect("Linux")
            .flatten()
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                Some((pid, stat(pid)?.get(1)?.parse().ok()?))
            })
            .collect();
        let mut all = vec![self.child.id()];
        let mut at = 0;
        while let Some(&parent) = all.get(at) {
            all.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
            at += 1;
        }
        all
    }

    /// What all of them have used so far.
    pub fn cpu_s(&self) -> f64 {
        let ticks = |pid: u32| -> Option<f64> {
            let fields = stat(pid)?;
            Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
        };
        self.pids().into_iter().filter_map(ticks).sum::<f64>() / 100.0
    }

    pub fn private_mb(&self) -> f64 {
        self.pids().into_iter().map(proxy::private_mb).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A signal that they understand: nginx's workers would outlive a killed master.
        Command::new("kill").arg(self.child.id().to_string()).status().ok();
        self.child.wait().ok();
    }
}

/// The fields behind the name, from the state on.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// apt-cacher-ng takes no port above 32767.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(21_000);
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    loop {
        let next = address(NEXT.fetch_add(1, Ordering::SeqCst));
        if TcpListener::bind(next).is_ok() {
            return next;
        }
    }
}

fn start(
    name: &'static str,
    upstream: SocketAddr,
    address: SocketAddr,
    command: impl FnOnce(SocketAddr) -> Command,
) -> Server {
    let child = command(address).stdin(Stdio::null()).spawn().expect("it is installed");
    let server = Server { name, address, upstream, child };
    wait_until(Duration::from_secs(30), &format!("{name} listens"), || TcpStream::connect(address).is_ok());
    server
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a scratch file");
}

/// nginx with what Debian's own configuration has switched on.
fn nginx(folder: &Path, http: &str) -> Command {
    let dir = folder.display();
    let config = folder.join("nginx.conf");
    write(
        &config,
        &format!(
            "user root; worker_processes auto; daemon off; pid {dir}/pid; error_log {dir}/error.log;\n\
             events {{ worker_connections 768; }}\n\
             http {{ access_log {dir}/access.log; sendfile on; tcp_nopush on; keepalive_requests 100000000;\n\
             client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; {http} }}\n"
        ),
    );
    let mut command = Command::new("nginx");
    command.arg("-e").arg(folder.join("error.log")).arg("-c").arg(config);
    command
}

fn direct(folder: &Path, root: &Path, address: SocketAddr) -> impl FnOnce(SocketAddr) -> Command {
    let root = root.display();
    let http = format!(
        "server {{ listen {address}; root {root}; location {SLOW}/ {{ alias {root}/; limit_rate 25000000; }} }}"
    );
    let command = nginx(folder, &http);
    move |_| command
}

fn proxy_cache(folder: &Path, address: SocketAddr, upstream: SocketAddr) -> Command {
    let http = format!(
        "proxy_cache_path {}/cache levels=1:2 keys_zone=apt:10m max_size=10g inactive=7d use_temp_path=off;\n\
         upstream mirror {{ server {upstream}; keepalive 16; }}\n\
         server {{ listen {address}; location / {{ proxy_pass http://mirror; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header Host $http_host; proxy_cache apt; proxy_cache_key $uri;\n\
         proxy_cache_valid 200 7d; proxy_cache_lock on; }} }}",
        folder.display()
    );
    nginx(folder, &http)
}

fn apt_cacher_ng(folder: &Path, address: SocketAddr) -> Command {
    let dir = folder.display();
    let conf = folder.join("conf");
    for part in ["conf", "cache", "log"] {
        fs::create_dir_all(folder.join(part)).expect("a scratch folder");
    }
    // Port 0 stands for any port of an upstream.
    write(
        &conf.join("acng.conf"),
        &format!(
            "CacheDir: {dir}/cache\nLogDir: {dir}/log\nPort: {}\nBindAddress: 127.0.0.1\nForeGround: 1\n\
             AllowUserPorts: 0\nSupportDir: /usr/lib/apt-cacher-ng\n",
            address.port()
        ),
    );
    let mut command = Command::new("apt-cacher-ng");
    command.arg("-c").arg(conf);
    command
}

/// With the rules of squid-deb-proxy.
fn squid(folder: &Path, address: SocketAddr) -> Command {
    let dir = folder.display();
    let config = folder.join("squid.conf");
    let mut text = format!(
        "http_port {address}\nmaximum_object_size 512 MB\ncache_dir aufs {dir}/spool 40000 16 256\ncache_mem 200 MB\n\
         maximum_object_size_in_memory 10240 KB\nhttp_access allow all\nvisible_hostname localhost\n\
         pinger_enable off\nshutdown_lifetime 0 seconds\ncache_effective_user proxy\nrefresh_pattern deb$ 129600 100% 129600\n\
         refresh_pattern InRelease$ 0 0% 0\nrefresh_pattern . 0 20% 4320\n"
    );
    write!(text, "access_log daemon:{dir}/access.log\ncache_log {dir}/cache.log\ncache_store_log none\n")
        .and_then(|()| write!(text, "pid_filename {dir}/pid\ncoredump_dir {dir}\n"))
        .expect("a String takes all");
    write(&config, &text);
    let run = |command: &mut Command| assert!(command.status().is_ok_and(|it| it.success()), "{command:?}");
    run(Command::new("chown").args(["-R", "proxy:proxy"]).arg(folder));
    run(Command::new("squid").args(["-N", "-z", "-f"]).arg(&config).stderr(Stdio::null()));
    let mut command = Command::new("squid");
    command.args(["-N", "-f"]).arg(config).stderr(Stdio::null());
    command
}

fn apt_p2p(folder: &Path, address: SocketAddr) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_apt-p2p"));
    let log = fs::File::create(folder.join("log")).expect("a scratch file");
    let flags = ["--allow-upstream", "127.0.0.0/8", "--share", "off", "--mdns", "off", "--port-mapping", "off"];
    command.args(flags).arg("--listen").arg(address.to_string()).arg("--cache").arg(folder.join("cache")).stderr(log);
    command
}
