"""An S3 server for tests: moto's, with what moto leaves out and the tests are about.

- Signatures are checked: only requests that are signed with KEY and SECRET are served.
- A conditional put is atomic: moto looks and writes in two steps.
"""

import hashlib
import hmac
import os
import pathlib
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from local_server import PING, announce, main, stop_when, version  # noqa: E402

KEY = "metaxy-test"
SECRET = "metaxy-test-secret"
BUCKET = "metaxy-test"
VERSION = version(__file__)


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
    announce(endpoint, server.server_port)
    stop_when(lambda: time.monotonic() - guard.last >= idle, lambda: os._exit(0))
    server.serve_forever()


if __name__ == "__main__":
    main(__doc__, serve, VERSION)
