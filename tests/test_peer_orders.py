"""Order types and brackets against backtesting.py's engine, on real bars, where the rules agree.

They agree on: market orders at the next open; a limit that is touched (``limit_fills="touch"``) at the limit or at a
better open; a stop at the worse of stop and open; the stop before the target where a bar touches both; legs that
work from the bar of the entry on.

They differ, and these rules are ours, so the scripts here avoid them:

- A limit fills when the price trades *through* it unless "touch" is asked for: at the touch there is a queue before us.
- An entry at an open beyond its own target: the target's order reaches the market only after that fill, so it gets its
  limit or what the rest of the bar gave at the worst; the peer gives it the open itself.
- Brackets on limit entries and stop-limits are not compared: what came after the fill inside its bar is a guess for
  both engines.
"""

import random
import warnings

import pytest

import qfkit as qf
from qfkit.core.costs import Costs

PERIOD = 12


def script(opens: list[float], closes: list[float], seed: int) -> dict[int, dict[str, float | str | bool]]:
    """One order at every 12th bar, at a drawn distance from its close; five bars later all is cancelled and closed."""
    chance = random.Random(seed)
    found = {}
    for index in range(PERIOD, len(closes) - PERIOD, PERIOD):
        close, buy = closes[index], chance.random() < 0.5
        sign = 1.0 if buy else -1.0
        kind = chance.choice(("market", "limit", "stop", "bracket", "bracket"))
        away = chance.uniform(0.002, 0.03)
        found[index] = {
            "kind": kind,
            "buy": buy,
            "limit": round(close * (1.0 - sign * away), 2),
            "stop": round(close * (1.0 + sign * away), 2),
            "stop_loss": round(close * (1.0 - sign * chance.uniform(0.01, 0.04)), 2),
            "take_profit": round(close * (1.0 + sign * chance.uniform(0.01, 0.04)), 2),
        }
        order = found[index]
        if order["kind"] == "bracket" and sign * (order["take_profit"] - opens[index + 1]) <= 0.0:
            order["kind"] = "market"
    return found


class Scripted(qf.Strategy):
    orders_by_bar: dict[int, dict] = {}

    def on_start(self) -> None:
        self.index = -1

    def on_bar(self, bar: qf.Bar) -> None:
        self.index += 1
        order = self.orders_by_bar.get(self.index)
        if order is not None:
            send = self.buy if order["buy"] else self.sell
            if order["kind"] == "market":
                send(bar.symbol, quantity=10)
            elif order["kind"] == "limit":
                send(bar.symbol, quantity=10, limit_price=order["limit"])
            elif order["kind"] == "stop":
                send(bar.symbol, quantity=10, stop_price=order["stop"])
            else:
                send(bar.symbol, quantity=10, stop_loss=order["stop_loss"], take_profit=order["take_profit"])
        elif self.index - 7 in self.orders_by_bar:
            self.close(bar.symbol)


@pytest.mark.parametrize("symbol", ["AAPL", "IBM", "GOOG", "MSFT"])
def test_trades_of_all_order_types_are_those_of_backtesting_py(symbol) -> None:
    with warnings.catch_warnings():
        # Another project's imports may warn.
        warnings.simplefilter("ignore")
        import backtesting

    data = qf.sample(symbol)
    orders = script(data["open"].tolist(), data["close"].tolist(), seed=len(symbol) + ord(symbol[0]))

    class Peer(backtesting.Strategy):
        def init(self) -> None:
            pass

        def next(self) -> None:
            index = len(self.data) - 1
            order = orders.get(index)
            if order is not None:
                send = self.buy if order["buy"] else self.sell
                if order["kind"] == "market":
                    send(size=10)
                elif order["kind"] == "limit":
                    send(size=10, limit=order["limit"])
                elif order["kind"] == "stop":
                    send(size=10, stop=order["stop"])
                else:
                    send(size=10, sl=order["stop_loss"], tp=order["take_profit"])
            elif index - 7 in orders:
                for waiting in self.orders:
                    waiting.cancel()
                self.position.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = backtesting.Backtest(
            data.rename(columns=str.title).tz_localize(None), Peer, cash=10_000_000, commission=0.0,
            trade_on_close=False, finalize_trades=False,
        ).run()["_trades"]  # fmt: skip
    Scripted.orders_by_bar = orders
    costs = Costs(commission=0.0, slippage_bps=0.0, latency_s=0.0, participation=None, limit_fills="touch")
    result = qf.backtest(Scripted(), data, cash=10_000_000.0, costs=costs)
    kinds = {order["kind"] for order in orders.values()}
    assert kinds == {"market", "limit", "stop", "bracket"} and len(theirs) > 100
    theirs = theirs.sort_values(["EntryBar", "ExitBar"])
    # One position at a time: the fills are entry, exit, entry, exit. The bar of a fill is the one it was received with.
    bar_of = {bar.close_ns: row for row, bar in enumerate(result.records.bars)}
    fills = result.records.fills
    entries, exits = fills[0::2], fills[1::2]
    assert [bar_of[fill.received_ns] for fill in exits] == theirs["ExitBar"].tolist()
    assert [bar_of[fill.received_ns] for fill in entries[: len(exits)]] == theirs["EntryBar"].tolist()
    assert [fill.price for fill in entries[: len(exits)]] == pytest.approx(theirs["EntryPrice"].tolist(), rel=1e-12)
    assert [fill.price for fill in exits] == pytest.approx(theirs["ExitPrice"].tolist(), rel=1e-12)
    assert result.trades["pnl"].tolist() == pytest.approx(theirs["PnL"].tolist(), rel=1e-9, abs=1e-6)
    # All ways out were taken: the stop, the target, a worse open behind the stop, and by hand.
    levels = {order.order_id: order for order in result.records.orders}
    ways = {levels[fill.order_id].type for fill in exits}
    gaps = [fill for fill in exits if (level := levels[fill.order_id].stop_price) is not None and fill.price != level]
    assert ways == {"market", "limit", "stop"} and gaps
