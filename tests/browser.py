"""Chromium on a real JupyterLab or Voila: pages that a test uses as a person does.

Everything waits for what is to come, for a stated time at most, and never for a fixed while.
"""

import ast
import json
import os
import queue
import re
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from playwright.sync_api import ConsoleMessage, Locator, Page, sync_playwright

from tests.notebook_server import JupyterServer, VoilaServer

__all__ = ["Browser", "LabPage", "Pages", "VoilaPages", "WebPage", "find_chromium"]

Value = TypeVar("Value")
Server = TypeVar("Server", JupyterServer, VoilaServer)
Kind = TypeVar("Kind", "LabPage", "WebPage")

_WAIT_S = 30.0
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    # The shared memory of a container is small.
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# What the console may say, and why.
_ALLOWED = (
    # A page that is left or reloaded drops the requests it had open.
    "net::ERR_ABORTED",
    # Voila's own page fetches the icons of ipywidgets' buttons, and there is no network here.
    "https://cdn.jsdelivr.net/npm/@fortawesome/",
)
# The page's own application answers; what is drawn is asked of the document.
_HELPERS = """
window.qfkitTest = {
  panel: () => window.jupyterapp?.shell?.currentWidget,
  cells: () => qfkitTest.panel().content.widgets,
  kernel: () => qfkitTest.panel()?.sessionContext?.session?.kernel,
  isReady: () => !!qfkitTest.panel()?.content?.widgets?.length && qfkitTest.panel().context.isReady
    && qfkitTest.kernel()?.connectionStatus === "connected" && qfkitTest.kernel().status === "idle",
  isBusy: () => qfkitTest.running > 0 || qfkitTest.kernel()?.status !== "idle",
  outputs: (index) => qfkitTest.cells()[index].model.outputs?.toJSON() ?? [],
  running: 0,
  start: (command) => {
    qfkitTest.running += 1;
    jupyterapp.commands.execute(command).finally(() => { qfkitTest.running -= 1; });
  },
  runCell: (index) => {
    qfkitTest.panel().content.activeCellIndex = index;
    qfkitTest.panel().content.deselectAll();
    qfkitTest.start("notebook:run-cell");
  },
  answers: {},
  ask: (name, code, expression) => {
    const expressions = expression ? {value: expression} : {};
    const request = {code, store_history: false, user_expressions: expressions};
    const future = qfkitTest.kernel().requestExecute(request);
    future.done.then((reply) => { qfkitTest.answers[name] = reply.content; });
  },
};
"""


def find_chromium() -> str | None:
    """The system's own Chromium."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class _Thread:
    """One thread that does what it is given, in its order: Playwright's objects belong to one thread.

    The tests' own loops stay free of Playwright's, and what hangs does not keep the process from its end.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="browser", daemon=True).start()

    def do(self, work: Callable[[], Value], timeout_s: float) -> Value:
        done: Future[Value] = Future()
        self._work.put((work, done))
        return done.result(timeout_s)

    def end(self) -> None:
        self._work.put(None)

    def _serve(self) -> None:
        while (item := self._work.get()) is not None:
            work, done = item
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)


class Browser:
    """One Chromium; ``with Browser(path) as browser``."""

    def __init__(self, executable: str) -> None:
        self._executable = executable
        self._thread = _Thread()

    def __enter__(self) -> Self:
        self.do(self._launch, 60.0)
        return self

    def _launch(self) -> None:
        self._playwright = sync_playwright().start()
        self._chromium = self._playwright.chromium.launch(executable_path=self._executable, args=list(_ARGUMENTS))
        self._context = self._chromium.new_context(viewport={"width": 1200, "height": 900})
        self._context.set_default_timeout(_WAIT_S * 1000)
        self._context.add_init_script(_HELPERS)

    def __exit__(self, *error: object) -> None:
        def close() -> None:
            self._chromium.close()
            self._playwright.stop()

        self.do(close, 30.0)
        self._thread.end()

    def do(self, work: Callable[[], Value], timeout_s: float = 2 * _WAIT_S) -> Value:
        """Have something done on the browser's thread, where alone Playwright's objects may be touched."""
        return self._thread.do(work, timeout_s)

    def new_page(self) -> Page:
        return self.do(self._context.new_page)


class WebPage:
    """A page of the browser, such as one of Voila's."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.url = url
        self.console_errors: list[str] = []
        self._open()

    def _open(self) -> None:
        self._page = self.browser.new_page()
        # On the browser's thread: the listeners are tasks of its loop.
        self.do(self._listen)
        self.do(lambda page: page.goto(self.url))

    def _listen(self, page: Page) -> None:
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.console_errors.append(f"{error.name}: {error.message}"))
        # Leaving a page with unsaved changes asks.
        page.on("dialog", lambda dialog: dialog.accept())

    def _hear(self, message: ConsoleMessage) -> None:
        text = f"{message.text} ({message.location.get('url', '')})"
        if message.type == "error" and not any(allowed in text for allowed in _ALLOWED):
            self.console_errors.append(text)

    def do(self, work: Callable[[Page], Value], timeout_s: float = 2 * _WAIT_S) -> Value:
        """Anything Playwright can: ``lab.do(lambda page: page.locator(".mine button").first.click())``."""
        return self.browser.do(lambda: work(self._page), timeout_s)

    def evaluate(self, script: str, *arguments: Any) -> Any:
        """What a script gives in the page: an expression, or a function of one argument."""
        return self.do(lambda page: page.evaluate(script, *arguments))

    def wait_until(self, script: str, argument: Any = None, timeout_s: float = _WAIT_S) -> None:
        """Wait for an expression (or function) in the page to become true."""
        self.do(
            lambda page: page.wait_for_function(script, arg=argument, timeout=timeout_s * 1000, polling=50),
            timeout_s + 10.0,
        )

    def wait_for(self, selector: str, timeout_s: float = _WAIT_S) -> None:
        """Wait for something to be seen."""
        self.do(lambda page: page.locator(selector).first.wait_for(timeout=timeout_s * 1000), timeout_s + 10.0)

    def click(self, selector: str) -> None:
        self.do(lambda page: page.locator(selector).first.click())

    def text(self, selector: str) -> str:
        """The text of the first such element, as it is seen."""
        return self.do(lambda page: page.locator(selector).first.inner_text())

    def texts(self, selector: str) -> list[str]:
        return self.do(lambda page: page.locator(selector).all_inner_texts())

    def count(self, selector: str) -> int:
        return self.do(lambda page: page.locator(selector).count())

    def size(self, width: int, height: int) -> None:
        self.do(lambda page: page.set_viewport_size({"width": width, "height": height}))

    def screenshot(self, name: str, selector: str | None = None) -> bytes:
        """A PNG of the window, or of one element; also kept as NAME.png in the folder ``QFKIT_SCREENSHOTS``."""

        def take(page: Page) -> bytes:
            place: Page | Locator = page if selector is None else page.locator(selector).first
            return place.screenshot(animations="disabled")

        picture = self.do(take)
        folder = os.environ.get("QFKIT_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / f"{name}.png").write_bytes(picture)
        return picture

    def reload(self) -> None:
        self.do(lambda page: page.reload())

    def close(self) -> None:
        self.do(lambda page: page.close())


class LabPage(WebPage):
    """A notebook in JupyterLab, with a kernel of its own."""

    def __init__(self, browser: Browser, server: JupyterServer, path: str) -> None:
        self.server = server
        self.path = path
        super().__init__(browser, server.lab_url(path))

    @property
    def home(self) -> Path:
        """``QFKIT_HOME`` of the notebook's kernel."""
        return self.server.home(self.path)

    def _open(self) -> None:
        super()._open()
        self.wait_until("qfkitTest.isReady()")

    # -- running cells -------------------------------------------------------------------------

    def run_all(self, timeout_s: float = _WAIT_S, *, wait: bool = True, may_fail: bool = False) -> None:
        """Run All Cells; waits until the kernel is idle again, and fails where a cell did, unless it ``may_fail``."""
        self.evaluate("qfkitTest.start('notebook:run-all-cells')")
        if wait:
            self.wait_idle(timeout_s)
            self._check([] if may_fail else self.errors())

    def run(self, index: int, timeout_s: float = _WAIT_S, *, wait: bool = True, may_fail: bool = False) -> None:
        """Run one cell; the first is 0."""
        self.evaluate("index => qfkitTest.runCell(index)", index)
        if wait:
            self.wait_idle(timeout_s)
            self._check([] if may_fail or (error := self.error(index)) is None else [error])

    def _check(self, errors: Sequence[str]) -> None:
        if errors:
            raise AssertionError("a cell failed:\n" + "\n".join(errors))

    def wait_idle(self, timeout_s: float = _WAIT_S) -> None:
        self.wait_until("!qfkitTest.isBusy()", timeout_s=timeout_s)

    def edit(self, index: int, source: str) -> None:
        """Write another text into a cell."""
        self.evaluate(
            "([index, source]) => qfkitTest.cells()[index].model.sharedModel.setSource(source)", [index, source]
        )

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """The outputs of a cell as the notebook's format has them."""
        return self.evaluate("index => qfkitTest.outputs(index)", index)

    def output_text(self, index: int) -> str:
        """What a cell printed, gave and raised, as plain text: of a widget only its ``text/plain``."""
        parts = []
        for output in self.outputs(index):
            kind = output["output_type"]
            if kind == "stream":
                parts.append(_joined(output["text"]))
            elif kind == "error":
                parts.append(f"{output['ename']}: {output['evalue']}")
            else:
                parts.append(_joined(output["data"].get("text/plain", "")))
        return "\n".join(part.rstrip("\n") for part in parts)

    def error(self, index: int) -> str | None:
        """What a cell raised, with its traceback; None where it did not."""
        raised = [output for output in self.outputs(index) if output["output_type"] == "error"]
        return _COLOUR.sub("", "\n".join(raised[-1]["traceback"])) if raised else None

    def errors(self) -> list[str]:
        """What any cells raised."""
        return [error for index in range(self.evaluate("qfkitTest.cells().length")) if (error := self.error(index))]

    def shown_text(self, index: int) -> str:
        """The text that is drawn below a cell, widgets included."""
        return self.evaluate(
            "index => qfkitTest.cells()[index].node.querySelector('.jp-Cell-outputWrapper')?.innerText ?? ''", index
        )

    def scroll_to(self, index: int) -> None:
        """Bring a cell's output into view: what is out of sight is drawn less often."""
        script = """index => {
            const node = qfkitTest.cells()[index].node;
            (node.querySelector('.jp-OutputArea-output') ?? node).scrollIntoView({block: 'start'});
        }"""
        self.evaluate(script, index)

    # -- the kernel ----------------------------------------------------------------------------

    def execute(self, code: str, timeout_s: float = _WAIT_S, *, value: str | None = None) -> Any:
        """Run code in the kernel, in no cell; ``value`` is an expression whose value (as JSON) is given back."""
        name = os.urandom(8).hex()
        expression = f"__import__('json').dumps({value})" if value else None
        script = "([name, code, expression]) => qfkitTest.ask(name, code, expression)"
        self.evaluate(script, [name, code, expression])
        self.wait_until("name => name in qfkitTest.answers", name, timeout_s)
        reply = self.evaluate("name => qfkitTest.answers[name]", name)
        if reply["status"] != "ok":
            raise AssertionError(_COLOUR.sub("", "\n".join(reply.get("traceback", ()))) or str(reply))
        if value is None:
            return None
        answer = reply["user_expressions"]["value"]
        if answer["status"] != "ok":
            raise AssertionError(f"{value}: {answer['ename']}: {answer['evalue']}")
        return json.loads(ast.literal_eval(answer["data"]["text/plain"]))

    def value(self, expression: str, timeout_s: float = _WAIT_S) -> Any:
        """The value of an expression in the kernel, by way of JSON."""
        return self.execute("", timeout_s, value=expression)

    def interrupt(self) -> None:
        """Press the button that interrupts."""
        self.evaluate("void jupyterapp.commands.execute('notebook:interrupt-kernel')")

    def restart_kernel(self) -> None:
        """Restart the kernel, with the question that is asked first."""
        self.evaluate("qfkitTest.start('notebook:restart-kernel')")
        self.click(".jp-Dialog .jp-mod-accept")
        self.wait_until("qfkitTest.running === 0 && qfkitTest.isReady()")

    # -- the page ------------------------------------------------------------------------------

    def theme(self, name: str) -> None:
        """ "dark" or "light"."""
        full = f"JupyterLab {name.capitalize()}"
        self.evaluate("theme => void jupyterapp.commands.execute('apputils:change-theme', {theme})", full)
        self.wait_until("name => document.body.dataset.jpThemeName === name", full)

    def save(self) -> None:
        self.evaluate("jupyterapp.commands.execute('docmanager:save')")

    def reload(self) -> None:
        """Load the page again, with the notebook saved before; the kernel goes on."""
        self.save()
        super().reload()
        self.wait_until("qfkitTest.isReady()")

    def close_tab(self) -> None:
        """Save, and close the tab; the kernel goes on."""
        self.save()
        self.do(lambda page: page.close())

    def open_tab(self) -> None:
        """Come back after :meth:`close_tab`."""
        self._open()


class _Opened(Generic[Server, Kind]):
    """What a test opens; at its end it is closed, and errors that a console told of fail it."""

    def __init__(self, browser: Browser, server: Server, name: str) -> None:
        self.browser = browser
        self.server = server
        self._name = name
        self._count = 0
        self._pages: list[Kind] = []

    def _stored(self, notebook: Sequence[str | tuple[str, str]] | Path) -> str:
        self._count += 1
        name = f"{self._name}-{self._count}"
        if isinstance(notebook, Path):
            return self.server.copy(name, notebook)
        return self.server.write(name, notebook)

    def end(self) -> None:
        for page in self._pages:
            page.close()
        errors = [f"{page.url}: {error}" for page in self._pages for error in page.console_errors]
        self._pages.clear()
        if errors:
            raise AssertionError("the browser's console tells of errors:\n" + "\n".join(errors))


class Pages(_Opened[JupyterServer, LabPage]):
    """Notebooks in JupyterLab."""

    def open(self, notebook: Sequence[str | tuple[str, str]] | Path) -> LabPage:
        """Open a notebook of these cells, or a copy of a notebook's file, in the light theme; nothing has run."""
        page = LabPage(self.browser, self.server, self._stored(notebook))
        self._pages.append(page)
        page.theme("light")
        return page

    def end(self) -> None:
        paths = [page.path for page in self._pages]
        try:
            super().end()
        finally:
            for path in paths:
                self.server.shut_down(path)


class VoilaPages(_Opened[VoilaServer, WebPage]):
    """Notebooks as pages of Voila's."""

    def open(self, notebook: Sequence[str | tuple[str, str]] | Path) -> WebPage:
        """Open a notebook as a page: all its cells have run when it is there."""
        page = WebPage(self.browser, self.server.page_url(self._stored(notebook)))
        self._pages.append(page)
        return page


def _joined(text: str | Sequence[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
