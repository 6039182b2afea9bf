"""How far trades stood against and for their holder: worked tables, invariants, the fast way, journals."""

import math
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from support import MINUTE, START, QuoteScript, Script, TickScript, bar, bars, quote, run, tick, walk

import qfkit as qf
from qfkit.core.costs import Costs
from qfkit.core.events import CorporateAction
from qfkit.core.orders import Trade
from qfkit.journal.reader import JournalReader
from qfkit.research import prepared
from qfkit.research.fast_signal import FastRecords


def excursions(engine) -> list[tuple[float, float]]:
    return [
        (round(one.max_adverse_excursion, 9), round(one.max_favourable_excursion, 9)) for one in engine.records.trades
    ]


def enter(side, **order):
    return lambda strategy: getattr(strategy, side)("A", **order)


def leave(strategy):
    strategy.close("A")


# Bars           open  high   low  close      A market order of bar 0 fills at the open of bar 1.
PATH = [(100, 100, 100, 100), (101, 104, 99, 102), (102, 108, 101, 107), (107, 109, 95, 96), (97, 120, 80, 90)]


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        # Entry 101, high 109 and low 95 up to bar 3, exit at the open of bar 4, 97: its 120 and 80 come later.
        ("buy", (-6 * 10, 8 * 10)),
        ("sell", (-8 * 10, 6 * 10)),
    ],
)
def test_on_bars_highs_and_lows_count_while_the_position_is_open(side, expected) -> None:
    engine = run(bars(PATH), {0: enter(side, quantity=10), 3: leave})
    assert excursions(engine) == [expected]
    (trade,) = engine.records.trades
    assert (trade.entry_price, trade.exit_price) == (101.0, 97.0)
    assert trade.max_adverse_return == pytest.approx(expected[0] / 1010)
    assert trade.max_favourable_return == pytest.approx(expected[1] / 1010)
    assert trade.holding_ns == 3 * MINUTE


def test_the_open_at_which_a_position_is_left_counts() -> None:
    engine = run(
        bars([(100, 100, 100, 100)] * 2 + [(100, 101, 100, 100), (90, 95, 50, 95)]),
        {0: enter("buy", quantity=1), 2: leave},
    )
    assert excursions(engine) == [(-10, 1)]


def test_of_the_bar_inside_which_an_order_filled_only_the_sure_part_counts() -> None:
    # The limit at 98 fills inside bar 1. Its high of 104 may have come before, its low of 95 too: the close is sure.
    rows = [(100, 100, 100, 100), (100, 104, 95, 99), (99, 103, 97, 100), (100, 100, 100, 100)]
    engine = run(bars(rows), {0: enter("buy", quantity=1, limit_price=98.0), 2: leave})
    assert excursions(engine) == [(-1, 5)]
    # Left inside bar 2 by the stop at 97: its high of 120 may have come after. The open, 99, came before.
    rows = [(100, 100, 100, 100), (100, 101, 99, 100), (99, 120, 90, 95), (95, 130, 80, 95)]
    engine = run(bars(rows), {0: enter("buy", quantity=1, stop_loss=97.0)})
    assert excursions(engine) == [(-3, 1)]


@pytest.mark.parametrize(("side", "expected"), [("buy", (-5, 8)), ("sell", (-8, 5))])
def test_on_ticks_each_price_counts(side, expected) -> None:
    prices = [100, 100, 104, 95, 108, 101, 150, 50]
    ticks = [tick(second, price) for second, price in enumerate(prices)]
    engine = run(ticks, {0: enter(side, quantity=1), 4: leave}, kind=TickScript)
    # Entry at 100 on the second tick, exit at 101 on the sixth; 150 and 50 come later.
    assert [(fill.price, fill.time_ns) for fill in engine.records.fills] == [
        (100, START + 10**9),
        (101, START + 5 * 10**9),
    ]
    assert excursions(engine) == [expected]


def test_slippage_is_a_loss_from_the_first_moment() -> None:
    costs = Costs(commission=0.0, slippage_bps=100.0, latency_s=0.0, participation=None)
    ticks = [tick(second, price) for second, price in enumerate([100, 100, 100, 102, 102])]
    engine = run(ticks, {0: enter("buy", quantity=1), 3: leave}, kind=TickScript, costs=costs)
    # Bought at 101 of a market at 100, sold at 100.98 of one at 102.
    assert excursions(engine) == [(-1, 1)]
    assert engine.records.trades[0].pnl == pytest.approx(-0.02)


def test_on_quotes_the_middle_counts() -> None:
    quotes = [quote(0, 99, 101), quote(1, 99, 101), quote(2, 89, 91), quote(3, 111, 113), quote(4, 99, 101)]
    engine = run(quotes, {0: enter("buy", quantity=1), 3: leave}, kind=QuoteScript)
    # Bought at the ask of 101, sold at the bid of 99; middles 90 and 112.
    assert excursions(engine) == [(-11, 11)]


def test_a_trade_in_parts_is_followed_as_one() -> None:
    # Fills at each open: buy 1 at 100, buy 1 at 90, sell 1 at 110, sell 1 at 95.
    rows = [(100, 100, 100, 100), (100, 100, 92, 92), (90, 106, 88, 104), (110, 112, 94, 95), (95, 200, 10, 95)]
    script = {
        0: enter("buy", quantity=1),
        1: enter("buy", quantity=1),
        2: enter("sell", quantity=1),
        3: enter("sell", quantity=1),
    }
    engine = run(bars(rows), script)
    (trade,) = engine.records.trades
    # Worst at 88 with both: 2 * 88 - 190 = -14. Best with one sold at 110 and the other at 112: 110 + 112 - 190 = 32.
    assert excursions(engine) == [(-14, 32)]
    assert (trade.pnl, trade.max_favourable_return) == (15.0, pytest.approx(32 / 190))


def test_a_turn_begins_a_trade_of_its_own() -> None:
    rows = [(100, 100, 100, 100), (100, 105, 98, 100), (101, 103, 96, 99), (99, 150, 50, 99)]
    engine = run(bars(rows), {0: enter("buy", quantity=1), 1: enter("sell", quantity=2), 2: leave})
    # Long from 100 to 101 with 98 to 105, then short from 101 to 99 with 103 to 96.
    assert [trade.side for trade in engine.records.trades] == ["long", "short"]
    assert excursions(engine) == [(-2, 5), (-2, 5)]


def test_a_split_and_a_dividend_are_no_excursions() -> None:
    rows = [bar(0, 100, 100, 100, 100), bar(1, 100, 102, 99, 100)]
    split = CorporateAction("A", rows[-1].close_ns, rows[-1].close_ns, split=4.0)
    dividend = CorporateAction("A", rows[-1].close_ns, rows[-1].close_ns, dividend=1.0)
    after = [bar(2, 24, 24.5, 23.5, 24), bar(3, 24, 40, 10, 24)]
    engine = run([*rows, split, dividend, *after], {0: enter("buy", quantity=10), 2: leave})
    (trade,) = engine.records.trades
    # 40 shares at 25; each was paid 1 and is worth 24: the price's fall by the dividend is none of the holder's.
    assert trade.pnl == pytest.approx(0.0)
    assert excursions(engine) == [(-20, 20)]


ACTIONS = some.lists(
    some.tuples(some.integers(0, 60), some.sampled_from(["buy", "sell", "close", "stop", "limit"])), max_size=25
)


@given(some.integers(0, 10_000), ACTIONS, some.booleans(), some.booleans())
@settings(max_examples=150, deadline=None)
def test_a_trade_ends_between_its_excursions(seed, actions, ticks, costly) -> None:
    def act(word):
        def does(strategy):
            price = strategy.price("A")
            if word == "close":
                strategy.close("A")
            elif word == "stop":
                strategy.buy("A", quantity=2, stop_price=round(price * 1.001, 2))
            elif word == "limit":
                strategy.sell("A", quantity=3, limit_price=round(price * 1.001, 2))
            else:
                getattr(strategy, word)("A", quantity=1 + seed % 3)

        return does

    events = walk(64, seed=seed)
    if ticks:
        events = [tick(60.0 * number, one.close) for number, one in enumerate(events)]
    engine = run(
        events,
        {number: act(word) for number, word in actions},
        costs=Costs() if costly else Costs.ideal(),
        kind=TickScript if ticks else Script,
    )
    for trade in engine.records.trades:
        gross = trade.pnl + trade.fees
        notional = trade.entry_price * trade.quantity
        rounding = 1e-9 * notional
        assert trade.max_adverse_excursion <= 0.0 <= trade.max_favourable_excursion
        assert trade.max_adverse_excursion - rounding <= gross <= trade.max_favourable_excursion + rounding
        assert trade.return_ <= trade.max_favourable_return + 1e-9


@pytest.mark.parametrize("costs", [Costs.ideal(), Costs(participation=None)])
def test_the_short_way_of_a_signal_function_has_the_same(monkeypatch, costs) -> None:
    @qf.signal
    def trend(bars):
        return (qf.SMA(10).over(bars.close) > qf.SMA(30).over(bars.close)) * 2.0 - 1.0

    frame = qf.sample("AAPL")
    fast = qf.backtest(trend, frame, costs=costs)
    assert isinstance(fast.records, FastRecords)
    monkeypatch.setattr(prepared, "fast_run", lambda *_: None)
    slow = qf.backtest(trend, frame, costs=costs)
    assert not isinstance(slow.records, FastRecords)
    assert len(fast.records.trades) > 50
    assert fast.records.trades == slow.records.trades


def test_on_real_bars_it_is_what_a_plain_look_at_the_prices_says() -> None:
    frame = qf.sample("MSFT")
    result = qf.backtest(qf.MovingAverageCrossover(fast=5, slow=20), frame, costs=Costs.ideal())
    trades = result.trades
    assert len(trades) > 50
    for _, trade in trades.iterrows():
        # Open at the open of the entry's day up to that of the exit's.
        held = frame[(frame.index >= trade.entry_time) & (frame.index < trade.exit_time)]
        low, high = min(held.low.min(), trade.exit_price), max(held.high.max(), trade.exit_price)
        assert trade.max_adverse_excursion == pytest.approx(
            min(low - trade.entry_price, 0.0) * trade.quantity, abs=1e-6
        )
        assert trade.max_favourable_return == pytest.approx(max(high / trade.entry_price - 1.0, 0.0), abs=1e-9)
        assert trade.holding_time == trade.exit_time - trade.entry_time


# -- journals --------------------------------------------------------------------------------


def session_of(tmp_path, speed=None):
    return qf.paper(
        qf.MovingAverageCrossover(fast=5, slow=20),
        qf.feeds.sample("AAPL", speed=speed),
        journal=tmp_path / "one.sqlite",
    )


def test_a_journal_keeps_and_verifies_them(tmp_path) -> None:
    session = session_of(tmp_path).start().wait(60.0)
    assert session.verify()
    assert (session.trades.max_adverse_excursion < 0.0).sum() > 20
    with closing(sqlite3.connect(session.journal_path)) as connection, connection:
        connection.execute("UPDATE trades SET max_adverse_excursion = max_adverse_excursion - 1 WHERE rowid = 3")
    assert "max_adverse_excursion" in session.verify().text


def test_a_journal_of_before_is_read_verified_and_continued(tmp_path) -> None:
    session = session_of(tmp_path, speed=2_000.0 * 86_400).start()
    while len(session.trades) < 5:
        session.wait(0.1)
    path = session.suspend().journal_path
    with closing(sqlite3.connect(path)) as connection, connection:
        for column in ("entry_rate", "max_favourable_excursion", "max_adverse_excursion"):
            connection.execute(f"ALTER TABLE trades DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 1")
    with JournalReader(path) as reader:
        trades = reader.trades()
    assert isinstance(trades[0], Trade)
    assert math.isnan(trades[0].max_adverse_excursion)
    assert session.verify()
    resumed = qf.resume(path, feed=qf.feeds.sample("AAPL", speed=None)).start().wait(60.0)
    assert resumed.verify()
    assert len(resumed.trades) > len(trades)
    assert resumed.trades.max_favourable_excursion.isna().all()
    whole = qf.backtest(qf.MovingAverageCrossover(fast=5, slow=20), qf.sample("AAPL"))
    assert resumed.trades.pnl.tolist() == whole.trades.pnl.tolist()
