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
# # A paper-trading session, live
#
# Two strategies trade on a **synthetic exchange**, from now on, for an hour: nobody ever traded at these prices, and no
# profit or loss on them means anything. Move a slider, change the chart, press *Pause* or *Flatten*.

# %% tags=["nbval-ignore-output"]
import tempfile

import qfkit as qf

feed = qf.feeds.SyntheticFeed(["BTCUSDT", "ETHUSDT", "SOLUSDT"], duration_s=3_600)
# feed = qf.feeds.BinanceFeed(["BTCUSDT", "ETHUSDT", "SOLUSDT"])  # live prices, no key

session = qf.paper(
    {
        "trend": qf.MovingAverageCrossover(fast=5, slow=15),
        "reversion": qf.BollingerReversion(period=20, width=2.0),
    },
    feed,
    timeframe="1s",
    risk={"account": qf.RiskLimits(max_gross_exposure=0.8, max_daily_loss=0.05)},
    name="page",
    journal=tempfile.mkdtemp(),  # each visitor's own
)
session.start()

# %% [markdown]
# The page is the notebook `dashboard_page.ipynb`, shown by Voila: `voila notebooks/dashboard_page.ipynb`.
