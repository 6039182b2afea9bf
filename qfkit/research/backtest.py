"""The backtest: strategies over history, through the same engine as a live session."""

from collections.abc import Mapping, Sequence
from typing import Any

from qfkit.core.allocation import Allocation
from qfkit.core.assessment import RiskBands
from qfkit.core.costs import Costs
from qfkit.core.currencies import Currencies
from qfkit.core.filters import SignalFilters
from qfkit.core.margin import Margin
from qfkit.core.risk import RiskLimits
from qfkit.core.sizing import Sizer
from qfkit.core.strategy import named_strategies
from qfkit.errors import ParameterError, did_you_mean
from qfkit.research.prepared import prepare
from qfkit.result import Result

__all__ = ["backtest", "engine_settings"]

_DEFAULTS: dict[str, Any] = {
    "cash": 100_000.0,
    "costs": None,
    "risk": None,
    "sizer": None,
    "shares": None,
    "timeframe": None,
    "assess_every_s": None,
    "risk_bands": None,
    "allocation": None,
    "netting": False,
    "margin": None,
    "currency": None,
    "filters": None,
}


def engine_settings(**given: Any) -> dict[str, Any]:
    """The settings of an engine as :func:`backtest` takes them, the others as they are by default."""
    for name in given:
        if name not in _DEFAULTS:
            raise ParameterError(f"there is no setting {name!r}.{did_you_mean(name, _DEFAULTS)}")
    return {**_DEFAULTS, **given}


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
      symbol, what ``qf.recordings()`` gives (read day by day), the path of a Parquet file, a capture or a
      session's journal, or an iterable of events.
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
    settings = engine_settings(
        cash=cash,
        costs=costs,
        risk=risk,
        sizer=sizer,
        shares=shares,
        timeframe=timeframe,
        assess_every_s=assess_every_s,
        risk_bands=risk_bands,
        allocation=allocation,
        netting=netting,
        margin=margin,
        currency=currency,
        filters=filters,
    )
    return prepare(data, timeframe=timeframe, symbols=symbols, calendar=calendar).run(named, settings, progress)
