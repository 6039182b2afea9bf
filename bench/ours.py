"""qfkit's side: ``python -m bench.ours`` in an environment that has qfkit."""

import math
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import qfkit as qf
from bench.work import CASH, FAST, SHARES, SLOW, SYMBOL, Fills, load, save, symbol_name, tick_data
from bench.worker import serve, timed
from qfkit.core.events import WarmUp
from qfkit.feeds.base import Feed
from qfkit.journal.reader import JournalReader

__all__: list[str] = []

CHUNK = 2_048
IDEAL = qf.Costs.ideal()
LONG_PAIR = {"fast": 50, "slow": 200}


class BarCrossover(qf.Strategy):
    """100 shares while the fast average of closes is above the slow one."""

    fast = qf.Param(FAST, low=2)
    slow = qf.Param(SLOW, low=3)

    def setup(self) -> None:
        self.fast_average = self.indicator(qf.SMA, self.fast)
        self.slow_average = self.indicator(qf.SMA, self.slow)

    def on_bar(self, bar: qf.Bar) -> None:
        fast, slow = self.fast_average[bar.symbol], self.slow_average[bar.symbol]
        if fast.crossed_above(slow):
            self.buy(bar.symbol, quantity=SHARES)
        elif fast.crossed_below(slow):
            self.close(bar.symbol)


class TickCrossover(qf.Strategy):
    """The same on every trade."""

    fast = qf.Param(FAST, low=2)
    slow = qf.Param(SLOW, low=3)

    def setup(self) -> None:
        self.fast_average = self.indicator(qf.SMA, self.fast, timeframe="tick")
        self.slow_average = self.indicator(qf.SMA, self.slow, timeframe="tick")

    def on_tick(self, tick: qf.Tick) -> None:
        fast, slow = self.fast_average[tick.symbol], self.slow_average[tick.symbol]
        if fast.crossed_above(slow):
            self.buy(tick.symbol, quantity=SHARES)
        elif fast.crossed_below(slow):
            self.close(tick.symbol)


@qf.signal(fast=FAST, slow=SLOW)
def trend(bars: Any, fast: int, slow: int) -> Any:
    """The same rule as a function of the whole history."""
    return qf.SMA(fast).over(bars.close) > qf.SMA(slow).over(bars.close)


def _fills(result: qf.Result) -> Fills:
    """A result's fills, as the market's time, side, quantity and price."""
    fills = result.fills
    return Fills(
        fills.index.as_unit("ns").asi8,
        np.where(fills["side"] == "buy", 1, -1),
        fills["quantity"].to_numpy(float),
        fills["price"].to_numpy(float),
    )


def _answer(seconds: float, result: qf.Result, save_to: str | None, **more: Any) -> dict[str, Any]:
    fills = _fills(result)
    if save_to is not None:
        save(Path(save_to), fills._asdict())
    return {"seconds": seconds, "fills": len(fills.side), **more}


def _ticks(data: dict[str, np.ndarray], start: int = 0, stop: int | None = None) -> list[qf.Tick]:
    rows = (data[name][start:stop].tolist() for name in ("symbol", "price", "size", "time_ns"))
    names = [symbol_name(number) for number in range(int(data["symbol"].max()) + 1)]
    return [qf.Tick(names[s], p, z, t, t) for s, p, z, t in zip(*rows, strict=True)]


_kept: dict[str, Any] = {}


def _frame(folder: str) -> pd.DataFrame:
    if folder not in _kept:
        data = load(Path(folder))
        index = pd.to_datetime(data["open_ns"], utc=True)
        frame = pd.DataFrame({name: data[name] for name in ("open", "high", "low", "close", "volume")}, index)
        frame.attrs["symbol"] = SYMBOL
        _kept[folder] = frame
    frame_kept: pd.DataFrame = _kept[folder]
    return frame_kept


def _events(folder: str, count: int) -> list[qf.Tick]:
    key = f"{folder} {count}"
    if key not in _kept:
        _kept.clear()
        _kept[key] = _ticks(load(Path(folder)), 0, count)
    events: list[qf.Tick] = _kept[key]
    return events


def bars(folder: str, save_to: str | None = None) -> dict[str, Any]:
    """A Strategy on bars: from a DataFrame to the figures of the run."""
    frame = _frame(folder)

    def work() -> qf.Result:
        result = qf.backtest(BarCrossover, frame, cash=CASH, costs=IDEAL, progress=False)
        _ = result.metrics
        return result

    return _answer(*timed(work), save_to)


def signal(folder: str, save_to: str | None = None) -> dict[str, Any]:
    """A signal function on bars: from a DataFrame to fills and equity."""
    frame = _frame(folder)

    def work() -> tuple[qf.Result, np.ndarray]:
        result = qf.backtest(
            trend, frame, cash=CASH, costs=IDEAL, sizer=qf.sizing.FixedQuantity(SHARES), progress=False
        )
        _ = result.fills
        return result, result.equity.to_numpy()

    seconds, (result, equity) = timed(work)
    return _answer(seconds, result, save_to, equity=float(equity[-1, 0]))


def ticks(folder: str, count: int, lengths: tuple[int, int], save_to: str | None = None) -> dict[str, Any]:
    """A Strategy on ready ticks of several symbols; the times saved are those of the decisions."""
    events = _events(folder, count)
    strategy = TickCrossover(fast=lengths[0], slow=lengths[1])
    seconds, result = timed(lambda: qf.backtest(strategy, events, cash=CASH, costs=IDEAL, progress=False))
    if save_to is not None:
        orders = result.orders
        filled = orders[orders["status"] == "filled"]
        save(Path(save_to) / "decided", {"time_ns": filled["decided"].to_numpy("datetime64[ns]").astype(np.int64)})
    return _answer(seconds, result, save_to)


def _journalled(session: qf.Session) -> dict[str, Any]:
    """What the journal of a session that ended holds."""
    assert session.journal_path is not None
    with JournalReader(session.journal_path) as reader:
        return {"events": reader.feed_events, "fills": len(session.fills)}


def replay(folder: str, count: int) -> dict[str, Any]:
    """A whole session with its journal on decoded ticks, as fast as it goes."""
    events = _events(folder, count)
    with tempfile.TemporaryDirectory() as home:
        feed = qf.ReplayFeed(events, speed=None)
        session = qf.paper(TickCrossover(fast=50, slow=200), feed, cash=CASH, name="replay", journal=home)
        seconds, _ = timed(lambda: session.start().wait())
        journal_mb = sum(file.stat().st_size for file in Path(home).rglob("*") if file.is_file()) / 1e6
        return {"seconds": seconds, "journal_mb": journal_mb, **_journalled(session)}


def capture(path: str) -> dict[str, Any]:
    """The same on a raw capture, decoded on the way."""
    with tempfile.TemporaryDirectory() as home:
        feed = qf.ReplayFeed(path, speed=None)
        session = qf.paper(TickCrossover(fast=50, slow=200), feed, cash=CASH, name="capture", journal=home)
        seconds, _ = timed(lambda: session.start().wait())
        return {"seconds": seconds, **_journalled(session)}


def _chunks(count: int, symbols: int, chunk: int = 10_000) -> Iterator[list[qf.Tick]]:
    """Any number of ticks in the memory of one chunk: the same 100,000, later in time each round."""
    base = tick_data(min(count, 100_000), symbols=symbols, pairs=False)
    span_ns = int(base["time_ns"][-1] - base["time_ns"][0]) + 20_000_000
    length = len(base["price"])
    shifted = dict(base)
    for start in range(0, count, chunk):
        place, turn = start % length, start // length
        stop = min(place + chunk, length, place + count - start)
        shifted["time_ns"] = base["time_ns"] + turn * span_ns
        yield _ticks(shifted, place, stop)


def scale(count: int, symbols: int) -> dict[str, Any]:
    """The engine alone, records drained as a session does: processor nanoseconds an event, first and last tenth too."""
    from qfkit.core.engine import Engine

    names = tuple(symbol_name(number) for number in range(symbols))
    engine = Engine({"crossover": TickCrossover()}, cash=CASH, costs=IDEAL, symbols=names)
    spent: list[float] = []
    for chunk in _chunks(count, symbols, min(10_000, count // 10)):
        start = time.process_time()
        engine.process_all(chunk)
        engine.records.clear()
        spent.append(time.process_time() - start)
    tenth = max(1, len(spent) // 10)
    each = count / len(spent)
    return {
        "seconds": sum(spent),
        "ns": sum(spent) / count * 1e9,
        "first_ns": sum(spent[:tenth]) / tenth / each * 1e9,
        "last_ns": sum(spent[-tenth:]) / tenth / each * 1e9,
        "orders": engine.orders_count,
    }


def guarded(count: int, strategies: int, is_guarded: bool, on_ticks: bool = False) -> dict[str, Any]:
    """The engine on ten symbols, bare or with every limit on each book and the account, metrics and assessments.

    It is warmed up with 300 bars of each first, so that the windows of 250 marks are full from the first event on.
    ``rounds_ns`` are processor nanoseconds an event of each ten thousandth of the run.
    """
    from qfkit.core.engine import Engine

    names = tuple(symbol_name(number) for number in range(10))
    kind: type[qf.Strategy] = TickCrossover if on_ticks else BarCrossover
    parts = {f"s{number}": kind(**(LONG_PAIR if on_ticks else {})) for number in range(strategies)}
    settings: dict[str, Any] = {"has_running_metrics": False}
    if is_guarded:
        limits = _every_limit(names)
        settings = {"risk": dict.fromkeys((*parts, "account"), limits), "assess_every_s": 60.0}
    engine = Engine(parts, cash=10 * CASH, costs=IDEAL, symbols=names, **settings)
    (first,) = next(_chunks(100, 10, 1))
    engine.process(_past_bars(names, first.time_ns, 300))
    spent: list[float] = []
    size = min(10_000, count // 10)
    for chunk in _chunks(count, 10, size):
        start = time.process_time()
        engine.process_all(chunk)
        engine.records.clear()
        spent.append(time.process_time() - start)
    if engine.exceptions:
        raise SystemExit(f"guarded: a strategy failed: {engine.exceptions}")
    return {
        "seconds": sum(spent),
        "orders": engine.orders_count,
        "rounds_ns": [one / size * 1e9 for one in spent],
    }


def _past_bars(names: tuple[str, ...], end_ns: int, count: int) -> WarmUp:
    """Minutes before a time, their closes a seeded random walk."""
    minute_ns = 60 * 10**9
    end_ns -= end_ns % minute_ns
    closes = 100.0 * np.exp(np.cumsum(np.random.default_rng(5).normal(0.0, 1e-3, (count, len(names))), axis=0))
    bars = []
    for row in range(count):
        open_ns = end_ns - (count - row) * minute_ns
        for symbol, close in zip(names, closes[row].tolist(), strict=True):
            bars.append(qf.Bar(symbol, "1m", close, close, close, close, 1_000.0, open_ns, open_ns + minute_ns))
    return WarmUp(end_ns, bars=bars)


def _every_limit(names: tuple[str, ...]) -> qf.RiskLimits:
    """All limits there are, none so narrow that it changes what is traded."""
    return qf.RiskLimits(
        max_order_quantity=1e6,
        max_order_notional=1e9,
        max_order_weight=50.0,
        max_position_quantity=1e6,
        max_position_notional=1e9,
        max_position_weight=50.0,
        max_orders_per_minute=100_000,
        max_positions=10,
        max_group_weight=50.0,
        groups={"even": names[::2], "odd": names[1::2]},
        max_gross_exposure=50.0,
        max_net_exposure=50.0,
        max_leverage=50.0,
        max_value_at_risk=0.99,
        max_correlated_exposure=50.0,
        max_daily_loss=0.99,
        max_drawdown=0.99,
        max_consecutive_losses=1_000_000,
    )


def _resident_bytes() -> float:
    """The resident memory of this process now; NaN where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return math.nan
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


class _EndlessFeed(Feed):
    """Ticks made as they are wanted, and a look at the memory in between."""

    name = "made"
    is_live = False

    def __init__(self, count: int, symbols: int) -> None:
        super().__init__(tuple(symbol_name(number) for number in range(symbols)), label="made for the benchmark")
        self.count, self.symbols_count = count, symbols
        self.resident: list[tuple[int, float]] = []

    def now_ns(self) -> int:
        return time.time_ns()

    async def _batches(self) -> AsyncIterator[list[Any]]:
        self.state = "running"
        given, next_look = 0, 100_000
        for chunk in _chunks(self.count, self.symbols_count, 2_000):
            yield list(chunk)
            given += len(chunk)
            if given >= next_look:
                self.resident.append((given, _resident_bytes()))
                next_look += 100_000
            if await self.pause_s(0.0):
                return


def memory(count: int, after: int) -> dict[str, Any]:
    """A session with its journal: how much the process grows after its first events."""
    with tempfile.TemporaryDirectory() as home:
        feed = _EndlessFeed(count, 10)
        session = qf.paper(TickCrossover(fast=50, slow=200), feed, cash=CASH, name="memory", journal=home)
        seconds, _ = timed(lambda: session.start().wait())
        start = next(size for given, size in feed.resident if given >= after)
        rest = [size for given, size in feed.resident if given > after]
        return {
            "seconds": seconds,
            **_journalled(session),
            "start_mb": start / 1e6,
            "grown_mb": (rest[-1] - start) / 1e6,
            "most_grown_mb": (max(rest) - start) / 1e6,
            "looks": [(given, round(size / 1e6, 1)) for given, size in feed.resident],
        }


def versions() -> dict[str, Any]:
    """What runs here."""
    found = {"python": sys.version.split()[0]}
    for name in ("qfkit", "msgspec", "numpy", "pandas"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "of this folder"
    return found


if __name__ == "__main__":
    serve(
        {
            "bars": bars,
            "signal": signal,
            "ticks": ticks,
            "replay": replay,
            "capture": capture,
            "scale": scale,
            "guarded": guarded,
            "memory": memory,
            "versions": versions,
        }
    )
