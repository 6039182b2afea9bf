"""How many periods a year has, read from the times of the equity points themselves."""

from math import nan
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["Annualisation", "RunningTimes", "infer_annualisation"]

Times: TypeAlias = NDArray[np.int64]

_SECOND_NS = 1_000_000_000
_HOUR_NS = 3_600 * _SECOND_NS
_DAY_NS = 24 * _HOUR_NS
_YEAR_NS = 365.25 * _DAY_NS

_TRADING_DAYS = 252
_CALENDAR_DAYS = 365
_WEEKS = 52
# Of more different steps than this the later ones are kept within 0.1 %.
_MOST_STEPS = 4_096
_KEPT_BITS = 10
# Steps this long are of days or more.
_OF_DAYS_NS = 0.8 * _DAY_NS
# A break this long inside intraday data closes a session: longer than any lunch break, shorter
# than the eight hours between one extended New York session and the next.
_BREAK_NS = 4 * _HOUR_NS
# Open for more than this share of the time is open around the clock, with outages.
_AROUND_THE_CLOCK = 0.9
# Fewer points than this around the clock mean that quiet periods have none.
_COMPLETE = 0.98
# A count observed over a year or more replaces the usual one where it departs by more than this:
# New York's 251.5 days a year, Tokyo's 245 and a plain Monday to Friday's 261 all stay 252.
_DEPARTURE = 0.04
# (open, close) in hours of New York time: the regular session and the extended one.
_NEW_YORK_SESSIONS = ((9.5, 16.0), (4.0, 20.0))
_NEW_YORK_BEHIND_UTC_HOURS = (4.0, 5.0)
_SESSION_TOLERANCE_HOURS = 1.0 / 3.0
_USUAL_STEPS = ((7.0, 52.0, "weekly"), (30.4375, 12.0, "monthly"), (91.3125, 4.0, "quarterly"), (365.25, 1.0, "yearly"))


class Annualisation(msgspec.Struct, frozen=True):
    """Periods a year, and the assumption behind them in words. NaN periods: not annualised.

    ``days_per_year`` are days on which the market is open.
    """

    periods_per_year: float
    assumption: str
    days_per_year: float = nan

    @property
    def periods_per_day(self) -> float:
        """Periods in a day on which the market is open; less than 1 where a period is longer."""
        return self.periods_per_year / self.days_per_year


def infer_annualisation(times_ns: Times) -> Annualisation:
    """Read the periods a year from the times (UTC ns, ascending, each the end of its period).

    The typical step is the median difference. Then:

    - steps of about a day: 252 a year if at most five days of the week have points, else 365;
    - steps of a week, month, quarter or year: 52, 12, 4 or 1;
    - shorter steps without a break of four hours, or open for more than 90 % of the time: around
      the clock, 365 days of as many points as a day has here;
    - shorter steps with breaks: the median number of points in a session, times 252 sessions a
      year (365 if they fall on more than five days of the week, 52 if they last a week). A
      single stretch that runs from open to close of the New York session, regular or extended,
      on one weekday is such a session;
    - where the times span a year or more and the points counted in them depart from the above
      by more than 4 %, the count is taken instead.
    """
    if len(times_ns) < 3:
        return _TOO_FEW
    steps = np.diff(times_ns)
    at = np.flatnonzero(steps >= _BREAK_NS)
    return _annualisation(
        _Spacing(
            count=len(times_ns),
            first_ns=int(times_ns[0]),
            last_ns=int(times_ns[-1]),
            step_ns=float(np.median(steps)),
            per_weekday=np.bincount((times_ns // _DAY_NS) % 7, minlength=7),
            breaks=np.column_stack((at, times_ns[at], times_ns[at + 1])),
        )
    )


class _Spacing(msgspec.Struct, frozen=True):
    """What the times say. A row of ``breaks``: the index of the last point before a step of four hours
    or more, its time, and the time of the point after."""

    count: int
    first_ns: int
    last_ns: int
    step_ns: float
    per_weekday: Times
    breaks: Times


class RunningTimes:
    """The times of a run as they come: the same answer as :func:`infer_annualisation` of them all.

    O(1) a point. It keeps each different step, and each break of four hours or more, of which there
    are at most six a day.
    """

    __slots__ = ("_breaks", "_steps", "_weekdays", "count", "first_ns", "last_ns")

    def __init__(self) -> None:
        self.count = 0
        self.first_ns = 0
        self.last_ns = 0
        self._steps: dict[int, int] = {}
        self._weekdays = [0] * 7
        self._breaks: list[tuple[int, int, int]] = []

    def update(self, time_ns: int) -> None:
        """Take the time of the next point in."""
        if self.count:
            step = time_ns - self.last_ns
            if step >= _BREAK_NS:
                self._breaks.append((self.count - 1, self.last_ns, time_ns))
            if step not in self._steps and len(self._steps) >= _MOST_STEPS:
                bits = max(step.bit_length() - _KEPT_BITS, 0)
                step = step >> bits << bits
            self._steps[step] = self._steps.get(step, 0) + 1
        else:
            self.first_ns = time_ns
        self._weekdays[time_ns // _DAY_NS % 7] += 1
        self.last_ns = time_ns
        self.count += 1

    def annualisation(self) -> Annualisation:
        """How a year is reckoned, as of the last point."""
        if self.count < 3:
            return _TOO_FEW
        step_ns = self._median()
        return _annualisation(
            _Spacing(
                count=self.count,
                first_ns=self.first_ns,
                last_ns=self.last_ns,
                step_ns=step_ns,
                per_weekday=np.array(self._weekdays, dtype=np.int64),
                # Of steps of a day there is nothing to break.
                breaks=np.array(self._breaks if step_ns < _OF_DAYS_NS else [], dtype=np.int64).reshape(-1, 3),
            )
        )

    def _median(self) -> float:
        lower, upper = (self.count - 2) // 2, (self.count - 1) // 2
        passed, found = 0, 0.0
        for step in sorted(self._steps):
            after = passed + self._steps[step]
            found += step / 2.0 * ((passed <= lower < after) + (passed <= upper < after))
            passed = after
        return found


def _annualisation(spacing: _Spacing) -> Annualisation:
    step_ns = spacing.step_ns
    span_ns = float(spacing.last_ns - spacing.first_ns)
    if step_ns <= 0.0:
        return Annualisation(float("nan"), "not annualised: the equity points have no distinct times")
    if step_ns >= _OF_DAYS_NS:
        usual, text, days = _of_days(spacing)
    else:
        usual, text, days = _within_days(spacing)
    if span_ns >= _YEAR_NS - _DAY_NS:
        observed = (spacing.count - 1) / (span_ns / _YEAR_NS)
        if abs(observed / usual - 1.0) > _DEPARTURE:
            years = span_ns / _YEAR_NS
            usual, text = observed, f"equity points every {_step_text(step_ns)} as counted over {years:.1f} years"
    return Annualisation(
        usual, f"annualised with {usual:,.1f} periods a year: {text}".replace(".0 periods", " periods"), days
    )


_TOO_FEW = Annualisation(float("nan"), "not annualised: fewer than three equity points")


def _of_days(spacing: _Spacing) -> tuple[float, str, float]:
    step_ns = spacing.step_ns
    if step_ns < 1.5 * _DAY_NS:
        if _days_of_week(spacing) > 5:
            return float(_CALENDAR_DAYS), "daily equity points, all week", _CALENDAR_DAYS
        return float(_TRADING_DAYS), "daily equity points on weekdays", _TRADING_DAYS
    for days, periods, name in _USUAL_STEPS:
        if abs(step_ns / (days * _DAY_NS) - 1.0) < 0.1:
            return periods, f"{name} equity points", _TRADING_DAYS
    return _YEAR_NS / step_ns, f"equity points every {_step_text(step_ns)}", _TRADING_DAYS


def _within_days(spacing: _Spacing) -> tuple[float, str, float]:
    step_ns = spacing.step_ns
    every = f"equity points every {_step_text(step_ns)}"
    breaks = spacing.breaks[spacing.breaks[:, 2] - spacing.breaks[:, 1] >= 1.5 * step_ns]
    counts = np.diff(np.concatenate(([-1], breaks[:, 0], [spacing.count - 1])))
    starts = np.concatenate(([spacing.first_ns], breaks[:, 2]))
    ends = np.concatenate((breaks[:, 1], [spacing.last_ns]))
    span_ns = float(spacing.last_ns - spacing.first_ns)
    open_ns = float(np.sum(ends - starts))
    if len(starts) == 1 and _is_new_york_session(spacing):
        periods = float(counts[0] * _TRADING_DAYS)
        return periods, f"{every}, {counts[0]:,} in a session, {_TRADING_DAYS} sessions", _TRADING_DAYS
    if len(starts) == 1 or open_ns >= _AROUND_THE_CLOCK * span_ns:
        nominal = _CALENDAR_DAYS * _DAY_NS / step_ns
        observed = (spacing.count - len(starts)) / open_ns * _CALENDAR_DAYS * _DAY_NS
        if observed < _COMPLETE * nominal:
            text = f"{every} with quiet ones left out, around the clock, {_CALENDAR_DAYS} days"
            return observed, text, _CALENDAR_DAYS
        return nominal, f"{every}, around the clock, {_CALENDAR_DAYS} days", _CALENDAR_DAYS
    in_session = float(np.median(counts)) if len(counts) > 2 else float(np.max(counts))
    if float(np.min(np.diff(starts))) > 5.0 * _DAY_NS:
        return in_session * _WEEKS, f"{every}, {in_session:,.0f} in a week, {_WEEKS} weeks", 5.0 * _WEEKS
    sessions = _CALENDAR_DAYS if _days_of_week(spacing) > 5 else _TRADING_DAYS
    return in_session * sessions, f"{every}, {in_session:,.0f} in a session, {sessions} sessions", sessions


def _days_of_week(spacing: _Spacing) -> int:
    """How many days of the week have points, a quarter of the busiest day's at least.

    The count does not care whether a day's point is stamped at its open, its close or its
    close in New York; the quarter leaves out sessions that reach into the next day.
    """
    return int(np.count_nonzero(spacing.per_weekday * 4 >= np.max(spacing.per_weekday)))


def _is_new_york_session(spacing: _Spacing) -> bool:
    """Whether one stretch runs from open to close of a New York session on a weekday."""
    for behind in _NEW_YORK_BEHIND_UTC_HOURS:
        opened, closed = (float(time_ns - int(behind * _HOUR_NS)) for time_ns in (spacing.first_ns, spacing.last_ns))
        days_since_1970 = opened // _DAY_NS
        first = (opened - spacing.step_ns - days_since_1970 * _DAY_NS) / _HOUR_NS
        last = (closed - days_since_1970 * _DAY_NS) / _HOUR_NS
        weekday = (int(days_since_1970) + 3) % 7
        for start, end in _NEW_YORK_SESSIONS:
            if weekday < 5 and max(abs(first - start), abs(last - end)) <= _SESSION_TOLERANCE_HOURS:
                return True
    return False


def _step_text(step_ns: float) -> str:
    for unit, unit_ns in (("day", _DAY_NS), ("hour", _HOUR_NS), ("minute", 60 * _SECOND_NS), ("second", _SECOND_NS)):
        if step_ns >= unit_ns:
            amount = step_ns / unit_ns
            return f"{amount:.3g} {unit}" + ("" if amount == 1.0 else "s")
    return f"{step_ns / 1e6:.3g} ms"
