"""The risk assessment: every n seconds of the engine's clock, how risky the account stands, and why."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from itertools import takewhile
from math import fsum, inf, nan, sqrt
from typing import TYPE_CHECKING, Any

import msgspec

from qfkit.core.annualisation import infer_annualisation
from qfkit.core.portfolio import total
from qfkit.core.returns_window import Floats, ReturnsWindow, follow_returns
from qfkit.core.risk_measures import (
    ewma_volatility,
    expected_shortfall,
    gross_exposure,
    hhi,
    liquidation_days,
    scaled,
    value_at_risk,
    volatility,
)
from qfkit.core.running_risk import EwmaVolatility, RunningDrawdown
from qfkit.core.wording import share
from qfkit.errors import ParameterError

if TYPE_CHECKING:
    from qfkit.core.engine import Engine
    from qfkit.core.lanes import Track

__all__ = ["FEWEST_RETURNS", "Assessor", "RiskAssessment", "RiskBands", "RiskLevel", "book_returns", "net_values"]

Bounds = tuple[float, float, float]

# Fewer returns than this say nothing of a tail of one in twenty.
FEWEST_RETURNS = 20


class RiskLevel(StrEnum):
    """How risky an account stands, from "low" to "critical". ``rank`` is 0 to 3."""

    LOW = "low"
    ELEVATED = "elevated"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return _LEVELS.index(self)


_LEVELS = tuple(RiskLevel)


class RiskBands(msgspec.Struct, frozen=True):
    """What an assessment goes by: of each measure the bounds of elevated, high and critical.

    A level begins above its bound. The bounds are round numbers for an account without borrowing, no
    theory: set your own. None leaves a measure out of the level; it is still recorded.

    - ``drawdown`` from the equity's peak, a fraction of it;
    - ``value_at_risk_day``: historical, of today's positions, at ``level``, one day, a fraction of the equity;
    - ``gross_exposure`` of the account, and ``largest_weight`` of one symbol, in times the equity;
    - ``volatility_ratio``: the recent (EWMA) volatility of today's positions over that of the whole window;
    - ``liquidation_days`` of the slowest position, at ``participation`` of the volume.

    ``returns`` is how many marks the window holds.
    """

    drawdown: Bounds | None = (0.05, 0.10, 0.20)
    value_at_risk_day: Bounds | None = (0.02, 0.04, 0.08)
    gross_exposure: Bounds | None = (1.01, 2.0, 4.0)
    largest_weight: Bounds | None = (0.5, 1.01, 2.0)
    volatility_ratio: Bounds | None = (1.5, 2.0, 3.0)
    liquidation_days: Bounds | None = (1.0, 3.0, 10.0)
    level: float = 0.95
    participation: float = 0.1
    returns: int = 250

    def __post_init__(self) -> None:
        for name in _MEASURES:
            bounds = getattr(self, name)
            if bounds is not None and not (len(bounds) == 3 and 0.0 < bounds[0] <= bounds[1] <= bounds[2] < inf):
                raise ParameterError(
                    f"RiskBands({name}={bounds!r}): give three rising bounds above zero, of elevated, high and critical"
                )
        value_at_risk((), self.level)
        liquidation_days(0.0, nan, self.participation)
        ReturnsWindow(self.returns)


class RiskAssessment(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How the account stood at ``time_ns``: the level, the reasons for it, and the figures behind them.

    Positions of several strategies in one symbol are netted. The figures are those of :class:`RiskBands`, and:

    - ``equity``; ``under_water_s`` since its peak; ``net_exposure`` in times the equity;
    - ``hhi`` of the positions, NaN without any; ``largest_symbol`` "" then;
    - ``volatility``: EWMA, of the account's own returns, a year's; ``book_volatility``: realised, of today's
      positions over the window, a year's;
    - ``value_at_risk`` and ``expected_shortfall``: historical, of one mark; ``..._day`` the same scaled by the
      square root of time;
    - ``returns``: how many returns of today's positions there were. With fewer than 20, those figures are NaN.
    """

    time_ns: int
    level: RiskLevel
    reasons: tuple[str, ...]
    equity: float
    drawdown: float
    under_water_s: float
    gross_exposure: float
    net_exposure: float
    hhi: float
    largest_weight: float
    largest_symbol: str
    volatility: float
    book_volatility: float
    volatility_ratio: float
    value_at_risk: float
    value_at_risk_day: float
    expected_shortfall: float
    expected_shortfall_day: float
    liquidation_days: float
    returns: int


# Of each measure: its name for people, and how its value is written.
_MEASURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "drawdown": ("drawdown", share),
    "value_at_risk_day": ("value at risk of a day", share),
    "gross_exposure": ("gross exposure", share),
    "largest_weight": ("weight of {symbol}", share),
    "volatility_ratio": ("volatility over its usual", lambda value: f"{value:.2f} x"),
    "liquidation_days": ("days to sell", lambda value: f"{value:.1f}"),
}


def net_values(engine: "Engine") -> dict[str, float]:
    """The signed value of the account's position in each symbol, its strategies netted."""
    values: dict[str, float] = {}
    for desk in engine.desks.values():
        for symbol, position in desk.book.open.items():
            values[symbol] = values.get(symbol, 0.0) + position.market_value
    return values


def book_returns(weights: Mapping[str, float], symbols: tuple[str, ...], returns: Floats) -> Floats:
    """What these weights would have returned in each period; periods that one of them lacks are left out.

    Added symbol by symbol, so that the figures are the same on every machine.
    """
    places = {symbol: place for place, symbol in enumerate(symbols)}
    book: Floats | None = None
    for symbol, weight in weights.items():
        if symbol not in places:
            return returns[:0, :0].reshape(-1)
        own = weight * returns[:, places[symbol]]
        book = own if book is None else book + own
    if book is None:
        return returns[:0, :0].reshape(-1)
    known: Floats = book[book == book]
    return known


class Assessor:
    """Hangs on an engine and makes a :class:`RiskAssessment` every so many seconds of its clock.

    One stands for the state when its time was over, before the next event counts: what was received up to then is
    in it, and the returns up to the last mark. In a quiet time there is one only, not one for each interval.
    """

    def __init__(self, engine: "Engine", every_s: float, bands: RiskBands | None = None) -> None:
        if not 0.0 < every_s < inf:
            raise ParameterError(f"assess_every_s={every_s!r}: it must be above zero and finite, or None")
        self.bands = RiskBands() if bands is None else bands
        self.last: RiskAssessment | None = None
        self._engine = engine
        self._every_ns = max(1, round(every_s * 1e9))
        self._due_ns = 0
        self._window = follow_returns(engine, self.bands.returns)
        self._drawdown = RunningDrawdown(engine.starting_cash)
        self._volatility = EwmaVolatility()
        self._equity = nan
        self._hook()

    def _hook(self) -> None:
        engine = self._engine
        keep = engine._keep_equity

        def keep_and_measure(row: tuple[float, ...]) -> None:
            keep(row)
            equity = row[1]
            self._drawdown.update(int(row[0]), equity)
            if self._equity > 0.0:
                self._volatility.update(equity / self._equity - 1.0)
            self._equity = equity

        engine._keep_equity = keep_and_measure
        for kind, handler in engine._handlers.items():
            engine._handlers[kind] = self._watched(handler)

    def _watched(self, handler: Callable[..., None]) -> Callable[..., None]:
        def watched(event: Any) -> None:
            received_ns = event.received_ns
            if received_ns > self._due_ns:
                self._pass(received_ns)
            handler(event)

        return watched

    def _pass(self, now_ns: int) -> None:
        """The time is over: assess, and wait for the next whole multiple of the interval."""
        due_ns, self._due_ns = self._due_ns, -(-now_ns // self._every_ns) * self._every_ns
        if due_ns:
            self.last = self._assess(due_ns)
            self._engine.records.assessments.append(self.last)

    def _assess(self, time_ns: int) -> RiskAssessment:
        engine, bands, window = self._engine, self.bands, self._window
        equity = total(desk.book.equity for desk in engine.desks.values())
        values = net_values(engine)
        weights = {symbol: value / equity for symbol, value in values.items()} if equity > 0.0 else {}
        largest = max(weights, key=lambda symbol: abs(weights[symbol]), default="")
        year = infer_annualisation(window.times_ns())
        book = book_returns(weights, window.symbols, window.values())
        enough = len(book) >= FEWEST_RETURNS
        realised = volatility(book) if enough else nan
        at_risk = value_at_risk(book, bands.level) if enough else nan if weights else 0.0
        shortfall = expected_shortfall(book, bands.level) if enough else nan if weights else 0.0
        under_water = self._drawdown.peak > equity
        figures: dict[str, Any] = {
            "equity": equity,
            "drawdown": 1.0 - equity / self._drawdown.peak if under_water else 0.0,
            "under_water_s": (time_ns - self._drawdown.peak_ns) / 1e9 if under_water else 0.0,
            "gross_exposure": gross_exposure(weights.values()),
            "net_exposure": fsum(weights.values()),
            "hhi": hhi(weights.values()),
            "largest_weight": abs(weights.get(largest, 0.0)),
            "largest_symbol": largest,
            "volatility": self._volatility.value * sqrt(year.periods_per_year),
            "book_volatility": realised * sqrt(year.periods_per_year),
            "volatility_ratio": ewma_volatility(book) / realised if realised > 0.0 else nan,
            "value_at_risk": at_risk,
            "value_at_risk_day": scaled(at_risk, year.periods_per_day),
            "expected_shortfall": shortfall,
            "expected_shortfall_day": scaled(shortfall, year.periods_per_day),
            "liquidation_days": self._liquidation_days(values, year.periods_per_day),
            "returns": len(book),
        }
        level, reasons = self._judge(figures)
        return RiskAssessment(time_ns=time_ns, level=level, reasons=reasons, **figures)

    def _judge(self, figures: Mapping[str, Any]) -> tuple[RiskLevel, tuple[str, ...]]:
        """The worst level that a measure reaches, and every measure above its first bound, the worst first."""
        if figures["equity"] <= 0.0:
            return RiskLevel.CRITICAL, (f"critical: the equity is {figures['equity']:,.2f}",)
        passed: list[tuple[int, str]] = []
        for name, (label, written) in _MEASURES.items():
            value, bounds = figures[name], getattr(self.bands, name)
            if bounds is not None and value > bounds[0]:
                rank = 3 if value > bounds[2] else 2 if value > bounds[1] else 1
                of_whom = label.format(symbol=figures["largest_symbol"])
                above = written(bounds[rank - 1])
                passed.append((rank, f"{_LEVELS[rank]}: {of_whom} {written(value)}, above {above}"))
        passed.sort(key=lambda one: -one[0])
        return _LEVELS[passed[0][0] if passed else 0], tuple([text for _, text in passed])

    def _liquidation_days(self, values: Mapping[str, float], marks_per_day: float) -> float:
        """Of the slowest position; 0 without any, NaN where one's volume is not known."""
        times_ns = self._window.times_ns()
        slowest = 0.0
        for symbol, value in values.items():
            track = self._engine.tracks[symbol]
            volume = _volume(track, int(times_ns[0])) / len(times_ns) if len(times_ns) else nan
            # A volume of nothing but zeros is that of a provider who gives none.
            days = liquidation_days(
                value / (track.market.price * track.market.rate),
                volume * marks_per_day or nan,
                self.bands.participation,
            )
            if days != days:
                return nan
            slowest = max(slowest, days)
        return slowest


def _volume(track: "Track", since_ns: int) -> float:
    recent = takewhile(lambda bar: bar.close_ns >= since_ns, reversed(track.base.kept))
    return fsum([bar.volume for bar in recent])
