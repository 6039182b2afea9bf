"""What a dashboard draws at one moment, with the words and numbers ready for HTML."""

from collections.abc import Sequence
from html import escape

from qfkit.core.chart_feed import ChartView
from qfkit.core.snapshot import Snapshot
from qfkit.views.text import clean, price, symbol_decimals, time_of_day

__all__ = ["Scene", "moved", "said", "side"]

_DAYS_NS = 2 * 86_400 * 1_000_000_000


class Scene:
    """A snapshot with its chart view.

    ``decimals`` are those that were needed for each symbol's prices so far: a price that happens to end in zero
    must not make a column jump. ``own`` are lines of the dashboard's own for the log.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        chart: ChartView,
        decimals: dict[str, int] | None = None,
        own: Sequence[tuple[int, str]] = (),
    ) -> None:
        self.snapshot = snapshot
        self.chart = chart
        self.own = own
        self.decimals = symbol_decimals(snapshot) if decimals is None else decimals
        self.has_several_books = len(snapshot.strategies) > 1
        curve = snapshot.equity_curve
        # On daily bars the time of day says nothing.
        self.dates = bool(curve) and snapshot.time_ns - curve[0][0] > _DAYS_NS

    def price(self, symbol: str, value: float | None) -> str:
        """A price with its symbol's decimals; "-" where there is none."""
        return price(value, self.decimals.get(symbol, 2))

    def time(self, time_ns: int) -> str:
        return time_of_day(time_ns, dates=self.dates)


def said(text: object) -> str:
    """Whatever came from outside, safe as HTML: no markup, no control characters."""
    return escape(clean(text))


def moved(value: float, text: str) -> str:
    """A gain or loss: shape, sign and colour. What rounds to zero has no direction."""
    if value == 0.0 or not any(digit in text for digit in "123456789"):
        return f"<span>{text}</span>"
    way, mark = ("up", "▲") if value > 0.0 else ("down", "▼")
    return f'<span class="q-{way}"><i>{mark}</i>{text}</span>'


def side(name: str) -> str:
    """Buy or sell, by word, shape and colour; another word as it is."""
    if name not in ("buy", "sell"):
        return said(name)
    return f'<span class="q-{"buy" if name == "buy" else "sell"}"><i>{"▲" if name == "buy" else "▼"}</i>{name}</span>'
