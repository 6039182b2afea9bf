"""The figures of a run against empyrical and numbers worked by hand; running figures against batch ones."""

import gzip
import io
import math
import random
import sys
from datetime import UTC, datetime
from importlib.resources import files

import empyrical
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from qfkit.core.deals import exposure_of
from qfkit.core.engine import Engine
from qfkit.core.metrics import Metrics, infer_annualisation, measure
from qfkit.core.orders import Fill, Side, Trade
from qfkit.core.running import RunningMetrics
from qfkit.core.strategy import Strategy
from qfkit.core.wording import count, money, multiple, percent, share, span, span_text, utc_time
from qfkit.errors import DataError
from tests.support import DAY, MINUTE, START, walk

HOUR = 60 * MINUTE


def _ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def _closes(symbol: str) -> tuple[np.ndarray, np.ndarray]:
    packed = files("bokeh_sampledata").joinpath("_data/stocks.csv.gz").read_bytes()
    frame = pd.read_csv(io.BytesIO(gzip.decompress(packed)), parse_dates=["Date"])
    frame = frame[frame["Ticker"] == symbol]
    times = frame["Date"].to_numpy().astype("datetime64[ns]").astype(np.int64)
    return times, frame["Adj Close"].to_numpy(float)


def _random_curve(seed: int) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    days = np.arange(1_200)
    days = days[days % 7 < 5]
    equity = 1e5 * np.exp(np.cumsum(chance.standard_t(3, len(days)) * 0.01))
    return START + days * DAY, equity


CURVES = {
    **{symbol: _closes(symbol) for symbol in ("AAPL", "GOOG", "IBM", "MSFT")},
    **{f"random {seed}": _random_curve(seed) for seed in range(6)},
}
each_curve = pytest.mark.parametrize("name", CURVES)


def _measured(name: str) -> Metrics:
    times, equity = CURVES[name]
    return measure(times, equity, starting_equity=equity[0])


def _flat(count_of_points: int, value: float = 100.0, step: int = DAY) -> Metrics:
    times = START + np.arange(count_of_points) * step
    return measure(times, np.full(count_of_points, value), starting_equity=100.0)


# -- return and risk against empyrical ---------------------------------------------------------


@each_curve
def test_return_and_risk_are_empyricals(name: str) -> None:
    times, equity = CURVES[name]
    found = _measured(name)
    returns = equity[1:] / equity[:-1] - 1.0
    years = (times[-1] - times[0]) / (365.25 * DAY)
    assert found.periods_per_year == 252.0
    # empyrical's years are those of a count of periods, ours those of the calendar.
    growth = empyrical.cagr(returns, annualization=len(returns) / years)
    depth = -empyrical.max_drawdown(returns)
    expected = {
        "total_return": empyrical.cum_returns_final(returns),
        "cagr": growth,
        "volatility": empyrical.annual_volatility(returns, period="daily"),
        "sharpe": empyrical.sharpe_ratio(returns, period="daily"),
        "sortino": empyrical.sortino_ratio(returns, period="daily"),
        "max_drawdown": depth,
        "calmar": growth / depth,
        "value_at_risk": -empyrical.value_at_risk(returns),
        "expected_shortfall": -empyrical.conditional_value_at_risk(returns),
    }
    for figure, value in expected.items():
        assert found[figure] == pytest.approx(value, rel=1e-9), figure
    assert found.calmar == pytest.approx(empyrical.calmar_ratio(returns, annualization=len(returns) / years), rel=1e-9)
    assert found.periods == len(returns)


@each_curve
def test_drawdown_and_its_length_are_those_of_a_plain_loop(name: str) -> None:
    times, equity = CURVES[name]
    found = _measured(name)
    points = list(zip(times.tolist(), equity.tolist(), strict=True))
    deepest, deepest_days, longest = 0.0, 0.0, 0.0
    place = 0
    while place < len(points):
        # From each peak to the first point that is back at it, or to the end.
        peak_at, peak = points[place]
        back = next((later for later in range(place + 1, len(points)) if points[later][1] >= peak), len(points))
        below = [value for _, value in points[place + 1 : back]]
        if below:
            days = (points[min(back, len(points) - 1)][0] - peak_at) / DAY
            longest = max(longest, days)
            if 1.0 - min(below) / peak > deepest:
                deepest, deepest_days = 1.0 - min(below) / peak, days
        place = back
    assert found.max_drawdown == pytest.approx(deepest, rel=1e-12)
    assert found.max_drawdown_days == deepest_days
    assert found.longest_drawdown_days == longest


def test_drawdown_worked_by_hand() -> None:
    # Days        0    1    2    3    4    5    6    7    8
    equity = [100, 120, 90, 110, 120, 130, 129, 128, 131]
    found = measure(START + np.arange(9) * DAY, np.array(equity, float), starting_equity=100.0)
    assert found.max_drawdown == 0.25  # 120 to 90
    assert found.max_drawdown_days == 3.0  # day 1 to day 4, when 120 is reached again
    assert found.longest_drawdown_days == 3.0  # the other one: 130 on day 5, 131 on day 8


def test_a_drawdown_that_is_not_over_lasts_to_the_end() -> None:
    found = measure(START + np.arange(5) * DAY, np.array([100.0, 80.0, 90.0, 85.0, 95.0]), starting_equity=100.0)
    assert (found.max_drawdown, found.max_drawdown_days) == (pytest.approx(0.2), 4.0)


def test_the_starting_equity_is_a_peak() -> None:
    found = measure(START + np.arange(3) * DAY, np.array([90.0, 95.0, 99.0]), starting_equity=100.0)
    assert found.max_drawdown == pytest.approx(0.1)
    assert found.total_return == pytest.approx(-0.01)
    assert found.start_equity == 100.0


def test_figures_worked_by_hand() -> None:
    # Returns of +10 %, -10 %, +20 %, -5 % over four days.
    equity = np.array([100.0, 110.0, 99.0, 118.8, 112.86])
    found = measure(START + np.arange(5) * DAY, equity, starting_equity=100.0, periods_per_year=100.0)
    deviation = math.sqrt((0.0625**2 + 0.1375**2 + 0.1625**2 + 0.0875**2) / 3)
    assert found.total_return == pytest.approx(0.1286)
    assert found.volatility == pytest.approx(deviation * 10)
    assert found.sharpe == pytest.approx(0.0375 / deviation * 10)
    assert found.sortino == pytest.approx(0.0375 / math.sqrt((0.1**2 + 0.05**2) / 4) * 10)
    assert found.max_drawdown == pytest.approx(0.1)
    assert math.isnan(found.cagr)  # four days say nothing about a year
    assert math.isnan(found.calmar)
    assert found.expected_shortfall == pytest.approx(0.1)
    assert found.value_at_risk == pytest.approx(0.1 - 0.05 * 3 * 0.05)  # 15 % of the way from -10 % to -5 %
    assert found.assumption == "annualised with 100 periods a year, as given"
    assert found.days == 4.0


def test_growth_a_year_is_that_of_the_calendar() -> None:
    times = np.array([_ns("2020-01-01"), _ns("2020-07-01"), _ns("2022-01-01")])
    found = measure(times, np.array([100.0, 130.0, 121.0]), starting_equity=100.0)
    assert found.cagr == pytest.approx(1.21 ** (365.25 / 731) - 1.0)


# -- trades, fills -----------------------------------------------------------------------------


def _fill(
    side: Side, quantity: float, price: float, at: int, *, fee: float = 0.0, symbol: str = "A", strategy: str = "s"
) -> Fill:
    return Fill(1, 1, symbol, side, quantity, price, fee, at, at, price, strategy, "")


def _trade(pnl: float, days: float = 1.0) -> Trade:
    return Trade("A", "long", 1.0, START, START + int(days * DAY), 100.0, 100.0 + pnl, 0.0, pnl, pnl / 100.0, "s")


def test_trades_worked_by_hand() -> None:
    trades = [_trade(30.0, 1), _trade(-10.0, 2), _trade(0.0, 3), _trade(20.0, 4), _trade(-15.0, 0.5)]
    found = measure(START + np.arange(3) * DAY, np.array([1e3, 1e3, 1e3]), starting_equity=1e3, trades=trades)
    assert found.trades == 5
    assert found.win_rate == pytest.approx(2 / 5)  # nothing earned is nothing won
    assert found.profit_factor == pytest.approx(50 / 25)
    assert found.expectancy == pytest.approx(25 / 5)
    assert (found.best_trade, found.worst_trade) == (30.0, -15.0)
    assert found.average_holding_days == pytest.approx(10.5 / 5)


def test_profit_factor_without_a_loss_is_unknown() -> None:
    found = measure(START + np.arange(3) * DAY, np.full(3, 1e3), starting_equity=1e3, trades=[_trade(5.0)])
    assert math.isnan(found.profit_factor)
    assert (found.win_rate, found.expectancy) == (1.0, 5.0)


def test_fills_worked_by_hand() -> None:
    fills = [
        _fill(Side.BUY, 10.0, 100.0, START + 2 * DAY, fee=1.0),
        _fill(Side.SELL, 4.0, 110.0, START + 3 * DAY, fee=0.5),
        _fill(Side.SELL, 6.0, 120.0, START + 5 * DAY, fee=0.25),
        _fill(Side.SELL, 2.0, 120.0, START + 8 * DAY, fee=0.25),
    ]
    equity = np.linspace(900.0, 1_100.0, 11)
    found = measure(START + np.arange(11) * DAY, equity, starting_equity=900.0, fills=fills)
    assert found.fees == 2.0
    assert found.fills == 4
    assert found.exposure == pytest.approx((3 + 2) / 10)  # day 2 to 5 long, 8 to 10 short
    assert found.turnover_total == pytest.approx((1_000 + 440 + 720 + 240) / 1_000)
    assert found.turnover == pytest.approx(2.4 * 365.25 / 10)


def test_exposure_counts_the_time_with_any_position() -> None:
    fills = [
        _fill(Side.BUY, 1.0, 1.0, 10, symbol="A"),
        _fill(Side.BUY, 1.0, 1.0, 20, symbol="B"),
        _fill(Side.SELL, 1.0, 1.0, 30, symbol="A"),
        _fill(Side.SELL, 1.0, 1.0, 40, symbol="B"),
        _fill(Side.BUY, 1.0, 1.0, 50, strategy="s"),
        _fill(Side.SELL, 1.0, 1.0, 60, strategy="t"),  # two strategies do not cancel out
        _fill(Side.SELL, 1.0, 1.0, 70, strategy="s"),
        _fill(Side.BUY, 1.0, 1.0, 80, strategy="t"),
    ]
    assert exposure_of(fills, 0, 100) == pytest.approx(0.6)
    assert exposure_of(fills, 25, 75) == pytest.approx((15 + 25) / 50)
    assert exposure_of(fills[:1], 0, 100) == pytest.approx(0.9)
    assert exposure_of([], 0, 100) == 0.0
    assert math.isnan(exposure_of([], 5, 5))


def test_a_position_of_rounding_is_none() -> None:
    fills = [_fill(Side.BUY, 0.1, 1.0, 10), _fill(Side.BUY, 0.2, 1.0, 20), _fill(Side.SELL, 0.3, 1.0, 50)]
    assert 0.1 + 0.2 - 0.3 != 0.0
    assert exposure_of(fills, 0, 100) == pytest.approx(0.4)


# -- how a year is reckoned ----------------------------------------------------------------------


def _weekdays(first: str, count_of_days: int, hour: int = 0) -> np.ndarray:
    days = _ns(first) + np.arange(count_of_days) * DAY
    weekday = (days // DAY + 3) % 7
    return days[weekday < 5] + hour * HOUR


@pytest.mark.parametrize(
    ("times", "periods", "words"),
    [
        (_weekdays("2024-01-02", 90), 252.0, "daily equity points on weekdays"),
        (_weekdays("2020-01-02", 2_000, hour=21), 252.0, "daily equity points on weekdays"),
        (START + np.arange(90) * DAY, 365.0, "daily equity points, all week"),
        (START + np.arange(10_000) * MINUTE, 525_600.0, "every 1 minute, around the clock, 365 days"),
        (START + np.arange(2_000) * HOUR, 8_760.0, "every 1 hour, around the clock, 365 days"),
        (START + np.arange(600) * 1_000_000_000, 31_536_000.0, "every 1 second, around the clock"),
        (START + np.arange(60) * 7 * DAY, 52.0, "weekly"),
        (_ns("2020-01-31") + np.round(np.arange(40) * 30.4375).astype(np.int64) * DAY, 12.0, "monthly"),
        (
            np.concatenate([day + (14 * 60 + 31 + np.arange(390)) * MINUTE for day in _weekdays("2024-01-08", 21)]),
            390 * 252.0,
            "every 1 minute, 390 in a session, 252 sessions",
        ),
        (
            _ns("2024-01-08") + (14 * 60 + 31 + np.arange(390)) * MINUTE,
            390 * 252.0,
            "every 1 minute, 390 in a session, 252 sessions",
        ),
    ],
    ids=[
        "shares",
        "shares at the close",
        "crypto days",
        "minutes",
        "hours",
        "seconds",
        "weeks",
        "months",
        "sessions",
        "session",
    ],
)
def test_periods_a_year_are_read_from_the_times(times: np.ndarray, periods: float, words: str) -> None:
    year = infer_annualisation(times)
    assert year.periods_per_year == periods
    assert year.assumption == f"annualised with {periods:,.0f} periods a year: {year.assumption.split(': ')[1]}"
    assert words in year.assumption


def test_real_daily_shares_are_annualised_with_252() -> None:
    assert _measured("AAPL").assumption == "annualised with 252 periods a year: daily equity points on weekdays"


@pytest.mark.parametrize("count_of_points", [0, 1, 2])
def test_too_few_points_are_not_annualised(count_of_points: int) -> None:
    year = infer_annualisation(START + np.arange(count_of_points) * DAY)
    assert math.isnan(year.periods_per_year)
    assert year.assumption == "not annualised: fewer than three equity points"


def test_points_of_one_time_are_not_annualised() -> None:
    assert "no distinct times" in infer_annualisation(np.full(10, START)).assumption


# -- degenerate runs: no warning, which would be an error here ------------------------------------


@pytest.mark.parametrize("count_of_points", [0, 1, 2, 3, 500])
def test_equity_that_never_moves(count_of_points: int) -> None:
    found = _flat(count_of_points)
    assert (found.total_return, found.max_drawdown, found.max_drawdown_days) == (0.0, 0.0, 0.0)
    assert (found.turnover_total, found.fees, found.trades, found.fills) == (0.0, 0.0, 0, 0)
    for figure in (
        "sharpe",
        "sortino",
        "calmar",
        "win_rate",
        "profit_factor",
        "expectancy",
        "best_trade",
        "worst_trade",
    ):
        assert math.isnan(found[figure]), figure
    if count_of_points >= 3:
        assert found.volatility == 0.0
        assert (found.value_at_risk, found.expected_shortfall) == (0.0, 0.0)
        assert math.copysign(1.0, found.value_at_risk) == 1.0
    if count_of_points == 500:
        assert found.cagr == 0.0
    if count_of_points < 2:
        assert math.isnan(found.exposure)
        assert math.isnan(found.turnover)
        assert math.isnan(found.volatility)
        assert found.end_equity == 100.0
    text = repr(found)
    assert "nan" not in text
    assert text.endswith(found.assumption)
    assert "n/a" in found._repr_html_()


def test_equal_returns_have_no_ratio() -> None:
    equity = 100.0 * 1.001 ** np.arange(300)
    found = measure(START + np.arange(300) * DAY, equity, starting_equity=100.0)
    assert math.isnan(found.sharpe)  # their spread is rounding
    assert math.isnan(found.sortino)
    assert found.value_at_risk == pytest.approx(-0.001)  # even the tail gains


def test_a_run_that_lost_everything() -> None:
    found = measure(START + np.arange(60) * DAY, np.linspace(100.0, -18.0, 60), starting_equity=100.0)
    assert found.total_return == pytest.approx(-1.18)
    assert found.max_drawdown == pytest.approx(1.18)
    for figure in ("cagr", "calmar", "volatility", "sharpe", "sortino", "value_at_risk", "expected_shortfall"):
        assert math.isnan(found[figure]), figure


def test_input_that_makes_no_sense() -> None:
    with pytest.raises(DataError, match="one time a value"):
        measure(np.arange(3), np.ones(4), starting_equity=1.0)
    with pytest.raises(DataError, match=r"nan.* at point 1"):
        measure(np.arange(3), np.array([1.0, math.nan, 1.0]), starting_equity=1.0)
    for start in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(DataError, match="starting_equity"):
            measure(np.arange(3), np.ones(3), starting_equity=start)


# -- reading them ---------------------------------------------------------------------------------


def test_figures_are_read_by_name_and_as_a_table() -> None:
    found = _measured("AAPL")
    assert found["sharpe"] == found.sharpe
    assert dict(found)["sharpe"] == found.sharpe
    assert len(found) == len(list(found)) == len(found.to_frame())
    assert found.to_frame().loc["sharpe", "value"] == found.sharpe
    with pytest.raises(KeyError, match="Did you mean 'sharpe'"):
        found["sharp"]
    text = repr(found)
    assert f"{found.sharpe:.2f}" in text

    assert found.assumption in found._repr_html_()


def test_words() -> None:
    assert money(1_234_567.891) == "1,234,567.89"
    assert money(-0.001) == "0.00"
    assert percent(0.12346) == "+12.35 %"
    assert percent(-0.00001) == "+0.00 %"
    assert share(0.5) == "50.00 %"
    assert multiple(3.2) == "3.20 x"
    assert count(1_234.0) == "1,234"
    assert [span(days) for days in (3.25, 0.5, 0.01, 1e-4)] == ["3.2 d", "12.0 h", "14.4 min", "8.6 s"]
    assert {style(math.nan) for style in (money, percent, share, multiple, span)} == {"n/a"}
    assert utc_time(_ns("2013-03-01T14:30:05")) == "2013-03-01 14:30:05"
    assert span_text(_ns("2000-03-02"), _ns("2013-03-02")) == "2000-03-01 to 2013-03-01 UTC"
    assert span_text(_ns("2020-01-01T10:00"), _ns("2020-01-01T11:00")) == "2020-01-01 10:00:00 to 11:00:00 UTC"


# -- running figures -----------------------------------------------------------------------------


@each_curve
def test_running_figures_are_the_batch_ones(name: str) -> None:
    times, equity = CURVES[name]
    running = RunningMetrics(float(equity[0]))
    for at, value in zip(times.tolist(), equity.tolist(), strict=True):
        running.update(at, value)
    found = _measured(name)
    returns = equity[1:] / equity[:-1] - 1.0
    assert running.max_drawdown == found.max_drawdown
    assert running.peak == equity.max()
    assert running.drawdown == 1.0 - equity[-1] / equity.max()
    assert (running.time_ns, running.equity, running.count) == (times[-1], equity[-1], len(returns))
    assert running.mean == pytest.approx(np.mean(returns), rel=1e-11)
    assert running.variance == pytest.approx(np.var(returns, ddof=1), rel=1e-11)
    assert math.sqrt(running.variance * 252) == pytest.approx(found.volatility, rel=1e-11)


@given(some.lists(some.integers(-5_000, 100_000_000), max_size=30), some.lists(some.integers(0, 30), max_size=5))
def test_running_figures_do_not_depend_on_how_points_come_in(cents: list[int], cuts: list[int]) -> None:
    equity = [value / 100.0 for value in cents]
    one, many = RunningMetrics(100.0), RunningMetrics(100.0)
    rows = [(place, value) for place, value in enumerate(equity)]
    for row in rows:
        one.update(*row)
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    for start, end in zip(edges, edges[1:], strict=False):
        many.update_all(rows[start:end])
    names = ("time_ns", "equity", "peak", "max_drawdown", "drawdown", "mean", "variance", "count")
    np.testing.assert_array_equal([getattr(one, name) for name in names], [getattr(many, name) for name in names])
    batch = measure(np.arange(len(equity)), np.array(equity), starting_equity=100.0)
    assert one.max_drawdown == batch.max_drawdown


def test_running_figures_before_the_first_point() -> None:
    running = RunningMetrics(100.0)
    assert (running.peak, running.equity, running.max_drawdown, running.drawdown, running.count) == (100, 100, 0, 0, 0)
    assert math.isnan(running.variance)


def test_running_figures_take_constant_memory() -> None:
    running, chance = RunningMetrics(100.0), random.Random(1)

    def size() -> int:
        return sum(sys.getsizeof(getattr(running, name)) for name in RunningMetrics.__slots__)

    running.update(START, 101.0)
    before = size()
    for place in range(20_000):
        running.update(START + place, chance.uniform(50.0, 150.0))
    assert not hasattr(running, "__dict__")
    assert size() <= before + 32


def test_the_engine_and_the_batch_figures_agree() -> None:
    class Holder(Strategy):
        def on_bar(self, bar: object) -> None:
            if not self.position("A"):
                self.buy("A", quantity=100.0)

    engine = Engine({"holder": Holder()}, cash=20_000.0)
    engine.process_all(walk(2_000, seed=3))
    engine.measure()
    rows = engine.records.equity
    times, equity = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    found = measure(times, equity, starting_equity=20_000.0, fills=engine.records.fills)
    assert engine.metrics.max_drawdown == found.max_drawdown > 0.0
    assert engine.metrics.peak == max(equity.max(), 20_000.0)
    assert found.periods_per_year == 525_600.0
    assert found.exposure == pytest.approx(1.0, abs=0.01)
