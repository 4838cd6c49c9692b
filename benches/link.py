"""A link to a server that passes on so many bytes a second, as a network does."""

import socket
import threading
import time
from urllib.parse import urlsplit, urlunsplit

PIECE = 1 << 14


def link(url: str, mbit: int) -> str:
    """The URL under which the server of `url` is reached through a link of `mbit` megabits a second."""
    parts = urlsplit(url)
    server = (parts.hostname, parts.port or 5432)
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, args=(listener, server, mbit * 1_000_000 / 8), daemon=True).start()
    account = parts.netloc.rpartition("@")[0]
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    return urlunsplit(parts._replace(netloc=f"{account}@{address}" if account else address))


def accept(listener: socket.socket, server: tuple[str, int], rate: float) -> None:
    while True:
        client, _ = listener.accept()
        upstream = socket.create_connection(server)
        for source, target in ((client, upstream), (upstream, client)):
            threading.Thread(target=pass_on, args=(source, target, rate), daemon=True).start()


def pass_on(source: socket.socket, target: socket.socket, rate: float) -> None:
    """Each piece arrives when all before it have, and it has taken its own time."""
    free = time.monotonic()
    try:
        while piece := source.recv(PIECE):
            free = max(free, time.monotonic()) + len(piece) / rate
            if (wait := free - time.monotonic()) > 0.001:
                time.sleep(wait)
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            end.close()
