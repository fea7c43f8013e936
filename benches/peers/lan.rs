//! Machines in network namespaces, on a switch whose ports carry 1 Gbit/s.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::proxy::Proxy;
use crate::server::{File, Habit, Server};
use crate::{MB, pool_path, publish};

/// Of the file that is fetched.
const LEN: u64 = 100 * MB;
const ROUNDS: u64 = 3;
const NEIGHBOURS: u8 = 3;
const MIRROR: &str = "10.77.0.9:8000";

/// The namespaces; gone when it is dropped.
struct Switch(Vec<String>);

impl Switch {
    fn new(machines: &[u8]) -> Option<Switch> {
        let own = std::process::id();
        let switch = format!("aps{own}");
        let mut all = Switch(vec![switch.clone()]);
        let is_made = ip(&format!("netns add {switch}"))
            && ip(&format!("-n {switch} link add br0 type bridge"))
            && ip(&format!("-n {switch} link set br0 up"));
        let add = |machine: &u8| {
            let name = all.name(*machine);
            all.0.push(name.clone());
            ip(&format!("netns add {name}"))
                && ip(&format!("link add eth0 netns {name} type veth peer name p{machine} netns {switch}"))
                && ip(&format!("-n {switch} link set p{machine} master br0 up"))
                && ip(&format!("-n {name} addr add 10.77.0.{machine}/24 dev eth0"))
                && ip(&format!("-n {name} link set eth0 up"))
                && ip(&format!("-n {name} link set lo up"))
                && shape(&name, "eth0")
                && shape(&switch, &format!("p{machine}"))
        };
        (is_made && machines.iter().all(add)).then_some(all)
    }

    fn name(&self, machine: u8) -> String {
        format!("{}m{machine}", self.0[0])
    }

    fn run(&self, machine: u8, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(machine), program]);
        command
    }

    /// What it takes to fetch `url` through a proxy, on this machine.
    fn fetch(&self, machine: u8, proxy: SocketAddr, url: &str) -> f64 {
        let output =
            self.run(machine, &itself()).args(["fetch", &proxy.to_string(), url]).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.trim().parse().unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    }

    fn mirror(&self, rate: u64) -> Child {
        let mut command = self.run(9, &itself());
        let child = command.args(["serve", &rate.to_string()]).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("it starts");
        let mut line = String::new();
        let out = child.stdout.as_mut().expect("piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("it says that it serves");
        child
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        for name in &self.0 {
            ip(&format!("netns del {name}"));
        }
    }
}

fn ip(words: &str) -> bool {
    Command::new("ip").args(words.split(' ')).status().is_ok_and(|status| status.success())
}

fn shape(name: &str, device: &str) -> bool {
    let words = format!("-n {name} qdisc add dev {device} root tbf rate 1gbit burst 256k latency 20ms");
    Command::new("tc").args(words.split(' ')).status().is_ok_and(|status| status.success())
}

fn itself() -> String {
    std::env::current_exe().expect("it runs").display().to_string()
}

fn files() -> Vec<File> {
    (0..2 * ROUNDS).map(|n| File::new(LEN, 1_000_000 + n)).collect()
}

/// The mirror's process.
pub fn serve(words: &[String]) {
    let rate = words[0].parse().expect("bytes a second");
    let mirror = Server::start(MIRROR.parse().expect("an address"), rate, Duration::ZERO, Habit::Honest);
    publish(&mirror, &files().iter().collect::<Vec<_>>());
    println!("serving");
    std::thread::park();
}

/// The client's process: seconds.
pub fn fetch(words: &[String]) {
    let proxy = words[0].parse().expect("an address");
    let start = Instant::now();
    Client::connect(proxy).get(&words[1]);
    println!("{}", start.elapsed().as_secs_f64());
}

pub fn lan(_: &[String]) {
    let Some(switch) = Switch::new(&[1, 2, 3, 4, 5, 9]) else {
        return println!("not measured: it needs root, ip and tc with tbf");
    };
    let start = |machine: u8, more: &[&str]| {
        let command = switch.run(machine, env!("CARGO_BIN_EXE_apt-p2p"));
        let listen = format!("10.77.0.{machine}");
        let (front, peer) = (format!("{listen}:9977"), format!("{listen}:9978"));
        let flags =
            ["--listen", &front, "--peer-listen", &peer, "--share", "lan", "--allow-upstream", "10.77.0.0/24"];
        let public = ["--public", "10.77.0.9:8000/debian"];
        Proxy::start_by(command, &[&flags[..], &public, more].concat())
    };
    let suite = format!("http://{MIRROR}/debian/dists/x");
    let url = |file: &File| format!("http://{MIRROR}{}", pool_path(file));
    let files = files();
    let mut mirror = switch.mirror(0);
    let neighbours: Vec<Proxy> = (1..=NEIGHBOURS).map(|machine| start(machine, &[])).collect();
    let all: Vec<String> = (1..=NEIGHBOURS).map(|machine| format!("10.77.0.{machine}:9978")).collect();
    let own = start(4, &all.iter().flat_map(|at| ["--neighbour", at.as_str()]).collect::<Vec<_>>());
    // From the namespace that it is in: this process is in another.
    for (machine, proxy) in (1..).zip(neighbours.iter().chain([&own])) {
        for name in ["InRelease", "main/binary-amd64/Packages.gz"] {
            switch.fetch(machine, proxy.address, &format!("{suite}/{name}"));
        }
        proxy.wait_for_log("learnt ", 60);
    }
    for (machine, proxy) in (1..).zip(&neighbours) {
        for file in &files {
            switch.fetch(machine, proxy.address, &url(file));
        }
    }
    mirror.kill().expect("it runs");
    mirror.wait().expect("it ends");
    let mut slow = switch.mirror(3 * MB);
    println!(
        "| the client is | warm hit over the link, MB/s | from three neighbours and a mirror at 3 MB/s | ratio |"
    );
    println!("|---|---|---|---|");
    for (name, client, files) in [("on the proxy's machine", 4, &files[..3]), ("on a fifth machine", 5, &files[3..])]
    {
        let (mut warm, mut cold) = (Vec::new(), Vec::new());
        for file in files {
            let holder = if client == 4 { neighbours[0].address } else { own.address };
            if client == 4 {
                warm.push(switch.fetch(client, holder, &url(file)));
            }
            cold.push(switch.fetch(client, own.address, &url(file)));
            if client == 5 {
                warm.push(switch.fetch(client, holder, &url(file)));
            }
        }
        let rate = |times: &mut Vec<f64>| {
            times.sort_by(f64::total_cmp);
            LEN as f64 / MB as f64 / times[times.len() / 2]
        };
        let (warm, cold) = (rate(&mut warm), rate(&mut cold));
        println!("| {name} | {warm:.1} | {cold:.1} | {:.2} |", cold / warm);
    }
    own.print_log("came from peers");
    slow.kill().expect("it runs");
    slow.wait().expect("it ends");
}
