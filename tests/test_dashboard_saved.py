"""A dashboard in a notebook that was run without a browser, and what is left of it in files."""

import base64
import io
import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from PIL import Image

_CELLS = (
    "import qfkit as qf\n"
    "feed = qf.feeds.sample('AAPL', days_per_second=4_000)\n"
    "session = qf.paper(qf.MovingAverageCrossover(), feed, cash=100_000, name='saved').start()",
    "session",
    "import threading\n"
    "session.wait()\n"
    "import time\n"
    "from qfkit.views.dashboard.pump import pump\n"
    "while pump.count: time.sleep(0.01)\n"
    "[one.join() for one in threading.enumerate() if one.name == 'qfkit-picture']\n"
    "print(f'{session.snapshot.equity:,.2f}')",
    "session.risk_panel()",
)


def test_a_notebook_that_was_run_carries_the_last_picture_and_tables(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in _CELLS])
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    live, still = (output["data"] for output in notebook.cells[1].outputs)
    assert "application/vnd.jupyter.widget-view+json" in live
    assert "needs a running kernel" in live["text/plain"]
    equity = notebook.cells[2].outputs[0]["text"].strip()
    # It was updated when the session ended, long after its cell.
    assert "stopped" in still["text/plain"] and equity in still["text/html"]
    picture = Image.open(io.BytesIO(base64.b64decode(still["image/png"])))
    assert picture.width > picture.height
    assert "gross exposure" in notebook.cells[3].outputs[1]["data"]["text/html"]
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert 'src="data:image/png;base64,' in page and equity in re.sub(r"<script.*?</script>", "", page, flags=re.S)
