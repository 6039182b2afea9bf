"""The tutorials: their stored outputs are what a run gives, and can be read by anybody without a kernel."""

import base64
import html as markup
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

import nbformat
import psutil
import pytest
from nbconvert import HTMLExporter
from PIL import Image

from tests.notebook_server import VoilaServer
from tests.notebook_store import FOLDER, LIVE, SOURCES, execute, read_source
from tests.test_readme import exchange

ROOT = FOLDER.parent
NAMES = [path.stem for path in SOURCES]
TUTORIALS = [
    "01_quick_start",
    "02_streaming_data",
    "03_writing_a_strategy_live",
    "04_real_time_trading",
    "05_risk_and_costs",
    "06_why_did_it_trade",
    "07_machine_learning",
    "08_research_at_scale",
]
WITH_PICTURES = [
    "01_quick_start",
    "02_streaming_data",
    "04_real_time_trading",
    "05_risk_and_costs",
    "07_machine_learning",
    "08_research_at_scale",
]
MOST_WORK_S = 30.0
MOST_WAIT_S = 200.0
MOST_BYTES = 1_000_000_000
MOST_STORED_BYTES = 300_000
_LOOK_S = 0.1


def stored(name: str):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def outputs(notebook) -> list:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def html_of(notebook) -> str:
    return "\n".join(output.get("data", {}).get("text/html", "") for output in outputs(notebook))


# -- they run ------------------------------------------------------------------------------------


def kernel_use(parent: int) -> tuple[int, float]:
    """Memory in bytes and processor time in seconds of the kernel below a process; zeros while there is none."""
    used, worked_s = 0, 0.0
    with suppress(psutil.Error):
        for process in psutil.Process(parent).children(recursive=True):
            with suppress(psutil.Error):
                if any("ipykernel" in part for part in process.cmdline()):
                    used += process.memory_info().rss
                    worked_s += sum(process.cpu_times()[:2])
    return used, worked_s


@pytest.mark.timeout(MOST_WAIT_S + 20.0)
@pytest.mark.parametrize("name", NAMES)
def test_a_run_from_top_to_bottom_gives_the_stored_outputs(name: str, tmp_path: Path, record_property):
    (tmp_path / f"{name}.ipynb").write_bytes((FOLDER / f"{name}.ipynb").read_bytes())
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "sanitise.cfg").write_text(
        "[pictures]\nregex: data:image/[a-z+]+;base64,[A-Za-z0-9+/=]+\nreplace: PICTURE\n"
    )
    command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "-p", "nbval.plugin", "-p", "no:cacheprovider", "-q"]
    command += ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", "sanitise.cfg", f"{name}.ipynb"]
    # A proxy that does not exist: whoever wants the network fails.
    offline = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {**os.environ, **offline, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    began_s, most_bytes, most_work_s = time.monotonic(), 0, 0.0
    with (tmp_path / "log").open("w") as log:
        run = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT)
        while run.poll() is None and time.monotonic() - began_s < MOST_WAIT_S:
            used, worked_s = kernel_use(run.pid)
            most_bytes, most_work_s = max(most_bytes, used), max(most_work_s, worked_s)
            time.sleep(_LOOK_S)
        run.kill()
    took_s, told = time.monotonic() - began_s, (tmp_path / "log").read_text()
    record_property("seconds", round(took_s, 1))
    record_property("peak_megabytes", round(most_bytes / 1e6))
    print(f"{name}: {took_s:.1f} s, kernel {most_work_s:.1f} s of a core and at most {most_bytes / 1e6:.0f} MB")
    assert run.wait() == 0, told
    cells = sum(cell.cell_type == "code" for cell in stored(name).cells)
    assert re.search(rf"^{cells} passed", told, re.MULTILINE), told
    # Under a minute where nothing else runs: the streams take their time, and beside them there is little to do.
    assert 0.0 < most_work_s < MOST_WORK_S
    # Binder gives 2 GB to the kernel, the server and the page together.
    assert 0 < most_bytes < MOST_BYTES


def test_the_tutorials_of_the_plan_are_there():
    assert [name for name in NAMES if name[0].isdigit()] == TUTORIALS


# -- as they are stored --------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_source_and_notebook_agree(name: str):
    kept, made = stored(name), read_source(FOLDER / f"{name}.py")
    assert [(cell.cell_type, cell.source, cell.metadata.get("tags")) for cell in kept.cells] == [
        (cell.cell_type, cell.source, cell.metadata.get("tags")) for cell in made.cells
    ], "the .py was changed: make notebooks"
    assert [cell.id for cell in kept.cells] == [cell.id for cell in made.cells]
    assert kept.metadata == made.metadata


def test_there_is_no_notebook_without_a_source():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES
    assert {path.suffix for path in FOLDER.iterdir()} <= {".py", ".ipynb", ""}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_stored_is_clean_and_small(name: str):
    path = FOLDER / f"{name}.ipynb"
    text, notebook = path.read_text(), stored(name)
    assert path.stat().st_size < MOST_STORED_BYTES
    assert "widgets" not in notebook.metadata and "application/vnd.jupyter" not in text
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
        assert set(cell.metadata.get("tags", ())) <= {LIVE}
    for output in outputs(notebook):
        assert output.output_type in ("stream", "execute_result", "display_data")
        assert output.get("name", "stdout") == "stdout"
        shown = str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", ""))
        # Neither of this machine nor of this run.
        assert not re.search(r"(/home/|/root/|/tmp|/work/|/Users/|[A-Z]:\\|0x[0-9a-f]{6,})", shown)
    for made in re.findall(
        r"(/home/\S+|/root/\S+|/tmp/\S+|/work/\S+)", re.sub(r"base64,[^\"]+", "", html_of(notebook))
    ):
        raise AssertionError(f"a path of the machine: {made}")


@pytest.mark.parametrize("name", WITH_PICTURES)
def test_the_pictures_are_seen_where_style_sheets_and_inline_svg_are_stripped(name: str):
    page = html_of(stored(name))
    assert "<svg" not in page and "image/svg" not in page
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]+)" width="(\d+)"', page)
    assert pictures and page.count("<img") == len(pictures)
    for data, words, width in pictures:
        picture = Image.open(BytesIO(base64.b64decode(data)))
        assert picture.width >= int(width) >= 600 and len(words) > 20
        # Something is drawn on it.
        assert len(picture.convert("RGBA").getcolors(1 << 20)) > 5


@pytest.mark.parametrize("name", NAMES)
def test_as_a_page_it_needs_no_script(name: str):
    notebook = stored(name)
    page, _ = HTMLExporter(template_name="lab").from_notebook_node(notebook)
    body = re.sub(r"<(script|style)\b.*?</\1>", "", page.partition("<body")[2], flags=re.DOTALL)
    assert "jupyter-widgets" not in body
    text = markup.unescape(re.sub(r"<[^>]+>", " ", body))
    for output in outputs(notebook):
        data = output.get("data", {})
        if "text/html" in data:
            assert "<script" not in data["text/html"]
            for cell in re.findall(r"<t[dh][^>]*>([^<]+)</t[dh]>", data["text/html"]):
                assert " ".join(markup.unescape(cell).split()) in " ".join(text.split())
        elif "text/plain" in data:
            assert data["text/plain"].split()[0] in text
    assert len(re.findall(r'<img[^>]+src="data:image/png', body)) == html_of(notebook).count("<img")


# -- live, by changing one line ------------------------------------------------------------------


def made_live(source: str) -> tuple[str, int]:
    """The source with each live line in the place of the offline one above it, and how many there were."""
    offline = r"^( *)((?:feed = |return )qf\.feeds\.(?:SyntheticFeed|sample)\(.*\))\n"
    live = r"( *)# ((?:feed = |return )qf\.feeds\.\w+\(.*\))(?:  # .*)?$"
    return re.subn(offline + live, r"\1# \2\n\3\4", source, flags=re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_one_line_makes_it_live(name: str):
    source = (FOLDER / f"{name}.py").read_text()
    live, lines = made_live(source)
    assert lines == 1
    assert re.findall(r"^ *(?:feed = |return )qf\.feeds\.(\w+)\(", live, re.MULTILINE) == ["BinanceFeed"]
    # The same line is the only one that speaks of an offline source.
    assert len(re.findall(r"^(?!#).*(?:SyntheticFeed|feeds\.sample)\(", source, re.MULTILINE)) == 1


@pytest.mark.parametrize("name", ["04_real_time_trading"])
def test_it_runs_on_a_live_exchange_as_it_is_written(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source, _ = made_live((FOLDER / f"{name}.py").read_text())
    copy = tmp_path / f"{name}.py"
    copy.write_text(source)
    with exchange(("BTCUSDT", "ETHUSDT", "SOLUSDT")) as server:
        monkeypatch.setenv("QFKIT_BINANCE_STREAM_URL", server.url)
        monkeypatch.setenv("QFKIT_BINANCE_REST_URL", server.rest_url)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        notebook = execute(read_source(copy), str(tmp_path))
    told = "\n".join(output.text for output in outputs(notebook) if output.output_type == "stream")
    (events,) = re.findall(r"^equal: ([\d,]+) events", told, re.MULTILINE)
    assert int(events.replace(",", "")) > 100


# -- as a web page -------------------------------------------------------------------------------


def test_voila_makes_a_living_page_of_the_dashboard(tmp_path: Path):
    with VoilaServer(tmp_path) as server:
        path = server.copy("dashboard_page", FOLDER / "dashboard_page.ipynb")
        with urlopen(server.page_url(path), timeout=60) as answer:
            page = answer.read().decode()
        assert answer.status == 200
    assert "A paper-trading session, live" in page
    # The widgets are there for the page's script to draw, and the code is not.
    assert "application/vnd.jupyter.widget-view+json" in page
    assert "SyntheticFeed" not in page and "Traceback" not in page
    # Nothing in it waits: the page is sent as soon as the session has begun.
    source = (FOLDER / "dashboard_page.py").read_text()
    assert ".wait(" not in source and ".stop(" not in source
