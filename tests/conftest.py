"""Shared by all tests: the recorded data, and a home of their own for sessions."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

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
