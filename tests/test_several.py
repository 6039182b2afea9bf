"""Several strategies in one account: one joins, pauses or stops alone while the others run on."""

import numpy as np
import pytest
from test_session import HandFeed, until
from test_session import bar as flat

import qfkit as qf
from qfkit.core.events import Bar


class Holds(qf.Strategy):
    """Buys a quantity at its first bar and keeps it; remembers the bars and transfers that it was told of."""

    quantity = qf.Param(10.0)

    def setup(self) -> None:
        self.average = self.indicator(qf.SMA, 5)

    def on_start(self) -> None:
        self.seen: list[int] = []
        self.told: list[tuple[float, float]] = []

    def on_bar(self, bar: Bar) -> None:
        if not self.seen and self.quantity:
            self.buy(bar.symbol, quantity=self.quantity)
        self.seen.append(bar.close_ns)

    def on_transfer(self, amount: float, owed: float) -> None:
        self.told.append((amount, owed))


def given(feed: HandFeed, session: qf.Session, *bars: Bar) -> None:
    before = session.snapshot.events
    feed.give(*bars)
    until(lambda: session.snapshot.events >= before + len(bars))


def test_one_joins_by_hand() -> None:
    """Two with 500 each; one holds 10 A at 10 (400 free), the other nothing (500 free). 180 join: 80 and 100 of it."""
    feed = HandFeed()
    session = qf.paper(
        {"holds": Holds(quantity=10.0), "cash": Holds(quantity=0.0)}, feed, cash=1000.0, costs=qf.Costs.ideal()
    ).start()
    given(feed, session, *[flat(index, 10.0) for index in range(8)])
    session.add(Holds(quantity=2.0), "third", cash=180.0)
    assert [view.name for view in session.snapshot.strategies] == ["holds", "cash", "third"]
    assert session.snapshot.strategies[2].waiting.startswith("waits for its capital")
    given(feed, session, flat(8, 10.0))
    transfers = session.transfers
    assert transfers["source"].tolist() == ["holds", "cash"]
    assert transfers["target"].tolist() == ["third", "third"]
    assert transfers["amount"].tolist() == pytest.approx([80.0, 100.0])
    # The bar after it: bought at 10, and A rises to 20.
    given(feed, session, flat(9, 20.0), flat(10, 20.0), flat(11, 20.0))
    engine = session._pipeline.engine
    books = {name: desk.book for name, desk in engine.desks.items()}
    assert {name: book.cash for name, book in books.items()} == pytest.approx({"holds": 320, "cash": 400, "third": 140})
    assert {name: book.equity for name, book in books.items()} == pytest.approx(
        {"holds": 520, "cash": 400, "third": 180}
    )
    # It saw the first bar after the equity point that brought the money, its average ready from the kept bars.
    assert engine.desks["third"].strategy.seen[0] == flat(8, 10.0).close_ns  # type: ignore[attr-defined]
    assert engine.desks["holds"].strategy.told == [pytest.approx((-80.0, 0.0))]  # type: ignore[attr-defined]
    equity = session.equity
    assert list(equity.columns) == ["account", "holds", "cash", "third"]
    first = equity["third"].first_valid_index()
    assert first == equity.index[8]
    assert equity["third"].isna().sum() == 8
    sums = equity[["holds", "cash", "third"]].sum(axis=1)
    np.testing.assert_allclose(sums, equity["account"], rtol=1e-12)
    # What moved is nobody's profit: nothing was lost by whoever gave, nothing won by who got it.
    growth = session.result.growth
    assert growth["cash"].tolist() == pytest.approx([1.0] * len(growth))
    assert growth["holds"].iloc[-1] == pytest.approx(520.0 / 420.0)
    assert growth["third"].dropna().tolist() == pytest.approx([1.0] * growth["third"].notna().sum())
    metrics, live = session.result.metrics_by(), session.metrics
    assert metrics.loc["third", "total_return"] == pytest.approx(0.0)
    assert metrics.loc["cash", "total_return"] == pytest.approx(0.0)
    for name in ("account", "holds", "cash", "third"):
        for figure in ("total_return", "max_drawdown", "fills", "volatility"):
            assert live.loc[name, figure] == pytest.approx(metrics.loc[name, figure], nan_ok=True), (name, figure)
    session.stop()
    assert session.verify()
