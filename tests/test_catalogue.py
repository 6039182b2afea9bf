"""The catalogue: what is added to it is what a run on it gets, day by day, and what other readers find."""

import json
import pickle
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas
import polars
import pytest
from pyarrow import parquet

import qfkit as qf
from qfkit.core.events import Bar, Depth, Heartbeat, Quote, Tick
from qfkit.errors import DataError, FrameError, NaiveTimeError, ParameterError, SymbolError, TimeframeError
from qfkit.feeds.catalogue import Catalogue
from qfkit.feeds.recordings import open_recording

ODD = ["BRK/B", "^GSPC", "EURUSD=X", "a b%20", "Ünï", "..", "C:\\x*?", "BRK.", "~", "day=2024-01-01"]


def minutes(days: int = 1, start: str = "2024-03-01", seed: int = 3) -> pandas.DataFrame:
    """One-minute bars of whole days."""
    count = days * 1_440
    rng = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 1e-3, count))), 2)
    opened = np.concatenate([[100.0], close[:-1]])
    columns = {
        "open": opened,
        "high": np.maximum(opened, close) + 0.01,
        "low": np.minimum(opened, close) - 0.01,
        "close": close,
        "volume": rng.integers(1, 1_000, count).astype(float),
    }
    times = pandas.date_range(start, periods=count, freq="1min", tz="UTC", name="time", unit="ns")
    return pandas.DataFrame(columns, index=times)


def trades(times: list[str], prices: list[float], **others: Any) -> pandas.DataFrame:
    return pandas.DataFrame({"price": prices, **others}, index=pandas.DatetimeIndex(times, tz="UTC"))


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return qf.recordings(tmp_path / "market")


def of(source: Any, *kinds: type) -> list:
    return [event for batch in open_recording(source).batches() for event in batch if type(event) in kinds]


class Crossover(qf.MovingAverageCrossover):
    fast = qf.Param(3)
    slow = qf.Param(9)


# -- what goes in comes out ------------------------------------------------------------------------


@pytest.mark.parametrize("symbol", ODD)
def test_a_symbol_with_odd_characters_is_the_same_for_us_and_for_other_readers(catalogue, symbol) -> None:
    bars = minutes().iloc[:10]
    catalogue.add(bars, symbol=symbol)
    assert list(catalogue.to_frame()["symbol"]) == [symbol]
    pandas.testing.assert_frame_equal(
        catalogue.bars(symbol).to_frame(), bars, check_freq=False, check_index_type=False, obj=symbol
    )
    pattern = f"{catalogue.address}/bars/**/*.parquet"
    found = duckdb.sql(f"SELECT DISTINCT symbol FROM read_parquet('{pattern}', hive_partitioning=true)").fetchall()
    assert found == [(symbol,)]
    assert polars.scan_parquet(pattern, hive_partitioning=True).collect()["symbol"].unique().to_list() == [symbol]
    # On any system it is one folder, with no character that one of them forbids.
    (folder,) = Path(catalogue.address, "bars", "timeframe=1m").iterdir()
    assert folder.name.isascii()
    assert not set(folder.name) & set('/\\:*?"<>|^ ')


def test_real_trades_give_the_same_run_from_the_catalogue_as_from_the_capture(catalogue, capture_path) -> None:
    deposit = catalogue.add(capture_path)
    ticks = of(capture_path, Tick)
    assert deposit.rows["ticks of BTCUSDT"] == len(ticks) == 9_757
    assert deposit.left_out == {"Depth": len(of(capture_path, Depth))}
    selection = catalogue.ticks("BTCUSDT")
    assert of(selection, Tick) == ticks
    expected = qf.backtest(Crossover, ticks, timeframe="1s")
    result = qf.backtest(Crossover, selection, timeframe="1s")
    assert len(result.fills) > 1_000
    pandas.testing.assert_frame_equal(result.fills, expected.fills, check_exact=True)
    pandas.testing.assert_frame_equal(result.equity, expected.equity, check_exact=True)


def test_real_quotes_come_between_the_trades_as_they_were_received(catalogue, capture_path) -> None:
    catalogue.add(capture_path)
    assert of(catalogue.ticks("BTCUSDT", quotes=True), Tick, Quote) == of(capture_path, Tick, Quote)


def test_bars_give_the_same_run_from_the_catalogue_as_from_their_frame(catalogue) -> None:
    frames = {"A": minutes(3), "B": minutes(3, seed=4)}
    catalogue.add(frames)
    expected = qf.backtest(Crossover, frames)
    assert len(expected.fills) > 100
    for source in (catalogue.bars(["A", "B"]), catalogue.bars(), f"{catalogue.address}/bars/timeframe=1m"):
        result = qf.backtest(Crossover, source)
        pandas.testing.assert_frame_equal(result.fills, expected.fills, check_exact=True)
        pandas.testing.assert_frame_equal(result.equity, expected.equity, check_exact=True)
    one = qf.backtest(Crossover, f"{catalogue.address}/bars/timeframe=1m/symbol=A")
    pandas.testing.assert_frame_equal(one.fills, qf.backtest(Crossover, frames["A"]).fills.assign(symbol="A"))
    day = qf.backtest(Crossover, Path(catalogue.address, "bars/timeframe=1m/symbol=A/day=2024-03-02"))
    assert {str(time.date()) for time in day.bars.index} == {"2024-03-02"}
    with pytest.raises(FrameError, match="no rows at .*day=2024-03-09"):
        qf.backtest(Crossover, f"{catalogue.address}/bars/timeframe=1m/symbol=A/day=2024-03-09")
    with pytest.raises(FrameError, match=r"no bars of 'C'"):
        qf.backtest(Crossover, f"{catalogue.address}/bars/timeframe=1m/symbol=C")


def test_a_signal_function_a_sweep_and_a_walk_forward_take_a_selection_too(catalogue) -> None:
    @qf.signal(fast=3, slow=9)
    def trend(bars, fast, slow):
        return qf.SMA(fast).over(bars.close) > qf.SMA(slow).over(bars.close)

    frame = minutes(2)
    catalogue.add(frame, symbol="A")
    frame.attrs["symbol"] = "A"
    expected = qf.backtest(trend, frame).equity
    pandas.testing.assert_frame_equal(qf.backtest(trend, catalogue.bars("A")).equity, expected, check_exact=True)
    arguments = {"train": "12h", "test": "6h", "fast": (3, 5)}
    found, known = (qf.walk_forward(trend, data, **arguments) for data in (catalogue.bars("A"), frame))
    pandas.testing.assert_frame_equal(found.table, known.table, check_exact=True)
    found, known = (
        qf.sweep(trend, data, fast=(3, 5)).table.drop(columns="seconds") for data in (catalogue.bars("A"), frame)
    )
    pandas.testing.assert_frame_equal(found, known, check_exact=True)


def test_a_paper_session_on_a_selection_trades_as_the_backtest_and_replays(catalogue) -> None:
    catalogue.add(minutes(2), symbol="A")
    selection = catalogue.bars("A", start="2024-03-02")
    session = qf.paper(Crossover, qf.ReplayFeed(selection, speed=None), name="stored").start().wait()
    expected = qf.backtest(Crossover, selection)
    pandas.testing.assert_frame_equal(session.fills, expected.fills, check_exact=True)
    assert session.verify()


def test_all_symbols_and_kinds_are_merged_by_the_time_of_receipt(catalogue) -> None:
    first = 1_709_251_200 * 10**9
    events: list[Any] = []
    for number in range(6_000):
        received_ns = first + number * 40 * 10**9
        events.append(Quote("AB"[number % 2], 99.0, 1.0, 101.0, 1.0, received_ns, received_ns))
        # At one time: the quote before the trade.
        events.append(Tick("AB"[number % 2], 100.0, 1.0, received_ns - 10**9, received_ns, number, "buy", "x", None))
    deposit = catalogue.add(events)
    assert sum(deposit.rows.values()) == 12_000
    assert deposit.parts == 2 * 2 * 3
    assert of(catalogue.ticks(["A", "B"], quotes=True), Tick, Quote) == events
    assert of(catalogue.ticks("B"), Tick) == [one for one in events if type(one) is Tick and one.symbol == "B"]


def test_a_journal_and_a_recorded_feed_can_be_added(catalogue, tmp_path) -> None:
    feed = qf.SyntheticFeed(["S"], duration_s=20.0, speed=None, seed=5).record(f"{catalogue.address}/noon")
    session = qf.paper(Crossover, feed, timeframe="1s", name="recorded").start().wait()
    ticks = of(f"{catalogue.address}/noon", Tick)
    assert ticks
    # The recording lies in the catalogue's folder: it is listed, and can be played.
    row = catalogue.to_frame().query("kind == 'recording'").squeeze()
    assert (row["recording"], row["symbol"], row["rows"] >= len(ticks)) == ("noon", "S", True)
    assert [e for b in catalogue.recording("noon").batches() for e in b if type(e) is Tick] == ticks
    with pytest.raises(FrameError, match="no recording 'non'. Did you mean 'noon'"):
        catalogue.recording("non")
    catalogue.add(catalogue.recording("noon"))
    assert of(catalogue.ticks("S"), Tick) == ticks
    before = catalogue.to_frame()
    again = catalogue.add(session.journal_path)
    assert set(again.new_rows.values()) == {0}
    pandas.testing.assert_frame_equal(catalogue.to_frame().drop(columns="bytes"), before.drop(columns="bytes"))


def test_other_columns_of_a_frame_are_kept_and_given_back_when_asked_for(catalogue) -> None:
    frame = minutes().assign(trades=range(1_440), comment="x")
    catalogue.add(frame, symbol="A")
    assert list(catalogue.bars("A").to_frame()) == ["open", "high", "low", "close", "volume"]
    assert list(catalogue.bars("A").to_frame("trades")["trades"]) == list(range(1_440))
    with pytest.raises(ParameterError, match="no column 'trade'. Did you mean 'trades'"):
        catalogue.bars("A").to_frame("trade")


def test_a_plain_parquet_file_is_added_under_the_name_that_is_given(catalogue, tmp_path) -> None:
    minutes().to_parquet(tmp_path / "download.parquet")
    catalogue.add(tmp_path / "download.parquet", symbol="A")
    assert catalogue.bars().symbols == ("A",)
    many = pandas.concat([minutes().assign(symbol="X", n=1), minutes(seed=5).assign(symbol="Y", n=2)])
    assert set(catalogue.add(many, symbols=["Y"]).rows) == {"bars 1m of Y"}
    pandas.testing.assert_frame_equal(
        catalogue.bars("Y").to_frame("n"), minutes(seed=5).assign(n=2), check_exact=True, check_freq=False
    )


# -- days ------------------------------------------------------------------------------------------


def test_a_day_is_the_utc_day_of_a_bars_open_and_of_a_trades_receipt(catalogue) -> None:
    # 20:00 in New York on 1 March is 01:00 UTC on the 2nd.
    index = pandas.DatetimeIndex(["2024-03-01 18:59", "2024-03-01 19:00"], tz="America/New_York")
    bars = pandas.DataFrame({name: [1.0, 1.0] for name in ("open", "high", "low", "close")}, index=index)
    catalogue.add(bars, symbol="A", timeframe="1m")
    midnight = 1_709_337_600 * 10**9
    catalogue.add([Tick("A", 1.0, 1.0, midnight - 5, midnight + 5)])
    names = {path.relative_to(catalogue.address).as_posix() for path in Path(catalogue.address).rglob("*.parquet")}
    assert names == {
        "bars/timeframe=1m/symbol=A/day=2024-03-01/part-0.parquet",
        "bars/timeframe=1m/symbol=A/day=2024-03-02/part-0.parquet",
        "ticks/symbol=A/day=2024-03-02/part-0.parquet",
    }


def test_daily_bars_lie_by_the_year(catalogue) -> None:
    catalogue.add(qf.sample("IBM"))
    years = sorted(path.parent.name for path in Path(catalogue.address).rglob("*.parquet"))
    assert years == [f"year={year}" for year in range(2000, 2014)]
    selection = catalogue.bars("IBM", start="2004-01-01", end="2005-01-01")
    assert [Path(part.path).parent.name for part in selection.parts()] == ["year=2004"]
    pandas.testing.assert_frame_equal(
        selection.to_frame(), qf.sample("IBM").loc["2004"], check_exact=True, check_index_type=False, check_freq=False
    )


def test_a_span_is_given_by_dates_or_by_times_with_a_zone(catalogue) -> None:
    catalogue.add(minutes(4), symbol="A")

    def opens(**span: Any) -> tuple[str, str, int]:
        bars = of(catalogue.bars("A", **span), Bar)
        first, last = (str(pandas.Timestamp(bar.open_ns)) for bar in (bars[0], bars[-1]))
        return first, last, len(bars)

    assert opens(start="2024-03-02", end="2024-03-03") == ("2024-03-02 00:00:00", "2024-03-02 23:59:00", 1_440)
    assert opens(start="2024-03-02T19:30-05:00", end="2024-03-03T00:40Z")[::2] == ("2024-03-03 00:30:00", 10)
    assert opens(start=pandas.Timestamp("2024-03-04T23:58", tz="UTC"))[2] == 2
    assert catalogue.bars("A").between("2024-03-02", "2024-03-03") == catalogue.bars(
        "A", start="2024-03-02", end="2024-03-03"
    )
    with pytest.raises(NaiveTimeError, match="no time zone"):
        catalogue.bars("A", start="2024-03-02T09:30")
    with pytest.raises(NaiveTimeError, match="no time zone"):
        catalogue.bars("A", end=pandas.Timestamp("2024-03-02"))
    with pytest.raises(ParameterError, match="one day ends at the next date"):
        catalogue.bars("A", start="2024-03-02", end="2024-03-02")
    with pytest.raises(FrameError, match=r"there are some from 2024-03-01 00:00:00 UTC to 2024-03-05 00:00:00 UTC"):
        catalogue.bars("A", start="2025-01-01")


# -- adding again ----------------------------------------------------------------------------------


def test_what_is_added_again_is_not_doubled_and_what_is_missing_is_filled_in(catalogue) -> None:
    bars = minutes(2)
    catalogue.add(bars.iloc[:2_000], symbol="A")
    assert catalogue.add(bars.iloc[1_000:], symbol="A").new_rows == {"bars 1m of A": 880}
    corrected = bars.iloc[[100]] * 1.5
    assert catalogue.add(corrected, symbol="A", timeframe="1m").new_rows == {"bars 1m of A": 0}
    expected = pandas.concat([bars.iloc[:100], corrected, bars.iloc[101:]])
    pandas.testing.assert_frame_equal(
        catalogue.bars("A").to_frame(), expected, check_exact=True, check_freq=False, check_index_type=False
    )


def test_two_trades_that_look_the_same_stay_two_and_those_of_one_id_are_one(catalogue) -> None:
    # Two trades in one millisecond at one price, as a provider without ids gives them.
    times = ["2024-03-01T10:00:00.001"] * 2 + ["2024-03-01T10:00:01"]
    same = trades(times, [5.0, 5.0, 6.0], size=[1.0, 1.0, np.nan])
    assert catalogue.add(same, symbol="A").new_rows == {"ticks of A": 3}
    assert catalogue.add(same, symbol="A").new_rows == {"ticks of A": 0}
    assert [tick.price for tick in of(catalogue.ticks("A"), Tick)] == [5.0, 5.0, 6.0]
    # Ids are kept to the last digit, beyond what a float can hold.
    known = trades(times, [5.0, 5.0, 6.0], trade_id=[2**62, 2**62 + 1, 2**62 + 2])
    catalogue.add(known.iloc[:2], symbol="B")
    assert catalogue.add(known.iloc[1:], symbol="B").new_rows == {"ticks of B": 1}
    assert [tick.trade_id for tick in of(catalogue.ticks("B"), Tick)] == [2**62, 2**62 + 1, 2**62 + 2]


def test_a_write_that_fails_leaves_the_day_as_it_was(catalogue, monkeypatch) -> None:
    bars = minutes()
    catalogue.add(bars.iloc[:700], symbol="A")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FrameError, match="No space left on device"):
        catalogue.add(bars.iloc[700:], symbol="A")
    monkeypatch.undo()
    assert len(catalogue.bars("A").to_frame()) == 700
    assert duckdb.sql(f"SELECT count(*) FROM read_parquet('{catalogue.address}/**/*.parquet')").fetchall() == [(700,)]
    catalogue.add(bars.iloc[700:], symbol="A")
    assert len(catalogue.bars("A").to_frame()) == 1_440


# -- other readers and writers ---------------------------------------------------------------------


def test_duckdb_and_polars_read_the_same_numbers(catalogue, capture_path) -> None:
    catalogue.add(capture_path)
    catalogue.add({"A": minutes(3), "B": minutes(3, seed=4)})
    ticks = of(capture_path, Tick)
    pattern = f"{catalogue.address}/ticks/**/*.parquet"
    row = duckdb.sql(
        "SELECT symbol, day::varchar, count(*), sum(size), min(trade_id), max(epoch_ns(received_time)) "
        f"FROM read_parquet('{pattern}', hive_partitioning=true) GROUP BY ALL"
    ).fetchall()
    total = pytest.approx(sum(tick.size for tick in ticks))
    assert row == [("BTCUSDT", "2024-08-08", 9_757, total, 3_735_683_259, max(tick.received_ns for tick in ticks))]
    lazy = polars.scan_parquet(f"{catalogue.address}/bars/**/*.parquet", hive_partitioning=True)
    sums = lazy.group_by("symbol", "timeframe").agg(polars.col("volume").sum(), polars.len()).sort("symbol").collect()
    volume = [minutes(3)["volume"].sum(), minutes(3, seed=4)["volume"].sum()]
    assert sums.rows() == [("A", "1m", volume[0], 4_320), ("B", "1m", volume[1], 4_320)]


def test_days_that_another_program_wrote_are_read_too(catalogue) -> None:
    # Polars: times in microseconds, no column of closes, two files in one day.
    bars = minutes(1)
    frame = polars.from_pandas(bars.reset_index()).with_columns(polars.col("time").dt.cast_time_unit("us"))
    folder = Path(catalogue.address, "bars", "timeframe=1m", "symbol=A", "day=2024-03-01")
    folder.mkdir(parents=True)
    frame[:600].write_parquet(folder / "first.parquet")
    frame[600:].write_parquet(folder / "second.parquet")
    result, expected = qf.backtest(Crossover, catalogue.bars("A")), qf.backtest(Crossover, {"A": bars})
    pandas.testing.assert_frame_equal(result.fills, expected.fills, check_exact=True)
    # Adding to such a day makes one part of it.
    catalogue.add(bars.iloc[10:20], symbol="A")
    assert [path.name for path in folder.iterdir()] == ["part-0.parquet"]
    assert len(catalogue.bars("A").to_frame()) == 1_440


def test_what_is_broken_in_a_part_is_named_with_its_file(catalogue, caplog) -> None:
    catalogue.add(minutes(2), symbol="A")
    first, second = (Path(part.path) for part in catalogue.bars("A").parts())
    table = parquet.ParquetFile(first).read()
    for broken, message in (
        (table.take(list(range(1_439, -1, -1))), "not sorted by 'time'"),
        (table.drop_columns(["close"]), "no column 'close'"),
        (table.set_column(0, "time", table["time"].cast("timestamp[ns]")), "must be a time with a zone"),
    ):
        parquet.write_table(broken, first)
        with pytest.raises((FrameError, NaiveTimeError), match=rf"day=2024-03-01/part-0.parquet.*{message}"):
            qf.backtest(Crossover, catalogue.bars("A"))
    parquet.write_table(table, first)
    second.write_bytes(second.read_bytes()[:5_000])
    with pytest.raises(FrameError, match=r"day=2024-03-02/part-0.parquet cannot be read as Parquet"):
        qf.backtest(Crossover, catalogue.bars("A"))
    # The day before is still there, and the table of what there is says what can be read.
    assert catalogue.to_frame()[["parts", "rows"]].values.tolist() == [[2, 1_440]]
    assert "day=2024-03-02/part-0.parquet cannot be read" in caplog.text
    assert qf.backtest(Crossover, catalogue.bars("A", end="2024-03-02")).fills.shape[0]


# -- the catalogue as it shows itself --------------------------------------------------------------


def test_the_table_of_a_catalogue_says_what_there_is(tmp_path) -> None:
    catalogue = qf.recordings()
    assert Path(catalogue.address) == tmp_path / "home" / "recordings"
    assert "nothing yet" in catalogue._repr_html_()
    assert len(catalogue.to_frame()) == 0
    catalogue.add(minutes(3), symbol="<b>A</b>")
    catalogue.add(trades(["2024-03-01T10:00", "2024-03-02T11:30:00.5"], [1.0, 2.0]), symbol="B")
    frame = catalogue.to_frame()
    assert frame[["kind", "symbol", "parts", "rows"]].values.tolist() == [
        ["bars", "<b>A</b>", 3, 4_320],
        ["ticks", "B", 2, 2],
    ]
    assert frame["first"].tolist() == [pandas.Timestamp("2024-03-01", tz="UTC"), pandas.Timestamp("2024-03-01T10:00Z")]
    assert frame["last"].tolist() == [
        pandas.Timestamp("2024-03-03T23:59Z"),
        pandas.Timestamp("2024-03-02T11:30:00.5Z"),
    ]
    assert frame["bytes"].sum() == sum(path.stat().st_size for path in Path(catalogue.address).rglob("*.parquet"))
    html = catalogue._repr_html_()
    assert "<b>A</b>" not in html
    assert "2024-03-03 23:59:00 UTC" in html
    assert "2 series" in repr(catalogue)
    # A day that grows is seen, whatever was known before.
    catalogue.add(trades(["2024-03-02T12:00"], [3.0]), symbol="B")
    assert catalogue.to_frame()["rows"].tolist() == [4_320, 3]


def test_what_is_not_there_is_told_with_what_there_is(catalogue) -> None:
    with pytest.raises(FrameError, match=r"holds no bars yet: catalogue.add"):
        catalogue.bars("A")
    catalogue.add({"AAPL": minutes(), "IBM": minutes()})
    with pytest.raises(SymbolError, match="no bars of 'APPL'. Did you mean 'AAPL'"):
        catalogue.bars("APPL")
    with pytest.raises(TimeframeError, match="it has 1m"):
        catalogue.bars("IBM", timeframe="5m")
    catalogue.add(qf.sample("IBM"))
    with pytest.raises(TimeframeError, match="bars of 1m, 1d: say which"):
        catalogue.bars("IBM")
    for nothing in ([], 5, ""):
        with pytest.raises(SymbolError, match="name at least one"):
            catalogue.bars(nothing)
    with pytest.raises(DataError, match=r"a Catalogue is no recording: give .* qf.recordings\(\).bars"):
        qf.backtest(Crossover, catalogue)
    with pytest.raises(FrameError, match=r"is a whole catalogue: choose from it, as in qf.recordings"):
        qf.backtest(Crossover, catalogue.address)
    with pytest.raises(SymbolError, match="no 'MSFT'"):
        qf.backtest(Crossover, catalogue.bars(timeframe="1m"), symbols=["MSFT"])
    with pytest.raises(ParameterError, match="does not say what it is of: add symbol="):
        catalogue.add(minutes())
    with pytest.raises(SymbolError, match="have no 'Y'"):
        catalogue.add({"X": minutes()}, symbol="Y")
    with pytest.raises(ParameterError, match="both choose"):
        catalogue.add(minutes(), symbol="Y", symbols=["X"])
    with pytest.raises(NaiveTimeError):
        catalogue.add(minutes().tz_localize(None), symbol="A")


# -- far away and large ----------------------------------------------------------------------------


def test_a_selection_is_a_small_record_that_can_be_sent_and_opened_elsewhere(catalogue) -> None:
    catalogue.add(minutes(2), symbol="A")
    selection = catalogue.bars("A", start="2024-03-02")
    sent = pickle.dumps(selection)
    assert len(sent) < 400
    assert pickle.loads(sent) == selection
    assert repr(selection) == f"Selection(1m bars of A from 2024-03-02 00:00:00 UTC in {catalogue.address})"
    expected = of(selection, Bar)
    assert len(expected) == 1_440
    assert [event for batch in pickle.loads(sent).batches() for event in batch] == expected


_RUN = """
import json, resource, sys
import qfkit as qf
from qfkit.feeds.selection import Selection

class Watcher(qf.Strategy):
    seen = 0
    def on_tick(self, tick):
        Watcher.seen += 1

selection = Selection(address=sys.argv[1], kind="ticks", symbols=("A",)).between(None, sys.argv[2])
qf.backtest(Watcher, selection, timeframe="1d")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([Watcher.seen, peak * (1 if sys.platform == "darwin" else 1024)]))
"""


def test_a_run_over_many_days_takes_no_more_memory_than_one_over_few(catalogue) -> None:
    days, rows = 16, 25_000
    price = np.round(100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 1e-4, rows))), 2)
    for day in range(days):
        start_ns = (1_709_251_200 + day * 86_400) * 10**9
        index = pandas.DatetimeIndex(start_ns + np.arange(rows) * 90_000_000, tz="UTC")
        catalogue.add(pandas.DataFrame({"price": price, "size": 1.0}, index=index), symbol="A")
    seen, peaks = [], []
    for end in ("2024-03-05", "2024-03-17"):
        command = [sys.executable, "-c", _RUN, catalogue.address, end]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        count, peak = json.loads(done.stdout)
        seen.append(count)
        peaks.append(peak)
    assert seen == [4 * rows, 16 * rows]
    # A Tick with its own numbers takes 200 bytes at least: the 12 days more would be 60 MB.
    assert peaks[1] - peaks[0] < 20_000_000, peaks


async def test_a_replay_of_a_selection_gives_heartbeats_as_a_live_feed_would(catalogue) -> None:
    catalogue.add(trades(["2024-03-01T10:00:00", "2024-03-01T10:00:05"], [1.0, 2.0]), symbol="A")
    feed = qf.ReplayFeed(catalogue.ticks("A"), speed=None)
    async with aclosing(feed.events()) as batches:
        events = [event async for batch in batches for event in batch]
    assert [type(event) for event in events] == [Tick, *[Heartbeat] * 4, Tick]


def test_an_address_that_is_none_is_named():
    with pytest.raises(ParameterError, match=r"recordings\(5\): give a folder"):
        qf.recordings(5)
