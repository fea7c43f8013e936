#!/usr/bin/env python3
"""What caching proxies do when something goes wrong, side by side: nginx's proxy_cache, apt-cacher-ng, squid with
squid-deb-proxy's rules, and apt-p2p, as benches/rivals sets them up.

    cargo build --release && python3 benches/trouble.py [PROGRAM]

Everything is on loopback. The answers are facts, not times; the table is for docs/COMPARISON.md.
"""

import gzip
import hashlib
import http.client
import http.server
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMES = ["flipped", "portal", "kept", "large"]
SUITE = "/debian/dists/stable"
PAUSE_S = 45


def free_port():
    """apt-cacher-ng takes none above 32767."""
    for port in range(20_000, 32_000, 7):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise SystemExit("no port is free")


class Mirror:
    """An archive that can be told to go wrong."""

    def __init__(self):
        self.good, self.wrong, self.seen, self.rate = {}, {}, [], None
        packages = ""
        for name in NAMES:
            body = hashlib.shake_256(name.encode()).digest(50_000_000 if name == "large" else 200_000)
            path = f"pool/main/{name[0]}/{name}/{name}_1_amd64.deb"
            self.good[f"/debian/{path}"] = body
            packages += (f"Package: {name}\nVersion: 1\nArchitecture: amd64\nFilename: {path}\nSize: {len(body)}\n"
                         f"SHA256: {hashlib.sha256(body).hexdigest()}\n\n")
        index = gzip.compress(packages.encode())
        self.good[f"{SUITE}/main/binary-amd64/Packages.gz"] = index
        date = time.strftime("%a, %d %b %Y %H:%M:%S UTC", time.gmtime())
        self.good[f"{SUITE}/InRelease"] = (
            f"Origin: Example\nSuite: stable\nCodename: stable\nDate: {date}\nArchitectures: amd64\nComponents: main\nSHA256:\n"
            f" {hashlib.sha256(index).hexdigest()} {len(index)} main/binary-amd64/Packages.gz\n").encode()
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                path = re.sub(r"^http://[^/]*", "", self.path)
                mirror.seen.append((path, self.headers.get("Range")))
                kind, body = mirror.wrong.get(path) or ("application/octet-stream", mirror.good.get(path))
                if body is None:
                    self.send_response(404)
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                begin = 0
                asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
                if asked and int(asked[1]) < len(body):
                    begin, end = int(asked[1]), int(asked[2] or len(body) - 1) + 1
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(body)}")
                    body = body[begin:end]
                else:
                    self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Last-Modified", "Wed, 01 Jan 2025 00:00:00 GMT")
                self.end_headers()
                step = 250_000
                try:
                    for at in range(0, len(body), step):
                        self.wfile.write(body[at:at + step])
                        if mirror.rate:
                            time.sleep(step / mirror.rate)
                except OSError:
                    self.close_connection = True

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def package(self, name):
        return f"/debian/pool/main/{name[0]}/{name}/{name}_1_amd64.deb"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def nginx(folder, port, upstream, _):
    (folder / "conf").write_text(
        f"user root; worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{ worker_connections 768; }} http {{ access_log off; sendfile on;\n"
        f"client_body_temp_path {folder}/body; proxy_temp_path {folder}/temp;\n"
        f"proxy_cache_path {folder}/cache levels=1:2 keys_zone=apt:10m max_size=10g inactive=7d use_temp_path=off;\n"
        f"upstream mirror {{ server 127.0.0.1:{upstream}; keepalive 16; }}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://mirror; proxy_http_version 1.1;\n"
        "proxy_set_header Connection \"\"; proxy_set_header Host $http_host; proxy_cache apt; proxy_cache_key $uri;\n"
        "proxy_cache_valid 200 7d; proxy_cache_lock on; } } }")
    return ["nginx", "-e", f"{folder}/error.log", "-c", f"{folder}/conf"]


def acng(folder, port, *_):
    for part in ["conf", "cache", "log"]:
        (folder / part).mkdir(exist_ok=True)
    (folder / "conf/acng.conf").write_text(
        f"CacheDir: {folder}/cache\nLogDir: {folder}/log\nPort: {port}\nBindAddress: 127.0.0.1\nForeGround: 1\n"
        "AllowUserPorts: 0\nSupportDir: /usr/lib/apt-cacher-ng\n")
    return ["apt-cacher-ng", "-c", f"{folder}/conf"]


def squid(folder, port, *_):
    conf = folder / "conf"
    is_new = not conf.exists()
    conf.write_text(
        f"http_port 127.0.0.1:{port}\nmaximum_object_size 512 MB\ncache_dir aufs {folder}/spool 40000 16 256\ncache_mem 200 MB\n"
        "maximum_object_size_in_memory 10240 KB\nhttp_access allow all\nvisible_hostname localhost\npinger_enable off\n"
        "shutdown_lifetime 0 seconds\ncache_effective_user proxy\nrefresh_pattern deb$ 129600 100% 129600\n"
        "refresh_pattern InRelease$ 0 0% 0\nrefresh_pattern . 0 20% 4320\n"
        f"cache_log {folder}/cache.log\ncache_store_log none\naccess_log none\npid_filename {folder}/pid\ncoredump_dir {folder}\n")
    subprocess.run(["chown", "-R", "proxy:proxy", str(folder)], check=True)
    if is_new:
        subprocess.run(["squid", "-N", "-z", "-f", str(conf)], check=True, stderr=subprocess.DEVNULL)
    return ["squid", "-N", "-f", str(conf)]


def apt_p2p(folder, port, _, program):
    return [program, "--allow-upstream", "127.0.0.0/8", "--share", "off", "--mdns", "off", "--port-mapping", "off",
            "--listen", f"127.0.0.1:{port}", "--cache", f"{folder}/cache"]


class Proxy:
    def __init__(self, make, folder, mirror, program):
        self.make, self.folder, self.mirror, self.program = make, folder, mirror, program
        folder.mkdir()
        folder.chmod(0o755)
        self.start()

    def start(self):
        self.port = free_port()
        command = self.make(self.folder, self.port, self.mirror.port, self.program)
        (self.folder / "pid").unlink(missing_ok=True)
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                return socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"{self.make.__name__} does not start")

    def get(self, path, at_most=None):
        """The status and the bytes, or what came until it broke off."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Host": f"127.0.0.1:{self.mirror.port}", "User-Agent": "Debian APT-HTTP/1.3 (2.6.1)"}
        if path.endswith("InRelease"):
            headers["Cache-Control"] = "max-age=0"
        try:
            connection.request("GET", f"http://127.0.0.1:{self.mirror.port}{path}", headers=headers)
            response = connection.getresponse()
            return response.status, response.read(at_most)
        except http.client.IncompleteRead as cut:
            return 0, cut.partial
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


def after_repair(proxy, mirror, name, wrong):
    """A client gets what is wrong, or not; the mirror is repaired; another client asks."""
    path = mirror.package(name)
    mirror.wrong[path] = wrong
    status, body = proxy.get(path)
    whole = status == 200 and body == wrong[1]
    del mirror.wrong[path]
    again = proxy.get(path)[1] == mirror.good[path]
    return f"{'given whole' if whole else 'cut short, or refused'}; then {'the right file' if again else 'the wrong one again'}"


def judge(make, program):
    with tempfile.TemporaryDirectory() as scratch:
        mirror = Mirror()
        Path(scratch).chmod(0o755)
        proxy = Proxy(make, Path(scratch) / "proxy", mirror, program)
        for path in [f"{SUITE}/InRelease", f"{SUITE}/main/binary-amd64/Packages.gz"]:
            assert proxy.get(path)[0] == 200, f"{make.__name__}: {path}"
        # What it may learn of the index, it has learnt by then.
        time.sleep(2)
        good = mirror.good[mirror.package("flipped")]
        damaged = good[:100_000] + bytes([good[100_000] ^ 1]) + good[100_001:]
        rows = [after_repair(proxy, mirror, "flipped", ("application/octet-stream", damaged)),
                after_repair(proxy, mirror, "portal", ("text/html", b"<html><title>Log in</title></html>"))]
        rows.append(killed(proxy, mirror))
        assert proxy.get(mirror.package("kept"))[1] == mirror.good[mirror.package("kept")]
        # Who has looked at the Release a moment ago need not look again: what is asked is what is kept.
        time.sleep(PAUSE_S)
        mirror.stop()
        names = {"InRelease": f"{SUITE}/InRelease", "Packages": f"{SUITE}/main/binary-amd64/Packages.gz",
                 "a package": mirror.package("kept")}
        served = [name for name, path in names.items() if proxy.get(path) == (200, mirror.good[path])]
        rows.append("all of it" if len(served) == len(names) else ", ".join(served) or "nothing")
        proxy.end()
        return rows


def killed(proxy, mirror):
    """Killed within a download, started again, asked again: where does it go on?"""
    path = mirror.package("large")
    mirror.rate = 25_000_000
    client = threading.Thread(target=proxy.get, args=(path,))
    client.start()
    time.sleep(1)
    proxy.kill()
    client.join()
    # Who is killed may have children that hold the port, or files, for a moment.
    time.sleep(1)
    mirror.rate = None
    proxy.start()
    before = len(mirror.seen)
    right = proxy.get(path)[1] == mirror.good[path]
    ranges = [asked for at, asked in mirror.seen[before:] if at == path]
    begin = next((int(re.match(r"bytes=(\d+)", asked)[1]) for asked in ranges if asked), 0)
    return f"goes on at {begin // 1_000_000} MB" + ("" if right else ", wrongly") if begin else \
        "begins anew" + ("" if right else ", wrongly")


def main():
    program = str(Path(sys.argv[1]).resolve()) if len(sys.argv) > 1 else str(ROOT / "target/release/apt-p2p")
    makes = [nginx, acng, squid, apt_p2p]
    for make in makes[:3]:
        name = {"acng": "apt-cacher-ng"}.get(make.__name__, make.__name__)
        if not shutil.which(name):
            raise SystemExit(f"this needs {name}")
    names = ["a package with one flipped bit", "a login page in place of a package", "killed after about half of 50 MB",
             "the mirror is away; a fresh client gets"]
    columns = [judge(make, program) for make in makes]
    print("| | nginx | apt-cacher-ng | squid | apt-p2p |\n|---|---|---|---|---|")
    for name, *row in zip(names, *columns):
        print(f"| {name} | {' | '.join(row)} |")


main()
