"""Data that were read and checked once, and the runs that are made on them."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from qfkit.core.engine import Engine
from qfkit.core.events import Event, SetParameters, Stop, WarmUp
from qfkit.core.holdings import Holdings
from qfkit.core.strategy import Strategy
from qfkit.core.survey import assumptions, take_positions
from qfkit.core.wording import utc_time
from qfkit.errors import DataError, FrameError, ParameterError, StrategyError, TimeframeError, did_you_mean
from qfkit.frames import bar_batches, bars_of, columns_by_symbol, is_frame, is_tick_frame
from qfkit.research.again import Again, hand_out, signals_of
from qfkit.research.border import Border
from qfkit.research.fast_records import FastRecords
from qfkit.research.fast_signal import fast_run
from qfkit.research.signal import SignalBars, SignalStrategy
from qfkit.result import ORDERS_ON_BARS, ORDERS_ON_TICKS, Result
from qfkit.result_figures import RecordLists
from qfkit.run_progress import RunProgress
from qfkit.tables import BAR_ARRAYS, BarColumns, EquityColumns, FillColumns, Floats, bar_columns

if TYPE_CHECKING:
    from qfkit.feeds.recordings import Recording

__all__ = ["Columns", "PreparedBars", "PreparedEvents", "Step", "prepare"]

Columns: TypeAlias = Mapping[str, BarColumns]

Step: TypeAlias = tuple[int, Mapping[str, Any]]
"""New parameters, and when they are set (UTC ns): they hold for the bars that close after it."""

_CHUNK = 8_192


def prepare(
    data: object,
    *,
    timeframe: str | None = None,
    symbols: str | Sequence[str] | None = None,
    calendar: str | None = None,
) -> "PreparedBars | PreparedEvents":
    """Read and check data once, for as many runs as are wanted; the arguments are those of :func:`~qfkit.backtest`."""
    if calendar is None and _holds_bars(data):
        return PreparedBars(_chosen(_columns(data, timeframe), symbols), label=_label(data))
    # What can be read only once is kept, for there may be several readings of it.
    return PreparedEvents(list(data) if isinstance(data, Iterator) else data, symbols, calendar)


def _holds_bars(data: object) -> bool:
    if isinstance(data, Mapping):
        return not any(is_frame(one) and is_tick_frame(one) for one in data.values())
    return isinstance(data, BarColumns) or (is_frame(data) and not is_tick_frame(data))  # type: ignore[arg-type]


def _columns(data: object, timeframe: str | None) -> dict[str, BarColumns]:
    """The bars' own timeframe is read off their times; only where it can't be, the run's is theirs."""
    try:
        return columns_by_symbol(data)
    except TimeframeError:
        if timeframe is None:
            raise
        return columns_by_symbol(data, timeframe)


def _label(data: object) -> str:
    frames = list(data.values()) if isinstance(data, Mapping) else [data]
    labels = dict.fromkeys(str(getattr(frame, "attrs", {}).get("label", "")) for frame in frames)
    return ", ".join(label for label in labels if label)


def _chosen(columns: dict[str, BarColumns], symbols: str | Sequence[str] | None) -> dict[str, BarColumns]:
    if symbols is None:
        return columns
    chosen = {}
    for symbol in (symbols,) if isinstance(symbols, str) else symbols:
        if symbol not in columns:
            raise ParameterError(f"symbols={symbol!r}: the data have no such symbol.{did_you_mean(symbol, columns)}")
        chosen[symbol] = columns[symbol]
    if not chosen:
        raise ParameterError("symbols=[]: name at least one of the data's symbols, or leave it away")
    return chosen


class PreparedBars:
    """Closed bars by symbol. ``before`` are those that only warm indicators up: no order of theirs is sent.

    ``steps``: parameters that the one strategy gets at a time, in the order of their times.
    ``keeps_series``: for many runs, see :class:`~qfkit.research.signal.SignalBars`.
    """

    def __init__(
        self,
        columns: Columns,
        *,
        label: str = "",
        before: Columns | None = None,
        steps: Sequence[Step] = (),
        keeps_series: bool = False,
    ) -> None:
        self.columns = columns
        self.steps = tuple(steps)
        self.label = label
        self._keeps_series = keeps_series
        self._quick_engine: tuple[Mapping[str, Any], Engine] | None = None
        self.before = {} if before is None else {symbol: own for symbol, own in before.items() if len(own)}

    def run(self, named: dict[str, Strategy], settings: Mapping[str, Any], progress: bool | None = False) -> Result:
        """One run of fresh strategies; ``settings`` are the engine's."""
        columns = self.columns
        engine = Engine(named, symbols=tuple(columns), has_running_metrics=False, **settings)
        again = Again(named, settings, tuple(columns), self._batches, self.run)
        own = settings["timeframe"]
        is_direct = own is None or self._timeframes == {own}
        about: dict[str, Any] = {
            "timeframe": own or ", ".join(sorted(self._timeframes)),
            "label": self.label,
            "on_bars": True,
            "span": self._span,
            "bar_arrays": columns if is_direct else None,
            "again": again,
            "events": 1 + sum(map(len, columns.values())),
        }
        signals = signals_of(named)
        if signals:
            targets = again.targets = {
                name: self._targets(one, is_direct, settings, name) for name, one in signals.items()
            }
            only = self._only(named, settings)
            if only is not None and engine.assessor is None:
                records = fast_run(engine, only, targets[next(iter(named))][only.symbol])
                if records is not None:
                    about |= {"equity_arrays": records.equity_columns, "fill_arrays": records.fill_columns}
                    return _result(engine, records=records, **about)
            hand_out(signals, targets)
        _run(engine, self._batches(), sum(map(len, columns.values())), progress)
        return _result(engine, **about)

    def quick(self, strategy: Strategy, settings: Mapping[str, Any]) -> FastRecords | None:
        """The records alone of one signal function's run by the short way; None where :meth:`run` has to do it.

        For many runs under the same settings: they share one engine, which the short way only reads.
        """
        name = type(strategy).__name__
        only = self._only({name: strategy}, settings)
        if only is None or not isinstance(strategy, SignalStrategy):
            return None
        if self._quick_engine is None or self._quick_engine[0] is not settings:
            engine = Engine({name: strategy}, symbols=(only.symbol,), has_running_metrics=False, **settings)
            self._quick_engine = (settings, engine)
        engine = self._quick_engine[1]
        if engine.assessor is not None:
            return None
        return fast_run(engine, only, self._stepwise(self._signal_bars[only.symbol], strategy, name))

    def _only(self, named: Mapping[str, Strategy], settings: Mapping[str, Any]) -> BarColumns | None:
        """The bars of the one symbol, where one signal function runs on nothing but them."""
        if len(named) > 1 or len(self.columns) > 1 or self.before:
            return None
        ((_symbol, only),), own = self.columns.items(), settings["timeframe"]
        is_direct = own is None or own == only.timeframe
        return only if is_direct and all(_is_plain(one) for one in named.values()) else None

    @cached_property
    def _timeframes(self) -> set[str]:
        return {one.timeframe for one in self.columns.values()}

    @cached_property
    def _span(self) -> tuple[int, int]:
        return (
            min(int(one.close_ns[0]) for one in self.columns.values()),
            max(int(one.close_ns[-1]) for one in self.columns.values()),
        )

    def _batches(self) -> Iterator[Sequence[Event]]:
        batches: Iterator[Sequence[Event]] = bar_batches(self.columns, _CHUNK)
        if self.steps:
            batches = _stepped(batches, [SetParameters(time_ns, parameters=dict(one)) for time_ns, one in self.steps])
        return chain([[self._warm_up]], batches) if self.before else batches

    @cached_property
    def _warm_up(self) -> WarmUp:
        bars = [bar for own in self.before.values() for bar in bars_of(own)]
        bars.sort(key=attrgetter("close_ns"))
        return WarmUp(bars[-1].close_ns, bars=bars)

    def _targets(
        self, strategy: SignalStrategy, is_direct: bool, settings: Mapping[str, Any], name: str
    ) -> dict[str, Floats]:
        if not is_direct:
            if self.before:
                raise ParameterError(
                    f"timeframe={settings['timeframe']!r}: a signal function that is warmed up takes bars of the data's "
                    f"own timeframe, {', '.join(sorted(self._timeframes))}: give bars of the one that you want"
                )
            closed = _closed_bars(self._batches(), tuple(self.columns), settings)
            return {symbol: SignalBars(own).targets(strategy, name) for symbol, own in closed.items()}
        found = {}
        for symbol, bars in self._signal_bars.items():
            values = self._stepwise(bars, strategy, name)
            if symbol in self.before:
                # NaN keeps what was: whatever it wanted before, it begins flat and acts on the first bar of its own.
                values = values.copy()
                values[: len(self.before[symbol])] = np.nan
            found[symbol] = values
        return found

    def _stepwise(self, bars: SignalBars, strategy: SignalStrategy, name: str) -> Floats:
        values = bars.targets(strategy, name)
        if self.steps:
            values = values.copy()
        parameters = strategy.parameters
        for time_ns, changed in self.steps:
            parameters = {**parameters, **changed}
            row = int(np.searchsorted(bars.close_ns, time_ns, side="right"))
            values[row:] = bars.targets(type(strategy)(**parameters), name)[row:]
        return values

    @cached_property
    def _signal_bars(self) -> dict[str, SignalBars]:
        return {
            symbol: SignalBars(
                _joined(self.before[symbol], own) if symbol in self.before else own, keeps_series=self._keeps_series
            )
            for symbol, own in self.columns.items()
        }


class PreparedEvents:
    """A recording, a list of events, ticks: whatever is played event by event."""

    def __init__(self, data: object, symbols: str | Sequence[str] | None, calendar: str | None) -> None:
        self._data = data
        self._symbols = (symbols,) if isinstance(symbols, str) else symbols
        self._calendar = calendar
        self._recording = self._open()

    def _open(self) -> "Recording":
        from qfkit.feeds.recordings import open_recording

        return open_recording(self._data, symbols=self._symbols, calendar=self._calendar)

    @property
    def label(self) -> str:
        return self._recording.label

    def in_memory(self, *, keeps_series: bool = False) -> "PreparedBars | PreparedEvents":
        """The bars of a catalogue read as a whole, for many runs or for arrays; anything else as it is."""
        columns = self._recording.columns
        return self if columns is None else PreparedBars(columns(), label=self.label, keeps_series=keeps_series)

    def run(self, named: dict[str, Strategy], settings: Mapping[str, Any], progress: bool | None = False) -> Result:
        """One run of fresh strategies; ``settings`` are the engine's."""
        recording = self._recording
        engine = Engine(named, symbols=recording.symbols, has_running_metrics=False, **settings)

        def events() -> Iterator[Sequence[Event]]:
            return self._open().batches()

        again = Again(named, settings, recording.symbols, events, self.run)
        signals = signals_of(named)
        if signals and recording.columns is not None:
            # A signal function looks at all bars at once anyway.
            return self.in_memory().run(named, settings, progress)
        if signals:
            batches = Border(recording.kind).checked(recording.batches())
            closed = _closed_bars(batches, recording.symbols, settings)
            again.targets = {
                name: {symbol: SignalBars(own).targets(one, name) for symbol, own in closed.items()}
                for name, one in signals.items()
            }
            hand_out(signals, again.targets)
        border = Border(recording.kind)
        _run(engine, border.checked(recording.batches()), recording.count, progress)
        if border.first_ns is None:
            raise FrameError(f"{recording.label or 'the data'}: there are no events to run on")
        return _result(
            engine,
            timeframe=settings["timeframe"] or border.timeframe or "1m",
            label=recording.label,
            on_bars=border.timeframe is not None,
            span=(border.first_ns, engine.clock_ns),
            again=again,
        )


# -- signal functions ------------------------------------------------------------------------


def _is_plain(strategy: Strategy) -> bool:
    """Whether it is what the decorator made, with nothing written on top."""
    return type(strategy).__bases__ == (SignalStrategy,)


def _stepped(batches: Iterable[Sequence[Event]], sets: Sequence[SetParameters]) -> Iterator[Sequence[Event]]:
    """The batches with each of the sets after the last bar that was received by then."""
    waiting = list(sets)
    for batch in batches:
        start = 0
        while waiting and waiting[0].received_ns < batch[-1].received_ns:
            place = bisect_right(batch, waiting[0].received_ns, lo=start, key=attrgetter("received_ns"))
            yield [*batch[start:place], waiting.pop(0)]
            start = place
        yield batch[start:]


def _joined(first: BarColumns, second: BarColumns) -> BarColumns:
    arrays = {name: np.concatenate((getattr(first, name), getattr(second, name))) for name in BAR_ARRAYS}
    return BarColumns(second.symbol, second.timeframe, **arrays)


def _closed_bars(
    batches: Iterable[Sequence[Event]], symbols: tuple[str, ...], settings: Mapping[str, Any]
) -> dict[str, BarColumns]:
    """The bars that ``on_bar`` will get where the data are others: those of an engine without orders."""
    engine = Engine({"bars": Strategy()}, cash=1.0, timeframe=settings["timeframe"], symbols=symbols)
    for batch in batches:
        engine.process_all(batch)
    return bar_columns(engine.records.bars)


# -- the engine's run ------------------------------------------------------------------------


def _run(engine: Engine, batches: Iterable[Sequence[Event]], total: int | None, progress: bool | None) -> None:
    """Drive the engine to the end of the data and stop it; a strategy's first exception ends the run."""
    with RunProgress("backtest", total, shown=progress) as bar:
        for batch in batches:
            engine.process_all(batch)
            if engine.records.faults:
                _raise_fault(engine)
            bar.update(engine.events)
    engine.process(Stop(engine.clock_ns))
    if engine.records.faults:
        _raise_fault(engine)


def _raise_fault(engine: Engine) -> None:
    fault = engine.records.faults[0]
    raise StrategyError(
        f"{fault.strategy} raised {fault.error} at {utc_time(fault.time_ns)} UTC, on {fault.event}"
    ) from engine.exceptions[fault.strategy]


def _result(
    engine: Engine,
    *,
    timeframe: str,
    label: str,
    on_bars: bool,
    span: tuple[int, int],
    bar_arrays: Mapping[str, BarColumns] | None = None,
    records: RecordLists | None = None,
    equity_arrays: EquityColumns | None = None,
    fill_arrays: Callable[[], FillColumns] | None = None,
    again: Again,
    events: int = 0,
) -> Result:
    for track in engine.tracks.values():
        if track.market.rate != track.market.rate:
            # Nothing in it could be traded at all, and figures would not show why.
            raise DataError(f"{track.symbol}: {engine.accounts.missing_rate(track.market)}")
    return Result(
        engine.records if records is None else records,
        strategy_names=tuple(engine.desks),
        parameters={name: desk.strategy.parameters for name, desk in engine.desks.items()},
        starting_cash=engine.starting_cash,
        strategy_cash={name: desk.book.starting_cash for name, desk in engine.desks.items()},
        costs=engine.costs,
        timeframe=timeframe,
        label=label,
        order_timing=ORDERS_ON_BARS if on_bars else ORDERS_ON_TICKS,
        assumptions=assumptions(engine),
        data_span=span,
        holdings=None if records is not None else Holdings.of_engine(engine),
        positions=None if records is not None else take_positions(engine),
        equity_arrays=equity_arrays,
        bar_arrays=bar_arrays,
        fill_arrays=fill_arrays,
        # The short way of a signal function plays no events, but their number is known.
        source=again.source(engine.events or events, max(engine.clock_ns, span[1])),
    )
