"""Feeds as they are written on a command line: a provider's name, ``sample``, ``synthetic`` or a path."""

import os
from collections.abc import Sequence
from pathlib import Path

from qfkit.errors import ConnectionFailedError, FeedError, ParameterError, did_you_mean
from qfkit.feeds.base import Feed
from qfkit.live.runner import run

__all__ = [
    "FEED_NAMES",
    "PROBE_S",
    "answers",
    "binance_feed",
    "named_feed",
    "recording_feed",
    "sample_feed",
    "synthetic_feed",
    "yahoo_feed",
]

FEED_NAMES = ("auto", "binance", "sample", "synthetic", "yahoo")
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
            return yahoo_feed(symbols), "Yahoo's stream, no key needed"
        case "binance":
            return binance_feed(symbols), "Binance's public stream, no key needed"
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
    """Binance for crypto pairs, Yahoo for all else; an error that says what to do where neither answers."""
    pairs = [symbol for symbol in symbols if _is_pair(symbol)]
    if pairs and len(pairs) < len(symbols):
        raise ParameterError(
            f"{', '.join(pairs)} would come from Binance and the other symbols from Yahoo, and one run takes one feed: "
            "write pairs as Yahoo does, as in BTC-USD, or run them apart"
        )
    is_yahoo = bool(symbols) and not pairs
    provider = "Yahoo" if is_yahoo else "Binance"
    if not (yahoo_answers() if is_yahoo else answers()):
        raise ConnectionFailedError(
            f"{provider} did not answer within {PROBE_S:g} s: is there a network? Without one use --feed sample (real "
            "daily bars of AAPL, GOOG, IBM and MSFT), --feed synthetic, or the path of a recording"
        )
    why = f"{provider}'s stream answers: live prices, no key needed"
    return (yahoo_feed if is_yahoo else binance_feed)(symbols), why


# What Binance's pairs end with. A share's symbol is shorter than a pair.
_QUOTED = ("USDT", "USDC", "FDUSD", "TUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "JPY")


def _is_pair(symbol: str) -> bool:
    """Whether a symbol is a crypto pair as Binance writes it."""
    name = symbol.upper()
    return len(name) >= 6 and name.isalnum() and name.endswith(_QUOTED)


def yahoo_feed(symbols: Sequence[str] = ()) -> Feed:
    """Yahoo's last prices, live and with no key."""
    from qfkit.feeds.yahoo import YahooFeed

    return YahooFeed(symbols or ("AAPL", "MSFT"))


def answers(url: str | None = None) -> bool:
    """Whether Binance's stream, or the server in its place, answers soon."""
    from qfkit.feeds.binance import probe

    return run(probe(url, timeout_s=PROBE_S))


def yahoo_answers() -> bool:
    """Whether Yahoo's stream, or the server in its place, answers soon."""
    from qfkit.feeds.yahoo import probe

    return run(probe(timeout_s=PROBE_S))


def binance_feed(symbols: Sequence[str] = (), *, url: str | None = None) -> Feed:
    """Binance's trades and quotes, live and with no key; ``url`` None takes the environment's server, else Binance's."""
    from qfkit.feeds.binance import BinanceFeed

    return BinanceFeed(symbols or _COINS, stream_url=url)


def recording_feed(path: str, symbols: Sequence[str] = (), *, speed: float | None = 1.0) -> Feed:
    """The recording in a file: a capture, Parquet or a session's journal."""
    if not Path(path).exists():
        looks_like_name = os.sep not in path and "." not in path
        hint = did_you_mean(path, FEED_NAMES) if looks_like_name else ""
        raise FeedError(
            f"no feed or file {path!r}.{hint or ' Give one of auto, binance, sample, synthetic, yahoo or a path.'}"
        )
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
