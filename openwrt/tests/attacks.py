"""What an HTTP port of a small machine must bear, and what its answers are worth meanwhile."""

import socket
import time


def connect(port):
    # The emulator takes one connection after the other, and a client whose turn has not come tries again a second later.
    time.sleep(0.01)
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def pour(connection, chunks):
    """Sends until the other side takes no more."""
    try:
        for chunk in chunks:
            connection.sendall(chunk)
    except OSError:
        pass


def half_open(count):
    def begin(port):
        connections = [connect(port) for _ in range(count)]
        for connection in connections:
            connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        return connections
    return f"{count} requests that never end", begin


def large_head(length):
    def begin(port):
        connection = connect(port)
        pour(connection, [b"GET / HTTP/1.1\r\nX: "] + [b"a" * (1 << 16)] * (length >> 16))
        return [connection]
    return f"a head of {length >> 20} MB", begin


def huge_length(length):
    def begin(port):
        connection = connect(port)
        connection.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
        return [connection]
    return f"a body of {length} bytes", begin


def pipelined(count):
    def begin(port):
        connection = connect(port)
        connection.settimeout(0.5)
        request = b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
        # It reads no further than it answers, and we read nothing.
        pour(connection, [100 * request] * (count // 100))
        return [connection]
    return f"{count} requests in a row, no answer read", begin


def burst(count):
    def begin(port):
        connections = [connect(port) for _ in range(count)]
        for connection in connections:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        silent = 0
        for connection in connections:
            try:
                silent += connection.recv(1) == b""
            except TimeoutError:
                silent += 1
        if silent:
            raise SystemExit(f"failed: {silent} of {count} connections got no answer")
        return connections
    return f"{count} connections at once, each answered", begin


def all_of_them(port, fetch):
    """Makes each, and fetches a file meanwhile; says how that went. The last is all of them together."""
    each = [half_open(100), large_head(32 << 20), huge_length(1 << 63), pipelined(20_000), burst(64)]
    kept = []
    right = fetch()
    for name, begin in each:
        kept += begin(port)
        start = time.monotonic()
        if fetch() != right:
            raise SystemExit(f"failed: a wrong file beside {name}")
        yield f"{name}: a client beside it is served in {1000 * (time.monotonic() - start):.0f} ms"
    for connection in kept:
        connection.close()
