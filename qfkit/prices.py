"""The last price of each symbol and how it changed: line by line as they come, or all in a table."""

from contextlib import closing

from rich.console import Console
from rich.text import Text

from qfkit.closes import PreviousCloses
from qfkit.core.events import Bar, MarketEvent, Quote, Tick
from qfkit.feeds.base import Feed
from qfkit.following import follow, warnings_kept
from qfkit.views.columns import Column, Section
from qfkit.views.sections import GAIN, LABEL, LOSS
from qfkit.views.text import UNKNOWN, clean, duration, marks_for, price, price_decimals, signed_percent, utc
from qfkit.watching import Interruption

__all__ = ["LastPrice", "PriceBook", "print_prices", "show", "show_section"]

_OLD_S = 60.0
_WIDE = 100_000


class LastPrice:
    """One symbol's newest price, and the one its change is counted from."""

    __slots__ = ("before", "decimals", "is_stale", "reference", "source", "symbol", "time_ns", "value")

    def __init__(self, symbol: str, value: float, reference: float | None) -> None:
        self.symbol = symbol
        self.value = self.before = value
        self.reference = value if reference is None else reference
        self.decimals = 0
        self.time_ns = 0
        self.is_stale = False
        self.source = ""

    @property
    def change(self) -> float:
        return self.value - self.reference

    @property
    def change_text(self) -> str:
        text = f"{self.change:+,.{self.decimals}f}"
        return text if any(digit in text for digit in "123456789") else text[1:]

    @property
    def percent_text(self) -> str:
        return signed_percent(self.change / self.reference)


class PriceBook:
    """The last price of each symbol, with as many decimals as it has shown so far."""

    def __init__(self, feed: Feed, closes: PreviousCloses) -> None:
        self.last: dict[str, LastPrice] = {}
        self._feed = feed
        self._closes = closes

    def take(self, event: MarketEvent, *, quotes: bool) -> LastPrice | None:
        """Take an event in; None for one that has no price to show. Of a quote it is the middle."""
        if type(event) is Tick:
            value, is_stale = event.price, event.flag == "stale"
        elif type(event) is Bar:
            value, is_stale = event.close, False
        elif type(event) is Quote and quotes:
            value, is_stale = (event.bid + event.ask) / 2.0, False
        else:
            return None
        last = self.last.get(event.symbol)
        if last is None:
            last = self.last[event.symbol] = LastPrice(
                event.symbol, value, self._closes.of(event.symbol, event.time_ns)
            )
        last.before, last.value = last.value, value
        last.time_ns, last.is_stale = event.time_ns, is_stale
        last.source = event.source or self._feed.name
        last.decimals = max(last.decimals, price_decimals((value,)))
        return last


def show(console: Console, text: Text | str) -> None:
    """One line, at once: with colours on a terminal, plain anywhere else."""
    line = Text(text) if isinstance(text, str) else text
    if console.is_terminal:
        console.print(line, soft_wrap=True, highlight=False)
    else:
        console.file.write(line.plain.rstrip() + "\n")
        console.file.flush()


def show_section(console: Console, section: Section) -> None:
    """A table with its title, without a number cut; in a pipe as wide as it is."""
    width = console.width if console.is_terminal else _WIDE
    for line in section.lines(width, len(section.rows), marks_for(console.encoding), titled=False):
        show(console, line)


def print_prices(feed: Feed, interruption: Interruption, *, seconds: float) -> bool:
    """Wait for a price of each symbol, some seconds at most, and print them as a table; false where one gave none."""
    console = Console()
    closes = PreviousCloses(feed)
    book = PriceBook(feed, closes)
    with warnings_kept() as warnings, closing(follow(feed, interruption, seconds=seconds)) as batches:
        for batch in batches:
            for event in batch:
                book.take(event, quotes=False)
            if len(book.last) >= len(feed.symbols) and closes.is_done:
                break
    closes.wait(0.0)
    show(console, Text(clean(feed.label, console.encoding), style=LABEL))
    show_section(console, _table(feed, book, closes, console.encoding))
    told = [record.getMessage() for record in warnings.taken()]
    lacking = [symbol for symbol in feed.symbols if symbol not in book.last]
    if lacking:
        refused = [closes.refusals[symbol] for symbol in lacking if symbol in closes.refusals]
        why = " ".join(dict.fromkeys([*refused, *told])) or "look at the symbol, or wait longer with -w SECONDS"
        text = f"no price of {', '.join(lacking)} came within {seconds:g} s: {why}"
        show(console, clean(text, console.encoding))
    return not lacking


def _table(feed: Feed, book: PriceBook, closes: PreviousCloses, encoding: str) -> Section:
    columns = (
        Column("symbol", right=False),
        Column("price"),
        Column("since last close", keep=7),
        Column("percent", keep=8),
        Column("time", keep=5, right=False),
        Column("age", keep=6),
        Column("", keep=7, right=False),
        Column("source", keep=1, right=False),
    )
    marks = marks_for(encoding)
    rows = []
    for symbol in feed.symbols:
        name = Text(clean(symbol, encoding), style="bold")
        last = book.last.get(symbol)
        if last is None:
            rows.append([name, Text(UNKNOWN), Text(""), Text(""), Text(""), Text(""), Text("no price came"), Text("")])
            continue
        reference = closes.of(symbol, last.time_ns)
        is_counted = reference is not None
        if reference is not None:
            last.reference = reference
        style = GAIN if last.change > 0.0 else LOSS if last.change < 0.0 else ""
        mark = marks.up if last.change > 0.0 else marks.down if last.change < 0.0 else marks.flat
        age_s = max(0.0, (feed.now_ns() - last.time_ns) / 1e9)
        is_old = feed.is_live and ((last.is_stale and age_s > 1.0) or age_s > _OLD_S)
        rows.append(
            [
                name,
                Text(price(last.value, last.decimals)),
                Text(last.change_text if is_counted else UNKNOWN, style=style),
                Text(f"{mark} {last.percent_text}" if is_counted else UNKNOWN, style=style),
                Text(utc(last.time_ns)),
                Text(duration(age_s)),
                Text(f"{marks.warning} stale" if is_old else "", style="yellow"),
                Text(clean(last.source, encoding)),
            ]
        )
    return Section("PRICES", columns, rows, most=len(rows))
