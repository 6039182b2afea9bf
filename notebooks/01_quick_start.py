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
# # Quick start
#
# You write a trading strategy, try it on thirteen years of real prices, and run the same code on a stream of prices.
#
# - All trading is on paper: no money, no account, no key.
# - Nothing here needs a network.
# - Run a cell with **Shift+Enter**, or all of them with *Run > Run All Cells*.

# %%
import qfkit as qf

# %% [markdown]
# ## Write a strategy
#
# This one holds a share while the average of its last 10 closing prices is above the average of its last 30.
# Each `qf.Param` is a number that you can change later, also while the strategy runs.


# %%
class Trend(qf.Strategy):
    """Long while the fast average is above the slow one."""

    fast = qf.Param(10, low=2, high=60)
    slow = qf.Param(30, low=5, high=240)
    weight = qf.Param(0.5, low=0.0, high=1.0)  # the part of the money to put in

    def setup(self):
        self.fast_average = self.indicator(qf.SMA, self.fast)
        self.slow_average = self.indicator(qf.SMA, self.slow)

    def on_bar(self, bar):  # called each time a bar has closed
        fast, slow = self.fast_average[bar.symbol], self.slow_average[bar.symbol]
        if fast.crossed_above(slow):
            self.order_target(bar.symbol, weight=self.weight, reason="fast average crossed above slow")
        elif fast.crossed_below(slow):
            self.close(bar.symbol, reason="fast average crossed below slow")


# %% [markdown]
# ## Try it on history
#
# `qf.sample` gives real daily bars of AAPL, GOOG, IBM and MSFT. Your own table does as well: columns open, high, low,
# close and volume, and a row for each bar.

# %%
bars = qf.sample("AAPL")
bars.tail(3)

# %%
result = qf.backtest(Trend(), bars, cash=100_000)
result

# %% [markdown]
# Blue marks are entries, orange marks are exits. The last line says what the figures rest on: costs are included.
#
# **Try:** change `Trend()` to `Trend(fast=5)` and run the cell again.
#
# Every trade is a row of a table:

# %%
result.trades[["symbol", "side", "quantity", "entry_price", "exit_price", "fees", "pnl"]].tail()

# %% [markdown]
# ## Run the same code on a stream
#
# The next cell plays the same thirteen years as a stream, nine months each second. The session runs in the
# background: the cell is done at once, and you can go on working while it trades.
#
# For live prices of bitcoin, put `# ` before the first line and take it away from the second. That one needs a network,
# and still no key.

# %% tags=["nbval-ignore-output"]
feed = qf.feeds.sample("AAPL", days_per_second=250)
# feed = qf.feeds.BinanceFeed(["BTCUSDT"])

session = qf.paper(Trend(), feed, cash=100_000, name="quick-start")
session.start()

# %% [markdown]
# This is the session's dashboard. Move the slider *fast*, or press a button, while it runs. In a notebook that was
# saved and opened again you see a picture of how it ended.
#
# **Try:** run the cell once more. The session starts anew; there is never a second one of the same name.
#
# The next cell waits for the end of the stream, or 30 seconds on live prices.

# %% tags=["nbval-ignore-output"]
session.wait(30)
session.stop()
print(f"{session.state}: {len(session.trades)} trades, {session.snapshot.equity:,.2f} in the account")

# %% [markdown]
# ## Is a backtest worth anything?
#
# Only if the live strategy does the same. Here one engine runs both, so on the same prices they are equal to the last
# cent, unless you moved a slider or took the live feed.

# %%
print(f"backtest  {result.metrics.end_equity:12,.2f}")
print(f"session   {session.snapshot.equity:12,.2f}")

# %% [markdown]
# Everything a session received and did is in its journal. `verify` replays that with a fresh engine and compares.

# %%
print(session.verify())

# %% [markdown]
# ## What to try next
#
# - Give `qf.backtest` two shares: `{"AAPL": qf.sample("AAPL"), "IBM": qf.sample("IBM")}`.
# - Give the feed more: `qf.feeds.sample("AAPL", "IBM", days_per_second=250)`.
# - Go on with notebook **02**, which looks at streams, or jump to **04**, the full demonstration.
