"""Sessions read from their journals: finished, interrupted, or running in another process."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from qfkit.core.costs import Costs
from qfkit.core.snapshot import PositionView, Snapshot, SymbolHealth
from qfkit.core.wording import money, utc_time
from qfkit.errors import QfkitError, SessionError
from qfkit.feeds.health import health_frame
from qfkit.journal.reader import JournalReader
from qfkit.journal.recorded import Recorded
from qfkit.journal.schema import ACCOUNT
from qfkit.live.looking_back import LookingBack, journal_source
from qfkit.live.plan import SessionPlan, costs_of
from qfkit.live.record_frames import RecordFrames
from qfkit.live.registry import SessionRecord, newest_journal, session_record
from qfkit.live.replaying import Verdict, replay
from qfkit.result import ORDERS_ON_BARS, ORDERS_ON_TICKS, Result

if TYPE_CHECKING:
    import pandas

__all__ = ["RecordedSession", "read_session"]


def read_session(name_or_path: Path | str, *, strategies: object = None, **settings: Any) -> "RecordedSession":
    """A session as its journal tells it, also one that runs in another process: to look at and not to steer.

    Of a name it is the run that is being written, else the newest. Its frames need nothing else; ``at``, ``timeline``,
    ``verify`` and all of ``why`` replay it, for which the strategies' classes must be at hand: run the cell or import the
    module that defines them, or pass them as ``strategies`` (a class, a list, or a dict by strategy). ``costs``, ``risk``,
    ``sizer`` and ``allocation`` are needed where the journal could not hold the original, as in ``qf.resume``.

    Raises :class:`SessionError` where there is no such session and :class:`JournalFormatError` for what is no journal.
    """
    return RecordedSession(newest_journal(name_or_path), strategies=strategies, **settings)


class RecordedSession(RecordFrames, LookingBack):
    """A session read from its journal; made by :func:`read_session`. Until it was stopped it is read anew each time.

    Its name, settings and first strategies are those it was started with; a class that it took in later is had from
    ``strategies`` or from where it was defined, when it is first needed.
    """

    def __init__(
        self,
        path: Path,
        *,
        strategies: object = None,
        costs: Costs | None = None,
        risk: object = None,
        sizer: object = None,
        allocation: object = None,
    ) -> None:
        with JournalReader(path) as reader:
            self._meta = reader.meta
        self.name: str = self._meta["name"]
        self.journal_path = path
        self._given: dict[str, Any] = {
            "strategies": strategies,
            "costs": costs,
            "risk": risk,
            "sizer": sizer,
            "allocation": allocation,
        }
        self._machine_lock = RLock()
        self._plan: tuple[object, SessionPlan] | None = None
        self._stopped: Result | None = None

    # -- what it is --------------------------------------------------------------------------

    @property
    def record(self) -> SessionRecord:
        """What its journal says of it: state, symbols, events, equity, health and so on."""
        return session_record(self.journal_path)

    @property
    def state(self) -> str:
        """running, paused, stopped, failed or interrupted."""
        return self.record.state

    @property
    def parameters(self) -> dict[str, dict[str, object]]:
        """Each strategy's parameters at the start."""
        return {name: dict(entry["parameters"]) for name, entry in self._meta["strategies"].items()}

    @property
    def sources(self) -> dict[str, str]:
        """The source texts of the strategies' classes, to be read."""
        with JournalReader(self.journal_path) as reader:
            return {key: entry["source"] for key, entry in reader.meta["classes"].items()}

    @property
    def result(self) -> Result:
        """All that it did (so far), as a backtest gives it."""
        if self._stopped is not None:
            return self._stopped
        # One that failed or was interrupted may be resumed.
        is_final = self.state == "stopped"
        result = self._result()
        if is_final:
            self._stopped = result
        return result

    @property
    def snapshot(self) -> Snapshot:
        """How it stood after its last event, by a replay; ``record`` says the essentials without one."""
        with JournalReader(self.journal_path) as reader:
            return self.at(event=reader.event_count)

    @property
    def positions(self) -> "pandas.DataFrame":
        """What is held, indexed by symbol and strategy; the rows ``account`` are all strategies together."""
        return self.result.positions

    @property
    def health(self) -> "pandas.DataFrame":
        """How well each symbol's data arrived, one row a symbol and source; as the journal has it, every few seconds."""
        views: Sequence[SymbolHealth] = self.record.health
        return health_frame(views)

    def verify(self, on_progress: Callable[[int, int], None] | None = None) -> Verdict:
        """Replay the journal: equal to the last bit, or the first event that differs."""
        plan = self._replay_plan()
        with JournalReader(self.journal_path) as reader:
            return replay(reader, plan.engine, on_progress)[0]

    # -- how it is made ----------------------------------------------------------------------

    def _result(self) -> Result:
        meta, feed = self._meta, self._meta.get("feed", {})
        with JournalReader(self.journal_path) as reader:
            seen = [row[0] for row in reader.query("SELECT strategy FROM equity GROUP BY strategy ORDER BY min(rowid)")]
        names = list(dict.fromkeys([*meta["strategies"], *(name for name in seen if name != ACCOUNT)]))
        try:
            source = journal_source(self.journal_path, self._replay_plan())
        except QfkitError:
            # Frames need no class; why() says what is missing.
            source = None
        return Result(
            Recorded(self.journal_path),
            strategy_names=names,
            parameters={name: self.parameters.get(name, {}) for name in names},
            starting_cash=meta["cash"],
            costs=_costs(meta["costs"], self._given["costs"]),
            timeframe=meta["timeframe"] or feed.get("timeframe") or "1m",
            label=feed.get("label", ""),
            order_timing=ORDERS_ON_TICKS if feed.get("timeframe") is None else ORDERS_ON_BARS,
            source=source,
        )

    def _replay_plan(self) -> SessionPlan:
        with JournalReader(self.journal_path) as reader:
            meta = reader.meta
        # A running session takes in classes with swap and add.
        if self._plan is None or self._plan[0] != meta["classes"]:
            self._plan = meta["classes"], SessionPlan.from_meta(meta, **self._given)[0]
        return self._plan[1]

    def _open_positions(self) -> Sequence[PositionView]:
        return self.result.open_positions

    def _journal_file(self) -> Path:
        return self.journal_path

    def __repr__(self) -> str:
        record = self.record
        equity = "" if record.equity is None else f", equity {money(record.equity)}"
        since = "" if record.started_ns is None else f", started {utc_time(record.started_ns)} UTC"
        return (
            f"RecordedSession {self.name!r}: {record.state}{since}, {record.events:,} events, {record.fills:,} fills{equity} "
            f"({self.journal_path})"
        )

    def _repr_html_(self) -> str:
        told = self.result._repr_html_() if self.record.events else ""
        return f'<p style="margin:4px 0"><b>{escape(repr(self))}</b></p>{told}'


class _ToldCosts(Costs, frozen=True):
    """Costs that a journal could not hold, but for their text."""

    text: str = ""

    def describe(self) -> str:
        return self.text


def _costs(meta: Mapping[str, Any], given: Costs | None) -> Costs:
    if given is not None:
        return given
    try:
        return costs_of(meta)
    except SessionError:
        return _ToldCosts(text=str(meta["text"]))
