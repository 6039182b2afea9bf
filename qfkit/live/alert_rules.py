"""Alert rules: what a session is asked to say something about, as frozen records.

Each says what it looks for; the state (whether it is armed, what it told last) is kept by its
watcher. Times are the market's, so that a recording gives the same alerts at any speed.
"""

from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any, ClassVar, TypeAlias

import msgspec

from qfkit.core.snapshot import Snapshot
from qfkit.core.wording import share
from qfkit.errors import ParameterError

__all__ = [
    "AnyRule",
    "Drawdown",
    "FeedGap",
    "FeedStale",
    "Filled",
    "LimitNear",
    "OrderRejected",
    "PriceAbove",
    "PriceBelow",
    "PriceMove",
    "Rule",
    "StrategySilent",
    "StrategyStopped",
    "VolumeBurst",
    "When",
    "as_rule",
    "figure",
    "rule_meta",
    "rules_of_meta",
]

Judge: TypeAlias = Callable[[Snapshot], object]


class Rule(msgspec.Struct, frozen=True, kw_only=True, tag=True, repr_omit_defaults=True):
    """What every rule has: a ``name`` (made of its fields where none is given), and ``every_s``.

    A rule says at most one thing about one symbol or strategy every ``every_s`` seconds of market
    time (None: 60, of fills 0); what it held back meanwhile is counted in its next alert.
    """

    usual_every_s: ClassVar[float] = 60.0
    name: str = ""
    every_s: float | None = None

    def __post_init__(self) -> None:
        _check(self, self.every_s is None or self.every_s >= 0.0, "every_s", "0 or above")

    @property
    def title(self) -> str:
        """The name, else what it looks for in a few words."""
        return self.name or self._words()

    def _words(self) -> str:
        raise NotImplementedError


class PriceAbove(Rule, frozen=True):
    """The price is at or above a level: of every trade, in a bar its high.

    It is armed again once a price is below the level by ``margin``, a fraction of it. Where the
    price is above from the start, that is told at once. Where a symbol has quotes and no trades the
    middle of the quote is its price. A stale last price from before the stream began tells nothing.
    """

    symbol: str
    price: float
    margin: float = 0.001

    def __post_init__(self) -> None:
        _check_level(self)

    def _words(self) -> str:
        return f"{self.symbol} above {figure(self.price)}"


class PriceBelow(Rule, frozen=True):
    """The price is at or below a level; as :class:`PriceAbove`, the other way round."""

    symbol: str
    price: float
    margin: float = 0.001

    def __post_init__(self) -> None:
        _check_level(self)

    def _words(self) -> str:
        return f"{self.symbol} below {figure(self.price)}"


class PriceMove(Rule, frozen=True):
    """The price moved by a ``fraction`` (0.02 is 2 %) within ``window_s`` seconds, up or down.

    Measured from the lowest and the highest price of the window, so a spike inside it counts. After
    a move the window begins anew at its end: a trend tells each further ``fraction`` once. Of bars the
    open, both extremes and the close count (a rising bar is taken to have made its low first).
    ``symbol`` None means each symbol of the session.
    """

    symbol: str | None = None
    fraction: float = 0.02
    window_s: float = 300.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, 0.0 < self.fraction < inf, "fraction", "above zero (0.02 is 2 %)")
        _check(self, 0.0 < self.window_s < inf, "window_s", "above zero")

    def _words(self) -> str:
        return f"{self.symbol or 'any symbol'} moves {share(self.fraction)} in {self.window_s:g} s"


class VolumeBurst(Rule, frozen=True):
    """The volume of ``window_s`` seconds is ``times`` what such a window had in the ``over_s`` seconds before it.

    Nothing is told before ``over_s`` was seen; bars of a warm-up count as seen. It is armed again below
    80 % of that. Trades of unknown size have no part in it; after a gap the average is gathered anew.
    """

    symbol: str | None = None
    times: float = 5.0
    window_s: float = 60.0
    over_s: float = 1_200.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, 1.0 < self.times < inf, "times", "above 1")
        _check(self, 0.0 < self.window_s < inf, "window_s", "above zero")
        _check(self, self.window_s <= self.over_s <= 1_000.0 * self.window_s, "over_s", "1 to 1,000 windows long")

    def _words(self) -> str:
        return f"{self.symbol or 'any symbol'} trades {self.times:g} times its volume in {self.window_s:g} s"


class Filled(Rule, frozen=True):
    """An order was filled; parts of one order that come at once are one alert. Not held back unless ``every_s`` says so."""

    usual_every_s: ClassVar[float] = 0.0
    symbol: str | None = None
    strategy: str | None = None

    def _words(self) -> str:
        return f"fills{_of(self.symbol, self.strategy)}"


class OrderRejected(Rule, frozen=True):
    """A strategy's wish was refused whole, by a risk limit or because it made no sense to send."""

    symbol: str | None = None
    strategy: str | None = None

    def _words(self) -> str:
        return f"rejected orders{_of(self.symbol, self.strategy)}"


class Drawdown(Rule, frozen=True):
    """The equity is a ``fraction`` (0.05 is 5 %) below its peak; of the account, or of one strategy.

    Looked at on every equity point and every snapshot. Armed again when the drawdown is ``margin``
    (a fraction of the fraction) less. A strategy's peak counts from when the rule came.
    """

    fraction: float
    strategy: str | None = None
    margin: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, 0.0 < self.fraction < inf, "fraction", "above zero (0.05 is 5 %)")
        _check_margin(self, self.margin)

    def _words(self) -> str:
        return f"drawdown {share(self.fraction)}{_of(None, self.strategy)}"


class LimitNear(Rule, frozen=True):
    """A risk limit is used to a ``share`` (0.9 is 90 %); any limit, or the one of that name.

    Armed again when the share is ``margin`` (a fraction of it) less.
    """

    share: float = 0.9
    limit: str | None = None
    strategy: str | None = None
    margin: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, 0.0 < self.share < inf, "share", "above zero (0.9 is 90 %)")
        _check_margin(self, self.margin)

    def _words(self) -> str:
        return f"{self.limit or 'any limit'} at {share(self.share)}{_of(None, self.strategy)}"


class FeedStale(Rule, frozen=True):
    """Data stopped: the feed, or one symbol of it, has been stale or without a connection for ``after_s`` seconds.

    When data come again after an alert, that is told too. ``silent_s`` also tells where nothing at all
    came for so long, whatever the feed says of itself; a market that is closed is silent too.
    """

    after_s: float = 10.0
    symbol: str | None = None
    silent_s: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, 0.0 <= self.after_s < inf, "after_s", "0 or above")
        _check(self, self.silent_s is None or 0.0 < self.silent_s < inf, "silent_s", "above zero, or None")

    def _words(self) -> str:
        return f"feed stale{_of(self.symbol, None)}"


class FeedGap(Rule, frozen=True):
    """Data are missing that could not be fetched again."""

    symbol: str | None = None

    def _words(self) -> str:
        return f"gaps{_of(self.symbol, None)}"


class StrategyStopped(Rule, frozen=True):
    """A strategy does not run any more: its code raised, it was paused, or the session ended or failed."""

    strategy: str | None = None

    def _words(self) -> str:
        return f"{self.strategy or 'any strategy'} stops"


class StrategySilent(Rule, frozen=True):
    """A strategy has wanted nothing (no signal of any kind) for ``after_s`` seconds of market time."""

    after_s: float
    strategy: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, 0.0 < self.after_s < inf, "after_s", "above zero")

    def _words(self) -> str:
        return f"{self.strategy or 'any strategy'} silent for {self.after_s:g} s"


class When(Rule, frozen=True):
    """Any function of a :class:`~qfkit.Snapshot`: true, or a text to tell, is an alert; told again after it was false.

    It is called with a snapshot about four to ten times a second (not every one, if it is slow), on a
    thread of its own, so that a slow or hanging one delays nothing. One that raises is reported and
    not asked again.
    """

    function: Judge
    text: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, callable(self.function), "function", "a function of a snapshot")

    def _words(self) -> str:
        return str(getattr(self.function, "__qualname__", type(self.function).__name__))


AnyRule: TypeAlias = (
    PriceAbove
    | PriceBelow
    | PriceMove
    | VolumeBurst
    | Filled
    | OrderRejected
    | Drawdown
    | LimitNear
    | FeedStale
    | FeedGap
    | StrategyStopped
    | StrategySilent
)


def as_rule(given: object) -> Rule:
    """A rule as it is; of a function of a snapshot a :class:`When`."""
    if isinstance(given, Rule):
        return given
    if callable(given) and not isinstance(given, type):
        return When(given)
    kind = f"{given.__name__}, without its ()" if isinstance(given, type) else repr(given)
    raise ParameterError(
        f"{kind} is no alert rule: give one such as qf.alerts.PriceAbove('BTCUSDT', 70_000), or a function of a snapshot"
    )


def rule_meta(rule: Rule) -> dict[str, Any]:
    """A rule as JSON values, for a journal; of a function only the name."""
    if isinstance(rule, When):
        return {"type": "When", "callable": rule.title}
    return dict(msgspec.to_builtins(rule))


def rules_of_meta(stored: Iterable[Mapping[str, Any]]) -> tuple[list[Rule], list[str]]:
    """The rules of a journal, and the names of those that it could not hold."""
    rules: list[Rule] = []
    lost: list[str] = []
    for one in stored:
        if "callable" in one:
            lost.append(str(one["callable"]))
        else:
            rules.append(msgspec.convert(one, AnyRule))
    return rules, lost


def figure(value: float) -> str:
    """A price or quantity with thousands marked: ``70,012.3``."""
    return f"{value:,.10g}"


def _of(symbol: str | None, strategy: str | None) -> str:
    return "".join(f" of {one}" for one in (symbol, strategy) if one is not None)


def _check(rule: Rule, holds: bool, field: str, wanted: str) -> None:
    if not holds:
        raise ParameterError(f"{type(rule).__name__}({field}={getattr(rule, field)!r}): it must be {wanted}")


def _check_margin(rule: Rule, margin: float) -> None:
    _check(rule, 0.0 <= margin < 1.0, "margin", "a fraction from 0 to below 1")


def _check_level(rule: PriceAbove | PriceBelow) -> None:
    Rule.__post_init__(rule)
    _check(rule, 0.0 < rule.price < inf, "price", "above zero and finite")
    _check_margin(rule, rule.margin)
