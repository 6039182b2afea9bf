"""Several timeframes at once: against pandas on recorded data, against a naive resampling, and never a bar too early."""

import asyncio
import zipfile
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qfkit as qf
from qfkit.core.bars import BarBuilder
from qfkit.core.engine import Engine
from qfkit.core.events import Bar, Event, Heartbeat, Stop, SwapStrategy, Tick, WarmUp
from qfkit.core.lanes import KEPT_BARS
from qfkit.core.timeframes import bar_open_ns, timeframe_ns
from qfkit.errors import StrategyError, TimeframeError
from qfkit.feeds.calendars import hours_of
from qfkit.feeds.recordings import open_recording
from qfkit.frames import bars_of, columns_from_frame
from qfkit.live.warmup import FetchedPast
from tests.support import DAY, MINUTE, SECOND, START, tick, walk
from tests.test_crossings import Watcher
from tests.test_crossings import reference as crossings
from tests.test_session import HandFeed, until

HOUR = 60 * MINUTE
NEW_YORK = "America/New_York"
COLUMNS = ["open", "high", "low", "close", "volume"]
HOW = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
UNITS = {"s": "s", "m": "min", "h": "h", "d": "D"}
HIGHER = ("5m", "15m", "30m", "1h", "4h", "1d", "1w")


# -- recorded data ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ibm(data_folder: Path) -> pd.DataFrame:
    """Minutes of IBM from 2020-11-23 to 12-18 with early and late trade, Thanksgiving and the half day after it."""
    path = data_folder / "alphavantage" / "intraday_extended_1min_20201123_20201218.csv"
    frame = pd.read_csv(path, parse_dates=["time"]).set_index("time").sort_index()
    # The provider names these minutes by their end: the first is 04:01, the last 20:00.
    frame.index = (frame.index - pd.Timedelta(minutes=1)).tz_localize(NEW_YORK).tz_convert("UTC")
    frame = frame.astype(float)
    frame.attrs["symbol"] = "IBM"
    return frame


@pytest.fixture(scope="module")
def session_ibm(ibm: pd.DataFrame) -> pd.DataFrame:
    """The regular sessions only: 9:30 to 16:00 in New York, to 13:00 on the half day."""
    local = ibm.tz_convert(NEW_YORK)
    regular = local.between_time("09:30", "15:59")
    halved = (regular.index.date == pd.Timestamp("2020-11-27").date()) & (regular.index.hour >= 13)
    return regular[~halved].tz_convert("UTC")


@pytest.fixture(scope="module")
def ibm_ticks(data_folder: Path) -> list[Tick]:
    """The trades of IBM on 2013-10-07, from 4:00 in New York, without heartbeats."""
    with zipfile.ZipFile(data_folder / "equities" / "ibm_ticks_20131007_trade.zip") as packed:
        rows = pd.read_csv(packed.open(packed.namelist()[0]), header=None)
    midnight_ns = pd.Timestamp("2013-10-07", tz=NEW_YORK).value
    times_ns = (midnight_ns + rows[0].astype("int64") * 1_000_000).tolist()
    return [
        Tick("IBM", price / 10_000, float(size), time_ns, time_ns)
        for time_ns, price, size in zip(times_ns, rows[1].tolist(), rows[2].tolist(), strict=True)
    ]


def resampled(frame: pd.DataFrame, timeframe: str) -> pd.DataFrame:
    """What pandas makes of it: labelled by the open, which belongs to the bar, counted from 1970 (weeks: from Monday)."""
    how: dict[str, Any] = {"closed": "left", "label": "left"}
    rule = "W-MON" if timeframe == "1w" else timeframe[:-1] + UNITS[timeframe[-1]]
    if timeframe[-1] in "smh":
        how["origin"] = "epoch"
    return frame.resample(rule, **how).agg(HOW).dropna(subset="close")


def ends_ns(bars: pd.DataFrame, timeframe: str) -> list[int]:
    return [time + timeframe_ns(timeframe) for time in bars.index.as_unit("ns").asi8.tolist()]


def events(frame: pd.DataFrame, symbol: str = "IBM", timeframe: str = "1m") -> list[Bar]:
    return bars_of(columns_from_frame(frame, symbol, timeframe))


# -- what a strategy is told -----------------------------------------------------------------


class Follower(qf.Strategy):
    """Writes down every bar that it is told, and the clock."""

    timeframes: ClassVar[tuple[str, ...]] = ()

    def setup(self) -> None:
        for timeframe in self.timeframes:
            self.follow(timeframe)

    def on_start(self) -> None:
        self.told: list[Bar] = []
        self.clocks: list[int] = []

    def on_bar(self, bar: Bar) -> None:
        self.told.append(bar)
        self.clocks.append(self._at.clock_ns)

    def of(self, timeframe: str) -> list[Bar]:
        return [bar for bar in self.told if bar.timeframe == timeframe]


class Reader(qf.Strategy):
    """Writes down on each base bar what an indicator of a higher timeframe shows."""

    higher: ClassVar[str] = "1h"
    factory: ClassVar[Any] = qf.SMA
    period: ClassVar[int] = 3

    def setup(self) -> None:
        self.high = self.indicator(self.factory, self.period, timeframe=self.higher)

    def on_start(self) -> None:
        self.seen: list[tuple[int, float]] = []

    def on_bar(self, bar: Bar) -> None:
        self.seen.append((bar.close_ns, self.high[bar.symbol].value))


def kind(base: type[qf.Strategy], **attributes: Any) -> type[Any]:
    return type(base.__name__, (base,), attributes)


def engine_of(base: type[qf.Strategy], timeframe: str | None = None, **attributes: Any) -> Engine:
    return Engine({"one": kind(base, **attributes)()}, cash=1e6, costs=qf.Costs.ideal(), timeframe=timeframe)


def strategy_of(engine: Engine) -> Any:
    if engine.exceptions:
        raise engine.exceptions["one"]
    return engine.desks["one"].strategy


def run(base: type[qf.Strategy], data: Iterable[Event], timeframe: str | None = None, **attributes: Any) -> Any:
    """The strategy after a whole run over events; ``timeframe`` is that of the run."""
    engine = engine_of(base, timeframe, **attributes)
    engine.process_all(data)
    engine.process(Stop(engine.clock_ns))
    return strategy_of(engine)


def assert_bars(told: Sequence[Bar], expected: pd.DataFrame, timeframe: str) -> None:
    assert [bar.open_ns for bar in told] == expected.index.as_unit("ns").asi8.tolist()
    assert [bar.close_ns for bar in told] == ends_ns(expected, timeframe)
    assert {bar.timeframe for bar in told} == {timeframe}
    for name in COLUMNS[:4]:
        assert [getattr(bar, name) for bar in told] == expected[name].tolist()
    np.testing.assert_allclose([bar.volume for bar in told], expected["volume"], rtol=1e-9)


def assert_sees(seen: Sequence[tuple[int, float]], frame: pd.DataFrame, timeframe: str, period: int) -> None:
    """On every base bar the average is that of the higher bars which have ended by then, of all of them."""
    bars = resampled(frame, timeframe)
    averages = bars["close"].rolling(period).mean().tolist()
    ends = ends_ns(bars, timeframe)
    closes_ns = [time + MINUTE for time in frame.index.as_unit("ns").asi8.tolist()]
    ready = [time for time in closes_ns if bisect_right(ends, time) >= period]
    assert [time for time, _ in seen] == ready
    expected = [averages[bisect_right(ends, time) - 1] for time in ready]
    np.testing.assert_allclose([value for _, value in seen], expected, rtol=1e-12)
    assert len(set(expected)) > 3


@pytest.mark.parametrize("hours", ["ibm", "session_ibm"])
def test_the_bars_told_equal_those_of_pandas(hours: str, request: pytest.FixtureRequest) -> None:
    frame = request.getfixturevalue(hours)
    strategy = run(Follower, events(frame), timeframes=HIGHER)
    assert_bars(strategy.of("1m"), frame, "1m")
    last_ns = strategy.of("1m")[-1].close_ns
    for timeframe in HIGHER:
        expected = resampled(frame, timeframe)
        over = expected[np.array(ends_ns(expected, timeframe)) <= last_ns]
        # The last one of the longer ones is not over when the data end, and is not told.
        assert len(expected) - len(over) == (timeframe in ("4h", "1d", "1w"))
        assert_bars(strategy.of(timeframe), over, timeframe)
    assert len(strategy.of("1w")) == 3 and len(strategy.of("1d")) >= 18


@pytest.mark.parametrize(
    ("timeframe", "period"), [("5m", 20), ("15m", 20), ("30m", 8), ("1h", 20), ("4h", 6), ("1d", 3)]
)
@pytest.mark.parametrize("hours", ["ibm", "session_ibm"])
def test_a_value_is_seen_once_its_bar_has_closed(
    hours: str, timeframe: str, period: int, request: pytest.FixtureRequest
) -> None:
    frame = request.getfixturevalue(hours)
    strategy = run(Reader, events(frame), higher=timeframe, period=period)
    assert_sees(strategy.seen, frame, timeframe, period)


@pytest.mark.parametrize("wrong_ns", [-MINUTE, MINUTE])
def test_that_proof_fails_where_a_bar_closes_early_or_late(
    wrong_ns: int, session_ibm: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = BarBuilder.close_before

    def wrong(self: BarBuilder, time_ns: int) -> Bar | None:
        bar = right(self, time_ns)
        if bar is not None or self.volume == -1.0:
            self.close_ns = self.open_ns + self.step_ns + (wrong_ns if self.step_ns > MINUTE else 0)
        return bar

    strategy = run(Reader, events(session_ibm), higher="1h", period=20)
    assert_sees(strategy.seen, session_ibm, "1h", 20)
    monkeypatch.setattr(BarBuilder, "close_before", wrong)
    strategy = run(Reader, events(session_ibm), higher="1h", period=20)
    with pytest.raises(AssertionError):
        assert_sees(strategy.seen, session_ibm, "1h", 20)


@pytest.mark.parametrize("factory", [qf.ATR, qf.RSI, qf.EMA])
def test_an_indicator_equals_one_run_by_hand_over_the_resampled_bars(factory: Any, session_ibm: pd.DataFrame) -> None:
    strategy = run(Reader, events(session_ibm), higher="1h", period=14, factory=factory)
    bars, by_hand = resampled(session_ibm, "1h"), factory(14)
    columns = (bars["high"], bars["low"], bars["close"]) if factory.takes_bar else (bars["close"],)
    values, ends = by_hand.over(*columns).to_numpy(), ends_ns(bars, "1h")
    assert len(strategy.seen) > 6_000
    for time_ns, value in strategy.seen:
        assert value == values[bisect_right(ends, time_ns) - 1]


def test_a_source_and_a_crossing_of_two_timeframes(session_ibm: pd.DataFrame) -> None:
    def lines(strategy: qf.Strategy) -> tuple[Any, Any]:
        return (
            strategy.indicator(qf.SMA, 5, timeframe="15m", source="high"),
            strategy.indicator(qf.SMA, 3, timeframe="1h", source="open"),
        )

    strategy = run(Watcher, events(session_ibm), lines=staticmethod(lines))
    expected = []
    for timeframe, name, period in (("15m", "high", 5), ("1h", "open", 3)):
        bars = resampled(session_ibm, timeframe)
        averages, ends = bars[name].rolling(period).mean().tolist(), ends_ns(bars, timeframe)
        closes_ns = [bar.close_ns for bar in events(session_ibm)]
        expected.append([averages[place - 1] if (place := bisect_right(ends, time)) else np.nan for time in closes_ns])
    rows = [row for row in zip(*expected, strict=True) if not np.isnan(row).any()]
    np.testing.assert_allclose(strategy.rows, rows, rtol=1e-12)
    answers = crossings([(round(first, 9), round(second, 9)) for first, second in rows])
    assert strategy.found[1:] == answers[1:] and sum(above for above, _ in answers) > 10


# -- the grid --------------------------------------------------------------------------------


def local_days(frame: pd.DataFrame) -> pd.DataFrame:
    """One bar for each date in New York."""
    return frame.groupby(frame.index.tz_convert(NEW_YORK).normalize()).agg(HOW)


def test_a_day_is_one_in_utc_which_holds_a_regular_session_and_cuts_late_trade(
    ibm: pd.DataFrame, session_ibm: pd.DataFrame
) -> None:
    days = run(Follower, events(session_ibm), timeframes=("1d",)).of("1d")
    own = local_days(session_ibm)
    assert [[getattr(bar, name) for name in COLUMNS[:4]] for bar in days] == own[COLUMNS[:4]].iloc[
        :-1
    ].to_numpy().tolist()
    # In winter the hour after 19:00 in New York lies in the next UTC day.
    late = run(Follower, events(ibm), timeframes=("1d",)).of("1d")
    friday = next(bar for bar in late if bar.open_ns == pd.Timestamp("2020-12-05", tz="UTC").value)
    hour = ibm.tz_convert(NEW_YORK).loc["2020-12-04 19:00":"2020-12-04 20:00"]
    assert friday.volume == hour["volume"].sum() > 0.0 and friday.close == hour["close"].iloc[-1]


def test_a_session_that_opens_at_half_past_begins_with_half_an_hour(session_ibm: pd.DataFrame) -> None:
    hours = run(Follower, events(session_ibm), timeframes=("1h",)).of("1h")
    first = hours[0]
    opened = pd.Timestamp("2020-11-23 09:30", tz=NEW_YORK)
    assert first.open_ns == opened.floor("h").value and first.close_ns == first.open_ns + HOUR
    half = session_ibm.loc[opened : opened + pd.Timedelta(minutes=29)]
    assert (first.open, first.high, first.low, first.close) == (
        half["open"].iloc[0], half["high"].max(), half["low"].min(), half["close"].iloc[-1],
    )  # fmt: skip
    # Seven a day: 9 to 16 o'clock; on the half day four.
    counts = pd.Series(
        [pd.Timestamp(bar.open_ns, tz="UTC").tz_convert(NEW_YORK).date() for bar in hours]
    ).value_counts()
    assert counts.pop(pd.Timestamp("2020-11-27").date()) == 4 and set(counts) == {7}


def test_weeks_begin_on_mondays(data_folder: Path) -> None:
    frame = qf.sample("IBM").tz_convert("UTC")
    strategy = run(Follower, events(frame, timeframe="1d"), timeframes=("1w",))
    expected = resampled(frame, "1w")
    assert expected.index.weekday.unique().tolist() == [0]
    assert_bars(strategy.of("1w"), expected.iloc[:-1], "1w")
    assert len(strategy.of("1w")) > 670


@pytest.mark.parametrize(("week", "opens"), [("2026-03-05", (14, 13)), ("2026-10-29", (13, 14))])
def test_in_the_weeks_when_clocks_change_the_grid_stays(week: str, opens: tuple[int, int]) -> None:
    first = pd.Timestamp(week, tz=NEW_YORK)
    minutes = pd.date_range(first, first + pd.Timedelta(days=7), freq="1min", inclusive="left").tz_convert(NEW_YORK)
    minutes = minutes[(minutes.weekday < 5)]
    minutes = minutes[minutes.indexer_between_time("09:30", "15:59")]
    prices = 100.0 + np.random.default_rng(5).normal(0.0, 0.1, len(minutes)).cumsum()
    local = pd.DataFrame(dict.fromkeys(COLUMNS[:4], prices) | {"volume": 1.0}, index=minutes)
    frame = local.tz_convert("UTC")
    strategy = run(Follower, events(local), timeframes=("1h", "4h", "1d"))
    for timeframe in ("1h", "4h", "1d"):
        expected = resampled(frame, timeframe)
        over = expected[np.array(ends_ns(expected, timeframe)) <= strategy.of("1m")[-1].close_ns]
        assert_bars(strategy.of(timeframe), over, timeframe)
    hours = [pd.Timestamp(bar.open_ns, tz="UTC") for bar in strategy.of("1h")]
    assert {hour.hour for hour in hours if hour.tz_convert(NEW_YORK).hour == 9} == set(opens)
    assert [bar.close for bar in strategy.of("1d")] == local_days(local)["close"].tolist()[:-1]
    averages = run(Reader, events(local), higher="1h", period=7)
    assert_sees(averages.seen, frame, "1h", 7)


def test_base_bars_off_the_grid_end_the_higher_bar_when_they_do() -> None:
    # As some providers cut hours: from half past to half past.
    frame = pd.DataFrame(
        {name: np.arange(1.0, 13.0) for name in COLUMNS},
        index=pd.date_range("2024-05-06 13:30", periods=12, freq="1h", tz="UTC"),
    )
    for data in (frame, frame.iloc[[0, 1, 4, 5, 6]]):
        strategy = run(Follower, events(data, timeframe="1h"), timeframes=("2h",))
        told = strategy.of("2h")
        assert [bar.close for bar in told] == resampled(data, "2h")["close"].tolist()[: len(told)]
        ends = {bar.close: bar.close_ns for bar in strategy.of("1h")}
        # Never is a bar dated before the end of what it holds.
        assert all(bar.close_ns >= ends[bar.close] for bar in told)
        assert all(clock_ns >= bar.close_ns for bar, clock_ns in zip(strategy.told, strategy.clocks, strict=True))


# -- ticks -----------------------------------------------------------------------------------


def tick_frame(ticks: Sequence[Tick]) -> pd.DataFrame:
    prices = [one.price for one in ticks]
    index = pd.DatetimeIndex([one.time_ns for one in ticks], tz="UTC")
    return pd.DataFrame(dict.fromkeys(COLUMNS[:4], prices) | {"volume": [one.size for one in ticks]}, index=index)


def assert_closed_in_time(base: str, timeframes: tuple[str, ...], data: Sequence[Event]) -> Any:
    """Each higher bar equals that of pandas, and is told with the first tick or heartbeat at or past its end."""
    engine = engine_of(Follower, base, timeframes=timeframes)
    told_at = []
    for event in data:
        engine.process(event)
        strategy = strategy_of(engine)
        told_at += [event] * (len(getattr(strategy, "told", ())) - len(told_at))
    frame = tick_frame([event for event in data if isinstance(event, Tick)])
    times_ns = np.maximum.accumulate([event.time_ns for event in data if isinstance(event, Tick | Heartbeat)])
    for timeframe in (base, *timeframes):
        expected = resampled(frame, timeframe)
        over = expected[np.array(ends_ns(expected, timeframe)) <= times_ns[-1]]
        assert_bars(strategy.of(timeframe), over, timeframe)
    for bar, event in zip(strategy.told, told_at, strict=True):
        assert event.time_ns == times_ns[np.searchsorted(times_ns, bar.close_ns)]
    assert engine.late_events == 0
    return strategy


def test_bars_of_the_recorded_exchange_close_with_the_first_event_after_their_end(capture_path: Path) -> None:
    recorded = [event for batch in open_recording(capture_path).batches() for event in batch]
    strategy = assert_closed_in_time(
        "1s", ("5s", "15s", "1m", "5m"), [e for e in recorded if isinstance(e, Tick | Heartbeat)]
    )
    assert len(strategy.of("5m")) == 2 and len(strategy.of("5s")) > 60
    both = qf.backtest(kind(Reader, higher="15s", period=4), capture_path, timeframe="1s", progress=False)
    assert len(both.bars) == len(strategy.of("1s"))


def test_bars_of_a_share_with_long_silences_close_with_the_first_trade_after_their_end(ibm_ticks: list[Tick]) -> None:
    strategy = assert_closed_in_time("1m", ("5m", "1h", "4h"), ibm_ticks)
    # Before the session there are minutes and whole hours without a trade.
    assert len(strategy.of("1h")) < 16
    minutes = {bar.close_ns for bar in strategy.of("1m")}
    assert sum(bar.close_ns not in minutes for bar in strategy.of("5m")) > 5


def test_a_heartbeat_ends_the_last_hour_before_a_weekend() -> None:
    friday = [tick(0, 10.0), tick(600, 11.0), tick(3_000, 12.0)]
    beats = [Heartbeat(START + second * SECOND, START + second * SECOND) for second in range(3_001, 4 * 3_600, 7)]
    strategy = run(Follower, [*friday, *beats], "1m", timeframes=("1h", "4h"))
    assert [(bar.close, bar.close_ns) for bar in strategy.of("1h")] == [(12.0, START + HOUR)]
    assert strategy.clocks[-1] - START - HOUR < 7 * SECOND
    assert not strategy.of("4h")
    # A second before, nobody is told.
    early = run(Follower, [*friday, Heartbeat(START + HOUR - 1, START + HOUR - 1)], "1m", timeframes=("1h",))
    assert not early.of("1h")


@pytest.mark.parametrize("beat_s", [20, 61, 0])
def test_crossings_of_two_timeframes_hear_of_bars_that_a_heartbeat_closed(beat_s: int) -> None:
    def lines(strategy: qf.Strategy) -> tuple[Any, Any]:
        return strategy.indicator(qf.EMA, 3, timeframe="5m"), strategy.indicator(qf.EMA, 3, timeframe="15m")

    data: list[Event] = []
    for bar in walk(4_000, seed=8, ties=True):
        if bar.open_ns // MINUTE % 7 > 1 and bar.open_ns // MINUTE % 45 < 38:
            data.append(Tick("A", bar.close, 1.0, bar.open_ns + SECOND, bar.open_ns + SECOND))
        if beat_s:
            times = range(bar.open_ns + 2 * SECOND, bar.close_ns, beat_s * SECOND)
            data += [Heartbeat(time_ns, time_ns) for time_ns in times]
    strategy = run(Watcher, data, "1m", lines=staticmethod(lines))
    rows = [(round(first, 9), round(second, 9)) for first, second in strategy.rows]
    answers = crossings(rows)
    assert strategy.found[1:] == answers[1:] and sum(above for above, _ in answers) > 20


# -- the order of calls ----------------------------------------------------------------------


class Ordered(qf.Strategy):
    """Writes down who is called and how far the indicators are."""

    def setup(self) -> None:
        for timeframe in ("1h", "5m", "1m"):
            self.follow(timeframe)
        self.lines = [self.indicator(qf.Price), self.indicator(qf.Price, timeframe="5m")]
        self.lines.append(self.indicator(qf.Price, timeframe="1h"))

    def on_start(self) -> None:
        self.calls: list[tuple[str, str, int, tuple[int, ...]]] = []

    def on_bar(self, bar: Bar) -> None:
        counts = tuple(line[bar.symbol].count for line in self.lines)
        self.calls.append((bar.symbol, bar.timeframe, bar.close_ns, counts))


def test_at_one_moment_all_indicators_come_first_then_the_bars_from_the_smallest_up() -> None:
    data = [bar for pair in zip(walk(120), walk(120, seed=2, symbol="B"), strict=True) for bar in pair]
    strategy = run(Ordered, data)
    end = START + 2 * HOUR
    assert [call for call in strategy.calls if call[2] == end] == [
        (symbol, timeframe, end, (120, 24, 2)) for symbol in "AB" for timeframe in ("1m", "5m", "1h")
    ]
    # Five minutes and an hour are the first that all are ready at.
    assert strategy.calls[0] == ("A", "1m", START + HOUR, (60, 12, 1))
    assert [call[1] for call in strategy.calls[6:10]] == ["1m"] * 4


def test_bars_that_closed_late_are_told_by_their_end_before_the_next_one() -> None:
    data = walk(130)

    def told(first: int) -> list[tuple[str, int, tuple[int, ...]]]:
        """What is told after a hole from this minute to 2:05, with the end in minutes."""
        strategy = run(Ordered, [*data[:first], *data[125:]])
        return [
            (timeframe, (end_ns - START) // MINUTE, counts)
            for _, timeframe, end_ns, counts in strategy.calls
            if data[first].open_ns < end_ns <= data[125].close_ns
        ]

    # Five minutes and the hour end at 2:00: both are fed before one is told.
    assert told(117) == [("5m", 120, (117, 24, 2)), ("1h", 120, (117, 24, 2)), ("1m", 126, (118, 24, 2))]
    # Five minutes end at 1:55, when the hour is not over; from then to 2:00 there are none.
    assert told(112) == [("5m", 115, (112, 23, 1)), ("1h", 120, (112, 23, 2)), ("1m", 126, (113, 23, 2))]


def test_a_strategy_is_told_of_what_it_follows_and_of_nothing_else() -> None:
    class Uses(Follower):
        def setup(self) -> None:
            self.average = self.indicator(qf.SMA, 2, timeframe="5m")

    class Broken(Follower):
        timeframes = ("5m",)

        def on_bar(self, bar: Bar) -> None:
            raise ValueError("at once")

    strategies = {
        "none": Follower(), "uses": Uses(), "five": kind(Follower, timeframes=("5m",))(), "broken": Broken(),
        "more": kind(Follower, timeframes=("15m", "1m", "15m"))(),
    }  # fmt: skip
    engine = Engine(strategies, cash=1e6)
    engine.process_all(walk(60))
    told = {
        name: [sum(bar.timeframe == one for bar in desk.strategy.told) for one in ("1m", "5m", "15m")]  # type: ignore[attr-defined]
        for name, desk in engine.desks.items()
    }
    # The averages of two bars of five minutes are there from the tenth minute on.
    assert told == {
        "none": [60, 0, 0],
        "uses": [51, 0, 0],
        "five": [60, 12, 0],
        "broken": [0, 0, 0],
        "more": [60, 0, 4],
    }
    assert list(engine.exceptions) == ["broken"]


def test_the_bars_of_a_followed_timeframe_can_be_asked_for(session_ibm: pd.DataFrame) -> None:
    class Asks(Follower):
        timeframes = ("1h",)

        def on_bar(self, bar: Bar) -> None:
            super().on_bar(bar)
            assert self.bars(bar.symbol, 3, timeframe="1h") == self.of("1h")[-3:] or bar.timeframe == "1m"
            assert self.bars(bar.symbol, 1, timeframe="1m") == self.bars(bar.symbol, 1)

    strategy = run(Asks, events(session_ibm))
    assert_bars(strategy.bars("IBM", 1_000, timeframe="1h"), resampled(session_ibm, "1h"), "1h")
    with pytest.raises(StrategyError, match=r"self\.follow\('4h'\)"):
        strategy.bars("IBM", 3, timeframe="4h")


# -- sessions with gaps and half days --------------------------------------------------------


def test_a_missing_hour_gives_no_bar(session_ibm: pd.DataFrame) -> None:
    day = session_ibm.loc["2020-12-01"]
    holed = day[day.index.hour != 17]
    strategy = run(Follower, events(holed), timeframes=("1h", "15m"))
    assert [pd.Timestamp(bar.open_ns).hour for bar in strategy.of("1h")] == [14, 15, 16, 18, 19, 20]
    assert_bars(strategy.of("15m"), resampled(holed, "15m"), "15m")


class BuysOnce(Follower):
    """Buys on the first closed bar of 4h that the regular session of the half day ends in."""

    timeframes = ("4h",)

    def on_bar(self, bar: Bar) -> None:
        super().on_bar(bar)
        if bar.timeframe == "4h" and bar.close_ns == pd.Timestamp("2020-11-27 20:00", tz="UTC").value:
            self.decided = (self.price(bar.symbol), self.clock_of())
            self.buy(bar.symbol, quantity=1)

    def clock_of(self) -> int:
        return self._at.clock_ns


@pytest.mark.parametrize("calendar", [None, "XNYS"])
def test_the_last_bar_of_a_half_day_is_acted_on_at_the_next_open(
    session_ibm: pd.DataFrame, calendar: str | None
) -> None:
    strategy = kind(BuysOnce)
    free = {"costs": qf.Costs.ideal(), "progress": False}
    friday, monday = session_ibm.loc["2020-11-27"], session_ibm.loc["2020-11-30"]
    assert friday.index[-1].hour == 17
    result = qf.backtest(strategy, session_ibm, calendar=calendar, **free)
    # Decided at its end, at 20:00 UTC on Friday and with Friday's price; in time for Monday's first price.
    assert [(row.price, row.Index) for row in result.fills.itertuples()] == [(monday["open"].iloc[0], monday.index[0])]
    # Hours are told anew with Monday's first bar, which moves the clock to its open.
    moment = pd.Timestamp("2020-11-27 20:00", tz="UTC") if calendar is None else monday.index[0]
    assert result.orders["decided"].iloc[0] == moment


def test_in_a_session_with_heartbeats_it_is_the_same(session_ibm: pd.DataFrame) -> None:
    """Bars that come in, hours that are known, and a heartbeat every minute: as a live session has it."""
    week = session_ibm.loc["2020-11-25":"2020-11-30"]
    bars = events(week)
    hours = hours_of("IBM", bars[0].open_ns)
    assert hours is not None
    live = engine_of(BuysOnce)
    live.process(hours)
    followed = iter(bars)
    upcoming = next(followed)
    told: dict[str, int] = {}
    for time_ns in range(bars[0].open_ns, bars[-1].close_ns, MINUTE):
        live.process(Heartbeat(time_ns, time_ns))
        for bar in strategy_of(live).told[len(told) :] if live._started else ():
            told[f"{bar.timeframe} {bar.close_ns}"] = time_ns
        # As a source that is asked every 16 minutes has them: late and several at once.
        while upcoming is not None and upcoming.close_ns <= time_ns and time_ns // MINUTE % 16 == 0:
            live.process(upcoming)
            for one in strategy_of(live).told[len(told) :]:
                told[f"{one.timeframe} {one.close_ns}"] = time_ns
            upcoming = next(followed, None)  # type: ignore[assignment]
    strategy = strategy_of(live)
    assert_bars(strategy.of("4h"), resampled(week, "4h").iloc[:-1], "4h")
    # Not a minute after its end, though Monday is far; nor was one of the open market closed before its bars came.
    half_day_ns = pd.Timestamp("2020-11-27 20:00", tz="UTC").value
    assert told[f"4h {half_day_ns}"] == half_day_ns
    assert strategy.decided == (week.loc["2020-11-27"]["close"].iloc[-1], half_day_ns)
    assert live.late_events == 0


def test_without_hours_a_heartbeat_does_not_close_what_bars_may_yet_come_for() -> None:
    data = walk(90)
    engine = engine_of(Follower, timeframes=("1h",))
    engine.process_all(data[:50])
    engine.process(Heartbeat(START + 80 * MINUTE, START + 80 * MINUTE))
    assert not strategy_of(engine).of("1h")
    engine.process_all(data[50:])
    assert [bar.close for bar in strategy_of(engine).of("1h")] == [data[59].close]
    assert strategy_of(engine).of("1h")[0].volume == sum(bar.volume for bar in data[:60])


# -- warm-up, swap and resume ----------------------------------------------------------------


class Wide(Follower):
    """Indicators of two timeframes, one of them of whole bars."""

    timeframes = ("1h",)

    def setup(self) -> None:
        super().setup()
        self.range = self.indicator(qf.ATR, 3, timeframe="1h")
        self.average = self.indicator(qf.SMA, 4, timeframe="15m")
        self.fast = self.indicator(qf.SMA, 5)

    def on_start(self) -> None:
        super().on_start()
        self.values: dict[tuple[str, int], tuple[float, float]] = {}

    def on_bar(self, bar: Bar) -> None:
        super().on_bar(bar)
        self.values[bar.timeframe, bar.close_ns] = (self.range[bar.symbol].value, self.average[bar.symbol].value)


@pytest.mark.parametrize("cut", [200, 390, 1_001, 1_100, 1_160])
def test_a_warm_up_and_the_rest_give_what_a_whole_run_gives(cut: int, session_ibm: pd.DataFrame) -> None:
    data = events(session_ibm)[:2_000]
    whole, warmed = run(Wide, data), engine_of(Wide, "1m")
    warmed.process(WarmUp(data[cut - 1].close_ns, bars=data[:cut]))
    warmed.process_all(data[cut:])
    strategy = strategy_of(warmed)
    assert strategy.values == whole.values and strategy.told == whole.told
    later = {time for _, time in strategy.values if time > data[cut].close_ns}
    assert len(later) > 800


def test_a_warm_up_of_a_session_of_trades_goes_on_in_the_middle_of_an_hour() -> None:
    bars = walk(400)
    ticks = [
        Tick("A", price, bar.volume / 4, bar.open_ns + place * SECOND, bar.open_ns + place * SECOND)
        for bar in bars[330:]
        for place, price in enumerate((bar.open, bar.high, bar.low, bar.close))
    ]
    whole, warmed = engine_of(Wide, "1m"), engine_of(Wide, "1m")
    whole.process_all(bars)
    warmed.process(WarmUp(bars[329].close_ns, bars=bars[:330]))
    warmed.process_all(ticks)
    warmed.process(Heartbeat(bars[-1].close_ns, bars[-1].close_ns))
    assert strategy_of(warmed).values == strategy_of(whole).values
    hours = [strategy_of(one).of("1h") for one in (warmed, whole)]
    assert [(bar.open, bar.high, bar.low, bar.close) for bar in hours[0]] == [
        (bar.open, bar.high, bar.low, bar.close) for bar in hours[1]
    ]


class Minutes:
    """A provider of history that has minutes only."""

    name = "minutes"
    timeframes = ("1m",)

    def __init__(self, bars: Sequence[Bar]) -> None:
        self.own = bars

    async def bars(self, symbol: str, timeframe: str, start_ns: int, end_ns: int) -> Any:
        from qfkit.tables import bar_columns

        found = [bar for bar in self.own if start_ns <= bar.open_ns < end_ns]
        if found:
            yield bar_columns(found)[symbol]

    async def close(self) -> None:
        pass


class WithHistory(HandFeed):
    timeframe = "1m"

    def __init__(self, bars: Sequence[Bar], now_ns: int) -> None:
        super().__init__(["A"])
        self._bars, self._time_ns = bars, now_ns

    def history_source(self) -> Minutes:  # type: ignore[override]
        return Minutes(self._bars)


@pytest.mark.parametrize(("count", "step"), [(100, "1m"), (300, "1m"), (37, "5m")])
def test_a_fetched_warm_up_begins_with_whole_higher_bars(count: int, step: str) -> None:
    bars = walk(1_000)
    now_ns = bars[799].close_ns + 5 * SECOND
    past = asyncio.run(FetchedPast(count, step, "1m", ("15m", "1h")).bars(WithHistory(bars, now_ns), now_ns))
    assert past.bars[0].open_ns % HOUR == 0
    base = timeframe_ns(step)
    closed = {bar.open_ns // base for bar in past.bars if (bar.open_ns // base + 1) * base <= now_ns}
    assert count <= len(closed) < count + HOUR // base
    engine = engine_of(Follower, step, timeframes=("1h",))
    engine.process(WarmUp(now_ns, bars=past.bars, unfinished=past.unfinished))
    told = strategy_of(engine).of("1h")
    whole = run(Follower, bars[:800], step, timeframes=("1h",)).of("1h")
    assert told and told == whole[-len(told) :]


def test_a_live_session_fetches_so_much_by_itself() -> None:
    bars = walk(500)
    feed = WithHistory(bars[:330], bars[329].close_ns + 5 * SECOND)
    session = qf.paper(Wide(), feed, warmup=200, name="wide").start()
    until(lambda: session.snapshot.events == 1)
    for bar in bars[330:]:
        feed.give(bar)
    feed.end()
    session.wait(20)
    whole = run(Wide, bars[120:])
    # Two hundred bars begin at 2:10, so it begins with the hour.
    strategy = next(iter(session._pipeline.engine.desks.values())).strategy
    assert isinstance(strategy, Wide) and strategy.told[0].close_ns >= START + 2 * HOUR
    assert {key: value for key, value in whole.values.items() if key in strategy.values} == strategy.values
    assert strategy.values and session.verify()


def test_a_swap_in_the_middle_of_an_hour_warms_from_the_kept_bars(session_ibm: pd.DataFrame) -> None:
    data = events(session_ibm)[:2_000]
    whole = run(Wide, data)
    for cut in (640, 713, 780, 799):
        engine = Engine({"one": Follower()}, cash=1e6, resolve=lambda key: kind(Wide))
        engine.process_all(data[:cut])
        engine.process(SwapStrategy(engine.clock_ns, to="Wide", parameters={}))
        engine.process_all(data[cut:])
        strategy = strategy_of(engine)
        after = {key: value for key, value in whole.values.items() if key[1] >= data[cut].close_ns}
        assert strategy.values == after and len(after) > 1_000


def test_a_swap_with_fewer_bars_kept_than_there_were_makes_no_bar_of_a_part() -> None:
    data = walk(KEPT_BARS + 600)
    hours = run(Follower, data, timeframes=("1h", "1d")).of("1h")
    cut = KEPT_BARS + 215
    engine = Engine({"one": Follower()}, cash=1e6, resolve=lambda key: kind(Wide, timeframes=("1h", "1d")))
    engine.process_all(data[:cut])
    engine.process(SwapStrategy(engine.clock_ns, to="Wide", parameters={}))
    engine.process_all(data[cut:])
    strategy = strategy_of(engine)
    kept = strategy.bars("A", 100, timeframe="1h")
    assert kept == hours[-len(kept) :] and len(kept) > 20
    # The first day began with bars that are not kept any more.
    assert data[cut - KEPT_BARS].open_ns > START and not strategy.bars("A", 10, timeframe="1d")


def test_a_suspended_session_goes_on_in_the_middle_of_an_hour() -> None:
    class Trades(Wide):
        def on_bar(self, bar: Bar) -> None:
            super().on_bar(bar)
            if bar.timeframe == "1h":
                self.order_target(bar.symbol, quantity=round(self.range[bar.symbol].value * 1_000) % 7)

    data = walk(600)
    whole = qf.backtest(Trades, data, progress=False)
    assert len(whole.fills) > 3
    feed = HandFeed()
    feed._time_ns = data[0].open_ns
    left = qf.paper(Trades(), feed, timeframe="1m", name="left").start()
    feed.give(*data[:333])
    until(lambda: left.snapshot.events == 333)
    left.suspend()
    feed = HandFeed()
    feed._time_ns = data[332].close_ns
    resumed = qf.resume("left", feed=feed, strategies=Trades).start()
    until(lambda: feed.state == "live")
    feed.give(*data[333:])
    until(lambda: resumed.snapshot.symbols[0].time_ns == data[-1].close_ns)
    resumed.stop()
    assert resumed.verify()
    for name in ("fills", "orders", "signals"):
        pd.testing.assert_frame_equal(getattr(resumed, name), getattr(whole, name), check_exact=True)


# -- against a naive resampling --------------------------------------------------------------


def naive(rows: Sequence[Bar], timeframe: str) -> list[tuple[float, float, float, float, float, int, int]]:
    """Group the rows by the interval that their open lies in."""
    step_ns = timeframe_ns(timeframe)
    groups: dict[int, list[Bar]] = {}
    for row in rows:
        groups.setdefault(row.open_ns - row.open_ns % step_ns, []).append(row)
    return [
        (
            own[0].open, max(row.high for row in own), min(row.low for row in own), own[-1].close,
            sum(row.volume for row in own), open_ns, open_ns + step_ns,
        )
        for open_ns, own in groups.items()
    ]  # fmt: skip


def plain(bar: Bar) -> tuple[float, float, float, float, float, int, int]:
    return (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.open_ns, bar.close_ns)


class Peeks(Follower):
    """At each call, what is kept of every timeframe."""

    def on_bar(self, bar: Bar) -> None:
        super().on_bar(bar)
        for timeframe in self.timeframes:
            kept = [plain(one) for one in self.bars(bar.symbol, 1_000, timeframe=timeframe)]
            assert kept == self.known(timeframe, bar.close_ns), (bar, timeframe)

    @classmethod
    def known(cls, timeframe: str, time_ns: int) -> list[tuple[float, ...]]:
        return [one for one in cls.reference[timeframe] if one[-1] <= time_ns]  # type: ignore[attr-defined]


# Volumes are whole numbers, so that sums are exact in whatever order.
gappy = st.lists(
    st.tuples(st.one_of(st.just(1), st.integers(1, 4), st.integers(1, 200)), st.integers(1, 40), st.integers(0, 9)),
    min_size=5,
    max_size=120,
)


def gappy_bars(steps: Sequence[tuple[int, int, int]]) -> list[Bar]:
    minute, made = 0, []
    for gap, price, volume in steps:
        minute += gap
        open_ns = START + minute * MINUTE
        made.append(
            Bar(
                "A",
                "1m",
                price,
                price + volume,
                max(1, price - 1),
                price + volume / 2,
                volume,
                open_ns,
                open_ns + MINUTE,
            )
        )
    return made


@given(
    gappy, st.sets(st.sampled_from(("2m", "3m", "5m", "7m", "15m", "1h", "90m", "4h", "1d")), min_size=1, max_size=4)
)
@settings(max_examples=150, deadline=None)
def test_random_bars_with_gaps_equal_a_naive_resampling(steps: list[tuple[int, int, int]], chosen: set[str]) -> None:
    data = gappy_bars(steps)
    reference = {timeframe: naive(data, timeframe) for timeframe in chosen}
    strategy = run(Peeks, data, timeframes=tuple(chosen), reference=reference)
    for timeframe in chosen:
        assert [plain(bar) for bar in strategy.of(timeframe)] == strategy.known(timeframe, data[-1].close_ns)
    assert strategy.clocks == sorted(strategy.clocks)


@given(gappy, st.sets(st.sampled_from(("10m", "15m", "1h", "4h")), min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_random_bars_that_the_base_is_built_from(steps: list[tuple[int, int, int]], chosen: set[str]) -> None:
    data = gappy_bars(steps)
    reference = {timeframe: naive(data, timeframe) for timeframe in {*chosen, "5m"}}
    strategy = run(Peeks, data, "5m", timeframes=tuple(chosen), reference=reference)
    for timeframe in (*chosen, "5m"):
        told = [plain(bar) for bar in strategy.of(timeframe)]
        # Up to the last bar; what ended in a gap after it, nobody knows yet.
        assert told == strategy.known(timeframe, data[-1].close_ns)


@given(gappy, st.sets(st.sampled_from(("3m", "5m", "1h", "4h")), min_size=1, max_size=3), st.booleans())
@settings(max_examples=100, deadline=None)
def test_random_ticks_equal_a_naive_resampling(
    steps: list[tuple[int, int, int]], chosen: set[str], beats: bool
) -> None:
    minutes = gappy_bars(steps)
    data: list[Event] = []
    for bar in minutes:
        prices = (bar.open, bar.high, bar.low, bar.close)
        data += [
            Tick("A", price, bar.volume if place == 0 else 0.0, bar.open_ns + place, bar.open_ns + place)
            for place, price in enumerate(prices)
        ]
        if beats:
            data.append(Heartbeat(bar.close_ns + MINUTE // 2, bar.close_ns + MINUTE // 2))
    data.sort(key=lambda event: event.received_ns)
    reference = {timeframe: naive(minutes, timeframe) for timeframe in {*chosen, "1m"}}
    strategy = run(kind(Follower), data, "1m", timeframes=tuple(chosen))
    last_ns = max(event.time_ns for event in data)
    for timeframe in (*chosen, "1m"):
        assert [plain(bar) for bar in strategy.of(timeframe)] == [
            one for one in reference[timeframe] if one[-1] <= last_ns
        ]


class SeesBefore(Watcher):
    """And how the lines stood one bar before the first question."""

    def on_start(self) -> None:
        super().on_start()
        self.before: list[tuple[float, float]] = []

    def on_bar(self, bar: Bar) -> None:
        if not self.rows:
            self.before = [(self.first[bar.symbol].previous, self.second[bar.symbol].previous)]
        super().on_bar(bar)


PAIRS = {
    "two of 5m": (("5m", "close"), ("5m", "open")),
    "5m and 15m": (("5m", "close"), ("15m", "close")),
    "base and 5m": ((None, "close"), ("5m", "close")),
    "15m and base": (("15m", "close"), (None, "open")),
}


@pytest.mark.parametrize("pair", list(PAIRS.values()), ids=list(PAIRS))
@given(gappy, st.booleans(), st.integers(1, 400))
@settings(max_examples=120, deadline=None)
def test_a_crossing_is_heard_once_on_the_base_bar_after_it(
    pair: tuple[tuple[str | None, str], tuple[str | None, str]],
    steps: list[tuple[int, int, int]],
    on_ticks: bool,
    beat_s: int,
) -> None:
    """The answers are those of the values seen, whether bars close in time, late, alone or several at once."""

    def lines(strategy: qf.Strategy) -> tuple[Any, ...]:
        return tuple(strategy.indicator(qf.Price, timeframe=timeframe, source=source) for timeframe, source in pair)

    data: list[Event] = list(gappy_bars(steps))
    if on_ticks:
        ticks = [Tick("A", bar.close, 1.0, bar.open_ns, bar.open_ns) for bar in data if isinstance(bar, Bar)]
        times = range(ticks[0].time_ns, ticks[-1].time_ns, beat_s * SECOND)
        data = sorted([*ticks, *(Heartbeat(one, one) for one in times)], key=lambda event: event.received_ns)
    strategy = run(SeesBefore, data, "1m", lines=staticmethod(lines))
    # The first question looks one bar back where the lines move together.
    seen = [*strategy.before, *strategy.rows] if pair[0][0] == pair[1][0] else strategy.rows
    assert strategy.found[1:] == crossings(seen)[len(seen) - len(strategy.rows) :][1:]
    assert strategy.turned == strategy.found


@given(st.integers(0, 2**61), st.sampled_from(("1s", "7s", "1m", "7m", "1h", "5h", "1d", "3d", "1w", "2w")))
def test_the_grid_has_no_holes_and_weeks_begin_on_mondays(time_ns: int, timeframe: str) -> None:
    open_ns, step_ns = bar_open_ns(timeframe, time_ns), timeframe_ns(timeframe)
    assert open_ns <= time_ns < open_ns + step_ns
    assert bar_open_ns(timeframe, open_ns) == open_ns and bar_open_ns(timeframe, open_ns - 1) == open_ns - step_ns
    if timeframe.endswith("w"):
        assert pd.Timestamp(open_ns).day_of_week == 0 and open_ns % DAY == 0
    builder = BarBuilder("A", timeframe)
    builder.close_before(time_ns)
    assert (builder.open_ns, builder.close_ns) == (open_ns, open_ns + step_ns) or time_ns < step_ns


# -- what does not fit -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timeframe", "base", "message"),
    [
        ("30s", "1m", "bars of 30s cannot be built from bars of 1m; ask for a multiple of 1m"),
        ("7m", "5m", "bars of 7m .* bars of 5m; ask for a multiple of 5m, such as 10m, or run on a smaller timeframe"),
        ("90m", "1h", "such as 2h, or run"),
        ("1w", "3d", "such as 6d or 9d, or run"),
        ("14d", "1w", "bars of 14d cannot be built from bars of 1w"),
    ],
)
@pytest.mark.parametrize("how", ["follow", "indicator"])
def test_a_timeframe_that_cannot_be_built_says_what_can(timeframe: str, base: str, message: str, how: str) -> None:
    class Asks(qf.Strategy):
        def setup(self) -> None:
            if how == "follow":
                self.follow(timeframe)
            else:
                self.average = self.indicator(qf.SMA, 3, timeframe=timeframe)

    with pytest.raises(TimeframeError, match=message):
        Engine({"one": Asks()}, cash=1.0, timeframe=base, symbols=("A",))
    # In a session it is said when it is made, not with its first event.
    with pytest.raises(TimeframeError, match=message):
        qf.paper(Asks(), HandFeed(), timeframe=base)


def test_a_swap_to_what_does_not_fit_is_refused_at_once() -> None:
    feed = HandFeed()
    session = qf.paper(Follower(), feed, name="fits", timeframe="1m").start()
    with pytest.raises(TimeframeError, match="bars of 90s cannot be built from bars of 1m"):
        session.swap(kind(Follower, timeframes=("90s",)))
    session.stop()


@pytest.mark.parametrize(
    ("given_", "meant"),
    [("5min", "5m"), ("1H", "1h"), ("1D", "1d"), ("D", "1d"), ("15 m", "15m"), ("1hour", "1h"), ("30T", "30m"),
     ("1wk", "1w"), ("2 days", "2d"), ("10sec", "10s")],
)  # fmt: skip
def test_a_timeframe_as_others_write_it_says_how_it_is_written_here(given_: str, meant: str) -> None:
    with pytest.raises(TimeframeError, match=f'such as .*Did you mean "{meant}"[?]'):
        run(Reader, [], higher=given_)


@pytest.mark.parametrize("given_", ["1M", "3M", "M", "0m", "", "m5", 5, None, "1month"])
def test_what_is_no_length_suggests_nothing_wrong(given_: Any) -> None:
    with pytest.raises(TimeframeError, match="cannot be read") as caught:
        run(Follower, [], timeframes=(given_,))
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize("how", ["indicator", "follow"])
@pytest.mark.parametrize("hook", ["on_start", "on_bar"])
def test_what_comes_after_setup_is_refused_and_not_forgotten(how: str, hook: str) -> None:
    def late(self: qf.Strategy, *args: object) -> None:
        self.follow("5m") if how == "follow" else self.indicator(qf.SMA, 3)

    with pytest.raises(StrategyError, match=rf"self\.{how}\(\.\.\.\) works in setup only"):
        run(type("Late", (qf.Strategy,), {hook: late}), walk(3))
