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
# # Writing a strategy live
#
# Change a strategy's numbers and its code while it trades. Positions and history stay.
#
# The prices are made up by a **synthetic exchange**: a profit on them means nothing.

# %%
import qfkit as qf

feed = qf.feeds.SyntheticFeed(["BTCUSDT"], duration_s=36_000, speed=150, trades_per_s=4)
# feed = qf.feeds.BinanceFeed(["BTCUSDT"])  # live prices, no key

# %% [markdown]
# ## Version one
#
# Buy when the price rises above its average, sell when it falls below.


# %%
class AboveAverage(qf.Strategy):
    """Long while the price is above its average."""

    period = qf.Param(20, low=2, high=100)

    def setup(self):
        self.average = self.indicator(qf.SMA, self.period)

    def on_bar(self, bar):
        average = self.average[bar.symbol].value
        if bar.close > average and not self.position(bar.symbol):
            print("bought above", round(average, 2))
            self.order_target(bar.symbol, weight=0.5, reason="price above its average")
        elif bar.close < average and self.position(bar.symbol):
            self.close(bar.symbol, reason="price below its average")


# %% [markdown]
# Bars of ten seconds, fifteen of them each second. What the strategy prints is in the dashboard's log. After four
# minutes the prices end; to begin anew, run this cell again.

# %% tags=["nbval-ignore-output"]
session = qf.paper(AboveAverage(), feed, cash=100_000, timeframe="10s", name="workshop")
session.start()

# %% [markdown]
# ## Move a slider
#
# Each `qf.Param` is a slider on the dashboard. A line of code does the same. Either is written to the journal, and
# counts from the next bar on.

# %% tags=["nbval-ignore-output"]
session.wait(3)
session.set(period=40)
print(f"{len(session.trades)} trades so far")

# %% [markdown]
# A number out of bounds is refused at once, and the session goes on:

# %%
try:
    session.set(period=1_000)
except qf.QfkitError as error:
    print(error)

# %% [markdown]
# ## Version two: new code in a running session
#
# The price crosses its average too often. So leave some room around it: buy only half a standard deviation above.
#
# Edit the class, run the cell, then swap.


# %%
class AboveAverage(qf.Strategy):
    """Long once the price is clearly above its average, until it is below."""

    period = qf.Param(40, low=2, high=100)
    room = qf.Param(0.5, low=0.0, high=3.0)  # in standard deviations

    def setup(self):
        self.average = self.indicator(qf.SMA, self.period)
        self.deviation = self.indicator(qf.StandardDeviation, self.period)

    def on_bar(self, bar):
        average, deviation = self.average[bar.symbol].value, self.deviation[bar.symbol].value
        if bar.close > average + self.room * deviation and not self.position(bar.symbol):
            self.order_target(bar.symbol, weight=0.5, reason="price clearly above its average")
        elif bar.close < average and self.position(bar.symbol):
            self.close(bar.symbol, reason="price below its average")


# %% tags=["nbval-ignore-output"]
session.swap(AboveAverage)
print("position:", session.positions["quantity"].to_dict())

# %% [markdown]
# The new indicators are filled from the bars that the session kept, so the new code can act on the very next bar.
# A position of the old version is now the new version's.
#
# **Try:** break the class, say with `self.averag`, run its cell and swap again. The strategy stops with the error on
# the dashboard; prices and journal go on. Mend it and swap once more.

# %% tags=["nbval-ignore-output"]
session.wait(3)
session.set(room=1.0)
session.wait(3)
session.stop()
print(f"{session.state}: {len(session.trades)} trades")

# %% [markdown]
# ## Which version did what?

# %% tags=["nbval-ignore-output"]
session.trades.tail(8)

# %% tags=["nbval-ignore-output"]
session.fills.groupby("reason").size().to_frame("fills")

# %% [markdown]
# A replay knows each change, and when it was made:

# %% tags=["nbval-ignore-output"]
print(session.verify())

# %% [markdown]
# ## What to try next
#
# - Keep the class in a file, with `%load_ext autoreload` and `%autoreload 2`; after saving, `session.swap(...)` it.
# - `session.pause()` and `session.resume()`: no new orders while you think.
# - `session.add(qf.BollingerReversion(), share=0.3)`: one more strategy, while this one runs.
# - Notebook **06**: ask why it traded.
