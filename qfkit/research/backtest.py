"""The backtest: strategies over history, through the same engine as a live session."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from operator import attrgetter
from typing import Any

from qfkit.core.allocation import Allocation
from qfkit.core.assessment import RiskBands
from qfkit.core.costs import Costs
from qfkit.core.currencies import Currencies
from qfkit.core.engine import Engine
from qfkit.core.events import Bar, Depth, Event, Quote, Stop, Tick, check_event
from qfkit.core.filters import SignalFilters
from qfkit.core.holdings import Holdings
from qfkit.core.margin import Margin
from qfkit.core.risk import RiskLimits
from qfkit.core.sizing import Sizer
from qfkit.core.strategy import Strategy, named_strategies
from qfkit.core.survey import assumptions, take_positions
from qfkit.core.wording import utc_time
from qfkit.errors import (
    BadEventError,
    DataError,
    FrameError,
    ParameterError,
    StrategyError,
    TimeframeError,
    did_you_mean,
)
from qfkit.frames import bar_batches, columns_by_symbol, is_frame, is_tick_frame
from qfkit.research.again import Again, hand_out, signals_of
from qfkit.research.fast_signal import fast_run
from qfkit.research.signal import SignalStrategy, targets_of
from qfkit.result import ORDERS_ON_BARS, ORDERS_ON_TICKS, Result
from qfkit.result_figures import RecordLists
from qfkit.run_progress import RunProgress
from qfkit.tables import BarColumns, EquityColumns, FillColumns, Floats, bar_columns

__all__ = ["backtest"]

_CHUNK = 8_192
_received_ns = attrgetter("received_ns")


def backtest(
    strategies: object,
    data: object,
    *,
    cash: float = 100_000.0,
    timeframe: str | None = None,
    costs: Costs | None = None,
    risk: RiskLimits | Mapping[str, RiskLimits] | None = None,
    sizer: Sizer | None = None,
    filters: SignalFilters | None = None,
    margin: Margin | None = None,
    currency: Currencies | str | None = None,
    allocation: Allocation | None = None,
    netting: bool = False,
    shares: Mapping[str, float] | None = None,
    symbols: str | Sequence[str] | None = None,
    calendar: str | None = None,
    progress: bool | None = None,
    assess_every_s: float | None = None,
    risk_bands: RiskBands | None = None,
) -> Result:
    """Run strategies over history and return the :class:`~qfkit.Result`.

    - ``strategies``: a class or an instance, a list of them, or a dict of names. Each runs as a
      fresh copy with the same parameters, on its own share of the ``cash`` (``shares``, by name).
    - ``data``: a DataFrame of bars (columns open, high, low, close, volume in any case; the index
      is each bar's open time, with a time zone) or of ticks (column price), a dict of frames by
      symbol, the path of a Parquet file, a capture or a session's journal, or an iterable of events.
    - ``timeframe``: of the bars that ``on_bar`` gets; None takes the data's own, or "1m" for ticks.
    - ``costs``, ``risk``, ``sizer``: the defaults are ``Costs()``, ``RiskLimits()`` (no borrowing)
      and a tenth of the equity for an order that names no size. ``risk`` may be a dict by strategy.
    - ``filters``: when a strategy's entries are not followed, see :class:`~qfkit.SignalFilters`; None lets all on
      to the limits.
    - ``allocation``: how capital moves between several strategies, see :class:`~qfkit.Allocation`; None leaves
      each what it earns.
    - ``netting``: whether opposite market orders of different strategies cross each other inside the account, without
      costs (see :mod:`qfkit.core.netting`), or are kept apart.
    - ``margin``: what may be borrowed and what that costs, as ``Margin.regulation_t()``; without ``risk`` its
      leverage is the bound. ``currency``: the account's, as "USD" or a :class:`~qfkit.Currencies`; None
      takes all prices for the account's own.
    - ``symbols``: only these of the data's.
    - ``calendar``: the market's hours, which an order outside them waits for or is refused by:
      "auto" by the symbol, or a name as "XNYS"; None lets every market be open whenever there are data.
    - ``progress``: None shows a bar on long runs in a terminal or notebook.
    - ``assess_every_s``: a :class:`RiskAssessment` so often on the data's clock (``result.assessments``), by the
      bounds of ``risk_bands``; None makes none.

    A strategy's own exception is raised as :class:`StrategyError` from it, with the event that
    caused it; data that cannot be traded on as :class:`DataError`, with the row and the fix.
    """
    named = named_strategies(strategies)
    settings: dict[str, Any] = {"cash": cash, "costs": costs, "risk": risk, "sizer": sizer, "shares": shares}
    settings |= {"timeframe": timeframe, "assess_every_s": assess_every_s, "risk_bands": risk_bands}
    settings |= {"allocation": allocation, "netting": netting}
    settings |= {"margin": margin, "currency": currency, "filters": filters}
    if calendar is None and _holds_bars(data):
        columns = _chosen(_columns(data, timeframe), symbols)
        return _on_columns(named, columns, _label(data), progress, settings)
    # What can be read only once is kept, for there may be two readings of it.
    return _on_recording(
        named, list(data) if isinstance(data, Iterator) else data, symbols, calendar, progress, settings
    )


# -- data ------------------------------------------------------------------------------------


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


# -- runs ------------------------------------------------------------------------------------


def _on_columns(
    named: dict[str, Strategy],
    columns: dict[str, BarColumns],
    label: str,
    progress: bool | None,
    settings: dict[str, Any],
) -> Result:
    engine = Engine(named, symbols=tuple(columns), has_running_metrics=False, **settings)
    again = Again(named, settings, tuple(columns), lambda: bar_batches(columns, _CHUNK))
    own = settings["timeframe"]
    timeframes = {one.timeframe for one in columns.values()}
    is_direct = own is None or timeframes == {own}
    about: dict[str, Any] = {
        "timeframe": own or ", ".join(sorted(timeframes)),
        "label": label,
        "on_bars": True,
        "span": (
            min(int(one.close_ns[0]) for one in columns.values()),
            max(int(one.close_ns[-1]) for one in columns.values()),
        ),
        "bar_arrays": columns if is_direct else None,
        "again": again,
    }
    signals = signals_of(named)
    if signals:
        closed = columns if is_direct else _closed_bars(bar_batches(columns, _CHUNK), tuple(columns), settings)
        targets = again.targets = {name: _targets(one, closed, name) for name, one in signals.items()}
        is_plain = engine.assessor is None and all(map(_is_plain, signals.values()))
        if is_direct and len(named) == len(columns) == 1 and is_plain:
            ((symbol, only),) = columns.items()
            records = fast_run(engine, only, targets[next(iter(named))][symbol])
            if records is not None:
                about |= {"equity_arrays": records.equity_columns(), "fill_arrays": records.fill_columns()}
                return _result(engine, records=records, **about)
        hand_out(signals, targets)
    _run(engine, bar_batches(columns, _CHUNK), sum(map(len, columns.values())), progress)
    return _result(engine, **about)


def _on_recording(
    named: dict[str, Strategy],
    data: object,
    symbols: str | Sequence[str] | None,
    calendar: str | None,
    progress: bool | None,
    settings: dict[str, Any],
) -> Result:
    from qfkit.feeds.recordings import open_recording

    if isinstance(data, Iterator):
        # It gives its events once, and signal functions look at them twice.
        data = list(data)
    wanted = (symbols,) if isinstance(symbols, str) else symbols
    recording = open_recording(data, symbols=wanted, calendar=calendar)
    engine = Engine(named, symbols=recording.symbols, has_running_metrics=False, **settings)

    def events() -> Iterator[Sequence[Event]]:
        return open_recording(data, symbols=wanted, calendar=calendar).batches()

    again = Again(named, settings, recording.symbols, events)
    signals = signals_of(named)
    if signals:
        batches = _Border(recording.kind).checked(recording.batches())
        closed = _closed_bars(batches, recording.symbols, settings)
        again.targets = {name: _targets(one, closed, name) for name, one in signals.items()}
        hand_out(signals, again.targets)
    border = _Border(recording.kind)
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


def _is_plain(strategy: SignalStrategy) -> bool:
    """Whether it is what the decorator made, with nothing written on top."""
    return type(strategy).__bases__ == (SignalStrategy,)


def _targets(strategy: SignalStrategy, closed: Mapping[str, BarColumns], name: str) -> dict[str, Floats]:
    return {symbol: targets_of(strategy, columns, name) for symbol, columns in closed.items()}


def _closed_bars(
    batches: Iterable[Sequence[Event]], symbols: tuple[str, ...], settings: Mapping[str, Any]
) -> dict[str, BarColumns]:
    """The bars that ``on_bar`` will get where the data are others: those of an engine without orders."""
    engine = Engine({"bars": Strategy()}, cash=1.0, timeframe=settings["timeframe"], symbols=symbols)
    for batch in batches:
        engine.process_all(batch)
    return bar_columns(engine.records.bars)


# -- the engine's run ------------------------------------------------------------------------


class _Border:
    """Checks events on their way in, and remembers what kind they were."""

    def __init__(self, kind: str) -> None:
        self.first_ns: int | None = None
        self.timeframe: str | None = None
        self._ordered = kind == "events"
        self._last_ns = 0
        self._opens: dict[str, int] = {}
        self._count = 0

    def checked(self, batches: Iterable[list[Event]]) -> Iterator[list[Event]]:
        for batch in batches:
            for event in batch:
                check_event(event)
            if batch and self.first_ns is None:
                self._look(batch)
            if self._ordered:
                self._check_order(batch)
            yield batch

    def _look(self, batch: list[Event]) -> None:
        for event in batch:
            if isinstance(event, Bar):
                self.first_ns, self.timeframe = event.time_ns, event.timeframe
                return
            if isinstance(event, Tick | Quote | Depth) and self.first_ns is None:
                self.first_ns = event.time_ns

    def _check_order(self, batch: list[Event]) -> None:
        times_ns = [self._last_ns, *map(_received_ns, batch)]
        # Sorted is the rule, and found out without a step of Python's own for each event.
        if times_ns != sorted(times_ns):
            place = next(place for place, (one, other) in enumerate(pairwise(times_ns)) if other < one)
            raise BadEventError(
                f"event {self._count + place} was received at {times_ns[place + 1]}, before the one ahead of it at "
                f"{times_ns[place]}: sort them with events.sort(key=lambda event: event.received_ns)"
            )
        if self.timeframe is not None:
            self._check_bars(batch)
        self._last_ns = times_ns[-1]
        self._count += len(batch)

    def _check_bars(self, batch: list[Event]) -> None:
        for number, event in enumerate(batch, self._count):
            if isinstance(event, Bar):
                if event.open_ns <= self._opens.get(event.symbol, -1):
                    raise BadEventError(
                        f"event {number}: the bar of {event.symbol} that opened at {utc_time(event.open_ns)} UTC does not "
                        "open after the one before it: leave out what is there twice"
                    )
                self._opens[event.symbol] = event.open_ns


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
    fill_arrays: FillColumns | None = None,
    again: Again,
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
        source=again.source(
            engine.events or 1 + sum(map(len, (bar_arrays or {}).values())), max(engine.clock_ns, span[1])
        ),
    )
