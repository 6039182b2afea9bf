"""A session's events played to another end: under other parameters, costs, limits or code."""

from collections.abc import Callable
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

from qfkit.changes import Changes
from qfkit.core.engine import Engine
from qfkit.core.holdings import Holdings
from qfkit.core.joining import joined_cash
from qfkit.core.strategy import Strategy
from qfkit.core.survey import assumptions, take_positions
from qfkit.errors import SessionError
from qfkit.inspection.machine import Batches, Source
from qfkit.journal.reader import JournalReader
from qfkit.journal.schema import ACCOUNT
from qfkit.live.commands_again import CommandsAgain
from qfkit.live.plan import SessionPlan
from qfkit.live.printed import silent
from qfkit.result import ORDERS_ON_BARS, ORDERS_ON_TICKS, Result
from qfkit.run_progress import RunProgress

__all__ = ["otherwise"]


def otherwise(path: Path, plan: SessionPlan, before: Changes, changes: Changes) -> Callable[[bool | None], Result]:
    """How a session's events are played with these changes on top of those ``before``; they are checked at once."""
    whole = before | changes
    with JournalReader(path) as reader, reader.frozen():
        whole.check_names(_known(reader, plan))
    return partial(_play, path, plan, whole, _changed(plan, whole))


def _known(reader: JournalReader, plan: SessionPlan) -> dict[str, tuple[type[Strategy], ...]]:
    """The classes that each strategy may have had: its first one, and those that were swapped in or joined later."""
    first = {key for key, _ in plan.strategies.values()}
    later = tuple(plan.classes.resolve(key) for key in plan.classes.as_meta() if key not in first)
    known = {name: (plan.classes.resolve(key), *later) for name, (key, _) in plan.strategies.items()}
    joined = [row[0] for row in reader.query("SELECT DISTINCT strategy FROM equity")] if later else []
    return known | {name: later for name in joined if name != ACCOUNT and name not in known}


def _changed(plan: SessionPlan, changes: Changes) -> SessionPlan:
    """The plan with other settings, on a book of classes of its own."""
    other = copy(plan)
    other.classes = plan.classes.copy()
    made = changes.made_at_start(
        {name: (plan.classes.resolve(key), values) for name, (key, values) in plan.strategies.items()}
    )
    other.strategies = {name: (other.classes.add(kind), values) for name, (kind, values) in made.items()}
    former = {name: getattr(plan, name) for name in _SETTINGS}
    for name, value in changes.settings(former).items():
        setattr(other, name, value)
    return other


_SETTINGS = ("cash", "shares", "costs", "risk", "sizer", "filters", "margin", "allocation", "netting")


def _play(path: Path, plan: SessionPlan, changes: Changes, other: SessionPlan, progress: bool | None) -> Result:
    with JournalReader(path) as reader, reader.frozen():
        meta, total = reader.meta, reader.event_count
        if not total:
            raise SessionError(f"the session {plan.name!r} has received nothing yet")
        raised_before = set(meta.get("failed_seqs", ()))
        orders = {order.order_id: order for order in reader.orders()}
        again = CommandsAgain(changes, other.classes.resolve, other.classes.add, orders.get)
        failed: list[int] = []
        with silent():
            engine = other.engine()
        with RunProgress("what if", total, shown=progress) as bar:
            for number, events in again.portions(reader.events(), engine):
                begun = engine.events
                try:
                    with silent():
                        engine.process_all(events)
                except (Exception, SystemExit):
                    # The session ended at the event that raised: it is the last of its batch.
                    if number + engine.events - begun - 1 not in raised_before:
                        raise
                    failed.append(engine.events - 1)
                bar.update(engine.events)
    return _result(engine, other, meta, again.note, _source(path, plan, changes, other, again, engine.events, failed))


def _source(
    path: Path,
    plan: SessionPlan,
    changes: Changes,
    other: SessionPlan,
    again: CommandsAgain,
    total: int,
    failed: list[int],
) -> Source:
    def batches(from_event: int) -> Batches:
        seen = 0
        with JournalReader(path) as reader:
            for batch in again.played(reader.events()):
                if seen >= total:
                    break
                if seen + len(batch) > from_event:
                    # A session may have gone on since.
                    yield batch[max(0, from_event - seen) : total - seen]
                seen += len(batch)

    return Source(
        other.engine, batches, lambda: total, lambda: failed, silent, otherwise=partial(otherwise, path, plan, changes)
    )


def _result(engine: Engine, plan: SessionPlan, meta: dict[str, Any], note: str, source: Source) -> Result:
    feed = meta.get("feed", {})
    names = tuple(dict.fromkeys((*engine.equity_names, *engine.desks)))
    return Result(
        engine.records,
        strategy_names=names,
        parameters={name: desk.strategy.parameters for name, desk in engine.desks.items()},
        starting_cash=engine.starting_cash,
        strategy_cash={**plan.strategy_cash, **joined_cash(engine)},
        costs=engine.costs,
        timeframe=engine.timeframe or feed.get("timeframe") or "1m",
        label=feed.get("label", ""),
        order_timing=ORDERS_ON_TICKS if feed.get("timeframe") is None else ORDERS_ON_BARS,
        assumptions=(*assumptions(engine), *((note,) if note else ())),
        holdings=Holdings.of_engine(engine),
        positions=take_positions(engine),
        source=source,
    )
