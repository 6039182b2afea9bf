"""The synthetic exchange: the same for the same arguments, and as bursty as the real one."""

import asyncio
import gzip
import itertools
import json
import time
from collections import Counter

import msgspec
import numpy as np
import pytest

from qfkit.core.costs import Costs
from qfkit.core.engine import Engine
from qfkit.core.events import Gap, Heartbeat, Quote, Tick, check_event
from qfkit.errors import ParameterError, QfkitError, SymbolError
from qfkit.feeds.synthetic import SyntheticFeed
from qfkit.strategies import MovingAverageCrossover

SECOND = 1_000_000_000
START = 1_704_153_600 * SECOND


def events_of(*args, **kwargs):
    return list(itertools.chain.from_iterable(SyntheticFeed(*args, speed=None, **kwargs).batches()))


def of_symbol(events, symbol):
    return [event for event in events if getattr(event, "symbol", None) == symbol]


async def collect(feed, skip=0):
    return [event async for batch in feed.events(skip) for event in batch]


def test_the_same_arguments_give_the_same_events_to_the_last_bit():
    first = events_of(seed=7, duration_s=30)
    assert msgspec.msgpack.encode(first) == msgspec.msgpack.encode(events_of(seed=7, duration_s=30))
    assert first != events_of(seed=8, duration_s=30)
    feed = SyntheticFeed(duration_s=30)
    assert next(feed.batches()) == next(feed.batches())


def test_a_shorter_run_is_the_beginning_of_a_longer_one():
    short, long = events_of(duration_s=10.0), events_of(duration_s=100.0)
    before = [event for event in long if event.time_ns < START + 10 * SECOND]
    assert [event for event in short if event.time_ns < START + 10 * SECOND] == before
    assert max(event.time_ns for event in short) == START + 10 * SECOND


def test_symbols_do_not_touch_each_other():
    alone = events_of(["BTCUSDT"], duration_s=20)
    many = events_of(["XRPUSDT", "ETHUSDT", "BTCUSDT"], duration_s=20)
    assert of_symbol(alone, "BTCUSDT") == of_symbol(many, "BTCUSDT")
    sides = [
        [tick.side for tick in of_symbol(many, symbol) if type(tick) is Tick][:200] for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    assert sides[0] != sides[1]


def test_trades_are_the_same_with_and_without_quotes():
    without = events_of(duration_s=20, quotes=False)
    assert not any(type(event) is Quote for event in without)
    assert without == [event for event in events_of(duration_s=20) if type(event) is not Quote]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"symbols": ["SHIB"], "prices": {"SHIB": 1.7e-5}},
        {"symbols": ["BRK"], "prices": {"BRK": 620_000.0}, "spread_bps": 5.0},
        {"volatility": 60.0, "trades_per_s": 300.0, "duration_s": 20.0},
        {"volatility": 0.0, "trades_per_s": 0.2, "regimes": False},
        {"trades_per_s": 20_000.0, "duration_s": 3.0},
    ],
)
def test_every_event_can_be_true_and_is_in_order(arguments):
    events = events_of(**arguments)
    for event in events:
        check_event(event)
    received = [event.received_ns for event in events]
    assert received == sorted(received)
    assert all(0 < event.received_ns - event.time_ns <= 60_000_000 for event in events)
    for symbol in {event.symbol for event in events if type(event) is Tick}:
        ticks = [event for event in of_symbol(events, symbol) if type(event) is Tick]
        times = [tick.time_ns for tick in ticks]
        assert times == sorted(times)
        assert [tick.trade_id for tick in ticks] == list(range(1, len(ticks) + 1))
        assert all(tick.size > 0 for tick in ticks)
        quotes = [event for event in of_symbol(events, symbol) if type(event) is Quote]
        assert [quote.time_ns for quote in quotes] == sorted(quote.time_ns for quote in quotes)
        assert all(quote.bid < quote.ask and quote.bid_size > 0 and quote.ask_size > 0 for quote in quotes)


def test_an_aggressive_order_begins_at_the_bid_or_ask_that_was_last_shown():
    quote, last_ns, orders = None, 0, 0
    for event in events_of(["BTCUSDT"], duration_s=120):
        if type(event) is Quote:
            quote = event
        elif type(event) is Tick:
            if event.time_ns != last_ns and quote is not None:
                assert event.price == (quote.ask if event.side == "buy" else quote.bid)
                orders += 1
            last_ns = event.time_ns
    assert orders > 500


def test_prices_lie_on_a_grid_of_few_decimals():
    for symbol, decimals in (("BTCUSDT", 2), ("ETHUSDT", 2), ("XRPUSDT", 5)):
        for event in events_of([symbol], duration_s=5):
            if type(event) is Tick:
                assert event.price == round(event.price, decimals)
                assert event.size == round(event.size, 6)


def test_a_heartbeat_each_second_closes_every_bar():
    events = events_of(duration_s=30)
    beats = [event for event in events if type(event) is Heartbeat]
    assert [beat.time_ns for beat in beats] == [START + number * SECOND for number in range(1, 31)]
    assert type(events[-1]) is Heartbeat
    for beat, position in ((event, index) for index, event in enumerate(events) if type(event) is Heartbeat):
        assert all(event.time_ns >= beat.time_ns for event in events[position:])


# -- as the real exchange ------------------------------------------------------------------------


def figures(milliseconds, prices, sizes, sides):
    """What both the capture and the synthetic trades are measured by. Times in whole milliseconds from 0."""
    seconds = int(milliseconds[-1]) // 1000
    inside = milliseconds < seconds * 1000
    per_second = np.bincount(milliseconds[inside] // 1000, minlength=seconds)
    stamps, together = np.unique(milliseconds, return_counts=True)
    executions = np.bincount(stamps // 1000)
    gaps = np.diff(stamps)
    at = np.searchsorted(milliseconds, np.arange(2, seconds) * 1000) - 1
    returns = np.diff(np.log(prices[at]))
    ordered = np.sort(sizes)
    buys = (np.array(sides) == "buy").astype(float)
    return {
        "trades a second": len(milliseconds) / seconds,
        "executions a second": len(stamps) / seconds,
        "seconds without a trade": (per_second == 0).mean(),
        "burst of trades": per_second.var() / per_second.mean(),
        "burst of executions": executions.var() / executions.mean(),
        "median gap ms": np.median(gaps),
        "long gap ms": np.quantile(gaps, 0.9),
        "one trade a ms": (together == 1).mean(),
        "many trades a ms": np.quantile(together, 0.99),
        "median size": np.median(sizes),
        "largest sizes' share": ordered[-len(ordered) // 100 :].sum() / ordered.sum(),
        "size deviation": np.log(sizes).std(),
        "return bps": returns.std() * 1e4,
        "kurtosis": ((returns - returns.mean()) ** 4).mean() / returns.var() ** 2,
        "side memory": np.corrcoef(buys[1:], buys[:-1])[0, 1],
    }


# By how much a seed's figure may differ: a factor either way. Tails differ most from run to run.
WITHIN = {
    "trades a second": 1.35,
    "executions a second": 1.25,
    "burst of trades": 5.0,
    "burst of executions": 2.5,
    "median gap ms": 2.0,
    "long gap ms": 1.6,
    "one trade a ms": 1.15,
    "many trades a ms": 2.0,
    "median size": 1.5,
    "largest sizes' share": 1.5,
    "size deviation": 1.2,
    "return bps": 1.5,
    "kurtosis": 5.0,
    "side memory": 1.3,
}


def test_bursts_and_tails_are_the_captures(capture_path):
    rows, spreads, quotes = [], [], 0
    with gzip.open(capture_path) as lines:
        for line in lines:
            payload = json.loads(line.partition(b" ")[2])
            data = payload.get("data", {})
            if data.get("e") == "trade":
                rows.append((data["T"], float(data["p"]), float(data["q"]), "sell" if data["m"] else "buy"))
            elif payload.get("stream", "").endswith("@bookTicker"):
                spreads.append(round((float(data["a"]) - float(data["b"])) * 100))
    times, prices, sizes, sides = zip(*rows, strict=True)
    real = figures(np.array(times) - times[0], np.array(prices), np.array(sizes), sides)
    assert 27 < real["trades a second"] < 29
    for seed in (7, 1, 2, 3):
        events = events_of(["BTCUSDT"], seed=seed, duration_s=346.0)
        ticks = [event for event in events if type(event) is Tick]
        made = figures(
            np.array([tick.time_ns - START for tick in ticks]) // 1_000_000,
            np.array([tick.price for tick in ticks]),
            np.array([tick.size for tick in ticks]),
            [tick.side for tick in ticks],
        )
        for name, factor in WITHIN.items():
            assert real[name] / factor < made[name] < real[name] * factor, (seed, name, real[name], made[name])
        assert made["seconds without a trade"] < 0.05
        quotes = [event for event in events if type(event) is Quote]
        assert 0.8 < len(quotes) / len(spreads) < 1.25
        one_tick = np.mean([round((quote.ask - quote.bid) * 100) == 1 for quote in quotes])
        assert abs(one_tick - np.mean(np.array(spreads) == 1)) < 0.1


def test_the_long_run_has_the_rate_and_the_volatility_asked_for():
    counts, second_returns = [], []
    for seed in range(4):
        ticks = [
            event
            for event in events_of(
                ["X"], seed=seed, prices={"X": 5e4}, duration_s=1800.0, trades_per_s=40.0, volatility=0.3, quotes=False
            )
            if type(event) is Tick
        ]
        counts.append(len(ticks) / 1800)
        times = np.array([tick.time_ns - START for tick in ticks])
        prices = np.array([tick.price for tick in ticks])
        second_returns.append(np.diff(np.log(prices[np.searchsorted(times, np.arange(5, 1800) * SECOND) - 1])))
    assert np.mean(counts) == pytest.approx(40.0, rel=0.15)
    yearly = np.concatenate(second_returns).std() * np.sqrt(365 * 86_400)
    assert yearly == pytest.approx(0.3, rel=0.2)


def test_averages_cross_several_times_in_a_minute():
    signals = Counter()
    for seed in (7, *range(10)):
        feed = SyntheticFeed(seed=seed, duration_s=60.0)
        strategy = MovingAverageCrossover(fast=5, slow=15)
        engine = Engine({"crossing": strategy}, cash=1e5, costs=Costs.ideal(), timeframe="1s", symbols=feed.symbols)
        for batch in feed.batches():
            engine.process_all(batch)
        signals[seed] = len(engine.records.fills)
    assert signals[7] >= 4
    assert sum(count >= 2 for count in signals.values()) >= 8


# -- losses --------------------------------------------------------------------------------------


def test_a_connection_loss_leaves_a_counted_gap():
    whole = events_of(duration_s=30)
    cut = events_of(duration_s=30, gaps=[(5.25, 4.5), (20, 0.001)])
    from_ns, until_ns = START + 5_250_000_000, START + 9_750_000_000
    assert not [event for event in cut if from_ns <= event.received_ns < until_ns]
    gaps = [event for event in cut if type(event) is Gap]
    assert [(gap.symbol, gap.start_ns, gap.end_ns) for gap in gaps[:2]] == [
        ("BTCUSDT", from_ns, until_ns),
        ("ETHUSDT", from_ns, until_ns),
    ]
    assert len(gaps) == 4
    for gap in gaps:
        check_event(gap)
        ids = [
            event.trade_id
            for event in of_symbol(cut, gap.symbol)
            if type(event) is Tick and event.received_ns < gap.received_ns
        ]
        after = [
            event.trade_id
            for event in of_symbol(cut, gap.symbol)
            if type(event) is Tick and event.received_ns >= gap.received_ns
        ]
        assert after[0] - ids[-1] - 1 == gap.missing
    assert gaps[0].missing > 10
    received = [event.received_ns for event in cut]
    assert received == sorted(received)
    lost = [
        event
        for event in whole
        if from_ns <= event.received_ns < until_ns or START + 20 * SECOND <= event.received_ns < START + 20_001_000_000
    ]
    assert [event for event in cut if type(event) is not Gap] == [event for event in whole if event not in lost]


def test_a_loss_longer_than_what_is_made_at_once():
    cut = events_of(duration_s=100, gaps=[(10, 60)])
    assert [type(event) for event in cut if START + 10 * SECOND <= event.received_ns <= START + 70 * SECOND] == [
        Gap,
        Gap,
    ]


async def test_losses_are_counted_by_the_feed():
    feed = SyntheticFeed(duration_s=30, speed=None, gaps=[(5, 2), (10, 2)])
    await collect(feed)
    assert (feed.gaps, feed.reconnects) == (4, 2)


async def test_the_health_of_each_symbol_is_counted():
    feed = SyntheticFeed(duration_s=30, speed=None, gaps=[(5, 2), (10, 2)])
    events = await collect(feed)
    for symbol, health in feed.health.iterrows():
        own = [event for event in events if getattr(event, "symbol", "") == symbol]
        lost = [event.missing for event in own if type(event) is Gap]
        assert (health.events, health.gaps_open, health.missing) == (len(own), 2, sum(lost))
        assert (health.reconnects, health.state) == (2, "closed")


# -- as a feed -----------------------------------------------------------------------------------


async def test_the_feed_gives_what_batches_gives_also_when_begun_in_the_middle():
    whole = events_of(duration_s=30)
    feed = SyntheticFeed(duration_s=30, speed=None)
    assert feed.now_ns() == START
    assert await collect(feed) == whole
    assert feed.now_ns() == whole[-1].received_ns
    assert feed.state == "closed"
    for skip in (0, 1, 2_047, len(whole) - 1, len(whole)):
        assert await collect(feed, skip) == whole[skip:]
    assert not feed.is_live
    assert feed.label == "synthetic exchange (seed 7)"


async def test_an_endless_feed_ends_when_stopped():
    feed = SyntheticFeed(duration_s=None, speed=None)
    count = 0
    async for batch in feed.events():
        count += len(batch)
        if count > 20_000:
            await feed.stop()
    assert 20_000 < count < 30_000


async def test_stop_ends_a_wait_at_once():
    feed = SyntheticFeed(duration_s=None, speed=0.01, trades_per_s=0.01, quotes=False)
    reading = asyncio.create_task(collect(feed))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await feed.stop()
    await asyncio.wait_for(reading, 1.0)
    assert time.monotonic() - began < 0.2


async def test_pace():
    feed = SyntheticFeed(duration_s=2.0, speed=10.0)
    began, late = time.monotonic(), []
    async for batch in feed.events():
        position_s = (time.monotonic() - began) * 10.0
        late.append(position_s - (batch[-1].received_ns - START) / SECOND)
        assert feed.now_ns() == batch[-1].received_ns
    took = time.monotonic() - began
    assert 0.18 < took < 1.0
    assert min(late) > -0.05
    assert len(late) <= 12
    assert feed.state == "closed"


async def test_paced_events_are_the_same_events():
    assert await collect(SyntheticFeed(duration_s=5.0, speed=50.0)) == events_of(duration_s=5.0)


def test_memory_does_not_grow_with_the_duration():
    longest = max(len(batch) for batch in SyntheticFeed(duration_s=600.0, trades_per_s=200.0).batches())
    assert longest <= 2_048


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"symbols": "BTCUSDT"}, SymbolError, r"give a list, \['BTCUSDT'\]"),
        ({"symbols": []}, SymbolError, "name one"),
        ({"symbols": ["BTCUSDT", ""]}, SymbolError, "''"),
        ({"prices": {"BTCUSD": 5.0}}, SymbolError, "Did you mean 'BTCUSDT'"),
        ({"prices": {"BTCUSDT": 0.0}}, ParameterError, r"prices\['BTCUSDT'\]=0.0"),
        ({"seed": -1}, ParameterError, "seed=-1"),
        ({"seed": 1.5}, ParameterError, "seed=1.5"),
        ({"duration_s": 0.0}, ParameterError, "duration_s=0.0.*None"),
        ({"speed": float("nan")}, ParameterError, "speed=nan"),
        ({"start_ns": 1.7e18}, ParameterError, "start_ns"),
        ({"trades_per_s": 0.0}, ParameterError, "trades_per_s=0.0"),
        ({"volatility": -0.1}, ParameterError, "volatility=-0.1"),
        ({"spread_bps": -1.0}, ParameterError, "spread_bps=-1.0"),
        ({"gaps": [5]}, ParameterError, "pairs of seconds"),
        ({"gaps": [(5, 0)]}, ParameterError, r"\(5, 0\)"),
        ({"gaps": [(5, 5), (8, 1)]}, ParameterError, "before the one before it is over"),
        ({"gaps": [(50, 20)]}, ParameterError, "ends after duration_s=60.0"),
    ],
)
def test_bad_arguments_are_named_with_the_fix(arguments, error, words):
    with pytest.raises(error, match=words) as caught:
        SyntheticFeed(**arguments)
    assert isinstance(caught.value, QfkitError)
