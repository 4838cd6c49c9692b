"""What servers for tests have in common: how they are asked whether they run, where they say so, and when they end."""

import argparse
import hashlib
import os
import sys
import threading
import time
import urllib.request

# The request that is answered with the server's version.
PING = "/_metaxy/ping"


def version(file):
    """Changes with the server, so that an old one that still runs isn't used."""
    digest = hashlib.sha256()
    for part in (file, __file__):
        with open(part, "rb") as source:
            digest.update(source.read())
    return digest.hexdigest()[:16]


def announce(endpoint, port):
    """Says in a file where the server is; nobody finds half of it there."""
    with open(f"{endpoint}.new", "w") as file:
        file.write(f"http://127.0.0.1:{port}\n")
    os.replace(f"{endpoint}.new", endpoint)


def stop_when(is_over, stop):
    """Stops the server once it is over, which is looked at each second."""

    def watch():
        while not is_over():
            time.sleep(1)
        stop()

    threading.Thread(target=watch, daemon=True).start()


def running(endpoint, wait, wanted):
    """Prints the endpoint of a server of this version that runs; the exit code says whether one does."""
    end = time.monotonic() + wait
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            url = open(endpoint).read().strip()
            if opener.open(url + PING, timeout=5).read().decode() == wanted:
                print(url)
                return 0
        except (OSError, ValueError):
            pass
        if time.monotonic() >= end:
            return 1
        time.sleep(0.1)


def main(doc, serve, wanted):
    """Serves, or says whether a server of this version does."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--endpoint", help="the file to write the endpoint to")
    parser.add_argument("--running", help="the file with the endpoint of a server that may run")
    parser.add_argument("--wait", type=float, default=0)
    parser.add_argument("--idle", type=float, default=1800)
    args = parser.parse_args()
    if args.running:
        sys.exit(running(args.running, args.wait, wanted))
    serve(args.idle, args.endpoint)
