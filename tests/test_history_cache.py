"""The history on disk: only what is missing is asked for, and nothing on a disk can make it fail."""

import threading
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from qfkit.core.timeframes import timeframe_ns
from qfkit.errors import ConnectionFailedError
from qfkit.history_cache import HistoryCache, bars_of, history_folder
from qfkit.tables import BarColumns

DAY = 86_400 * 1_000_000_000
FIRST = 19_700 * DAY  # 2023-12-09, a Saturday
NOW = FIRST + 100 * DAY + 5 * 3_600 * 1_000_000_000


class FakeSource:
    """Bars of a made-up exchange that is closed on weekends; notes what it was asked."""

    name = "fake"
    timeframes = ("1h", "1d")

    def __init__(self, now_ns: int = NOW) -> None:
        self.now_ns = now_ns
        self.asked: list[tuple[int, int]] = []
        self.split = 1.0
        self.page = 7
        self.closes = 0
        self.is_down = False
        self.has_from_ns = 0

    async def bars(self, symbol: str, timeframe: str, start_ns: int, end_ns: int) -> AsyncIterator[BarColumns]:
        self.asked.append((start_ns, end_ns))
        if self.is_down:
            raise ConnectionFailedError("fake is down")
        step_ns = timeframe_ns(timeframe)
        opens = np.arange(-(-start_ns // step_ns) * step_ns, min(end_ns, self.now_ns), step_ns, dtype=np.int64)
        opens = opens[((opens // DAY + 3) % 7 < 5) & (opens >= self.has_from_ns)]
        for first in range(0, len(opens), self.page):
            own = opens[first : first + self.page]
            price = (100.0 + (own // step_ns) % 17) / self.split
            yield BarColumns(symbol, timeframe, price, price * 1.01, price * 0.99, price, price * 3, own, own + step_ns)

    async def close(self) -> None:
        self.closes += 1

    @property
    def days_asked(self) -> float:
        return sum(end - start for start, end in self.asked) / DAY


@pytest.fixture
def cache(tmp_path: Path) -> HistoryCache:
    return HistoryCache(tmp_path / "history")


async def ask(source: FakeSource, cache: HistoryCache | None, start: float, end: float, **more) -> BarColumns:
    more.setdefault("now_ns", source.now_ns)
    symbol, timeframe = more.pop("symbol", "A"), more.pop("timeframe", "1d")
    return await bars_of(
        source, symbol, timeframe, FIRST + int(start * DAY), FIRST + int(end * DAY), cache=cache, **more
    )


def same(one: BarColumns, other: BarColumns) -> None:
    for name in ("open", "high", "low", "close", "volume", "open_ns", "close_ns"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


async def test_a_second_time_nothing_is_asked_for(cache: HistoryCache) -> None:
    source = FakeSource()
    first = await ask(source, cache, 0, 60)
    assert len(first) == 42 and source.asked == [(FIRST, FIRST + 60 * DAY)]
    again = await ask(source, cache, 0, 60)
    same(again, first)
    # Also the weekend at its edges, where no bars are.
    same(await ask(source, cache, 0, 2), await ask(FakeSource(), None, 0, 2))
    part = await ask(source, cache, 10, 31.5)
    same(part, await ask(FakeSource(), None, 10, 31.5))
    assert len(source.asked) == 1


async def test_only_what_is_missing_is_asked_for_before_between_and_after(cache: HistoryCache) -> None:
    source = FakeSource()
    await ask(source, cache, 20, 30)
    await ask(source, cache, 50, 60)
    source.asked.clear()
    whole = await ask(source, cache, 10, 70)
    same(whole, await ask(FakeSource(), None, 10, 70))
    # Ten before, twenty between, ten after, and the few days that are compared.
    assert 40 <= source.days_asked <= 46
    source.asked.clear()
    same(await ask(source, cache, 10, 70), whole)
    assert source.asked == []


async def test_the_newest_bars_are_asked_for_again_and_the_unfinished_one_is_not_kept(cache: HistoryCache) -> None:
    source = FakeSource()
    first = await ask(source, cache, 0, 101)
    assert first.close_ns[-1] > NOW
    kept = cache.read(source, "A", "1d")
    assert kept is not None and kept.columns.close_ns[-1] <= NOW
    source.asked.clear()
    source.now_ns = NOW + 3 * DAY
    later = await ask(source, cache, 0, 104)
    same(later, await ask(FakeSource(source.now_ns), None, 0, 104))
    assert len(source.asked) == 1 and source.days_asked < 12


async def test_after_a_split_all_is_fetched_anew(cache: HistoryCache, caplog: pytest.LogCaptureFixture) -> None:
    source = FakeSource()
    before = await ask(source, cache, 0, 60)
    source.split = 4.0
    source.asked.clear()
    with caplog.at_level("INFO"):
        after = await ask(source, cache, 0, 80)
    assert "changed its prices" in caplog.text
    reference = FakeSource()
    reference.split = 4.0
    same(after, await ask(reference, None, 0, 80))
    np.testing.assert_allclose(after.close[: len(before)] * 4, before.close)
    source.asked.clear()
    same(await ask(source, cache, 0, 80), after)
    assert source.asked == []


async def test_a_split_shows_also_where_nothing_is_missing_a_day_later(cache: HistoryCache) -> None:
    source = FakeSource()
    await ask(source, cache, 0, 60)
    source.split = 2.0
    source.asked.clear()
    later = await ask(source, cache, 0, 60, now_ns=NOW + 2 * DAY)
    assert later.close.max() < 60
    # Without a connection what is kept has to do.
    source.is_down = True
    same(await ask(source, cache, 0, 60, now_ns=NOW + 5 * DAY), later)


async def test_a_disjoint_span_never_joins_prices_of_before_and_after_a_split(cache: HistoryCache) -> None:
    source = FakeSource()
    await ask(source, cache, 0, 20)
    source.split = 2.0
    await ask(source, cache, 50, 60)
    whole = await ask(source, cache, 0, 60)
    assert whole.close.max() < 60


async def test_what_the_provider_no_longer_has_stays(cache: HistoryCache) -> None:
    source = FakeSource()
    await ask(source, cache, 0, 40)
    source.has_from_ns = FIRST + 60 * DAY
    whole = await ask(source, cache, 0, 80)
    assert whole.open_ns[0] < FIRST + 5 * DAY and whole.open_ns[-1] > FIRST + 75 * DAY


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not a file of ours" * 50])
async def test_a_damaged_file_is_replaced(
    cache: HistoryCache, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    source = FakeSource()
    first = await ask(source, cache, 0, 60)
    path = cache.path(source, "A", "1d")
    whole = path.read_bytes()
    path.write_bytes(content or whole[: len(whole) // 2])
    same(await ask(source, cache, 0, 60), first)
    assert "cannot be used" in caplog.text and len(source.asked) == 2
    same(await ask(source, cache, 0, 60), first)
    assert len(source.asked) == 2


async def test_another_series_file_and_a_foreign_parquet_are_replaced(
    cache: HistoryCache, caplog: pytest.LogCaptureFixture
) -> None:
    import pyarrow
    from pyarrow import parquet

    source = FakeSource()
    first = await ask(source, cache, 0, 60)
    await ask(source, cache, 0, 60, symbol="B")
    path = cache.path(source, "A", "1d")
    path.write_bytes(cache.path(source, "B", "1d").read_bytes())
    same(await ask(source, cache, 0, 60), first)
    parquet.write_table(pyarrow.table({"x": [1, 2]}), path)
    same(await ask(source, cache, 0, 60), first)
    assert caplog.text.count("cannot be used") == 2


async def test_a_folder_that_cannot_be_made_is_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    source = FakeSource()
    columns = await ask(source, HistoryCache(tmp_path / "file" / "history"), 0, 60)
    assert len(columns) == 42 and "cannot be kept" in caplog.text


async def test_odd_symbols_have_files_of_their_own(cache: HistoryCache) -> None:
    source = FakeSource()
    symbols = ["^GSPC", "EURUSD=X", "BRK/B", "BRK-B", "brk-b", "../../x", "CON", "..", "é", "A" * 300]
    paths = set()
    for symbol in symbols:
        await ask(source, cache, 0, 10, symbol=symbol)
        path = cache.path(source, symbol, "1d")
        assert path.is_file() and path.resolve().is_relative_to(cache.folder.resolve())
        paths.add(str(path).lower())
    assert len(paths) == len(symbols)
    source.asked.clear()
    for symbol in symbols:
        await ask(source, cache, 0, 10, symbol=symbol)
    assert source.asked == []


async def test_another_address_is_another_history_and_no_address_is_written(cache: HistoryCache) -> None:
    one, other = FakeSource(), FakeSource()
    one.url, other.url = "https://one.example/secret", "https://other.example/secret"
    await ask(one, cache, 0, 60)
    await ask(other, cache, 0, 60)
    assert len(other.asked) == 1
    files = [path for path in cache.folder.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert all(b"secret" not in path.read_bytes() and "secret" not in str(path) for path in files)


async def test_impossible_bars_are_left_out(cache: HistoryCache, caplog: pytest.LogCaptureFixture) -> None:
    class Lying(FakeSource):
        async def bars(self, *args) -> AsyncIterator[BarColumns]:
            async for page in super().bars(*args):
                page.close[0] = np.nan
                yield page

    columns = await ask(Lying(), cache, 0, 60)
    assert len(columns) == 42 - 6 and np.isfinite(columns.close).all()
    assert "impossible prices" in caplog.text


async def test_pages_that_overlap_give_each_bar_once(cache: HistoryCache) -> None:
    class Overlapping(FakeSource):
        async def bars(self, *args) -> AsyncIterator[BarColumns]:
            pages = [page async for page in super().bars(*args)]
            for page in [*reversed(pages), pages[0]]:
                yield page

    same(await ask(Overlapping(), cache, 0, 60), await ask(FakeSource(), None, 0, 60))


def test_the_home_decides_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QFKIT_HOME", str(tmp_path))
    assert history_folder() == tmp_path / "history"
    monkeypatch.delenv("QFKIT_HOME")
    assert history_folder().name == "history" and "qfkit" in str(history_folder())


async def test_writers_and_readers_at_the_same_time_see_whole_files(
    cache: HistoryCache, caplog: pytest.LogCaptureFixture
) -> None:
    source = FakeSource()
    await ask(source, cache, 0, 60)
    kept = cache.read(source, "A", "1d")
    assert kept is not None
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            cache.write(source, kept)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(50):
            read = cache.read(source, "A", "1d")
            assert read is not None
            same(read.columns, kept.columns)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert not caplog.records
    assert not list(cache.folder.rglob("*.part"))
