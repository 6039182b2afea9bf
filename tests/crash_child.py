"""A session in a process of its own, for tests that kill it: ``python -c "import crash_child; crash_child.main()" ...``."""

import sys

import qfkit as qf
from qfkit.core.events import Bar

FEED = {"symbols": ("BTCUSDT", "ETHUSDT"), "seed": 11, "duration_s": 600.0, "speed": None}


class Brackets(qf.Strategy):
    """Enters on a crossing with a stop-loss, a take-profit and a resting limit order."""

    fast = qf.Param(3, low=2, high=50)
    slow = qf.Param(9, low=3, high=100)

    def setup(self) -> None:
        self.fast_average = self.indicator(qf.EMA, self.fast)
        self.slow_average = self.indicator(qf.SMA, self.slow, timeframe="5s")

    def on_bar(self, bar: Bar) -> None:
        fast, slow = self.fast_average[bar.symbol], self.slow_average[bar.symbol]
        if fast.crossed_above(slow) and not self.position(bar.symbol):
            self.buy(
                bar.symbol,
                weight=0.2,
                stop_loss=bar.close * 0.9995,
                take_profit=bar.close * 1.001,
                reason="fast average crossed above slow",
            )
            self.buy(bar.symbol, weight=0.05, limit_price=bar.close * 0.9997, reason="a dip")
        elif fast.crossed_below(slow):
            self.close(bar.symbol, reason="fast average crossed below slow")


def session(name: str) -> qf.Session:
    strategies = {"brackets": Brackets(), "averages": qf.MovingAverageCrossover(fast=4, slow=11)}
    return qf.paper(strategies, qf.SyntheticFeed(**FEED), timeframe="1s", name=name)


def main() -> None:
    task, name = sys.argv[1:3]
    one = session(name) if task == "start" else qf.resume(name)
    one.start().wait()
    print("ended")
