"""Ready-made strategies, short enough to read as examples."""

from qfkit import weights
from qfkit.core.events import Bar
from qfkit.core.indicators import SMA, BollingerBands, RateOfChange
from qfkit.core.schedule import Schedule
from qfkit.core.strategy import Param, Strategy
from qfkit.errors import ParameterError

__all__ = [
    "BollingerReversion",
    "MomentumRebalance",
    "MovingAverageCrossover",
    "PortfolioRebalance",
    "RealTimeMovingAverageCrossover",
]


class MovingAverageCrossover(Strategy):
    """Long while the fast average is above the slow one."""

    fast = Param(10, low=2, high=60, help="bars of the fast average")
    slow = Param(30, low=5, high=240, help="bars of the slow average")
    weight = Param(0.25, low=0.0, high=1.0, help="fraction of equity to hold")

    def setup(self) -> None:
        if self.fast >= self.slow:
            raise ParameterError(f"fast={self.fast} must be below slow={self.slow}")
        self.fast_average = self.indicator(SMA, self.fast)
        self.slow_average = self.indicator(SMA, self.slow)

    def on_bar(self, bar: Bar) -> None:
        fast, slow = self.fast_average[bar.symbol], self.slow_average[bar.symbol]
        if fast.crossed_above(slow):
            self.order_target(bar.symbol, weight=self.weight, reason="fast average crossed above slow")
        elif fast.crossed_below(slow):
            self.close(bar.symbol, reason="fast average crossed below slow")


RealTimeMovingAverageCrossover = MovingAverageCrossover


class BollingerReversion(Strategy):
    """Buy below the lower Bollinger band, sell when the price is back at the middle."""

    period = Param(20, low=5, high=200, help="bars of the band")
    width = Param(2.0, low=0.5, high=4.0, help="standard deviations from the middle to a band")
    weight = Param(0.25, low=0.0, high=1.0, help="fraction of equity to hold")

    def setup(self) -> None:
        self.bands = self.indicator(BollingerBands, self.period, self.width)

    def on_bar(self, bar: Bar) -> None:
        bands = self.bands[bar.symbol]
        if self.position(bar.symbol):
            if bar.close >= bands.value:
                self.close(bar.symbol, reason="price is back at the middle band")
        elif bar.close < bands.lower:
            self.order_target(bar.symbol, weight=self.weight, reason="price closed below the lower band")


class MomentumRebalance(Strategy):
    """Every few bars, hold the symbols that rose most, in equal parts; cash where none rose."""

    lookback = Param(60, low=2, high=500, help="bars over which the rise is measured")
    every = Param(20, low=1, high=500, help="bars between two rebalancings")
    hold = Param(2, low=1, high=20, help="how many symbols to hold")
    weight = Param(0.9, low=0.0, high=1.0, help="fraction of equity to hold in all")

    def setup(self) -> None:
        self.momentum = self.indicator(RateOfChange, self.lookback)

    def on_start(self) -> None:
        self.round_ns = 0
        self.rounds = 0
        self.heard: set[str] = set()

    def on_bar(self, bar: Bar) -> None:
        if bar.close_ns != self.round_ns:
            if self.heard:
                # A symbol in which nothing traded had no bar: do not wait for it any longer.
                self.decide()
            self.round_ns = bar.close_ns
        self.heard.add(bar.symbol)
        if len(self.heard) == len(self.symbols):
            self.decide()

    def decide(self) -> None:
        self.heard.clear()
        self.rounds += 1
        if (self.rounds - 1) % self.every:
            return
        rise = {symbol: indicator.value for symbol, indicator in self.momentum.items() if indicator.value > 0.0}
        best = sorted(rise, key=lambda symbol: -rise[symbol])[: self.hold]
        weights = dict.fromkeys(best, self.weight / self.hold)
        self.rebalance(weights, reason=f"the {self.hold} strongest over {self.lookback} bars")


class PortfolioRebalance(Strategy):
    """Hold all symbols by a rule, and come back to it on a schedule and where the weights drifted off.

    For weights of your own inherit from it and define ``weights``. The two variance rules need the extra
    ``portfolio``: ``pip install "qfkit[portfolio]"``.
    """

    rule = Param("equal", choices=("equal", "inverse_volatility", "minimum_variance", "mean_variance"))
    every = Param("1M", help='"1d", "1w", "1M", or a number of bars as "20"; "never" for drift only')
    drift = Param(1.0, low=0.0, high=1.0, help="also when a weight is off by more than this fraction of equity")
    band = Param(0.0, low=0.0, high=0.5, help="what is no further off is left alone")
    lookback = Param(60, low=3, high=999, help="bars of returns that the rule looks at")
    invested = Param(1.0, low=0.0, high=1.0, help="fraction of equity to hold in all")

    def setup(self) -> None:
        self.schedule = None if self.every == "never" or self.every.isdecimal() else Schedule(self.every)
        if self.every.isdecimal() and int(self.every) < 1:
            raise ParameterError(f"every={self.every!r}: a number of bars is 1 or more")

    def on_start(self) -> None:
        self.due_ns = 0
        self.rounds = 0
        self.round_ns = 0
        self.heard: set[str] = set()
        self.targets: dict[str, float] = {}

    def weights(self) -> dict[str, float]:
        """The weights by the rule, adding up to 1, of the symbols that have data enough; {} while none has."""
        if self.rule == "equal":
            return weights.equal({symbol: () for symbol in self.symbols if self.bars(symbol, 1)})
        kept = {symbol: self.bars(symbol, 2 * self.lookback + 2) for symbol in self.symbols}
        # In the midst of a round some symbols have a bar that others do not have yet: one bar less is not too few.
        known = {symbol: own for symbol, own in kept.items() if len(own) >= self.lookback}
        returns = {symbol: own[-self.lookback :] for symbol, own in weights.returns_of(known).items()}
        if not returns or any(len(own) < self.lookback for own in returns.values()):
            return {}
        weigh = getattr(weights, self.rule)
        found: dict[str, float] = weigh(returns)
        return found

    def on_bar(self, bar: Bar) -> None:
        if bar.close_ns != self.round_ns:
            if self.heard:
                # A symbol in which nothing traded had no bar: do not wait for it any longer.
                self.look()
            self.round_ns = bar.close_ns
        self.heard.add(bar.symbol)
        if len(self.heard) == len(self.symbols):
            self.look()

    def look(self) -> None:
        self.heard.clear()
        self.rounds += 1
        if self.is_due():
            targets = {symbol: weight * self.invested for symbol, weight in self.weights().items()}
            if not targets:
                return
            self.targets = targets
            self.rebalance(targets, band=self.band, reason=f"{self.rule}, every {self.every}")
            if self.schedule is not None:
                self.due_ns = self.schedule.after(self.round_ns)
        elif self.targets and self.furthest_off() > self.drift and not self.orders:
            self.rebalance(self.targets, band=self.band, reason=f"a weight is off by more than {self.drift:g}")

    def is_due(self) -> bool:
        if not self.targets:
            return True
        if self.schedule is None:
            return self.every != "never" and (self.rounds - 1) % int(self.every) == 0
        return self.round_ns >= self.due_ns

    def furthest_off(self) -> float:
        """How far the weight that is furthest off is from its target, as a fraction of equity."""
        equity = self.portfolio.equity
        return max(
            abs(self.position(symbol).market_value / equity - target) if equity > 0.0 else 0.0
            for symbol, target in self.targets.items()
        )

    def on_transfer(self, amount: float, owed: float) -> None:
        if self.targets:
            kept = max(0.0, 1.0 - owed / self.portfolio.equity)
            self.rebalance({symbol: target * kept for symbol, target in self.targets.items()}, reason="capital moved")
