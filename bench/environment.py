"""The peers' own environment: named by the user, or built once in .venv-bench."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["peers_python"]

_ROOT = Path(__file__).parent.parent
_FOLDER = _ROOT / ".venv-bench"
_REQUIREMENTS = Path(__file__).parent / "requirements-peers.txt"
_OPTIONAL = ("vectorbt-rust==1.2.0",)
_NAMED_BY = "QFKIT_BENCH_PEERS_PYTHON"


def _interpreter() -> str | None:
    """One that the peers support: nautilus_trader needs 3.12 or later."""
    if sys.version_info >= (3, 12):
        return sys.executable
    found = (shutil.which(f"python3.{minor}") for minor in (12, 13, 14))
    return next((path for path in found if path is not None and _runs(path)), None)


def _runs(python: str) -> bool:
    """A stand-in that pyenv puts in the way may not run."""
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


def peers_python() -> Path | str:
    """The interpreter of the peers' environment; in words, why there is none."""
    named = os.environ.get(_NAMED_BY)
    if named:
        return Path(named) if Path(named).is_file() else f"{_NAMED_BY}={named} is no file"
    python = _FOLDER / "bin" / "python"
    stamp = _FOLDER / "installed"
    wanted = _REQUIREMENTS.read_text(encoding="utf-8")
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    base = _interpreter()
    if base is None:
        return f"the peers need Python 3.12 or later: name an interpreter that has them with {_NAMED_BY}"
    print(f"setting up {_FOLDER.name} for the peers; the first time this takes some minutes", flush=True)
    try:
        subprocess.run([base, "-m", "venv", "--clear", str(_FOLDER)], check=True)
        install = [
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "--quiet",
            "--requirement",
            str(_REQUIREMENTS),
        ]
        subprocess.run([str(python), *install], check=True)
    except subprocess.CalledProcessError as error:
        return f"the peers could not be installed ({error}); name an interpreter that has them with {_NAMED_BY}"
    # Compiled for some systems only: what needs it says that it did not run.
    for requirement in _OPTIONAL:
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", requirement], check=False, capture_output=True)
    stamp.write_text(wanted, encoding="utf-8")
    return python
