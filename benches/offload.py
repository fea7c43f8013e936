#!/usr/bin/env python3
"""How much of what 30 proxies need comes from each other, and how much from the mirror.

    offload.py [--prefer offload|speed] [--seconds 300] [--daemons 30] [--packages 50] [--lan] [--binary PATH] [--keep DIR]

Each daemon runs in a network namespace of its own, all on one bridge: on loopback alone the kernel gives a connection to
an address of this machine that very address as its source, so that all peers would look like one. Their addresses are
public ones, each of another /16, for neighbours get no upload limit; with --lan they are 10.0.0.0/8, and find each
other by multicast DNS. Mirror and peers send 3 MB/s each (the mirror in all, the peers by --upload-rate). Each client
asks for each package once, in an order of its own, at random times over the given time. Sizes follow those of Debian's
packages. Each daemon's neighbour table holds all the others: run one at a time, or raise net.ipv4.neigh.default.gc_thresh3,
which counts for all namespaces. No packet leaves: the bridge, too, is in a namespace that ends with this program. Needs root.
"""
import argparse, hashlib, http.client, os, random, re, shutil, socket, subprocess, sys, tempfile, threading, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RATE = 3_000_000
HELD = 64 * 1024


class Mirror(threading.Thread):
    """Files from memory, at RATE bytes a second over all connections."""

    def __init__(self, ip, files):
        super().__init__(daemon=True)
        self.files, self.lock, self.free_at = files, threading.Lock(), 0.0
        self.sent, self.requests = {}, 0
        self.listener = socket.create_server((ip, 80), backlog=256)

    def run(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.answer_all(connection, connection.makefile("rb"))
        except OSError:
            pass

    def answer_all(self, connection, lines):
        while line := lines.readline():
            path = line.split()[1].decode()
            head = {}
            while (line := lines.readline().strip()):
                name, _, value = line.decode().partition(":")
                head[name.lower()] = value.strip()
            content = self.files.get(path)
            if content is None:
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                continue
            start, end, status, extra = 0, len(content), "200 OK", ""
            if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", head.get("range", "")):
                start, end = int(wanted[1]), min(int(wanted[2] or len(content)) + 1, len(content))
                if not wanted[2]:
                    end = len(content)
                status, extra = "206 Partial", f"Content-Range: bytes {start}-{end - 1}/{len(content)}\r\n"
            connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {end - start}\r\n{extra}"
                               "Last-Modified: Sat, 01 Mar 2025 10:00:00 GMT\r\n\r\n".encode())
            self.requests += 1
            for at in range(start, end, 8192):
                part = content[at:min(at + 8192, end)]
                with self.lock:
                    self.free_at = max(self.free_at, time.monotonic() - 0.01) + len(part) / RATE
                    wait = self.free_at - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                connection.sendall(part)
                with self.lock:
                    self.sent[path] = self.sent.get(path, 0) + len(part)


def sizes(count, rng):
    """As in Debian's main: 79% of one piece, 11% of 2-4, 8% of 5-32, 2% of more; the rest of 50 falls to the small."""
    some = lambda share: max(1, round(count * share))
    large = [rng.randrange(17, 26) * 1_000_000 for _ in range(some(0.02))]
    middle = [rng.randrange(2_700_000, 16_000_000) for _ in range(some(0.08))]
    few = [rng.randrange(530_000, 2_000_000) for _ in range(some(0.11))]
    small = [int(2 ** rng.uniform(12, 18.9)) for _ in range(count - len(large) - len(middle) - len(few))]
    return small + few + middle + large


def archive(count, rng):
    """Paths and contents of an archive, and the packages' names."""
    files, index = {}, []
    for n, size in enumerate(sizes(count, rng)):
        content = rng.randbytes(size)
        path = f"pool/main/p/p{n}_1_all.deb"
        files[f"/debian/{path}"] = content
        index.append(f"Package: p{n}\nVersion: 1\nArchitecture: all\nFilename: {path}\nSize: {size}\n"
                     f"SHA256: {hashlib.sha256(content).hexdigest()}\n\n")
    packages = list(files)
    name, text = "main/binary-amd64/Packages", "".join(index).encode()
    digest = hashlib.sha256(text).hexdigest()
    release = (f"Origin: Bench\nSuite: stable\nDate: Sat, 01 Mar 2025 10:00:00 UTC\nAcquire-By-Hash: yes\n"
               f"Architectures: all amd64\nComponents: main\nSHA256:\n {digest} {len(text)} {name}\n").encode()
    files["/debian/dists/stable/InRelease"] = release
    by_hash = f"/debian/dists/stable/main/binary-amd64/by-hash/SHA256/{digest}"
    files[by_hash] = files[f"/debian/dists/stable/{name}"] = text
    return files, packages, by_hash


def ip(*words):
    subprocess.run(["ip", *words], check=True)


class Daemon:
    def __init__(self, n, options, mirror_ip, addresses, folder):
        self.n, self.ip = n, addresses[n]
        self.netns = f"d{n}"
        ip("netns", "add", self.netns)
        ip("link", "add", f"v{n}", "type", "veth", "peer", "name", "eth0", "netns", self.netns)
        ip("link", "set", f"v{n}", "master", "br0", "up")
        ip("-n", self.netns, "addr", "add", f"{self.ip}/8", "dev", "eth0")
        ip("-n", self.netns, "link", "set", "lo", "up")
        ip("-n", self.netns, "link", "set", "eth0", "up")
        share = ["--share", "lan", "--mdns", "on"] if options.lan else [
            "--share", "internet", "--mdns", "off", "--mainline", "off", "--network", "bench",
            *(word for other in addresses[:3] for word in ("--bootstrap", f"{other}:9978"))]
        self.log = folder / f"d{n}.log"
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self.netns, options.binary, "--config", "/dev/null",
             "--cache", str(folder / f"d{n}"), "--listen", f"{self.ip}:9977", "--peer-listen", f"{self.ip}:9978",
             "--allow", "0.0.0.0/0", "--allow-upstream", mirror_ip, "--public", f"{mirror_ip}/debian",
             # On a disk of memory it would keep 16 MB at most.
             "--max-size", "10G", "--upload-rate", str(RATE), "--prefer", options.prefer, *share, *options.more],
            stderr=open(self.log, "w"), env={**os.environ, "RUST_LOG": options.log})

    def said(self, words):
        return words in self.log.read_text()


class Client(threading.Thread):
    """Asks its daemon for each package once."""

    def __init__(self, daemon, mirror_ip, files, rng, options, start):
        super().__init__()
        self.daemon_asked, self.mirror_ip, self.files, self.start_at = daemon, mirror_ip, files, start
        packages = [path for path in files if "/pool/" in path]
        rng.shuffle(packages)
        times = sorted(rng.uniform(0, options.seconds) for _ in packages)
        self.schedule = list(zip(times, packages))
        self.took, self.failed, self.longest_gap = [], [], 0.0

    def run(self):
        for at, path in self.schedule:
            time.sleep(max(0.0, self.start_at + at - time.monotonic()))
            begun = time.monotonic()
            try:
                right = self.get(path)
            except (OSError, http.client.HTTPException) as error:
                right = print(f"{self.daemon_asked.ip} {path}: {error}")
            self.took.append((len(self.files[path]), time.monotonic() - begun))
            if not right:
                self.failed.append(path)

    def get(self, path):
        connection = http.client.HTTPConnection(self.daemon_asked.ip, 9977, timeout=30)
        heard = time.monotonic()
        connection.request("GET", f"http://{self.mirror_ip}{path}")
        answer, sum_of = connection.getresponse(), hashlib.sha256()
        while True:
            part = answer.read1(1 << 18)
            now = time.monotonic()
            self.longest_gap, heard = max(self.longest_gap, now - heard), now
            if not part:
                break
            sum_of.update(part)
        connection.close()
        return answer.status == 200 and sum_of.digest() == hashlib.sha256(self.files[path]).digest()


def wait_for(what, holds, limit=120):
    end = time.monotonic() + limit
    while not holds():
        if time.monotonic() > end:
            sys.exit(f"not {what} within {limit} s")
        time.sleep(0.2)


def spread(times):
    times = sorted(times)
    at = lambda part: times[min(len(times) - 1, int(len(times) * part))]
    return f"{at(0.5):6.2f} s p50  {at(0.9):6.2f} s p90  {times[-1]:6.2f} s at most"


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--prefer", default="offload", choices=["offload", "speed"])
    parse.add_argument("--seconds", type=float, default=300)
    parse.add_argument("--daemons", type=int, default=30)
    parse.add_argument("--packages", type=int, default=50)
    parse.add_argument("--lan", action="store_true")
    parse.add_argument("--seed", type=int, default=1)
    parse.add_argument("--binary", default=str(ROOT / "target/release/apt-p2p"))
    parse.add_argument("--log", default="info")
    parse.add_argument("--keep", help="a folder for the logs")
    parse.add_argument("more", nargs="*", help="more options of the daemons")
    options = parse.parse_args()
    if os.environ.get("OFFLOAD_INSIDE") is None:
        os.execvpe("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv],
                   {**os.environ, "OFFLOAD_INSIDE": "1"})
    os.makedirs("/run/netns", exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run/netns"], check=True)
    folder = Path(tempfile.mkdtemp(prefix="apt-p2p-offload-", dir="/dev/shm"))
    daemons = []
    try:
        measure(options, folder, daemons)
    finally:
        for daemon in daemons:
            daemon.process.kill()
        for daemon in daemons:
            daemon.process.wait()
        if options.keep:
            shutil.copytree(folder, options.keep, ignore=lambda _, names: [n for n in names if not n.endswith(".log")],
                            dirs_exist_ok=True)
        shutil.rmtree(folder)


def measure(options, folder, daemons):
    rng = random.Random(options.seed)
    files, packages, by_hash = archive(options.packages, rng)
    whole = sum(len(files[path]) for path in packages)
    net = "10" if options.lan else "5"
    mirror_ip, addresses = f"{net}.0.0.1", [f"{net}.{n + 1}.0.1" for n in range(options.daemons)]
    ip("link", "set", "lo", "up")
    ip("link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
    ip("addr", "add", f"{mirror_ip}/8", "dev", "br0")
    ip("link", "set", "br0", "up")
    mirror = Mirror(mirror_ip, files)
    mirror.start()
    for n in range(options.daemons):
        daemons.append(Daemon(n, options, mirror_ip, addresses, folder))
    wait_for("all listening", lambda: all(daemon.said("listening on") for daemon in daemons))
    # What `apt update` asks for; from then on the packages are promised.
    for daemon in daemons:
        for path in ("/debian/dists/stable/InRelease", by_hash):
            connection = http.client.HTTPConnection(daemon.ip, 9977, timeout=30)
            connection.request("GET", f"http://{mirror_ip}{path}")
            if connection.getresponse().read() != files[path]:
                sys.exit(f"{daemon.ip} does not give {path}")
    wait_for("all learnt", lambda: all(daemon.said("learnt ") for daemon in daemons))
    ready = "a neighbour on this LAN" if options.lan else "peers reach us at port"
    wait_for("all found", lambda: all(daemon.said(ready) for daemon in daemons), 300)
    with mirror.lock:
        mirror.sent.clear()
    mirror.requests = 0
    start = time.monotonic() + 1
    clients = [Client(daemon, mirror_ip, files, random.Random(f"{options.seed} {daemon.n}"), options, start)
               for daemon in daemons]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    took = time.monotonic() - start
    told = lambda paths: sum(mirror.sent.get(path, 0) for path in paths)
    delivered = whole * len(clients)
    sent = told(packages)
    print(f"prefer {options.prefer}, {len(clients)} daemons {'on one LAN' if options.lan else 'on the Internet'}, "
          f"{len(packages)} packages of {whole / 1e6:.1f} MB in all, over {options.seconds:.0f} s ({took:.0f} s)")
    print(f"  from peers {100 * (1 - sent / delivered):5.1f}% of {delivered / 1e6:.0f} MB; the mirror sent "
          f"{sent / whole:.2f} copies in {mirror.requests} answers")
    classes = [("1 piece", 0, 524288), ("2-4", 524288, 4 * 524288), ("5-32", 4 * 524288, 32 * 524288),
               ("33 and more", 32 * 524288, 1 << 40)]
    for name, low, high in classes:
        paths = [path for path in packages if low < len(files[path]) <= high]
        size = sum(len(files[path]) for path in paths)
        times = [taken for client in clients for length, taken in client.took if low < length <= high]
        if paths:
            print(f"  {name:>12}: {len(paths):2} packages, {size / 1e6:5.1f} MB, {told(paths) / size:5.2f} copies, "
                  f"{spread(times)}")
    failed = sum(len(client.failed) for client in clients)
    print(f"  {failed} failed; the longest silence of an answer {max(c.longest_gap for c in clients):.1f} s")
    lied = sum(daemon.log.read_text().count("gave false bytes") for daemon in daemons)
    print(f"  {lied} convictions")


if __name__ == "__main__":
    main()
