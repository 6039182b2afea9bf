"""A result as a user meets it: figures, frames, texts and the notebook's HTML of real runs."""

import re
from html.parser import HTMLParser
from math import isnan, nan

import numpy as np
import pandas
import pytest

from qfkit import Strategy, backtest, sample, signal
from qfkit.core.costs import Costs
from qfkit.core.metrics import Metrics
from qfkit.core.records import Fault, Records
from qfkit.result import Result
from qfkit.strategies import MovingAverageCrossover
from qfkit.tables import BarColumns, EquityColumns
from tests.support import MINUTE, START, bars, walk

HOSTILE = '<script>alert("1")</script>&\'</b>'


class Idle(Strategy):
    """Never trades."""


class TextOfHtml(HTMLParser):
    """The text a page shows and the tags it is made of; an unbalanced tag is an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag == "img":
            self.images.append(dict(attrs))
        elif tag != "br":
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture(scope="module")
def result() -> Result:
    return backtest(MovingAverageCrossover(), {"AAPL": sample("AAPL")})


def of_records(records: Records, *names: str, **changes: object) -> Result:
    options: dict[str, object] = {"starting_cash": 100_000.0, "costs": Costs(), "timeframe": "1m", "parameters": {}}
    return Result(records, strategy_names=names or ("idle",), **{**options, **changes})


def with_points(count: int) -> Records:
    """Records of a run that did nothing for so many bars."""
    records = Records()
    records.bars = walk(count)
    records.equity = [(bar.close_ns, 100_000.0) for bar in records.bars]
    return records


# -- figures ----------------------------------------------------------------------------------


def test_figures_are_read_by_attribute_and_by_key(result):
    assert isinstance(result.metrics, Metrics)
    for name in ("sharpe", "total_return", "max_drawdown", "trades", "fees", "win_rate"):
        assert result.metrics[name] == getattr(result.metrics, name)
    assert result.metrics.trades == len(result.trades) == 59
    assert result.metrics.fills == len(result.fills) == 118
    with pytest.raises(KeyError, match="Did you mean .sharpe"):
        result.metrics["sharp"]
    with pytest.raises(AttributeError):
        _ = result.metrics.sharp


def test_figures_agree_with_the_frames(result):
    equity = result.equity["account"]
    returns = equity.pct_change().dropna()
    metrics = result.metrics
    assert metrics.end_equity == equity.iloc[-1]
    assert metrics.total_return == pytest.approx(equity.iloc[-1] / 100_000.0 - 1.0)
    assert metrics.max_drawdown == pytest.approx(float((1.0 - equity / equity.cummax()).max()))
    assert metrics.sharpe == pytest.approx(float(returns.mean() / returns.std() * np.sqrt(252)))
    assert metrics.fees == pytest.approx(float(result.fills["fee"].sum()))
    assert metrics.win_rate == pytest.approx(float((result.trades["pnl"] > 0).mean()))
    assert metrics.best_trade == pytest.approx(float(result.trades["pnl"].max()))
    assert equity.iloc[-1] == pytest.approx(100_000.0 + float(result.trades["pnl"].sum()))


# -- frames -----------------------------------------------------------------------------------


def test_the_frames_of_a_real_run_fit_each_other(result):
    bars = sample("AAPL")
    assert len(result.equity) == len(result.bars) == len(bars) == 3_270
    assert list(result.equity.columns) == ["account", "MovingAverageCrossover"]
    pandas.testing.assert_series_equal(result.bars["close"], bars["close"], check_freq=False)
    assert (result.bars["close_time"] - result.bars.index == pandas.Timedelta(days=1)).all()
    assert result.equity.index.equals(pandas.DatetimeIndex(result.bars["close_time"], name="time"))
    for name in ("equity", "fills", "orders", "signals", "trades", "bars"):
        frame = getattr(result, name)
        assert str(frame.index.dtype) == "datetime64[ns, UTC]" and frame.index.name == "time"
        assert frame.index.is_monotonic_increasing
    assert set(result.orders["status"]) == {"filled"}
    assert result.fills["order_id"].isin(result.orders["order_id"]).all()
    assert result.signals["order_id"].isin(result.orders["order_id"]).all()
    # A market order decided on a bar fills at the next bar's open, one basis point worse.
    first = result.fills.iloc[0]
    assert first["price"] == pytest.approx(bars["open"].loc[result.fills.index[0]] * 1.0001)
    assert first["reason"] == "fast average crossed above slow"
    assert result.fills.index[0] >= result.orders["decided"].iloc[0]
    assert result.symbols == ("AAPL",)


def test_a_frame_is_made_once(result):
    assert result.fills is result.fills
    assert result.metrics is result.metrics


def test_arrays_given_ready_are_taken_and_the_lists_not_touched():
    class Unread:
        orders = fills = signals = trades = faults = ()

        @property
        def equity(self):
            raise AssertionError("the list was read")

        bars = equity

    close_ns = START + MINUTE * np.arange(1, 4)
    price = np.array([10.0, 11.0, 12.0])
    columns = BarColumns("A", "1m", price, price, price, price, np.full(3, nan), close_ns - MINUTE, close_ns)
    result = of_records(
        Unread(), equity_arrays=EquityColumns(close_ns, np.array([[1e5], [1e5], [2e5]])), bar_arrays={"A": columns}
    )
    assert result.metrics.total_return == 1.0
    assert result.bars["close"].tolist() == [10.0, 11.0, 12.0]
    assert result.equity["idle"].tolist() == [1e5, 1e5, 2e5]
    assert "+100.00 %" in repr(result) and "+100.00 %" in result._repr_html_()


# -- texts ------------------------------------------------------------------------------------


def test_the_text_has_the_figures_and_what_they_rest_on(result):
    text = repr(result)
    lines = text.splitlines()
    assert lines[0] == "MovingAverageCrossover(fast=10, slow=30, weight=0.25)"
    assert lines[1] == "AAPL | 1d | 2000-03-01 to 2013-03-01 UTC"
    for label, value in result.metrics.lines():
        assert re.search(rf"{re.escape(label)} +{re.escape(value)}(\s|$)", text), label
    for assumption in result.assumptions:
        assert f"- {assumption}" in lines
    assert result.assumptions[0] == "market orders decided on a bar fill at the next bar's open"
    assert "commission 0.1 %" in text and "252 periods a year" in text
    assert max(map(len, lines)) <= 120
    # The figures stand in two columns that line up.
    table = lines[lines.index("") + 1 : lines.index("assumptions") - 1]
    assert len({len(line) for line in table[:-1]}) == 1


def test_the_page_has_the_same_figures_and_a_picture(result):
    page = TextOfHtml(result._repr_html_())
    assert "MovingAverageCrossover(fast=10, slow=30, weight=0.25)" in page.text
    assert "AAPL | 1d | 2000-03-01 to 2013-03-01 UTC" in page.text
    for label, value in result.metrics.lines():
        assert label in page.words and value in page.words
    for assumption in result.assumptions:
        assert assumption in page.text
    (image,) = page.images
    assert image["src"].startswith("data:image/svg+xml;base64,")
    assert "price of AAPL with 118 fills" in image["alt"]
    assert "equity from 100,000.00 to 203,294.69" in image["alt"]
    # A notebook page holds hundreds of kilobytes with ease, not megabytes.
    assert len(result._repr_html_()) < 200_000


def test_hostile_names_do_nothing_on_the_page():
    records = with_points(5)
    records.bars = walk(5, symbol=HOSTILE)
    records.faults = [Fault(HOSTILE, START, HOSTILE, "", "")]
    result = of_records(
        records, HOSTILE, parameters={HOSTILE: {HOSTILE: HOSTILE}}, label=HOSTILE, assumptions=(HOSTILE,)
    )
    page = TextOfHtml(result._repr_html_())
    assert not {"script", "svg", "iframe"} & set(page.tags)
    assert page.text.count(HOSTILE) == 3 + 2 + 2 + 1  # heading, subject, fault, assumption


def test_control_characters_do_nothing_in_a_terminal():
    records = with_points(5)
    records.faults = [Fault("a", START, "ValueError: two\nlines \x1b[2J", "", "")]
    result = of_records(records, "a\x1b[31m", label="b\r\x07\u202e")
    text = repr(result)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "two lines" in text


def test_a_run_without_trades_says_not_available_never_nan():
    result = backtest(Idle(), {"IBM": sample("IBM").iloc[:60]})
    text, page = repr(result), TextOfHtml(result._repr_html_())
    assert result.metrics.trades == 0 and isnan(result.metrics.win_rate)
    assert re.search(r"win rate +n/a", text)
    assert page.words.count("n/a") >= 6
    for shown in (text, page.text):
        assert not re.search(r"\b(nan|inf)\b", shown, re.IGNORECASE)
    for name in ("fills", "orders", "signals", "trades"):
        assert getattr(result, name).empty and list(getattr(result, name).columns)
    # No gain is no green.
    assert "#1a9e88" not in re.sub(r"<img[^>]*>", "", result._repr_html_())


def test_gains_are_green_and_losses_red():
    def page_of(last):
        records = with_points(3)
        records.equity[-1] = (records.equity[-1][0], last)
        return of_records(records)._repr_html_()

    gain, loss = page_of(110_000.0), page_of(90_000.0)
    assert re.search(r"color:#1a9e88\">\+10\.00 %", gain) and "color:#cf432f" not in gain
    assert re.search(r"color:#cf432f\">-10\.00 %", loss) and "color:#1a9e88" not in loss


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_run_of_hardly_any_points_is_shown(count):
    result = of_records(with_points(count))
    for shown in (repr(result), TextOfHtml(result._repr_html_()).text):
        assert "100,000.00" in shown
        assert "n/a" in shown
        assert not re.search(r"\b(nan|inf)\b", shown, re.IGNORECASE)
    assert ("no events" in repr(result)) == (count == 0)
    assert len(result.equity) == len(result.bars) == count
    assert list(result.equity.columns) == ["account", "idle"]
    assert (result.data_span is None) == (count == 0)


def test_a_run_with_an_open_position_only():
    class Holder(Strategy):
        def on_bar(self, bar):
            if not self.position(bar.symbol):
                self.buy(bar.symbol, quantity=10.0)

    result = backtest(Holder(), bars_frame_of([100, 101, 102, 110]), timeframe="1m", costs=Costs.ideal())
    assert len(result.fills) == 1 and result.trades.empty
    assert result.metrics.end_equity == pytest.approx(100_000.0 + 10.0 * (110 - 101))
    assert "entry" in result.picture().decode()


def bars_frame_of(closes):
    index = pandas.date_range("2024-01-02", periods=len(closes), freq="1min", tz="UTC")
    opens = [closes[0], *closes[1:]]
    columns = {"open": opens, "high": opens, "low": opens, "close": closes, "volume": 1e9}
    return {"A": pandas.DataFrame(columns, index=index, dtype=float)}


def test_a_fault_is_shown_with_its_time_and_strategy():
    records = with_points(4)
    records.faults = [Fault("trend", START, "ZeroDivisionError: division by zero", "Traceback ...", "Bar(...)")]
    result = of_records(records, "trend")
    line = "stopped by an error at 2023-11-15 00:00:00 UTC: trend: ZeroDivisionError: division by zero"
    assert line in repr(result).splitlines()
    assert line in TextOfHtml(result._repr_html_()).words
    assert result.faults[0].traceback == "Traceback ..."


def test_several_strategies_are_each_named_with_their_parameters():
    data = {name: sample(name).iloc[-120:] for name in ("AAPL", "IBM")}
    result = backtest({"quick": MovingAverageCrossover(fast=3, slow=8), "calm": Idle()}, data)
    assert repr(result).splitlines()[0] == "quick(fast=3, slow=8, weight=0.25) + calm()"
    assert "AAPL, IBM | 1d" in repr(result)
    assert list(result.equity.columns) == ["account", "quick", "calm"]
    sum_of_books = result.equity["quick"] + result.equity["calm"]
    assert np.allclose(sum_of_books, result.equity["account"], rtol=1e-12)
    assert set(result.fills["strategy"]) == {"quick"}


def test_many_symbols_are_not_all_listed():
    records = with_points(2)
    records.bars = [bar for number in range(9) for bar in bars([(1.0, 1.0, 1.0, 1.0)], symbol=f"S{number}")]
    assert "S0, S1, S2, S3, S4, S5 and 3 more | 1m" in repr(of_records(records))


def test_a_signal_function_gives_the_same_kind_of_result():
    @signal(lookback=20)
    def rising(bars, lookback):
        return np.sign(bars.close.diff(lookback)).fillna(0.0)

    result = backtest(rising(), {"AAPL": sample("AAPL").iloc[-250:]})
    assert repr(result).startswith("rising(lookback=20)\nAAPL | 1d | ")
    assert set(result.trades["side"]) == {"long", "short"}
    assert TextOfHtml(result._repr_html_()).images
