#!/usr/bin/env python3
"""Our nodes among other programs' nodes, on loopback: what one kind announces or puts, every kind finds.

    run.py [--each 10] [--rounds 3] [--settle 8]

10 nodes each of libtorrent (with its default restrictions), bittorrent-dht, the crate `mainline` and ours. Ours and
those that let their address be chosen are each on one of their own, 127.k.i.1. Exits with 1 if anything is not found.
"""
import argparse, hashlib, os, random, signal, sys, time
sys.dont_write_bytecode = True
from clients import Agent, at, prepare  # noqa: E402


def start(each):
    """The four kinds in one network: ours enter by libtorrent's first node, as all others do."""
    agents = {"lt": Agent("lt", each, ip="127.1.%d.1", extra=["--strict"])}
    entrance = at(agents["lt"].addresses[0])
    agents["npm"] = Agent("npm", each, entrance, ip="127.2.%d.1")
    # It binds to every address, so its datagrams come from 127.0.0.1.
    agents["ml"] = Agent("ml", each, entrance)
    # `mainline` 5.4 answers only transaction ids of two bytes.
    agents["ours"] = Agent("ours", each, entrance, ip="127.4.%d.1", extra=["--tx-len", 2])
    everybody = [address for agent in agents.values() for address in agent.addresses]
    for agent in agents.values():
        agent("add_nodes", addrs=everybody)
    return agents


def someone(agent):
    return random.randrange(agent.count)


def find(agent, key, port):
    """Asks once; libtorrent, whose lookups have no end, gets a longer time."""
    found = agent("get_peers", someone(agent), ih=key, timeout=8)
    return any(peer.endswith(f":{port}") for peer in found["peers"])


def round_of(agents, misses, counts):
    announced, put = [], []
    for kind, agent in agents.items():
        key, port = os.urandom(20).hex(), random.randrange(20000, 30000)
        answer = agent("announce", someone(agent), ih=key, port=port)
        # Ours announce the port that they send from.
        announced.append((kind, key, answer.get("port", port)))
        value = os.urandom(900)
        agent("put", someone(agent), v=value.hex())
        put.append((kind, value, hashlib.sha1(b"900:" + value).hexdigest()))
    # libtorrent does not say when its announcements have arrived.
    time.sleep(2)
    for by, key, port in announced:
        for kind, agent in agents.items():
            counts["announce"] += 1
            if not find(agent, key, port):
                misses.append(f"announced by {by}, not found by {kind}: {key}")
    for by, value, target in put:
        for kind, agent in agents.items():
            counts["put"] += 1
            if agent("get", someone(agent), target=target, timeout=8).get("v") != value.hex():
                misses.append(f"put by {by}, not found by {kind}: {target}")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--each", type=int, default=10)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--settle", type=float, default=8)
    options = options.parse_args()
    if why := prepare():
        print(f"skipped: {why}")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    agents, misses, counts = start(options.each), [], {"announce": 0, "put": 0}
    try:
        time.sleep(options.settle)
        for kind, agent in agents.items():
            tables = [node["table"] for node in agent("stats")["nodes"]]
            print(f"{kind}: {agent.count} nodes, {min(tables)} to {max(tables)} contacts")
            # Of the others 2 n and, of `mainline`'s one address, one node would be there without ours.
            if kind == "lt" and min(tables) <= 2 * options.each:
                misses.append("a node of libtorrent knows none of ours")
        for _ in range(options.rounds):
            round_of(agents, misses, counts)
    finally:
        for agent in agents.values():
            agent.close()
    print(f"{counts['announce']} look-ups of announcements and {counts['put']} of items: {len(misses)} misses")
    print("\n".join(misses))
    sys.exit(bool(misses))


main()
