#!/usr/bin/env python3
"""Look-up times of our DHT beside other clients, on an emulated Internet of 90 nodes of three kinds.

    wan.py [--each 30] [--ours 6] [--look-ups 150] [--others 20] [--settle 60] [--lock FILE] [--trace FILE]

Each pair of nodes has a round trip of its own between 20 and 200 ms, give or take a tenth; 2% of the datagrams are
lost. 15 nodes a process; 30 die when one kind is stopped, 45 when half of each kind is. Ours are added to the 90, and
keep to the rules for strangers' addresses but that loopback is allowed (BEP 42 says nothing of ids there).
"""
import argparse, contextlib, fcntl, itertools, os, random, signal, sys, threading, time
from pathlib import Path
sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/interop"))
from clients import Agent, BUILT, at, prepare  # noqa: E402

WAN = {"LD_PRELOAD": str(BUILT / "wan/libwan.so"), "WAN_MIN_MS": "20", "WAN_MAX_MS": "200", "WAN_LOSS": "2"}
NAMES = {"ours": "apt-p2p", "lt": "libtorrent", "npm": "bittorrent-dht", "ml": "mainline 5.4"}


class Network:
    def __init__(self, each, ours):
        self.agents = []
        entrance = ""
        for half, kind in itertools.product((0, 1), ("lt", "npm", "ml")):
            port = {"lt": 40000, "npm": 41000, "ml": 42000}[kind] + 500 * half
            ip = {"lt": f"127.{1 + 4 * half}.%d.1", "npm": f"127.{2 + 4 * half}.%d.1", "ml": "127.0.0.1"}[kind]
            agent = Agent(kind, each // 2, entrance, ip=ip, port=port, env=WAN)
            entrance = entrance or at(agent.addresses[0])
            self.agents.append(agent)
        self.agents.append(Agent("ours", ours, entrance, ip="127.4.%d.1", env=WAN, extra=["--tx-len", 2]))
        everybody = [address for agent in self.agents for address in agent.addresses]
        for agent in self.agents:
            agent("add_nodes", addrs=everybody)

    def of(self, kind):
        return [agent for agent in self.agents if agent.kind == kind]

    def announce(self, count):
        """Keys and ports, announced by each kind."""
        keys = []

        def announce_by(agent):
            for _ in range(count if agent.kind == "ours" else count // 2):
                key, port = os.urandom(20).hex(), random.randrange(20000, 30000)
                answer = agent("announce", random.randrange(agent.count), ih=key, port=port)
                keys.append((key, answer.get("port", port), agent.kind))

        together(announce_by, [(agent,) for agent in self.agents])
        return keys

    def stop(self, agents):
        for agent in agents:
            agent.process.send_signal(signal.SIGSTOP)
        return agents

    def close(self):
        for agent in self.agents:
            agent.close()


def together(call, arguments):
    threads = [threading.Thread(target=call, args=of_one) for of_one in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measure(agent, keys, count, into, lines):
    for _ in range(count):
        key, port, by = random.choice(keys)
        found = agent("get_peers", random.randrange(agent.count), ih=key, timeout=10, traced=True)
        into["first"].append(found["first_ms"])
        into.setdefault(f"by {by}", []).append(found["first_ms"])
        if not any(peer.endswith(f":{port}") for peer in found["peers"]):
            into["missed"].append(by)
        lines.append((f"peers of {NAMES[by]}", key, found))
        # libtorrent never says that nobody has it.
        if agent.kind != "lt":
            key = os.urandom(20).hex()
            nobody = agent("get_peers", random.randrange(agent.count), ih=key, timeout=10, traced=True)
            into["nobody"].append(nobody["done_ms"])
            into["queries"].append(nobody.get("queries"))
            lines.append(("nobody", key, nobody))


def phase(network, name, keys, options, stopped, traces):
    """All kinds at once, each agent one look-up after the other."""
    results, arguments = {}, []
    for agent in network.agents:
        if agent not in stopped:
            into = results.setdefault(agent.kind, {"first": [], "nobody": [], "queries": [], "missed": []})
            count = options.look_ups if agent.kind == "ours" else options.others
            lines = traces if agent.kind == "ours" else []
            arguments.append((agent, keys, count, into, lines))
    with locked(options.lock):
        together(measure, arguments)
    for kind in NAMES:
        if kind in results:
            into = results[kind]
            print(f"| {name} | {NAMES[kind]} | {span(into['first'])} | {span(into['nobody'])} "
                  f"| {missed(into)} | {mean(into['queries'])} |", flush=True)
    own = results["ours"]
    print("|  | apt-p2p, by who announced | " + "; ".join(
        f"{NAMES[kind]} {span(own[f'by {kind}'])}" for kind in NAMES if f"by {kind}" in own) + " | | | |", flush=True)


@contextlib.contextmanager
def locked(path):
    """Keeps other measurements on this machine out."""
    if not path:
        yield
        return
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def span(times):
    times = sorted(time for time in times if time is not None)
    if not times:
        return "no signal"
    part = lambda share: times[min(len(times) - 1, int(share * len(times)))]
    return f"{part(.5):.0f} / {part(.99):.0f}"


def missed(into):
    by = sorted(f"{into['missed'].count(kind)} of {NAMES[kind]}'s" for kind in set(into["missed"]))
    return f"{len(into['missed'])} of {len(into['first'])}" + (f" ({', '.join(by)})" if by else "")


def mean(counts):
    counts = [count for count in counts if count is not None]
    return f"{sum(counts) / len(counts):.1f}" if counts else ""


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--each", type=int, default=30)
    options.add_argument("--ours", type=int, default=6)
    options.add_argument("--look-ups", type=int, default=150)
    options.add_argument("--others", type=int, default=20)
    options.add_argument("--settle", type=float, default=60)
    options.add_argument("--keys", type=int, default=10)
    options.add_argument("--lock", default="")
    options.add_argument("--trace", default="")
    options = options.parse_args()
    if why := prepare():
        sys.exit(f"cannot measure: {why}")
    # Stopped agents must not outlive this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    network, traces = Network(options.each, options.ours), []
    try:
        time.sleep(options.settle)
        keys = network.announce(options.keys)
        time.sleep(5)
        for agent in network.agents:
            tables = [node["table"] for node in agent("stats")["nodes"]]
            print(f"{NAMES[agent.kind]}: {agent.count} nodes, {min(tables)} to {max(tables)} contacts", flush=True)
        print("\n| | | first peer, p50 / p99 ms | nobody has it, p50 / p99 ms | announced and not found | queries |")
        print("|---|---|---|---|---|---|")
        phase(network, "all alive", keys, options, [], traces)
        stopped = network.stop(network.of("npm"))
        phase(network, "30 dead", keys, options, stopped, traces)
        for agent in stopped:
            agent.process.send_signal(signal.SIGCONT)
        time.sleep(options.settle / 3)
        # They answer now what they were asked while they were stopped: such round trips are not to be learnt from.
        for agent in network.of("ours"):
            measure(agent, keys, 60, {"first": [], "nobody": [], "queries": [], "missed": []}, [])
        stopped = network.stop([network.of(kind)[1] for kind in ("lt", "npm", "ml")])
        phase(network, "45 silent", keys, options, stopped, traces)
    finally:
        network.close()
    if options.trace:
        with open(options.trace, "w") as file:
            for what, key, found in traces:
                print(what, key, found["first_ms"], found["done_ms"], file=file)
                print("".join(f"  {hop}\n" for hop in found["hops"]), end="", file=file)
    rtts = sorted(int(hop.split()[-4]) for _, _, found in traces for hop in found["hops"] if " answered " in hop)
    print("\nround trips as we see them, ms: " + ", ".join(
        f"p{share} {rtts[len(rtts) * share // 100]}" for share in (1, 10, 50, 90, 99)))


main()
