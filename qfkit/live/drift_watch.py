"""A session's figures beside what its backtest lets expect, kept as the session goes, and the stop that hangs on them."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from qfkit.core.snapshot import DriftView
from qfkit.core.wording import percent, share
from qfkit.resampling.expectation import Expectation
from qfkit.resampling.totals import RunTotals

__all__ = ["DriftWatch", "StopKind", "Verdict", "forgotten"]

StopKind = Literal["pause", "flatten"]

_META = "expected"


class Verdict(msgspec.Struct, frozen=True):
    """Why the stop rule acts: in words, what was seen, and the bound it left."""

    text: str
    value: float
    bound: float


class DriftWatch:
    """The totals of one session and, once it was told what to expect, where they stand; on the session's thread.

    ``level``: how much of the samples the bands hold; ``stop`` acts where the return or the drawdown is as far out as
    ``stop_level`` of the samples, once.
    """

    def __init__(self, starting_cash: float) -> None:
        self.totals = RunTotals(starting_cash)
        self.expectation: Expectation | None = None
        self.stop: StopKind | None = None
        self._level = 0.9
        self._stop_level = 0.01
        self._is_spent = False
        self._is_mute = False
        self._looked = -1
        self._shown: tuple[tuple[int, ...], DriftView] | None = None

    def expect(self, expectation: Expectation, stop: StopKind | None, level: float, stop_level: float) -> None:
        """From now on hold the totals against this."""
        self.expectation, self.stop, self._level, self._stop_level = expectation, stop, level, stop_level
        self._is_spent = self._is_mute = False
        self._looked = -1
        self._shown = None

    def as_meta(self) -> dict[str, Any]:
        """For the journal: that something was expected, for the bands themselves are not in it."""
        return {} if self.expectation is None else {_META: {"stop": self.stop, "level": self._stop_level}}

    def view(self) -> DriftView | None:
        """Where the session stands; made anew only where something came."""
        if self.expectation is None:
            return None
        totals = self.totals
        state = (totals.periods, totals.trades, totals.fills)
        if self._shown is None or self._shown[0] != state:
            self._shown = state, self.expectation.view(totals, self._level, self._stop_text)
        return self._shown[1]

    @property
    def _stop_text(self) -> str:
        if self.stop is None:
            return ""
        verb = "pauses" if self.stop == "pause" else "flattens"
        spent = "; it has acted" if self._is_spent else ""
        return f"{verb} at the outer {self._stop_level * 100.0:g} % of return or drawdown{spent}"

    def look(self) -> Verdict | None:
        """Why the session is to be stopped now; None where it is not. Told once."""
        totals, expectation = self.totals, self.expectation
        if self.stop is None or expectation is None or self._is_spent or totals.periods == self._looked:
            return None
        self._looked = totals.periods
        if not expectation.can_tell(totals.periods):
            return None
        least = expectation.bound("total_return", totals.periods, self._stop_level)
        most = expectation.bound("max_drawdown", totals.periods, 1.0 - self._stop_level)
        done = "the session is paused" if self.stop == "pause" else "the session is closed and held flat"
        stretches = f"the backtest's resampled stretches of {totals.periods:,} periods"
        all_but = f"which {(1.0 - self._stop_level) * 100.0:g} % of {stretches} are"
        if totals.total_return < least:
            text = f"return {percent(totals.total_return)} is below {percent(least)}, {all_but} above: {done}"
            found = Verdict(text, totals.total_return, least)
        elif totals.max_drawdown > most:
            text = f"drawdown {share(totals.max_drawdown)} is beyond {share(most)}, {all_but} below: {done}"
            found = Verdict(text, totals.max_drawdown, most)
        else:
            return None
        self._is_spent = True
        self._shown = None
        return found

    def ends(self) -> str:
        """What to say once when the session has become longer than what was reckoned, "" else: no stop acts any more."""
        if self.stop is None or self.expectation is None or self._is_mute or self._is_spent:
            return ""
        if self.totals.periods <= self.expectation.longest:
            return ""
        self._is_mute = True
        return (
            f"the session is longer than the {self.expectation.longest:,} periods that its backtest speaks of: its stop "
            "rule acts no more; call session.expect(result) with a longer backtest"
        )


def forgotten(meta: Mapping[str, Any]) -> list[str]:
    """What to warn of where a session that was told what to expect goes on without it."""
    expected = meta.get(_META)
    if not expected:
        return []
    stop = f", stop={expected['stop']!r}" if expected.get("stop") else ""
    return [f"a journal cannot hold what was expected of the session: call session.expect(result{stop}) again"]
