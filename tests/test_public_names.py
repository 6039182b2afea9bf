"""The public names: pinned, sorted, importable, and cheap until used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import qfkit
from qfkit import errors

PINNED = """
ADX ATR AddStrategy Allocation AllocationContext AlphaVantageFeed AlphaVantageWebSocket Bar BinanceFeed
BinanceWebSocket BlockEntries BollingerBands BollingerReversion CancelOrder Commission CorporateAction Costs
Currencies Depth DonchianChannel EMA Engine FailoverFeed Fill Flatten Gap Heartbeat Hours Indicator Instrument
LiftStops LogNormalLatency LookaheadReport MACD ManualOrder Margin ModifyOrder MomentumRebalance
MovingAverageCrossover OnBalanceVolume Order OrderStatus OrderType Param Pause PortfolioRebalance Price Protect
QfkitError Quote RSI RateOfChange RealTimeMovingAverageCrossover Rebalance RebalancePlan ReplayFeed Result Resume
RiskAssessment RiskBands RiskLimits RiskReport SMA Session SetLimits SetParameters Side SideBySide Signal
SignalFilters Snapshot SquareRootImpact StandardDeviation Stochastic Stop Strategy StressTest SwapStrategy Sweep
SyntheticFeed Tick TimeInForce Trade UniformLatency VWAP WMA WalkForward WarmupReport YahooFeed YahooFinanceWebSocket
ZScore alerts allow_nested_loops backtest check_lookahead check_warmup compare dashboard errors feeds history paper
read_session read_sweep recordings resume run sample sessions signal sizing stop stress sweep walk_forward watch
weights
""".split()  # noqa: SIM905

HEAVY = ("pandas", "ipywidgets", "bqplot", "yfinance", "pyarrow", "httpx", "picows", "rich", "IPython", "bokeh")


def test_the_public_names_are_pinned_and_each_is_there() -> None:
    assert sorted(qfkit.__all__) == sorted(PINNED)
    assert dir(qfkit) == sorted(qfkit.__all__)
    for name in PINNED:
        assert getattr(qfkit, name) is not None, name


def test_names_for_type_checkers_are_the_same_as_those_at_run_time() -> None:
    tree = ast.parse(Path(qfkit.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {
        (node.module, alias.name) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    lazy = {(home, name) for name, home in qfkit._HOMES.items()} | {
        tuple(home.rsplit(".", 1)) for home in qfkit._MODULES.values()
    }
    assert typed == lazy


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="baktest"):
        qfkit.baktest  # noqa: B018


def test_import_qfkit_imports_nothing_heavy() -> None:
    code = f"import sys, qfkit; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_session_and_a_backtest_of_ticks_need_no_pandas() -> None:
    code = (
        "import sys, qfkit as qf\n"
        "feed = qf.SyntheticFeed(duration_s=5.0, speed=None)\n"
        "s = qf.paper(qf.MovingAverageCrossover(), feed, timeframe='1s').start().wait()\n"
        "assert s.verify()\n"
        "print([name for name in ('pandas', 'pyarrow', 'ipywidgets', 'yfinance') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_every_error_is_in_the_tree_drawn_at_the_top_of_its_file() -> None:
    drawn = errors.__doc__ or ""
    for name in errors.__all__:
        thing = getattr(errors, name)
        if isinstance(thing, type):
            assert issubclass(thing, errors.QfkitError)
            assert name in drawn, name
            assert thing.__doc__, name


def test_every_module_says_what_it_is_and_is_no_longer_than_one_noun() -> None:
    folder = Path(qfkit.__file__).parent
    for path in folder.rglob("*.py"):
        text = path.read_text()
        module = ast.parse(text)
        assert ast.get_docstring(module), f"{path} has no docstring"
        assert text.count("\n") <= 500, f"{path} is too long for one noun"


def test_the_typing_marker_and_the_feeds_package() -> None:
    assert (Path(qfkit.__file__).parent / "py.typed").is_file()
    feeds = importlib.import_module("qfkit.feeds")
    for name in feeds.__all__:
        assert getattr(feeds, name) is not None
    assert qfkit.BinanceWebSocket is qfkit.BinanceFeed
    assert issubclass(qfkit.RealTimeMovingAverageCrossover, qfkit.MovingAverageCrossover)
