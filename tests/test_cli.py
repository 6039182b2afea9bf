"""The command line, run as a user runs it: in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qfkit.errors import ParameterError, StrategyError
from qfkit.strategies import BollingerReversion, MovingAverageCrossover
from qfkit.strategy_names import named_strategy, strategies_of

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "qfkit"]

MINE = """\
import qfkit as qf


class Mine(qf.Strategy):
    size = qf.Param(0.3, low=0.0, high=1.0)
    loud = qf.Param(False)
    word = qf.Param("in")

    def on_bar(self, bar):
        if self.position(bar.symbol):
            self.close(bar.symbol, reason="[red]out")
        else:
            self.buy(bar.symbol, weight=self.size, reason=self.word)
"""


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "error", "COLUMNS": "200", **more}


def qfkit(*arguments: str, **settings) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        encoding="utf-8",
        env=environment(),
        **settings,
    )


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment(),
    )


def until(process: subprocess.Popen[str], wanted: str) -> str:
    """Read the output up to a line with a text in it; the test's own timeout bounds it."""
    seen = ""
    assert process.stdout is not None
    for line in process.stdout:
        seen += line
        if wanted in line:
            return seen
    pytest.fail(f"{wanted!r} never came: {seen}")


# -- help and bad input --------------------------------------------------------------------------


def test_help_names_the_commands():
    done = qfkit("--help")
    assert done.returncode == 0
    for command in ("realtime", "backtest", "stream", "prices", "status", "demo"):
        assert command in done.stdout
    for command in ("realtime", "backtest", "stream", "prices", "status"):
        text = qfkit(command, "--help").stdout
        assert "examples:" in text
        assert ("file.py:Class" in text) == (command in ("realtime", "backtest"))


def test_version():
    done = qfkit("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"qfkit (\d+\.\d+\.\d+|from a source folder, not installed)\n", done.stdout)


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom qfkit.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'pandas', 'rich', 'asyncio', 'websockets', 'httpx', 'pyarrow'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "required"),
        ("realtme", "Did you mean 'realtime'?"),
        ("realtime --cash -3", "'-3' is not an amount: it must be a number above 0"),
        ("realtime --cash nan", "'nan' is not an amount"),
        ("realtime -d soon", "'soon' is not a time"),
        ("realtime --speed 0", "or 'max'"),
        ("realtime --feed synthetc", "Did you mean 'synthetic'?"),
        ("realtime --feed no/such/file.gz", "no/such/file.gz"),
        ("realtime --feed sample -s APPL", "Did you mean 'AAPL'?"),
        ("realtime --feed synthetic --timeframe 7q", "timeframe='7q'"),
        ("realtime --feed synthetic --strategy momentum-rebalence", "Did you mean"),
        ("realtime --feed synthetic --strategy none.py:Mine", "no strategy file 'none.py'"),
        ("realtime --feed synthetic --set fsat=8", "Did you mean 'fast'?"),
        ("realtime --feed synthetic --set fast", "NAME=VALUE"),
        ("realtime --feed synthetic --set fast=eight", "it must be a whole number, like 10"),
        ("realtime --feed synthetic --set fast=900", "fast=900 is out of bounds: it must be from 2 to 60"),
        ("realtime --feed synthetic --set fast=40", "fast=40 must be below slow=30"),
        ("backtest -s IBN", "Did you mean 'IBM'?"),
        ("backtest --data no.parquet", "no.parquet"),
        ("backtest -s IBM -d 9 --data sample", "give one of the two"),
        ("backtest -s IBM -d 9 --source yaho", "Did you mean 'yahoo'?"),
        ("backtest -d 9", "name them, as in -s AAPL -d 90"),
        ("realtime --feed synthetic --warmup many", "'many' is not a number of bars"),
        ("realtime --feed synthetic --warmup 9", "warmup=9"),
        ("realtime -s AAPL BTCUSDT", "BTCUSDT would come from Binance and AAPL from Yahoo"),
        ("stream --feed yaho", "Did you mean 'yahoo'?"),
        ("prices --feed sampl", "Did you mean 'sample'?"),
        ("status --folder no/such/folder", "no such folder"),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments, said):
    done = qfkit(*arguments.split())
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("qfkit")
    assert said in done.stderr


def test_an_error_in_a_strategy_file_names_its_line(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("import qfkit as qf\n\n\nclass Mine(qf.Strategy):\n    size = qf.Param(1, lo=3)\n")
    done = qfkit("realtime", "--feed", "synthetic", "--strategy", f"{path}:Mine")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"{path}, line 5: TypeError" in done.stderr
    path.write_text("import qfkit as qf\nclass Mine(\n")
    done = qfkit("backtest", "--strategy", f"{path}:Mine")
    assert done.returncode == 2
    assert "mine.py, line 2: SyntaxError" in done.stderr


# -- strategies by name and their parameters -------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["BollingerReversion", "bollinger-reversion", "bollinger_reversion", "BOLLINGERREVERSION"]
)
def test_names_of_strategies(name):
    assert named_strategy(name) is BollingerReversion


def test_parameters_go_to_the_strategies_that_have_them():
    first, second = strategies_of(
        ["moving-average-crossover", "bollinger-reversion"],
        ["fast=8", "weight=0.1", "BollingerReversion.weight=0.2", "width=1.5"],
    )
    assert first.parameters == {"fast": 8, "slow": 30, "weight": 0.1}
    assert second.parameters == {"period": 20, "width": 1.5, "weight": 0.2}
    assert isinstance(first, MovingAverageCrossover)


def test_parameters_of_a_file(tmp_path):
    path = tmp_path / "mine_parameters.py"
    path.write_text(MINE)
    (mine,) = strategies_of([f"{path}:Mine"], ["loud=yes", "word=a=b", "size=1"])
    assert mine.parameters == {"size": 1.0, "loud": True, "word": "a=b"}
    (alone,) = strategies_of([str(path)])
    assert type(alone).__name__ == "Mine"
    with pytest.raises(ParameterError, match="true or false"):
        strategies_of([str(path)], ["loud=maybe"])
    with pytest.raises(ParameterError, match="Did you mean 'Mine'"):
        strategies_of([str(path)], ["Nine.size=1"])
    with pytest.raises(StrategyError, match="Did you mean 'Mine'"):
        strategies_of([f"{path}:Nine"])


# -- runs ----------------------------------------------------------------------------------------


def test_backtest_on_the_sample(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    done = qfkit("backtest", "-s", "IBM", "--data", "sample", "--strategy", f"{path}:Mine", "--set", "size=0.5")
    assert done.returncode == 0, done.stderr
    assert "Mine" in done.stdout
    assert "IBM" in done.stdout
    assert "max drawdown" in done.stdout.lower()
    assert "assumptions" in done.stdout


def test_status_without_sessions_says_how_to_start():
    done = qfkit("status")
    assert done.returncode == 0
    assert "no sessions" in done.stdout
    assert "qfkit realtime" in done.stdout


def test_realtime_status_interrupt_and_backtest_of_its_journal():
    running = started(
        "realtime", "--feed", "synthetic", "-s", "BTCUSDT", "ETHUSDT", "--speed", "20", "-c", "50000", "--name", "mine",
        "--set", "fast=3", "--set", "slow=8",
    )  # fmt: skip
    try:
        seen = until(running, "  fill ")
        status = qfkit("status")
        running.send_signal(signal.SIGINT)
        rest, errors = running.communicate(timeout=30)
    finally:
        running.kill()
    assert status.returncode == 0, status.stderr
    heading, row = status.stdout.splitlines()
    assert heading.split()[:4] == ["session", "state", "equity", "profit"]
    assert row.split()[:2] == ["mine", "running"]
    assert "synthetic" in row

    assert running.returncode == 0, errors
    text = seen + rest
    assert errors == ""
    assert "\x1b" not in text
    assert "bars of 1s" in text
    assert "fast average crossed" in text
    assert re.search(r"portfolio +[\d,.]+ from 50,000\.00", text)
    assert re.search(r"verify +equal: ", text)
    assert "qfkit status" in text
    journal = re.search(r"journal +(\S+\.sqlite)", text)
    assert journal is not None
    assert Path(journal[1]).is_file()

    after = qfkit("status")
    assert after.stdout.splitlines()[1].split()[:2] == ["mine", "stopped"]
    assert journal[1] in after.stdout
    again = qfkit("backtest", "--data", journal[1], "--strategy", "bollinger-reversion", "--timeframe", "1s")
    assert again.returncode == 0, again.stderr
    assert "BollingerReversion" in again.stdout


def test_realtime_ends_with_its_recording(capture_path):
    done = qfkit(
        "realtime", "-s", "BTCUSDT", "--feed", capture_path, "--speed", "max", "--timeframe", "1s", "--set", "fast=8",
        "--strategy", "moving-average-crossover", "--strategy", "momentum-rebalance", "--set", "lookback=10",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"verify +equal: ", done.stdout)
    assert "2024-08-08 23:5" in done.stdout
    assert "MomentumRebalance" in done.stdout


def test_termination_and_time_stop_cleanly():
    running = started("realtime", "--feed", "synthetic")
    try:
        until(running, "running")
        running.terminate()
        rest, errors = running.communicate(timeout=30)
    finally:
        running.kill()
    assert (running.returncode, errors) == (0, "")
    assert "verify" in rest
    began_s = time.monotonic()
    done = qfkit("realtime", "--feed", "synthetic", "-d", "0.01")
    assert done.returncode == 0
    assert "verify" in done.stdout
    assert 0.6 <= time.monotonic() - began_s < 20.0


def test_a_failing_strategy_is_told(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        MINE.replace('word = qf.Param("in")', 'word = qf.Param("in")\n\n    def on_fill(self, fill):\n        1 / 0')
    )
    done = qfkit("realtime", "--feed", "synthetic", "--speed", "max", "-d", "0.02", "--strategy", f"{path}:Mine")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stdout


@pytest.mark.skipif(os.name != "posix", reason="a shell's pipe")
def test_a_reader_that_leaves_is_no_error():
    command = f"{' '.join(COMMAND)} realtime --feed synthetic -d 0.2 | head -n 1"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, env=environment(), check=False, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert " stopped " in qfkit("status").stdout
