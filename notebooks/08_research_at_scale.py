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
# # Research at scale
#
# One backtest is a story. This notebook asks how much of it is evidence: is the future hidden, do the neighbours agree,
# what is the best of many tries worth, and what came after the choice? Then it tries 10,000 combinations on a cluster.
#
# The cluster is [Dask](https://distributed.dask.org) on this machine, an extra: `pip install "qfkit[dask]"`.

# %%
import time
from _thread import interrupt_main
from pathlib import Path
from threading import Timer

import pandas
from distributed import Client, LocalCluster

import qfkit as qf

bars = qf.sample("IBM")  # thirteen years of real daily prices


# %%
@qf.signal(fast=10, slow=100, band=0.0)
def trend(bars, fast, slow, band):
    """Long while the fast average is above the slow one by more than a band."""
    return qf.SMA(fast).over(bars.close) > qf.SMA(slow).over(bars.close) * (1 + band)


# %% [markdown]
# ## Does it see the future?
#
# At many moments what comes after is cut off, and then replaced by other prices. What the strategy decided up to there
# must stay the same.

# %% tags=["nbval-ignore-output"]
qf.check_lookahead(trend, bars)


# %% [markdown]
# And one with a mistake in it, which is easily made: the scale is that of all years, the future ones too.


# %% tags=["nbval-ignore-output"]
@qf.signal(level=0.5)
def scaled(bars, level):
    scale = (bars.close - bars.close.min()) / (bars.close.max() - bars.close.min())
    return scale > level


qf.check_lookahead(scaled, bars)

# %% [markdown]
# ## A small sweep
#
# A hundred combinations first. It takes less than a second, so it is done in this process.

# %% tags=["nbval-ignore-output"]
small = qf.sweep(trend, bars, fast=range(5, 55, 5), slow=range(60, 260, 20))
small

# %% [markdown]
# Is the best one a plateau or a lone peak? Each cell of the map is a pair of lengths, and the best is framed. Good neighbours
# are a better sign than a high peak: prices to come will not fit the exact lengths. Of three axes or more,
# `small.parallel()` draws a line for each combination.

# %% [markdown]
# ## What is the best of many worth?
#
# Who tries a hundred things finds something that looks good. Two figures say how much of it is luck:
#
# - the **deflated Sharpe ratio**: how likely it is that the best is worth more than the best of a hundred worthless ones
#   would show. Above 95 % is usually asked for.
# - the **probability of overfitting**: how often the best of one half of time was no better than the median in the other.
#   At 50 % you might as well have drawn lots.

# %%
small.overfitting

# %% [markdown]
# No proof of anything, then. That is the usual answer, and good to know before money is in it.
#
# ## What came after the choice?
#
# A walk-forward chooses on four years, trades the year after, and moves on. All those years are one run, with one account.

# %% tags=["nbval-ignore-output"]
forward = qf.walk_forward(trend, bars, train="208w", test="52w", fast=range(5, 55, 5), slow=range(60, 260, 20))
forward

# %% [markdown]
# ## What if?
#
# The same prices at other costs: none, usual and harsh. An edge that lives between the lines of this picture is none.

# %%
best = small.best
best.band()

# %% [markdown]
# Or with other parameters. Any setting of a backtest can be asked about.

# %%
best.what_if(params={"fast": 30}).table.loc[["total_return", "sharpe", "max_drawdown", "trades"]].round(3)

# %% [markdown]
# ## How much of it is chance?
#
# The run's own returns, drawn anew a thousand times in blocks, give an interval for each figure, and a fan of where the
# account might have ended.

# %%
best.intervals()

# %%
best.monte_carlo()

# %% [markdown]
# ## A page to keep
#
# All of this in one file that needs no network and prints well. It knows how many tries there were.

# %%
path = best.report("trend.html")
print(f"{path}: {path.stat().st_size / 1000:.0f} kB")

# %% [markdown]
# ## 10,000 combinations on a cluster
#
# Two worker processes of this machine. In a script these lines belong under `if __name__ == "__main__":`, because
# the workers begin by importing it; in a notebook they do not.

# %% tags=["nbval-ignore-output"]
cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0")
client = Client(cluster)
print(f"{len(client.nthreads())} workers")

# %% [markdown]
# `executor=client` is all that a sweep needs. Strategy and prices go to each worker once, however many tasks there are, and rows
# come back as they are done. What is done is kept in a Parquet file.
#
# Press the stop button whenever you like: nothing that is done is lost. Here a timer presses it after four seconds.

# %% tags=["nbval-ignore-output"]
axes = {
    "fast": range(2, 52, 2),
    "slow": range(60, 260, 5),
    "band": [number / 500 for number in range(10)],
}
stop_button = Timer(4.0, interrupt_main)
stop_button.start()
sweep = qf.sweep(trend, bars, executor=client, path="trend.parquet", **axes)
stop_button.cancel()
print(f"{sweep.done:,} of {len(sweep):,} done")

# %% tags=["nbval-ignore-output"]
began_s, before = time.perf_counter(), sweep.done
sweep.continue_(client)
took_s = time.perf_counter() - began_s
print(f"{sweep.done - before:,} combinations in {took_s:.1f} s: {(sweep.done - before) / took_s:,.0f} a second")

# %%
print(f"{sweep.done:,} done, {sweep.failed} failed")

# %% [markdown]
# Each row is the backtest of its parameters, to the last digit, wherever it was run. Three of them, run once more here:

# %%
for number in (0, 5_000, 9_999):
    row = sweep.table.loc[number]
    alone = qf.backtest(trend(fast=int(row["fast"]), slow=int(row["slow"]), band=row["band"]), bars)
    print(f"{number:5}: {row['end_equity']:.2f}", row["end_equity"] == alone.metrics.end_equity)

# %% [markdown]
# A hundred times as many tries found a better one. Look at what it is worth:

# %%
print(f"of {len(small):6,}: Sharpe {small.overfitting.sharpe:.2f}, deflated {small.overfitting.deflated_sharpe:.0%}")
print(f"of {len(sweep):6,}: Sharpe {sweep.overfitting.sharpe:.2f}, deflated {sweep.overfitting.deflated_sharpe:.0%}")

# %%
sweep.plot()

# %% [markdown]
# The file is there for other programs and other days: `qf.read_sweep("trend.parquet")`, pandas, polars or DuckDB.
# The cell of the sweep, run again, begins with what is in it.

# %%
table = pandas.read_parquet("trend.parquet", columns=["fast", "slow", "band", "sharpe", "trades"])
print(f"{len(table):,} rows in {Path('trend.parquet').stat().st_size / 1e6:.0f} MB")
table.groupby("band")["sharpe"].describe()[["min", "50%", "max"]].round(2)

# %%
client.close()
cluster.close()

# %% [markdown]
# ## On other machines
#
# Two things change. The address of a scheduler instead of a cluster of your own:
#
# ```python
# client = Client("tls://scheduler:8786", security=...)  # the certificates, as Dask describes
# ```
#
# And prices that lie where all workers see them, such as an object store (`pip install "qfkit[s3]"`):
#
# ```python
# market = qf.recordings("s3://bucket/market")
# bars = market.bars("BTCUSDT", timeframe="1m", start="2024-01-01", end="2024-07-01")
# ```
#
# Workers read the days that they need, and no others. They must have qfkit in the same version, and the keys of the store in
# their environment. Prices in a DataFrame, as above, work as well: they are sent to each worker once.
#
# A worker that is lost takes nothing with it: what it had is done by another. (Dask may look for it for half a minute;
# `dask.config.set({"distributed.comm.timeouts.connect": "5s"})` makes that shorter.) A combination that fails is a row with its error.
#
# Other clusters work the same: `executor=` takes any `concurrent.futures.Executor`, mpi4py's `MPIPoolExecutor()` say, and
# ipyparallel's `Client()`.
#
# ## Does it go on as expected?
#
# The same strategy as a paper-trading session. `drift` asks whether its figures are inside what the backtest's own returns
# say about so long a stretch.

# %% tags=["nbval-ignore-output"]
feed = qf.feeds.sample("IBM", days_per_second=1_200)
# feed = qf.feeds.BinanceFeed(["BTCUSDT"])  # live prices in bars of a minute; then backtest on such bars too
session = qf.paper(trend(**small.best_parameters), feed, cash=100_000, name="research").start()
session.wait(30)
session.stop()
session.drift(best)

# %% [markdown]
# These are the years of the backtest, so it had better fit. On new prices that is the question.
#
# ## What to try next
#
# - `qf.sample("AAPL")` instead of IBM: the figures are splendid. But who would have picked that share in the year 2000?
# - `metric="max_drawdown"`, or a function of a result as the `metric` of a sweep.
# - `samples=2_000`: so many combinations drawn by lot, for more axes than a grid can hold.
# - `small.evidence(other_tries=10_000)`: what you tried before counts too.
