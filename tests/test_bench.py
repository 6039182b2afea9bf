"""The benchmark's pure parts: its data, its comparison of fills and its verdicts."""

import json
import sys

import numpy as np
import pytest

from bench.flood import SYMBOLS, Digest, trade_payload
from bench.processes import run_apart
from bench.report import Row, at_least, at_most, rate, write
from bench.work import FAST, SLOW, Fills, Timing, bar_data, difference, load, save, tick_data, ties
from qfkit.core.events import check_event
from qfkit.feeds.binance_frames import parse_frame


def _fills(**changed):
    fills = {
        "time_ns": np.array([1, 2]),
        "side": np.array([1, -1]),
        "quantity": np.array([100.0, 100.0]),
        "price": np.array([10.5, 11.25]),
    }
    return Fills(**{**fills, **changed})


def test_averages_are_never_equal_in_the_data():
    close = bar_data(3_000)["close"]
    cents = [round(price * 100) for price in close]
    equal = [
        end
        for end in range(SLOW, len(cents) + 1)
        if sum(cents[end - FAST : end]) * SLOW == sum(cents[end - SLOW : end]) * FAST
    ]
    assert equal == []
    assert (np.abs(close * 100 - np.rint(close * 100)) < 1e-6).all()


def test_ties_are_found_where_they_are():
    assert ties(np.array([5, 5, 5, 5, 5, 9]), 2, 4).tolist() == [3, 4]


def test_bars_are_possible_and_the_same_every_time():
    one, again = bar_data(500), bar_data(500)
    assert all((one[name] == again[name]).all() for name in one)
    assert (one["high"] >= np.maximum(one["open"], one["close"])).all()
    assert (one["low"] <= np.minimum(one["open"], one["close"])).all()
    assert (one["low"] > 0).all()
    assert (one["open"][1:] != one["close"][:-1]).any()


def test_ticks_are_ordered_in_time_and_of_all_symbols():
    data = tick_data(20_000, symbols=10)
    assert (np.diff(data["time_ns"]) > 0).all()
    assert set(data["symbol"]) == set(range(10))
    assert (data["price"] > 0).all()


def test_equal_fills_have_no_difference_and_others_are_named():
    assert difference(_fills(), _fills()) is None
    assert difference(_fills(), _fills(price=np.array([10.5, 11.26]))) == (
        "fill 2 of 2: price np.float64(11.25) against np.float64(11.26)"
    )
    assert difference(_fills(), Fills(*(values[:1] for values in _fills()))) == "2 fills against 1"


def test_arrays_come_back_from_a_folder(tmp_path):
    save(tmp_path / "fills", _fills()._asdict())
    assert difference(_fills(), Fills(**load(tmp_path / "fills"))) is None


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        (at_least(2.6, 2.5), "PASS"),
        (at_least(2.0, 2.5), "short by 20%"),
        (at_most(90.0, 100.0), "PASS"),
        (at_most(125.0, 100.0), "over by 25%"),
    ],
)
def test_verdicts(verdict, text):
    assert verdict == text


def test_rates_are_the_median_with_lowest_and_highest():
    assert rate(Timing((0.5, 0.25, 1.0)), 100_000, "bars") == "200 k bars/s (100 k..400 k)"


def test_results_are_written_as_markdown_and_json(tmp_path):
    row = Row("case", "1 s", "2 s", "2.00 x", ">= 3 x", "short by 33%")
    about = {"machine": "a machine", "versions": {"qfkit's side": {"python": "3.11"}}}
    write(tmp_path, [row], ["a note"], about, {"case": [1.0]})
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "| case | 1 s | 2 s | 2.00 x | >= 3 x | short by 33% |" in text
    assert "- a note" in text
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["rows"][0]["verdict"] == "short by 33%"


def test_the_flood_is_what_a_feed_reads():
    ticks = [parse_frame(trade_payload(number, 1_700_000_000_000 + number), 7) for number in range(2_000)]
    assert {tick.symbol for tick in ticks} == set(SYMBOLS)
    assert [tick.trade_id for tick in ticks if tick.symbol == SYMBOLS[3]] == list(range(1, 201))
    assert ticks[5].time_ns == 1_700_000_000_005_000_000
    for tick in ticks:
        check_event(tick)


def test_a_digest_tells_another_order_and_another_price():
    def digest(*trades):
        found = Digest()
        for trade in trades:
            found.add(*trade)
        return found.text

    one, two = ("A", 1.5, 2.0, 3, 4, True), ("A", 1.5, 2.0, 3, 5, True)
    assert digest(one, two) == digest(one, two)
    assert len({digest(one, two), digest(two, one), digest(one), digest(("A", 1.25, *one[2:]), two)}) == 4


def test_the_load_of_a_process_is_that_between_two_looks():
    program = "import time; end = time.monotonic() + 0.9\nwhile time.monotonic() < end: time.sleep(0.01)"
    ended = run_apart([sys.executable, "-c", program], on_terminal=False, timeout_s=20.0, looks_s=(0.3, 0.7))
    assert ended.code == 0
    assert ended.load is None or ended.load < 0.5
