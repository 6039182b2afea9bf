# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Real-time trading
#
# The full demonstration: three coins, two strategies, limits on risk, alerts, a live dashboard.
#
# The prices come from a **synthetic exchange**: nobody ever traded at them, and no profit or loss on them means
# anything. What you see here is how the machine works.

# %%
import qfkit as qf

# %% [markdown]
# ## Where prices come from
#
# `speed = 30` plays five minutes of the market in ten seconds. `speed = 1` is real time.
#
# For the live market take `speed = 1`, put `# ` before the line with `SyntheticFeed`, and take it away from the one below.

# %%
speed = 30
coins = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
feed = qf.feeds.SyntheticFeed(coins, duration_s=3_600, speed=speed)
# feed = qf.feeds.BinanceFeed(coins)  # live prices of Binance, no key

# %% [markdown]
# ## Two strategies
#
# One follows the trend: write it yourself, as here. The other bets against it and comes with qfkit.


# %%
class Trend(qf.Strategy):
    """Long while the fast average is above the slow one."""

    fast = qf.Param(8, low=2, high=60)
    slow = qf.Param(24, low=5, high=240)
    weight = qf.Param(0.3, low=0.0, high=1.0)

    def setup(self):
        self.fast_average = self.indicator(qf.EMA, self.fast)
        self.slow_average = self.indicator(qf.EMA, self.slow)

    def on_bar(self, bar):
        fast, slow = self.fast_average[bar.symbol], self.slow_average[bar.symbol]
        if fast.crossed_above(slow):
            self.order_target(bar.symbol, weight=self.weight, reason="fast average crossed above slow")
        elif fast.crossed_below(slow):
            self.close(bar.symbol, reason="fast average crossed below slow")


strategies = {"trend": Trend(), "reversion": qf.BollingerReversion(period=20, width=2.0, weight=0.3)}

# %% [markdown]
# ## Limits on risk
#
# They are part of the engine, so they hold also while your notebook is busy or closed.
#
# - *trend* may hold a fifth of its money in one coin. What it wants beyond that is cut off.
# - If *trend* loses 0.4 % from its highest point, all it holds is sold, and it buys nothing more.
# - Both together may hold 80 % of the account, and lose 3 % a day.

# %%
limits = {
    "trend": qf.RiskLimits(max_position_weight=0.2, max_drawdown=0.004, on_breach={"max_drawdown": "flatten"}),
    "account": qf.RiskLimits(max_gross_exposure=0.8, max_daily_loss=0.03),
}

# %% [markdown]
# ## Alerts
#
# They show in the dashboard's log. `notify=` sends them elsewhere too: here to a file, or to a webhook or a phone.

# %%
alerts = [
    qf.alerts.PriceMove(fraction=0.002, window_s=60),
    qf.alerts.LimitNear(0.8),
    qf.alerts.OrderRejected(),
]

# %% [markdown]
# ## Start
#
# Bars of one second, so that something happens while you look. The session runs until you stop it, or until an hour
# of the market is over: two minutes at this speed. To begin anew, run this cell again.

# %% tags=["nbval-ignore-output"]
session = qf.paper(
    strategies,
    feed,
    cash=100_000,
    timeframe="1s",
    risk=limits,
    alerts=alerts,
    notify="file:alerts.log",
    name="real-time",
)
session.start()

# %% [markdown]
# ## Steer it while it runs
#
# Each command below is a line in the session's journal. The dashboard has the same as sliders and buttons.

# %% tags=["nbval-ignore-output"]
session.wait(2)
async for snapshot in session.snapshots():  # live: until each coin has a price
    if len(snapshot.symbols) == len(coins):
        break
session.set("trend", fast=5)  # from the next bar on
session.block_entries("reversion")  # it may sell, and not buy
session.wait(1)
session.lift("reversion")
session.buy("SOLUSDT", notional=2_000, strategy="reversion")  # an order of your own,
session.protect("SOLUSDT", stop_loss=0.01, strategy="reversion")  # sold again 1 % lower
session.wait(1)
session.orders.query("symbol == 'SOLUSDT'")[
    ["strategy", "side", "type", "quantity", "stop_price", "status", "reason"]
].tail(3)

# %% [markdown]
# ## Wait for the end
#
# Five minutes of the market, then stop. *Interrupt* ends the waiting and not the session. To end that from elsewhere,
# also while this notebook is busy: `qfkit stop real-time` in a terminal.

# %% tags=["nbval-ignore-output"]
session.wait(300 / speed)
session.stop()
print(f"{session.state}: {len(session.trades)} trades, {session.snapshot.equity:,.2f} in the account")

# %% [markdown]
# ## What came of it

# %% tags=["nbval-ignore-output"]
session.result

# %% [markdown]
# Most trades lose a little here. That is what to expect: each round trip costs 0.2 % in commission, and a price
# hardly moves so far in some seconds. Notebook **05** is about costs.

# %% tags=["nbval-ignore-output"]
session.metrics[["total_return", "max_drawdown", "trades", "win_rate", "fees"]]

# %% [markdown]
# Which limits are near, and which have stopped a strategy?

# %% tags=["nbval-ignore-output"]
session.limits

# %% tags=["nbval-ignore-output"]
session.stops

# %% [markdown]
# What became of the strategies' wishes? *Resized* means that a limit cut something off.

# %% tags=["nbval-ignore-output"]
session.signals.groupby(["strategy", "decision", "decision_check"]).size().to_frame("signals")

# %% [markdown]
# The alerts of the session:

# %% tags=["nbval-ignore-output"]
print(*session.alerts.text.tail(), sep="\n")

# %% [markdown]
# What would a fall of 10 % in all coins have cost at the end?

# %% tags=["nbval-ignore-output"]
qf.stress(session, {"*": -0.1})

# %% [markdown]
# And is all of that true? The journal is replayed by a fresh engine, and everything compared:

# %% tags=["nbval-ignore-output"]
print(session.verify())

# %% [markdown]
# ## What to try next
#
# - `speed = 1`: five minutes in real time. Press the buttons.
# - `max_drawdown=0.05`: a wider limit, so that *trend* goes on. `session.lift()` lifts a stop while it runs.
# - `costs=qf.Costs.ideal()` in `qf.paper(...)`: the same without any cost.
# - Notebook **03** changes the code of a strategy while it runs.
