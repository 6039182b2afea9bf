"""What several test modules need: bars and ticks in a line, and an engine with one strategy."""

import random
from collections.abc import Callable, Iterable, Sequence

from qfkit.core.costs import Costs
from qfkit.core.engine import Engine
from qfkit.core.events import Bar, Event, Quote, Stop, Tick
from qfkit.core.risk import RiskLimits
from qfkit.core.strategy import Strategy

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
START = 1_700_006_400 * SECOND  # 2023-11-15 00:00:00 UTC


def bar(index: int, open_: float, high: float, low: float, close: float, volume: float = 1e9, symbol: str = "A") -> Bar:
    """The one-minute bar number ``index``."""
    open_ns = START + index * MINUTE
    return Bar(symbol, "1m", open_, high, low, close, volume, open_ns, open_ns + MINUTE)


def bars(rows: Iterable[Sequence[float]], symbol: str = "A") -> list[Bar]:
    """One-minute bars from rows of open, high, low, close and perhaps volume."""
    return [bar(index, *row, symbol=symbol) for index, row in enumerate(rows)]


def tick(seconds: float, price: float, size: float = 1e9, symbol: str = "A", delay_s: float = 0.0) -> Tick:
    """A trade so many seconds after START, received ``delay_s`` later."""
    time_ns = START + round(seconds * SECOND)
    return Tick(symbol, price, size, time_ns, time_ns + round(delay_s * SECOND))


def quote(seconds: float, bid: float, ask: float, size: float = 1e9, symbol: str = "A") -> Quote:
    time_ns = START + round(seconds * SECOND)
    return Quote(symbol, bid, size, ask, size, time_ns, time_ns)


def walk(count: int, seed: int = 1, start_cents: int = 10_000, symbol: str = "A", ties: bool = False) -> list[Bar]:
    """A seeded random walk in whole cents; with ``ties`` many closes repeat."""
    chance = random.Random(seed)
    steps = (-1, 0, 0, 0, 1) if ties else range(-25, 26)
    price, rows = start_cents, []
    for _ in range(count):
        open_ = price
        price = max(100, price + chance.choice(steps))
        high, low = max(open_, price) + chance.randint(0, 5), min(open_, price) - chance.randint(0, 5)
        rows.append((open_ / 100, high / 100, low / 100, price / 100, float(chance.randint(100, 10_000))))
    return bars(rows, symbol)


class Script(Strategy):
    """Runs given functions: ``{event number: function(strategy)}``, at the n-th bar or tick."""

    actions: dict[int, Callable[[Strategy], object]] = {}

    def on_start(self) -> None:
        self.number = -1
        self.results: list[object] = []

    def act(self) -> None:
        self.number += 1
        if self.number in self.actions:
            self.results.append(self.actions[self.number](self))

    def on_bar(self, bar: Bar) -> None:
        self.act()


class TickScript(Script):
    def on_bar(self, bar: Bar) -> None:
        pass

    def on_tick(self, tick: Tick) -> None:
        self.act()


class QuoteScript(Script):
    def on_bar(self, bar: Bar) -> None:
        pass

    def on_quote(self, quote: Quote) -> None:
        self.act()


def run(
    events: Iterable[Event],
    actions: dict[int, Callable[[Strategy], object]],
    *,
    costs: Costs | None = None,
    risk: RiskLimits | None = None,
    cash: float = 1_000_000.0,
    kind: type[Script] = Script,
    finish: bool = True,
) -> Engine:
    """Run a script over events under ideal costs; a failing script fails the test."""
    strategy = kind()
    strategy.actions = actions
    engine = Engine({"script": strategy}, cash=cash, costs=costs or Costs.ideal(), risk=risk)
    engine.process_all(events)
    if finish:
        engine.process(Stop(engine.clock_ns))
    if engine.exceptions:
        raise engine.exceptions["script"]
    return engine


def fills(engine: Engine) -> list[tuple[str, float, float]]:
    """Side, quantity and price of each fill."""
    return [(str(fill.side), fill.quantity, fill.price) for fill in engine.records.fills]


def statuses(engine: Engine) -> dict[int, str]:
    """How each order stands in the end."""
    return {order.order_id: str(order.status) for order in engine.records.orders}
