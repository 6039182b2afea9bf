"""The dashboard in a terminal: one snapshot drawn with rich, redrawn in place while a session runs.

Everything that comes from a user or off the wire goes through :func:`~qfkit.views.text.clean`
and is shown as plain ``Text``, so it can neither move the cursor nor be read as markup.
"""

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.text import Text

from qfkit.core.orders import Fill
from qfkit.core.snapshot import Snapshot
from qfkit.views.panels import Painter
from qfkit.views.sections import Sections, whole_fills
from qfkit.views.summary import summary
from qfkit.views.text import (
    clean,
    money,
    percent,
    price,
    quantity,
    signed_money,
    signed_percent,
    symbol_decimals,
    utc,
)

__all__ = ["TerminalView", "dashboard", "plain_fill", "plain_line", "summary"]

_PRINTED_CHARACTERS = 20_000


class _Dashboard:
    """Draws a snapshot at whatever size the console has at that moment."""

    def __init__(self, snapshot: Snapshot, decimals: dict[str, int] | None = None, footer: str = "") -> None:
        self.snapshot = snapshot
        self.decimals = decimals
        self.footer = footer

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        sections = Sections(self.snapshot, options.encoding, self.decimals)
        yield Painter(sections, width=options.max_width).page(options.height, self.footer)


def dashboard(snapshot: Snapshot) -> RenderableType:
    """The snapshot as a page that fits the console's width, and its height where it has one."""
    return _Dashboard(snapshot)


def plain_line(snapshot: Snapshot, encoding: str = "utf-8") -> str:
    """The whole session in one line, for an output that is no terminal."""
    feed = snapshot.feed
    parts = [utc(snapshot.time_ns), clean(snapshot.state, encoding)]
    if snapshot.error:
        parts.append(clean(snapshot.error, encoding))
    if feed is not None:
        parts.append(f"feed {feed.state}" + ("" if feed.state == "closed" else f" {feed.rate_per_s:,.0f}/s"))
    decimals = symbol_decimals(snapshot)
    parts += [
        f"{clean(view.symbol, encoding)} {price(view.price, decimals[view.symbol])} {signed_percent(view.change)}"
        for view in snapshot.symbols[:4]
    ]
    if len(snapshot.symbols) > 4:
        parts.append(f"{len(snapshot.symbols) - 4} more symbols")
    if snapshot.is_watch_list:
        return "  ".join(parts)
    parts += [
        f"value {money(snapshot.equity)}",
        f"P&L {signed_money(snapshot.pnl)} ({signed_percent(snapshot.return_)})",
        f"cash {money(snapshot.cash)}",
        f"positions {len(snapshot.positions)}",
        f"orders {len(snapshot.working_orders)}",
        f"fills {snapshot.fills_count:,}",
        f"drawdown {percent(snapshot.drawdown)}",
    ]
    return "  ".join(parts)


def plain_fill(fill: Fill, decimals: int, encoding: str = "utf-8", parts: int = 1) -> str:
    """One fill in one line, or several of an order as one."""
    in_parts = "" if parts == 1 else f", in {parts} parts"
    return (
        f"{utc(fill.time_ns)}  fill {fill.side.upper()} {quantity(fill.quantity)} {clean(fill.symbol, encoding)} "
        f"at {price(fill.price, decimals)}, fee {money(fill.fee)}{in_parts}, "
        f"{clean(fill.strategy, encoding)}: {clean(fill.reason, encoding) or 'no reason given'}"
    )


class TerminalView:
    """Shows snapshots as they come: ``with TerminalView() as view: view.update(session.snapshot)``.

    On a terminal it redraws a full page in place, at most every ``interval_s`` seconds; what a
    strategy prints meanwhile is kept and shown after the page closes. Anywhere else (a pipe, a
    file) it writes plain lines without control codes: one a fill and a message, and one for
    the whole session every ``line_interval_s`` seconds. ``plain`` forces one or the other.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        interval_s: float = 0.5,
        line_interval_s: float = 3.0,
        plain: bool | None = None,
        footer: str = "Ctrl-C stops the session and shows its summary",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Bound to the real output: while the page is up, sys.stdout is replaced.
        self.console = Console(file=sys.stdout) if console is None else console
        self.plain = not self.console.is_terminal or self.console.is_dumb_terminal if plain is None else plain
        self.interval_s = interval_s
        self.line_interval_s = line_interval_s
        self.footer = footer
        self._clock = clock
        self._drawn_s: float | None = None
        self._decimals: dict[str, int] = {}
        self._last_fill_id = -1
        self._last_message: tuple[int, str] | None = None
        self._printed = _Tail()
        self._lines_seen: tuple[tuple[int, str], ...] = ()
        self._open = ExitStack()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if not self.plain:
            self._live = self._open.enter_context(
                Live(
                    Text(""),
                    console=self.console,
                    screen=True,
                    auto_refresh=False,
                    redirect_stdout=False,
                    redirect_stderr=False,
                    vertical_overflow="crop",
                )
            )
            self._open.enter_context(redirect_stdout(self._printed))
            self._open.enter_context(redirect_stderr(self._printed))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        self._live = None
        if printed := self._printed.take():
            self.console.file.write(printed if printed.endswith("\n") else printed + "\n")
            self.console.file.flush()

    def update(self, snapshot: Snapshot, *, now: bool = False) -> None:
        """Show a snapshot; one that comes too soon after the last is left out unless ``now``."""
        for symbol, decimals in symbol_decimals(snapshot).items():
            # A price that happens to end in zero must not make the column jump.
            self._decimals[symbol] = max(decimals, self._decimals.get(symbol, 0))
        if self.plain:
            self._write_lines(snapshot, now)
            return
        for _, text in self._new_printed(snapshot):
            self._printed.write(clean(text, self.console.encoding) + "\n")
        if self._live is not None and self._due(self.interval_s, now):
            self._live.update(_Dashboard(snapshot, self._decimals, self.footer), refresh=True)

    def _due(self, interval_s: float, now: bool) -> bool:
        moment = self._clock()
        if now or self._drawn_s is None or moment - self._drawn_s >= interval_s:
            self._drawn_s = moment
            return True
        return False

    def _write_lines(self, snapshot: Snapshot, now: bool) -> None:
        lines = [*self._new_fills(snapshot), *self._new_messages(snapshot)]
        for time_ns, text in self._new_printed(snapshot):
            lines.append(f"{utc(time_ns)}  printed: {clean(text, self.console.encoding)}")
        if self._due(self.line_interval_s, now):
            lines.append(plain_line(snapshot, self.console.encoding))
        if lines:
            self.console.file.write("".join(line + "\n" for line in lines))
            self.console.file.flush()

    def _new_fills(self, snapshot: Snapshot) -> Iterator[str]:
        fresh = [fill for fill in snapshot.fills if fill.fill_id > self._last_fill_id]
        if not fresh:
            return
        if self._last_fill_id >= 0 and (unseen := fresh[0].fill_id - self._last_fill_id - 1) > 0:
            yield f"{utc(fresh[0].time_ns)}  {unseen:,} more fills before this; the journal has them all"
        for fill, parts in whole_fills(fresh):
            yield plain_fill(fill, self._decimals.get(fill.symbol, 2), self.console.encoding, parts)
        self._last_fill_id = fresh[-1].fill_id

    def _new_messages(self, snapshot: Snapshot) -> Iterator[str]:
        messages = list(snapshot.messages)
        if self._last_message in messages:
            messages = messages[messages.index(self._last_message) + 1 :]
        for time_ns, text in messages:
            self._last_message = (time_ns, text)
            yield f"{utc(time_ns)}  message: {clean(text, self.console.encoding)}"

    def _new_printed(self, snapshot: Snapshot) -> tuple[tuple[int, str], ...]:
        """The lines that came since: the newest of those seen are the oldest of those there are."""
        seen, lines = self._lines_seen, snapshot.printed
        self._lines_seen = lines
        for gone in range(len(seen) + 1):
            known = len(seen) - gone
            if lines[:known] == seen[gone:]:
                return lines[known:]
        return lines


class _Tail(io.TextIOBase):
    """Keeps the end of what is printed while the page is up."""

    def __init__(self) -> None:
        self._text = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._text = (self._text + text)[-_PRINTED_CHARACTERS:]
        return len(text)

    def take(self) -> str:
        text, self._text = self._text, ""
        return text
