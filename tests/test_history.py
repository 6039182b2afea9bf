"""History in a cell or a script: what it gives, what it refuses, and that a backtest takes it as it is."""

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

import qfkit as qf
from qfkit.errors import ConnectionFailedError, NaiveTimeError, ParameterError, SymbolError, TimeframeError
from qfkit.feeds.binance_rest import BinanceRest
from qfkit.histories import history, history_source
from tests.servers.exchange import Exchange, ExchangeServer
from tests.test_history_cache import DAY, FakeSource

MINUTE_MS = 60_000


class Market(FakeSource):
    """As the fake source, up to now; one symbol it does not have."""

    def __init__(self) -> None:
        super().__init__(time.time_ns())

    async def bars(self, symbol, *args):
        if symbol == "NONE":
            raise SymbolError("no such symbol")
        async for page in super().bars(symbol, *args):
            yield page


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExchangeServer]:
    """An exchange on the runner's thread, where Binance's address leads to; 1,500 minutes were traded on it."""
    exchange = Exchange()
    now_ms = time.time_ns() // 1_000_000
    for minute in range(1_500, -1, -1):
        if minute % 7:
            exchange.trade("BTCUSDT", time_ms=now_ms - minute * MINUTE_MS)
        exchange.trade("ETHUSDT", time_ms=now_ms - minute * MINUTE_MS)

    # The search for a bar's trades goes through all of them, so they are put by minute here.
    by_minute = {}
    for symbol, market in exchange.markets.items():
        for one in market.trades:
            by_minute.setdefault((symbol, one.time_ms // MINUTE_MS), []).append(one)
    whole = exchange.kline

    def kline(symbol, open_ms, step_ms):
        if step_ms == MINUTE_MS and (symbol, open_ms // MINUTE_MS) not in by_minute:
            return None
        market = exchange.markets[symbol]
        everything, market.trades = market.trades, by_minute.get((symbol, open_ms // MINUTE_MS), [])
        try:
            return whole(symbol, open_ms, step_ms)
        finally:
            market.trades = everything

    exchange.kline = kline
    server = ExchangeServer(exchange)
    qf.run(server.__aenter__())
    monkeypatch.setenv("QFKIT_BINANCE_REST_URL", server.rest_url)
    yield server
    qf.run(server.__aexit__())


def test_one_symbol_is_a_frame_and_is_paged_and_cached(server: ExchangeServer) -> None:
    now = pd.Timestamp.now(tz="UTC")
    frame = history("BTCUSDT", days=1, timeframe="1m")
    assert list(frame.columns) == ["open", "high", "low", "close", "volume"]
    assert frame.index.name == "time" and str(frame.index.tz) == "UTC" and frame.index.is_monotonic_increasing
    assert frame.attrs == {"symbol": "BTCUSDT", "timeframe": "1m"}
    assert 1_200 < len(frame) < 1_240
    assert (frame.index[-1] + pd.Timedelta("1min")) <= now + pd.Timedelta("5s")
    assert len(server.asked) == 2
    again = history("BTCUSDT", days=1, timeframe="1m")
    assert len(server.asked) == 3
    assert "startTime" in server.asked[2]
    pd.testing.assert_frame_equal(again.loc[frame.index[1] : frame.index[-1]], frame.iloc[1:])
    by_hand = history("BTCUSDT", days=1, timeframe="1m", use_cache=False)
    pd.testing.assert_frame_equal(again, by_hand.loc[again.index[0] :])


def test_several_symbols_are_a_dict_that_a_backtest_takes(server: ExchangeServer) -> None:
    frames = history(["BTCUSDT", "ETHUSDT"], days=1, timeframe="1m")
    assert list(frames) == ["BTCUSDT", "ETHUSDT"]
    result = qf.backtest(qf.MovingAverageCrossover(fast=5, slow=20), frames)
    assert result.timeframe == "1m" and set(result.bars.symbol) == {"BTCUSDT", "ETHUSDT"}
    own = result.bars[result.bars.symbol == "ETHUSDT"]
    np.testing.assert_array_equal(own.close.to_numpy(), frames["ETHUSDT"].close.to_numpy())
    assert list(own.index) == list(frames["ETHUSDT"].index)
    alone = qf.backtest(qf.MovingAverageCrossover(fast=5, slow=20), frames["BTCUSDT"])
    assert set(alone.fills.symbol) == {"BTCUSDT"}


async def test_it_works_inside_a_running_loop() -> None:
    assert len(history("A", days=30, source=Market())) > 15


def test_daily_bars_with_weekends_are_read_as_daily_by_a_backtest() -> None:
    frame = history("A", days=365, source=Market())
    assert qf.backtest(qf.MovingAverageCrossover(fast=3, slow=7), frame).timeframe == "1d"


def test_the_unfinished_bar_is_dropped_or_marked() -> None:
    source = Market()
    start = datetime.now(UTC) - timedelta(hours=60)
    dropped = history("A", start=start, timeframe="1h", source=source)
    marked = history("A", start=start, timeframe="1h", source=source, unfinished="mark")
    assert "is_finished" not in dropped
    if datetime.now(UTC).weekday() < 5:
        assert len(marked) == len(dropped) + 1 and list(marked.is_finished.tail(2)) == [True, False]
    pd.testing.assert_frame_equal(marked[marked.is_finished].drop(columns="is_finished"), dropped)
    with pytest.raises(ParameterError, match="unfinished='keep'"):
        history("A", days=3, source=source, unfinished="keep")


def test_start_and_end_take_times_dates_and_text() -> None:
    source = Market()
    wanted = history("A", start=datetime(2024, 1, 1, tzinfo=UTC), end=datetime(2024, 3, 1, tzinfo=UTC), source=source)
    assert wanted.index[0] == pd.Timestamp("2024-01-01", tz="UTC")
    assert wanted.index[-1] == pd.Timestamp("2024-02-29", tz="UTC")
    for start, end in (
        ("2024-01-01", "2024-03-01"),
        (date(2024, 1, 1), date(2024, 3, 1)),
        (pd.Timestamp("2024-01-01", tz="UTC"), pd.Timestamp("2024-02-29 19:00", tz="America/New_York")),
        ("2024-01-01T00:00Z", "2024-02-29T19:00-05:00"),
    ):
        pd.testing.assert_frame_equal(history("A", start=start, end=end, source=source), wanted)
    pd.testing.assert_frame_equal(history("A", days=60, end="2024-03-01", source=source), wanted)
    assert len(source.asked) == 1


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({}, ParameterError, "days= or start="),
        ({"days": 3, "start": "2024-01-01"}, ParameterError, "both was given"),
        ({"days": 0}, ParameterError, "days=0"),
        ({"days": -2}, ParameterError, "days=-2"),
        ({"days": float("nan")}, ParameterError, "days=nan"),
        ({"days": True}, ParameterError, "days=True"),
        ({"start": datetime(2024, 1, 1)}, NaiveTimeError, "no time zone"),  # noqa: DTZ001
        ({"start": pd.Timestamp("2024-01-01")}, NaiveTimeError, "no time zone"),
        ({"start": "2024-01-01T09:30"}, NaiveTimeError, r"2024-01-01T09:30:00\+00:00"),
        ({"days": 3, "end": datetime(2024, 1, 1)}, NaiveTimeError, "end="),  # noqa: DTZ001
        ({"start": "yesterday"}, ParameterError, "start='yesterday'"),
        ({"start": 5}, ParameterError, "int"),
        ({"start": "1960-01-01"}, ParameterError, "before 1970"),
        ({"start": "2024-03-01", "end": "2024-01-01"}, ParameterError, "not after it"),
        ({"days": 3, "timeframe": "1 day"}, TimeframeError, "1 day"),
        ({"days": 3, "timeframe": "5m"}, TimeframeError, "fake has no bars of '5m': it has 1h, 1d"),
        ({"days": 3, "source": "yaho"}, ParameterError, "Did you mean 'yahoo'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_fix(options, error, text) -> None:
    with pytest.raises(error, match=text):
        history("A", **({"source": Market()} | options))


@pytest.mark.parametrize("symbols", [[], "", ["A", ""], ["A", 5]])
def test_symbols_are_texts(symbols) -> None:
    with pytest.raises(ParameterError, match="symbols="):
        history(symbols, days=3, source=Market())


def test_an_unknown_symbol_is_named_after_the_others_were_fetched() -> None:
    source = Market()
    with pytest.raises(SymbolError, match="NONE: no such symbol"):
        history(["A", "NONE", "B"], days=30, source=source)
    assert source.closes == 1
    source.asked.clear()
    history(["A", "B"], days=29, source=source)
    # What is settled comes from the disk.
    assert all(end - start < 10 * DAY for start, end in source.asked)


def test_binance_names_a_pair_it_does_not_have(server: ExchangeServer) -> None:
    with pytest.raises(SymbolError, match="BTCUSDX"):
        history("BTCUSDX", days=1, timeframe="1m", source="binance")


def test_no_bars_at_all_is_an_error_that_says_so() -> None:
    source = Market()
    source.has_from_ns = time.time_ns()
    with pytest.raises(SymbolError, match="A: no finished bars of 1d between"):
        history("A", days=5, source=source)


def test_a_source_that_is_down_says_so_and_connections_are_closed() -> None:
    source = Market()
    source.is_down = True
    with pytest.raises(ConnectionFailedError, match="fake is down"):
        history("A", days=5, source=source)
    assert source.closes == 1


def test_auto_takes_binance_for_pairs_only() -> None:
    for pair in ("BTCUSDT", "ETHBTC", "btcusdt", "SOLFDUSD"):
        assert isinstance(history_source("auto", pair), BinanceRest)
    source = FakeSource()
    assert history_source(source, "BTCUSDT") is source


def test_the_progress_is_shown_when_asked_for(capsys: pytest.CaptureFixture) -> None:
    history("A", days=300, source=Market(), progress=True)
    assert "history of A" in capsys.readouterr().err
    history("A", days=301, source=Market(), progress=False)
    assert not capsys.readouterr().err
