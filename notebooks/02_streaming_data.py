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
# # Streaming data
#
# Where prices come from, how good they are, and how to keep them.
#
# By default the prices here are made up by a **synthetic exchange**. It behaves like a real one: trades come in
# bursts, and once the connection is lost for five seconds.

# %%
import time
from collections import Counter

import qfkit as qf

# %% [markdown]
# ## Choose a source
#
# For live prices of Binance put `# ` before the first `return` and take it away from the second.
# Shares have `qf.feeds.YahooFeed(["AAPL"])`. None of these needs a key.


# %%
def new_feed():
    return qf.feeds.SyntheticFeed(["BTCUSDT", "ETHUSDT"], duration_s=60, speed=20, gaps=[(30, 5)])
    # return qf.feeds.BinanceFeed(["BTCUSDT", "ETHUSDT"])


# %% [markdown]
# ## Look at the first events
#
# A feed gives lists of events. A *tick* is a trade that happened. A *quote* is the best price to sell at (bid) and to
# buy at (ask). Times are UTC.

# %% tags=["nbval-ignore-output"]
first = []
async for events in new_feed():
    first += events
    if len(first) >= 5:
        break
print(*first[:5], sep="\n")

# %% [markdown]
# ## Have a function called
#
# The other way: hand in a function. It is called with each event, for as long as the feed runs.

# %% tags=["nbval-ignore-output"]
feed = new_feed()
seen = Counter()


async def count(event):
    seen[type(event).__name__, event.symbol] += 1
    if seen.total() == 3_000:
        await feed.stop()


feed.add_message_handler(count)
await feed.start_streaming()
seen

# %% [markdown]
# Most events are quotes: offers come and go more often than anybody trades.
#
# ## Watch and record
#
# `qf.watch` follows symbols in the background and tells you what you asked for. `record` keeps every event on disk.
#
# **Try:** add `qf.alerts.PriceAbove("BTCUSDT", 61_850)` to the list.

# %% tags=["nbval-ignore-output"]
recording = time.strftime("recording-%Y%m%d-%H%M%S")  # a new folder each time
watched = qf.watch(
    ["BTCUSDT", "ETHUSDT"],
    feed=new_feed().record(recording),
    alerts=[qf.alerts.PriceMove(fraction=0.002, window_s=60), qf.alerts.FeedGap()],
    timeframe="1s",
    name="watch",
)
watched

# %% tags=["nbval-ignore-output"]
watched.wait(60)
watched.stop()
print(*watched.alerts.text, sep="\n")

# %% [markdown]
# ## How good were the data?
#
# One row for each symbol. `gaps_open` counts holes that could not be filled, `missing` the trades lost in them.
# A live feed fetches what it missed and comes back by itself; the synthetic exchange cannot fetch anything.

# %% tags=["nbval-ignore-output"]
watched.health[["state", "events", "reconnects", "gaps_found", "gaps_filled", "gaps_open", "missing", "uptime"]]

# %% [markdown]
# Trades become bars. A bar is known once it has closed, never before.

# %% tags=["nbval-ignore-output"]
watched.bars.tail()

# %% [markdown]
# ## Play it again
#
# A recording is as good as the live feed: for a backtest, or as a stream at any speed.

# %% tags=["nbval-ignore-output"]
result = qf.backtest(qf.MovingAverageCrossover(fast=3, slow=9), recording, timeframe="1s")
result

# %% tags=["nbval-ignore-output"]
replay = qf.paper(
    qf.MovingAverageCrossover(fast=3, slow=9),
    qf.ReplayFeed(recording, speed=30),
    timeframe="1s",
    name="replay",
).start()
await replay  # or replay.wait()
print(f"backtest {result.metrics.end_equity:,.2f}, stream {replay.snapshot.equity:,.2f}")

# %% [markdown]
# The same prices and the same code give the same account.
#
# ## What to try next
#
# - `qf.history("BTCUSDT", days=3, timeframe="1h")` fetches bars of the past; that needs a network.
# - `SyntheticFeed(..., volatility=3.0)`: a wilder market.
# - Notebook **03**: write a strategy while the prices come.
