"""A webhook's receiver on the loopback that answers, refuses, hangs or drips, as a test says."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Receiver", "receiver"]


class Receiver(ThreadingHTTPServer):
    """``answers`` are the statuses to come, then ``status`` for ever; ``got`` holds the path, headers and body of each."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[tuple[str, dict[str, str], Any]] = []
        self.times_s: list[float] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.status = 200
        self.hangs = False
        self.drips = False
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hooks/T0PSECRET?key=ALS0SECRET"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        server = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.got.append((self.path, dict(self.headers), json.loads(body)))
        server.times_s.append(time.monotonic())
        if server.hangs:
            server.released.wait(60)
            return
        if server.drips:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not server.released.wait(0.05):
                self.wfile.write(b"X-Slow: 1\r\n")
            return
        status, headers = server.answers.pop(0) if server.answers else (server.status, {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
