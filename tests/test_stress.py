"""Stress tests: losses worked by hand, volatility and correlation against scipy, the past against its prices; the picture."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

import qfkit as qf
from qfkit.core.snapshot import PositionView, SymbolView
from qfkit.core.strategy import Strategy
from qfkit.errors import DataError, NaiveTimeError, ParameterError
from qfkit.research.stress import stress
from qfkit.views.stress_picture import colours_of, segments_of, stress_svg
from tests.support import START

WEIGHTS = {"AAPL": 0.4, "IBM": 0.3, "MSFT": -0.2, "GOOG": 0.2}


class Hold(Strategy):
    def on_bar(self, bar):
        if not self.position(bar.symbol):
            self.order_target(bar.symbol, weight=WEIGHTS[bar.symbol], reason="hold")


@pytest.fixture(scope="module")
def data() -> dict[str, pd.DataFrame]:
    return {symbol: qf.sample(symbol).iloc[-1_300:] for symbol in WEIGHTS}


@pytest.fixture(scope="module")
def result(data) -> qf.Result:
    return qf.backtest(Hold, data)


@pytest.fixture(scope="module")
def closes(data) -> pd.DataFrame:
    frame = pd.DataFrame({symbol: frame["close"] for symbol, frame in data.items()})
    # A day's close is known at its end.
    return frame.set_axis(frame.index + pd.Timedelta(days=1))


def snapshot(**quantities: float) -> qf.Snapshot:
    """An account of 10,000 with positions at a price of 100."""
    engine = qf.Engine({"one": Strategy()}, cash=10_000.0)
    import msgspec

    positions = tuple(
        PositionView("one", symbol, quantity, 100.0, 100.0, quantity * 100.0, 0.0, 0.0)
        for symbol, quantity in quantities.items()
    )
    symbols = tuple(SymbolView(symbol, 100.0, 0.0, 100.0, START) for symbol in quantities)
    return msgspec.structs.replace(engine.snapshot(), positions=positions, symbols=symbols, time_ns=START)


# -- price shocks -----------------------------------------------------------------------------


def test_shocks_by_hand():
    """30 A and -20 B at 100, of 10,000: A down by 20 % costs 600, B up by 10 % another 200."""
    test = stress(snapshot(A=30.0, B=-20.0), {"A": -0.2, "B": 0.1})
    assert test.scenarios == ("A -20 %, B +10 %",)
    assert test.table.to_dict("records") == [
        {
            "scenario": "A -20 %, B +10 %",
            "symbol": "A",
            "position": 30.0,
            "value": 3_000.0,
            "shock": -0.2,
            "pnl": -600.0,
            "share_of_equity": -0.06,
        },
        {
            "scenario": "A -20 %, B +10 %",
            "symbol": "B",
            "position": -20.0,
            "value": -2_000.0,
            "shock": 0.1,
            "pnl": -200.0,
            "share_of_equity": -0.02,
        },
    ]
    assert test.pnl("A -20 %, B +10 %") == -800.0
    assert test.totals.loc["A -20 %, B +10 %"].to_dict() == {"pnl": -800.0, "share_of_equity": -0.08, "equity": 9_200.0}


def test_groups_everything_and_the_narrower_counts():
    book = snapshot(A=10.0, B=10.0, C=10.0)
    shocks = {"one": {"tech": -0.1, "*": -0.05}, "two": {"tech": -0.1, "A": -0.5}, "none": {"empty": -0.9}}
    for groups in ({"tech": ["A", "B"], "empty": []}, {"A": "tech", "B": "tech", "Z": "empty"}):
        test = stress(book, shocks, groups=groups)
        found = test.table.pivot(index="scenario", columns="symbol", values="shock")
        assert found.loc["one"].tolist() == [-0.1, -0.1, -0.05]
        assert found.loc["two"].tolist() == [-0.5, -0.1, 0.0]
        assert [test.pnl(name) for name in test.scenarios] == pytest.approx([-250.0, -600.0, 0.0])


def test_a_symbol_in_two_shocked_groups_is_asked_about():
    with pytest.raises(ParameterError, match="A is in several of the shocked groups"):
        stress(snapshot(A=1.0), {"x": -0.1, "y": -0.2}, groups={"x": ["A"], "y": ["A"]})
    same = stress(snapshot(A=1.0), {"x": -0.1, "y": -0.1}, groups={"x": ["A"], "y": ["A"]})
    assert same.table["shock"].tolist() == [-0.1]


def test_without_a_scenario_everything_falls_and_rises():
    test = stress(snapshot(A=50.0, B=-20.0))
    assert test.totals["pnl"].to_dict() == {"all -10 %": -300.0, "all -20 %": -600.0, "all +20 %": 600.0}


@given(
    st.dictionaries(st.sampled_from("ABCDEF"), st.floats(-50.0, 50.0).filter(bool), min_size=1),
    st.floats(-1.0, 1.0),
)
def test_a_shock_of_everything_is_the_net_position_times_it(quantities, shock):
    test = stress(snapshot(**quantities), {"*": shock})
    (name,) = test.scenarios
    assert test.pnl(name) == pytest.approx(sum(quantities.values()) * 100.0 * shock, abs=1e-6)


def test_positions_of_several_strategies_are_netted():
    import msgspec

    book = snapshot(A=30.0)
    both = (*book.positions, PositionView("two", "A", -10.0, 100.0, 100.0, -1_000.0, 0.0, 0.0))
    test = stress(msgspec.structs.replace(book, positions=both), {"A": -0.1})
    assert test.table["position"].tolist() == [20.0] and test.totals["pnl"].tolist() == [-200.0]


# -- volatility and correlation ----------------------------------------------------------------


def test_volatility_and_correlation_are_parametric_values_at_risk(result, closes):
    test = stress(result, volatility=3.0, correlation=1.0, level=0.99)
    values = pd.Series(result.holdings.market_values)
    covariance = closes.pct_change().iloc[-250:].cov().loc[values.index, values.index]
    deviations = np.sqrt(np.diag(covariance))
    together = np.outer(deviations, deviations)
    z = scipy.stats.norm.ppf(0.99)

    def loss(matrix):
        return -z * math.sqrt(values @ matrix @ values)

    expected = {
        "as now": loss(covariance),
        "volatility x 3": 3.0 * loss(covariance),
        "correlation 1": loss(together),
        "volatility x 3, correlation 1": 3.0 * loss(together),
    }
    assert test.totals["pnl"].to_dict() == pytest.approx(expected, rel=1e-9)
    # With all together it is the sum of each one's own, shorts against longs.
    assert expected["correlation 1"] == pytest.approx(-z * abs((values * deviations).sum()), rel=1e-12)
    assert list(test.scenarios) == list(expected)


def test_each_shock_is_what_that_price_does_on_such_a_day(result, closes):
    """E[r_i | book = -VaR] = -z (C w)_i / sigma: of two million drawn days, those near that loss."""
    test = stress(result, volatility=2.0)
    values = pd.Series(result.holdings.market_values)
    covariance = 4.0 * closes.pct_change().iloc[-250:].cov().loc[values.index, values.index].to_numpy()
    drawn = np.random.default_rng(1).multivariate_normal(np.zeros(len(values)), covariance, 2_000_000)
    book, wanted = drawn @ values.to_numpy(), test.pnl("volatility x 2")
    near = np.abs(book - wanted) < 0.01 * abs(wanted)
    shocks = test.table[test.table["scenario"] == "volatility x 2"].set_index("symbol")["shock"]
    for place, symbol in enumerate(values.index):
        assert shocks[symbol] == pytest.approx(
            drawn[near, place].mean(), abs=0.03 * math.sqrt(covariance[place, place])
        )


def test_intraday_marks_are_scaled_to_a_day():
    frame = pd.DataFrame(
        {"A": 100.0 * np.exp(np.cumsum(np.random.default_rng(2).normal(0.0, 0.001, 300)))},
        index=pd.date_range("2024-01-02", periods=300, freq="1min", tz="UTC"),
    )
    test = stress(snapshot(A=10.0), volatility=1.0, prices=frame)
    sigma = frame["A"].pct_change().iloc[-250:].std()
    assert test.pnl("as now") == pytest.approx(-1_000.0 * 1.6448536 * sigma * math.sqrt(1_440), rel=1e-6)
    assert test.pnl("volatility x 1") == test.pnl("as now")


# -- the past again ------------------------------------------------------------------------------


def test_a_window_does_to_todays_book_what_it_did_to_prices(result, closes):
    test = stress(result, window=("2008-09-12", "2008-11-20"))
    before, after = closes.loc[:"2008-09-12 00:00"].iloc[-1], closes.loc[:"2008-11-21 00:00"].iloc[-1]
    values = pd.Series(result.holdings.market_values)
    expected = values * (after / before - 1.0)
    assert test.scenarios[0] == "2008-09-12 to 2008-11-20"
    found = test.table[test.table["scenario"] == test.scenarios[0]].set_index("symbol")["pnl"]
    assert found.to_dict() == pytest.approx(expected.to_dict(), rel=1e-12)
    path = ((closes.loc["2008-09-12":"2008-11-21 00:00"] / before - 1.0) * values).sum(axis=1)
    assert test.totals["pnl"].min() == pytest.approx(min(path.min(), expected.sum()), rel=1e-12)


def test_a_window_that_recovered_shows_its_worst_day(result, closes):
    window = ("2009-01-02", "2009-06-30")
    test = stress(result, window={"early 2009": window})
    values = pd.Series(result.holdings.market_values)
    before = closes.loc[:"2009-01-02 00:00"].iloc[-1]
    path = ((closes.loc["2009-01-02 00:01":"2009-07-01 00:00"] / before - 1.0) * values).sum(axis=1)
    worst = path.idxmin()
    assert test.scenarios == ("early 2009", f"early 2009, worst on {(worst - pd.Timedelta(days=1)).date()}")
    assert test.totals["pnl"].tolist() == pytest.approx([path.iloc[-1], path.min()], rel=1e-9)


def test_prices_of_ones_own_reach_further_than_the_run():
    index = pd.date_range("1987-10-16", periods=3, freq="D", tz="UTC")
    prices = pd.DataFrame({"A": [100.0, 90.0, 77.4], "B": [50.0, 50.0, 55.0]}, index)
    test = stress(snapshot(A=10.0, B=-10.0), window=("1987-10-16", "1987-10-18T00:00+00:00"), prices=prices)
    # A falls by 22.6 %, B, which is short, rises by 10 %.
    assert test.pnl("1987-10-16 to 1987-10-18T00:00+00:00") == pytest.approx(-226.0 - 100.0)
    bars = {"A": qf.sample("AAPL"), "B": qf.sample("IBM")}
    assert stress(snapshot(A=10.0, B=1.0), window=("2001-09-10", "2001-09-21"), prices=bars).totals["pnl"].min() < 0.0


# -- sources -------------------------------------------------------------------------------------


def test_a_session_its_result_and_its_snapshot_give_the_same(data, tmp_path):
    session = qf.paper(Hold, qf.ReplayFeed(data, speed=None), journal=tmp_path / "one.sqlite").start().wait(60)
    shocks = {"*": -0.1}
    tables = [qf.stress(source, shocks).table for source in (session, session.result, session.snapshot)]
    assert len(tables[0]) == 4
    for other in tables[1:]:
        pd.testing.assert_frame_equal(tables[0], other)
    assert qf.stress(session, volatility=2.0).pnl("volatility x 2") < 0.0


def test_without_a_position_nothing_is_lost():
    test = stress(snapshot(), {"*": -0.5})
    assert test.table.empty and list(test.table.columns)[:3] == ["scenario", "symbol", "position"]
    assert test.totals["pnl"].tolist() == [0.0]
    assert "no position is open" in test.picture().decode()
    assert "no position is open" in str(test.plot().children[-1].value)
    assert "all -50 %" in repr(test)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"shocks": {"AA": -0.1}}, ParameterError, "'AA'.*Did you mean"),
        ({"shocks": {"A": -20}}, ParameterError, "a fraction of the price, -1 at the least"),
        ({"shocks": {"A": math.nan}}, ParameterError, "nan"),
        ({"shocks": {"A": "x"}}, ParameterError, "'x'"),
        ({"shocks": {}}, ParameterError, "name at least one"),
        ({"shocks": {"A": -0.1, "crash": {"A": -0.1}}}, ParameterError, "either all are scenarios"),
        ({"volatility": 3.0}, DataError, "no past prices of A.*prices="),
        ({"volatility": 0.0}, ParameterError, "volatility=0.0"),
        ({"correlation": 1.5}, ParameterError, "correlation=1.5"),
        ({"window": ("2008-09-12", "2008-11-20")}, DataError, "no prices in it.*prices="),
        ({"window": "2008"}, ParameterError, "a start and an end"),
        ({"window": ("2008-11-20", "2008-09-12")}, ParameterError, "does not end after its start"),
        ({"window": ("2008-09-12 10:00", "2008-11-20")}, NaiveTimeError, r"2008-09-12T10:00:00\+00:00"),
        ({"window": ("soon", "later")}, ParameterError, "'soon' is no time"),
        ({"shocks": {"A": -0.1}, "level": 95}, ParameterError, "level=95"),
    ],
)
def test_what_cannot_be_meant_says_so(arguments, error, text):
    with pytest.raises(error, match=text):
        stress(snapshot(A=10.0), **arguments)


def test_other_sources_and_prices_are_refused_by_name():
    with pytest.raises(ParameterError, match="a session, a result or a snapshot"):
        stress(3.0)
    naive = pd.DataFrame({"A": [1.0, 2.0]}, pd.to_datetime(["2020-01-01", "2020-01-02"]))
    with pytest.raises(NaiveTimeError, match="tz_localize"):
        stress(snapshot(A=1.0), volatility=2.0, prices=naive)
    with pytest.raises(DataError, match="holds no times"):
        stress(snapshot(A=1.0), volatility=2.0, prices=naive.reset_index(drop=True))
    late = pd.DataFrame(
        {"A": [1.0, 2.0, 3.0], "B": [np.nan, np.nan, 2.0]}, pd.date_range("2020-01-01", periods=3, tz="UTC")
    )
    with pytest.raises(DataError, match="B has no price at its start"):
        stress(snapshot(A=1.0, B=1.0), window=("2020-01-01", "2020-01-03"), prices=late)
    with pytest.raises(ParameterError, match="no scenario 'crash'"):
        stress(snapshot(A=1.0), {"A": -0.1}).pnl("crash")


# -- the picture ------------------------------------------------------------------------------------


def test_the_bars_of_the_picture_are_the_table(result):
    test = stress(result, {"down": {"*": -0.2}, "rotation": {"AAPL": -0.3, "MSFT": -0.3, "IBM": 0.2}})
    root = ElementTree.fromstring(test.picture())
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    for name in test.scenarios:
        assert name in texts
        assert f"{test.pnl(name):,.2f}" in texts
    colours = colours_of(test._bars)
    rects = [node.attrib for node in root.iter("{http://www.w3.org/2000/svg}rect") if node.get("height") == "18"]
    rows = [row for row in test.rows if row.pnl]
    assert [rect["fill"] for rect in rects] == [colours[row.symbol] for row in rows]
    # Width by money: one scale for all.
    scale = [float(rect["width"]) / abs(row.pnl) for rect, row in zip(rects, rows, strict=True)]
    assert scale == pytest.approx([np.median(scale)] * len(scale), rel=0.02)
    assert not re.search(r"\b(nan|inf)\b", test.picture().decode())


def test_more_symbols_than_colours_are_added_up_as_others():
    parts = {f"S{place}": -float(place) for place in range(1, 9)}
    colours = colours_of([("crash", parts)])
    assert list(colours) == ["S5", "S6", "S7", "S8", "others"]
    segments = segments_of(parts, colours)
    assert segments[-1] == ("others", -26.0, -36.0)
    assert [symbol for symbol, *_ in segments] == list(colours)


def test_the_widget_draws_the_same_segments(result):
    test = stress(result, {"down": {"*": -0.2}, "up": {"*": 0.2}})
    plot = test.plot()
    figure = plot.children[-1]
    drawn = [mark for mark in figure.marks if type(mark).__name__ == "Lines" and mark.stroke_width == 18.0]
    ends = {mark.colors[0]: np.asarray(mark.x) for mark in drawn}
    colours = colours_of(test._bars)
    for symbol, colour in colours.items():
        pnl = [row.pnl for row in test.rows if row.symbol == symbol]
        assert (ends[colour][:, 1] - ends[colour][:, 0]).tolist() == pytest.approx(pnl)
    labels = [text for mark in figure.marks if type(mark).__name__ == "Label" for text in mark.text]
    assert sorted(labels) == sorted(f"{test.pnl(name):+,.2f}" for name in test.scenarios)
    assert "text/html" in plot._repr_mimebundle_()


def test_hostile_names_stay_text():
    hostile = '<script>alert("1")</script>\x1b\x00'
    test = stress(snapshot(**{hostile: 10.0}), {hostile: {"*": -0.1}})
    assert "<script" not in test.picture().decode() and "\x1b" not in test.picture().decode()
    assert "<script" not in test._repr_html_()
    assert "\x1b" not in repr(test)
    assert "<script" not in test.plot().children[1].value
    ElementTree.fromstring(stress_svg(test._bars, hostile))


def test_the_text_and_the_page(result):
    test = stress(result, {"*": -0.1}, volatility=3.0, window=("2008-09-12", "2008-11-20"))
    text = repr(test)
    assert "volatility x 3" in text and "worst position" in text and "5 % of all days" in text
    html = test._repr_html_()
    assert html.count("<img") == 1 and "2008-09-12 to 2008-11-20" in html
