"""The command ``qfkit``. What takes long to import is imported by the command that needs it."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qfkit.arguments import command_parser
from qfkit.errors import ParameterError, QfkitError, did_you_mean

__all__ = ["main"]

_SHOWN = 20
_SHOWN_OF_A_NAME = 3


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
    given = command_parser().parse_args(arguments)
    commands = {
        "backtest": _backtest,
        "demo": _demo,
        "lab": _lab,
        "prices": _prices,
        "realtime": _realtime,
        "status": _status,
        "stop": _stop,
        "stream": _stream,
        "watch": _watch,
    }
    return commands[given.command](given)


# -- commands --------------------------------------------------------------------------------


def _strategies(given: argparse.Namespace) -> Any:
    from qfkit.strategy_names import strategies_of

    return strategies_of(given.strategy or ["moving-average-crossover"], given.set)


def _demo(given: argparse.Namespace) -> int:
    from qfkit.demo import run_demo

    return run_demo(seconds=given.seconds, plain=given.plain, cash=given.cash)


def _lab(given: argparse.Namespace) -> int:
    from qfkit.lab import run_lab

    return run_lab(
        given.folder,
        fresh=given.fresh,
        browser=not given.no_browser,
        port=given.port,
        allow_root=given.allow_root,
    )


def _realtime(given: argparse.Namespace) -> int:
    strategies = _strategies(given)
    from qfkit.feed_names import named_feed
    from qfkit.live.paper import paper
    from qfkit.watching import Interruption, finish, next_steps, say, watch

    with Interruption().listening() as interruption:
        feed, why = named_feed(given.feed, given.symbols, speed=given.speed, days_per_second=given.days_per_second)
        timeframe = given.timeframe
        if timeframe is None and feed.name == "synthetic":
            timeframe = "1s"
        session = paper(
            strategies,
            feed,
            cash=given.cash,
            timeframe=timeframe,
            warmup=given.warmup,
            name=given.name,
            journal=given.journal,
        )
        say(f"{why}; bars of {timeframe or feed.timeframe or '1m'}")
        if given.metrics_port is not None:
            say(f"metrics for Prometheus at {session.serve_metrics(given.metrics_port).url}")
        seconds = None if given.duration is None else given.duration * 60.0
        try:
            watch(session, interruption, seconds=seconds, plain=given.plain)
        finally:
            # Of a session that never saw a price the error alone is worth telling.
            if session.journal_path is not None and session.error is not None and session.snapshot.symbols:
                finish(session, interruption, next_steps(session), verify=False)
        equal = finish(session, interruption, next_steps(session), verify=not given.no_verify)
    failed = any(view.state == "failed" for view in session.snapshot.strategies)
    return 0 if equal and not failed else 1


def _stream(given: argparse.Namespace) -> int:
    from qfkit.feed_names import named_feed
    from qfkit.stream import print_stream
    from qfkit.watching import Interruption, say

    with Interruption().listening() as interruption:
        feed, why = named_feed(given.feed, given.symbols, speed=given.speed)
        if given.record is not None:
            feed.record(given.record)
        say(why)
        seconds = None if given.duration is None else given.duration * 60.0
        print_stream(feed, interruption, seconds=seconds, quotes=given.quotes)
        if given.record is not None:
            say(f"recorded; to play it: qfkit stream --feed {shlex.quote(given.record)}")
    return 0


def _watch(given: argparse.Namespace) -> int:
    from qfkit.feed_names import named_feed
    from qfkit.watch_list import given_rules, summary_line, watch_session
    from qfkit.watching import Interruption, say, watch

    with Interruption().listening() as interruption:
        feed, why = named_feed(given.feed, given.symbols, speed=given.speed)
        rules = given_rules(
            feed.symbols,
            above=given.above,
            below=given.below,
            move=given.move,
            volume=given.volume,
            window_s=given.window,
            every_s=given.every,
        )
        session = watch_session(
            given.symbols, alerts=rules, notify=given.notify, feed=feed, name=given.name, journal=given.journal
        )
        say(f"{why}; {', '.join(session.alert_rules)}")
        seconds = None if given.duration is None else given.duration * 60.0
        watch(session, interruption, seconds=seconds, plain=given.plain)
        say(summary_line(session))
    return 0


def _prices(given: argparse.Namespace) -> int:
    from qfkit.feed_names import named_feed
    from qfkit.prices import print_prices
    from qfkit.watching import Interruption

    with Interruption().listening() as interruption:
        feed, _ = named_feed(given.feed, given.symbols, speed=given.speed)
        return 0 if print_prices(feed, interruption, seconds=given.wait) else 1


def _backtest(given: argparse.Namespace) -> int:
    strategies = _strategies(given)
    from qfkit.research.backtest import backtest

    name = given.data or "sample"
    data: Any = name
    symbols = given.symbols
    if given.days is not None:
        if not symbols:
            raise ParameterError("--days fetches the bars of symbols: name them, as in -s AAPL -d 90")
        if given.data is not None:
            raise ParameterError(f"--days fetches bars and --data {given.data} has its own: give one of the two")
        from qfkit.histories import history

        data = history(symbols, days=given.days, timeframe=given.timeframe or "1d", source=given.source)
        symbols = []
    elif name.lower() == "sample":
        from qfkit.samples import SAMPLE_SYMBOLS, sample_columns

        data = {symbol: sample_columns(symbol) for symbol in symbols or SAMPLE_SYMBOLS}
        symbols = []
    elif not Path(name).exists():
        raise ParameterError(f'--data {name}: no such file; give the path of a recording, or "sample"')
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
    if given.name is not None:
        names = [record.name for record in records]
        records = [record for record in records if record.name == given.name]
        if not records:
            raise ParameterError(f"no session {given.name!r}.{did_you_mean(given.name, names)}")
    shown = records if given.all else records[-_SHOWN_OF_A_NAME if given.name else -_SHOWN :]
    print_status(shown, earlier=len(records) - len(shown), health=given.health or given.name is not None)
    return 0


def _stop(given: argparse.Namespace) -> int:
    from qfkit.live.stopping import of_names_or_paths, running_journals, stop_journals
    from qfkit.watching import say

    if given.folder is not None and not Path(given.folder).is_dir():
        raise ParameterError(f"--folder {given.folder}: no such folder")
    if given.all == bool(given.names):
        raise ParameterError(
            "say which sessions: their names, the path of a journal, or --all (qfkit status lists them)"
        )
    paths = running_journals(given.folder) if given.all else of_names_or_paths(given.names, given.folder)
    answers = stop_journals(paths, flatten=given.flatten, patience_s=given.patience)
    for answer in answers:
        say(answer.text)
    if not answers:
        say("no session is running")
    is_left = given.flatten and any(answer.still_open for answer in answers)
    return 1 if is_left or any(answer.outcome == "no answer" for answer in answers) else 0
