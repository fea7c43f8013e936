#!/usr/bin/env python3
"""The peer port beside nginx, at its upload rate, and under attack.

    serving.py [throughput] [rate] [hostile] [--binary target/release/apt-p2p] [--seconds 4] [--rounds 5]

`throughput`  MB/s and CPU of the peer port and of nginx with one worker, the same 100 MB file, at 1 and 8 connections, in turn
`rate`        what strangers get in all, as a part of --upload-rate
`hostile`     1,000 hostile connections on the peer port: private memory, and apt's own requests with and without them, in turn

It runs in a network namespace of its own (root, unshare of util-linux, ip of iproute2): no packet leaves. Everybody is a
stranger there, with an address of 198.18.0.0/15. nginx is Debian's.
"""
import argparse, hashlib, http.server, multiprocessing, os, random, select, shutil, socket, statistics, subprocess, sys
import tempfile, threading, time
from pathlib import Path

HERE = "198.18.0.1"
LAN, PEERS, NGINX = 9977, 9978, 9979
MB = 1_000_000


class Mirror:
    """An archive of these files."""

    def __init__(self, files):
        self.paths = {f"/debian/pool/main/{name}.deb": content for name, content in files.items()}
        stanzas = [
            f"Package: {name}\nVersion: 1\nArchitecture: all\nFilename: pool/main/{name}.deb\nSize: {len(content)}\n"
            f"SHA256: {hashlib.sha256(content).hexdigest()}\n\n"
            for name, content in files.items()
        ]
        packages = "".join(stanzas).encode()
        index = "main/binary-amd64/Packages"
        release = (
            "Origin: Test\nSuite: stable\nCodename: stable\nDate: Sat, 01 Mar 2025 10:00:00 UTC\nArchitectures: all amd64\n"
            f"Components: main\nSHA256:\n {hashlib.sha256(packages).hexdigest()} {len(packages)} {index}\n"
        )
        self.paths["/debian/dists/stable/InRelease"] = release.encode()
        self.paths[f"/debian/dists/stable/{index}"] = packages
        paths = self.paths

        class Answer(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                content = paths.get(self.path, b"")
                self.send_response(200 if content else 404)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer((HERE, 0), Answer)
        self.base = f"{HERE}:{server.server_address[1]}/debian"
        threading.Thread(target=server.serve_forever, daemon=True).start()


class Proxy:
    """The program, with all files of the mirror stored."""

    def __init__(self, binary, mirror, folder, files, upload_rate):
        self.cache = Path(folder) / f"cache-{upload_rate}"
        words = [binary, "--cache", self.cache, "--listen", f"{HERE}:{LAN}", "--peer-listen", f"{HERE}:{PEERS}",
                 "--allow", "198.18.0.0/15", "--share", "internet", "--bootstrap", "none", "--mainline", "off", "--mdns", "off",
                 "--public", mirror.base, "--allow-upstream", "198.18.0.0/15", "--upload-rate", upload_rate]
        if "--port-mapping" in subprocess.run([binary, "--help"], capture_output=True, text=True).stdout:
            words += ["--port-mapping", "off"]
        self.log = open(Path(folder) / f"log-{upload_rate}", "w+")
        self.process = subprocess.Popen([str(word) for word in words], stderr=self.log)
        until(lambda: can_connect(LAN) and can_connect(PEERS), "the proxy listens")
        for path in ("dists/stable/InRelease", "dists/stable/main/binary-amd64/Packages"):
            get(LAN, f"http://{mirror.base}/{path}")
        until(lambda: "learnt " in (Path(folder) / f"log-{upload_rate}").read_text(), "the index is learnt")
        for name, content in files.items():
            assert get(LAN, f"http://{mirror.base}/pool/main/{name}.deb") == content
            digest = hashlib.sha256(content).hexdigest()
            stored = self.cache / "files" / digest[:2] / digest
            until(lambda: stored.exists(), f"{name} is stored")
        time.sleep(6)  # until the batch is recorded, so that nothing runs beside what is measured

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def private_kb(self):
        for line in Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss_Anon:"):
                return int(line.split()[1])

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def can_connect(port):
    try:
        socket.create_connection((HERE, port)).close()
        return True
    except OSError:
        return False


def until(holds, what):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def connect(port, source=None):
    return socket.create_connection((HERE, port), source_address=(source, 0) if source else None)


def head_of(sock):
    """The head of an answer, and what came behind it."""
    text = b""
    while b"\r\n\r\n" not in text:
        more = sock.recv(65536)
        assert more, f"the answer ends within its head: {text!r}"
        text += more
    head, _, rest = text.partition(b"\r\n\r\n")
    return head.decode(), rest


def length_of(head):
    return next(int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length:"))


def ask(sock, target, buffer):
    """One request; the bytes of its answer's body."""
    sock.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, rest = head_of(sock)
    assert " 200 " in head.splitlines()[0], head
    left = length = length_of(head)
    left -= len(rest)
    while left:
        read = sock.recv_into(buffer, min(left, len(buffer)))
        assert read, "the body ends early"
        left -= read
    return length


def get(port, target):
    with connect(port) as sock:
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head, body = head_of(sock)
        assert " 200 " in head.splitlines()[0], head
        while len(body) < length_of(head):
            body += sock.recv(1 << 20)
        return body


def cpu_s(pids):
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


# ── throughput ───────────────────────────────────────────────────────────────────────────────────────────────────────

def reader(port, target, start, seconds, into):
    buffer = bytearray(1 << 20)
    with connect(port) as sock:
        ask(sock, target, buffer)
        start.wait()
        begun = time.monotonic()
        total = 0
        while time.monotonic() < begun + seconds:
            total += ask(sock, target, buffer)
        into.put(total / (time.monotonic() - begun))


def mb_s(port, target, connections, seconds, pids):
    """MB/s of so many connections, and CPU seconds a GB."""
    start, into = multiprocessing.Barrier(connections + 1), multiprocessing.Queue()
    readers = [multiprocessing.Process(target=reader, args=(port, target, start, seconds, into)) for _ in range(connections)]
    for process in readers:
        process.start()
    start.wait()
    before, begun = cpu_s(pids), time.monotonic()
    rate = sum(into.get() for _ in readers)
    used, took = cpu_s(pids) - before, time.monotonic() - begun
    for process in readers:
        process.join()
    return rate / MB, used / (rate * took / 1e9)


def throughput(args, folder):
    content = random.Random(1).randbytes(100 * MB)
    files = {"long": content}
    digest = hashlib.sha256(content).hexdigest()
    proxy = Proxy(args.binary, Mirror(files), folder, files, "unlimited")
    config = Path(folder) / "nginx.conf"
    config.write_text(
        f"user root; worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n"
        "events { worker_connections 512; }\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000; "
        f"server {{ listen {HERE}:{NGINX}; root {proxy.cache}/files; }} }}\n"
    )
    nginx = subprocess.Popen(["nginx", "-c", str(config)])
    until(lambda: can_connect(NGINX), "nginx listens")
    workers = subprocess.run(["pgrep", "-P", str(nginx.pid)], capture_output=True, text=True).stdout.split()
    print(f"{'connections':>11} {'ours MB/s':>10} {'nginx MB/s':>10} {'ratio':>6} {'ours CPU s/GB':>14} {'nginx CPU s/GB':>15}")
    for connections in (1, 8):
        ours, theirs = [], []
        for _ in range(args.rounds):
            ours.append(mb_s(PEERS, f"/~/{digest}", connections, args.seconds, [proxy.process.pid]))
            theirs.append(mb_s(NGINX, f"/{digest[:2]}/{digest}", connections, args.seconds, [nginx.pid, *workers]))
        middle = lambda rows, at: statistics.median(row[at] for row in rows)
        ratio = statistics.median(a[0] / b[0] for a, b in zip(ours, theirs))
        print(f"{connections:>11} {middle(ours, 0):>10.0f} {middle(theirs, 0):>10.0f} {ratio:>6.2f} "
              f"{middle(ours, 1):>14.3f} {middle(theirs, 1):>15.3f}", flush=True)
    nginx.terminate()
    nginx.wait()
    proxy.stop()


# ── rate ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

def rate(args, folder):
    content = random.Random(2).randbytes(100 * MB) * 3
    files = {"long": content}
    digest = hashlib.sha256(content).hexdigest()
    mirror = Mirror(files)
    print(f"{'rate':>6} {'strangers':>9} {'got / allowed':>13} {'least / fair':>12}")
    for name, allowed in (("256K", 256 << 10), ("2M", 2 << 20), ("20M", 20 << 20)):
        proxy = Proxy(args.binary, mirror, folder, files, name)
        for strangers in (1, 8):
            socks = [connect(PEERS, f"198.18.1.{n + 1}") for n in range(strangers)]
            for sock in socks:
                sock.sendall(f"GET /~/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            got, buffer = dict.fromkeys(socks, 0), bytearray(1 << 20)

            def read_until(end):
                while (left := end - time.monotonic()) > 0:
                    for sock in select.select(socks, [], [], left)[0]:
                        got[sock] += sock.recv_into(buffer)

            read_until(time.monotonic() + 1)  # the first burst
            before, begun = dict(got), time.monotonic()
            read_until(begun + 10)
            took = time.monotonic() - begun
            read = [got[sock] - before[sock] for sock in socks]
            print(f"{name:>6} {strangers:>9} {sum(read) / (allowed * took):>13.3f} {min(read) / (allowed * took / strangers):>12.2f}",
                  flush=True)
            for sock in socks:
                sock.close()
        proxy.stop()


# ── hostile ──────────────────────────────────────────────────────────────────────────────────────────────────────────

KINDS = ("half-open", "slow head", "garbage", "BitTorrent", "never reads", "range flood")


def attack(digest, count, stop, tally):
    """`count` connections, each of one kind, four from an address; reopened when they are closed. It runs on what CPU the
    others leave: elsewhere it would have its own."""
    os.nice(14)
    random.seed(3)
    begun, answers = time.monotonic(), 0
    flood = b"".join(
        b"GET /~/%s HTTP/1.1\r\nHost: x\r\nRange: bytes=%d-%d\r\n\r\n" % (digest.encode(), at, at) for at in range(100)
    )
    opened = dict.fromkeys(KINDS, 0)

    first = {
        "half-open": b"", "slow head": b"G", "garbage": random.randbytes(400),
        "BitTorrent": b"\x13BitTorrent protocol" + bytes(48),
        "never reads": b"GET /~/%s HTTP/1.1\r\nHost: x\r\n\r\n" % digest.encode(), "range flood": flood,
    }
    poll, conns = select.epoll(), {}

    def begin(n):
        kind = KINDS[n % len(KINDS)]
        sock = socket.socket()
        sock.bind((f"198.18.{2 + n // 800}.{1 + n // 4 % 200}", 0))
        sock.setblocking(False)
        sock.connect_ex((HERE, PEERS))
        conns[sock.fileno()] = (sock, kind, n)
        poll.register(sock.fileno(), select.EPOLLOUT)
        opened[kind] += 1

    def go_on(fd, is_writable):
        """One step of a connection; whether it lives."""
        nonlocal answers
        sock, kind, _ = conns[fd]
        try:
            if is_writable:
                sock.send(first[kind])
                poll.modify(fd, 0 if kind == "never reads" else select.EPOLLIN)
                return True
            answer = sock.recv(65536)
            answers += answer.count(b"HTTP/1.1 ")
            if kind == "range flood":
                sock.send(flood)
            return answer != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    for n in range(count):
        begin(n)
    again, next_again, next_slow = [], 0.0, 0.0
    while not stop.is_set():
        for fd, events in poll.poll(0.02, 256):
            if events & (select.EPOLLHUP | select.EPOLLERR) or not go_on(fd, events & select.EPOLLOUT):
                again.append(conns[fd][2])
                poll.unregister(fd)
                conns.pop(fd)[0].close()
        now = time.monotonic()
        # Each that was closed comes back, up to 200 a second: more would measure this program.
        while again and now >= next_again:
            next_again = max(next_again, now - 0.1) + 0.005
            begin(again.pop(0))
        if now >= next_slow:
            next_slow = now + 1
            for sock, kind, _ in conns.values():
                if kind == "slow head":
                    try:
                        sock.send(b"E")
                    except OSError:
                        pass
    tally.put((opened, answers / (time.monotonic() - begun)))


def latencies(sock, target, count, buffer):
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        ask(sock, target, buffer)
        times.append((time.perf_counter() - begun) * 1000)
    return times


def hostile(args, folder):
    files = {"long": random.Random(4).randbytes(100 * MB), "short": random.Random(5).randbytes(10_000)}
    mirror = Mirror(files)
    proxy = Proxy(args.binary, mirror, folder, files, "256K")
    digest = hashlib.sha256(files["long"]).hexdigest()
    short, long = (f"http://{mirror.base}/pool/main/{name}.deb" for name in ("short", "long"))
    buffer = bytearray(1 << 20)
    apt = connect(LAN)
    latencies(apt, short, 500, buffer)
    latencies(apt, long, 3, buffer)
    idle_kb = proxy.private_kb()
    rows = {"quiet": [], "attacked": []}
    most_kb = most_fds = 0
    for _ in range(args.rounds):
        for name in rows:
            stop, tally = multiprocessing.Event(), multiprocessing.Queue()
            if name == "attacked":
                attacker = multiprocessing.Process(target=attack, args=(digest, 1000, stop, tally))
                attacker.start()
                time.sleep(3)
            begun, used = time.monotonic(), cpu_s([proxy.process.pid])
            times = latencies(apt, short, 2000, buffer)
            long_ms = statistics.median(latencies(apt, long, 9, buffer))
            if name == "attacked":
                cpu = (cpu_s([proxy.process.pid]) - used) / (time.monotonic() - begun)
                most_kb, most_fds = max(most_kb, proxy.private_kb()), max(most_fds, proxy.descriptors())
                stop.set()
                opened, answered = tally.get()
                attacker.join()
                time.sleep(1)
            times.sort()
            rows[name].append((statistics.median(times), times[len(times) * 99 // 100], long_ms))
    print(f"private memory: {idle_kb} KB before, {most_kb} KB at most under attack: {(most_kb - idle_kb) / 1000:+.1f} MB; "
          f"{most_fds} descriptors")
    print(f"the last round: {sum(opened.values())} connections opened {opened}, {answered:.0f} answers a second to them; "
          f"{cpu:.2f} cores of CPU, apt's requests included")
    for at, what in enumerate(("10 KB, median", "10 KB, p99", "100 MB, median")):
        quiet, attacked = (statistics.median(row[at] for row in rows[name]) for name in rows)
        ratio = statistics.median(b[at] / a[at] for a, b in zip(rows["quiet"], rows["attacked"]))
        print(f"{what:>15}: {quiet:8.3f} ms quiet, {attacked:8.3f} ms attacked, ratio {ratio:.2f}", flush=True)
    proxy.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=["throughput", "rate", "hostile", []])
    parser.add_argument("--binary", default=str(Path(__file__).resolve().parents[1] / "target/release/apt-p2p"))
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if "SERVING_INSIDE" not in os.environ:
        os.environ["SERVING_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    for words in ("link set lo up", "addr add 198.18.0.1/15 dev lo"):
        subprocess.run(["ip", *words.split()], check=True)
    folder = tempfile.mkdtemp(prefix="apt-p2p-serving-")
    try:
        for name, run in (("throughput", throughput), ("rate", rate), ("hostile", hostile)):
            if not args.what or name in args.what:
                print(f"── {name}", flush=True)
                run(args, folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
