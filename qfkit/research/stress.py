"""Stress tests: what today's positions would lose if prices, volatilities or correlations did their worst."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from qfkit.core.annualisation import infer_annualisation
from qfkit.core.holdings import Holdings, PastPrices
from qfkit.core.risk_measures import check_level, component_value_at_risk, covariance_matrix, scaled
from qfkit.core.snapshot import Snapshot
from qfkit.core.wording import utc_time
from qfkit.errors import DataError, NaiveTimeError, ParameterError, did_you_mean
from qfkit.frames import columns_by_symbol, is_frame
from qfkit.risks import past_prices

if TYPE_CHECKING:
    import pandas

    from qfkit.views.charts import Plot

__all__ = ["StressRow", "StressTest", "stress"]

Floats: TypeAlias = NDArray[np.float64]
Shocks: TypeAlias = Mapping[str, float]

EVERYTHING = "*"
_DAY_NS = 86_400_000_000_000
_FEWEST_RETURNS = 20
_USUAL: dict[str, Shocks] = {f"all {shock * 100.0:+.0f} %": {EVERYTHING: shock} for shock in (-0.1, -0.2, 0.2)}


class StressRow(msgspec.Struct, frozen=True):
    """One position in one scenario. ``position`` is a signed quantity, ``shock`` a fraction of the price, ``pnl`` money."""

    scenario: str
    symbol: str
    position: float
    value: float
    shock: float
    pnl: float
    share_of_equity: float


class StressTest:
    """What :func:`stress` found. ``scenarios`` are in the order asked for; ``rows`` has one a scenario and position."""

    def __init__(self, holdings: Holdings, scenarios: Mapping[str, Mapping[str, float]], notes: Sequence[str]) -> None:
        self.holdings = holdings
        self.scenarios = tuple(scenarios)
        self.notes = tuple(notes)
        equity = holdings.equity
        self.rows = tuple(
            StressRow(
                name, symbol, quantity, value, shocks[symbol], value * shocks[symbol], value * shocks[symbol] / equity
            )
            for name, shocks in scenarios.items()
            for (symbol, quantity), value in zip(
                holdings.quantities.items(), holdings.market_values.values(), strict=True
            )
        )

    @property
    def table(self) -> "pandas.DataFrame":
        """One row a scenario and position: scenario, symbol, position, value, shock, pnl, share_of_equity."""
        import pandas

        columns = StressRow.__struct_fields__
        frame = pandas.DataFrame([msgspec.structs.astuple(row) for row in self.rows], columns=list(columns))
        kinds = {name: "str" if name in ("scenario", "symbol") else "float64" for name in columns}
        return frame.astype(kinds)

    @property
    def totals(self) -> "pandas.DataFrame":
        """One row a scenario: pnl, share_of_equity and equity, what would be left."""
        import pandas

        pnl = [self.pnl(name) for name in self.scenarios]
        equity = self.holdings.equity
        return pandas.DataFrame(
            {
                "pnl": pandas.Series(pnl, dtype="float64"),
                "share_of_equity": pandas.Series([one / equity for one in pnl], dtype="float64"),
                "equity": pandas.Series([equity + one for one in pnl], dtype="float64"),
            }
        ).set_axis(pandas.Index(self.scenarios, dtype="str", name="scenario"))

    def pnl(self, scenario: str) -> float:
        """The profit or loss of one scenario, in the account's money."""
        if scenario not in self.scenarios:
            raise ParameterError(f"no scenario {scenario!r}.{did_you_mean(scenario, self.scenarios)}")
        return float(np.add.accumulate([0.0, *(row.pnl for row in self.rows if row.scenario == scenario)])[-1])

    def plot(self) -> "Plot":
        """A bar a scenario, divided by symbol; the static picture stands in where no kernel runs."""
        from qfkit.views.stress_charts import plot

        return plot(self._bars, self._heading)

    def picture(self) -> bytes:
        """The same as an SVG file's bytes, with no background of its own."""
        from qfkit.views.stress_picture import stress_svg

        return stress_svg(self._bars, self._heading).encode("utf-8", "replace")

    @property
    def _bars(self) -> list[tuple[str, dict[str, float]]]:
        return [(name, {row.symbol: row.pnl for row in self.rows if row.scenario == name}) for name in self.scenarios]

    @property
    def _heading(self) -> str:
        return f"stress test, equity {self.holdings.equity:,.2f} at {utc_time(self.holdings.time_ns)} UTC"

    def __repr__(self) -> str:
        from qfkit.views.stress_picture import stress_text

        return stress_text(self._bars, self._heading, self.holdings.equity, self.notes)

    def _repr_html_(self) -> str:
        from qfkit.views.stress_picture import stress_html

        return stress_html(self._bars, self._heading, self.holdings.equity, self.notes)


def stress(
    source: Any,
    shocks: Shocks | Mapping[str, Shocks] | None = None,
    *,
    groups: Mapping[str, str | Iterable[str]] | None = None,
    volatility: float | None = None,
    correlation: float | None = None,
    window: tuple[Any, Any] | Mapping[str, tuple[Any, Any]] | None = None,
    prices: Any = None,
    level: float = 0.95,
    returns: int = 250,
) -> StressTest:
    """Shock the positions that are open now; nothing is traded, and nothing is sold on the way down.

    - ``source``: a session, a result (its last positions) or a snapshot.
    - ``shocks``: ``{"BTCUSDT": -0.2}`` is that price down by 20 %; a group's name is all of its symbols, ``"*"``
      the whole book, and the narrower counts. Several by name: ``{"crash": {"*": -0.3}, "rotation": {...}}``.
      Symbols not named stay where they are. None, with nothing else either, is everything by -10, -20 and +20 %.
    - ``groups``: ``{"tech": ["AAPL", "MSFT"]}`` or ``{"AAPL": "tech"}``.
    - ``volatility=3.0``: the parametric value at risk of a day at ``level``, all volatilities three times what they
      were over the last ``returns`` returns. ``correlation=1.0``: the same with every pair so correlated; a book of
      longs and shorts has the less to fear from it the more they offset. Both given: each alone, then together, and
      always today's for comparison. A row's shock is what its price does on average on such a day.
    - ``window=("2008-09-12", "2008-11-20")``: what each price did then, to today's positions: at its end, and at
      the book's worst mark if that was another. Days are whole days in UTC. Several by name in a dict.
    - ``prices``: where the run's own bars do not reach, a DataFrame of prices with a column a symbol, indexed by the
      time each was known, or bars by symbol.

    Raises :class:`ParameterError` for what is not known or cannot be meant, :class:`DataError` where the past that
    is asked for is not in the data.
    """
    holdings, past = _read(source, prices)
    if holdings.equity <= 0.0:
        raise ParameterError(f"the equity is {holdings.equity:,.2f}: there is nothing left to test")
    check_level(level)
    if shocks is None and volatility is None and correlation is None and window is None:
        shocks = _USUAL
    members = _members(groups)
    scenarios: dict[str, dict[str, float]] = {}
    notes: list[str] = []
    for name, given in _named_shocks(shocks):
        scenarios[name] = _priced(given, holdings, past, members)
    if volatility is not None or correlation is not None:
        scenarios |= _distributed(holdings, past, volatility, correlation, level, returns)
        rare = f"{(1.0 - level) * 100.0:.3g} %"
        notes.append(
            f"volatility and correlation: the loss of a day that {rare} of all days pass, by a normal distribution"
        )
    for name, (start, end) in _named_windows(window):
        scenarios |= _replayed(holdings, past, name, start, end)
    return StressTest(holdings, scenarios, notes)


# -- what is tested --------------------------------------------------------------------------


def _read(source: Any, prices: Any) -> tuple[Holdings, PastPrices]:
    """The positions of a source, and the prices of the past: those given, or the run's own."""
    past = None if prices is None else _past_of(prices)
    if isinstance(source, Snapshot):
        return Holdings.of_snapshot(source), past or past_prices({})
    result = getattr(source, "result", source)
    if not isinstance(getattr(result, "holdings", None), Holdings):
        raise ParameterError(f"stress({type(source).__name__}): give a session, a result or a snapshot")
    return result.holdings, past or result.closes


def _past_of(prices: Any) -> PastPrices:
    if not is_frame(prices) or prices.columns.nlevels > 1 or {"open", "close"} & {str(one).lower() for one in prices}:
        return past_prices(columns_by_symbol(prices))
    index = prices.index
    if not hasattr(index, "as_unit"):
        raise DataError("prices: the index holds no times; give one column a symbol and one row a time")
    if index.tz is None:
        raise NaiveTimeError('prices: the times have no time zone; prices.tz_localize("UTC") says that they are UTC')
    known = prices.sort_index().ffill()
    return PastPrices(tuple(map(str, known.columns)), known.index.as_unit("ns").asi8, known.to_numpy(dtype=np.float64))


def _members(groups: Mapping[str, str | Iterable[str]] | None) -> dict[str, frozenset[str]]:
    members: dict[str, set[str]] = {}
    for name, value in (groups or {}).items():
        if isinstance(value, str):
            members.setdefault(value, set()).add(name)
        else:
            members.setdefault(name, set()).update(value)
    return {name: frozenset(symbols) for name, symbols in members.items()}


# -- price shocks ----------------------------------------------------------------------------


def _named_shocks(shocks: Shocks | Mapping[str, Shocks] | None) -> list[tuple[str, Shocks]]:
    if not shocks:
        if shocks is not None:
            raise ParameterError('shocks={}: name at least one, as in {"BTCUSDT": -0.2}')
        return []
    nested = [isinstance(value, Mapping) for value in shocks.values()]
    if all(nested):
        return list(shocks.items())  # type: ignore[arg-type]
    if any(nested):
        raise ParameterError("shocks: either all are scenarios by name, or all are fractions by symbol")
    single: Shocks = shocks  # type: ignore[assignment]
    return [
        (", ".join(f"{'all' if key == EVERYTHING else key} {_percent(value)}" for key, value in single.items()), single)
    ]


def _percent(value: object) -> str:
    return f"{float(value) * 100.0:+.4g} %" if _is_number(value) else repr(value)  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def _priced(
    given: Shocks, holdings: Holdings, past: PastPrices, members: Mapping[str, frozenset[str]]
) -> dict[str, float]:
    known = {*holdings.prices, *holdings.quantities, *past.symbols, *members, EVERYTHING}
    for key, value in given.items():
        if key not in known:
            raise ParameterError(f"a shock of {key!r}: no such symbol or group here.{did_you_mean(key, known)}")
        if not (_is_number(value) and value >= -1.0):
            raise ParameterError(f"a shock of {key} by {value!r}: it is a fraction of the price, -1 at the least")
    found = {}
    for symbol in holdings.quantities:
        own = [value for key, value in given.items() if key != symbol and symbol in members.get(key, ())]
        if symbol not in given and len(set(own)) > 1:
            raise ParameterError(f"{symbol} is in several of the shocked groups: name its own shock too")
        found[symbol] = given.get(symbol, own[0] if own else given.get(EVERYTHING, 0.0))
    return found


# -- volatility and correlation --------------------------------------------------------------


def _distributed(
    holdings: Holdings,
    past: PastPrices,
    volatility: float | None,
    correlation: float | None,
    level: float,
    returns: int,
) -> dict[str, dict[str, float]]:
    """Shocks whose profit and loss are the parts of a parametric value at risk of one day."""
    symbols = list(holdings.quantities)
    if volatility is not None and not (_is_number(volatility) and volatility > 0.0):
        raise ParameterError(f"volatility={volatility!r}: it is a factor above zero, such as 3.0")
    least = -1.0 / (len(symbols) - 1) if len(symbols) > 1 else -1.0
    if correlation is not None and not (_is_number(correlation) and least <= correlation <= 1.0):
        raise ParameterError(
            f"correlation={correlation!r}: of {len(symbols)} symbols every two can be {least:.3g} to 1 correlated"
        )
    recent = past.last(returns)
    lacking = [symbol for symbol in symbols if symbol not in recent.symbols]
    own = recent.returns[:, [recent.symbols.index(one) for one in symbols]] if not lacking else np.empty((0, 0))
    enough = int(np.isfinite(own).all(axis=1).sum())
    if symbols and (lacking or enough < _FEWEST_RETURNS):
        what = (
            f"no past prices of {', '.join(lacking)}" if lacking else f"only {enough} returns that all positions have"
        )
        raise DataError(f"volatility and correlation: {what}; give prices=, a DataFrame with a column a symbol")
    days = infer_annualisation(recent.times_ns).periods_per_day
    covariance = covariance_matrix(own)
    name, together = f"volatility x {volatility or 1.0:g}", f"correlation {correlation or 0.0:g}"
    asked: dict[str, tuple[float, float | None]] = {"as now": (1.0, None)}
    if volatility is not None:
        asked[name] = (volatility, None)
    if correlation is not None:
        asked[together] = (1.0, correlation)
        if volatility is not None:
            asked[f"{name}, {together}"] = (volatility, correlation)
    weights = np.array(list(holdings.weights.values()))
    found = {}
    for title, (factor, correlated) in asked.items():
        matrix = covariance * factor**2
        if correlated is not None:
            deviations = np.sqrt(np.diag(matrix))
            matrix = np.where(np.eye(len(symbols)) > 0.0, matrix, correlated * np.outer(deviations, deviations))
        parts = component_value_at_risk(weights, matrix, level)
        # Given such a day, this is what each price does on average: a normal book's conditional mean.
        found[title] = {
            symbol: -scaled(float(part), days) / float(weight)
            for symbol, part, weight in zip(symbols, parts, weights, strict=True)
        }
    return found


# -- the past again --------------------------------------------------------------------------


def _named_windows(window: Any) -> list[tuple[str, tuple[Any, Any]]]:
    if window is None:
        return []
    if isinstance(window, Mapping):
        return [(str(name), _pair(one)) for name, one in window.items()]
    return [("", _pair(window))]


def _pair(window: Any) -> tuple[Any, Any]:
    if isinstance(window, str) or not isinstance(window, Sequence) or len(window) != 2:
        raise ParameterError(f'window={window!r}: give a start and an end, as in ("2008-09-12", "2008-11-20")')
    return window[0], window[1]


def _replayed(holdings: Holdings, past: PastPrices, name: str, start: Any, end: Any) -> dict[str, dict[str, float]]:
    start_ns, end_ns = _time_ns(start, is_end=False), _time_ns(end, is_end=True)
    name = name or f"{_text_of(start)} to {_text_of(end)}"
    if end_ns <= start_ns:
        raise ParameterError(f"window {name}: it does not end after its start")
    times_ns = past.times_ns
    # The price that stood at the start is what a shock is measured from.
    first = max(int(np.searchsorted(times_ns, start_ns, side="right")) - 1, 0)
    after = int(np.searchsorted(times_ns, end_ns, side="right"))
    if after - first < 2 or times_ns[first + 1] <= start_ns:
        reach = f"from {utc_time(int(times_ns[0]))} to {utc_time(int(times_ns[-1]))} UTC" if len(times_ns) else "none"
        raise DataError(f"window {name}: no prices in it; those there are reach {reach}. Give prices= of that time")
    path = np.zeros((after - first, len(holdings.quantities)))
    for column, symbol in enumerate(holdings.quantities):
        own = past.prices[first:after, past.symbols.index(symbol)] if symbol in past.symbols else np.array([np.nan])
        if not isfinite(own[0]):
            raise DataError(f"window {name}: {symbol} has no price at its start; give prices= that reach so far back")
        path[:, column] = own / own[0] - 1.0
    symbols = list(holdings.quantities)
    found = {name: dict(zip(symbols, path[-1].tolist(), strict=True))}
    worst = int(np.argmin(path @ np.array(list(holdings.market_values.values())))) if symbols else 0
    if 0 < worst < len(path) - 1:
        # A daily bar closes at the next midnight: its day is the one before.
        when = utc_time(int(times_ns[first + worst]) - 1)
        shown = when[:10] if int(times_ns[first + worst]) % _DAY_NS == 0 else when[:16]
        found[f"{name}, worst on {shown}"] = dict(zip(symbols, path[worst].tolist(), strict=True))
    return found


def _text_of(moment: Any) -> str:
    return moment if isinstance(moment, str) else str(moment)[:16].removesuffix(" 00:00")


def _time_ns(moment: Any, *, is_end: bool) -> int:
    """UTC nanoseconds; a day without a time of day is a whole day in UTC."""
    import pandas

    is_day = (isinstance(moment, str) and len(moment.strip()) <= 10) or (
        isinstance(moment, date) and not isinstance(moment, datetime)
    )
    try:
        stamp: Any = pandas.Timestamp(moment)
    except (ValueError, TypeError) as error:
        raise ParameterError(f'window: {moment!r} is no time; write it as "2008-09-12"') from error
    if stamp is pandas.NaT:
        raise ParameterError(f'window: {moment!r} is no time; write it as "2008-09-12"')
    if is_day:
        return int(stamp.tz_localize("UTC").as_unit("ns").value) + (_DAY_NS if is_end else 0)
    if stamp.tz is None:
        raise NaiveTimeError(f'window: {moment!r} has no time zone; write it as "{stamp.isoformat()}+00:00"')
    return int(stamp.as_unit("ns").value)
