"""An S3 server of its own process, and a proxy before it that counts, fails on purpose and looks on."""

import hashlib
import http.client
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SERVER = """
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""
VARIABLES = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "very-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}

AUTHORIZED = {"Authorization": "AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/s3/aws4_request"}


@contextmanager
def s3_server():
    """Run moto's server; gives its port."""
    command = [sys.executable, "-W", "ignore", "-c", SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


class Proxy(ThreadingHTTPServer):
    """Passes requests on; ``fault((method, number, path))`` names what goes wrong, with numbers by method from 1.

    ``changed((method, path))`` is called after each request that changes something, one at a time.
    """

    daemon_threads = True
    FAULTS = ("500", "slow", "dropped", "short", "lost")

    def __init__(self, port):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = port
        self.lock = threading.Lock()
        self.reset()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def reset(self):
        self.fault = lambda request: None
        self.changed = lambda request: None
        self.requests = []
        self.faults = []
        self.body_bytes, self.lost_bytes = 0, 0

    def count(self, size, lost=False):
        """Count bytes of answers to GET, apart where the answer is not whole."""
        with self.lock:
            self.lost_bytes += size * lost
            self.body_bytes += size * (not lost)

    def of(self, method):
        """Return the paths that were asked for by a method."""
        return [path for each, path in self.requests if each == method]

    def ask(self, method, path, body=None, headers=()):
        """Ask the server itself."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {**AUTHORIZED, **dict(headers)})
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def handle_error(self, request, client_address):
        """Say nothing: clients that were dropped, or killed, hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def _serve(self):
        proxy, path = self.server, urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with proxy.lock:
            proxy.requests.append((self.command, path))
            number = len(proxy.of(self.command))
        fault = proxy.fault((self.command, number, path))
        if fault:
            proxy.faults.append(fault)
        if fault == "500":
            return self._answer(500, [], b"<Error><Code>InternalError</Code><Message>no</Message></Error>")
        status, headers, content = proxy.ask(self.command, self.path, body, self.headers.items())
        if self.command in ("PUT", "POST", "DELETE"):
            with proxy.lock:
                proxy.changed((self.command, path))
        if fault == "lost":  # it was done, and nobody hears of it
            return self._hang_up()
        if fault == "short":
            return self._answer(status, headers, content[: len(content) // 2], lost=True)
        if fault == "dropped":
            self._answer(status, headers, content[: len(content) // 3], len(content), lost=True)
            return self._hang_up()
        if fault == "slow":
            half = len(content) // 2
            self._answer(status, headers, content[:half], len(content))
            self.wfile.flush()
            time.sleep(0.3)
            self.wfile.write(content[half:])
            proxy.count(len(content) - half)
            return None
        return self._answer(status, headers, content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815

    def _answer(self, status, headers, content, length=None, lost=False):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        told = {name.lower(): value for name, value in headers}.get("content-length")
        body = len(content) if length is None else length
        self.send_header("Content-Length", told if self.command == "HEAD" and told else str(body))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.command == "GET":
            self.server.count(len(content), lost)
        self.wfile.write(content)

    def _hang_up(self):
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(2)


@contextmanager
def proxied(port):
    """Run a proxy before the server at a port."""
    proxy = Proxy(port)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


def put(server, bucket, *files):
    """Put files into a bucket, by their names."""
    for file in files:
        status, _, said = server.ask("PUT", f"/{bucket}/{file.name}", file.read_bytes())
        assert status == 200, said


def listing(server, bucket, folder=""):
    """Return the MD5 of what is in a folder of a bucket, by name, and of folders within."""
    _, _, listed = server.ask("GET", f"/{bucket}?list-type=2&prefix={folder}")
    found = re.findall("<Key>(.*?)</Key>.*?<ETag>.*?([0-9a-f]{32}).*?</ETag>", listed.decode(), re.DOTALL)
    return {name.removeprefix(folder): digest for name, digest in found}


def md5(files):
    """Return what `listing` will say of these contents."""
    return {name: hashlib.md5(content).hexdigest() for name, content in files.items()}


def get(server, bucket, name):
    """Return what is in a file, or None if there is none."""
    status, _, content = server.ask("GET", f"/{bucket}/{name}")
    return content if status == 200 else None
