"""Every error qfkit raises, in one tree.

QfkitError
├── DataError               data that cannot be traded on
│   ├── BadEventError       one event with an impossible price, size or time
│   ├── FrameError          a DataFrame or file with missing, unsorted or broken rows
│   └── NaiveTimeError      a time without a time zone
├── ParameterError          a strategy parameter that does not exist or is out of bounds
├── TimeframeError          a timeframe such as "1m" that cannot be read
├── OrderError              an order request that makes no sense
├── StrategyError           a strategy that cannot be found, built or run
├── FeedError               market data that did not arrive
│   ├── ConnectionFailedError   no connection to the provider
│   ├── MalformedFrameError     a frame off the wire that cannot be decoded
│   ├── RateLimitError          a provider that asks to be left alone for a while
│   └── SymbolError             a symbol the provider does not have
├── JournalError            a session's journal
│   ├── JournalFormatError  a file that is no journal, or a damaged one
│   └── JournalWriteError   the journal could not be written (a full disk, say)
├── SessionError            a session that does not exist or is in the wrong state
└── ResearchError           a sweep or walk-forward that could not be done to its end
"""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "BadEventError",
    "ConnectionFailedError",
    "DataError",
    "FeedError",
    "FrameError",
    "JournalError",
    "JournalFormatError",
    "JournalWriteError",
    "MalformedFrameError",
    "NaiveTimeError",
    "OrderError",
    "ParameterError",
    "QfkitError",
    "RateLimitError",
    "ResearchError",
    "SessionError",
    "StrategyError",
    "SymbolError",
    "TimeframeError",
    "did_you_mean",
]


class QfkitError(Exception):
    """The base of every error raised on purpose; its text names the value and the fix."""


class DataError(QfkitError, ValueError):
    """Raised when data given to qfkit cannot be traded on."""


class BadEventError(DataError):
    """Raised for one event with an impossible price, size or time.

    A live session counts such an event, keeps it aside and goes on; a backtest stops.
    """


class FrameError(DataError):
    """Raised for a price frame or file with missing columns, unsorted times or broken rows."""


class NaiveTimeError(DataError):
    """Raised for a time without a time zone, wherever one is given."""


class ParameterError(QfkitError, ValueError):
    """Raised for a parameter that does not exist, has the wrong type or is out of its bounds."""


class TimeframeError(QfkitError, ValueError):
    """Raised for a timeframe that cannot be read or cannot be built from the data at hand."""


class OrderError(QfkitError, ValueError):
    """Raised in the strategy (or cell) that asks for an order which makes no sense."""


class StrategyError(QfkitError):
    """Raised when a strategy cannot be found or built, or when its code raised in a backtest."""


class FeedError(QfkitError):
    """Raised when market data did not arrive as it should."""


class ConnectionFailedError(FeedError):
    """Raised when no connection to a provider could be made."""


class MalformedFrameError(FeedError, ValueError):
    """Raised for a frame off the wire that is not what the provider documents."""


class RateLimitError(FeedError):
    """Raised when a provider asks to be left alone for longer than is worth waiting; ``retry_after_s`` says how long."""

    def __init__(self, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class SymbolError(FeedError, ValueError):
    """Raised for a symbol that the provider does not have."""


class JournalError(QfkitError):
    """Raised for a session's journal."""


class JournalFormatError(JournalError, ValueError):
    """Raised when opening a file that is not a qfkit journal, or one that is damaged."""


class JournalWriteError(JournalError, OSError):
    """Raised when the journal cannot be written; the session stops before it shows anything more."""


class SessionError(QfkitError):
    """Raised for a session that does not exist, or is not in a state that allows the call."""


class ResearchError(QfkitError):
    """Raised where a sweep or walk-forward cannot go on, its executor having broken for instance."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'fast'?"`` for a near miss, else a list of what there is."""
    names = sorted(known)
    close = get_close_matches(str(name), names, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Known: {', '.join(names)}." if names else ""
