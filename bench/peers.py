"""The peers' side: the same rule on the same data, written the way each library's users write it.

Runs in the peers' environment: ``python -m bench.peers backtesting|nautilus|vectorbt``.
"""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bench.work import CASH, FAST, MINUTE_NS, SHARES, SLOW, Fills, load, save, symbol_name
from bench.worker import serve, timed

__all__: list[str] = []


def _answer(seconds: float, fills: Fills, save_to: str | None, **more: Any) -> dict[str, Any]:
    if save_to is not None:
        save(Path(save_to), fills._asdict())
    return {"seconds": seconds, "fills": len(fills.side), **more}


def _versions(*names: str) -> dict[str, Any]:
    return {"python": sys.version.split()[0], **{name: version(name) for name in names}}


# -- backtesting.py ----------------------------------------------------------------------------


def backtesting_jobs() -> dict[str, Any]:
    """backtesting.py: from a DataFrame to its statistics."""
    import pandas as pd
    from backtesting import Backtest, Strategy
    from backtesting.lib import crossover

    def average(values: Any, length: int) -> Any:
        return pd.Series(values).rolling(length).mean()

    class Crossover(Strategy):  # type: ignore[misc]
        def init(self) -> None:
            self.fast = self.I(average, self.data.Close, FAST)
            self.slow = self.I(average, self.data.Close, SLOW)

        def next(self) -> None:
            if crossover(self.fast, self.slow):
                self.buy(size=int(SHARES))
            elif crossover(self.slow, self.fast):
                self.position.close()

    frames: dict[str, pd.DataFrame] = {}

    def bars(folder: str, save_to: str | None = None) -> dict[str, Any]:
        if folder not in frames:
            data = load(Path(folder))
            index = pd.to_datetime(data["open_ns"])
            frames[folder] = pd.DataFrame(
                {name.title(): data[name] for name in ("open", "high", "low", "close", "volume")}, index
            )
        frame = frames[folder]
        seconds, stats = timed(lambda: Backtest(frame, Crossover, cash=CASH, commission=0.0).run())
        trades = stats["_trades"]
        times = frame.index.as_unit("ns").asi8
        # A position that is still open has no exit among its trades: it is closed by nobody.
        entry, exit_ = trades["EntryBar"].to_numpy(), trades["ExitBar"].to_numpy()
        number = np.concatenate((entry, exit_))
        order = np.argsort(number, kind="stable")
        side = np.concatenate((np.ones(len(entry), np.int64), -np.ones(len(exit_), np.int64)))
        size = np.concatenate((trades["Size"], trades["Size"])).astype(float)
        price = np.concatenate((trades["EntryPrice"], trades["ExitPrice"]))
        open_ = stats["_strategy"].trades
        fills = [times[number][order], side[order], size[order], price[order]]
        if open_:
            last = open_[0]
            for values, value in zip(
                fills, (times[last.entry_bar], 1, float(last.size), last.entry_price), strict=True
            ):
                values.resize(len(values) + 1, refcheck=False)
                values[-1] = value
        return _answer(seconds, Fills(*fills), save_to)

    return {"bars": bars, "versions": lambda: _versions("backtesting", "pandas", "numpy")}


# -- vectorbt ----------------------------------------------------------------------------------


def vectorbt_jobs() -> dict[str, Any]:
    """vectorbt: from a DataFrame to orders and equity. The first call compiles; ask for it before.

    The frame has no times: with a datetime index vectorbt takes many times as long.
    """
    import pandas as pd
    import vectorbt as vbt

    frames: dict[str, pd.DataFrame] = {}

    def bars(folder: str, save_to: str | None = None) -> dict[str, Any]:
        if folder not in frames:
            data = load(Path(folder))
            frames[folder] = pd.DataFrame(
                {name: data[name] for name in ("open", "high", "low", "close", "volume", "open_ns")}
            )
        frame = frames[folder]

        def work() -> Any:
            fast = vbt.MA.run(frame["close"], FAST).ma
            slow = vbt.MA.run(frame["close"], SLOW).ma
            entries, exits = (fast > slow).vbt.signals.fshift(1), (fast < slow).vbt.signals.fshift(1)
            portfolio = vbt.Portfolio.from_signals(
                frame["close"], entries, exits, price=frame["open"], size=SHARES, init_cash=CASH, freq="1min"
            )
            return portfolio.orders.records, portfolio.value().to_numpy()

        seconds, (records, value) = timed(work)
        times = frame["open_ns"].to_numpy()
        fills = Fills(
            times[records["idx"].to_numpy()],
            np.where(records["side"].to_numpy() == 0, 1, -1),
            records["size"].to_numpy(),
            records["price"].to_numpy(),
        )
        return _answer(seconds, fills, save_to, equity=float(value[-1]))

    return {"bars": bars, "versions": lambda: _versions("vectorbt", "numba", "pandas", "numpy")}


# -- nautilus_trader ---------------------------------------------------------------------------


def nautilus_jobs() -> dict[str, Any]:
    """nautilus_trader: BacktestEngine.run() alone, on ready objects; no log, no analysis.

    Its market orders fill at the close of the bar, or at the trade, on which they are decided.
    Its own record of closed positions copies a pandas series for each, so that many trades cost
    their square: measured without, to its advantage, unless ``as_shipped``.
    """
    from nautilus_trader.analysis.analyzer import PortfolioAnalyzer
    from nautilus_trader.backtest.config import BacktestEngineConfig
    from nautilus_trader.backtest.engine import BacktestEngine
    from nautilus_trader.config import LoggingConfig, RiskEngineConfig
    from nautilus_trader.indicators import SimpleMovingAverage
    from nautilus_trader.model.currencies import USD
    from nautilus_trader.model.data import Bar, BarType, TradeTick
    from nautilus_trader.model.enums import AccountType, AggressorSide, OmsType, OrderSide
    from nautilus_trader.model.identifiers import InstrumentId, Symbol, TradeId, TraderId, Venue
    from nautilus_trader.model.instruments import Equity
    from nautilus_trader.model.objects import Money, Price, Quantity
    from nautilus_trader.trading.strategy import Strategy

    venue = Venue("SIM")
    record_trade = PortfolioAnalyzer.record_trade

    def skip(*_: Any, **__: Any) -> None:
        """Instead of ``record_trade``."""

    def instrument(name: str) -> Equity:
        return Equity(
            instrument_id=InstrumentId(Symbol(name), venue),
            raw_symbol=Symbol(name),
            currency=USD,
            price_precision=2,
            price_increment=Price.from_str("0.01"),
            lot_size=Quantity.from_int(1),
            ts_event=0,
            ts_init=0,
        )

    class Crossing:
        """The two averages of one symbol, and on which side the fast one was."""

        def __init__(self, fast: int, slow: int) -> None:
            self.fast, self.slow = SimpleMovingAverage(fast), SimpleMovingAverage(slow)
            self.above: bool | None = None

    class Crossover(Strategy):  # type: ignore[misc]
        def __init__(self, instruments: list[Equity], lengths: tuple[int, int], bar_type: BarType | None) -> None:
            super().__init__()
            self.instruments, self.bar_type = instruments, bar_type
            self.crossings = {one.id: Crossing(*lengths) for one in instruments}
            self.quantity = Quantity.from_int(int(SHARES))
            self.fills: list[Any] = []

        def on_start(self) -> None:
            if self.bar_type is not None:
                crossing = self.crossings[self.instruments[0].id]
                self.register_indicator_for_bars(self.bar_type, crossing.fast)
                self.register_indicator_for_bars(self.bar_type, crossing.slow)
                self.subscribe_bars(self.bar_type)
                return
            for one in self.instruments:
                crossing = self.crossings[one.id]
                self.register_indicator_for_trade_ticks(one.id, crossing.fast)
                self.register_indicator_for_trade_ticks(one.id, crossing.slow)
                self.subscribe_trade_ticks(one.id)

        def decide(self, instrument_id: InstrumentId) -> None:
            crossing = self.crossings[instrument_id]
            if not crossing.slow.initialized:
                return
            above = crossing.fast.value > crossing.slow.value
            before, crossing.above = crossing.above, above
            if before is None or above == before:
                return
            if above:
                self.trade(instrument_id, OrderSide.BUY)
            elif self.portfolio.is_net_long(instrument_id):
                self.trade(instrument_id, OrderSide.SELL)

        def trade(self, instrument_id: InstrumentId, side: OrderSide) -> None:
            self.submit_order(self.order_factory.market(instrument_id, side, self.quantity))

        def on_bar(self, bar: Bar) -> None:
            self.decide(bar.bar_type.instrument_id)

        def on_trade_tick(self, tick: TradeTick) -> None:
            self.decide(tick.instrument_id)

        def on_order_filled(self, event: Any) -> None:
            self.fills.append(event)

    def run(
        instruments: list[Equity],
        data: list[Any],
        lengths: tuple[int, int],
        bar_type: BarType | None,
        save_to: str | None,
        as_shipped: bool,
    ) -> Any:
        PortfolioAnalyzer.record_trade = record_trade if as_shipped else skip
        engine = BacktestEngine(
            BacktestEngineConfig(
                trader_id=TraderId("BENCH-001"),
                logging=LoggingConfig(bypass_logging=True),
                risk_engine=RiskEngineConfig(bypass=True),
                run_analysis=False,
            )
        )
        engine.add_venue(venue, OmsType.NETTING, AccountType.CASH, [Money(CASH, USD)], base_currency=USD)
        for one in instruments:
            engine.add_instrument(one)
        engine.add_data(data)
        strategy = Crossover(instruments, lengths, bar_type)
        engine.add_strategy(strategy)
        seconds, _ = timed(engine.run)
        fills = Fills(
            np.array([event.ts_event for event in strategy.fills], np.int64),
            np.array([1 if event.order_side == OrderSide.BUY else -1 for event in strategy.fills], np.int64),
            np.array([float(event.last_qty) for event in strategy.fills]),
            np.array([float(event.last_px) for event in strategy.fills]),
        )
        engine.dispose()
        return _answer(seconds, fills, save_to)

    kept: dict[str, Any] = {}

    def bars(folder: str, save_to: str | None = None, as_shipped: bool = False) -> dict[str, Any]:
        one = instrument("COIN")
        bar_type = BarType.from_str("COIN.SIM-1-MINUTE-LAST-EXTERNAL")
        if folder not in kept:
            data = load(Path(folder))
            rows = zip(
                *(data[name].tolist() for name in ("open", "high", "low", "close", "volume", "open_ns")), strict=True
            )
            kept[folder] = [
                Bar(
                    bar_type,
                    Price(o, 2),
                    Price(h, 2),
                    Price(low, 2),
                    Price(c, 2),
                    Quantity(v, 0),
                    t + MINUTE_NS,
                    t + MINUTE_NS,
                )
                for o, h, low, c, v, t in rows
            ]
        answer: dict[str, Any] = run([one], kept[folder], (FAST, SLOW), bar_type, save_to, as_shipped)
        return answer

    def ticks(
        folder: str, count: int, lengths: tuple[int, int], save_to: str | None = None, as_shipped: bool = False
    ) -> dict[str, Any]:
        key = f"{folder} {count}"
        if key not in kept:
            kept.clear()
            data = load(Path(folder))
            names = [instrument(symbol_name(number)) for number in range(int(data["symbol"].max()) + 1)]
            rows = zip(*(data[name][:count].tolist() for name in ("symbol", "price", "size", "time_ns")), strict=True)
            kept[key] = (
                names,
                [
                    TradeTick(names[s].id, Price(p, 2), Quantity(z, 0), AggressorSide.BUYER, TradeId(str(n)), t, t)
                    for n, (s, p, z, t) in enumerate(rows)
                ],
            )
        answer: dict[str, Any] = run(*kept[key], tuple(lengths), None, save_to, as_shipped)
        return answer

    return {"bars": bars, "ticks": ticks, "versions": lambda: _versions("nautilus_trader", "numpy")}


if __name__ == "__main__":
    serve({"backtesting": backtesting_jobs, "vectorbt": vectorbt_jobs, "nautilus": nautilus_jobs}[sys.argv[1]]())
