"""How a backtest is run once more, for whoever asks why it did what it did, or what if it had been otherwise."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from qfkit.changes import Changes
from qfkit.core.engine import Engine
from qfkit.core.events import Event, Stop
from qfkit.core.strategy import Strategy
from qfkit.inspection.machine import Batches, Source
from qfkit.research.signal import SignalStrategy
from qfkit.tables import Floats

if TYPE_CHECKING:
    from qfkit.result import Result

__all__ = ["Again", "hand_out", "signals_of"]


class Again:
    """What a backtest was made of: its strategies as they were before it, its settings, and its data to be read anew.

    ``run`` is how data, strategies and settings become a result: another run goes the same way as the first.
    ``targets`` are those of its signal functions, which are not asked a second time.
    """

    def __init__(
        self,
        named: Mapping[str, Strategy],
        settings: Mapping[str, Any],
        symbols: tuple[str, ...],
        batches: Callable[[], Iterator[Sequence[Event]]],
        run: Callable[[dict[str, Strategy], Mapping[str, Any], bool | None], "Result"],
    ) -> None:
        # As they were before the run.
        self._made = {name: (type(one), one.parameters) for name, one in named.items()}
        self._settings = settings
        self._symbols = symbols
        self._batches = batches
        self._run = run
        self.targets: Mapping[str, Mapping[str, Floats]] = {}

    def source(self, events: int, stop_ns: int) -> Source:
        """Its ``events`` with the stop at the end among them."""

        def batches(from_event: int) -> Batches:
            seen = 0
            for batch in self._batches():
                if seen + len(batch) > from_event:
                    yield batch[max(0, from_event - seen) :]
                seen += len(batch)
            if seen >= from_event:
                yield (Stop(stop_ns),)

        return Source(self._engine, batches, lambda: events, otherwise=self._otherwise)

    def _otherwise(self, changes: Changes) -> Callable[[bool | None], "Result"]:
        named = {name: kind(**parameters) for name, (kind, parameters) in changes.made(self._made).items()}
        return partial(self._run, named, changes.settings(self._settings))

    def _engine(self) -> Engine:
        named = {name: kind(**parameters) for name, (kind, parameters) in self._made.items()}
        if self.targets:
            hand_out(signals_of(named), self.targets)
        return Engine(named, symbols=self._symbols, has_running_metrics=False, **self._settings)


def signals_of(named: Mapping[str, Strategy]) -> dict[str, SignalStrategy]:
    return {name: one for name, one in named.items() if isinstance(one, SignalStrategy)}


def hand_out(signals: Mapping[str, SignalStrategy], targets: Mapping[str, Mapping[str, Floats]]) -> None:
    for name, strategy in signals.items():
        strategy.targets = {symbol: values.tolist() for symbol, values in targets[name].items()}
