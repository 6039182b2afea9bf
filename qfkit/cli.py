"""The command ``qfkit``. What takes long to import is imported by the command that needs it."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from qfkit.errors import ParameterError, QfkitError, did_you_mean

__all__ = ["main"]

_COMMANDS = ("backtest", "demo", "prices", "realtime", "status", "stream")

_REALTIME = """\
Runs strategies on paper, live or on a recording, and shows them until they end or Ctrl-C.

feeds (--feed):
  auto        Yahoo for shares, Binance for crypto pairs such as BTCUSDT, and for no symbols
  binance     Binance's public stream: live trades and quotes, no key
  yahoo       Yahoo's stream: shares, funds, indices, currencies, no key
  sample      real daily bars of AAPL, GOOG, IBM and MSFT
  synthetic   a seeded exchange whose prices are made up; bars of 1s unless --timeframe says else
  PATH        a recording: a capture of Binance's stream, Parquet, or a session's journal"""

_REALTIME_EXAMPLES = """\
examples:
  qfkit realtime
  qfkit realtime -s BTCUSDT ETHUSDT -d 10 -c 100000 --feed binance
  qfkit realtime --feed synthetic --strategy bollinger-reversion --set period=15
  qfkit realtime --feed capture.gz --speed 10 --timeframe 1s --set fast=8 --set slow=21
  qfkit realtime --feed sample -s AAPL IBM --strategy mine.py:MyStrategy"""

_BACKTEST_EXAMPLES = """\
examples:
  qfkit backtest
  qfkit backtest -s BTCUSDT -d 90
  qfkit backtest -s IBM --data sample --set fast=12
  qfkit backtest --data bars.parquet --timeframe 5m --strategy momentum-rebalance --set lookback=20
  qfkit backtest --data session.qfkit.sqlite --strategy mine.py:MyStrategy"""

_STREAM = """\
Prints each price as it comes: time (UTC), up or down, symbol, price, change and percent since the first
price seen; gaps in the data are lines of their own. At the end: how well the data arrived."""

_STREAM_EXAMPLES = """\
examples:
  qfkit stream -s AAPL TSLA -d 5
  qfkit stream -s BTCUSDT ETHUSDT --record btc
  qfkit stream --feed btc --speed 10"""

_PRICES = """\
Shows the last price of each symbol in a table, as in: qfkit prices -s AAPL MSFT"""

_DEMO = """\
Two strategies on paper for about a minute. The source is Binance's public stream if it answers
within 3 s, else the capture $QFKIT_DEMO_DATA, else real daily bars and then a synthetic exchange."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code: 0, 1 for an end that is not as it should be, 2 for bad input."""
    try:
        code = _run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
    except QfkitError as error:
        sys.stderr.write(f"qfkit: {' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nqfkit: interrupted\n")
        return 130
    except BrokenPipeError:
        # The reader has left, as "head" does. What the interpreter flushes at its end must go somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _run(arguments: list[str]) -> int:
    given = _parser().parse_args(arguments)
    commands = {
        "backtest": _backtest,
        "demo": _demo,
        "prices": _prices,
        "realtime": _realtime,
        "status": _status,
        "stream": _stream,
    }
    return commands[given.command](given)


# -- arguments -------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        wrong = re.match(r"argument COMMAND: invalid choice: '(.*?)' ", message)
        if wrong:
            message = f"no command {wrong[1]!r}.{did_you_mean(wrong[1], _COMMANDS)}"
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _Positive:
    """Reads a number above 0; ``word`` is a text that stands for None."""

    def __init__(self, what: str, word: str = "") -> None:
        self.what = what
        self.word = word

    def __call__(self, text: str) -> float | None:
        if self.word and text.lower() == self.word:
            return None
        try:
            value = float(text.replace(",", "").replace("_", ""))
        except ValueError:
            value = 0.0
        if not isfinite(value) or value <= 0.0:
            also = f" or {self.word!r}" if self.word else ""
            raise argparse.ArgumentTypeError(f"{text!r} is not {self.what}: it must be a number above 0{also}")
        return value


def _parser() -> argparse.ArgumentParser:
    from qfkit import __doc__ as about

    parser = _Parser(prog="qfkit", description=(about or "").partition("\n")[0])
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)

    demo = commands.add_parser("demo", help="a minute of paper trading on the best source at hand", description=_DEMO)
    demo.add_argument("--seconds", type=_Positive("a time"), help="how long in all (default: about a minute)")
    demo.add_argument("-c", "--cash", type=_Positive("an amount"), default=100_000.0, help="default: 100000")
    demo.add_argument("--plain", action="store_true", default=None, help="lines instead of the dashboard")

    realtime = commands.add_parser(
        "realtime", help="paper trading with a live dashboard", description=_REALTIME, epilog=_REALTIME_EXAMPLES
    )
    realtime.add_argument("-s", "--symbols", nargs="+", default=[], metavar="SYMBOL", help="default: the feed's own")
    realtime.add_argument("-d", "--duration", type=_Positive("a time"), metavar="MINUTES", help="default: until Ctrl-C")
    realtime.add_argument("--feed", default="auto", metavar="FEED", help="see above (default: auto)")
    realtime.add_argument(
        "--speed",
        type=_Positive("a speed", word="max"),
        default=1.0,
        help='times real time, or "max"; of a recording or the synthetic exchange (default: 1)',
    )
    realtime.add_argument(
        "--days-per-second",
        type=_Positive("a pace"),
        default=20.0,
        metavar="DAYS",
        help="calendar days a second, of the sample (default: 20)",
    )
    _add_strategy_arguments(realtime)
    realtime.add_argument("--name", help="the session's name (default: of its strategies)")
    realtime.add_argument(
        "--journal", metavar="PATH", help="a file or folder for the journal (default: your data folder)"
    )
    realtime.add_argument("--no-verify", action="store_true", help="leave out the replay at the end")
    realtime.add_argument("--plain", action="store_true", default=None, help="lines instead of the dashboard")

    backtest = commands.add_parser(
        "backtest",
        help="the same strategies on history",
        description="Runs strategies over history and prints what came of it.",
        epilog=_BACKTEST_EXAMPLES,
    )
    backtest.add_argument("-s", "--symbols", nargs="+", default=[], metavar="SYMBOL", help="default: all of the data")
    backtest.add_argument(
        "--data", default="sample", metavar="DATA", help="sample (real daily bars), or the path of a recording"
    )
    backtest.add_argument(
        "-d", "--days", type=_Positive("a number of days"), help="fetch the bars of so many days, instead of --data"
    )
    backtest.add_argument(
        "--source", default="auto", help="where --days fetches: binance, yahoo, alphavantage (default: by the symbols)"
    )
    _add_strategy_arguments(backtest)

    stream = commands.add_parser("stream", help="each price as it comes", description=_STREAM, epilog=_STREAM_EXAMPLES)
    _add_feed_arguments(stream)
    stream.add_argument("-d", "--duration", type=_Positive("a time"), metavar="MINUTES", help="default: until Ctrl-C")
    stream.add_argument("--quotes", action="store_true", help="also the middle of each best bid and ask")
    stream.add_argument(
        "--record", metavar="PATH", help="record it into this new folder, to be replayed by --feed PATH"
    )
    prices = commands.add_parser("prices", help="the last prices, in a table", description=_PRICES)
    _add_feed_arguments(prices)
    prices.add_argument(
        "-w", "--wait", type=_Positive("a time"), default=10.0, metavar="SECONDS", help="at most so long (default: 10)"
    )

    status = commands.add_parser(
        "status", help="the sessions on this machine", description="Lists sessions, running or ended, newest last."
    )
    status.add_argument("--folder", help="look at the journals in this folder instead of your data folder")
    status.add_argument("--all", action="store_true", help="all of them, not only the newest 20")
    return parser


def _add_feed_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-s", "--symbols", nargs="+", default=[], metavar="SYMBOL", help="such as AAPL or BTCUSDT")
    parser.add_argument("--feed", default="auto", metavar="FEED", help="see qfkit realtime --help (default: auto)")
    parser.add_argument("--speed", type=_Positive("a speed", word="max"), default=1.0, help="of a recording")


def _add_strategy_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--strategy",
        action="append",
        metavar="NAME",
        help="moving-average-crossover (default), bollinger-reversion, momentum-rebalance, or file.py:Class; "
        "may be given several times",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a strategy's parameter; Class.NAME=VALUE for one of several strategies",
    )
    parser.add_argument(
        "-c", "--cash", type=_Positive("an amount"), default=100_000.0, help="starting cash (default: 100000)"
    )
    parser.add_argument(
        "--timeframe", help='bars of the strategies, such as "1s" or "5m" (default: the data\'s, or 1m)'
    )


class _Version(argparse.Action):
    """Reads the version only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version

        try:
            text = version("qfkit")
        except PackageNotFoundError:
            text = "from a source folder, not installed"
        sys.stdout.write(f"qfkit {text}\n")
        parser.exit(0)


# -- commands --------------------------------------------------------------------------------


def _strategies(given: argparse.Namespace) -> Any:
    from qfkit.strategy_names import strategies_of

    return strategies_of(given.strategy or ["moving-average-crossover"], given.set)


def _demo(given: argparse.Namespace) -> int:
    from qfkit.demo import run_demo

    return run_demo(seconds=given.seconds, plain=given.plain, cash=given.cash)


def _realtime(given: argparse.Namespace) -> int:
    strategies = _strategies(given)
    from qfkit.feed_names import named_feed
    from qfkit.live.paper import paper
    from qfkit.watch import Interruption, finish, next_steps, say, watch

    with Interruption().listening() as interruption:
        feed, why = named_feed(given.feed, given.symbols, speed=given.speed, days_per_second=given.days_per_second)
        timeframe = given.timeframe
        if timeframe is None and feed.name == "synthetic":
            timeframe = "1s"
        session = paper(strategies, feed, cash=given.cash, timeframe=timeframe, name=given.name, journal=given.journal)
        say(f"{why}; bars of {timeframe or feed.timeframe or '1m'}")
        seconds = None if given.duration is None else given.duration * 60.0
        try:
            watch(session, interruption, seconds=seconds, plain=given.plain)
        finally:
            if session.journal_path is not None and session.error is not None:
                finish(session, interruption, next_steps(session), verify=False)
        equal = finish(session, interruption, next_steps(session), verify=not given.no_verify)
    failed = any(view.state == "failed" for view in session.snapshot.strategies)
    return 0 if equal and not failed else 1


def _stream(given: argparse.Namespace) -> int:
    from qfkit.feed_names import named_feed
    from qfkit.stream import print_stream
    from qfkit.watch import Interruption, say

    with Interruption().listening() as interruption:
        feed, why = named_feed(given.feed, given.symbols, speed=given.speed)
        if given.record is not None:
            feed.record(given.record)
        say(why)
        seconds = None if given.duration is None else given.duration * 60.0
        print_stream(feed, interruption, seconds=seconds, quotes=given.quotes)
    return 0


def _prices(given: argparse.Namespace) -> int:
    from qfkit.feed_names import named_feed
    from qfkit.stream import print_prices
    from qfkit.watch import Interruption

    with Interruption().listening() as interruption:
        feed, _ = named_feed(given.feed, given.symbols, speed=given.speed)
        return 0 if print_prices(feed, interruption, seconds=given.wait) else 1


def _backtest(given: argparse.Namespace) -> int:
    strategies = _strategies(given)
    from qfkit.research.backtest import backtest

    data: Any = given.data
    symbols = given.symbols
    if given.days is not None:
        if not symbols:
            raise ParameterError("--days fetches the bars of symbols: name them, as in -s BTCUSDT -d 90")
        from qfkit.histories import history

        data = history(symbols, days=given.days, timeframe=given.timeframe or "1d", source=given.source)
        symbols = []
    elif given.data.lower() == "sample":
        from qfkit.samples import SAMPLE_SYMBOLS, sample_columns

        data = {symbol: sample_columns(symbol) for symbol in symbols or SAMPLE_SYMBOLS}
        symbols = []
    elif not Path(given.data).exists():
        raise ParameterError(f'--data {given.data}: no such file; give the path of a recording, or "sample"')
    result = backtest(strategies, data, cash=given.cash, timeframe=given.timeframe, symbols=symbols or None)
    sys.stdout.write(f"{result!r}\n")
    return 0


def _status(given: argparse.Namespace) -> int:
    from qfkit.live.registry import home, session_records
    from qfkit.views.status import print_status

    if given.folder is not None and not Path(given.folder).is_dir():
        raise ParameterError(f"--folder {given.folder}: no such folder")
    records = session_records(given.folder)
    if not records:
        where = given.folder or home() / "sessions"
        sys.stdout.write(f"no sessions in {where}: start one with qfkit realtime, or qfkit demo\n")
        return 0
    shown = records if given.all else records[-20:]
    print_status(shown, earlier=len(records) - len(shown))
    return 0
