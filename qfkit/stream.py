"""Prices as they come, a line each, in the terminal; the last of them as a table."""

import time
from collections.abc import Callable
from contextlib import aclosing

from rich.console import Console
from rich.table import Table

from qfkit.core.events import Bar, Gap, MarketEvent, Quote, Tick
from qfkit.feeds.base import Feed
from qfkit.live.runner import runner
from qfkit.views.text import clean, duration, marks_for, price, price_decimals, signed_percent, time_of_day
from qfkit.watch import Interruption, say

__all__ = ["print_prices", "print_stream"]

_LOOK_S = 0.1
_AFTER_LATE_S = 60.0


class _Prices:
    """The first and the last price of each symbol."""

    def __init__(self, encoding: str) -> None:
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.times_ns: dict[str, int] = {}
        self.stale: set[str] = set()
        self.sources: dict[str, str] = {}
        self._decimals: dict[str, int] = {}
        self._encoding = encoding
        self._marks = marks_for(encoding)

    def take(self, event: MarketEvent, *, quotes: bool) -> str | None:
        """The line of an event; None for one that is not shown."""
        if type(event) is Gap:
            missing = "" if event.missing is None else f"{event.missing:,} missing: "
            reason = clean(event.reason, self._encoding)
            return f"{time_of_day(event.time_ns)}  gap  {clean(event.symbol, self._encoding)}  {missing}{reason}"
        if type(event) is Tick:
            value = event.price
        elif type(event) is Bar:
            value = event.close
        elif type(event) is Quote and quotes:
            value = (event.bid + event.ask) / 2.0
        else:
            return None
        return self._line(event.symbol, value, event.time_ns, getattr(event, "flag", None) == "stale", event.source)

    def _line(self, symbol: str, value: float, time_ns: int, is_stale: bool, source: str | None) -> str:
        first, before = self.first.setdefault(symbol, value), self.last.get(symbol, value)
        self.last[symbol], self.times_ns[symbol] = value, time_ns
        self.sources[symbol] = source or ""
        (self.stale.add if is_stale else self.stale.discard)(symbol)
        decimals = self._decimals[symbol] = max(self._decimals.get(symbol, 0), price_decimals([value]))
        mark = self._marks.up if value > before else self._marks.down if value < before else self._marks.flat
        change = f"{value - first:+,.{decimals}f}"
        note = "  (last known price)" if is_stale else ""
        return (
            f"{time_of_day(time_ns)}  {mark} {clean(symbol, self._encoding):<10} {price(value, decimals):>14}  "
            f"{change:>12}  {signed_percent(value / first - 1.0):>9}{note}"
        )

    def table(self, symbols: tuple[str, ...]) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name, side in (("symbol", "left"), ("price", "right"), ("change", "right"), ("", "right")):
            table.add_column(name, justify=side)  # type: ignore[arg-type]
        table.add_column("time (UTC)")
        table.add_column("age", justify="right")
        for symbol in symbols:
            value = self.last.get(symbol)
            name = clean(symbol, self._encoding)
            if value is None:
                table.add_row(name, "-", "-", "-", "no price came", "")
                continue
            first, decimals = self.first[symbol], self._decimals[symbol]
            age_s = max(0.0, time.time() - self.times_ns[symbol] / 1e9)
            old = " stale" if symbol in self.stale or age_s > _AFTER_LATE_S else ""
            table.add_row(
                name,
                price(value, decimals),
                f"{value - first:+,.{decimals}f}",
                signed_percent(value / first - 1.0),
                time_of_day(self.times_ns[symbol], dates=age_s > 86_400.0),
                f"{duration(age_s)}{old}",
            )
        return table


def print_stream(feed: Feed, interruption: Interruption, *, seconds: float | None, quotes: bool) -> None:
    """Print each price as it comes until the time is over, the feed ends or the user interrupts; then the health."""
    console = _console()
    prices = _Prices(console.encoding)
    say(f"{feed.label}; times in UTC, changes since the first price seen here")
    _follow(feed, interruption, seconds, lambda event: _say_if(prices.take(event, quotes=quotes)))
    if feed.is_live:
        say("")
        console.print(_health_table(feed))


def print_prices(feed: Feed, interruption: Interruption, *, seconds: float) -> bool:
    """Wait for a price of each symbol, some seconds at most, and print them as a table; false where none came."""
    console = _console()
    prices = _Prices(console.encoding)

    def take(event: MarketEvent) -> bool:
        prices.take(event, quotes=True)
        return len(prices.last) >= len(feed.symbols)

    _follow(feed, interruption, seconds, take)
    say(f"{feed.label}; changes since the first price seen here")
    console.print(prices.table(feed.symbols))
    return bool(prices.last)


def _console() -> Console:
    console = Console()
    # In a pipe there is no width to keep to.
    return console if console.is_terminal else Console(width=120)


def _say_if(line: str | None) -> bool:
    if line is not None:
        say(line)
    return False


def _follow(feed: Feed, interruption: Interruption, seconds: float | None, take: Callable[[MarketEvent], bool]) -> None:
    """Give each event to ``take`` until it says true; raises the feed's error."""

    async def follow() -> None:
        async with aclosing(aiter(feed)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                for event in batch:
                    if take(event):
                        return

    future = runner.submit(follow())
    end_s = None if seconds is None else time.monotonic() + seconds
    try:
        while not future.done() and not interruption.came and (end_s is None or time.monotonic() < end_s):
            time.sleep(_LOOK_S)
    finally:
        if not future.done():
            runner.submit(feed.stop())
            try:
                future.result(5.0)
            except TimeoutError:
                future.cancel()
    if future.done() and not future.cancelled():
        future.result()


def _health_table(feed: Feed) -> Table:
    table = Table(
        box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", title="feed health", title_justify="left"
    )
    table.add_column("symbol", no_wrap=True, min_width=8)
    for name in ("events", "connects", "gaps", "filled", "twice", "late", "rejected", "stale", "lag", "p99", "uptime"):
        table.add_column(name, justify="right", no_wrap=True)
    for view in feed.view().symbols:
        lags = [f"{lag:,.0f} ms" if lag is not None else "-" for lag in (view.lag_p50_ms, view.lag_p99_ms)]
        table.add_row(
            clean(view.symbol),
            *(f"{count:,}" for count in (view.events, view.connects, view.gaps_found, view.gaps_filled)),
            *(f"{count:,}" for count in (view.duplicates, view.late, view.rejected)),
            duration(view.stale_s),
            *lags,
            "-" if view.uptime is None else f"{view.uptime:.1%}",
        )
    return table
