"""A session is told what its backtest lets one expect, and asked whether it is so still."""

import concurrent.futures
from typing import TYPE_CHECKING, Self

import msgspec

from qfkit.core.events import Flatten, Pause
from qfkit.errors import ParameterError, SessionError, did_you_mean
from qfkit.feeds.base import Feed
from qfkit.live.drift_watch import StopKind
from qfkit.live.pipeline import Pipeline
from qfkit.live.plan import SessionPlan
from qfkit.live.runner import run, runner
from qfkit.resampling.drift import Drift
from qfkit.resampling.expectation import Expectation
from qfkit.result import Result

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Expecting"]

_STOPS = ("pause", "flatten")


class Expecting:
    """The part of a session that holds it against its backtest."""

    name: str
    feed: Feed
    _pipeline: Pipeline
    _plan: SessionPlan
    _future: "concurrent.futures.Future[None] | None"
    _now_ns: "Callable[[], int]"

    def expect(
        self,
        result: Result,
        *,
        stop: StopKind | None = None,
        level: float = 0.01,
        band: float = 0.9,
        samples: int = 1_000,
        seed: int = 0,
    ) -> Self:
        """Tell the session its backtest, running or not: the dashboard shows whether it is so still, and
        :meth:`drift` tells.

        - ``result``: a backtest of the same strategies on bars of the same timeframe; it is resampled once, here.
        - ``stop``: where the return is below, or the drawdown beyond, what all but ``level`` of the stretches of the
          same length have, "pause" or "flatten" the session, as its own method of that name would: a command in the
          journal. It acts once, with an alert; ``expect`` again arms it again. It is looked at at every bar, so that
          a session that is true to its backtest is stopped oftener than ``level``: the message says how often.
        - ``band``: how much of the samples the bands hold; ``samples`` and ``seed`` of the bootstrap.

        A session that is resumed must be told again. Raises :class:`ParameterError` for a result that is no backtest
        of this, :class:`DataError` for one that is too short.
        """
        if stop is not None and stop not in _STOPS:
            raise ParameterError(f"stop={stop!r}: the session can be paused or flattened.{did_you_mean(stop, _STOPS)}")
        if not isinstance(level, int | float) or not 0.0 < level < 0.5:
            raise ParameterError(f"level={level!r}: it is the share of the samples beyond the stop, such as 0.01")
        _check_band(band)
        expectation = self._expectation(result, samples, seed)
        pipeline, watch = self._pipeline, self._pipeline.watch
        if stop is not None and pipeline.state in ("created", "running"):
            pipeline.alerts.open_sinks()

        def told() -> None:
            watch.expect(expectation, stop, band, level)
            if stop is not None:
                often = expectation.false_stops(level)
                pipeline.say(
                    pipeline.said_ns(),
                    "info",
                    f"told what to expect: {stop} where return or drawdown leave all but {level * 100.0:g} % of "
                    f"{expectation.samples:,} samples; {often * 100.0:.0f} % of them would be stopped themselves "
                    f"within {expectation.longest:,} periods",
                )
            if pipeline.writer is not None:
                pipeline.write_meta(watch.as_meta())
                pipeline.show()
            else:
                # Of a session that has ended the rest stays as it was seen last.
                pipeline.snapshot = msgspec.structs.replace(pipeline.snapshot, drift=watch.view())

        self._between_batches(told)
        return self

    def drift(self, result: Result | None = None, *, level: float = 0.9, samples: int = 1_000, seed: int = 0) -> Drift:
        """Are the figures so far inside what the backtest's own resampling says of a stretch as long?

        ``result`` None takes what :meth:`expect` was told. ``level`` is how much of the samples a band holds. The
        answer is one look: its ``verdict`` counts a stretch as outside that is rarer than one in a hundred in any
        figure.
        """
        _check_band(level)
        known = self._pipeline.watch.expectation
        if result is not None:
            known = self._expectation(result, samples, seed)
        elif known is None:
            raise SessionError("drift() against what? session.drift(result), or session.expect(result) once before")
        expectation, watch = known, self._pipeline.watch
        views = []
        self._between_batches(lambda: views.append(expectation.view(watch.totals, level)))
        return Drift(views[0], expectation)

    def _expectation(self, result: Result, samples: int, seed: int) -> Expectation:
        if not isinstance(result, Result):
            raise ParameterError(f"{type(result).__name__} is no result: give what qf.backtest(...) returned")
        timeframe = self._plan.timeframe or self.feed.timeframe or "1m"
        if result.timeframe != timeframe:
            raise ParameterError(
                f"the backtest has bars of {result.timeframe!r} and the session of {timeframe!r}: their periods cannot be "
                f"compared; backtest on bars of {timeframe!r}"
            )
        own, theirs = set(self._pipeline.engine.symbols), set(result.symbols)
        if own and theirs and not own & theirs:
            raise ParameterError(
                f"the backtest is of {', '.join(sorted(theirs))}, the session of {', '.join(sorted(own))}: "
                "nothing in common"
            )
        return Expectation(
            result.metrics,
            result._equity.account,
            result._equity.times_ns,
            result.records.trades,
            result.records.fills,
            samples=samples,
            seed=seed,
        )

    def _between_batches(self, call: "Callable[[], None]") -> None:
        if self._future is None or self._future.done() or runner.is_this_thread:
            call()
            return

        async def apply() -> None:
            call()

        run(apply())

    def _heed_drift(self) -> None:
        """After a batch, on the runner: where the stop rule acts, give the command that a person would give."""
        pipeline, watch = self._pipeline, self._pipeline.watch
        if watch.stop is None or pipeline.writer is None:
            return
        if ended := watch.ends():
            pipeline.say(pipeline.engine.clock_ns, "warning", ended)
        verdict = watch.look()
        if verdict is None:
            return
        now_ns = self._now_ns()
        pipeline.alerts.tell("drift", "Drift", now_ns, verdict.text, verdict.value, verdict.bound)
        pipeline.command(Pause(now_ns, None) if watch.stop == "pause" else Flatten(now_ns, None))


def _check_band(level: float) -> None:
    if not isinstance(level, int | float) or not 0.0 < level < 1.0:
        raise ParameterError(f"{level!r} of the samples in a band: it is a fraction such as 0.9")
