"""Lines that can be crossed, and the crossings themselves.

``a.crossed_above(b)`` is true on the bar where the sign of a - b turns positive after having
last been negative. Bars of equality lie between: they are neither a crossing nor the loss of
one. Differences within 1e-12 of the values are equality, so that rounding makes no trades.
"""

from collections.abc import Sequence
from math import isfinite, nan
from numbers import Real
from typing import Any

from qfkit.errors import ParameterError

__all__ = ["Cross", "Line", "Output", "Watchers", "crossings_state", "drop_crossings", "restore_crossings"]

_EQUALITY = 1e-12
_MOST_LEVELS = 256


class Line:
    """A number that moves bar by bar, and that another line or a level can cross.

    ``value`` and ``previous`` (the value one bar before) are NaN while unknown.
    """

    __slots__ = ("_asked_crosses", "_crosses", "previous", "value")

    def __init__(self) -> None:
        self.value = nan
        self.previous = nan
        self._crosses: dict[Line | float, Cross] = {}
        self._asked_crosses: dict[Line | float, MixedCross] = {}

    @property
    def count(self) -> int:
        """How many values have come in."""
        return 0

    @property
    def watchers(self) -> "list[Cross] | None":
        """The crossings that the owner of this line settles after each bar; None where nobody does."""
        return None

    def crossed_above(self, other: "Line | float") -> bool:
        """Whether this line came above ``other`` (an indicator, one of its lines or a level) on this bar.

        In a strategy the answer does not depend on whether the question was put on every bar; an
        indicator that you update yourself has to be asked on every bar. The first question has
        only the bar before to compare with: asked for the first time right after an equality, or
        before both lines are ready, it answers False. A level is a fixed number: for a price that
        moves use :class:`Price`.
        """
        try:
            return self._crosses[other].above
        except (KeyError, TypeError):
            return self._find_cross(other).above

    def crossed_below(self, other: "Line | float") -> bool:
        """Whether this line came below ``other`` on this bar; see :meth:`crossed_above`."""
        try:
            return self._crosses[other].below
        except (KeyError, TypeError):
            return self._find_cross(other).below

    def _find_cross(self, other: "Line | float") -> "Cross":
        partner = other if isinstance(other, Line) else _level(other)
        key = other if isinstance(other, Line) else partner.value
        cross = self._crosses.get(key)
        if cross is not None:
            return cross
        mine = self.watchers
        theirs = mine if isinstance(partner, _Level) else partner.watchers
        asked = self._asked_crosses.pop(key, None)
        if asked is not None:
            asked.step()
        else:
            self._check_levels()
        if mine is None or theirs is None:
            if asked is None:
                asked = MixedCross(self, partner, known=mine is theirs)
            self._asked_crosses[key] = asked
            return asked
        if mine is theirs:
            cross = Cross(self, partner)
            if asked is not None:
                cross.restore(asked.state())
        else:
            cross = asked if asked is not None else MixedCross(self, partner, known=False)
            theirs.append(cross)
        mine.append(cross)
        self._crosses[key] = cross
        return cross

    def _check_levels(self) -> None:
        if len(self._crosses) + len(self._asked_crosses) >= _MOST_LEVELS:
            raise ParameterError(
                f"crossings with more than {_MOST_LEVELS} different numbers: a number that changes is no level; "
                "to cross a price with a line, make an indicator of the price: self.indicator(qf.Price)"
            )


class Output(Line):
    """A further line of an indicator with several, such as the signal line of a MACD."""

    __slots__ = ("indicator",)

    def __init__(self, indicator: Line) -> None:
        super().__init__()
        self.indicator = indicator

    @property
    def count(self) -> int:
        return self.indicator.count

    @property
    def watchers(self) -> "list[Cross] | None":
        return self.indicator.watchers

    def __repr__(self) -> str:
        return f"<line of {type(self.indicator).__name__}: {self.value:.8g}>"


class _Level(Line):
    __slots__ = ()

    def __init__(self, number: float) -> None:
        super().__init__()
        self.value = self.previous = number


def _level(number: object) -> _Level:
    if not isinstance(number, Real) or not isfinite(number):
        hint = ": take the one of a symbol, such as self.average[bar.symbol]" if isinstance(number, dict) else ""
        raise ParameterError(
            f"a crossing with {number!r}{hint or ': give an indicator, a line of one (macd.signal_line) or a number'}"
        )
    return _Level(float(number))


class Cross:
    """The crossings of one line with another. The owner of the lines calls ``step`` once a bar."""

    __slots__ = ("above", "below", "first", "second", "sign", "told_sign")

    def __init__(self, first: Line, second: Line, *, known: bool = True) -> None:
        self.first = first
        self.second = second
        self.above = False
        self.below = False
        self.sign = 0
        if known:
            self._settle(first.previous, second.previous)
        self._settle(first.value, second.value)
        self.told_sign = self.sign

    def _settle(self, value: float, other: float) -> None:
        difference = value - other
        # Near equality |value| and |other| are the same to 1e-12, so one of them is scale enough.
        scale = _EQUALITY * abs(value)
        self.above = self.below = False
        if difference > scale:
            self.above = self.sign < 0
            self.sign = 1
        elif difference < -scale:
            self.below = self.sign > 0
            self.sign = -1

    def step(self) -> None:
        """Compare the lines after a bar. NaN is like equality: neither a crossing nor the loss of one."""
        value = self.first.value
        difference = value - self.second.value
        self.above = self.below = False
        if difference > 0.0:
            if self.sign <= 0 and difference > _EQUALITY * abs(value):
                self.above = self.sign < 0
                self.sign = 1
        elif difference < 0.0 and self.sign >= 0 and difference < -_EQUALITY * abs(value):
            self.below = self.sign > 0
            self.sign = -1

    def end(self) -> None:
        """The strategy was told on a base bar how the lines stand."""
        self.above = self.below = False
        self.told_sign = self.sign

    def note(self) -> None:
        """The strategy was told on a higher bar that it follows; the base bar may still ask."""
        self.told_sign = self.sign

    def rewind(self) -> None:
        """Before a step: compare with what the strategy was told last, for the bar before it was not told of."""
        self.sign = self.told_sign

    def state(self) -> list[int]:
        """Plain numbers for :meth:`restore`."""
        return [self.sign, int(self.above), int(self.below)]

    def restore(self, state: Sequence[int]) -> None:
        """Go on from a state; lines that move together and lines that do not may take each other's."""
        self.sign, self.above, self.below = state[0], bool(state[1]), bool(state[2])
        self.told_sign = -self.sign if self.above or self.below else self.sign


class Watchers(list[Cross]):
    """The crossings that a lane settles; ``symbol`` is whose bars feed it, None for ticks."""

    __slots__ = ("symbol",)

    def __init__(self, symbol: str | None) -> None:
        super().__init__()
        self.symbol = symbol


class MixedCross(Cross):
    """The crossings of lines that do not move together: two timeframes, two symbols, or nobody who steps.

    Each line has its own last sign, that of the difference after its last move: the answer compares
    with that of the line which moved last. So ``on_bar`` hears of all that happened since the bar
    before, and ``on_tick`` of all since the tick before, whatever order the lines are fed in.
    ``step`` may come any number of times a bar.

    Of two timeframes of one symbol's bars the strategy hears on the base bars, so the answer compares
    with what it was last told there, whichever of the lines moved.
    """

    __slots__ = ("_first_count", "_first_sign", "_second_count", "_second_sign")

    def __init__(self, first: Line, second: Line, *, known: bool = True) -> None:
        super().__init__(first, second, known=known)
        self._first_count = first.count
        self._second_count = second.count
        self._first_sign = self._second_sign = self.sign

    def _is_of_bars(self) -> bool:
        """Whether both lines move with the bars of one symbol."""
        feed = getattr(self.first.watchers, "symbol", None)
        return feed is not None and feed == getattr(self.second.watchers, "symbol", None)

    def rewind(self) -> None:
        pass

    def step(self) -> None:
        if self._is_of_bars():
            self.sign = self.told_sign
            super().step()
            return
        first_count, second_count = self.first.count, self.second.count
        first_moves, second_moves = first_count - self._first_count, second_count - self._second_count
        if not second_moves:
            if not first_moves:
                return
            self.sign = self._first_sign
        elif not first_moves:
            self.sign = self._second_sign
        self._first_count, self._second_count = first_count, second_count
        if first_moves > 1 and (first_moves == second_moves or isinstance(self.second, _Level)):
            self._settle(self.first.previous, self.second.previous)
        super().step()
        if first_moves:
            self._first_sign = self.sign
        if second_moves:
            self._second_sign = self.sign

    def state(self) -> list[int]:
        return [*super().state(), self._first_count, self._first_sign, self._second_count, self._second_sign]

    def restore(self, state: Sequence[int]) -> None:
        super().restore(state)
        self._first_count, self._second_count = self.first.count, self.second.count
        self._first_sign = self._second_sign = self.sign
        if len(state) > 3:
            self._first_count, self._first_sign, self._second_count, self._second_sign = state[3:]


def crossings_state(lines: Sequence[Line]) -> list[list[Any]]:
    """The crossings of ``lines`` with each other and with levels, for :func:`restore_crossings`.

    A line is named by its place in ``lines``. Crossings with other lines are left out.
    """
    places = {id(line): place for place, line in enumerate(lines)}
    states: list[list[Any]] = []
    for place, line in enumerate(lines):
        for crosses in (line._crosses, line._asked_crosses):
            for cross in crosses.values():
                if isinstance(cross.second, _Level):
                    states.append([place, None, cross.second.value, cross.state()])
                elif id(cross.second) in places:
                    states.append([place, places[id(cross.second)], 0.0, cross.state()])
    return states


def drop_crossings(lines: Sequence[Line]) -> None:
    """Forget the crossings of ``lines``, and have nobody step them."""
    for line in lines:
        dropped = {id(cross) for cross in line._crosses.values()}
        for cross in line._crosses.values():
            for watchers in (line.watchers, cross.second.watchers):
                if watchers is not None:
                    watchers[:] = [watcher for watcher in watchers if id(watcher) not in dropped]
        line._crosses.clear()
        line._asked_crosses.clear()


def restore_crossings(lines: Sequence[Line], states: list[list[Any]]) -> None:
    """Put back what :func:`crossings_state` gave, after the lines themselves were restored."""
    drop_crossings(lines)
    for place, other_place, number, state in states:
        other: Line | float = number if other_place is None else lines[other_place]
        lines[place]._find_cross(other).restore(state)
