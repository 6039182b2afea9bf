"""What an order does to the price: the square-root law of market impact."""

from math import inf, log, sqrt

import msgspec

from qfkit.core.events import Bar
from qfkit.errors import ParameterError

__all__ = ["Activity", "SquareRootImpact"]


class Activity:
    """How much a symbol trades and how far it moves, of its closed bars: exponential averages, O(1) a bar.

    ``variance`` is that of the logarithm of the close from bar to bar, ``volume`` the quantity a
    bar; bars of unknown volume count for neither. Both are NaN before the first.
    """

    __slots__ = ("_close", "_count", "_over", "variance", "volume")

    def __init__(self, over_bars: int) -> None:
        self._over = over_bars
        self._count = 0
        self._close = 0.0
        self.variance = self.volume = float("nan")

    def add(self, bar: Bar) -> None:
        """Take a closed bar in."""
        # The first has no close before it: its own open stands in.
        move = log(bar.close / (self._close or bar.open))
        self._close = bar.close
        volume = bar.volume
        if volume != volume:
            return
        if self._count == 0:
            self._count, self.variance, self.volume = 1, move * move, volume
            return
        # A plain average of the first bars, an exponential one once there are as many as its centre of mass needs.
        if self._count < (self._over + 1) / 2:
            self._count += 1
        weight = 1.0 / self._count
        self.variance += (move * move - self.variance) * weight
        self.volume += (volume - self.volume) * weight

    def split(self, ratio: float) -> None:
        """New shares for old ones."""
        self.volume *= ratio
        self._close /= ratio


class SquareRootImpact(msgspec.Struct, frozen=True):
    """The price moves against an order by ``coefficient * volatility * sqrt(quantity / volume)``.

    - ``coefficient``: about 1, no unit.
    - ``daily_volatility``: the standard deviation of a day's return as a fraction (0.02 is 2 %), and
      ``daily_volume``: a day's quantity, in shares or coins. One number, or a dict by symbol; both or
      neither. A symbol without them takes the running figures of its own closed bars, averaged over
      about ``over_bars`` of them; before its first closed bar there is no impact. Volatility grows
      with the root of time and volume with time, so that the law is the same for bars of any length.

    It is paid by market orders and fired stops on top of slippage; each part of an order pays for
    all that was filled of it so far. The trap: with a recorded book the walk through its levels is
    a part of the impact already, so take one of the two, or a smaller coefficient.

    Source: Almgren, Thum, Hauptmann and Li, "Direct estimation of equity market impact", Risk,
    July 2005 (there with a power of 0.6); Tóth et al., "Anomalous price impact and the critical
    nature of liquidity in financial markets", Physical Review X 1, 021006, 2011 (a power of about 0.5).
    """

    coefficient: float = 1.0
    daily_volatility: float | dict[str, float] | None = None
    daily_volume: float | dict[str, float] | None = None
    over_bars: int = 100

    def __post_init__(self) -> None:
        if not 0.0 <= self.coefficient < inf:
            raise ParameterError(
                f"SquareRootImpact(coefficient={self.coefficient!r}): it must be zero or more, and finite"
            )
        if (self.daily_volatility is None) != (self.daily_volume is None) or _names(self.daily_volatility) != _names(
            self.daily_volume
        ):
            raise ParameterError(
                "SquareRootImpact: daily_volatility= and daily_volume= go together, for the same symbols; without "
                "both the market's running figures are taken"
            )
        for name, lowest in (("daily_volatility", 0.0), ("daily_volume", 5e-324)):
            given = getattr(self, name)
            for value in given.values() if isinstance(given, dict) else () if given is None else (given,):
                if not lowest <= value < inf:
                    word = "zero or more" if lowest == 0.0 else "above zero"
                    raise ParameterError(f"SquareRootImpact({name}={value!r}): it must be {word}, and finite")
        if not isinstance(self.over_bars, int) or self.over_bars < 1:
            raise ParameterError(f"SquareRootImpact(over_bars={self.over_bars!r}): a whole number of 1 or more")

    @property
    def needs_activity(self) -> bool:
        """Whether running figures may be asked for."""
        return not isinstance(self.daily_volume, int | float)

    def scale(self, symbol: str, activity: Activity | None) -> float:
        """What the square root of a quantity is multiplied with, to have the move as a fraction of the price."""
        volatility, volume = self.daily_volatility, self.daily_volume
        if isinstance(volatility, dict):
            volatility = volatility.get(symbol)
        if isinstance(volume, dict):
            volume = volume.get(symbol)
        if volatility is not None and volume is not None:
            return self.coefficient * volatility / sqrt(volume)
        if activity is None or not activity.volume > 0.0:
            return 0.0
        return self.coefficient * sqrt(activity.variance / activity.volume)

    def describe(self) -> str:
        """For a person: "square-root impact of 1 x daily volatility x sqrt(quantity / daily volume)"."""
        if self.daily_volume is None:
            figures = f", as of about {self.over_bars} bars"
        elif isinstance(self.daily_volume, dict):
            figures = f", given for {', '.join(sorted(self.daily_volume))}"
        else:
            figures = f", given as {self.daily_volatility:g} and {self.daily_volume:g} a day"
        return f"square-root impact {self.coefficient:g} x volatility x sqrt(quantity / volume){figures}"


def _names(given: float | dict[str, float] | None) -> set[str] | None:
    return set(given) if isinstance(given, dict) else None
