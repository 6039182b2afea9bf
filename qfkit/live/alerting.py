"""What a user does with a session's alerts: read them, add rules and take them away, go on with them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qfkit.errors import SessionError
from qfkit.journal.schema import Alert
from qfkit.live.alert_rules import Rule, as_rule, rules_of_meta
from qfkit.live.alert_sinks import as_sinks
from qfkit.live.alerts import AlertDesk
from qfkit.live.runner import run

if TYPE_CHECKING:
    from qfkit.live.pipeline import Pipeline

__all__ = ["Alerting", "resumed_desk"]


class Alerting:
    """The part of a session that its alerts are."""

    name: str
    _pipeline: "Pipeline"
    _journal_file: Callable[[], Path]

    def alert(self, rule: object) -> str:
        """Add an alert rule, or a function of a snapshot, to the session, running or not; returns the rule's name."""
        given = as_rule(rule)

        def add(desk: AlertDesk) -> str:
            name = desk.add(given)
            try:
                desk.check_strategies(self._pipeline.engine.desks)
            except Exception:
                desk.remove(name)
                raise
            return name

        if self._pipeline.state == "running":
            self._pipeline.alerts.open_sinks()
        return self._change(add, "added")

    def remove_alert(self, rule: Rule | str) -> str:
        """Take an alert rule away, by itself or by its name; returns the name."""
        name = rule if isinstance(rule, str) else rule.title

        def remove(desk: AlertDesk) -> str:
            desk.remove(name)
            return name

        return self._change(remove, "removed")

    def _change(self, change: Callable[[AlertDesk], str], word: str) -> str:
        pipeline = self._pipeline
        if pipeline.state == "created":
            return change(pipeline.alerts)

        async def apply() -> str:
            # Between two batches, for a batch is taken without giving the loop away.
            if pipeline.writer is None:
                raise SessionError(f"the session {self.name!r} has ended: its alert rules cannot be changed")
            name = change(pipeline.alerts)
            pipeline.say(pipeline.engine.clock_ns, "info", f"alert rule {word}: {name}")
            pipeline.write_meta(pipeline.alerts.as_meta())
            return name

        return run(apply())

    @property
    def alert_rules(self) -> dict[str, Rule]:
        """The session's alert rules by their names."""
        return self._pipeline.alerts.rules


def resumed_desk(
    meta: Mapping[str, Any], told: Sequence[Alert], alerts: object, notify: object
) -> tuple[AlertDesk, list[str]]:
    """The desk of a session that goes on, and what is worth a warning. What is passed stands in for the journal's."""
    rules, lost = rules_of_meta(meta.get("alerts", ()))
    warnings = []
    if alerts is None:
        given: list[object] = list(rules)
        if lost:
            warnings.append(
                f"a journal cannot hold a function: the alert rules {', '.join(lost)} are gone; add them by session.alert()"
            )
    else:
        given = list(alerts) if isinstance(alerts, Sequence) else [alerts]
    if notify is None and "notify" in meta:
        sinks = meta["notify"]
        secret = [one["label"] for one in sinks if one["recipe"] is None]
        notify = [one["recipe"] for one in sinks if one["recipe"] is not None]
        if secret and given:
            warnings.append(
                f"a journal cannot hold where alerts go to: nothing is sent to {', '.join(secret)}; "
                "pass it again, as in qf.resume(..., notify=...)"
            )
    desk = AlertDesk(given, as_sinks(notify))
    desk.restore(meta.get("alert_state", {}), told)
    return desk, warnings
