"""Feeds as they are written on a command line: a provider's name, ``sample``, ``synthetic`` or a path."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qfkit.errors import ConnectionFailedError, FeedError, ParameterError, SymbolError, did_you_mean
from qfkit.feeds.base import Feed
from qfkit.feeds.binance_pairs import is_pair
from qfkit.live.runner import run

if TYPE_CHECKING:
    from qfkit.feeds.yahoo import YahooFeed

__all__ = [
    "FEED_NAMES",
    "PROBE_S",
    "alphavantage_feed",
    "answers",
    "binance_feed",
    "named_feed",
    "recording_feed",
    "sample_feed",
    "synthetic_feed",
    "yahoo_answers",
    "yahoo_feed",
    "yahoo_polls",
]

FEED_NAMES = ("alphavantage", "auto", "binance", "sample", "synthetic", "yahoo")
PROBE_S = 3.0
_COINS = ("BTCUSDT", "ETHUSDT")


def named_feed(
    name: str,
    symbols: Sequence[str] = (),
    *,
    speed: float | None = 1.0,
    days_per_second: float = 20.0,
    duration_s: float | None = None,
) -> tuple[Feed, str]:
    """The feed of a name and, in words, why it was taken.

    ``speed`` is a multiple of real time (None: as fast as it goes) for recordings and the
    synthetic exchange, ``days_per_second`` the pace of the daily sample bars.
    """
    match name.lower():
        case "auto":
            return _auto_feed(symbols)
        case "yahoo":
            return _live_yahoo(symbols)
        case "alphavantage":
            return alphavantage_feed(symbols), "Alpha Vantage's last prices, by your key"
        case "binance":
            return _live_binance(symbols)
        case "sample":
            if speed is None:
                from qfkit.feeds.replay import sample
                from qfkit.samples import SAMPLE_SYMBOLS

                return sample(*(symbols or SAMPLE_SYMBOLS), speed=None), "real daily bars, as fast as it goes"
            why = f"real daily bars, {days_per_second:g} days a second"
            return sample_feed(symbols, days_per_second=days_per_second), why
        case "synthetic":
            feed = synthetic_feed(symbols, speed=speed, duration_s=duration_s)
            return feed, "a made-up market: good for trying things, no evidence of anything"
    return recording_feed(name, symbols, speed=speed), f"the recording {name}"


def _auto_feed(symbols: Sequence[str]) -> tuple[Feed, str]:
    """Binance for crypto pairs, Yahoo for all else."""
    pairs = [symbol for symbol in symbols if is_pair(symbol)]
    others = ", ".join(symbol for symbol in symbols if symbol not in pairs)
    if pairs and others:
        raise ParameterError(
            f"{', '.join(pairs)} would come from Binance and {others} from Yahoo, and one run takes one provider: "
            "write the pairs as Yahoo does, as in BTC-USD, or run them apart"
        )
    return _live_binance(symbols) if pairs or not symbols else _live_yahoo(symbols)


def _live_binance(symbols: Sequence[str]) -> tuple[Feed, str]:
    """Binance, if it answers; else an error that says what to do."""
    if answers():
        return binance_feed(symbols), "Binance's stream answers: live prices, no key needed"
    raise _no_answer("Binance")


def _live_yahoo(symbols: Sequence[str]) -> tuple[Feed, str]:
    """Yahoo, if it answers in one way or the other; else an error that says what to do."""
    if yahoo_answers():
        return yahoo_feed(symbols), "Yahoo's stream answers: live prices, no key needed"
    if yahoo_polls(symbols[0] if symbols else "AAPL"):
        return yahoo_feed(symbols), "Yahoo's stream does not answer, its last prices do: they are asked for in turn"
    raise _no_answer("Yahoo")


def _no_answer(provider: str) -> ConnectionFailedError:
    return ConnectionFailedError(
        f"{provider} did not answer within {PROBE_S:g} s: is there a network? Without one run on real daily bars of "
        "AAPL, GOOG, IBM and MSFT, as in `qfkit realtime --feed sample -s AAPL`, or with --feed synthetic, or --feed "
        "and the path of a recording"
    )


def yahoo_feed(symbols: Sequence[str] = ()) -> "YahooFeed":
    """Yahoo's last prices, live and with no key."""
    from qfkit.feeds.yahoo import YahooFeed

    return YahooFeed(symbols or ("AAPL", "MSFT"))


def alphavantage_feed(symbols: Sequence[str] = ()) -> Feed:
    """Alpha Vantage's last prices, within the budget of the key in ``ALPHAVANTAGE_API_KEY``."""
    from qfkit.feeds.alpha_vantage import AlphaVantageFeed

    return AlphaVantageFeed(symbols or ("AAPL", "MSFT"))


def answers(url: str | None = None) -> bool:
    """Whether Binance's stream, or the server in its place, answers soon."""
    from qfkit.feeds.binance import probe

    return run(probe(url, timeout_s=PROBE_S))


def yahoo_answers() -> bool:
    """Whether Yahoo's stream, or the server in its place, answers soon."""
    from qfkit.feeds.yahoo import probe

    return run(probe(timeout_s=PROBE_S))


def yahoo_polls(symbol: str) -> bool:
    """Whether Yahoo tells last prices where its stream cannot be had."""
    source = yahoo_feed([symbol]).history_source()
    if source is None:
        return False

    async def ask() -> bool:
        try:
            await source.last_price(symbol)
        except SymbolError:
            return True
        except FeedError:
            return False
        return True

    try:
        return run(ask(), PROBE_S)
    except TimeoutError:
        return False


def binance_feed(symbols: Sequence[str] = (), *, url: str | None = None) -> Feed:
    """Binance's trades and quotes, live and with no key; ``url`` None takes the environment's server, else Binance's."""
    from qfkit.feeds.binance import BinanceFeed

    return BinanceFeed(symbols or _COINS, stream_url=url)


def recording_feed(path: str, symbols: Sequence[str] = (), *, speed: float | None = 1.0) -> Feed:
    """The recording in a file: a capture, Parquet or a session's journal."""
    if not Path(path).exists():
        looks_like_name = os.sep not in path and "." not in path
        hint = did_you_mean(path, FEED_NAMES) if looks_like_name else ""
        hint = hint or f" Give one of {', '.join(FEED_NAMES)} or a path."
        raise FeedError(f"no feed or file {path!r}.{hint}")
    from qfkit.feeds.replay import ReplayFeed

    return ReplayFeed(path, speed=speed, symbols=tuple(symbols) or None)


def sample_feed(symbols: Sequence[str] = (), *, days_per_second: float) -> Feed:
    """Real daily bars at a pace of calendar days."""
    from qfkit.feeds.replay import sample
    from qfkit.samples import SAMPLE_SYMBOLS

    return sample(*(symbols or SAMPLE_SYMBOLS), days_per_second=days_per_second)


def synthetic_feed(symbols: Sequence[str] = (), *, speed: float | None = 1.0, duration_s: float | None = None) -> Feed:
    """The seeded exchange; without a duration it goes on until it is stopped."""
    from qfkit.feeds.synthetic import SyntheticFeed

    return SyntheticFeed(tuple(symbols) or _COINS, speed=speed, duration_s=duration_s)
