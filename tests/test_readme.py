"""Every snippet of the README runs: its cells one after the other, its commands for some seconds with no network."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import qfkit as qf

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = [line.split(" #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


def test_the_cells_run_in_order() -> None:
    cells: dict[str, object] = {"__name__": "readme"}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), cells)  # noqa: S102
    result, session = cells["result"], cells["session"]
    assert isinstance(result, qf.Result)
    assert isinstance(session, qf.Session)
    assert len(result.trades) > 10
    assert session.state == "stopped"
    assert session.verify()


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    made = [line.split()[1] for line in commands() if line.startswith("make ")]
    assert made == ["demo", "test"]
    for target in made:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith("qfkit ")])
def test_the_commands_run(command: str, tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(blocks("python")[0].split("result =")[0])
    arguments = shlex.split(command)[1:]
    if arguments[0] == "realtime":
        # As written it would take ten minutes, and the network.
        arguments += ["--feed", "synthetic", "-d", "0.03"]
    done = subprocess.run(
        [sys.executable, "-m", "qfkit", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
