"""Other programs' DHT nodes and ours, each kind one process that obeys JSON lines; and what it takes to have them.

The agents of libtorrent (lt), bittorrent-dht (npm) and the crate `mainline` (ml) are not part of this project: they are
found in APT_P2P_DHT_TOOLS, or beside the project, copied into target/ and built there. Everything stays on loopback.
"""
import json, os, shutil, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(os.environ.get("APT_P2P_DHT_TOOLS", ROOT.parent / "shared/tools/dht"))
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BUILT = TARGET / "dht-tools"
PYTHON = BUILT / "venv/bin/python"
PORTS = {"lt": 40000, "npm": 41000, "ml": 42000, "ours": 43000}
COMMANDS = {
    "lt": [PYTHON, BUILT / "agents/lt_agent.py"],
    "npm": ["node", BUILT / "agents/npm_agent.mjs"],
    "ml": [BUILT / "mlnode/target/release/mlnode"],
    "ours": [TARGET / "release/examples/dht_agent"],
}


def run(*command, folder=BUILT):
    subprocess.run([str(word) for word in command], cwd=folder, check=True, stdout=sys.stderr)


def has_libtorrent():
    return PYTHON.exists() and not subprocess.run([PYTHON, "-c", "import libtorrent"], capture_output=True).returncode


def prepare():
    """Builds what is missing. Under CI a failure is one; elsewhere the answer is why nothing can be tested."""
    try:
        if not TOOLS.is_dir():
            raise OSError(f"no agents of other clients at {TOOLS} (APT_P2P_DHT_TOOLS says where they are)")
        for tool in ("python3", "node", "npm", "gcc", "cargo"):
            if not shutil.which(tool):
                raise OSError(f"{tool} is not installed")
        shutil.copytree(TOOLS, BUILT, dirs_exist_ok=True, copy_function=copy_if_new)
        for folder, _, files in os.walk(BUILT):
            if "node_modules" not in folder and "venv" not in folder:
                os.chmod(folder, 0o755)
        if not has_libtorrent():
            # Debian's package does where PyPI has no wheel for this machine.
            run("python3", "-m", "venv", "--system-site-packages", BUILT / "venv")
            if not has_libtorrent():
                run(PYTHON, "-m", "pip", "install", "-q", "libtorrent")
        npm = BUILT / "npm"
        if not (npm / "node_modules/bittorrent-dht").is_dir():
            npm.mkdir(exist_ok=True)
            (npm / "package.json").write_text('{"private": true}')
            run("npm", "install", "--no-audit", "--no-fund", "bittorrent-dht", folder=npm)
        run("cargo", "build", "-q", "--release", folder=BUILT / "mlnode")
        run("gcc", "-O2", "-shared", "-fPIC", "-o", BUILT / "wan/libwan.so", BUILT / "wan/wan.c", "-ldl", "-lpthread")
        run("cargo", "build", "-q", "--release", "--example", "dht_agent", folder=ROOT)
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI"):
            sys.exit(f"under CI other clients must be there: {error}")
        return str(error)
    return None


def copy_if_new(source, target):
    if not os.path.exists(target) or os.path.getmtime(source) > os.path.getmtime(target):
        shutil.copyfile(source, target)
        os.chmod(target, 0o755)


class Agent:
    """One process with several nodes of a kind."""

    def __init__(self, kind, count, bootstrap="", ip="127.0.0.1", port=None, extra=(), env=None):
        words = [*COMMANDS[kind], "--n", count, "--base-port", port or PORTS[kind], "--ip", ip, *extra]
        words += ["--bootstrap", bootstrap] if bootstrap else []
        env = {**os.environ, "NPM_ROOT": str(BUILT / "npm"), **(env or {})}
        self.kind, self.count = kind, count
        self.process = subprocess.Popen([str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, bufsize=1, env=env)
        self.addresses = [(node["ip"], node["port"]) for node in self.read()["nodes"]]

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the agent {self.kind} ended with {self.process.wait()}")
        return json.loads(line)

    def __call__(self, op, node=0, **rest):
        self.process.stdin.write(json.dumps({"op": op, "node": node, **rest}) + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self):
        self.process.kill()
        self.process.wait()


def at(address):
    return f"{address[0]}:{address[1]}"
