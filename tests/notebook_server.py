"""A real JupyterLab and a real Voila on the loopback, with nothing of this machine's user in them."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import nbformat

__all__ = ["JupyterServer", "VoilaServer"]

_ROOT = Path(__file__).resolve().parent.parent
_START_S = 60.0
_END_S = 15.0
# Every notebook has a home of its own, also after a restart of its kernel.
_STARTUP = """
import os as _os, pathlib as _pathlib
_stem = _pathlib.Path(_os.environ.get("JPY_SESSION_NAME", "shared")).stem
_os.environ["QFKIT_HOME"] = str(_pathlib.Path(_os.environ["QFKIT_HOMES"]) / _stem)
del _os, _pathlib, _stem
"""
_SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # Whole outputs are in the page, so that they can be looked at wherever they are.
    "notebook-extension/tracker": {"windowingMode": "none"},
    "docmanager-extension/plugin": {"autosave": False},
}


class _Server:
    """A process of this class's own, its files in one folder; ends when the ``with`` block does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notebooks = folder / "notebooks"
        self.homes = folder / "homes"
        self.token = secrets.token_hex(16)
        self.port = _free_port()
        self.log = folder / f"{type(self).__name__}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def address_when_up(self) -> str:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._prepare()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.notebooks,
                env=self._environment(),
                start_new_session=True,
            )
        end_s = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end_s:
                self.__exit__()
                raise RuntimeError(f"{type(self).__name__} did not come up:\n{self.log.read_text(errors='replace')}")
            time.sleep(0.1)
        return self

    def __exit__(self, *error: object) -> None:
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(_END_S)

    def write(self, name: str, cells: Sequence[str | tuple[str, str]]) -> str:
        """Store a notebook of these code cells (or of pairs "markdown" and text); its path on the server."""
        new = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
        pairs = [("code", cell) if isinstance(cell, str) else cell for cell in cells]
        notebook = nbformat.v4.new_notebook(cells=[new[kind](text) for kind, text in pairs])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.notebooks / f"{name}.ipynb")
        return f"{name}.ipynb"

    def copy(self, name: str, source: Path) -> str:
        """Store a copy of a notebook of somebody else's."""
        shutil.copyfile(source, self.notebooks / f"{name}.ipynb")
        return f"{name}.ipynb"

    def home(self, path: str) -> Path:
        """The home of qfkit in the kernel of a notebook: its sessions' journals."""
        return self.homes / Path(path).stem

    def _prepare(self) -> None:
        settings = self.folder / "config" / "lab" / "user-settings" / "@jupyterlab"
        for name, values in _SETTINGS.items():
            file = settings / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values), encoding="utf-8")
        startup = self.folder / "ipython" / "profile_default" / "startup" / "00-home.py"
        startup.parent.mkdir(parents=True, exist_ok=True)
        startup.write_text(_STARTUP, encoding="utf-8")
        for folder in (self.notebooks, self.homes, self.folder / "runtime", self.folder / "data"):
            folder.mkdir(parents=True, exist_ok=True)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "PYTEST"))}
        return {
            **kept,
            "PYTHONPATH": str(_ROOT),
            "JUPYTER_CONFIG_DIR": str(self.folder / "config"),
            "JUPYTER_DATA_DIR": str(self.folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.folder / "runtime"),
            "JUPYTER_PLATFORM_DIRS": "0",
            "IPYTHONDIR": str(self.folder / "ipython"),
            "QFKIT_HOMES": str(self.homes),
            "QFKIT_HOME": str(self.homes / "shared"),
        }

    def _answers(self) -> bool:
        try:
            self.request("GET", self.address_when_up())
        except (URLError, OSError):
            return False
        return True

    def request(self, method: str, path: str) -> Any:
        """Ask the server; its answer where it is JSON."""
        request = Request(self.url + path, method=method, headers={"Authorization": f"token {self.token}"})
        with urlopen(request, timeout=10) as answer:
            text = answer.read()
            return json.loads(text) if "json" in answer.headers.get("Content-Type", "") and text else None


class JupyterServer(_Server):
    """``with JupyterServer(folder) as server: ... server.lab_url(server.write("mine", ["1 + 1"]))``."""

    def command(self) -> Sequence[str]:
        return [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.notebooks}",
            "--ServerApp.terminals_enabled=False",
            f"--IdentityProvider.token={self.token}",
            "--LabApp.expose_app_in_browser=True",
        ]

    def address_when_up(self) -> str:
        return "/api/status"

    def lab_url(self, path: str) -> str:
        """The page of one notebook alone."""
        return f"{self.url}/doc/tree/{quote(path)}?token={self.token}"

    def kernel_id(self, path: str) -> str:
        return next(one["kernel"]["id"] for one in self.request("GET", "/api/sessions") if one["path"] == path)

    def shut_down(self, path: str) -> None:
        """End the kernel of a notebook, as a person does in the list of running kernels."""
        for one in self.request("GET", "/api/sessions"):
            if one["path"] == path:
                self.request("DELETE", f"/api/sessions/{one['id']}")


class VoilaServer(_Server):
    """Notebooks as pages: ``server.page_url(server.write("mine", ["session"]))``."""

    def command(self) -> Sequence[str]:
        return [
            *(sys.executable, "-m", "voila", str(self.notebooks), "--no-browser"),
            f"--port={self.port}",
            "--Voila.ip=127.0.0.1",
            "--Voila.port_retries=0",
            f"--token={self.token}",
            "--show_tracebacks=True",
            # Extensions of JupyterLab's that a page of Voila's has no use for, and that fail there.
            "--VoilaConfiguration.extension_denylist=jupyterlab-jupytext",
            "--VoilaConfiguration.extension_denylist=ipyparallel-labextension",
        ]

    def address_when_up(self) -> str:
        return "/"

    def page_url(self, path: str) -> str:
        return f"{self.url}/voila/render/{quote(path)}?token={self.token}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
