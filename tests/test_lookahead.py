"""Nothing that comes later changes anything before: two markets, the same up to a time and different after it.

The runs go to their end; then whatever they say of the time before must be the same. A record is
known by its own time, so that an engine which writes a decision into the past is found out too.
"""

from dataclasses import dataclass
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from support import MINUTE, SECOND, START

from qfkit.core.costs import Costs
from qfkit.core.engine import Engine
from qfkit.core.events import Bar, Event, Heartbeat, Quote, Tick
from qfkit.core.indicators import ATR, SMA
from qfkit.core.strategy import Param, Strategy
from qfkit.errors import OrderError

FRICTIONLESS = Costs.ideal()
LATE = Costs(latency_s=20.0, participation=None)


class Nosy(Strategy):
    """Trades on all it can see, so that whatever it should not see shows in its orders."""

    higher = Param("", choices=("", "3m", "5m"))
    on_ticks = Param(False)

    def setup(self) -> None:
        self.fast, self.slow = self.indicator(SMA, 2), self.indicator(SMA, 4)
        self.range = self.indicator(ATR, 2)
        if self.higher:
            self.high_fast = self.indicator(SMA, 1, timeframe=self.higher)
            self.high_slow = self.indicator(SMA, 2, timeframe=self.higher)
            self.follow(self.higher)

    def on_bar(self, bar: Bar) -> None:
        fast, slow = self.fast[bar.symbol], self.slow[bar.symbol]
        if bar.timeframe != "1m":
            self.order_target(
                bar.symbol, quantity=round(bar.close * 100) % 7 - 3, reason=f"{bar.timeframe} {bar.close}"
            )
        elif fast.crossed_above(slow):
            self.order_target(bar.symbol, quantity=10, reason=f"up {fast.value - slow.value:.6f}")
        elif fast.crossed_below(slow):
            self.order_target(bar.symbol, quantity=-10, reason=f"down {fast.value - slow.value:.6f}")
        else:
            self.act(bar.symbol, round(bar.close * 100) + round(bar.high * 100))
        if self.higher:
            high_fast, high_slow = self.high_fast[bar.symbol], self.high_slow[bar.symbol]
            if high_fast.value > high_slow.value:
                self.buy(bar.symbol, quantity=1, reason=f"higher {high_fast.value} over {high_slow.value}")

    def on_tick(self, tick: Tick) -> None:
        if self.on_ticks:
            self.act(tick.symbol, round(tick.price * 100))

    def on_quote(self, quote: Quote) -> None:
        if self.on_ticks:
            self.act(quote.symbol, round(quote.bid * 100) + round(quote.ask * 100) + 1)

    def act(self, symbol: str, number: int) -> None:
        price = self.price(symbol)
        try:
            match number % 9:
                case 0:
                    self.buy(symbol, quantity=2, limit_price=price - 0.02)
                case 1:
                    self.sell(symbol, quantity=2, stop_price=price - 0.01)
                case 2:
                    self.buy(symbol, quantity=3, stop_loss=price - 0.02, take_profit=price + 0.02)
                case 3:
                    self.sell(symbol, quantity=1, trail=0.02)
                case 4:
                    self.close(symbol)
                case 5 if self.orders:
                    self.cancel(self.orders[0].order_id)
                case 6:
                    self.sell(symbol, quantity=4)
        except OrderError:
            pass  # a bracket on the wrong side of the quote: refused by name


@dataclass
class Seen:
    """What a run says of the time up to a moment."""

    signals: list[str]
    orders: list[str]
    fills: list[str]
    trades: list[str]
    equity: list[str]
    bars: list[str]


def run(events: list[Event], costs: Costs, **parameters) -> Engine:
    engine = Engine({"nosy": Nosy(**parameters)}, cash=100_000.0, costs=costs, timeframe="1m")
    engine.process_all(events)
    assert not engine.exceptions, engine.exceptions
    return engine


def seen(engine: Engine, until_ns: int, market_until_ns: int) -> Seen:
    """The records that claim to be of a time up to ``until_ns``, or of the market's time up to the other.

    As texts: NaN, which an indicator is at first, equals itself there.
    """
    records = engine.records
    return Seen(
        [repr(signal) for signal in records.signals if signal.time_ns <= until_ns],
        [repr(order) for order in records.orders if order.updated_ns <= until_ns],
        [repr(fill) for fill in records.fills if fill.received_ns <= until_ns],
        # The open of the next bar is at the close of this one.
        [repr(trade) for trade in records.trades if trade.exit_time_ns < market_until_ns],
        [repr(row) for row in records.equity if row[0] <= until_ns],
        [repr(bar) for bar in records.bars if bar.close_ns <= market_until_ns],
    )


Row = tuple[int, int, int, int, int]


def draw_rows(seed: int, count: int) -> list[Row]:
    """Steps in cents, with many ties: what a bar opens, closes and reaches beyond; and its volume."""
    chance = Random(seed)
    return [
        (
            chance.randint(-1, 1),
            chance.randint(-2, 2),
            chance.randint(0, 2),
            chance.randint(0, 2),
            chance.randint(0, 300),
        )
        for _ in range(count)
    ]


# From a seed and a length: a failure shrinks in seconds, a list of lists of numbers does not.
seeds = st.integers(0, 2**32)
row = st.builds(lambda seed: draw_rows(seed, 1)[0], seeds)
rows = st.builds(draw_rows, seeds, st.integers(12, 60))


def bars_of(steps: list[Row], cents: int = 1_000, first: int = 0) -> list[Bar]:
    made = []
    for index, (gap, move, up, down, volume) in enumerate(steps, first):
        opened = max(100, cents + gap)
        cents = max(100, opened + move)
        high, low = max(opened, cents) + up, min(opened, cents) - down
        open_ns = START + index * MINUTE
        made.append(
            Bar("A", "1m", opened / 100, high / 100, low / 100, cents / 100, float(volume), open_ns, open_ns + MINUTE)
        )
    return made


def end_of(bars: list[Bar]) -> int:
    return round(bars[-1].close * 100)


some_costs = st.sampled_from((FRICTIONLESS, LATE, Costs(), Costs.harsh()))
some_higher = st.sampled_from(("", "3m", "5m"))


@given(rows, rows, st.data(), some_costs, some_higher)
@settings(max_examples=150, deadline=None)
def test_bars_that_come_later_change_nothing_before(steps, others, data, costs, higher):
    whole = bars_of(steps)
    cut = data.draw(st.integers(1, len(whole) - 1), label="bars in common")
    other = [*whole[:cut], *bars_of(others, end_of(whole[:cut]), cut)]
    known_ns = whole[cut - 1].close_ns
    first, second = run(whole, costs, higher=higher), run(other, costs, higher=higher)
    assert seen(first, known_ns, known_ns) == seen(second, known_ns, known_ns)


@given(rows, row, st.data(), st.sampled_from((FRICTIONLESS, LATE)), some_higher)
@settings(max_examples=150, deadline=None)
def test_what_a_bar_does_after_its_open_changes_nothing_at_its_open(steps, inside, data, costs, higher):
    """A fill at the open of a bar must not know the bar's high, low and close."""
    whole = bars_of(steps)
    at = data.draw(st.integers(0, len(whole) - 1), label="the bar")
    opened = whole[at].open
    _, move, up, down, _ = inside
    close = round(opened * 100) + move
    reached = (max(round(opened * 100), close) + up, min(round(opened * 100), close) - down)
    changed = Bar(
        "A", "1m", opened, reached[0] / 100, reached[1] / 100, close / 100, whole[at].volume, whole[at].open_ns, whole[at].close_ns
    )  # fmt: skip
    other = [*whole[:at], changed, *bars_of(steps[at + 1 :], close, at + 1)]
    runs = [run(events, costs, higher=higher) for events in (whole, other)]
    fills = [[fill for fill in engine.records.fills if fill.time_ns <= changed.open_ns] for engine in runs]
    told = [[(fill.order_id, fill.side, fill.quantity, fill.price, fill.time_ns) for fill in some] for some in fills]
    assert told[0] == told[1]


@given(rows, rows, st.data(), some_costs, st.sampled_from(("3m", "5m")))
@settings(max_examples=60, deadline=None)
def test_a_higher_bar_is_not_seen_before_it_closes(steps, others, data, costs, higher):
    """The last base bars of an unfinished higher bar differ: nothing shows before they are over."""
    frame = {"3m": 3, "5m": 5}[higher]
    whole = bars_of(steps)
    inside = data.draw(st.integers(1, len(whole) - 1).filter(lambda cut: cut % frame), label="bars in common")
    other = [*whole[:inside], *bars_of(others, end_of(whole[:inside]), inside)]
    known_ns = whole[inside - 1].close_ns
    first, second = run(whole, costs, higher=higher), run(other, costs, higher=higher)
    assert seen(first, known_ns, known_ns) == seen(second, known_ns, known_ns)
    # What the strategy was told of the higher timeframe is a close that had been.
    for engine, events in ((first, whole), (second, other)):
        closes = {bar.close_ns: bar.close for bar in events}
        for signal in engine.records.signals:
            if signal.reason.startswith(higher):
                over_ns = START + (signal.time_ns - START) // (frame * MINUTE) * (frame * MINUTE)
                assert signal.reason == f"{higher} {closes[over_ns]}"


def draw_moments(seed: int, count: int) -> list[tuple[str, int, int, int, int]]:
    """A trade, a quote or a heartbeat; milliseconds since the last, cents moved, spread, size."""
    chance = Random(seed)
    return [
        (
            chance.choice("ttttqqh"),
            chance.randint(1, 25_000),
            chance.randint(-2, 2),
            chance.randint(1, 3),
            chance.randint(0, 40),
        )
        for _ in range(count)
    ]


moments = st.builds(draw_moments, seeds, st.integers(20, 90))


def stream_of(steps, delay_ns: int, time_ns: int = START, cents: int = 1_000) -> tuple[list[Event], int]:
    made: list[Event] = []
    for kind, wait_ms, move, spread, size in steps:
        time_ns += wait_ms * 1_000_000
        cents = max(100, cents + move)
        received_ns = time_ns + delay_ns
        if kind == "t":
            made.append(Tick("A", cents / 100, float(size), time_ns, received_ns))
        elif kind == "q":
            made.append(Quote("A", (cents - spread) / 100, float(size), cents / 100, float(size), time_ns, received_ns))
        else:
            made.append(Heartbeat(time_ns, received_ns))
    return made, cents


@given(moments, moments, st.data(), some_costs, some_higher, st.sampled_from((0, SECOND // 3, 90 * SECOND)))
@settings(max_examples=150, deadline=None)
def test_ticks_and_quotes_that_come_later_change_nothing_before(steps, others, data, costs, higher, delay_ns):
    cut = data.draw(st.integers(1, len(steps)), label="events in common")
    on_ticks = data.draw(st.booleans(), label="on ticks")
    common, cents = stream_of(steps[:cut], delay_ns)
    after, _ = stream_of(steps[cut:], delay_ns, common[-1].time_ns, cents)
    other, _ = stream_of(others, delay_ns, common[-1].time_ns, cents)
    known_ns = common[-1].received_ns
    streams = [[*common, *rest] for rest in (after, other)]
    for stream in streams:
        # A bar closes when something comes after it: here something always does.
        stream.append(Heartbeat(stream[-1].time_ns + MINUTE, stream[-1].received_ns + MINUTE))
    runs = [run(stream, costs, higher=higher, on_ticks=on_ticks) for stream in streams]
    first, second = (seen(engine, known_ns, common[-1].time_ns) for engine in runs)
    assert first == second


def test_the_strategy_of_these_tests_trades_and_uses_every_kind_of_order():
    """Without trades nothing would be tested."""
    steps = draw_rows(5, 400)
    for higher in ("", "5m"):
        engine = run(bars_of(steps), FRICTIONLESS, higher=higher)
        assert len(engine.records.fills) > 50
        assert len(engine.records.trades) > 10
        assert {str(order.type) for order in engine.records.orders} >= {"market", "limit", "stop", "trailing_stop"}
