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
# # A strategy that learns
#
# A small model of the library [river](https://riverml.xyz) learns from one bar at a time, while it trades.
#
# This is an **example of how**, and not an edge: whether tomorrow rises or falls can hardly be told from the last days.
# What counts here is that the model never sees the future, and that a replay of it is equal to the last bit.
#
# river is an extra: `pip install "qfkit[learning]"`.

# %%
from river import linear_model, optim, preprocessing

import qfkit as qf

# %% [markdown]
# ## The strategy
#
# At each closed bar, in this order:
#
# 1. The model **learns**: yesterday's features, and whether the price has risen since.
# 2. Today's features are made, of closed bars only.
# 3. The model **predicts** the next bar. Where it is sure enough, the strategy holds the share.
#
# So it predicts each bar before it learns from it.


# %%
class OnlineLearner(qf.Strategy):
    """Long while a logistic regression, learning as it goes, expects a rise."""

    sure = qf.Param(0.52, low=0.5, high=0.9)  # how likely a rise must be
    weight = qf.Param(0.9, low=0.0, high=1.0)
    school = qf.Param(250, low=0, high=2_000)  # bars to learn from before the first order

    def setup(self):
        self.short = self.indicator(qf.RateOfChange, 2)
        self.long = self.indicator(qf.RateOfChange, 20)
        self.strength = self.indicator(qf.RSI, 14)

    def on_start(self):
        self.models = {}
        self.before = {}  # by symbol: the features and the close of the bar before
        self.learned = self.right = 0

    def on_bar(self, bar):
        symbol = bar.symbol
        if symbol not in self.models:
            # Nothing in it is drawn by chance, so a replay learns the same.
            self.models[symbol] = preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.01))
        model = self.models[symbol]

        if symbol in self.before:
            features, close, expected = self.before[symbol]
            rose = bar.close > close
            self.right += expected == rose
            self.learned += 1
            model.learn_one(features, rose)

        features = {
            "short": self.short[symbol].value,
            "long": self.long[symbol].value,
            "strength": self.strength[symbol].value,
        }
        likely = model.predict_proba_one(features).get(True, 0.5)
        self.before[symbol] = (features, bar.close, likely > 0.5)

        if self.learned < self.school:
            return
        if likely > self.sure and not self.position(symbol):
            self.order_target(symbol, weight=self.weight, reason=f"a rise is {likely:.0%} likely")
        elif likely < 0.5 and self.position(symbol):
            self.close(symbol, reason=f"a rise is {likely:.0%} likely")

    def on_stop(self):
        print(f"right on {self.right / max(self.learned, 1):.1%} of {self.learned:,} bars")


# %% [markdown]
# ## On history
#
# Thirteen years of real daily prices, the first year for learning only. At the end it prints how often it was right
# about the next day: chance would be about one half.

# %%
result = qf.backtest(OnlineLearner(), qf.sample("IBM"), cash=100_000)
result

# %% [markdown]
# And how did simply holding do?

# %%
result.compare("buy and hold")

# %% [markdown]
# Be suspicious of any figure here that looks good. Change one number, such as `optim.SGD(0.02)` or `school=500`, and
# see how much of it stays.
#
# ## On a stream
#
# The same class learns live.

# %% tags=["nbval-ignore-output"]
feed = qf.feeds.sample("IBM", days_per_second=1_200)
# feed = qf.feeds.BinanceFeed(["BTCUSDT"])  # live prices in bars of a minute; then take school=30
session = qf.paper(OnlineLearner(), feed, cash=100_000, name="learner")
session.start()

# %% tags=["nbval-ignore-output"]
session.wait(30)
session.stop()
print(f"{session.state}: {len(session.trades)} trades")

# %% [markdown]
# It learned the same in the stream as in the backtest: same prices, same model, same account. A replay too.

# %%
print(f"backtest  {result.metrics.end_equity:12,.2f}")
print(f"session   {session.snapshot.equity:12,.2f}")
print(session.verify())

# %% [markdown]
# ## What to try next
#
# - `tree.HoeffdingTreeClassifier()` or `naive_bayes.GaussianNB()` of river instead. Give a model that draws by chance
#   a seed, `forest.ARFClassifier(seed=7)`, or its replay cannot be equal.
# - Features of your own. All that a strategy may use is in `self` and in the bar: then it cannot look ahead.
# - Several shares: each has a model of its own already.
