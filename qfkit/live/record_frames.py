"""What a session did, as frames read from its journal: the same of one that runs and of one that is only read."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, overload

from qfkit.comparison import BUY_AND_HOLD, Comparison
from qfkit.core.risk_report import RiskReport
from qfkit.journal.reader import JournalReader
from qfkit.live.printed import log_frame
from qfkit.result import Result
from qfkit.tables import records_frame

if TYPE_CHECKING:
    import pandas

    from qfkit.resampling.drift import Drift
    from qfkit.views.report.page import Report

__all__ = ["RecordFrames"]

_ALERTS = {
    "alert_id": ("alert_id", "int64"),
    "rule": ("rule", "str"),
    "kind": ("kind", "str"),
    "text": ("text", "str"),
    "symbol": ("symbol", "str"),
    "strategy": ("strategy", "str"),
    "value": ("value", "float64"),
    "level": ("level", "float64"),
    "held_back": ("held_back", "int64"),
}
_DELIVERIES = {
    "alert_id": ("alert_id", "int64"),
    "sink": ("sink", "str"),
    "outcome": ("outcome", "str"),
    "attempt": ("attempt", "int64"),
    "reason": ("reason", "str"),
}


class RecordFrames:
    """The part of a session that tells what it did so far. Frames are whole and up to date."""

    _journal_file: Callable[[], Path]

    @property
    def result(self) -> Result:
        """All that it did so far."""
        raise NotImplementedError

    @overload
    def report(
        self,
        path: None = None,
        *,
        title: str | None = ...,
        benchmark: object = ...,
        tries: object = ...,
        drift: "Drift | None" = ...,
    ) -> "Report": ...
    @overload
    def report(
        self,
        path: Path | str,
        *,
        title: str | None = ...,
        benchmark: object = ...,
        tries: object = ...,
        drift: "Drift | None" = ...,
    ) -> Path: ...
    def report(
        self,
        path: Path | str | None = None,
        *,
        title: str | None = None,
        benchmark: object = BUY_AND_HOLD,
        tries: object = None,
        drift: "Drift | None" = None,
    ) -> "Report | Path":
        """One page with all that it did so far, as :meth:`Result.report` makes it, and how it went: how the data arrived,
        limits and stops, warnings and alerts. A session that was told what to expect has its drift on the page too; ``drift`` is another look's.
        """
        from qfkit.views.report.session_page import session_report

        page = session_report(self, title=title, benchmark=benchmark, tries=tries, drift=drift)
        return page if path is None else page.save(path)

    def compare(self, benchmark: object = BUY_AND_HOLD, *, returns: object = None) -> Comparison:
        """The account so far against a benchmark; see :meth:`Result.compare`."""
        return self.result.compare(benchmark, returns=returns)

    @property
    def trade_statistics(self) -> "pandas.DataFrame":
        """Wins, streaks, holding times and excursions of the round trips so far, by side."""
        return self.result.trade_statistics

    @property
    def risk(self) -> RiskReport:
        """The risk of the account as it stands; ``session.result.measure_risk(...)`` takes a benchmark, a level and so on."""
        return self.result.risk

    @property
    def assessments(self) -> "pandas.DataFrame":
        """The risk assessments so far; the newest is also ``session.snapshot.assessment``."""
        return self.result.assessments

    @property
    def fills(self) -> "pandas.DataFrame":
        """Every (partial) fill so far."""
        return self.result.fills

    @property
    def orders(self) -> "pandas.DataFrame":
        """Every order as it stands."""
        return self.result.orders

    @property
    def signals(self) -> "pandas.DataFrame":
        """What the strategies wanted and what became of it."""
        return self.result.signals

    @property
    def checks(self) -> "pandas.DataFrame":
        """Each check of each signal by the filters and the risk limits, passed or not, with its numbers."""
        return self.result.checks

    @property
    def trades(self) -> "pandas.DataFrame":
        """Round trips so far."""
        return self.result.trades

    @property
    def transfers(self) -> "pandas.DataFrame":
        """Cash that moved between the strategies so far, by ``allocation=`` or to one that joined."""
        return self.result.transfers

    @property
    def stops(self) -> "pandas.DataFrame":
        """Every stop that began or was lifted so far; those that hold now are in :attr:`limits`."""
        return self.result.stops

    @property
    def margin_calls(self) -> "pandas.DataFrame":
        """Margin calls and wiped-out strategies so far, with the numbers."""
        return self.result.margin_calls

    @property
    def financing(self) -> "pandas.DataFrame":
        """What nights cost or earned: interest, and the borrowing of shares."""
        return self.result.financing

    @property
    def equity(self) -> "pandas.DataFrame":
        """Equity of the account and each strategy, one row a bar of time."""
        return self.result.equity

    @property
    def bars(self) -> "pandas.DataFrame":
        """The closed bars so far."""
        return self.result.bars

    @property
    def log(self) -> "pandas.DataFrame":
        """What the session had to say and what its strategies printed, indexed by the time.

        ``kind`` is printed, info, warning, error or alert; ``strategy`` whose it is, where that is known. Of a flood
        of printed lines a part is kept, and how many were left out.
        """
        with JournalReader(self._journal_file()) as reader:
            return log_frame(reader.log())

    @property
    def alerts(self) -> "pandas.DataFrame":
        """Every alert so far, indexed by its time; ``delivered`` says for each sink what became of it."""
        with JournalReader(self._journal_file()) as reader, reader.frozen():
            alerts, deliveries = reader.alerts(), reader.deliveries()
        last: dict[int, dict[str, str]] = {}
        for one in deliveries:
            last.setdefault(one.alert_id, {})[one.sink] = one.outcome
        frame = records_frame(alerts, "time_ns", _ALERTS)
        outcomes = [last.get(alert.alert_id, {}) for alert in alerts]
        texts = [", ".join(f"{sink}: {outcome}" for sink, outcome in one.items()) for one in outcomes]
        return frame.assign(delivered=texts).astype({"delivered": "str"})

    @property
    def deliveries(self) -> "pandas.DataFrame":
        """Every attempt to deliver an alert, indexed by its time: sent, retried, failed or dropped, and why."""
        with JournalReader(self._journal_file()) as reader:
            return records_frame(reader.deliveries(), "time_ns", _DELIVERIES)
