"""What is checked: a strategy in the engine, or a signal function over one symbol's bars; and how it is run."""

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cached_property
from typing import Any

import numpy as np

from qfkit.core.engine import Engine
from qfkit.core.strategy import Strategy, as_strategy, named_strategies
from qfkit.errors import ParameterError, QfkitError, StrategyError, did_you_mean
from qfkit.research.futures import WHOLE, Cut, History, Variant
from qfkit.research.observing import observe_rule, observe_run
from qfkit.research.signal import SignalStrategy
from qfkit.research.tracks import Observation, Raised
from qfkit.tables import bar_columns

__all__ = [
    "Maker",
    "RuleSubject",
    "RunSubject",
    "engine_settings",
    "quiet",
    "raise_unrunnable",
    "spread",
    "subjects_of",
]

_SETTINGS = ("cash", "costs", "risk", "sizer", "filters", "margin", "currency", "timeframe")
_ARGUMENTS = ("points", "progress", "seed", "starts", "symbols", "tolerance", "trusted", "warmup")


class Maker:
    """Makes fresh strategies by name: of what was given, or by calling the given function with the data."""

    def __init__(self, given: object) -> None:
        is_strategy = isinstance(given, Strategy) or (isinstance(given, type) and issubclass(given, Strategy))
        self.builder: Callable[[Any], Any] | None = None
        if callable(given) and not is_strategy:
            self.builder = given
        self._given = given

    def make(self, data: Any) -> dict[str, Strategy]:
        if self.builder is None:
            return named_strategies(self._given)
        made = self.builder(data)
        try:
            return {type(as_strategy(made)).__name__: as_strategy(made)}
        except StrategyError:
            if isinstance(made, Mapping | list | tuple):
                return named_strategies(made)
            raise StrategyError(
                f"the function given gave {'None' if made is None else f'a {type(made).__name__}'}, no strategy: write check_lookahead(lambda bars: Trend(...), bars), "
                "or decorate a function of price bars with @qf.signal"
            ) from None


class RunSubject:
    """A strategy in the engine, all symbols together. Only events up to the cut are played."""

    symbol = ""

    def __init__(self, name: str, maker: Maker, history: History, settings: Mapping[str, Any]) -> None:
        self.name = name
        self.history = history
        self._maker = maker
        self._settings = {**settings, "symbols": history.symbols}

    @property
    def has_no_builder(self) -> bool:
        return self._maker.builder is None

    @property
    def cuts(self) -> list[Cut]:
        return self.history.cuts

    @property
    def whole(self) -> Variant:
        return Variant(self.history, self.cuts[-1], WHOLE, 0)

    def observe(self, variant: Variant) -> Observation:
        strategy, raised = _made(self._maker, self.name, variant)
        if strategy is None:
            return Observation({}, {}, {}, raised=raised)
        try:
            return observe_run(strategy, self.name, self.history.events[: variant.cut.step], self._settings)
        except Exception as error:  # noqa: BLE001 - setup may not get along with the shorter data: told as a finding
            return Observation({}, {}, {}, raised=Raised(None, f"{type(error).__name__}: {error}", error))


class RuleSubject:
    """A signal function over the bars of one symbol."""

    def __init__(self, name: str, symbol: str, maker: Maker, history: History) -> None:
        self.name = name
        self.symbol = symbol
        self.history = history
        self._maker = maker

    @cached_property
    def cuts(self) -> list[Cut]:
        own = (self.history.columns or {})[self.symbol]
        return [
            Cut(row + 1, int(until_ns), int(label_ns))
            for row, (until_ns, label_ns) in enumerate(zip(own.close_ns, own.open_ns, strict=True))
        ]

    @property
    def whole(self) -> Variant:
        return Variant(self.history, self.cuts[-1], WHOLE, 0)

    def observe(self, variant: Variant) -> Observation:
        strategy, raised = _made(self._maker, self.name, variant)
        if strategy is None:
            return Observation({}, {}, {}, raised=raised)
        assert isinstance(strategy, SignalStrategy)
        return observe_rule(strategy, self.name, variant.columns[self.symbol])


def _made(maker: Maker, name: str, variant: Variant) -> tuple[Strategy | None, Raised | None]:
    try:
        return maker.make(None if maker.builder is None else variant.data)[name], None
    except Exception as error:  # noqa: BLE001 - whatever a user's code raises is told as a finding
        return None, Raised(None, f"{type(error).__name__}: {error}", error)


def subjects_of(
    maker: Maker, named: Mapping[str, Strategy], history: History, settings: Mapping[str, Any]
) -> list[RunSubject | RuleSubject]:
    """One for each strategy, for signal functions one for each symbol."""
    found: list[RunSubject | RuleSubject] = []
    closed = None
    for name, one in named.items():
        if not isinstance(one, SignalStrategy):
            found.append(RunSubject(name, maker, history, settings))
            continue
        closed = closed or _closed(maker, history, settings)
        found += [RuleSubject(name, symbol, maker, closed) for symbol in closed.columns or {}]
    return found


def _closed(maker: Maker, history: History, settings: Mapping[str, Any]) -> History:
    """The bars that a signal function is given: the data's own, or built from them."""
    own = settings.get("timeframe")
    if history.columns is not None and (own is None or {one.timeframe for one in history.columns.values()} == {own}):
        return history
    if maker.builder is not None:
        raise ParameterError(
            "a function that makes a signal function needs bars of the run's own timeframe, as a DataFrame or a dict of "
            "them: give those"
        )
    engine = Engine({"bars": Strategy()}, cash=1.0, timeframe=own, symbols=history.symbols)
    engine.process_all(history.events)
    columns = bar_columns(engine.records.bars)
    return History(columns, columns, (), tuple(columns))


def engine_settings(given: Mapping[str, Any], timeframe: str | None) -> dict[str, Any]:
    """The engine's settings of what was given as those of ``qf.backtest``."""
    for name in given:
        if name not in _SETTINGS:
            raise ParameterError(f"no argument {name!r} here.{did_you_mean(name, (*_SETTINGS, *_ARGUMENTS))}")
    return {"cash": 100_000.0, "timeframe": timeframe, **given}


def raise_unrunnable(name: str, seen: Observation, words: str) -> None:
    """Raise what ended a run over data that the strategy has to run on."""
    raised = seen.raised
    if raised is None:
        return
    if raised.time_ns is None and isinstance(raised.error, QfkitError):
        raise raised.error
    raise StrategyError(f"{name} raised over {words}: {raised.text}") from raised.error


@contextmanager
def quiet() -> Iterator[None]:
    """What strategies print, and warn of, was to be seen in the first run already."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def spread(cuts: Sequence[Cut], count: int, chance: np.random.Generator) -> list[int]:
    """So many places in a list of cuts, evenly spread but for a little chance: no rhythm of the data's is met."""
    last = len(cuts) - 2
    if last < 1:
        return list(range(max(last + 1, 0)))
    width = last / count
    places = {min(last, int((number + chance.uniform(0.25, 1.0)) * width)) for number in range(count)}
    return sorted(places)
