"""An S3 server for tests: moto's, with what moto leaves out and the tests are about.

- Signatures are checked: only requests that are signed with KEY and SECRET are served.
- A conditional put is atomic: moto looks and writes in two steps.
"""

import argparse
import hashlib
import hmac
import os
import sys
import threading
import time
import urllib.parse
import urllib.request

KEY = "metaxy-test"
SECRET = "metaxy-test-secret"
BUCKET = "metaxy-test"
PING = "/_metaxy/ping"
# Changes with the server, so that an old one that still runs isn't used.
VERSION = hashlib.sha256(open(__file__, "rb").read()).hexdigest()[:16]


def refusal(code, message):
    body = f"<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return body.encode()


def quoted(text, safe):
    return urllib.parse.quote(text, safe=safe)


def signature(environ, parts, secret):
    """The signature that the request should have (AWS Signature Version 4)."""
    scope = parts["Credential"].split("/", 1)[1]
    date, region, service, _ = scope.split("/")
    pairs = urllib.parse.parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    query = "&".join(sorted(f"{quoted(key, '-_.~')}={quoted(value, '-_.~')}" for key, value in pairs))

    def header(name):
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        return " ".join(environ.get(key, "").split())

    signed = parts["SignedHeaders"]
    headers = "".join(f"{name}:{header(name)}\n" for name in signed.split(";"))
    path = quoted(urllib.parse.unquote(environ["RAW_URI"].split("?")[0]), "/-_.~")
    payload = environ.get("HTTP_X_AMZ_CONTENT_SHA256", "")
    request = "\n".join([environ["REQUEST_METHOD"], path, query, headers, signed, payload])
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", environ.get("HTTP_X_AMZ_DATE", ""), scope, digest])
    key = f"AWS4{secret}".encode()
    for piece in (date, region, service, "aws4_request"):
        key = hmac.new(key, piece.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def check(environ):
    """Why the request is refused, or None."""
    scheme, _, rest = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme != "AWS4-HMAC-SHA256":
        return refusal("AccessDenied", "The request is not signed.")
    parts = dict(part.strip().split("=", 1) for part in rest.split(","))
    if parts["Credential"].split("/")[0] != KEY:
        return refusal("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
    if not hmac.compare_digest(signature(environ, parts, SECRET), parts["Signature"]):
        return refusal("SignatureDoesNotMatch", "The signature does not match; check your key and signing method.")
    return None


class Guard:
    """In front of moto."""

    def __init__(self, inner):
        self.inner = inner
        self.lock = threading.RLock()
        self.last = time.monotonic()

    def __call__(self, environ, start_response):
        self.last = time.monotonic()
        if environ["PATH_INFO"] == PING:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [VERSION.encode()]
        refused = check(environ)
        if refused is not None:
            # What is left of the body would be taken for the next request.
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", str(len(refused)))])
            return [refused]
        if environ["REQUEST_METHOD"] in ("PUT", "POST", "DELETE"):
            with self.lock:
                return list(self.inner(environ, start_response))
        return self.inner(environ, start_response)


def serve(idle, endpoint):
    from moto.server import DomainDispatcherApplication, create_backend_app
    from moto.s3.models import s3_backends
    from werkzeug.serving import WSGIRequestHandler, make_server

    s3_backends["123456789012"]["aws"].create_bucket(BUCKET, "us-east-1")

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, *args):
            pass

    guard = Guard(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, guard, threaded=True, request_handler=Handler)
    with open(f"{endpoint}.new", "w") as file:
        file.write(f"http://127.0.0.1:{server.server_port}\n")
    os.replace(f"{endpoint}.new", endpoint)

    def watch():
        while time.monotonic() - guard.last < idle:
            time.sleep(1)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    server.serve_forever()


def running(endpoint, wait):
    """Prints the endpoint of a server that runs; the exit code says whether one does."""
    end = time.monotonic() + wait
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            url = open(endpoint).read().strip()
            if opener.open(url + PING, timeout=5).read().decode() == VERSION:
                print(url)
                return 0
        except (OSError, ValueError):
            pass
        if time.monotonic() >= end:
            return 1
        time.sleep(0.1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", help="the file to write the endpoint to")
    parser.add_argument("--running", help="the file with the endpoint of a server that may run")
    parser.add_argument("--wait", type=float, default=0)
    parser.add_argument("--idle", type=float, default=1800)
    args = parser.parse_args()
    if args.running:
        sys.exit(running(args.running, args.wait))
    serve(args.idle, args.endpoint)
