"""All risk measures of an account at one moment: today's positions, weighed on the returns of the past."""

from collections.abc import Iterator, Mapping
from html import escape
from math import fsum, inf, nan, sqrt
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from qfkit.core.annualisation import infer_annualisation
from qfkit.core.assessment import book_returns
from qfkit.core.holdings import Holdings, PastPrices
from qfkit.core.metrics import measure
from qfkit.core.risk_measures import (
    Method,
    beta,
    component_value_at_risk,
    covariance_matrix,
    ewma_volatility,
    expected_shortfall,
    gross_exposure,
    hhi,
    liquidation_days,
    net_exposure,
    scaled,
    value_at_risk,
    volatility,
)
from qfkit.core.running_risk import RunningDrawdown
from qfkit.core.wording import count, money, multiple, span, utc_time
from qfkit.errors import DataError, ParameterError, did_you_mean

if TYPE_CHECKING:
    import pandas

__all__ = ["PositionRisk", "RiskReport", "risk_report"]

Floats: TypeAlias = NDArray[np.float64]
Times: TypeAlias = NDArray[np.int64]

_DAY_NS = 86_400_000_000_000


class PositionRisk(msgspec.Struct, frozen=True):
    """One symbol's part: ``component_value_at_risk_day`` sums over the symbols to the book's, below zero for a hedge."""

    symbol: str
    quantity: float
    price: float
    value: float
    weight: float
    component_value_at_risk_day: float
    beta: float
    liquidation_days: float


class RiskReport(msgspec.Struct, frozen=True):
    """The risk of an account as it stands. Read a figure as an attribute or by name: ``risk["value_at_risk"]``.

    Fractions are not percent, losses are positive fractions of the equity. *The book* are today's positions, the
    strategies netted, weighed on the last ``returns`` returns of their symbols: what it would have made of them, not
    what the account did make. A figure that is not defined is NaN, and :attr:`notes` say why.

    - ``value_at_risk``, ``expected_shortfall``: historical, at ``level``, of **one mark** (the time between two
      equity points). Every name that ends in ``_day`` is the same **of one day**, scaled by the square root of time.
    - ``parametric_...``, ``cornish_fisher_...``: by the normal distribution, and by that with the skewness and
      kurtosis of the returns. The last are NaN where these are outside the expansion's domain.
    - ``component_value_at_risk_day``: parametric with a mean of zero, the whole of what ``positions`` divide up.
    - ``volatility``, ``ewma_volatility``: of the account's own returns, a year's; ``book_volatility``,
      ``book_ewma_volatility``: of the book's.
    - ``drawdown`` from the peak, and ``under_water_days`` since; ``max_drawdown``, ``longest_under_water_days`` of
      the whole run.
    - ``gross_exposure``, ``net_exposure``: in times the equity; ``hhi``: 1 / n for n equal positions, 1 for one.
    - ``beta`` of the book, ``account_beta`` of the account's own returns, both to ``benchmark``.
    - ``turnover``: traded notional over mean equity, a calendar year.
    - ``liquidation_days``: of the slowest position at ``participation`` of its symbol's mean volume.
    """

    time_ns: int
    equity: float
    level: float
    value_at_risk: float
    value_at_risk_day: float
    expected_shortfall: float
    expected_shortfall_day: float
    parametric_value_at_risk_day: float
    parametric_expected_shortfall_day: float
    cornish_fisher_value_at_risk_day: float
    cornish_fisher_expected_shortfall_day: float
    component_value_at_risk_day: float
    volatility: float
    ewma_volatility: float
    book_volatility: float
    book_ewma_volatility: float
    drawdown: float
    under_water_days: float
    max_drawdown: float
    longest_under_water_days: float
    gross_exposure: float
    net_exposure: float
    hhi: float
    benchmark: str
    beta: float
    account_beta: float
    turnover: float
    liquidation_days: float
    participation: float
    returns: int
    positions: tuple[PositionRisk, ...]
    notes: tuple[str, ...]

    def __getitem__(self, name: str) -> object:
        if name not in self.__struct_fields__:
            raise KeyError(f"no figure {name!r}.{did_you_mean(name, self.__struct_fields__)}")
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.__struct_fields__)

    def keys(self) -> tuple[str, ...]:
        """The figures' names, so that ``dict(risk)`` works."""
        return self.__struct_fields__

    def to_frame(self) -> "pandas.DataFrame":
        """One row a figure, in one column ``value``."""
        import pandas

        figures = {name: getattr(self, name) for name in self.__struct_fields__ if name not in ("positions", "notes")}
        return pandas.DataFrame({"value": pandas.Series(figures, dtype=object)})

    def positions_frame(self) -> "pandas.DataFrame":
        """One row a symbol that is held, indexed by it."""
        import pandas

        columns = PositionRisk.__struct_fields__
        rows = [msgspec.structs.astuple(position) for position in self.positions]
        return pandas.DataFrame(rows, columns=list(columns)).astype({"symbol": "str"}).set_index("symbol")

    def lines(self) -> list[tuple[str, str]]:
        """Label and formatted value of each figure, for people."""
        level = f"{self.level * 100:g} %"
        return [
            ("equity", money(self.equity)),
            ("gross exposure", _share(self.gross_exposure)),
            ("net exposure", _share(self.net_exposure)),
            ("positions", count(len(self.positions))),
            ("concentration (HHI)", _plain(self.hhi)),
            (f"beta to {_printable(self.benchmark)}" if self.benchmark else "beta", _plain(self.beta)),
            ("beta of the account", _plain(self.account_beta)),
            ("drawdown", _share(self.drawdown)),
            ("under water for", span(self.under_water_days)),
            ("max drawdown", _share(self.max_drawdown)),
            ("longest under water", span(self.longest_under_water_days)),
            ("turnover a year", multiple(self.turnover)),
            ("days to sell", _days(self.liquidation_days)),
            (f"value at risk {level}, a mark", _share(self.value_at_risk)),
            ("expected shortfall, a mark", _share(self.expected_shortfall)),
            (f"value at risk {level}, a day", _share(self.value_at_risk_day)),
            ("expected shortfall, a day", _share(self.expected_shortfall_day)),
            ("parametric, a day", _share(self.parametric_value_at_risk_day)),
            ("its shortfall", _share(self.parametric_expected_shortfall_day)),
            ("Cornish-Fisher, a day", _share(self.cornish_fisher_value_at_risk_day)),
            ("its shortfall", _share(self.cornish_fisher_expected_shortfall_day)),
            ("volatility, a year", _share(self.volatility)),
            ("EWMA", _share(self.ewma_volatility)),
            ("volatility of the book", _share(self.book_volatility)),
            ("EWMA of the book", _share(self.book_ewma_volatility)),
        ]

    def __repr__(self) -> str:
        rows = self.lines()
        half = (len(rows) + 1) // 2
        blocks = (rows[:half], rows[half:])
        wide = [max(len(label) for label, _ in block) for block in blocks]
        high = [max(len(value) for _, value in block) for block in blocks]
        lines = [f"risk at {utc_time(self.time_ns)} UTC, {self.returns:,} returns"]
        for place in range(half):
            parts = [
                f"{block[place][0]:<{wide[side]}}  {block[place][1]:>{high[side]}}"
                for side, block in enumerate(blocks)
                if place < len(block)
            ]
            lines.append("    ".join(parts))
        if self.positions:
            names = [_printable(position.symbol) for position in self.positions]
            width = max(map(len, names))
            lines += ["", f"{'':<{width}}  {'weight':>10}  {'part of VaR':>11}  {'beta':>7}  {'days to sell':>12}"]
            lines += [
                f"{name:<{width}}  {_share(one.weight):>10}  {_share(one.component_value_at_risk_day):>11}  "
                f"{_plain(one.beta):>7}  {_days(one.liquidation_days):>12}"
                for name, one in zip(names, self.positions, strict=True)
            ]
        return "\n".join([*lines, *(f"- {_printable(note)}" for note in self.notes)])

    def _repr_html_(self) -> str:
        rows = self.lines()
        third = (len(rows) + 2) // 3
        columns = [rows[start : start + third] for start in range(0, len(rows), third)]
        body = "".join(
            "<tr>" + "".join(_cells(*column[place]) for column in columns if place < len(column)) + "</tr>"
            for place in range(third)
        )
        head = "".join(f"<th>{name}</th>" for name in ("", "weight", "part of VaR, a day", "beta", "days to sell"))
        held = "".join(
            f"<tr><td>{escape(one.symbol)}</td><td>{_share(one.weight)}</td>"
            f"<td>{_share(one.component_value_at_risk_day)}</td><td>{_plain(one.beta)}</td>"
            f"<td>{_days(one.liquidation_days)}</td></tr>"
            for one in self.positions
        )
        table = f"<table><tr>{head}</tr>{held}</table>" if held else ""
        notes = "".join(f"<br>{escape(note)}" for note in self.notes)
        page = (
            f"<p>risk at {utc_time(self.time_ns)} UTC, {self.returns:,} returns{notes}</p><table>{body}</table>{table}"
        )
        return page.encode("utf-8", "replace").decode()


def risk_report(
    holdings: Holdings,
    past: PastPrices,
    *,
    equity_times_ns: Times,
    equity: Floats,
    starting_equity: float,
    traded: float,
    mark_volumes: Mapping[str, float],
    benchmark: str = "",
    benchmark_prices: Floats | None = None,
    level: float = 0.95,
    participation: float = 0.1,
) -> RiskReport:
    """Measure a book. ``past`` has the marks that are looked back on, ``benchmark_prices`` are of the same marks;
    ``equity`` at ``equity_times_ns`` are all points of the run; ``traded`` is its notional, ``mark_volumes`` the mean
    volume of a mark. Raises :class:`ParameterError` for a level or participation out of bounds.
    """
    year = infer_annualisation(past.times_ns if len(past.times_ns) > 2 else equity_times_ns)
    weights, past_returns = holdings.weights, past.returns
    book = book_returns(weights, past.symbols, past_returns)
    notes = [year.assumption]
    if not weights:
        book = np.zeros(len(past_returns))
        notes.append("no position is open")
    elif len(book) < 2:
        notes.append(f"{len(book)} returns that all positions have: too few for the figures of the book")
    root, days = sqrt(year.periods_per_year), year.periods_per_day
    tails = _tails(book, level, notes)
    per_mark = measure(equity_times_ns, equity, starting_equity=starting_equity)
    drawdown = RunningDrawdown(starting_equity)
    for time_ns, value in zip(equity_times_ns.tolist(), equity.tolist(), strict=True):
        drawdown.update(time_ns, value)
    drawdown.update(max(holdings.time_ns, drawdown.time_ns), holdings.equity)
    own = equity[1:] / equity[:-1] - 1.0 if len(equity) and np.min(equity) > 0.0 else np.empty(0)
    moved = None if benchmark_prices is None else benchmark_prices[1:] / benchmark_prices[:-1] - 1.0
    parts = _positions(holdings, past, moved, mark_volumes, level, participation, days)
    per_year = 365.25 / per_mark.days if per_mark.days else nan
    mean_equity = float(np.mean(equity)) if len(equity) else starting_equity
    return RiskReport(
        time_ns=holdings.time_ns,
        equity=holdings.equity,
        level=level,
        value_at_risk=tails["historical"][0],
        value_at_risk_day=scaled(tails["historical"][0], days),
        expected_shortfall=tails["historical"][1],
        expected_shortfall_day=scaled(tails["historical"][1], days),
        parametric_value_at_risk_day=scaled(tails["parametric"][0], days),
        parametric_expected_shortfall_day=scaled(tails["parametric"][1], days),
        cornish_fisher_value_at_risk_day=scaled(tails["cornish_fisher"][0], days),
        cornish_fisher_expected_shortfall_day=scaled(tails["cornish_fisher"][1], days),
        component_value_at_risk_day=fsum(part.component_value_at_risk_day for part in parts),
        volatility=per_mark.volatility,
        ewma_volatility=ewma_volatility(own) * sqrt(per_mark.periods_per_year),
        book_volatility=volatility(book) * root,
        book_ewma_volatility=ewma_volatility(book) * root,
        drawdown=drawdown.drawdown,
        under_water_days=drawdown.under_water_ns / _DAY_NS,
        max_drawdown=drawdown.max_drawdown,
        longest_under_water_days=drawdown.longest_under_water_ns / _DAY_NS,
        gross_exposure=gross_exposure(weights.values()),
        net_exposure=net_exposure(weights.values()),
        hhi=hhi(weights.values()),
        benchmark=benchmark,
        beta=nan if moved is None else _book_beta(weights, past, moved),
        account_beta=nan if moved is None else _account_beta(past, moved, equity_times_ns, equity),
        turnover=traded / mean_equity * per_year if mean_equity > 0.0 else nan,
        liquidation_days=max((part.liquidation_days for part in parts), default=0.0),
        participation=participation,
        returns=len(book),
        positions=parts,
        notes=tuple(notes),
    )


def _tails(book: Floats, level: float, notes: list[str]) -> dict[Method, tuple[float, float]]:
    """Value at risk and expected shortfall by each method; NaN with a note where one does not apply."""
    methods: tuple[Method, ...] = ("historical", "parametric", "cornish_fisher")
    tails: dict[Method, tuple[float, float]] = {}
    for method in methods:
        try:
            tails[method] = value_at_risk(book, level, method), expected_shortfall(book, level, method)
        except ParameterError:
            raise
        except DataError as error:
            notes.append(str(error))
            tails[method] = nan, nan
    return tails


def _positions(
    holdings: Holdings,
    past: PastPrices,
    moved: Floats | None,
    mark_volumes: Mapping[str, float],
    level: float,
    participation: float,
    marks_per_day: float,
) -> tuple[PositionRisk, ...]:
    weights = holdings.weights
    known = [symbol for symbol in weights if symbol in past.symbols]
    places = [past.symbols.index(symbol) for symbol in known]
    component = dict.fromkeys(holdings.quantities, nan)
    returns = past.returns
    if len(known) == len(weights):
        parts = component_value_at_risk(list(weights.values()), covariance_matrix(returns[:, places]), level)
        component |= dict(zip(known, parts.tolist(), strict=True))
    found = []
    for symbol, quantity in holdings.quantities.items():
        place = past.symbols.index(symbol) if symbol in past.symbols else None
        # A volume of nothing but zeros is that of a provider who gives none.
        volume = mark_volumes.get(symbol, nan) * marks_per_day or nan
        found.append(
            PositionRisk(
                symbol,
                quantity,
                holdings.prices[symbol],
                quantity * holdings.prices[symbol],
                weights.get(symbol, nan),
                scaled(component[symbol], marks_per_day),
                nan if place is None or moved is None else beta(returns[:, place], moved),
                liquidation_days(quantity, volume, participation),
            )
        )
    return tuple(found)


def _book_beta(weights: Mapping[str, float], past: PastPrices, moved: Floats) -> float:
    """The weighted sum of the positions' own: what a book of these weights has, 0 without any."""
    places = {symbol: place for place, symbol in enumerate(past.symbols)}
    if any(symbol not in places for symbol in weights):
        return nan
    book = np.zeros(len(moved))
    for symbol, weight in weights.items():
        book = book + weight * past.returns[:, places[symbol]]
    return beta(book, moved)


def _account_beta(past: PastPrices, moved: Floats, times_ns: Times, equity: Floats) -> float:
    """Of the equity's returns between the same marks."""
    if not len(equity) or np.min(equity) <= 0.0:
        return nan
    at = np.searchsorted(times_ns, past.times_ns, side="right") - 1
    values = np.where(at >= 0, equity[at], nan)
    return beta(values[1:] / values[:-1] - 1.0, moved)


def _share(fraction: float) -> str:
    """A fraction as percent with three digits that say something: ``12.34 %``, ``0.0123 %``."""
    if fraction != fraction:
        return "n/a"
    size = abs(fraction)
    decimals = 2 if size >= 0.01 or size < 5e-9 else 3 if size >= 0.001 else 4 if size >= 0.0001 else 6
    return f"{round(fraction * 100.0, decimals) + 0.0:,.{decimals}f} %"


def _plain(value: float) -> str:
    return "n/a" if value != value else f"{round(value, 2) + 0.0:,.2f}"


def _days(days: float) -> str:
    if days == inf:
        return "never"
    return "below 0.01" if 0.0 < days < 0.01 else _plain(days)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _cells(label: str, value: str) -> str:
    return (
        f'<td style="text-align:left;opacity:.75">{escape(label)}</td>'
        f'<td style="text-align:right;font-variant-numeric:tabular-nums;padding-right:28px">{escape(value)}</td>'
    )
