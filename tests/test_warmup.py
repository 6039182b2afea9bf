"""Warm-up: history goes the way of live bars with orders off, and what follows goes on where it ends."""

import asyncio
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

import qfkit as qf
from qfkit.core.engine import Engine
from qfkit.core.events import Bar, Heartbeat, Tick, WarmUp
from qfkit.errors import ParameterError, TimeframeError
from qfkit.feeds.binance import BinanceFeed
from qfkit.live.warmup import FetchedPast
from qfkit.tables import bars_frame
from tests.servers.exchange import Exchange, ExchangeServer
from tests.support import MINUTE, SECOND, START, walk
from tests.test_history_cache import DAY, FIRST, FakeSource
from tests.test_session import HandFeed, until


class Averages(qf.Strategy):
    """Wants to buy on every bar."""

    def setup(self):
        self.fast = self.indicator(qf.SMA, 5)
        self.slow = self.indicator(qf.EMA, 20)
        self.high = self.indicator(qf.SMA, 3, timeframe="5m")

    def on_bar(self, bar):
        self.buy(bar.symbol, quantity=0.01, reason="every bar")


class Seconds(qf.Strategy):
    def setup(self):
        self.fast = self.indicator(qf.SMA, 5)
        self.slow = self.indicator(qf.EMA, 15)

    def on_bar(self, bar):
        self.buy(bar.symbol, quantity=0.1, reason="every bar")


def engine(kind=Averages, timeframe="1m", symbols=("A",)) -> Engine:
    return Engine({"s": kind()}, cash=100_000.0, timeframe=timeframe, symbols=symbols)


def values(one: Engine, symbol: str = "A") -> dict[str, float]:
    return one.desks["s"].indicator_values(symbol)


def frame_of(bars: list[Bar], symbol: str | None = None) -> pd.DataFrame:
    frame = bars_frame(bars)[["open", "high", "low", "close", "volume"]]
    if symbol:
        frame.attrs["symbol"] = symbol
    return frame


# -- the event -------------------------------------------------------------------------------


def test_indicators_are_those_of_the_same_bars_in_one_go():
    bars = walk(100)
    warmed, whole = engine(), engine()
    warmed.process(WarmUp(bars[59].close_ns + SECOND, bars=bars[:60]))
    assert values(warmed) and all(np.isfinite(list(values(warmed).values())))
    whole.process_all(bars[:60])
    assert values(warmed) == values(whole)
    warmed.process_all(bars[60:])
    whole.process_all(bars[60:])
    assert values(warmed) == values(whole)


def test_nothing_is_ordered_filled_or_counted_meanwhile_and_the_reason_is_recorded():
    bars = walk(60)
    one = engine()
    one.process(WarmUp(bars[-1].close_ns + SECOND, bars=bars))
    records = one.records
    assert not records.orders and not records.fills and not records.equity and not records.faults
    assert one.late_events == 0 and not one.broker.open
    # The first 5-minute average of three is there after 15 minutes, the slow one after 20.
    assert len(records.signals) == 41
    assert {(signal.decision, signal.decision_reason) for signal in records.signals} == {
        ("rejected", "warming up on history: orders are off")
    }
    assert one.clock_ns == bars[-1].close_ns + SECOND


def test_the_equity_begins_with_the_session():
    bars = walk(80)
    one = engine()
    one.process(WarmUp(bars[59].close_ns, bars=bars[:60]))
    one.process_all(bars[60:])
    times = [row[0] for row in one.records.equity]
    assert times[0] == bars[59].close_ns and times == sorted(times)
    assert one.records.equity[0][1] == 100_000.0
    assert {order.decided_ns for order in one.records.orders} == {bar.close_ns for bar in bars[60:]}


def test_bars_and_trades_of_a_time_that_was_covered_are_late():
    bars = walk(60)
    on_bars = engine()
    on_bars.process(WarmUp(bars[-1].close_ns, bars=bars))
    on_bars.process_all(bars[-3:])
    assert on_bars.late_events == 3 and len(on_bars.records.bars) == 60
    on_ticks = engine()
    on_ticks.process(WarmUp(bars[-1].close_ns, bars=bars))
    on_ticks.process(Tick("A", 100.0, 1.0, bars[-1].close_ns - 1, bars[-1].close_ns))
    assert on_ticks.late_events == 1
    on_ticks.process(Tick("A", 100.0, 1.0, bars[-1].close_ns, bars[-1].close_ns + 1))
    assert on_ticks.late_events == 1


def test_trades_go_on_with_the_unfinished_bar():
    bars = walk(60)
    end = bars[-1].close_ns
    begun = Bar("A", "1m", 50.0, 60.0, 40.0, 55.0, 7.0, end, end + MINUTE)
    one = engine()
    one.process(WarmUp(end + 30 * SECOND, bars=bars, unfinished=[begun]))
    assert one.snapshot().symbols[0].price == 55.0
    one.process(Tick("A", 58.0, 2.0, end + 40 * SECOND, end + 40 * SECOND))
    one.process(Heartbeat(end + MINUTE, end + MINUTE))
    last = one.records.bars[-1]
    assert (last.open, last.high, last.low, last.close, last.volume) == (50.0, 60.0, 40.0, 58.0, 9.0)
    assert (last.open_ns, last.close_ns) == (end, end + MINUTE)
    assert len(one.records.bars) == 61


def test_small_bars_of_history_build_the_sessions_and_go_on_in_the_middle_of_one():
    bars = walk(128)
    warmed, whole = engine(timeframe="5m"), engine(timeframe="5m")
    warmed.process(WarmUp(bars[122].close_ns, bars=bars[:123]))
    warmed.process_all(bars[123:])
    whole.process_all(bars)
    assert values(warmed) == values(whole)
    assert warmed.records.bars == whole.records.bars


def test_what_waits_for_more_bars_says_so():
    bars = walk(60)
    one = engine()
    assert "fast of A (0 bars so far)" in one.snapshot().strategies[0].waiting
    one.process(WarmUp(bars[9].close_ns, bars=bars[:10]))
    assert not one.records.signals
    waiting = one.snapshot().strategies[0].waiting
    assert waiting == "waits for slow of A (10 bars so far), high of A (10 bars so far)"
    one.process_all(bars[10:19])
    assert not one.records.signals and "(19 bars so far)" in one.snapshot().strategies[0].waiting
    one.process_all(bars[19:])
    assert one.snapshot().strategies[0].waiting == "" and one.records.orders


# -- what is asked for -----------------------------------------------------------------------


class Followed(HandFeed):
    """A feed by hand with a provider of history."""

    def __init__(self, source, symbols=("A",), now_ns=None, timeframe=None) -> None:
        super().__init__(symbols)
        self._source = source
        self._time_ns = source.now_ns if now_ns is None else now_ns
        self.timeframe = timeframe

    def history_source(self):
        return self._source


@pytest.mark.parametrize(("step", "fetched", "count"), [("1d", "1d", 30), ("1h", "1h", 50), ("2h", "1h", 20)])
def test_closed_days_are_reached_over_for_the_newest_bars(step, fetched, count):
    now_ns = FIRST + 100 * DAY + 5 * 3_600 * SECOND  # a Monday night
    source = FakeSource(now_ns)
    past = asyncio.run(FetchedPast(count, step, fetched).bars(Followed(source), now_ns))
    assert not past.warnings
    one = engine(qf.MovingAverageCrossover, step)
    one.process(WarmUp(now_ns, bars=past.bars, unfinished=past.unfinished))
    assert len(one.records.bars) == count
    assert one.records.bars[-1].close_ns <= now_ns < one.records.bars[-1].close_ns + 3 * DAY
    assert source.closes == 1
    # What ended just now may go on by the provider's clock.
    assert [bar.close_ns for bar in past.unfinished] == [now_ns if step != "1d" else now_ns + 19 * 3_600 * SECOND]


def test_a_provider_with_too_little_says_how_much_there_was():
    source = FakeSource()
    source.has_from_ns = source.now_ns - 20 * DAY
    past = asyncio.run(FetchedPast(100, "1d", "1d").bars(Followed(source), source.now_ns))
    assert 10 < len(past.bars) < 16
    assert past.warnings == [f"warm-up of A: {len(past.bars)} of 100 bars"]
    source.is_down = True
    past = asyncio.run(FetchedPast(100, "1d", "1d").bars(Followed(source), source.now_ns))
    assert not past.bars and past.warnings == ["warm-up of A: 0 of 100 bars (fake is down)"]


@pytest.mark.parametrize(
    ("warmup", "feed", "error", "text"),
    [
        (-1, HandFeed(), ParameterError, "warmup=-1"),
        (True, HandFeed(), ParameterError, "warmup=True"),
        ("100", HandFeed(), ParameterError, "warmup='100'"),
        (100, HandFeed(), ParameterError, r"warmup=qf.history\('A', days=30, timeframe='1m'\)"),
        (100, Followed(FakeSource()), ParameterError, "fake has no bars of 1m nor smaller ones"),
        ({"B": frame_of(walk(5))}, HandFeed(["A", "C"]), ParameterError, "'B', which the feed does not have"),
        (frame_of(walk(9)[::3]), HandFeed(), TimeframeError, "bars of 3m of A"),
        (frame_of(walk(5)).tz_localize(None), HandFeed(), qf.errors.NaiveTimeError, "no time zone"),
    ],
)
def test_what_cannot_be_a_warm_up_is_refused_at_once(warmup, feed, error, text):
    with pytest.raises(error, match=text):
        qf.paper(Averages(), feed, warmup=warmup)


# -- sessions on given bars ------------------------------------------------------------------


@pytest.mark.parametrize("as_dict", [False, True])
def test_a_replay_goes_on_after_the_given_bars(as_dict):
    bars = walk(200)
    given = {"A": frame_of(bars[:120])} if as_dict else frame_of(bars[:120])
    feed = qf.ReplayFeed(bars[100:], speed=None)
    session = qf.paper(Averages(), feed, warmup=given).start().wait(20)
    # The given bars of after the beginning of the replay were left out.
    assert list(session.bars.close) == [bar.close for bar in bars]
    whole = engine()
    whole.process_all(bars)
    (view,) = session.snapshot.strategies
    assert view.indicators["A"] == values(whole)
    assert session.snapshot.late_events == 0
    orders = session.orders
    assert orders.index[0] == pd.Timestamp(bars[100].close_ns, tz="UTC")
    assert len(orders) == 100
    signals = session.signals
    assert (signals.decision_reason[signals.decision == "rejected"].str.startswith("warming up")).all()
    assert (signals.decision == "rejected").sum() == 81
    assert session.equity.index[0] == pd.Timestamp(bars[99].close_ns, tz="UTC")
    assert session.verify()
    # Orders fill as they would have without the warm-up: at the next bar's open.
    fills = session.fills
    assert fills.index[0] == pd.Timestamp(bars[101].open_ns, tz="UTC")


def test_a_live_feed_takes_up_where_the_given_bars_end():
    bars = walk(70)
    feed = HandFeed(["A"])
    feed._time_ns = bars[59].close_ns
    session = qf.paper(Averages(), feed, warmup=frame_of(bars[:65]), timeframe="1m").start()
    until(lambda: session.snapshot.events == 1)
    end = bars[59].close_ns
    for seconds in range(70):
        feed.give(Tick("A", 100.0 + seconds, 1.0, end + seconds * SECOND, end + seconds * SECOND))
    feed.end()
    session.wait(10)
    assert len(session.bars) == 61 and session.snapshot.late_events == 0
    # The bar that was open at the start is in the frame: the trades went on with it.
    assert session.bars.open.iloc[-1] == bars[60].open
    assert session.verify()


# -- sessions whose history is fetched -------------------------------------------------------


class Slow(FakeSource):
    """Answers when it is told to."""

    name = "slow"
    timeframes = ("1m",)

    def __init__(self, bars: list[Bar]) -> None:
        super().__init__(bars[-1].close_ns)
        self.go = asyncio.Event()
        self.own = bars

    async def bars(self, symbol, timeframe, start_ns, end_ns):
        self.asked.append((start_ns, end_ns))
        await self.go.wait()
        from qfkit.tables import bar_columns

        found = [bar for bar in self.own if start_ns <= bar.open_ns < end_ns]
        if found:
            yield bar_columns(found)[symbol]


def test_events_are_held_back_until_the_history_is_there():
    bars = walk(70)
    source = Slow(bars[:60])
    feed = Followed(source, timeframe="1m")
    session = qf.paper(Averages(), feed, warmup=50).start()
    until(lambda: source.asked)
    for bar in bars[58:65]:
        feed.give(bar)
    time.sleep(0.2)
    assert session.snapshot.events == 0 and session.state == "running"
    qf.run(_set(source.go))
    until(lambda: session.snapshot.events == 8)
    for bar in bars[65:]:
        feed.give(bar)
    feed.end()
    session.wait(10)
    # Of the bars that were held one had been covered by the history, and one had ended just then.
    assert session.snapshot.late_events == 1
    # Fifty begin with the tenth; its bar of five minutes, of which there is an average, four earlier.
    assert list(session.bars.close) == [bar.close for bar in bars[5:]]
    assert session.verify()


async def _set(event: asyncio.Event) -> None:
    event.set()


@pytest.mark.parametrize("how", ["stop", "end", "fail", "suspend"])
def test_a_session_ends_while_it_waits_for_history(how):
    source = Slow(walk(60))
    feed = Followed(source, timeframe="1m")
    session = qf.paper(Averages(), feed, warmup=50, name="waits").start()
    until(lambda: source.asked)
    began_s = time.monotonic()
    if how in ("stop", "suspend"):
        getattr(session, how)()
    elif how == "end":
        feed.end()
        session.wait(5)
    else:
        feed.end(ConnectionError("cut"))
        with pytest.raises(qf.errors.SessionError, match="cut"):
            session.wait(5)
    assert time.monotonic() - began_s < 3
    states = {"stop": "stopped", "end": "stopped", "fail": "failed", "suspend": "interrupted"}
    assert list(qf.sessions().state) == [states[how]]


def test_without_history_the_session_warns_and_warms_on_live_bars():
    source = FakeSource(START)
    source.timeframes = ("1m",)
    source.is_down = True
    bars = walk(30)
    feed = Followed(source, timeframe="1m")
    session = qf.paper(Averages(), feed, warmup=25).start()
    until(lambda: session.snapshot.messages)
    for bar in bars:
        feed.give(bar)
    feed.end()
    session.wait(10)
    assert any("warm-up of A: 0 of 25 bars (fake is down)" in text for _, text in session.snapshot.messages)
    assert len(session.orders) == 11
    assert session.verify()


# -- Binance -----------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[ExchangeServer]:
    """An exchange on the runner's thread with 60 s of past, that trades on."""
    exchange = Exchange(("BTCUSDT", "ETHUSDT"))
    now_ms = time.time_ns() // 1_000_000
    for back_ms in range(60_000, 0, -250):
        for symbol in exchange.markets:
            exchange.trade(symbol, time_ms=now_ms - back_ms)
    server = ExchangeServer(exchange, rate_per_s=40)
    qf.run(server.__aenter__())
    yield server
    qf.run(server.__aexit__())


def feed_of(server: ExchangeServer, **more) -> BinanceFeed:
    return BinanceFeed(["BTCUSDT", "ETHUSDT"], stream_url=server.url, rest_url=server.rest_url, backoff_s=0.02, **more)


def expected(server: ExchangeServer, symbol: str, bars: pd.DataFrame) -> list[list[float]]:
    rows = []
    for stamp in bars.index:
        row = server.exchange.kline(symbol, stamp.value // 1_000_000, 1_000)
        rows.append([float(value) for value in row[1:6]])
    return rows


def test_binance_is_warmed_through_the_seam_and_verified_and_resumed(server: ExchangeServer):
    session = qf.paper(Seconds(), feed_of(server), timeframe="1s", warmup=30, name="warm").start()
    until(lambda: len(session.bars) > 2 * 30 + 4, 8)
    assert session.snapshot.strategies[0].waiting == ""
    session.suspend()
    assert session.verify()
    bars = session.bars
    for symbol in ("BTCUSDT", "ETHUSDT"):
        own = bars[bars.symbol == symbol]
        assert own.index.is_unique and own.index.is_monotonic_increasing
        assert set(np.diff(own.index.asi8)) <= {SECOND}
        truth = np.array(expected(server, symbol, own))
        got = own[["open", "high", "low", "close", "volume"]].to_numpy()
        seam = 30
        for rows in (slice(0, seam), slice(seam + 1, None)):
            np.testing.assert_allclose(got[rows], truth[rows], rtol=1e-9)
        # The bar of the start has each trade once, but for those of the moment of the start.
        np.testing.assert_array_equal(got[seam, :4], truth[seam, :4])
        assert truth[seam, 4] * 0.999 <= got[seam, 4] <= truth[seam, 4] * 2
    equity, orders, signals = session.equity, session.orders, session.signals
    begun = bars.index[60]
    assert equity.index[0] >= begun - pd.Timedelta("2s") and orders.index[0] > begun
    assert (signals.decision == "rejected").sum() == 2 * (30 - 14)
    resumed = qf.resume("warm", feed=feed_of(server)).start()
    until(lambda: len(resumed.bars) > len(bars) + 2, 8)
    resumed.stop()
    assert resumed.verify()
    assert (resumed.signals.decision_reason.str.startswith("warming up")).sum() == 32


def test_binances_bars_go_on_after_those_of_its_history(server: ExchangeServer):
    feed = feed_of(server, bars="1s")
    session = qf.paper(Seconds(), feed, timeframe="5s", warmup=4).start()
    until(lambda: session.snapshot.time_ns > 0, 5)
    session.stop()
    bars = session.bars
    assert set(bars.timeframe) == {"5s"} and len(bars) == 2 * 4
    for symbol in ("BTCUSDT", "ETHUSDT"):
        for stamp, row in bars[bars.symbol == symbol].iterrows():
            truth = server.exchange.kline(symbol, stamp.value // 1_000_000, 5_000)
            assert [row.open, row.high, row.low, row.close] == [float(value) for value in truth[1:5]]
    assert session.verify()


def test_a_binance_that_refuses_history_is_a_warning(server: ExchangeServer):
    server.rest_fails = [418] * 50
    session = qf.paper(Seconds(), feed_of(server), timeframe="1s", warmup=30).start()
    until(lambda: len(session.bars) >= 2, 8)
    session.stop()
    texts = [text for _, text in session.snapshot.messages]
    assert any(text.startswith("warm-up of BTCUSDT: 0 of 30 bars (Binance has had too many requests") for text in texts)
    assert not len(session.orders)
