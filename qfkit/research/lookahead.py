"""The look-ahead check: the future is cut off and changed at many moments, and nothing before may differ."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from qfkit.errors import DataError, ParameterError
from qfkit.research.futures import CUT, OTHERWISE, Cut, Variant, read_history
from qfkit.research.lookahead_report import Finding, Kind, LookaheadReport
from qfkit.research.outside import Outside, look_outside
from qfkit.research.reached import Reached
from qfkit.research.subjects import (
    Maker,
    RuleSubject,
    RunSubject,
    engine_settings,
    quiet,
    raise_unrunnable,
    spread,
    subjects_of,
)
from qfkit.research.tracks import Observation, Track, first_difference, shown
from qfkit.run_progress import RunProgress

__all__ = ["check_lookahead"]

# A run to one moment is a run to each before it: for who has nothing but what the engine gives, few are enough.
_POINTS_OF_THE_DEAF = 6


def check_lookahead(
    strategy: object,
    data: object,
    *,
    points: int = 40,
    seed: int = 0,
    tolerance: float = 1e-9,
    trusted: Collection[str] = (),
    timeframe: str | None = None,
    symbols: str | Sequence[str] | None = None,
    progress: bool | None = None,
    **settings: Any,
) -> LookaheadReport:
    """Find out whether a strategy uses what it could not have known, and what in it does, at which bar first.

    At many moments what comes after is cut off, and then replaced by other prices and volumes; what the strategy
    decides up to there, and every indicator on the way to it, must be the same as over all of the data. Cutting shows what
    depends on how the data go on or end (``shift(-1)``, a centred window, a mean of the whole); replacing shows it where
    a short frame is treated in its own way. Half of the moments are spread evenly, half are the strategy's own decisions.

    - ``strategy``: what ``qf.backtest`` takes: a class, an instance, ``@qf.signal``, a list or a dict of them. Or **a
      function that makes one from the data**, ``check_lookahead(lambda bars: trend(level=fit(bars)), bars)``: whatever is
      fitted, scaled or computed beforehand belongs inside it, for only then is it done again on the data cut off.
    - ``data``: as for ``qf.backtest``. A recording is read into memory.
    - ``points``: at how many moments, for each strategy (and, of a signal function, each symbol). ``seed`` moves them
      a little, and makes the other futures; the same seed gives the same report.
    - ``tolerance``: numbers are the same within so much of the larger of both, or of what is usual for them: a rolling
      sum over another length may differ in its last digits (1e-15 or so), what looks ahead differs by far more.
    - ``trusted``: names of globals, columns and functions that the report calls unseen, and that you vouch for.
    - ``timeframe``, ``symbols`` and the ``settings`` cash, costs, risk, sizer, filters, margin, currency: as for ``qf.backtest``.

    What is seen: everything computed in a signal function, or in the function that makes the strategy. The engine shows a
    :class:`~qfkit.Strategy` closed bars only; what it reaches besides (globals, closures, class attributes, defaults, in
    functions of yours too) is looked for in its code: a frame, Series, array or list there that holds the data is cut and
    replaced in its place for the time of each run, and class attributes, globals and ``lru_cache`` are put back after it.

    What cannot be seen, and is told by name in ``report.unseen``: how a column, Series or model that was made before
    the check came about (its rows are cut, not made again), data that the strategy reads from files or the network itself,
    and decisions that differ from run to run. A variable of a signal function that depends on the future while no decision
    was seen to change is in ``report.hints``: a label that a model learns from may, a threshold may not. A number kept from before is found where it is a plain statistic of the data
    (their mean, highest, last); a slope, or a parameter chosen because it did well here, no machine can tell from any other.

    The trap: while it runs, globals of the strategy hold other data for moments; a session in this process that uses
    the same globals would see them.

    Raises :class:`StrategyError` where the strategy raises over all of the data, :class:`ParameterError` and
    :class:`DataError` for what cannot be run on.
    """
    if isinstance(points, bool) or not isinstance(points, int) or points < 1:
        raise ParameterError(f"points={points!r}: give at how many moments the future is changed, 1 or more")
    if not 0.0 < tolerance < 1.0:
        raise ParameterError(f"tolerance={tolerance!r}: it is a small fraction, such as 1e-9")
    if isinstance(trusted, str):
        raise ParameterError(f"trusted={trusted!r}: give a list of names, [{trusted!r}]")
    own_settings = engine_settings(settings, timeframe)
    maker = Maker(strategy)
    history = read_history(data, timeframe, symbols)
    if maker.builder is not None and history.columns is None:
        raise ParameterError(
            "a function that makes the strategy needs bars, as a DataFrame or a dict of them: "
            f"a {type(data).__name__} of events is given to no function"
        )
    if len(history.events) < 3:
        raise DataError(f"{len(history.events)} bars are too few to cut: give at least 3")
    named = maker.make(history.given)
    outside = look_outside({name: type(one) for name, one in named.items()}, maker.builder)
    reached = Reached(outside, history, trusted, has_builder=maker.builder is not None)
    if maker.builder is None:
        for name, one in named.items():
            reached.look_at_parameters(name, one.parameters)
    subjects = subjects_of(maker, named, history, own_settings)
    findings: list[Finding] = []
    unseen = list(reached.unseen)
    hints: list[Finding] = []
    looked_at = 0
    with RunProgress("look-ahead check", len(subjects) * (points + 2), shown=progress, unit="moments") as bar:
        try:
            for number, subject in enumerate(subjects):
                chance = np.random.default_rng([seed, number])
                check = _Check(subject, outside, reached, seed, tolerance)
                check.begin()
                for place, cut in enumerate(check.moments(points, chance)):
                    check.look_at(cut, OTHERWISE[place % 2])
                    bar.update(number * (points + 2) + place + 2)
                check.look_earlier()
                looked_at += len(check.looked_at)
                findings += check.findings
                unseen += check.unseen
                hints += [one for name, one in check.hints.items() if name not in {own.name for own in check.findings}]
        finally:
            outside.reset()
    times_ns = [event.received_ns for event in (history.events[0], history.events[-1])]
    return LookaheadReport(
        findings,
        unseen,
        hints=[one for one in hints if one.name not in trusted],
        strategies=list(named),
        points=looked_at,
        span=(times_ns[0], times_ns[1]),
        tolerance=tolerance,
    )


class _Check:
    """One strategy, or one symbol of a signal function."""

    def __init__(
        self, subject: RunSubject | RuleSubject, outside: Outside, reached: Reached, seed: int, tolerance: float
    ) -> None:
        self.subject = subject
        self.findings: list[Finding] = []
        self.unseen: list[str] = []
        self.hints: dict[str, Finding] = {}
        self.looked_at: set[int] = set()
        self._outside = outside
        self._reached = reached
        self._seed = seed
        self._tolerance = tolerance
        # Whom only the engine gives data to.
        self._is_deaf = isinstance(subject, RunSubject) and not reached and subject.has_no_builder

    def begin(self) -> None:
        """Run over all of the data, twice: what is not the same then says nothing about the future."""
        subject = self.subject
        self.whole = self._observe(subject.whole)
        raise_unrunnable(subject.name, self.whole, "all of the data")
        with quiet():
            again = self._observe(subject.whole)
        end = 2**62
        self._unsteady = {
            key
            for key, track in self.whole.tracks.items()
            if key not in again.tracks or first_difference(track, again.tracks[key], end, self._tolerance) is not None
        } | {key for key in again.tracks if key not in self.whole.tracks}
        # What is kept on the side, a time of the clock say, harms nobody; what decides does.
        unsteady = [key for key in self._unsteady if key[0] != "attribute"]
        if unsteady:
            what = ", ".join(dict.fromkeys(name for _, _, name in unsteady))
            self.unseen.append(
                f"{subject.name}: two runs over the same data differ in {what}, so nothing can be said about them; seed random "
                "numbers in on_start or in the function itself, and keep nothing from run to run"
            )
        self._decided = self._decision_steps()

    def _observe(self, variant: Variant) -> Observation:
        self._outside.reset()
        with self._outside.replaced(self._reached.change(variant)):
            return self.subject.observe(variant)

    def _decision_steps(self) -> list[int]:
        steps: set[int] = set()
        for (kind, _, _), track in self.whole.tracks.items():
            if kind != "decision":
                continue
            if isinstance(track.values, np.ndarray):
                known = np.flatnonzero(~np.isnan(track.values))
                values = track.values[known]
                turns = np.flatnonzero(np.diff(values, prepend=0.0) != 0.0)
                steps.update(track.steps[known[turns]].tolist())
            else:
                steps.update(track.steps.tolist())
        return sorted(steps)

    def moments(self, points: int, chance: np.random.Generator) -> list[Cut]:
        """Half spread evenly, half at decisions, or one bar before; fewer where there are no more."""
        points = min(points, _POINTS_OF_THE_DEAF) if self._is_deaf else points
        cuts = self.subject.cuts
        at = {cut.step: place for place, cut in enumerate(cuts[:-1])}
        steps = np.array(list(at), dtype=np.int64)
        own = [int(np.searchsorted(steps, step)) for step in self._decided]
        own = [place for place in own if place < len(steps)]
        if len(own) > points // 2:
            own = [own[int(number)] for number in np.linspace(0, len(own) - 1, points // 2)]
        places = {max(place - number % 2, 0) for number, place in enumerate(own)}
        places |= set(spread(cuts, max(points - len(places), 1), chance))
        return [cuts[place] for place in sorted(places)]

    def look_at(self, cut: Cut, otherwise: str) -> list[Finding]:
        """Cut the future off, and replace it: the same thing for whom only the engine gives data to."""
        self.looked_at.add(cut.step)
        found: list[Finding] = []
        for how in (CUT,) if self._is_deaf else (CUT, otherwise):
            variant = Variant(self.subject.history, cut, how, self._seed)
            with quiet():
                seen = self._observe(variant)
            found += self._differences(seen, cut, how)
        self.findings += found
        return found

    def look_earlier(self) -> None:
        """From the first finding back, by halves, to the first bar that there is."""
        steps = [self._step_of(one) for one in self.findings if one.kind != "error"]
        if not steps:
            return
        cuts = self.subject.cuts
        low, high = 0, int(np.searchsorted([cut.step for cut in cuts], min(steps)))
        while high - low > 1:
            middle = (low + high) // 2
            found = self.look_at(cuts[middle], OTHERWISE[middle % 2])
            if any(one.kind != "error" for one in found):
                high = min(middle, int(np.searchsorted([cut.step for cut in cuts], min(map(self._step_of, found)))))
            else:
                low = middle

    def _step_of(self, finding: Finding) -> int:
        cuts = self.subject.cuts
        place = int(np.searchsorted([cut.until_ns for cut in cuts], finding.time_ns))
        return cuts[min(place, len(cuts) - 1)].step

    # -- differences -------------------------------------------------------------------------

    def _differences(self, seen: Observation, cut: Cut, how: str) -> list[Finding]:
        found: list[Finding] = []
        for key in dict.fromkeys((*self.whole.tracks, *seen.tracks)):
            if key in self._unsteady:
                continue
            one, other = self.whole.tracks.get(key), seen.tracks.get(key)
            if one is None or other is None:
                if key[0] != "decision" or seen.raised is not None:
                    continue
                one, other = one or _empty(other), other or _empty(one)
            finding = self._difference(one, other, cut, how, cut.step)
            if finding is not None:
                found.append(finding)
        raised = seen.raised
        # One that decided nothing yet may just need a certain length.
        if raised is not None and any(step <= cut.step for step in self._decided):
            kind = type(raised.error.__cause__ or raised.error).__name__
            name, symbol = self.subject.name, self.subject.symbol
            found.append(Finding(cut.until_ns, name, symbol, "error", kind, "ran", raised.text, cut.until_ns, how, 1))
        if seen.raised is None or found:
            source = self._source(seen, cut, how, min(found, key=lambda one: one.time_ns, default=None))
            if source is not None and found:
                found.append(source)
            elif source is not None:
                self.hints.setdefault(source.name, source)
        return found

    def _difference(self, one: Track, other: Track, cut: Cut, how: str, until: int) -> Finding | None:
        difference = first_difference(one, other, until, self._tolerance)
        if difference is None:
            return None
        step, time_ns, ahead, with_future, without = difference
        if one.kind != "variable":
            bars = self.whole.bar_steps
            own = [bars[one.symbol]] if one.symbol in bars else bars.values()
            ahead = max((int(np.count_nonzero((steps > step) & (steps <= cut.step))) for steps in own), default=0) + 1
        kind: Kind = one.kind  # type: ignore[assignment]
        return Finding(
            time_ns,
            self.subject.name,
            one.symbol or self.subject.symbol,
            kind,
            one.name,
            _plain(with_future),
            _plain(without),
            cut.until_ns,
            how,
            ahead,
        )

    def _source(self, seen: Observation, cut: Cut, how: str, earliest: Finding | None) -> Finding | None:
        """The first variable that differs: one a bar rather than any other, for a day that is not over differs rightly.

        Without a finding to explain, such a variable, or one number for all bars, is worth a look.
        """
        candidates = []
        for key, one in self.whole.variables.items():
            other = seen.variables.get(key)
            finding = None if other is None else self._difference(one, other, cut, how, cut.label_ns)
            if finding is None:
                continue
            if len(one.steps) == 1:
                time_ns = cut.until_ns if earliest is None else earliest.time_ns
                ahead = 1 if earliest is None else earliest.bars_ahead
                candidates.append((1, replace(finding, time_ns=time_ns, bars_ahead=ahead)))
            else:
                time_ns = finding.time_ns + cut.until_ns - cut.label_ns
                candidates.append((0 if len(one.steps) == self._bars else 2, replace(finding, time_ns=time_ns)))
        rank, source = min(candidates, key=lambda pair: pair[0], default=(2, None))
        return None if earliest is None and rank == 2 else source

    @property
    def _bars(self) -> int:
        return max(map(len, self.whole.bar_steps.values()), default=0)


def _empty(track: Track | None) -> Track:
    assert track is not None
    nothing = np.empty(0, dtype=np.int64)
    return Track(track.kind, track.symbol, track.name, nothing, nothing, [])


def _plain(value: object) -> float | str:
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    return float(value) if isinstance(value, int | float | np.number) else shown(value)
