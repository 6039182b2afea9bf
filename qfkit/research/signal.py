"""Strategies written as a function of a price frame: ``@qf.signal``.

On history the function is called once for the whole frame; in a session it is called at each
closed bar with the last bars. What it returns for a row is the target for the *next* bar.
"""

import inspect
from collections.abc import Callable, Mapping
from math import nan
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, overload

import numpy as np

from qfkit.core.events import Bar
from qfkit.core.lanes import KEPT_BARS
from qfkit.core.order_entry import ask_sizer
from qfkit.core.series_memo import SeriesMemo, remembering
from qfkit.core.strategy import Param, Strategy
from qfkit.errors import ParameterError, StrategyError, did_you_mean
from qfkit.tables import BarColumns, Floats

if TYPE_CHECKING:
    import pandas

__all__ = ["SignalBars", "SignalStrategy", "changes", "signal", "targets_over", "why"]

Rule: TypeAlias = Callable[..., Any]
"""``rule(bars, **parameters) -> targets``, one a row of ``bars``."""


@overload
def signal(function: Rule, /) -> type["SignalStrategy"]: ...
@overload
def signal(**parameters: Any) -> Callable[[Rule], type["SignalStrategy"]]: ...
def signal(function: Rule | None = None, /, **parameters: Any) -> Any:
    """Make a :class:`~qfkit.Strategy` of a function of a price frame.

    ::

        @qf.signal(fast=10, slow=30)
        def trend(bars, fast, slow):
            return qf.SMA(fast).over(bars.close) > qf.SMA(slow).over(bars.close)

    ``bars`` is a DataFrame with the columns open, high, low, close and volume, one row a closed
    bar, indexed by its open time. The function returns one target a row: a bool, or a weight
    from -1 (short) to 1 (long) as a fraction of equity; NaN keeps the target before it. It acts
    on the next bar. A run with a ``sizer`` holds that weight times the sizer's quantity instead.
    Each symbol is given to the function by itself, so the weights of several add up.

    The keyword arguments are the parameters with their defaults, or :class:`~qfkit.Param` with
    bounds; use ``trend`` or ``trend(fast=12)`` wherever a strategy goes.

    The trap: a session calls the function with the last 1,000 bars, a backtest with all of them.
    What remembers more than that (a cumulative sum, a very long average) differs between them.
    And over a whole frame nothing stops a function from looking ahead (``bars.close.shift(-1)``).
    """
    if function is not None:
        return _strategy_of(function, parameters)
    return lambda rule: _strategy_of(rule, parameters)


def _strategy_of(function: Rule, given: Mapping[str, Any]) -> type["SignalStrategy"]:
    name = function.__name__
    signature = inspect.signature(function)
    names = list(signature.parameters)
    if not names:
        raise StrategyError(f"{name}() takes no argument: the first one is the price frame, def {name}(bars, ...)")
    defaults = {
        own: parameter.default
        for own, parameter in list(signature.parameters.items())[1:]
        if parameter.default is not inspect.Parameter.empty
    }
    values = {**defaults, **given}
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    for own in values:
        if own not in names[1:] and not takes_any:
            raise ParameterError(f"{name}() takes no parameter {own!r}.{did_you_mean(own, names[1:])}")
        if hasattr(Strategy, own) or own in ("rule", "targets"):
            raise ParameterError(f"{name}(): a parameter cannot be called {own!r}, that is a strategy's own: rename it")
    for own, parameter in list(signature.parameters.items())[1:]:
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or own in values:
            continue
        raise ParameterError(f"{name}(): the parameter {own!r} has no value: write @qf.signal({own}=...)")
    body: dict[str, Any] = {
        "__module__": function.__module__,
        "__qualname__": function.__qualname__,
        "__doc__": function.__doc__,
        "rule": function,
    }
    for own, value in values.items():
        body[own] = value if isinstance(value, Param) else Param(value)
    return type(name, (SignalStrategy,), body)


class SignalStrategy(Strategy):
    """What ``@qf.signal`` makes: it orders the target at each change of it.

    ``targets``, by symbol, are those of a whole history, for a run over exactly its bars; None
    calls the function at each bar.
    """

    rule: ClassVar[Rule]
    targets: Mapping[str, list[float]] | None = None

    def on_start(self) -> None:
        self._last: dict[str, float] = {}
        self._windows: dict[str, _Window] = {}
        self._counts: dict[str, int] = {}

    def on_bar(self, bar: Bar) -> None:
        symbol = bar.symbol
        if self.targets is not None:
            row = self._counts.get(symbol, 0)
            self._counts[symbol] = row + 1
            target = self.targets[symbol][row]
        else:
            target = self._target_now(bar)
        # NaN keeps what was.
        if target == target and target != self._last.get(symbol):
            self._last[symbol] = target
            desk = self._at
            if desk.engine.has_own_sizer:
                sized = ask_sizer(desk, desk.market(symbol), 1.0 if target >= 0.0 else -1.0)
                desk.order_target(symbol, quantity=target * sized.quantity, reason=why(target), sized=sized)
            else:
                self.order_target(symbol, weight=target, reason=why(target))

    def _target_now(self, bar: Bar) -> float:
        window = self._windows.get(bar.symbol)
        if window is None:
            window = self._windows[bar.symbol] = _Window()
            for kept in self.bars(bar.symbol, KEPT_BARS):
                window.add(kept)
        else:
            window.add(bar)
        found = targets_over(self, window.frame(), guarded=False)
        return float(found[-1])


def why(target: float) -> str:
    """The reason that an order to a target gives."""
    return f"target {target:g}"


class _Window:
    """The last bars as arrays: written twice as far as kept, so that it seldom has to be moved."""

    def __init__(self) -> None:
        self._values = np.empty((5, 2 * KEPT_BARS))
        self._open_ns = np.empty(2 * KEPT_BARS, dtype=np.int64)
        self._end = 0

    def add(self, bar: Bar) -> None:
        if self._end == 2 * KEPT_BARS:
            # The newest but one move to the front, into arrays of their own: frames given out keep theirs.
            kept = slice(KEPT_BARS + 1, None)
            values, open_ns = self._values[:, kept], self._open_ns[kept]
            self.__init__()  # type: ignore[misc]
            self._end = KEPT_BARS - 1
            self._values[:, : self._end] = values
            self._open_ns[: self._end] = open_ns
        self._values[:, self._end] = bar.open, bar.high, bar.low, bar.close, bar.volume
        self._open_ns[self._end] = bar.open_ns
        self._end += 1

    def frame(self) -> "pandas.DataFrame":
        rows = slice(max(0, self._end - KEPT_BARS), self._end)
        return _frame(*self._values[:, rows], open_ns=self._open_ns[rows]).copy(deep=False)


def _frame(*columns: Floats, open_ns: Any) -> "pandas.DataFrame":
    """The frame whose shallow copies the function gets. Its arrays are those of the run, and are never written to."""
    import pandas

    named = {}
    for name, values in zip(("open", "high", "low", "close", "volume"), columns, strict=True):
        shared = values.view()
        shared.flags.writeable = False
        named[name] = shared
    index = pandas.DatetimeIndex(open_ns.view("datetime64[ns]"), name="time").tz_localize("UTC")
    return pandas.DataFrame(named, index=index, copy=False)


class SignalBars:
    """The frame of one symbol's whole history, for the functions that are called with it.

    ``keeps_series``: what indicators give over its columns is kept for the next call, as in a sweep.
    """

    def __init__(self, columns: BarColumns, *, keeps_series: bool = False) -> None:
        self._columns = columns
        arrays = (columns.open, columns.high, columns.low, columns.close, columns.volume)
        self._frame = _frame(*arrays, open_ns=columns.open_ns)
        self._memo = SeriesMemo(arrays) if keeps_series else None

    @property
    def close_ns(self) -> Any:
        """When each of them closed."""
        return self._columns.close_ns

    def targets(self, strategy: SignalStrategy, name: str) -> Floats:
        """The targets over all bars, NaN where the one before is kept."""
        where = f"{name}, over the {len(self._columns):,} bars of {self._columns.symbol}"
        # Its own each time: what a function writes into it stays there.
        frame = self._frame.copy(deep=False)
        with remembering(self._memo):
            return targets_over(strategy, frame, where=where)


def targets_over(
    strategy: SignalStrategy, frame: "pandas.DataFrame", *, where: str = "", guarded: bool = True
) -> Floats:
    """Call the function and check what it returns. ``guarded`` names the run in its exceptions."""
    where = where or type(strategy).__name__
    if not guarded:
        return _checked(type(strategy).rule(frame, **strategy.parameters), frame, where)
    try:
        given = type(strategy).rule(frame, **strategy.parameters)
    except Exception as error:  # whatever a user's code raises is shown with where it happened
        raise StrategyError(f"{where}: {type(error).__name__}: {error}") from error
    return _checked(given, frame, where)


def _checked(given: Any, frame: "pandas.DataFrame", where: str) -> Floats:
    labels = getattr(given, "index", None)
    if getattr(given, "ndim", 1) == 2 and given.shape[1] == 1:
        given = given.iloc[:, 0] if hasattr(given, "iloc") else given[:, 0]
    try:
        if hasattr(given, "to_numpy"):
            # The usual kinds have no missing values of their own, and asking for them takes twice as long.
            plain = getattr(given, "dtype", None) in (np.bool_, np.float64)
            found: Floats = given.to_numpy().astype(np.float64) if plain else given.to_numpy(np.float64, na_value=nan)
        else:
            found = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise StrategyError(f"{where}: it returned something that is no array of targets ({error})") from None
    if found.ndim != 1 or len(found) != len(frame):
        shape = "one number" if found.ndim == 0 else f"{' x '.join(map(str, found.shape))} targets"
        raise StrategyError(
            f"{where}: it returned {shape} for {len(frame)} bars: return one target a row of bars; "
            "NaN (or False) where there is none yet, so no dropna() on the way"
        )
    if labels is not None and not callable(labels) and labels is not frame.index and not labels.equals(frame.index):
        raise StrategyError(f"{where}: the targets are labelled otherwise than the bars: return them with bars.index")
    if getattr(given, "dtype", None) == np.bool_:
        return found
    # Comparisons with NaN are false: only a number beyond the bounds is refused.
    beyond = np.abs(found) > 1.0
    if beyond.any():
        row = int(np.argmax(beyond))
        raise StrategyError(
            f"{where}: the target {float(found[row])!r} of row {row} ({frame.index[row]}) is not from -1 to 1: a target is "
            "a weight of equity, for instance targets.clip(-1, 1); for more than the equity, or a number of shares, give a sizer"
        )
    return found


def changes(targets: Floats) -> tuple[Any, Floats]:
    """The rows where the target changes, and to what; the first known target is a change."""
    known = np.isnan(targets)
    if known.any():
        rows = np.flatnonzero(~known)
        values = targets[rows]
    else:
        rows, values = None, targets
    turns = np.flatnonzero(values[1:] != values[:-1]) + 1
    turns = np.concatenate(([0], turns)) if len(values) else turns
    return (turns if rows is None else rows[turns]), values[turns]
