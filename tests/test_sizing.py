"""Sizing against examples worked by hand, and against pandas and numpy on real bars."""

from collections.abc import Sequence
from math import sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qfkit as qf
from qfkit import sizing
from qfkit.core.events import Bar, Instrument
from qfkit.core.sizing import ClosedTrades, Sized, SizingContext, equal_risk_weights
from qfkit.errors import ParameterError, StrategyError
from qfkit.journal.reader import JournalReader
from qfkit.live.plan import SessionPlan

DAY = 86_400 * 10**9
START = 1_704_153_600 * 10**9
FREE = qf.Costs.ideal()


def bars_of(closes: Sequence[float], symbol: str = "A", *, reach: float = 0.0) -> list[Bar]:
    """Daily bars that open where the last one closed and reach beyond both by ``reach``."""
    opens = [closes[0], *closes[:-1]]
    return [
        Bar(
            symbol, "1d", opened, max(opened, close) + reach, min(opened, close) - reach, close, 1e9,
            START + day * DAY, START + (day + 1) * DAY,
        )
        for day, (opened, close) in enumerate(zip(opens, closes, strict=True))
    ]  # fmt: skip


def context(closes: dict[str, Sequence[float]], **more) -> SizingContext:
    """100,000 of equity; the first symbol is the one that is ordered."""
    bars = {symbol: bars_of(own, symbol) for symbol, own in closes.items()}
    symbol = next(iter(closes))
    price = closes[symbol][-1]
    given = {
        "side": 1.0, "price": price, "entry_price": price, "stop_price": None, "equity": 100_000.0, "cash": 100_000.0,
        "trades": ClosedTrades(0, 0, 0.0, 0.0),
    }  # fmt: skip
    return SizingContext(
        symbol=symbol, symbols=tuple(closes), bars=lambda name, count: bars[name][-count:], **{**given, **more}
    )


def size(sizer: sizing.Sizer, where: SizingContext) -> Sized:
    answer = sizer(where)
    return answer if isinstance(answer, Sized) else Sized(answer)


# -- by hand ----------------------------------------------------------------------------------------


def test_fixed_sizes() -> None:
    where = context({"A": [50.0]})
    assert size(sizing.FixedQuantity(7.0), where).quantity == 7.0
    assert size(sizing.FixedNotional(1_000.0), where).quantity == 20.0
    assert size(sizing.FractionOfEquity(0.25), where).quantity == 500.0
    assert size(sizing.EqualWeight(), context({"A": [50.0], "B": [1.0], "C": [1.0], "D": [1.0]})).quantity == 500.0


def test_risk_per_trade_to_a_given_stop() -> None:
    # 1 % of 100,000 is 1,000; from 50 to 48 is 2 a share: 500 shares lose it.
    where = context({"A": [50.0]}, stop_price=48.0)
    sized = size(sizing.RiskPerTrade(0.01), where)
    assert sized.quantity == 500.0
    assert sized.numbers == {"equity": 100_000.0, "fraction": 0.01, "distance to the stop": 2.0}
    # A limit order's distance is from its limit: 47 to 48 is 1.
    assert (
        size(sizing.RiskPerTrade(0.01), context({"A": [50.0]}, stop_price=46.0, entry_price=47.0)).quantity == 1_000.0
    )


def test_risk_per_trade_by_the_average_true_range() -> None:
    # Closes 10 12 11 15: the true ranges are 2, 1 and 4, their mean 7 / 3, twice that 14 / 3.
    sized = size(sizing.RiskPerTrade(0.01, atr_multiple=2.0, atr_period=3), context({"A": [10.0, 12.0, 11.0, 15.0]}))
    assert sized.numbers["average true range"] == pytest.approx(7 / 3)
    assert sized.quantity == pytest.approx(1_000.0 / (14 / 3))
    short = size(sizing.RiskPerTrade(atr_period=3), context({"A": [10.0, 12.0, 11.0]}))
    assert (short.quantity, short.reason) == (0.0, "the average true range needs 4 bars, there are 3 so far")
    still = size(sizing.RiskPerTrade(atr_period=3), context({"A": [10.0] * 4}))
    assert still.quantity == 0.0 and "did not move" in still.reason


def test_volatility_target() -> None:
    # Returns of +1 % and -1 % in turn: the weighted variance is 0.0001 whatever the decay; 365 days of all the week.
    closes = [100.0]
    for day in range(20):
        closes.append(closes[-1] * (1.01 if day % 2 else 0.99))
    sized = size(sizing.VolatilityTarget(0.1, lookback=20), context({"A": closes}))
    volatility = 0.01 * sqrt(365)
    assert sized.numbers["volatility"] == pytest.approx(volatility, rel=1e-9)
    assert sized.quantity == pytest.approx(0.1 / volatility * 100_000.0 / closes[-1], rel=1e-9)
    # A volatility that is lower than the target by far is not borrowed for.
    assert size(sizing.VolatilityTarget(5.0, lookback=20), context({"A": closes})).numbers["weight"] == 1.0


def test_kelly_from_the_own_trades() -> None:
    # 60 % win 10 %, 40 % lose 5 %: 0.6 / 0.05 - 0.4 / 0.1 = 8, half of it 4, the cap 0.25.
    trades = ClosedTrades(50, 30, 0.10, 0.05)
    sized = size(sizing.Kelly(0.5, cap=10.0), context({"A": [50.0]}, trades=trades))
    assert sized.numbers["kelly"] == pytest.approx(8.0) and sized.numbers["weight"] == pytest.approx(4.0)
    assert size(sizing.Kelly(), context({"A": [50.0]}, trades=trades)).quantity == pytest.approx(500.0)
    # The growth is largest there: log(1 + 0.1 f) weighs 0.6, log(1 - 0.05 f) 0.4.
    weights = np.linspace(0.0, 15.0, 1_501)
    growth = 0.6 * np.log1p(0.1 * weights) + 0.4 * np.log1p(-0.05 * weights)
    assert weights[growth.argmax()] == pytest.approx(8.0)
    no_edge = size(sizing.Kelly(), context({"A": [50.0]}, trades=ClosedTrades(40, 20, 0.05, 0.06)))
    assert no_edge.quantity == 0.0 and "no edge" in no_edge.reason
    few = size(sizing.Kelly(minimum_trades=51), context({"A": [50.0]}, trades=trades))
    assert few.numbers["weight"] == 0.02
    never_lost = size(sizing.Kelly(), context({"A": [50.0]}, trades=ClosedTrades(40, 40, 0.05, 0.0)))
    assert never_lost.numbers["weight"] == 0.25


def test_kelly_learns_from_closed_trades_in_a_run() -> None:
    # Up 10 % and down 5 % in turn; bought at each close and sold at the next but one open.
    class Turns(qf.Strategy):
        def on_bar(self, bar: Bar) -> None:
            if self.position(bar.symbol):
                self.close(bar.symbol)
            else:
                self.buy(bar.symbol)

    closes = [100.0]
    for _ in range(60):
        closes += [closes[-1] * 1.1, closes[-1] * 1.1 * 0.95]
    result = qf.backtest(
        Turns, bars_of(closes), costs=FREE, sizer=sizing.Kelly(0.5, cap=0.3, minimum_trades=10, starting_weight=0.05)
    )
    first, later = result.fills.iloc[0], result.fills[result.fills["side"] == "buy"].iloc[15]
    assert first["quantity"] * 100.0 == pytest.approx(5_000.0)
    assert later["quantity"] * later["price"] > 10_000.0


# -- several symbols --------------------------------------------------------------------------------


def real_returns(count: int) -> tuple[dict[str, list[float]], pd.DataFrame]:
    frames = {symbol: qf.sample(symbol)["close"] for symbol in ("AAPL", "IBM", "MSFT")}
    closes = pd.DataFrame(frames).dropna().iloc[-count - 1 :]
    return {symbol: closes[symbol].tolist() for symbol in closes}, closes.pct_change().dropna()


def test_inverse_volatility_against_pandas() -> None:
    closes, returns = real_returns(60)
    inverse = 1.0 / returns.std()
    weights = inverse / inverse.sum()
    for symbol in closes:
        mine = {symbol: closes[symbol], **closes}
        assert size(sizing.InverseVolatility(60), context(mine)).numbers["weight"] == pytest.approx(weights[symbol])
    too_few = size(sizing.InverseVolatility(61), context(closes))
    assert too_few.quantity == 0.0 and "needs 62 bars, there are 61" in too_few.reason


def test_risk_parity_contributes_equally_against_numpy() -> None:
    closes, returns = real_returns(120)
    covariances = returns.cov()
    weights = equal_risk_weights({one: dict(own) for one, own in covariances.to_dict().items()})
    vector = np.array([weights[symbol] for symbol in covariances])
    shares = vector * (covariances.to_numpy() @ vector) / (vector @ covariances.to_numpy() @ vector)
    assert shares == pytest.approx(np.full(3, 1 / 3), rel=1e-9)
    assert vector.sum() == pytest.approx(1.0)
    sized = size(sizing.RiskParity(120), context(closes))
    assert sized.numbers["weight"] == pytest.approx(weights[next(iter(closes))])


@given(
    st.lists(st.floats(0.01, 1.0), min_size=2, max_size=6),
    st.floats(-0.1, 0.9),
)
def test_risk_parity_of_equal_correlations_is_inverse_volatility(deviations: list[float], correlation: float) -> None:
    # Below -1 / (n - 1) there is no such matrix.
    correlation = max(correlation, -0.9 / (len(deviations) - 1) + 0.05)
    names = [str(place) for place in range(len(deviations))]
    covariances = {
        one: {other: a * b * (1.0 if one == other else correlation) for other, b in zip(names, deviations, strict=True)}
        for one, a in zip(names, deviations, strict=True)
    }
    weights = equal_risk_weights(covariances)
    inverse = np.array([1.0 / deviation for deviation in deviations])
    assert list(weights.values()) == pytest.approx(list(inverse / inverse.sum()), rel=1e-6)


# -- in a run ---------------------------------------------------------------------------------------


class BuysDaily(qf.Strategy):
    def on_bar(self, bar: Bar) -> None:
        self.buy(bar.symbol, stop_loss=bar.close * 0.9)


def test_a_sizer_that_cannot_tell_leaves_a_signal_with_the_reason() -> None:
    result = qf.backtest(BuysDaily, bars_of([100.0, 102.0, 101.0, 103.0]), sizer=sizing.VolatilityTarget(lookback=2))
    decisions = result.signals[["decision", "decision_reason"]].to_numpy().tolist()
    assert decisions[:2] == [
        ["rejected", "the volatility needs 3 bars, there are 1 so far"],
        ["rejected", "the volatility needs 3 bars, there are 2 so far"],
    ]
    assert decisions[2][0] in ("sent", "resized")


def test_the_numbers_are_kept_with_the_signal_and_in_the_journal() -> None:
    data = bars_of([100.0, 102.0, 101.0, 103.0])
    session = qf.paper(
        BuysDaily, qf.ReplayFeed(data, speed=None), name="sized", sizer=sizing.RiskPerTrade(0.001), costs=FREE
    )
    session.start().wait(20)
    with JournalReader(session.journal_path) as reader:
        first, meta = reader.signals()[0], reader.meta
    assert first.sizing == {"equity": 100_000.0, "fraction": 0.001, "distance to the stop": pytest.approx(10.0)}
    assert first.wanted == pytest.approx(10.0)
    assert session.verify()
    assert SessionPlan.from_meta(meta)[0].sizer == sizing.RiskPerTrade(0.001)


def test_sizes_are_rounded_to_the_step_and_too_small_ones_are_refused() -> None:
    rules = Instrument("A", START, quantity_step=0.5, minimum_notional=2_000.0)
    events = [rules, *bars_of([100.0, 100.0, 100.0])]
    result = qf.backtest(BuysDaily, events, sizer=sizing.FixedNotional(2_130.0), costs=FREE)
    assert result.orders["quantity"].iloc[0] == 21.0
    refused = qf.backtest(BuysDaily, events, sizer=sizing.FixedNotional(1_999.0), costs=FREE)
    assert refused.fills.empty
    assert "below the symbol's minimum 2000" in refused.signals["decision_reason"].iloc[0]


def test_a_sizer_of_ones_own_and_one_that_gives_nonsense() -> None:
    data = bars_of([100.0, 100.0, 100.0])
    seen: list[SizingContext] = []

    def own(where: SizingContext) -> Sized:
        seen.append(where)
        return Sized(3.0, {"three": 3.0})

    assert qf.backtest(BuysDaily, data, sizer=own, costs=FREE).fills["quantity"].iloc[0] == 3.0
    assert (seen[0].symbol, seen[0].side, seen[0].stop_price) == ("A", 1.0, pytest.approx(90.0))
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(StrategyError, match="must give a finite quantity"):
            qf.backtest(BuysDaily, data, sizer=lambda where, bad=bad: bad)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (sizing.FixedQuantity, {"quantity": 0.0}),
        (sizing.FixedNotional, {"notional": float("inf")}),
        (sizing.FractionOfEquity, {"fraction": -0.1}),
        (sizing.RiskPerTrade, {"fraction": 1.5}),
        (sizing.RiskPerTrade, {"atr_period": 0}),
        (sizing.VolatilityTarget, {"decay": 1.0}),
        (sizing.Kelly, {"fraction": 1.1}),
        (sizing.InverseVolatility, {"lookback": 1}),
    ],
)
def test_settings_that_make_no_sense_say_so(kind, arguments) -> None:
    with pytest.raises(ParameterError, match=f"{kind.__name__}\\({next(iter(arguments))}="):
        kind(**arguments)
