#!/usr/bin/env python3
"""Our nodes among other programs' nodes, on loopback: what one kind announces or puts, every kind finds.

    run.py [--each 10] [--rounds 3] [--settle 8]

10 nodes each of libtorrent (with its default restrictions), bittorrent-dht, the crate `mainline` and ours. Ours and
those that let their address be chosen are each on one of their own, 127.k.i.1. Exits with 1 if anything is not found.
"""
import argparse, hashlib, os, random, signal, sys, time
from concurrent.futures import ThreadPoolExecutor
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


def get(agent, key, value):
    return agent("get", someone(agent), target=key, timeout=8).get("v") == value.hex()


def put(agent, value, patience):
    """How many say that they store it, where the client tells. libtorrent gives up its own put where contacts are slow, and
    a second one by another of its nodes is due to it as a second look-up is; ours have one."""
    for _ in range(1 if agent.kind == "ours" else 3):
        stored = agent("put", someone(agent), v=value.hex(), timeout=patience).get("acks", "some")
        if stored:
            break
    return stored


def tell(agents, patience=20):
    """Each kind announces and puts: who did what, by which key, what looks for it, and what is to be found."""
    for kind, agent in agents.items():
        key, port = os.urandom(20).hex(), random.randrange(20000, 30000)
        # Ours announce the port that they send from.
        port = agent("announce", someone(agent), ih=key, port=port).get("port", port)
        if kind == "lt":
            # It does not say when its announcement is made, and a contact that is slow to answer holds that up for seconds.
            until = time.monotonic() + patience
            while not find(agents["ours"], key, port) and time.monotonic() < until:
                time.sleep(0.5)
        yield f"announced by {kind}", key, find, port
        value = os.urandom(900)
        stored = put(agent, value, patience)
        yield f"put by {kind}, stored by {stored}", hashlib.sha1(b"900:" + value).hexdigest(), get, value


def look(kind, agent, told):
    """How many look-ups of its own one kind needed for each, None where the last it had found nothing. Ours have one; the
    others, which are not under test, a second one by another of their nodes."""
    for what, key, search, wanted in told:
        tries = range(1, 2 if kind == "ours" else 3)
        yield what, key, next((n for n in tries if search(agent, key, wanted)), None)


def round_of(agents):
    """Tells the network, then asks all kinds at the same time, each for everything."""
    told = list(tell(agents))
    with ThreadPoolExecutor() as pool:
        answers = {kind: pool.submit(lambda *of: list(look(*of)), kind, agent, told) for kind, agent in agents.items()}
        return [(kind, *answer) for kind, future in answers.items() for answer in future.result()]


def tables_of(agent):
    return [node["table"] for node in agent("stats")["nodes"]]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--each", type=int, default=10)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--settle", type=float, default=8)
    options.add_argument("--patience", type=float, default=60)
    options = options.parse_args()
    if why := prepare():
        print(f"skipped: {why}")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    agents, misses, answers = start(options.each), [], []
    try:
        time.sleep(options.settle)
        # Of the others 2 n and, of `mainline`'s one address, one node would be there without ours.
        by = time.monotonic() + options.patience
        while time.monotonic() < by and min(tables_of(agents["lt"])) <= 2 * options.each:
            time.sleep(0.5)
        for kind, agent in agents.items():
            tables = tables_of(agent)
            print(f"{kind}: {agent.count} nodes, {min(tables)} to {max(tables)} contacts")
            if kind == "lt" and min(tables) <= 2 * options.each:
                misses.append("a node of libtorrent knows none of ours")
        for _ in range(options.rounds):
            answers += round_of(agents)
    finally:
        for agent in agents.values():
            agent.close()
    misses += [f"{what}, not found by {kind}: {key}" for kind, what, key, tries in answers if not tries]
    again = [f"{what}, found by {kind} when it asked again: {key}" for kind, what, key, tries in answers if tries == 2]
    print(f"{len(answers)} look-ups, {len(again)} of them repeated: {len(misses)} misses", *misses, *again, sep="\n")
    sys.exit(bool(misses))


main()
