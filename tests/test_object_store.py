"""A catalogue in an object store: a real server with the interface of S3, and what is asked of it, counted."""

import multiprocessing
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import boto3
import duckdb
import fsspec
import numpy as np
import pandas
import polars
import pytest
from s3fs import S3FileSystem

import qfkit as qf
from qfkit.core.events import Bar, Tick
from qfkit.errors import ConnectionFailedError, FeedError, FrameError, ParameterError, QfkitError
from qfkit.feeds.catalogue import Catalogue
from tests.servers.object_store import KEY, SECRET, ObjectStore
from tests.test_catalogue import Crossover, minutes, of

DAYS = 20


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with ObjectStore() as store:
        yield store


@pytest.fixture
def environment(monkeypatch, tmp_path) -> pytest.MonkeyPatch:
    """As a user's own environment: credentials that nobody else knows, and none but those."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-credentials"),
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def store(server, environment) -> Iterator[ObjectStore]:
    """The server as the environment names it, with an empty bucket."""
    environment.setenv("AWS_ENDPOINT_URL", server.url)
    S3FileSystem.clear_instance_cache()
    boto3.client("s3").create_bucket(Bucket="market")
    server.asked.clear()
    yield server
    file_system = fsspec.filesystem("s3")
    file_system.invalidate_cache()
    if file_system.exists("market"):
        file_system.rm("market", recursive=True)
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def catalogue(store) -> Catalogue:
    return qf.recordings("s3://market/data")


def wide(days: int) -> pandas.DataFrame:
    """Bars with columns that no run needs: more bytes than those that it does."""
    frame = minutes(days)
    rng = np.random.default_rng(7)
    comment = [bytes(row).hex() for row in rng.integers(0, 256, (len(frame), 24), dtype=np.uint8)]
    return frame.assign(trades=rng.integers(0, 2**40, len(frame)), comment=comment)


def test_a_run_from_the_store_is_the_run_from_memory(catalogue, store) -> None:
    frames = {"A": minutes(3), "BRK/B": minutes(3, seed=4)}
    catalogue.add(frames)
    expected = qf.backtest(Crossover, frames)
    for source in (catalogue.bars(), f"{catalogue.address}/bars/timeframe=1m/"):
        result = qf.backtest(Crossover, source)
        pandas.testing.assert_frame_equal(result.fills, expected.fills, check_exact=True)
        pandas.testing.assert_frame_equal(result.equity, expected.equity, check_exact=True)
    names = {one["Key"] for one in boto3.client("s3").list_objects_v2(Bucket="market")["Contents"]}
    assert "data/bars/timeframe=1m/symbol=BRK%2FB/day=2024-03-02/part-0.parquet" in names
    assert len(names) == 6


def test_real_trades_go_through_the_store_unchanged(catalogue, capture_path) -> None:
    catalogue.add(capture_path)
    assert of(catalogue.ticks("BTCUSDT"), Tick) == of(capture_path, Tick)
    # Adding them again changes nothing there either.
    assert set(catalogue.add(capture_path).new_rows.values()) == {0}


def test_only_the_days_and_columns_that_a_run_needs_are_fetched(catalogue, store) -> None:
    frame = wide(DAYS)
    catalogue.add(frame, symbol="A")
    sizes = {part.path: part.size for part in catalogue.bars("A").parts()}
    assert len(sizes) == DAYS

    def fetched(**span: Any) -> dict[str, int]:
        store.asked.clear()
        result = qf.backtest(Crossover, catalogue.bars("A", **span))
        assert len(result.bars) == 1_440 * len(store.parts())
        return store.parts()

    few = fetched(start="2024-03-05", end="2024-03-07")
    assert sorted(path.split("/")[-2] for path in few) == ["day=2024-03-05", "day=2024-03-06"]
    everything = fetched()
    assert sum(few.values()) / sum(everything.values()) == pytest.approx(2 / DAYS, rel=0.05)
    # The columns that no run needs are two thirds of each file, and stay where they are.
    needed = frame.drop(columns=["trades", "comment"])
    other = qf.recordings("s3://market/narrow")
    other.add(needed.iloc[:1_440], symbol="A")
    (narrow,) = other.bars("A").parts()
    (day,) = fetched(start="2024-03-01", end="2024-03-02").values()
    (whole,) = (size for path, size in sizes.items() if "day=2024-03-01" in path)
    assert narrow.size < 0.5 * whole
    assert day < 1.3 * narrow.size
    # The end of the file and the columns are one request each.
    assert sum(one.path.endswith("part-0.parquet") for one in store.asked) == 2


def test_the_next_days_are_fetched_while_one_is_played(catalogue, store) -> None:
    frame = wide(8)
    catalogue.add(frame, symbol="A")
    selection = catalogue.bars("A")
    store.delay_s, store.most_at_once = 0.03, 0
    try:
        batches = selection.batches()
        first = next(batches)
        assert store.most_at_once > 1
        # Whoever stops early has not fetched all.
        batches.close()
        assert len(store.parts()) < 8
    finally:
        store.delay_s = 0.0
    assert first == of(selection, Bar)[: len(first)]
    assert len(of(selection, Bar)) == len(frame)


def test_the_table_of_a_catalogue_fetches_the_ends_of_files_alone(catalogue, store) -> None:
    catalogue.add(wide(4), symbol="A")
    total = sum(part.size for part in catalogue.bars("A").parts())
    store.asked.clear()
    frame = catalogue.to_frame()
    assert frame[["symbol", "parts", "rows", "bytes"]].values.tolist() == [["A", 4, 4 * 1_440, total]]
    assert sum(store.parts().values()) < 0.15 * total
    store.asked.clear()
    pandas.testing.assert_frame_equal(catalogue.to_frame(), frame)
    assert store.parts() == {}


def test_a_sweep_sends_its_workers_where_the_bars_lie_and_each_reads_them_once(catalogue, store) -> None:
    frame = wide(4)
    catalogue.add(frame, symbol="A")
    selection = catalogue.bars("A", start="2024-03-02", end="2024-03-04")
    sent = pickle.dumps(selection)
    assert len(sent) < 400
    assert KEY.encode() not in sent
    assert SECRET.encode() not in sent
    axes = {"fast": (3, 5, 7), "slow": (9, 20)}
    expected = qf.sweep(qf.MovingAverageCrossover, {"A": frame.loc["2024-03-02":"2024-03-03"]}, **axes).table
    store.asked.clear()
    # Another process has nothing but what it is sent and its environment.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        found = qf.sweep(qf.MovingAverageCrossover, selection, executor=pool, **axes).table
    figures = [name for name in expected.columns if "second" not in name]
    assert expected["trades"].min() > 10
    pandas.testing.assert_frame_equal(found[figures], expected[figures], check_exact=True)
    # For each of the two days its end and its columns, once for six runs.
    assert len(store.parts()) == 2
    assert sum(one.path.endswith(".parquet") for one in store.asked) == 4


def test_a_feed_recorded_into_the_store_is_listed_and_added(catalogue) -> None:
    feed = qf.SyntheticFeed(["S"], duration_s=10.0, speed=None, seed=5).record("s3://market/data/noon")
    qf.paper(Crossover, feed, timeframe="1s", name="far").start().wait()
    row = catalogue.to_frame().squeeze()
    assert (row["kind"], row["recording"], row["symbol"]) == ("recording", "noon", "S")
    catalogue.add(catalogue.recording("noon"))
    assert of(catalogue.ticks("S"), Tick) == of("s3://market/data/noon", Tick)


def test_duckdb_and_polars_read_the_same_objects(catalogue, store) -> None:
    catalogue.add(minutes(2), symbol="BRK/B")
    pattern = "s3://market/data/bars/**/*.parquet"
    with duckdb.connect() as connection:
        connection.register_filesystem(fsspec.filesystem("s3"))
        found = connection.sql(
            f"SELECT symbol, count(*), sum(volume) FROM read_parquet('{pattern}', hive_partitioning=true) GROUP BY symbol"
        ).fetchall()
    volume = minutes(2)["volume"].sum()
    assert found == [("BRK/B", 2_880, volume)]
    options = {"endpoint_url": store.url, "aws_access_key_id": KEY, "aws_secret_access_key": SECRET}
    lazy = polars.scan_parquet(
        pattern, hive_partitioning=True, storage_options=options | {"aws_region": "us-east-1", "allow_http": "true"}
    )
    assert lazy.select(polars.col("volume").sum(), polars.len()).collect().rows() == [(volume, 2_880)]
    assert len(of(catalogue.bars("BRK/B"), Bar)) == 2_880


# -- what goes wrong -------------------------------------------------------------------------------


def told(call: Any, kind: type[QfkitError]) -> str:
    """The whole of what a user sees of an error: its text, and all that was raised before it."""
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    text = str(caught.value)
    assert KEY not in text
    assert SECRET not in text
    return text


def test_a_bucket_that_is_not_there_is_named(store) -> None:
    catalogue = qf.recordings("s3://nothing-here/data")
    for call in (
        catalogue.to_frame,
        lambda: catalogue.bars("A"),
        lambda: catalogue.add(minutes(), symbol="A"),
        lambda: qf.backtest(Crossover, "s3://nothing-here/data/bars/timeframe=1m/symbol=A"),
        lambda: qf.backtest(Crossover, "s3://nothing-here/data/bars.parquet"),
    ):
        text = told(call, FrameError)
        assert "there is nothing at s3://nothing-here/data" in text or "there is no file" in text


def test_no_credentials_are_told_with_what_to_set(store, environment) -> None:
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    S3FileSystem.clear_instance_cache()
    for call in (
        lambda: qf.recordings("s3://market/data").add(minutes(), symbol="A"),
        lambda: qf.backtest(Crossover, "s3://market/data/bars.parquet"),
        lambda: qf.SyntheticFeed(["S"]).record("s3://market/data/noon"),
    ):
        assert "AWS_ACCESS_KEY_ID" in told(call, FeedError)


def test_a_store_that_refuses_is_told_without_what_it_says(store, monkeypatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise PermissionError(f"the key {KEY} with {SECRET} may not do this")

    monkeypatch.setattr(S3FileSystem, "find", refuse)
    assert "access is denied" in told(qf.recordings("s3://market/data").to_frame, FeedError)


def test_a_store_that_cannot_be_reached_is_told_with_what_to_check(environment) -> None:
    # A server that has ended: nobody listens there any more.
    with ObjectStore() as ended:
        url = ended.url
    environment.setenv("AWS_ENDPOINT_URL", url)
    environment.setenv("AWS_MAX_ATTEMPTS", "1")
    S3FileSystem.clear_instance_cache()
    text = told(lambda: qf.recordings("s3://market/data").bars("A"), ConnectionFailedError)
    assert "AWS_ENDPOINT_URL" in text
    S3FileSystem.clear_instance_cache()


def test_an_address_with_credentials_in_it_is_refused_and_not_repeated() -> None:
    with pytest.raises(ParameterError, match="has credentials in it") as caught:
        qf.recordings(f"s3://{KEY}:{SECRET}@market/data")
    assert SECRET not in str(caught.value)
