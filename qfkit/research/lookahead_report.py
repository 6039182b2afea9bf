"""What :func:`~qfkit.check_lookahead` found."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from qfkit.errors import StrategyError

if TYPE_CHECKING:
    import pandas

__all__ = ["Finding", "LookaheadReport"]

Kind = Literal["decision", "indicator", "attribute", "variable", "error"]


class Finding(msgspec.Struct, frozen=True):
    """Something that was not the same at ``time_ns`` once the bars after ``cut_ns`` were ``how``: cut off or others.

    ``kind`` is "decision", "indicator", "attribute" (a number or word that the strategy keeps), "variable" (of a
    signal function, or an array that the strategy keeps: it shows where a leak comes from), or "error" (without those
    bars the strategy raised). ``with_future`` is the value over all of the data, ``without`` the other one. It used a
    bar at least ``bars_ahead`` bars after its own.
    """

    time_ns: int
    strategy: str
    symbol: str
    kind: Kind
    name: str
    with_future: float | str
    without: float | str
    cut_ns: int
    how: str
    bars_ahead: int

    @property
    def where(self) -> str:
        """``trend, AAPL``"""
        return ", ".join(filter(None, (self.strategy, self.symbol)))


class LookaheadReport:
    """What :func:`~qfkit.check_lookahead` found; true where it is clean.

    ``findings`` are what saw too much, by time; ``unseen`` says in words what could not be looked into, such as a
    model fitted before the check. ``hints``, which are not in the verdict, are variables of a signal function that depend
    on the future while no decision was seen to change. ``points`` is the number of moments at which the future was changed.
    """

    def __init__(
        self,
        findings: Sequence[Finding],
        unseen: Sequence[str],
        *,
        hints: Sequence[Finding] = (),
        strategies: Sequence[str],
        points: int,
        span: tuple[int, int],
        tolerance: float,
    ) -> None:
        order = {"indicator": 0, "variable": 1, "attribute": 2, "decision": 3, "error": 4}
        self.findings = tuple(sorted(findings, key=lambda one: (one.time_ns, order[one.kind], one.cut_ns)))
        self.unseen = tuple(unseen)
        self.hints = tuple(hints)
        self.strategies = tuple(strategies)
        self.points = points
        self.span = span
        self.tolerance = tolerance

    @property
    def is_clean(self) -> bool:
        """Whether nothing saw too much, and nothing was left that could not be looked into."""
        return not self.findings and not self.unseen

    def __bool__(self) -> bool:
        return self.is_clean

    @property
    def verdict(self) -> Literal["clean", "looks ahead", "not proven"]:
        return "looks ahead" if self.findings else "not proven" if self.unseen else "clean"

    @property
    def first(self) -> Finding | None:
        """The first bar that saw too much, of those looked at; of what differs there the one nearest to the cause."""
        return self.findings[0] if self.findings else None

    @property
    def names(self) -> tuple[str, ...]:
        """What saw too much, by the first time that each did."""
        return tuple(dict.fromkeys(one.name for one in self.findings))

    @property
    def table(self) -> "pandas.DataFrame":
        """One row a finding, indexed by the time of the bar: the fields of :class:`Finding`, times as timestamps."""
        import pandas

        columns = ("strategy", "symbol", "kind", "name", "with_future", "without", "cut", "how", "bars_ahead")
        rows = [
            (
                one.strategy,
                one.symbol,
                one.kind,
                one.name,
                one.with_future,
                one.without,
                one.cut_ns,
                one.how,
                one.bars_ahead,
            )
            for one in self.findings
        ]
        index = pandas.DatetimeIndex([one.time_ns for one in self.findings], name="time", dtype="datetime64[ns]")
        frame = pandas.DataFrame(rows, columns=list(columns), index=index.tz_localize("UTC"))
        frame["cut"] = pandas.to_datetime(frame["cut"].astype("int64"), utc=True)
        kinds = dict.fromkeys(("strategy", "symbol", "kind", "name", "how"), "str")
        return frame.astype({**kinds, "with_future": object, "without": object, "bars_ahead": "int64"})

    def raise_if_leaking(self) -> None:
        """Raise :class:`~qfkit.errors.StrategyError` that says what saw too much, where anything did."""
        if self.findings:
            raise StrategyError(repr(self))

    def __repr__(self) -> str:
        from qfkit.views.check_text import lookahead_text

        return lookahead_text(self)

    def _repr_html_(self) -> str:
        from qfkit.views.check_text import lookahead_html

        return lookahead_html(self)
