"""What the command ``qfkit`` takes, and its help. Nothing heavy is imported, for a help text must come at once."""

import argparse
import re
import sys
from math import isfinite
from typing import Any, NoReturn

from qfkit.errors import did_you_mean

__all__ = ["command_parser"]

_COMMANDS = ("backtest", "demo", "lab", "prices", "realtime", "status", "stop", "stream", "watch")

_REALTIME = """\
Runs strategies on paper, live or on a recording, and shows them until they end or Ctrl-C.

feeds (--feed):
  auto          Yahoo for shares, Binance for crypto pairs such as BTCUSDT, and for no symbols
  binance       Binance's public stream: live trades and quotes, no key
  yahoo         Yahoo's stream: shares, funds, indices, currencies, pairs such as BTC-USD, no key
  alphavantage  last prices of shares by the key in ALPHAVANTAGE_API_KEY, few a day on a free one
  sample        real daily bars of AAPL, GOOG, IBM and MSFT
  synthetic     a seeded exchange whose prices are made up; bars of 1s unless --timeframe says else
  PATH          a recording: a capture of Binance's stream, Parquet, or a session's journal"""

_REALTIME_EXAMPLES = """\
examples:
  qfkit realtime
  qfkit realtime -s AAPL MSFT GOOGL -d 10 -c 100000
  qfkit realtime -s BTCUSDT ETHUSDT --feed binance --warmup 100
  qfkit realtime --feed synthetic --strategy bollinger-reversion --set period=15
  qfkit realtime --feed capture.gz --speed 10 --timeframe 1s --set fast=8 --set slow=21
  qfkit realtime --feed sample -s AAPL IBM --strategy mine.py:MyStrategy"""

_BACKTEST_EXAMPLES = """\
examples:
  qfkit backtest
  qfkit backtest -s AAPL -d 90
  qfkit backtest -s BTCUSDT -d 7 --timeframe 1h --source binance
  qfkit backtest -s IBM --data sample --set fast=12
  qfkit backtest --data bars.parquet --timeframe 5m --strategy momentum-rebalance --set lookback=20
  qfkit backtest --data session.qfkit.sqlite --strategy mine.py:MyStrategy"""

_STREAM = """\
Prints each price as it comes: time (UTC), up or down from the price before, symbol, price, change and
percent since the last close where that is known, else since the first price seen. Gaps in the data,
silence and reconnections are lines of their own. At the end: how well the data arrived."""

_STREAM_EXAMPLES = """\
examples:
  qfkit stream -s AAPL TSLA -d 5
  qfkit stream -s BTCUSDT ETHUSDT --record btc
  qfkit stream --feed btc --speed 10
  qfkit stream --feed sample -s AAPL IBM"""

_PRICES = """\
Shows the last price of each symbol in a table, with the change since the last close where that is known."""

_PRICES_EXAMPLES = """\
examples:
  qfkit prices -s AAPL MSFT
  qfkit prices -s BTCUSDT ETHUSDT --feed binance -w 5"""

_WATCH = """\
Watches symbols and alerts, without a strategy, until Ctrl-C. That data stop, or are missing for good, is an
alert too. Alerts are shown, kept in the journal, and sent to where --notify says."""

_WATCH_EXAMPLES = """\
examples:
  qfkit watch -s BTCUSDT --above 70000 --below 60000 --move 2%
  qfkit watch -s BTCUSDT ETHUSDT --above BTCUSDT=70000 --above ETHUSDT=4000 --notify file:alerts.log
  qfkit watch -s AAPL MSFT --move 1% --window 900 --volume 5 --notify env:MY_WEBHOOK --notify terminal
  qfkit watch --feed capture.gz --speed 10 --move 0.1%

--notify: notebook, terminal, file:PATH, the https:// address of a webhook, an address of the library apprise
such as mailto:// or ntfy:// (pip install 'qfkit[alerts]'), or env:NAME for an environment variable that holds
one, since what stands on a command line is seen by all who use the machine."""

_STATUS_EXAMPLES = """\
examples:
  qfkit status
  qfkit status demo
  qfkit status --health --all"""

_STOP = """\
Stops running sessions, also those of a notebook whose kernel is busy: on_stop runs, working orders are
cancelled, positions stay as they are. A stopped session has ended; qfkit status lists those that run."""

_STOP_EXAMPLES = """\
examples:
  qfkit stop trend
  qfkit stop trend reversion --flatten
  qfkit stop --all
  qfkit stop ~/journals/trend_2024-08-08_12-00-00.qfkit.sqlite"""

_LAB = """\
Copies the tutorial notebooks to a folder and opens JupyterLab on the first of them. Notebooks that are there
already are left as they are."""

_LAB_EXAMPLES = """\
examples:
  qfkit lab
  qfkit lab ~/trading --port 8889
  qfkit lab --fresh
  qfkit lab --no-browser"""

_DEMO = """\
Two strategies on paper for about a minute. The source is Binance's public stream if it answers
within 3 s, else the capture $QFKIT_DEMO_DATA, else real daily bars and then a synthetic exchange."""


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


def _whole(text: str) -> int:
    """Reads a whole number, 0 or above."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bars: it must be a whole number, 0 or above")
    return int(text)


def _port(text: str) -> int:
    """Reads a port's number; 0 takes any that is free."""
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: it must be a whole number up to 65535")
    return int(text)


def _level(text: str) -> tuple[str | None, float]:
    """Reads ``70000`` or ``BTCUSDT=70000``."""
    symbol, mark, number = text.rpartition("=")
    price = _Positive("a price")(number)
    assert price is not None
    return (symbol if mark else None), price


def _share(text: str) -> float:
    """Reads ``2%`` or ``0.02``."""
    number = _Positive("a move")(text.strip().removesuffix("%").strip())
    assert number is not None
    if text.strip().endswith("%"):
        return number / 100.0
    if number >= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} would be {number:.0%}: write {text}% for {number:g} percent")
    return number


def command_parser() -> argparse.ArgumentParser:
    """The parser of all commands; it ends the process for bad input, with one line."""
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
    realtime.add_argument(
        "--warmup",
        type=_whole,
        default=0,
        metavar="BARS",
        help="so many bars from before the start for the indicators, from the feed's provider (default: 0)",
    )
    realtime.add_argument("--name", help="the session's name (default: of its strategies)")
    realtime.add_argument(
        "--journal", metavar="PATH", help="a file or folder for the journal (default: your data folder)"
    )
    realtime.add_argument(
        "--metrics-port",
        type=_port,
        metavar="PORT",
        help="serve the figures to Prometheus there, to this machine only",
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
        "--data", metavar="DATA", help="sample (real daily bars; the default), or the path of a recording"
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
    prices = commands.add_parser(
        "prices", help="the last prices, in a table", description=_PRICES, epilog=_PRICES_EXAMPLES
    )
    _add_feed_arguments(prices)
    prices.add_argument(
        "-w", "--wait", type=_Positive("a time"), default=10.0, metavar="SECONDS", help="for first prices (default: 10)"
    )

    watch = commands.add_parser("watch", help="symbols and alerts", description=_WATCH, epilog=_WATCH_EXAMPLES)
    _add_feed_arguments(watch)
    for name in ("above", "below"):
        watch.add_argument(
            f"--{name}",
            type=_level,
            action="append",
            default=[],
            metavar="[SYMBOL=]PRICE",
            help=f"the price is at or {name} it; without SYMBOL= of the only symbol; may be given several times",
        )
    watch.add_argument("--move", type=_share, metavar="PERCENT%", help="any symbol moves so far within the window")
    watch.add_argument(
        "--volume", type=_Positive("a number of times"), metavar="TIMES", help="its volume is so many times the usual"
    )
    watch.add_argument(
        "--window", type=_Positive("a time"), metavar="SECONDS", help="of --move (default: 300) and --volume (60)"
    )
    watch.add_argument(
        "--every", type=_Positive("a time"), default=60.0, metavar="SECONDS", help="the same at most (default: 60)"
    )
    watch.add_argument("--notify", action="append", default=[], metavar="WHERE", help="see below")
    watch.add_argument("-d", "--duration", type=_Positive("a time"), metavar="MINUTES", help="default: until Ctrl-C")
    watch.add_argument("--name", default="watch", help="the session's name (default: watch)")
    watch.add_argument("--journal", metavar="PATH", help="a file or folder for the journal (default: your data folder)")
    watch.add_argument("--plain", action="store_true", default=None, help="lines instead of the page")

    lab = commands.add_parser("lab", help="the tutorials in JupyterLab", description=_LAB, epilog=_LAB_EXAMPLES)
    lab.add_argument(
        "folder", nargs="?", default="qfkit-notebooks", metavar="FOLDER", help="default: ./qfkit-notebooks"
    )
    lab.add_argument("--fresh", action="store_true", help="a new copy, in a new folder beside")
    lab.add_argument("--no-browser", action="store_true", help="only print the address")
    lab.add_argument("--port", type=_port, help="of the server; 0 takes any that is free (default: 8888 or the next)")
    lab.add_argument("--allow-root", action="store_true", help="JupyterLab wants this said where root runs it")

    status = commands.add_parser(
        "status",
        help="the sessions on this machine",
        description="Lists sessions, running or ended, newest last, and how well the data of each arrived.",
        epilog=_STATUS_EXAMPLES,
    )
    status.add_argument("name", nargs="?", metavar="NAME", help="of this name only, with its feed's health by symbol")
    status.add_argument("--health", action="store_true", help="the feed's health by symbol, of all that are shown")
    status.add_argument("--folder", help="look at the journals in this folder instead of your data folder")
    status.add_argument("--all", action="store_true", help="all of them, not only the newest 20")

    stop = commands.add_parser("stop", help="stop running sessions", description=_STOP, epilog=_STOP_EXAMPLES)
    stop.add_argument("names", nargs="*", metavar="NAME|PATH", help="a session's name, or its journal's path")
    stop.add_argument("--all", action="store_true", help="every running session of your data folder")
    stop.add_argument("--flatten", action="store_true", help="cancel all orders and close all positions first")
    stop.add_argument(
        "--patience",
        type=_Positive("a time"),
        default=10.0,
        metavar="SECONDS",
        help="for an answer, and for --flatten (default: 10)",
    )
    stop.add_argument("--folder", help="look at the journals in this folder instead of your data folder")
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
