"""Paper trading begins here: a new session, or one whose process ended."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from qfkit.core.allocation import Allocation
from qfkit.core.assessment import RiskBands
from qfkit.core.costs import Costs
from qfkit.core.currencies import Currencies
from qfkit.core.filters import SignalFilters, checked_filters
from qfkit.core.margin import Margin
from qfkit.core.risk import RiskLimits
from qfkit.core.sizing import Sizer
from qfkit.core.strategy import named_strategies
from qfkit.core.timeframes import timeframe_ns
from qfkit.errors import SessionError
from qfkit.feeds.base import Feed
from qfkit.feeds.recipes import feed_of
from qfkit.journal.reader import JournalReader
from qfkit.live.alerting import resumed_desk
from qfkit.live.alerts import AlertDesk
from qfkit.live.drift_watch import forgotten
from qfkit.live.plan import SessionPlan
from qfkit.live.registry import find_journal, session_record
from qfkit.live.replaying import replay
from qfkit.live.session import Session
from qfkit.live.warmup import higher_timeframes, past_of

__all__ = ["paper", "resume"]

_ASSESS_EVERY_S = 60.0
# On a recording time flies: so many bars at least lie between two assessments.
_BARS_BETWEEN = 20


def paper(
    strategies: object,
    feed: Feed,
    *,
    cash: float = 100_000.0,
    timeframe: str | None = None,
    warmup: object = 0,
    costs: Costs | None = None,
    risk: RiskLimits | Mapping[str, RiskLimits] | None = None,
    sizer: Sizer | None = None,
    filters: SignalFilters | None = None,
    margin: Margin | None = None,
    currency: Currencies | str | None = None,
    allocation: Allocation | None = None,
    netting: bool = False,
    shares: Mapping[str, float] | None = None,
    name: str | None = None,
    journal: Path | str | None = None,
    assess_every_s: float | Literal["auto"] | None = "auto",
    risk_bands: RiskBands | None = None,
    alerts: object = (),
    notify: object = None,
) -> Session:
    """Make a paper-trading session; ``start()`` begins it.

    - ``strategies``: one, a list, or a dict of names. Each trades its own share of ``cash``:
      ``shares`` by name, equal without.
    - ``feed`` gives the events: ``qf.feeds.BinanceFeed(["BTCUSDT"])``, ``qf.feeds.sample("AAPL")``.
    - ``timeframe`` of ``on_bar``; None takes the feed's own bars, or "1m" where it gives ticks.
    - ``warmup`` is the number of bars from before the start that indicators are warmed with, fetched
      from the feed's provider; or these bars, as a DataFrame or a dict of them by symbol. They go the
      way of live bars, but nothing is ordered on them. Where they cannot be had the session warns and
      goes on without. Fetched are as many more as make the first bar of each higher timeframe whole; 20 bars
      of "1h" over those of "1m" are ``warmup=1200``. On a feed of trades the bar that is open at the start is taken over too: its
      volume may hold the trades of the moment of the start twice. Symbols subscribed to later have no warm-up.
    - ``costs`` None is the sober ``qf.Costs()``; ``risk``, ``sizer``, ``filters``, ``allocation``, ``netting``, ``margin`` and
      ``currency`` as in ``qf.backtest``.
    - ``name`` is by default made of the strategies' names. Starting a second session of a name
      stops the first.
    - ``journal`` is a folder or file for the journal, instead of the user's data folder.
    - ``assess_every_s`` has a :class:`RiskAssessment` made so often (``session.snapshot.assessment``), by the
      bounds of ``risk_bands``; "auto" is every 60 s, on a recording at most every 20 bars; None is never.
    - ``alerts`` are rules such as ``qf.alerts.PriceAbove("BTCUSDT", 70_000)``, or functions of a snapshot;
      ``notify`` says where they go: sinks such as ``qf.alerts.Webhook(url)``, functions of an alert, and texts
      ("notebook", "terminal", "file:alerts.log", "https://...", "mailto://...", "env:NAME"). None shows them
      where the session was started. The dashboard has them in any case, and the journal.

    Raises :class:`ParameterError`, :class:`StrategyError` or :class:`TimeframeError` for what
    does not fit.
    """
    if not isinstance(feed, Feed):
        raise SessionError(
            f"feed={type(feed).__name__}: a session needs a feed, such as qf.feeds.sample('AAPL'), "
            "qf.ReplayFeed(data) for a DataFrame or file, or qf.BinanceFeed(['BTCUSDT'])"
        )
    plan = SessionPlan.of(
        named_strategies(strategies),
        name,
        cash=cash,
        shares=shares,
        costs=Costs() if costs is None else costs,
        risk=RiskLimits() if risk is None else risk,
        margin=margin,
        currency=Currencies.of(currency),
        sizer=sizer,
        filters=checked_filters(filters),
        allocation=allocation,
        netting=netting,
        timeframe=timeframe,
        symbols=feed.symbols,
        assess_every_s=_assess_every_s(feed, timeframe) if assess_every_s == "auto" else assess_every_s,
        risk_bands=risk_bands,
    )
    desk = AlertDesk.of(alerts, notify)
    desk.check_strategies(plan.strategies)
    engine = plan.engine()
    past = past_of(warmup, feed, timeframe, higher_timeframes(engine, feed))
    return Session(plan, feed, journal=journal, engine=engine, past=past, alerts=desk)


def _assess_every_s(feed: Feed, timeframe: str | None) -> float:
    bars_s = timeframe_ns(timeframe or feed.timeframe or "1m") / 1e9 * _BARS_BETWEEN
    return _ASSESS_EVERY_S if feed.is_live else max(_ASSESS_EVERY_S, bars_s)


def resume(
    name_or_path: Path | str,
    *,
    feed: Feed | None = None,
    strategies: object = None,
    costs: Costs | None = None,
    risk: RiskLimits | Mapping[str, RiskLimits] | None = None,
    sizer: Sizer | None = None,
    allocation: Allocation | None = None,
    alerts: object = None,
    notify: object = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Session:
    """Continue a session whose process ended or was killed; ``start()`` goes on with it.

    Its journal is replayed, so positions, working orders and indicators are those it had; a
    recording goes on where it stood, a live feed with a :class:`Gap` over the time between.
    ``strategies`` (classes) are needed only where the classes cannot be found by their names;
    ``feed``, ``costs``, ``risk``, ``sizer`` and ``allocation`` where the journal could not hold the original.
    ``alerts`` None takes the journal's rules, but for functions; ``notify`` None those of its sinks that
    are neither secret nor a function. It warns of the others.

    Raises :class:`SessionError` where there is nothing to resume, and :class:`JournalError` for a
    journal that is damaged, or whose replay does not equal what was recorded.
    """
    path = find_journal(name_or_path)
    with JournalReader(path) as reader:
        meta = reader.meta
        if meta.get("state") == "stopped":
            raise SessionError(f"the session of {path} ended as it should: start a new one with qf.paper(...).start()")
        if session_record(path).state in ("running", "paused"):
            raise SessionError(f"the session of {path} is still running: qf.stop({str(path)!r}) ends it")
        plan, warnings = SessionPlan.from_meta(
            meta, strategies=strategies, costs=costs, risk=risk, sizer=sizer, allocation=allocation
        )
        verdict, engine = replay(reader, plan.engine, on_progress)
        if not verdict:
            raise SessionError(
                f"the session cannot be continued, for its replay is {verdict.text}\n"
                "The strategy's code, the costs or qfkit itself may have changed since it ran."
            )
        if feed is None:
            feed = feed_of(meta["feed"].get("recipe"), meta["feed"].get("label", ""))
        desk, lost = resumed_desk(meta, reader.alerts(), alerts, notify)
        desk.check_strategies(engine.desks)
        warnings += lost
        session = Session(plan, feed, engine=engine, resumed=path, skip=reader.feed_events, alerts=desk)
        session._pipeline.chart_feed.remember(reader.orders(), reader.fills(), reader.signals(), reader.equity())
        session._pipeline.watch.totals.take(reader.equity(), reader.trades(), reader.fills())
        warnings += forgotten(meta)
    session._pipeline.failed_seqs = meta.get("failed_seqs", [])
    for text in warnings:
        session.warn(text)
    return session
