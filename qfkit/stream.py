"""`qfkit stream`: each price as it comes, a line each, and what became of the connection."""

import time
from contextlib import closing

from rich.console import Console
from rich.text import Text

from qfkit.closes import PreviousCloses
from qfkit.core.events import Bar, Gap, MarketEvent
from qfkit.core.timeframes import timeframe_ns
from qfkit.feeds.base import Feed
from qfkit.following import Warnings, follow, warnings_kept
from qfkit.prices import LastPrice, PriceBook, show, show_section
from qfkit.views.health import health_section, is_counted
from qfkit.views.sections import GAIN, LABEL, LOSS
from qfkit.views.text import clean, duration, marks_for, price, time_of_day
from qfkit.watching import Interruption

__all__ = ["print_stream"]

_DAY_NS = 86_400 * 1_000_000_000
_SYMBOL_WIDTH = 10
_PATIENCE_S = 3.0


def print_stream(feed: Feed, interruption: Interruption, *, seconds: float | None, quotes: bool) -> None:
    """Print each price as it comes until the time is over, the feed ends or the user interrupts; then the health."""
    console = Console()
    closes = PreviousCloses(feed)
    if feed.name == "binance":
        # Which tells them at once; of shares they would come in the midst of the prices.
        closes.wait(_PATIENCE_S)
    closes.wait(0.0)
    show(console, clean(f"{feed.label}: times in UTC, {closes.words()}", console.encoding))
    lines = _Lines(console, feed, PriceBook(feed, closes), quotes=quotes)
    with warnings_kept() as warnings:
        try:
            with closing(follow(feed, interruption, seconds=seconds)) as batches:
                for batch in batches:
                    lines.tell_warnings(warnings)
                    lines.tell_states()
                    for event in batch:
                        lines.tell(event)
        finally:
            lines.tell_warnings(warnings)
    views = feed.view().symbols
    if is_counted(views):
        show(console, "")
        show(console, Text("feed health", style="bold cyan"))
        show_section(console, health_section(views, marks_for(console.encoding), console.encoding))


class _Lines:
    """Turns events, states and warnings into lines."""

    def __init__(self, console: Console, feed: Feed, book: PriceBook, *, quotes: bool) -> None:
        self._console = console
        self._feed = feed
        self._book = book
        self._quotes = quotes
        self._encoding = console.encoding
        self._marks = marks_for(console.encoding)
        self._width = max([_SYMBOL_WIDTH, *(len(symbol) for symbol in feed.symbols)])
        self._dates = feed.timeframe is not None and timeframe_ns(feed.timeframe) >= _DAY_NS
        self._day: int | None = None
        self._seen_transitions = 0
        self._stale: set[str] = set()
        self._was_live = False

    # -- prices --------------------------------------------------------------------------------

    def tell(self, event: MarketEvent) -> None:
        if isinstance(event, Gap):
            self._tell_gap(event)
            return
        last = self._book.take(event, quotes=self._quotes)
        if last is None:
            return
        time_ns = event.open_ns if isinstance(event, Bar) and self._dates else last.time_ns
        self._tell_day(time_ns)
        mark, style = self._marks.flat, ""
        if last.value != last.before:
            is_up = last.value > last.before
            mark, style = (self._marks.up, GAIN) if is_up else (self._marks.down, LOSS)
        note = "  last known" if last.is_stale else "  backfilled" if getattr(event, "flag", None) else ""
        kind = f"  {event.timeframe} bar" if isinstance(event, Bar) else ""
        show(
            self._console,
            Text.assemble(
                (self._time(time_ns), LABEL),
                "  ",
                (mark, style),
                f" {clean(last.symbol, self._encoding):<{self._width}} {price(last.value, last.decimals):>13}  ",
                self._change(last),
                (f"{kind}{note}", LABEL),
            ),
        )

    def _change(self, last: LastPrice) -> Text:
        style = GAIN if last.change > 0.0 else LOSS if last.change < 0.0 else ""
        return Text(f"{last.change_text:>11}  {last.percent_text:>9}", style=style)

    def _time(self, time_ns: int) -> str:
        return time_of_day(time_ns, dates=self._dates)

    def _tell_day(self, time_ns: int) -> None:
        day = time_ns // _DAY_NS
        if not self._dates and day != self._day:
            if self._day is None or day > self._day:
                show(self._console, Text(f"-- {time_of_day(time_ns, dates=True)}", style=LABEL))
            self._day = day if self._day is None else max(day, self._day)

    def _tell_gap(self, gap: Gap) -> None:
        missing = "data" if gap.missing is None else f"{gap.missing:,} trade{'' if gap.missing == 1 else 's'}"
        reason = f" ({gap.reason})" if gap.reason else ""
        span = f"{self._time(gap.start_ns)} to {self._time(gap.end_ns)}"
        self._note(gap.received_ns, f"gap: {missing} of {gap.symbol} missing from {span}{reason}", "bold red")

    # -- the connection ------------------------------------------------------------------------

    def tell_states(self) -> None:
        """What became of the feed and of each symbol since the last call."""
        if not self._feed.is_live:
            return
        for time_ns, state in list(self._feed.transitions):
            if time_ns <= self._seen_transitions:
                continue
            self._seen_transitions = time_ns
            self._tell_state(time_ns, state)
        now_ns = self._feed.now_ns()
        for key, ledger in list(self._feed.ledger.items()):
            state = ledger.state
            if state == "stale" and key not in self._stale:
                self._stale.add(key)
                silence = "" if ledger.last_s is None else f" for {duration(time.monotonic() - ledger.last_s)}"
                self._note(now_ns, f"{ledger.symbol} is stale: nothing came{silence}", "bold red")
            elif state in ("live", "backfilling") and key in self._stale:
                self._stale.discard(key)
                self._note(now_ns, f"{ledger.symbol} is live again", "green")

    def _tell_state(self, time_ns: int, state: str) -> None:
        if state == "live":
            self._note(time_ns, "live again" if self._was_live else "live", "green")
            self._was_live = True
        elif self._was_live and state != "closed":
            words = {"connecting": "connecting again", "backfilling": "fetching what was missed"}
            self._note(time_ns, words.get(state, state), "yellow")

    def tell_warnings(self, warnings: Warnings) -> None:
        for record in warnings.taken():
            self._note(int(record.created * 1e9), record.getMessage(), "yellow")

    def _note(self, time_ns: int, text: str, style: str) -> None:
        line = clean(text, self._encoding)
        show(self._console, Text.assemble((time_of_day(time_ns), LABEL), "  ", (f"-- {line}", style)))
