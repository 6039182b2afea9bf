"""An object store on the loopback: moto's server with the interface of S3, and a count of what it was asked for."""

import threading
import time
from collections.abc import Iterable
from typing import Any, NamedTuple, Self
from urllib.parse import unquote

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

__all__ = ["KEY", "SECRET", "Asked", "ObjectStore"]

KEY = "AKIATESTTESTTEST"
SECRET = "the-secret-of-the-tests"


class Asked(NamedTuple):
    """A request: its method, the decoded path, and how many bytes were sent back."""

    method: str
    path: str
    bytes: int


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        pass


class ObjectStore:
    """``with ObjectStore() as store``: served at ``store.url`` until the end; ``store.asked`` is every request so far."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.delay_s = 0.0
        """How long an answer takes, as over a network."""
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._application = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._counted, threaded=True, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def parts(self) -> dict[str, int]:
        """The bytes of each object that was got, by its name."""
        found: dict[str, int] = {}
        for one in self.asked:
            if one.method == "GET" and one.path.endswith(".parquet"):
                found[one.path] = found.get(one.path, 0) + one.bytes
        return found

    def _counted(self, environment: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            time.sleep(self.delay_s)
            pieces = list(self._application(environment, start_response))
        finally:
            with self._lock:
                self._at_once -= 1
        path = unquote(environment.get("RAW_URI", environment["PATH_INFO"]).partition("?")[0])
        self.asked.append(Asked(environment["REQUEST_METHOD"], path, sum(map(len, pieces))))
        return pieces
