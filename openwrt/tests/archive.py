"""A part of the archive that this machine's apt is configured with, kept in a folder and served from there."""

import http.server
import os
import re
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path


def source_of_this_machine():
    """The archive's address and suite, as apt itself names them: the suite whose name has no ending."""
    text = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(METAKEY)",
                           "Created-By: Packages"], check=True, text=True, stdout=subprocess.PIPE).stdout
    lines = [line for line in text.splitlines()
             if line.startswith("http") and "/debian" in line and line.endswith("main/binary-amd64/Packages")]
    uri, suite, _ = min(lines, key=len).split(" ")
    return uri.rstrip("/"), suite


def sources_line(kept, uri):
    suite = (kept / "suite").read_text()
    keys = sorted(str(key) for key in Path("/usr/share/keyrings").glob("debian-archive-*.gpg") if "removed" not in key.name)
    return f"deb [signed-by={','.join(keys)}] {uri} {suite} main\n"


def fetch(url, file):
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(file.name + ".part")
        with urllib.request.urlopen(url, timeout=60) as answer:
            part.write_bytes(answer.read())
        part.rename(file)


def fetch_all(kept, names):
    """The suite's index and these packages with all that they need; nothing when they are there."""
    if (kept / "complete").exists():
        return
    uri, suite = source_of_this_machine()
    archive = kept / "mirror" / "debian"
    (kept / "suite").write_text(suite)
    dist = archive / "dists" / suite
    fetch(f"{uri}/dists/{suite}/InRelease", dist / "InRelease")
    promised = (dist / "InRelease").read_text().partition("SHA256:")[2]
    for digest, name in re.findall(r"^ ([0-9a-f]{64}) +\d+ (main/binary-amd64/Packages(?:\.xz|\.gz))$", promised, re.M):
        by_hash = f"main/binary-amd64/by-hash/SHA256/{digest}"
        fetch(f"{uri}/dists/{suite}/{by_hash}", dist / by_hash)
        if not (dist / name).exists():
            os.link(dist / by_hash, dist / name)
    for path in what_to_install(kept, uri, names):
        fetch(f"{uri}/{path}", archive / path)
    (kept / "complete").touch()


def what_to_install(kept, uri, names):
    """The paths of all packages that a machine without any would fetch."""
    folder = kept / "apt"
    for part in ["etc/sources.list.d", "etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"]:
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    (folder / "etc/sources.list").write_text(sources_line(kept, uri))
    (folder / "apt.conf").write_text(isolated(folder, "amd64"))
    environment = os.environ | {"APT_CONFIG": str(folder / "apt.conf")}
    subprocess.run(["apt-get", "-qq", "update"], env=environment, check=True)
    text = subprocess.run(["apt-get", "-qq", "install", "--print-uris", *names], env=environment, check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    return [urllib.request.unquote(found) for found in re.findall(rf"^'{re.escape(uri)}/([^']+)'", text, re.M)]


def isolated(folder, architecture):
    """apt's settings for folders of its own: nothing of the machine's is read or changed."""
    return f'''
Dir "{folder}/"; Dir::Etc "etc"; Dir::Etc::sourcelist "sources.list"; Dir::Etc::sourceparts "sources.list.d";
Dir::Etc::preferencesparts "preferences.d"; Dir::Etc::parts "apt.conf.d"; Dir::Etc::trustedparts "trusted.gpg.d";
Dir::State "state"; Dir::State::status "{folder}/status"; Dir::Cache "cache"; Acquire::Languages "none";
APT::Architecture "{architecture}"; APT::Architectures {{"{architecture}";}}; APT::Sandbox::User "";
APT::Install-Recommends "false"; Debug::NoLocking "true";
'''


BLOCK = 1 << 20


class Server(http.server.ThreadingHTTPServer):
    """Says nothing of a proxy that has no more use for an answer."""

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Mirror:
    """A folder over HTTP. What else it has, and what it does while it sends, a heir says."""

    def __init__(self, folder):
        self.folder, self.without_packages = folder, False
        self.asked, self.lock = [], threading.Lock()
        outer = self

        class Answer(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.answer(self)

            do_HEAD = do_GET

        self.server = Server(("127.0.0.1", 0), Answer)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/debian"
        self.names = {path.name: str(path.relative_to(self.folder)) for path in self.folder.rglob("*.deb")}
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def path_of(self, apts_name):
        """Where apt's copy of a package comes from: apt writes a version's colon as %3a, the archive leaves the epoch out."""
        name, version, rest = apts_name.split("_")
        return self.names[f"{name}_{version.rpartition('%3a')[2]}_{rest}"]

    def packages_asked(self):
        with self.lock:
            return sum(path.endswith(".deb") for path in self.asked)

    def answer(self, to):
        path = urllib.request.unquote(to.path).lstrip("/")
        with self.lock:
            self.asked.append(path)
        if path.endswith(".deb") and self.without_packages:
            return to.send_error(503)
        length = self.length_of(path)
        if length is None:
            return to.send_error(404)
        first, last, status = 0, length - 1, 200
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", to.headers.get("Range", "")):
            first, last, status = int(asked[1]), int(asked[2] or last), 206
        to.send_response(status)
        if status == 206:
            to.send_header("Content-Range", f"bytes {first}-{last}/{length}")
        to.send_header("Content-Length", str(last + 1 - first))
        to.send_header("Last-Modified", to.date_time_string(1_700_000_000))
        to.end_headers()
        if to.command == "HEAD":
            return None
        try:
            for piece in self.pieces(path, first, last):
                to.wfile.write(piece)
        except OSError:
            to.close_connection = True
        return None

    def length_of(self, path):
        """None of what is not there."""
        file = self.folder / path
        return file.stat().st_size if ".." not in path and file.is_file() else None

    def pieces(self, path, first, last):
        with (self.folder / path).open("rb") as opened:
            opened.seek(first)
            left = last + 1 - first
            while left > 0 and (piece := opened.read(min(left, BLOCK))):
                left -= len(piece)
                yield piece
