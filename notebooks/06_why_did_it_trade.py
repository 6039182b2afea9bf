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
# # Why did it trade?
#
# Ask a session for the story of any order, look at it as it stood at any moment, prove that its books are right, and
# go on after a crash.
#
# The prices are made up by a **synthetic exchange**: a profit on them means nothing.

# %%
import qfkit as qf

feed = qf.feeds.SyntheticFeed(["BTCUSDT", "ETHUSDT"], duration_s=36_000, speed=200, trades_per_s=4)
# feed = qf.feeds.BinanceFeed(["BTCUSDT", "ETHUSDT"])  # live prices, no key


# %%
class Trend(qf.Strategy):
    """Long while the fast average is above the slow one."""

    fast = qf.Param(8, low=2, high=60)
    slow = qf.Param(24, low=5, high=240)

    def setup(self):
        self.fast_average = self.indicator(qf.EMA, self.fast)
        self.slow_average = self.indicator(qf.EMA, self.slow)

    def on_bar(self, bar):
        fast, slow = self.fast_average[bar.symbol], self.slow_average[bar.symbol]
        if fast.crossed_above(slow):
            self.order_target(bar.symbol, weight=0.4, reason="fast average crossed above slow")
        elif fast.crossed_below(slow):
            self.close(bar.symbol, reason="fast average crossed below slow")


# %% tags=["nbval-ignore-output"]
session = qf.paper(
    Trend(), feed, cash=100_000, timeframe="10s", risk=qf.RiskLimits(max_position_weight=0.25), name="why"
).start()
session.wait(4)
async for snapshot in session.snapshots():  # live: until the first prices have come
    if len(snapshot.symbols) == 2:
        break
session.buy("BTCUSDT", notional=1_000)  # one by hand, so that there is an order to ask about on a quiet market too
session.wait(1)
print(f"{len(session.fills)} fills so far")

# %% [markdown]
# ## A crash
#
# `suspend` ends the session as a restart of the kernel would: it just stops. Whatever it had received and done is in
# its journal, a file. `qf.resume` finds it by its name, replays it, and goes on with the same positions and orders.

# %% tags=["nbval-ignore-output"]
session.suspend()
session = qf.resume("why").start()
session.wait(4)
session.stop()
session

# %% [markdown]
# ## The story of an order
#
# `session.orders` has their numbers; `session.why("last")` is about the newest.

# %% tags=["nbval-ignore-output"]
session.orders[["order_id", "symbol", "side", "quantity", "status", "reason"]].tail()

# %% tags=["nbval-ignore-output"]
session.why(1)

# %% [markdown]
# From top to bottom: the bar and the averages that it was decided on, the size it asked for, each check with its
# numbers (one of them cut the order), the fills, and what it cost: spread, delay, size and fee.
#
# **Try:** another number from the table.
#
# ## As it stood
#
# `session.at(...)` replays the journal up to a time. Only the time of day is needed.

# %% tags=["nbval-ignore-output"]
moment = session.orders.index[0].strftime("%H:%M:%S")
then = session.at(moment)
print(f"at {moment}: {then.fills_count} fills so far, equity {then.equity:,.2f}")

# %% [markdown]
# With a slider, for the whole session:

# %% tags=["nbval-ignore-output"]
session.timeline()

# %% [markdown]
# ## The proof
#
# A fresh engine replays everything that the session received. Each order, each fill and each amount must be the same
# to the last bit; otherwise `verify` names the first event that differs.

# %%
verdict = session.verify()
print("equal" if verdict else verdict)

# %% [markdown]
# ## All sessions, also of other days
#
# Every session stays, with all it did. `qfkit status` in a terminal shows the same list.

# %% tags=["nbval-ignore-output"]
qf.sessions()[["name", "state", "feed", "events", "fills", "equity"]].tail(3)

# %% [markdown]
# Any of them can be read and asked, also from another notebook while it runs:

# %% tags=["nbval-ignore-output"]
kept = qf.read_session("why")
kept.trades[["symbol", "side", "quantity", "entry_price", "exit_price", "pnl"]].tail(3)

# %% [markdown]
# ## What to try next
#
# - Restart the kernel while the session runs, run the cells up to the class, then `qf.resume("why").start()`.
# - `session.why(signal=...)` tells of a wish that a limit refused: its number is in `session.signals`.
# - Notebook **07**: a strategy that learns.
