#!/usr/bin/env python3
"""A small BitTorrent DHT of libtorrent's nodes, each with an address of its own, until standard input ends.

    mainline.py ADDRESS...

Says "ready" when each knows some of the others. What they restrict by themselves stays as it is.
"""
import sys, time
import libtorrent

PORT = 6881
SECONDS_MAX = 60
CONTACTS_MIN = 3


def node(address):
    return libtorrent.session({
        "listen_interfaces": f"{address}:{PORT}",
        "dht_bootstrap_nodes": "",
        "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
        "alert_mask": libtorrent.alert.category_t.dht_notification,
    })


def contacts(session):
    session.post_dht_stats()
    for _ in range(20):
        session.wait_for_alert(50)
        for alert in session.pop_alerts():
            if isinstance(alert, libtorrent.dht_stats_alert):
                return sum(bucket["num_nodes"] for bucket in alert.routing_table)
    return 0


addresses = sys.argv[1:]
sessions = [node(address) for address in addresses]
end = time.monotonic() + SECONDS_MAX
while True:
    for session in sessions:
        for address in addresses:
            session.add_dht_node((address, PORT))
    known = [contacts(session) for session in sessions]
    if min(known) >= CONTACTS_MIN:
        break
    if time.monotonic() > end:
        sys.exit(f"the nodes of libtorrent do not find each other: they have {known} contacts")
print("ready", flush=True)
sys.stdin.read()
