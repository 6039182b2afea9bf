"""The demo: two strategies on paper for about a minute, on the best source at hand."""

import os
from collections.abc import Iterator
from math import isfinite
from typing import Any, NamedTuple

from qfkit.core.strategy import Strategy
from qfkit.errors import ParameterError
from qfkit.feed_names import PROBE_S, answers, binance_feed, recording_feed, sample_feed, synthetic_feed
from qfkit.feeds.base import Feed
from qfkit.live.paper import paper
from qfkit.strategies import MomentumRebalance, MovingAverageCrossover
from qfkit.watching import Interruption, finish, next_steps, say, watch

__all__ = ["run_demo"]

_SECONDS = 60.0
_DAILY_SECONDS = 38.0
_DAYS_PER_SECOND = 130.0
_COINS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


class _Part(NamedTuple):
    """One session of the demo: what it shows, why, and for how long."""

    name: str
    feed: Feed
    why: str
    strategies: list[Strategy]
    timeframe: str | None
    seconds: float


def run_demo(*, seconds: float | None = None, plain: bool | None = None, cash: float = 100_000.0) -> int:
    """Run the demo in the terminal and return the exit code: 1 where a replay did not equal its session.

    The source is Binance's public stream if it answers within 3 s (``QFKIT_DEMO_URL``: another
    server of its protocol), else the capture ``QFKIT_DEMO_DATA`` (``QFKIT_DEMO_SPEED`` times its
    speed), else real daily bars and then the synthetic exchange. ``seconds``, or
    ``QFKIT_DEMO_SECONDS``, bounds the whole of it.
    """
    seconds = _number("QFKIT_DEMO_SECONDS") if seconds is None else seconds
    all_equal = True
    with Interruption().listening() as interruption:
        for part in _parts(seconds):
            say(part.why)
            say("")
            session = paper(part.strategies, part.feed, cash=cash, timeframe=part.timeframe, name=part.name, costs=None)
            watch(session, interruption, seconds=part.seconds, plain=plain)
            all_equal &= finish(session, interruption, next_steps(session))
            say("")
            if interruption.came:
                break
    return 0 if all_equal else 1


def _parts(seconds: float | None) -> Iterator[_Part]:
    """The sessions of the demo, each made when its turn comes."""
    url = os.environ.get("QFKIT_DEMO_URL")
    server = url or "Binance's public stream"
    capture = os.environ.get("QFKIT_DEMO_DATA")
    say(f"looking for {server}, {PROBE_S:g} s at most ...")
    whole_s = _SECONDS if seconds is None else seconds
    if answers(url):
        why = f"{server} answers: live trades and quotes of {', '.join(_COINS)}, for {whole_s:g} s"
        yield _Part("demo", binance_feed(_COINS, url=url), why, _quick(), "1s", whole_s)
        return
    if capture:
        speed = _number("QFKIT_DEMO_SPEED") or 1.0
        why = f"{server} does not answer: the recording {capture} at {speed:g} times its speed"
        yield _Part("demo", recording_feed(capture, speed=speed), why, _quick(), "1s", whole_s)
        return
    daily_s = _DAILY_SECONDS if seconds is None else seconds * _DAILY_SECONDS / (_DAILY_SECONDS + _SECONDS)
    why = (
        f"{server} does not answer and QFKIT_DEMO_DATA is not set: first real daily bars of four stocks, "
        f"{_DAYS_PER_SECOND:g} days a second"
    )
    yield _Part("demo-daily", sample_feed(days_per_second=_DAYS_PER_SECOND), why, _daily(), None, daily_s)
    quick_s = _SECONDS if seconds is None else seconds - daily_s
    why = f"and now ticks, for {quick_s:g} s: a synthetic exchange, whose prices are made up"
    yield _Part("demo-ticks", synthetic_feed(_COINS), why, _quick(), "1s", quick_s)


def _daily() -> list[Strategy]:
    return [MovingAverageCrossover(), MomentumRebalance()]


def _quick() -> list[Strategy]:
    """On bars of a second and with short averages, so that there is something to see within a minute."""
    return [MovingAverageCrossover(fast=3, slow=8), MomentumRebalance(lookback=10, every=10, hold=1)]


def _number(variable: str) -> Any:
    text = os.environ.get(variable)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value) or value <= 0.0:
        raise ParameterError(f"{variable}={text!r}: it must be a number above 0")
    return value
