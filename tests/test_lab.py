"""``qfkit lab``: the tutorials reach the user's folder, what is there stays, and JupyterLab opens on the first."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import pytest
from hatchling.builders.wheel import WheelBuilder

from qfkit.cli import main
from qfkit.errors import ParameterError
from qfkit.lab import FIRST, copy_tutorials, describe, tutorials

ROOT = Path(__file__).resolve().parent.parent
NAMES = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_all_tutorials_are_copied_and_can_be_opened(tmp_path: Path):
    copied = copy_tutorials(tmp_path / "deep" / "folder")
    assert list(copied.new) == NAMES and FIRST in NAMES and len(NAMES) >= 7
    for path in copied.folder.iterdir():
        nbformat.validate(nbformat.read(path, as_version=4))
    assert describe(copied) == [f"copied {len(NAMES)} notebooks to {copied.folder}"]


def test_what_a_user_changed_is_left_and_said(tmp_path: Path):
    folder = copy_tutorials(tmp_path / "mine").folder
    (folder / FIRST).write_text("mine")
    (folder / "own.ipynb").write_text("my own")
    (folder / NAMES[1]).unlink()
    again = copy_tutorials(folder)
    assert (again.new, again.kept) == ((NAMES[1],), (FIRST,))
    assert set(again.same) == set(NAMES) - {FIRST, NAMES[1]}
    assert (folder / FIRST).read_text() == "mine" and (folder / "own.ipynb").read_text() == "my own"
    text = "\n".join(describe(again))
    assert f"copied 1 notebook to {folder}" in text and FIRST in text and "--fresh" in text


def test_a_second_time_says_that_nothing_was_to_do(tmp_path: Path):
    folder = copy_tutorials(tmp_path / "mine").folder
    before = content(folder)
    (line,) = describe(copy_tutorials(folder))
    assert "of this version" in line
    assert content(folder) == before


def test_a_fresh_copy_lies_beside(tmp_path: Path):
    first = copy_tutorials(tmp_path / "mine").folder
    (first / FIRST).write_text("mine")
    second, third = (copy_tutorials(first, fresh=True) for _ in range(2))
    assert (second.folder.name, third.folder.name) == ("mine-2", "mine-3")
    assert (first / FIRST).read_text() == "mine"
    assert list(third.new) == NAMES and content(third.folder)[FIRST] == (ROOT / "notebooks" / FIRST).read_bytes()


def test_a_folder_that_cannot_be_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").write_text("")
    with pytest.raises(ParameterError, match="is a file: name a folder"):
        copy_tutorials(tmp_path / "file")
    assert main(["lab", str(tmp_path / "file" / "below"), "--no-browser"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "name another folder" in error


def test_the_help_has_examples(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["lab", "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for word in ("qfkit-notebooks", "--fresh", "--no-browser", "--port", "examples:", "qfkit lab --fresh"):
        assert word in text


def test_the_command_opens_jupyterlab_on_the_first_notebook(tmp_path: Path):
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "qfkit", "lab", "my notebooks", "--no-browser", "--port", "0", "--allow-root"]
        quiet = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
        environment = {**os.environ, **quiet, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
        lab = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        address = wait_for_address(tmp_path / "log", lab)
        place, _, token = address.partition("?token=")
        assert place.endswith(f"/lab/tree/{FIRST}")
        base = place.partition("/lab/")[0]
        with urlopen(address, timeout=30) as page:
            assert page.status == 200 and b"JupyterLab" in page.read()
        with urlopen(f"{base}/api/contents?token={token}", timeout=30) as listed:
            found = {entry["name"] for entry in json.loads(listed.read())["content"]}
        assert found == set(NAMES)
    finally:
        lab.send_signal(signal.SIGTERM)
        code = lab.wait(20)
    assert code in (0, -signal.SIGTERM)
    assert f"copied {len(NAMES)} notebooks to my notebooks" in (tmp_path / "log").read_text()


def wait_for_address(log: Path, process: subprocess.Popen[bytes]) -> str:
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s:
        found = re.search(r"http://127\.0\.0\.1:\d+/lab/\S+", log.read_text())
        if found:
            try:
                urlopen(found[0], timeout=5).close()
            except URLError:
                pass
            else:
                return found[0]
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def test_the_wheel_has_the_notebooks_and_their_stored_outputs(tmp_path: Path):
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        inside = {Path(name).name: archive.read(name) for name in archive.namelist() if "/notebooks/" in name}
        archive.extractall(tmp_path / "installed")
    assert inside == {name: (ROOT / "notebooks" / name).read_bytes() for name in NAMES}
    # Unpacked as pip would, and asked from there.
    script = "from qfkit.lab import tutorials; print(*tutorials(), sep='\\n')"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    asked = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    folder = tmp_path / "installed" / "qfkit" / "notebooks"
    assert asked.stdout.split() == [str(folder / name) for name in NAMES]


def test_a_folder_of_the_source_has_them_too():
    assert [path.name for path in tutorials()] == NAMES
