"""Shared by all tests: the recorded data, and a home of their own for sessions."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.browser import Browser, Pages, VoilaPages
    from tests.notebook_server import JupyterServer, VoilaServer

# Where the seed of the soak is given, all chance is to be the same each time.
settings.register_profile("same", derandomize=True)
if os.environ.get("QFKIT_SOAK_SEED"):
    settings.load_profile("same")

_BESIDE = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of recorded market data; without it, where it is not required, the test is skipped and says so."""
    given = os.environ.get("QFKIT_TEST_DATA")
    folder = Path(given) if given else _BESIDE
    if folder.is_dir():
        return folder
    message = f"no recorded market data at {folder}: set QFKIT_TEST_DATA to their folder to run this test"
    if os.environ.get("QFKIT_REQUIRE_TEST_DATA"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def capture_path(data_folder: Path) -> Path:
    """346 s of Binance's combined stream for BTCUSDT: trades, best bid and ask, depth."""
    return data_folder / "binance" / "btcusdt_spot_20240808.gz"


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFKIT_HOME", str(tmp_path / "home"))


# -- a real browser ------------------------------------------------------------------------------

_NO_CHROMIUM = "no Chromium is installed (on Debian: apt install chromium), so nothing was tried in a real browser"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test that uses the browser is marked, and runs on one worker with the others: one browser at a time."""
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.xdist_group("browser"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    missed = [one for one in terminalreporter.stats.get("skipped", ()) if _NO_CHROMIUM in str(one.longrepr)]
    if missed:
        text = f"{len(missed)} TESTS DID NOT RUN: {_NO_CHROMIUM}"
        terminalreporter.write_sep("!", text, red=True, bold=True)


@pytest.fixture(scope="session")
def chromium() -> "Iterator[Browser]":
    """Debian's Chromium, one for all tests; where there is none the test says so, and fails where it is required."""
    from tests.browser import Browser, find_chromium

    executable = find_chromium()
    if executable is None:
        if os.environ.get("QFKIT_REQUIRE_BROWSER"):
            pytest.fail(_NO_CHROMIUM)
        pytest.skip(_NO_CHROMIUM)
    with Browser(executable) as browser:
        yield browser


@pytest.fixture(scope="session")
def jupyter_server(chromium: "Browser", tmp_path_factory: pytest.TempPathFactory) -> "Iterator[JupyterServer]":
    from tests.notebook_server import JupyterServer

    with JupyterServer(tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@pytest.fixture(scope="session")
def voila_server(chromium: "Browser", tmp_path_factory: pytest.TempPathFactory) -> "Iterator[VoilaServer]":
    from tests.notebook_server import VoilaServer

    with VoilaServer(tmp_path_factory.mktemp("voila")) as server:
        yield server


@pytest.fixture
def lab(chromium: "Browser", jupyter_server: "JupyterServer", request: pytest.FixtureRequest) -> "Iterator[Pages]":
    """``lab.open(cells)`` opens a notebook in JupyterLab; all are closed, and their kernels shut down, at the end."""
    from tests.browser import Pages

    pages = Pages(chromium, jupyter_server, re.sub(r"\W+", "-", request.node.name)[:60])
    yield pages
    pages.end()


@pytest.fixture
def voila(chromium: "Browser", voila_server: "VoilaServer", request: pytest.FixtureRequest) -> "Iterator[VoilaPages]":
    """``voila.open(cells)`` opens a notebook as a page of Voila's."""
    from tests.browser import VoilaPages

    pages = VoilaPages(chromium, voila_server, re.sub(r"\W+", "-", request.node.name)[:60])
    yield pages
    pages.end()
