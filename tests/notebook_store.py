"""Runs the tutorial notebooks and stores them as they are shipped: ``make notebooks``.

The ``.py`` files are the source. The ``.ipynb`` beside them have the outputs of a run: no widgets, which are nothing
without their kernel, no times of execution, no paths of the machine, and pictures as PNG, which every viewer shows.
"""

import base64
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.client import CellExecutionComplete

from tests.browser import find_chromium

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
SOURCES = sorted(FOLDER.glob("*.py"))
LIVE = "nbval-ignore-output"
"""The tag of cells whose output depends on the moment."""

_SVG = re.compile(r'data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)" alt="([^"]*)" width="(\d+)"')
_WIDGET = "application/vnd.jupyter.widget-view+json"


def read_source(path: Path) -> Any:
    """The notebook of a ``.py`` file, the same each time: cells are named by their number."""
    notebook = jupytext.read(path)
    for number, cell in enumerate(notebook.cells, start=1):
        cell["id"] = f"cell-{number}"
        cell["metadata"] = {"tags": tags} if (tags := cell["metadata"].get("tags")) else {}
    notebook["metadata"] = _metadata()
    notebook["nbformat"], notebook["nbformat_minor"] = 4, 5
    return notebook


def _metadata() -> Any:
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})


class _Client(NotebookClient):  # type: ignore[misc]
    """Takes what changes an output of any cell, as JupyterLab does; nbclient heeds the running cell's messages only."""

    async def _async_poll_output_msg(self, parent_msg_id: str, cell: Any, cell_index: int) -> None:
        while True:
            message = await self.kc.iopub_channel.get_msg(timeout=None)
            is_own = message["parent_header"].get("msg_id") == parent_msg_id
            if is_own or message["msg_type"] == "update_display_data":
                try:
                    self.process_message(message, cell, cell_index)
                except CellExecutionComplete:
                    return


def execute(notebook: Any, folder: str) -> Any:
    """Run all cells in a kernel whose sessions and files are in ``folder``; the first error is raised."""
    # The last picture of a dashboard comes a little after its session's end.
    notebook.cells.append(nbformat.v4.new_code_cell("import time\n\ntime.sleep(2)"))
    _Client(notebook, timeout=120, store_widget_state=False, resources={"metadata": {"path": folder}}).execute()
    notebook.cells.pop()
    return notebook


def cleaned(notebook: Any, to_png: Callable[[bytes, int], bytes]) -> Any:
    """The executed notebook as it is stored. What a cell wrote to the error stream is a fault of the notebook."""
    for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), start=1):
        cell["metadata"].pop("execution", None)
        # nbval compares a cell only if it has a number.
        cell["execution_count"] = number
        kept = []
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                raise ValueError(f"a cell wrote to its error stream:\n{cell.source}\n\n{output.text}")
            if "execution_count" in output:
                output["execution_count"] = number
            if "data" in output:
                was_widget = output["data"].pop(_WIDGET, None) is not None
                if not _shows_something(output["data"], was_widget):
                    continue
                output["metadata"] = {}
                if "text/html" in output["data"]:
                    output["data"]["text/html"] = _with_png(output["data"]["text/html"], to_png)
            kept.append(output)
        cell["outputs"] = kept
    # The kernel has told its version.
    notebook["metadata"] = _metadata()
    nbformat.validate(notebook)
    return notebook


def _shows_something(data: dict[str, Any], was_widget: bool) -> bool:
    """Whether a reader has anything of an output; the plain text of a widget is the names of its parts."""
    html = data.get("text/html", "")
    if was_widget and not html:
        return False
    return "<img" in html or bool(re.sub(r"<[^>]*>", "", html).strip()) or bool(data.get("text/plain", "").strip())


def _with_png(html: str, to_png: Callable[[bytes, int], bytes]) -> str:
    def replace(match: re.Match[str]) -> str:
        picture = base64.b64encode(to_png(base64.b64decode(match[1]), int(match[3]))).decode()
        return f'data:image/png;base64,{picture}" alt="{match[2]}" width="{match[3]}"'

    return _SVG.sub(replace, html)


class Rasteriser:
    """Draws SVG as small PNG by a browser that nobody sees."""

    def __enter__(self) -> Self:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        return self

    def __exit__(self, *_: object) -> None:
        self._browser.close()
        self._playwright.stop()

    def png(self, svg: bytes, width: int) -> bytes:
        """The picture on a ground of white, so that it can be read on a dark page too, in 64 colours."""
        from io import BytesIO

        from PIL import Image

        page = self._browser.new_page(viewport={"width": width, "height": 100}, device_scale_factor=1.25)
        source = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
        page.set_content(
            f'<body style="margin:0;background:white"><img src="{source}" width="{width}" style="display:block">'
        )
        page.wait_for_function("document.images[0].complete && document.images[0].naturalWidth > 0")
        shot = page.locator("img").screenshot()
        page.close()
        small = BytesIO()
        picture = Image.open(BytesIO(shot)).convert("RGB").quantize(64, dither=Image.Dither.NONE)
        picture.save(small, "PNG", optimize=True)
        return small.getvalue()


def store(sources: list[Path]) -> None:
    """Run each notebook and write its ``.ipynb``."""
    with Rasteriser() as rasteriser:
        for path in sources:
            started_s = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                os.environ["QFKIT_HOME"] = str(Path(folder) / "home")
                notebook = cleaned(execute(read_source(path), folder), rasteriser.png)
            target = path.with_suffix(".ipynb")
            nbformat.write(notebook, target)
            seconds, size_kb = time.monotonic() - started_s, target.stat().st_size / 1e3
            sys.stdout.write(f"{target.name}: {seconds:.1f} s, {size_kb:.0f} kB\n")


if __name__ == "__main__":
    store([path for path in SOURCES if path.name.startswith(tuple(sys.argv[1:] or ("",)))])
