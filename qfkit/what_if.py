"""What if it had been otherwise: the same events under other parameters, costs, limits or code."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qfkit.changes import SAME, Changes, Kept, unknown_setting
from qfkit.core.allocation import Allocation
from qfkit.core.costs import Costs
from qfkit.core.filters import SignalFilters
from qfkit.core.margin import Margin
from qfkit.core.risk import RiskLimits
from qfkit.core.sizing import Sizer
from qfkit.errors import ParameterError, SessionError
from qfkit.side_by_side import SideBySide

if TYPE_CHECKING:
    from qfkit.inspection.machine import Source
    from qfkit.result import Result

__all__ = ["ACTUAL", "WhatIf"]

ACTUAL = "actual"
"""The name of the run itself beside what might have been."""


class WhatIf:
    """The part of a result, or of a session, that is run once more under other conditions."""

    def _as_result(self) -> "Result":
        raise NotImplementedError

    def what_if(
        self,
        several: Mapping[str, Mapping[str, Any]] | None = None,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        strategy: object = None,
        costs: Costs | Kept | None = SAME,
        latency_s: object = None,
        risk: RiskLimits | Mapping[str, RiskLimits] | Kept | None = SAME,
        sizer: Sizer | Kept | None = SAME,
        filters: SignalFilters | Kept | None = SAME,
        margin: Margin | Kept | None = SAME,
        cash: float | None = None,
        shares: Mapping[str, float] | Kept | None = SAME,
        allocation: Allocation | Kept | None = SAME,
        netting: bool | Kept = SAME,
        commands: bool = True,
        progress: bool | None = None,
        **unknown: Any,
    ) -> SideBySide:
        """The same events with something changed, beside what was: ``both.other`` is the other run, a Result of its own.

        - ``params``: ``{"fast": 8}`` for all strategies that have it, ``{"trend": {"fast": 8}}`` for one by name.
        - ``strategy``: other code in the place of the one there: a class, which takes the parameters that the run
          had where it has such, or an instance, which brings its own; of several strategies a dict by name.
        - ``latency_s`` changes the latency of the costs, whichever they are. The other settings are those of
          :func:`qfkit.backtest`; where None means something there, it means it here (``filters=None``: without).
        - ``commands``: what was done by hand in a session (parameters set, code swapped, strategies added, stopped or
          paused, limits, orders) is done again at the same moments; what would undo a change asked for is left out.
          False leaves it all out.
        - ``progress``: None shows a bar on long runs in a terminal or notebook.

        Several at once are given by name: ``what_if({"harsh": dict(costs=qf.Costs.harsh()), "fast 8":
        dict(params={"fast": 8})})``. Of a running session it is all that was received when it was asked.

        The trap: the best of many what-ifs on the same events is the luckiest. Raises :class:`ParameterError` for
        what the run does not have, :class:`SessionError` for a run that cannot be had again.
        """
        if unknown:
            raise ParameterError(unknown_setting(unknown))
        single = Changes(
            params=params,
            strategy=strategy,
            costs=costs,
            latency_s=latency_s,
            risk=risk,
            sizer=sizer,
            filters=filters,
            margin=margin,
            cash=cash,
            shares=shares,
            allocation=allocation,
            netting=netting,
            commands=commands,
        )
        if several is None:
            return _beside(self._as_result(), {single.describe(): single}, progress)
        if single != Changes():
            raise ParameterError(f"{single.describe()}: give it as one of the several by name, or alone")
        if not isinstance(several, Mapping) or not several:
            raise ParameterError(
                f'{several!r}: several what-ifs are a dict by name, as in {{"harsh": dict(costs=qf.Costs.harsh())}}'
            )
        changes = {str(label): Changes.of(one) for label, one in several.items()}
        if ACTUAL in changes:
            raise ParameterError(f"a what-if cannot be named {ACTUAL!r}, which is the run itself: choose another name")
        return _beside(self._as_result(), changes, progress)

    def band(self, *, progress: bool | None = None) -> SideBySide:
        """The same under ideal, sober and harsh costs: a result that does not bear the harsh ones is none.

        The middle are the run's own costs. If those are ideal or harsh themselves, it is ``Costs()``. On the
        picture the space between ideal and harsh is filled; ``band["harsh"]`` is that run.
        """
        actual = self._as_result()
        presets = {"ideal": Costs.ideal(), "sober": Costs(), "harsh": Costs.harsh()}
        own = next((name for name, preset in presets.items() if preset == actual.costs), None)
        if own is None:
            del presets["sober"]
        source = _source(actual)
        _touch(actual)
        results = {
            name: actual if name == own else source.otherwise(Changes(costs=costs))(progress)
            for name, costs in presets.items()
        }
        if own is None:
            results = {"ideal": results["ideal"], ACTUAL: actual, "harsh": results["harsh"]}
        return SideBySide(
            results,
            heading=f"{_name(actual)} under ideal, {own if own == 'sober' else 'its own'} and harsh costs",
            filled=("ideal", "harsh"),
        )


def _beside(actual: "Result", changes: Mapping[str, Changes], progress: bool | None) -> SideBySide:
    source = _source(actual)
    _touch(actual)
    # All are checked before the first is run.
    runs = {label: source.otherwise(one) for label, one in changes.items()}
    results = {ACTUAL: actual} | {label: run(progress) for label, run in runs.items()}
    return SideBySide(results, heading=f"{_name(actual)}: what if")


def _name(actual: "Result") -> str:
    return " + ".join(actual.strategy_names)


def _source(actual: "Result") -> "Source":
    if actual._source is None:
        raise SessionError(
            "this result does not know where its run can be had again from (it came from another process, or was made "
            "of records alone): run it here, with qf.backtest(...)"
        )
    return actual._source


def _touch(actual: "Result") -> None:
    """Read what the run has by now: a session may go on while it is played again."""
    _ = actual.metrics
