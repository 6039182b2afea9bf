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
# # Risk and costs
#
# What trading costs, how much to buy, and what stops you in time. On thirteen years of real daily prices.

# %%
import pandas

import qfkit as qf

bars = qf.sample("AAPL")
# bars = qf.history("AAPL", days=1_000)  # newer ones, from Yahoo; needs a network


# %%
class Trend(qf.Strategy):
    """Long while the fast average is above the slow one."""

    fast = qf.Param(5, low=2, high=60)
    slow = qf.Param(20, low=5, high=240)

    def setup(self):
        self.fast_average = self.indicator(qf.SMA, self.fast)
        self.slow_average = self.indicator(qf.SMA, self.slow)

    def on_bar(self, bar):
        fast, slow = self.fast_average[bar.symbol], self.slow_average[bar.symbol]
        if fast.crossed_above(slow):
            self.buy(bar.symbol, reason="fast average crossed above slow")  # how much? the sizer says
        elif fast.crossed_below(slow):
            self.close(bar.symbol, reason="fast average crossed below slow")


half = qf.sizing.FractionOfEquity(0.5)


def table(results, figures):
    """A row for each result."""
    rows = {name: result.metrics_by("strategy").loc["account", figures] for name, result in results.items()}
    return pandas.DataFrame(rows).T.astype(float).round(3)


# %% [markdown]
# ## The same trades at three costs

# %%
costs = {"none": qf.Costs.ideal(), "usual": qf.Costs(), "harsh": qf.Costs.harsh()}
results = {name: qf.backtest(Trend(), bars, costs=each, sizer=half) for name, each in costs.items()}
table(results, ["end_equity", "fees", "trades"])

# %% [markdown]
# A backtest without costs is a wish. `qf.Costs()` is what you get if you say nothing: 0.1 % commission, a price one
# hundredth of a percent worse than the last, a delay of 0.1 s, and at most a tenth of what was traded.
#
# Each result says what it rests on:

# %%
print(*results["harsh"].assumptions, sep="\n")

# %% [markdown]
# Costs of your own: the price moves against large orders, and the delay differs from order to order.

# %%
own = qf.Costs(
    commission=0.0005,
    slippage_bps=2.0,
    impact=qf.SquareRootImpact(),
    latency_s=qf.LogNormalLatency(median_s=0.2, sigma=0.5, seed=7),
)
qf.backtest(Trend(), bars, costs=own, sizer=half)

# %% [markdown]
# ## How much to buy
#
# A sizer decides. Compare three of them on the same signals.
#
# - *fraction*: half of the money each time.
# - *risk per trade*: so much that two usual days' ranges against you cost 1 % of the money.
# - *volatility target*: more in calm times, less in wild ones.

# %%
sizers = {
    "fraction": half,
    "risk per trade": qf.sizing.RiskPerTrade(0.01),
    "volatility target": qf.sizing.VolatilityTarget(0.15),
}
sized = {name: qf.backtest(Trend(), bars, sizer=sizer) for name, sizer in sizers.items()}
table(sized, ["total_return", "volatility", "sharpe", "max_drawdown"])

# %% [markdown]
# **Try:** `RiskPerTrade(0.02)`. Return and drawdown grow together.
#
# ## Limits
#
# Limits are checked before each order, on the position as it would be. What goes beyond is cut off, and what closes a
# position always passes.

# %%
limited = qf.backtest(Trend(), bars, sizer=half, risk=qf.RiskLimits(max_position_weight=0.3))
limited.signals.groupby(["action", "decision", "decision_check"]).size().to_frame("signals")

# %% [markdown]
# Every purchase was cut from 50 % to 30 % of the money. The numbers behind the first of them:

# %%
cut = limited.signals.query("decision == 'resized'").iloc[0]
limited.checks.query("signal_id == @cut.signal_id")[["check", "value", "limit", "allowed", "passed"]]

# %% [markdown]
# Limits on losses stop a strategy. Here it may lose 15 % from its highest point:

# %%
loss = qf.RiskLimits(max_drawdown=0.15, on_breach="flatten")
stopped = qf.backtest(Trend(), bars, sizer=half, risk=loss)
stopped.stops[["stop", "change", "why"]]

# %% [markdown]
# On that day all was sold, and it bought nothing more: a stop like this one is lifted by hand, or after
# `lift_after_s` seconds. The result shows where:

# %%
stopped

# %% [markdown]
# ## Risk while it runs
#
# Limits work the same in a session. This one trades two shares. `session.risk` asks what could be lost, from the returns so far.

# %% tags=["nbval-ignore-output"]
feed = qf.feeds.sample("GOOG", "IBM", days_per_second=1_200)
# feed = qf.feeds.BinanceFeed(["BTCUSDT", "ETHUSDT"])
session = qf.paper(
    Trend(), feed, sizer=half, risk=qf.RiskLimits(max_position_weight=0.3, max_gross_exposure=0.5), name="risk"
).start()
session.wait(30)
session.stop()
session.risk

# %%
session.limits

# %% [markdown]
# And if tomorrow were bad? Losses of a fall, and of days in which all move as one and three times as far as usual.

# %% tags=["nbval-ignore-output"]
qf.stress(session, {"GOOG": -0.2, "*": -0.1}, volatility=3.0, correlation=1.0)

# %% [markdown]
# ## What to try next
#
# - `margin=qf.Margin.regulation_t(borrow_rate=0.03)` in `qf.backtest`: borrowed money, interest and margin calls.
# - `qf.SignalFilters(cooldown_after_loss_s=30 * 86_400)` as `filters=`: no entry for a month after a loss.
# - Notebook **06**: the story of a single order, limits and costs included.
