"""The notebook cases: a session's dashboard in a real JupyterLab, seen by a real browser.

The feed is a server in another process at 1,000 messages a second. What the dashboard costs is the kernel's
processor time with it less that without it, by turns.
"""

import time
from contextlib import ExitStack
from importlib.util import find_spec
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.flood import SYMBOLS
from bench.harness import Bench
from bench.report import at_least, at_most
from bench.streams import server

if TYPE_CHECKING:
    from tests.browser import LabPage, Pages

__all__ = ["notebook"]

_RATE = 1_000
_WINDOW_S = 8.0
_BUSY_S = 5.0
_CHANGES_APART_MS = 60.0
_CANDLE = ".qfkit-dash .bqplot g.stick"
_HAS_CANDLES = "selector => !!document.querySelector(selector)"
_FIRST_PICTURE = """import qfkit as qf

feed = qf.feeds.SyntheticFeed(["BTCUSDT", "ETHUSDT"], duration_s=None, speed=10)
session = qf.paper(qf.MovingAverageCrossover(), feed, timeframe="1s", name="first-picture").start()
session"""
_SESSION = """import time
import qfkit as qf

class Watched(qf.MovingAverageCrossover):
    worst_ns = 0

    def on_tick(self, tick):
        Watched.worst_ns = max(Watched.worst_ns, time.time_ns() - tick.time_ns)

feed = qf.BinanceFeed({symbols!r}, quotes=False, stream_url="{url}")
session = qf.paper(Watched(), feed, timeframe="1s", name="watched").start()"""
_SHOW = "session.dashboard()"
_COMPUTE = """import numpy, pandas
Watched.worst_ns = 0
numbers = pandas.DataFrame(numpy.random.default_rng(7).normal(size=(200_000, 4)), columns=list("abcd"))
end_s = time.monotonic() + {seconds}
while time.monotonic() < end_s:
    numbers.rolling(20).mean().groupby(numbers.a.round(1)).sum().sort_values("b")"""
_LOOP = """Watched.worst_ns = 0
end_s = time.monotonic() + {seconds}
while time.monotonic() < end_s:
    sum(number * number for number in range(10_000))"""
_WATCH = """() => {
  const root = document.querySelector(".qfkit-dash");
  const seen = window.seen = {times: [], frames: 0, began: performance.now(), goesOn: true};
  let isChanged = false;
  const observer = new MutationObserver(() => { isChanged = true; seen.times.push(performance.now()); });
  observer.observe(root, {subtree: true, childList: true, attributes: true, characterData: true});
  const look = () => {
    seen.frames += isChanged;
    isChanged = false;
    if (seen.goesOn) requestAnimationFrame(look); else observer.disconnect();
  };
  requestAnimationFrame(look);
}"""
_SEEN = """apart => {
  const seen = window.seen;
  seen.goesOn = false;
  const drawings = seen.times.filter((time, place, all) => !place || time - all[place - 1] > apart).length;
  return {drawings, frames: seen.frames, seconds: (performance.now() - seen.began) / 1000};
}"""
_UNTIL_CANDLES = """async (selector) => {
  const began = performance.now();
  qfkitTest.runCell(0);
  while (!document.querySelector(selector)) {
    if (performance.now() - began > 30000) throw new Error("no candle within 30 s");
    await new Promise(requestAnimationFrame);
  }
  return (performance.now() - began) / 1000;
}"""


def notebook(bench: Bench) -> None:
    """What a dashboard costs and how soon it is there; whether a busy kernel loses anything."""
    missing = _missing()
    if missing:
        bench.add("notebook: a dashboard in a real browser", "", "", "", "", f"not run: {missing}")
        return
    from tests.browser import Browser, Pages, find_chromium
    from tests.notebook_server import JupyterServer

    executable = find_chromium()
    assert executable is not None
    with ExitStack() as stack:
        lab_server = stack.enter_context(JupyterServer(bench.folder / "jupyter"))
        browser = stack.enter_context(Browser(executable))
        pages = Pages(browser, lab_server, "bench")
        _first_picture(bench, pages)
        _watched(bench, pages)


def _missing() -> str:
    if find_spec("playwright") is None or find_spec("nbformat") is None:
        return "no playwright (pip install --group test)"
    from tests.browser import find_chromium

    return "" if find_chromium() else "no Chromium (on Debian: apt install chromium)"


def _first_picture(bench: Bench, pages: "Pages") -> None:
    found = []
    for _ in range(6 if bench.scale == 1 else 3):
        page = pages.open([_FIRST_PICTURE])
        page.size(1600, 1000)
        found.append(page.evaluate(_UNTIL_CANDLES, _CANDLE))
        page.wait_idle()
        page.execute("session.stop()")
        pages.end()
    first, again = found[0], found[1:]
    value = median(again)
    bench.details["first picture"] = found
    bench.add(
        "from `import qfkit` to the first candles in the page",
        f"{value:.2f} s ({min(again):.2f}..{max(again):.2f})",
        "",
        f"{value:.2f} s",
        "< 3 s",
        at_most(value, 3.0),
    )
    bench.notes.append(
        "First picture: a cell in a new kernel that imports qfkit, starts a session on the synthetic exchange and shows it; "
        f"until candles are drawn in Chromium. In a browser that had never shown one before it was {first:.2f} s."
    )


class _Received:
    """What came over the websockets of kernels."""

    def __init__(self, page: "LabPage") -> None:
        self.bytes = self.messages = 0
        page.do(lambda web: web.on("websocket", self._opened))

    def _opened(self, socket: Any) -> None:
        if "/channels" in socket.url:
            socket.on("framereceived", self._came)

    def _came(self, payload: str | bytes) -> None:
        self.bytes += len(payload)
        self.messages += 1


def _watched(bench: Bench, pages: "Pages") -> None:
    import psutil

    turns, window_s, rounds = (4, _WINDOW_S, 3) if bench.scale == 1 else (2, 3.0, 1)
    stream_s = int(2 * turns * (window_s + 1.0) + 2 * rounds * (_BUSY_S + 1.0) + 10.0)
    with server("bench.flood", "--count", "1") as url:
        address = f"{url}/rate={_RATE}&seconds={stream_s}&stay=1"
        busy = [cell.format(seconds=_BUSY_S) for cell in (_COMPUTE, _LOOP)]
        page = pages.open([_SESSION.format(symbols=SYMBOLS, url=address), _SHOW, *busy])
        page.size(1600, 1000)
        received = _Received(page)
        page.reload()
        kernel = psutil.Process(page.value("__import__('os').getpid()"))
        page.run(0)

        def window() -> tuple[float, float, int, int]:
            """Share of a core, seconds, bytes, messages."""
            times, began_s = kernel.cpu_times(), time.perf_counter()
            bytes_before, messages_before = received.bytes, received.messages
            page.do(lambda web: web.wait_for_timeout(window_s * 1000))
            now, seconds = kernel.cpu_times(), time.perf_counter() - began_s
            used_s = now.user + now.system - times.user - times.system
            return used_s / seconds, seconds, received.bytes - bytes_before, received.messages - messages_before

        without, shown, seen = [], [], []
        page.execute("import time; time.sleep(3)")
        for _ in range(turns):
            without.append(window())
            page.run(1)
            page.wait_until(_HAS_CANDLES, _CANDLE)
            page.scroll_to(1)
            page.evaluate(_WATCH)
            shown.append(window())
            seen.append(page.evaluate(_SEEN, _CHANGES_APART_MS))
            page.execute("session.dashboard().close()")
        page.run(1)
        page.wait_until(_HAS_CANDLES, _CANDLE)
        worst_ms: dict[str, list[float]] = {"pandas": [], "Python": []}
        meanwhile: dict[str, list[float]] = {"pandas": [], "Python": []}
        for _ in range(rounds):
            for name, cell in (("pandas", 2), ("Python", 3)):
                page.evaluate(_WATCH)
                page.run(cell)
                seen_then = page.evaluate(_SEEN, _CHANGES_APART_MS)
                meanwhile[name].append(seen_then["drawings"] / seen_then["seconds"])
                worst_ms[name].append(page.value("Watched.worst_ns") / 1e6)
        count = _RATE * stream_s
        page.execute(_WAIT_FOR_ALL.format(count=count), timeout_s=stream_s + 20.0)
        received_ids = page.execute(_COUNT, value="found", timeout_s=60.0)
        page.execute("session.stop()")
        pages.end()
    _report(bench, without, shown, seen, worst_ms, meanwhile)
    _report_ticks(bench, received_ids, count)


_WAIT_FOR_ALL = """
_end_s = time.monotonic() + {count} / 1000 + 10
while sum(one.events for one in feed.ledger.values()) < {count} and time.monotonic() < _end_s:
    time.sleep(0.1)
time.sleep(0.5)"""
_COUNT = """
from qfkit.journal.reader import JournalReader
found = {}
with JournalReader(session.journal_path) as _reader:
    for _batch in _reader.events():
        for _event in _batch:
            if type(_event) is qf.Tick:
                _number, _in_order = found.get(_event.symbol, (0, True))
                found[_event.symbol] = (_number + 1, _in_order and _event.trade_id == _number + 1)
"""


def _report(
    bench: Bench,
    without: list[tuple[float, float, int, int]],
    shown: list[tuple[float, float, int, int]],
    seen: list[dict[str, float]],
    worst_ms: dict[str, list[float]],
    meanwhile: dict[str, list[float]],
) -> None:
    bench.details["dashboard"] = {"without": without, "with": shown, "seen": seen, "worst_ms": worst_ms}
    bench.details["dashboard"]["meanwhile"] = meanwhile
    drawn = [one["drawings"] / one["seconds"] for one in seen]
    bench.add(
        "drawings of the dashboard that the page sees",
        f"{median(drawn):.1f}/s ({min(drawn):.1f}..{max(drawn):.1f})",
        "",
        f"{median(drawn):.1f}/s",
        ">= 4/s",
        at_least(median(drawn), 4.0),
    )
    more = [one[0] - other[0] for one, other in zip(shown, without, strict=True)]
    bench.add(
        f"kernel's load for the dashboard, {_RATE:,} messages/s",
        f"{median(one[0] for one in shown):.1%} of a core",
        f"without it {median(one[0] for one in without):.1%}",
        f"{median(more):+.1%} ({min(more):+.1%}..{max(more):+.1%})",
        "< 5%",
        at_most(median(more), 0.05),
    )
    rates = [one[2] / one[1] / 1e3 for one in shown]
    bench.add(
        "sent to the page for it",
        f"{median(rates):.0f} kB/s ({min(rates):.0f}..{max(rates):.0f})",
        "",
        f"{median(rates):.0f} kB/s, {median(one[3] / one[1] for one in shown):.0f} messages/s",
        "stated",
        "",
    )
    for name, rounds in worst_ms.items():
        worst = median(rounds)
        bench.add(
            f"longest way from server to strategy while a cell computes for {_BUSY_S:g} s, {name}",
            f"{worst:.0f} ms ({min(rounds):.0f}..{max(rounds):.0f})",
            "",
            f"{worst:.0f} ms",
            "< 100 ms",
            at_most(worst, 100.0),
        )
    went_on = ", ".join(f"{median(rounds):.1f}/s ({name})" for name, rounds in meanwhile.items())
    frames = median(one["frames"] / one["seconds"] for one in seen)
    bench.notes.append(
        f"Dashboard: JupyterLab and Chromium without a GPU on the same cores, {len(without)} turns of {without[0][1]:.0f} s; changes of "
        f"the page less than {_CHANGES_APART_MS:g} ms apart are one drawing ({frames:.0f} frames/s had a change). While a cell "
        f"computed the page still saw {went_on}."
    )


def _report_ticks(bench: Bench, received: dict[str, tuple[int, bool]], count: int) -> None:
    lost = count - sum(number for number, _ in received.values())
    is_in_order = all(whole for _, whole in received.values())
    bench.add(
        f"messages lost of {count:,}, cells that compute for {_BUSY_S:g} s among them",
        f"{lost}" + ("" if is_in_order else ", out of order"),
        "",
        f"{lost}",
        "0",
        "PASS" if not lost and is_in_order else "LOST",
    )
