"""Sweeps: each row is the backtest of its parameters, whoever ran it; what is done is kept; luck is told."""

import os
import pathlib
import signal
import threading
import time
import tracemalloc
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import cloudpickle
import duckdb
import numpy as np
import pandas as pd
import pytest

import qfkit as qf
from qfkit.errors import FrameError, ParameterError, ResearchError, StrategyError
from qfkit.research import shipping
from qfkit.research.backtest import engine_settings
from qfkit.research.overfitting import deflated_sharpe, overfitting_of_returns
from qfkit.research.shipping import Cargo, CargoReference, unload
from qfkit.research.stability import neighbour_figures
from qfkit.research.trials import BLOCKS, FIGURES, Job
from qfkit.samples import sample

AXES = {"fast": range(4, 12, 2), "slow": (15, 20, 30)}
COUNT = 12


def rules():
    """A signal function and a strategy of a cell: no module holds them."""

    @qf.signal(fast=10, slow=30)
    def trend(bars, fast, slow):
        return qf.SMA(fast).over(bars.close) > qf.SMA(slow).over(bars.close)

    class Cross(qf.Strategy):
        fast = qf.Param(10, low=2, high=60)
        slow = qf.Param(30, low=5, high=240)

        def setup(self):
            self.fast_average = self.indicator(qf.SMA, self.fast)
            self.slow_average = self.indicator(qf.SMA, self.slow)

        def on_bar(self, bar):
            fast, slow = self.fast_average[bar.symbol], self.slow_average[bar.symbol]
            if fast.crossed_above(slow):
                self.order_target(bar.symbol, weight=0.5)
            elif fast.crossed_below(slow):
                self.close(bar.symbol)

    return {"signal": trend, "strategy": Cross}


def bars(rows=600):
    return sample("AAPL").iloc[:rows]


def same_tables(one, other):
    pd.testing.assert_frame_equal(
        one.table.drop(columns="seconds"), other.table.drop(columns="seconds"), check_exact=True
    )


# -- each row is its backtest ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["signal", "strategy"])
def test_each_row_is_the_backtest_of_its_parameters(kind):
    rule, data = rules()[kind], bars()
    settings = {"costs": qf.Costs.harsh(), "cash": 20_000.0}
    found = qf.sweep(rule, data, executor=1, **settings, **AXES)
    assert len(found) == found.done == COUNT and found.failed == 0
    for number, row in found.table.iterrows():
        alone = qf.backtest(rule(fast=int(row["fast"]), slow=int(row["slow"])), data, **settings)
        for name in FIGURES:
            one, other = row[name], alone.metrics[name]
            assert one == other or (one != one and other != other), name
        again = found.result(number)
        assert again.equity.equals(alone.equity) and again.fills.equals(alone.fills)
    assert found.best.metrics.sharpe == found.table["sharpe"].max()
    assert found.best_parameters == found.table.loc[found.table["sharpe"].idxmax(), ["fast", "slow"]].to_dict()


def test_several_symbols_and_recordings_are_swept_too(tmp_path):
    rule = rules()["strategy"]
    data = {name: sample(name).iloc[:300] for name in ("AAPL", "IBM")}
    found = qf.sweep(rule, data, executor=1, fast=(5, 8))
    alone = [qf.backtest(rule(fast=fast), data).metrics.end_equity for fast in (5, 8)]
    assert found.table["end_equity"].tolist() == alone
    file = tmp_path / "ibm.parquet"
    sample("IBM").iloc[:300].to_parquet(file)
    found = qf.sweep(rule, str(file), executor=1, fast=(5, 8))
    assert found.table["end_equity"].tolist() == [
        qf.backtest(rule(fast=fast), str(file)).metrics.end_equity for fast in (5, 8)
    ]


def test_a_function_that_writes_into_what_an_indicator_gave_spoils_no_other_run():
    @qf.signal(level=0.0)
    def spoiler(bars, level):
        average = qf.SMA(10).over(bars.close)
        average.iloc[100:] += level
        return average > bars.close

    data = bars(300)
    found = qf.sweep(spoiler, data, executor=1, level=(0.0, 5.0, -5.0, 0.5))
    for level, equity in zip((0.0, 5.0, -5.0, 0.5), found.table["end_equity"], strict=True):
        assert equity == qf.backtest(spoiler(level=level), data).metrics.end_equity


# -- whoever works ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["signal", "strategy"])
def test_threads_and_processes_give_the_same(kind):
    rule, data = rules()[kind], bars(400)
    here = qf.sweep(rule, data, executor=1, **AXES)
    assert here.where == "in this process"
    with ThreadPoolExecutor(3) as threads:
        same_tables(qf.sweep(rule, data, executor=threads, **AXES), here)
    in_processes = qf.sweep(rule, data, executor=2, **AXES)
    assert in_processes.where == "in 2 processes"
    same_tables(in_processes, here)


def test_by_default_little_work_is_done_here_and_much_in_processes(monkeypatch):
    monkeypatch.setattr("qfkit.research.dispatch.workers_count", lambda: 2)
    rule, data = rules()["signal"], bars(300)
    assert qf.sweep(rule, data, **AXES).where == "in this process"
    monkeypatch.setattr("qfkit.research.dispatch._TRIED_S", 0.0)
    monkeypatch.setattr("qfkit.research.dispatch._WORTH_PROCESSES_S", 0.0)
    spread = qf.sweep(rule, data, **AXES)
    assert spread.where == "in 2 processes" and spread.done == COUNT


def test_a_combination_that_raises_is_a_row_with_its_error():
    @qf.signal(at=1)
    def fragile(bars, at):
        if at == 3:
            raise ZeroDivisionError("three is too much")
        return bars.close > bars.close.shift(at)

    found = qf.sweep(fragile, bars(200), executor=1, at=range(1, 6))
    assert found.done == 5 and found.failed == 1
    failed = found.table[found.table["error"].notna()]
    assert failed["at"].tolist() == [3] and failed["sharpe"].isna().all()
    assert "three is too much" in failed["error"].iloc[0]
    assert "1 failed" in repr(found) and "three is too much" in repr(found)
    with pytest.raises(StrategyError, match="three is too much"):
        found.result({"at": 3})


def test_a_combination_that_kills_its_process_is_a_row_and_the_others_are_done():
    class Deadly(qf.Strategy):
        at = qf.Param(1)

        def on_bar(self, bar):
            if self.at == 4:
                os._exit(1)

    found = qf.sweep(Deadly, bars(50), executor=2, at=range(8))
    assert found.done == 8 and found.failed == 1
    assert "died" in found.table.set_index("at").loc[4, "error"]


class Remote(Executor):
    """Workers that see no file of this machine: everything is pickled on its way, as to another one."""

    def __init__(self):
        self.bytes = []
        self.with_contents = 0

    def submit(self, function, reference, items, contents=None):
        self.bytes.append(len(cloudpickle.dumps((reference, items, contents))))
        self.with_contents += contents is not None
        future = Future()
        # It begins without anything.
        if not self.bytes[1:]:
            shipping._unloaded.clear()
        there = CargoReference(reference.token, "/nowhere/at/all", -1)
        future.set_result(function(there, cloudpickle.loads(cloudpickle.dumps(items)), contents))
        return future


def test_data_go_to_a_worker_once_and_not_with_each_task():
    data, remote = bars(2_000), Remote()
    found = qf.sweep(rules()["signal"], data, executor=remote, fast=range(3, 25), slow=range(30, 60, 3))
    assert found.done == 220 and found.failed == 0
    assert len(remote.bytes) > 3
    # The frame is 112 kB; a worker that lacks it is sent it with the next try.
    large = [size for size in remote.bytes if size > 50_000]
    assert len(large) == remote.with_contents == 1
    assert sum(remote.bytes) - sum(large) < 60_000


def test_cargo_is_mapped_and_not_copied():
    cargo = Cargo({"array": np.arange(1_000.0), "name": "x"})
    cargo.load()
    try:
        elsewhere = CargoReference(cargo.reference.token, cargo.reference.path, -1)
        found = unload(elsewhere)
        assert found["array"].tolist() == list(range(1_000)) and found["name"] == "x"
        assert not found["array"].flags.writeable and not found["array"].flags.owndata
        assert unload(CargoReference("0" * 32, cargo.reference.path, -1)) is None
    finally:
        cargo.close()
    assert unload(CargoReference("1" * 32, cargo.reference.path, -1)) is None


def test_an_executor_that_breaks_leaves_what_is_done():
    class Breaking(ThreadPoolExecutor):
        def submit(self, *args, **kwargs):
            future = super().submit(*args, **kwargs)
            self.count = getattr(self, "count", 0) + 1
            if self.count == 5:
                from concurrent.futures import BrokenExecutor

                future = Future()
                future.set_exception(BrokenExecutor("gone"))
            return future

    with Breaking(1) as executor, pytest.raises(ResearchError, match=r"continue_\(\)") as raised:
        qf.sweep(rules()["signal"], bars(200), executor=executor, **AXES)
    found = raised.value.sweep
    assert 0 < found.done < COUNT
    same_tables(found.continue_(1), qf.sweep(rules()["signal"], bars(200), executor=1, **AXES))


# -- interrupts and files --------------------------------------------------------------------


def test_an_interrupt_keeps_what_is_done_and_the_sweep_goes_on():
    stops = [True]

    class Interrupted(qf.Strategy):
        at = qf.Param(1)

        def on_start(self):
            if self.at == 5 and stops:
                stops.clear()
                raise KeyboardInterrupt

    found = qf.sweep(Interrupted, bars(30), executor=1, at=range(10))
    done = found.done
    assert found.is_interrupted and 0 < done <= 5 and len(found.table) == done
    assert f"{10 - done} of 10 are not done; sweep.continue_() goes on" in repr(found)
    assert found.continue_(1) is found
    assert found.done == len(found.table) == 10 and not found.is_interrupted


def test_a_real_interrupt_while_processes_work_is_answered_at_once(tmp_path):
    folder = str(tmp_path)

    class Slow(qf.Strategy):
        at = qf.Param(1)

        def on_start(self):
            if self.at > 3:
                pathlib.Path(folder, str(self.at)).touch()
                time.sleep(30)

    over, main = threading.Event(), threading.main_thread().ident

    def press():
        # Once two of the slow ones are under way; and again, as a person does, should it not be heard.
        while len(list(tmp_path.iterdir())) < 2 and not over.wait(0.05):
            continue
        while not over.is_set():
            signal.pthread_kill(main, signal.SIGINT)
            over.wait(5.0)

    presser = threading.Thread(target=press)
    presser.start()
    try:
        found = qf.sweep(Slow, bars(30), executor=2, at=range(12))
    finally:
        over.set()
        presser.join()
    # Each of the others would have taken half a minute.
    assert found.is_interrupted and 4 <= found.done < 12 and found.elapsed_s < 60.0
    assert found.table["at"].tolist() == list(range(found.done))


def test_a_sweep_with_a_path_goes_on_where_it_was_left(tmp_path):
    runs, stops = [], [True]

    class Counted(qf.Strategy):
        at = qf.Param(1)

        def on_start(self):
            runs.append(self.at)
            if self.at == 3 and stops:
                stops.clear()
                raise KeyboardInterrupt

    path = tmp_path / "made" / "sweep.parquet"
    first = qf.sweep(Counted, bars(30), executor=1, path=path, at=range(5))
    assert first.is_interrupted and 0 < first.done <= 3
    kept = first.table["at"].tolist()
    runs.clear()
    second = qf.sweep(Counted, bars(30), executor=1, path=path, at=range(7))
    assert second.done == 7 and sorted(runs + kept) == list(range(7))
    with pytest.raises(ResearchError, match="another sweep"):
        qf.sweep(Counted, bars(31), executor=1, path=path, at=range(5))
    with pytest.raises(ResearchError, match="another sweep"):
        qf.sweep(Counted, bars(30), executor=1, path=path, cash=5.0, at=range(5))


def test_a_sweep_is_read_from_its_file_by_anybody(tmp_path):
    path = tmp_path / "sweep.parquet"
    found = qf.sweep(rules()["signal"], bars(), executor=1, **AXES)
    found.save(path)
    read = qf.read_sweep(path)
    same_tables(read, found)
    assert repr(read).splitlines()[2:] == repr(found).splitlines()[2:]
    assert read.overfitting.overfitting_probability == found.overfitting.overfitting_probability
    with pytest.raises(ResearchError, match="neither strategy nor data"):
        read.result(0)
    whole = qf.read_sweep(path, rules()["signal"], bars())
    assert whole.best.equity.equals(found.best.equity)
    best = duckdb.sql(f"SELECT fast, slow FROM '{path}' ORDER BY sharpe DESC LIMIT 1").fetchall()[0]
    assert dict(zip(("fast", "slow"), best, strict=True)) == found.best_parameters
    assert pd.read_parquet(path)["sharpe"].tolist() == found.table["sharpe"].tolist()
    bars(20).to_parquet(tmp_path / "bars.parquet")
    with pytest.raises(FrameError, match="is no sweep"):
        qf.read_sweep(tmp_path / "bars.parquet")


def test_a_row_takes_little_memory_however_many_there_are():
    rule, data = rules()["signal"], bars(300)
    peaks = []
    for lengths in (range(2, 12), range(2, 52)):
        tracemalloc.start()
        found = qf.sweep(rule, data, executor=1, fast=lengths, slow=range(60, 70))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.done == len(lengths) * 10
    assert peaks[1] - peaks[0] < 400 * 4_000


# -- what is tried ---------------------------------------------------------------------------


def tried(**arguments):
    return qf.sweep(rules()["strategy"], bars(60), executor=1, **arguments).table[["fast", "slow"]].to_numpy().tolist()


def test_a_grid_a_constraint_a_sample_and_a_list():
    assert tried(fast=(5, 10), slow=(5, 20)) == [[5, 5], [5, 20], [10, 5], [10, 20]]
    assert tried(fast=(5, 10), slow=(5, 20), constraint=lambda p: p.fast < p["slow"]) == [[5, 20], [10, 20]]
    assert tried(fast=5, slow=np.array([20, 30])) == [[5, 20], [5, 30]]
    drawn = tried(fast=range(2, 60), slow=range(5, 200), samples=6, seed=3)
    assert len({tuple(one) for one in drawn}) == 6
    assert drawn == tried(fast=range(2, 60), slow=range(5, 200), samples=6, seed=3)
    assert drawn != tried(fast=range(2, 60), slow=range(5, 200), samples=6, seed=4)
    below = tried(fast=range(2, 60), slow=range(5, 200), samples=9, constraint=lambda p: p.fast > p.slow)
    assert len(below) == 9 and all(fast > slow for fast, slow in below)
    assert tried(combinations=[{"fast": 7, "slow": 9}, {"fast": 8}]) == [[7, 9], [8, 30]]
    assert tried(combinations={"fast": (6, 7), "slow": (9,)}) == [[6, 9], [7, 9]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"fats": (5, 6)}, r"no parameter 'fats'. Did you mean 'fast'"),
        ({"fast": (1, 5)}, r"out of bounds"),
        ({"fast": ()}, r"name at least one value"),
        ({}, r"nothing to vary.*fast=\.\.\., slow="),
        ({"fast": (5,), "metric": "sharp"}, r"metric='sharp'.*sharpe"),
        ({"fast": (5,), "executor": "dask"}, r"executor='dask'.*get_executor"),
        ({"fast": (5,), "executor": 0}, r"1 or more"),
        ({"fast": (5,), "samples": 0}, r"samples=0"),
        ({"fast": (50,), "constraint": lambda p: p.fast < p.slow}, r"lets no combination through"),
        ({"fast": (5,), "constraint": lambda p: p.fst}, r"no parameter 'fst'"),
        ({"combinations": [3]}, r"number 0 is 3"),
        ({"combinations": [{"fast": 5}], "fast": (5,)}, r"not both"),
    ],
)
def test_what_cannot_be_swept_is_said_before_anything_runs(arguments, words):
    with pytest.raises(ParameterError, match=words):
        qf.sweep(rules()["strategy"], bars(60), **arguments)


def test_the_best_of_a_drawdown_is_the_least_and_a_function_may_judge():
    rule, data = rules()["signal"], bars()
    least = qf.sweep(rule, data, executor=1, metric="max_drawdown", **AXES)
    assert least.best.metrics.max_drawdown == least.table["max_drawdown"].min()

    def calm(result):
        return result.metrics.total_return - 2.0 * result.metrics.max_drawdown

    judged = qf.sweep(rule, data, executor=1, metric=calm, **AXES)
    assert judged.metric == "calm"
    expected = judged.table["total_return"] - 2.0 * judged.table["max_drawdown"]
    assert judged.table["calm"].tolist() == expected.tolist()
    assert judged.best_parameters == judged.table.loc[expected.idxmax(), ["fast", "slow"]].to_dict()


# -- what the best is worth ------------------------------------------------------------------


def test_the_evidence_is_that_of_the_returns_themselves():
    rule, data = rules()["strategy"], bars(700)
    found = qf.sweep(rule, data, executor=1, **AXES)
    equity = np.array([found.result(number).equity["account"].to_numpy() for number in range(COUNT)])
    returns = equity[:, 1:] / equity[:, :-1] - 1.0
    sharpes = returns.mean(axis=1) / returns.std(axis=1, ddof=1)
    best = int(sharpes.argmax())
    own = pd.Series(returns[best])
    assert found.best_number == best
    expected = deflated_sharpe(
        sharpes[best],
        returns.shape[1],
        variance=sharpes.var(ddof=1),
        tries=COUNT,
        skewness=float(((own - own.mean()) ** 3).mean() / own.std(ddof=0) ** 3),
        kurtosis=float(((own - own.mean()) ** 4).mean() / own.std(ddof=0) ** 4),
    )
    evidence = found.overfitting
    assert evidence.tries == COUNT
    assert evidence.deflated_sharpe == pytest.approx(expected, rel=1e-9)
    crossed = overfitting_of_returns(returns, blocks=BLOCKS)
    assert evidence.overfitting_probability == pytest.approx(crossed.probability, abs=2e-4)
    assert evidence.sharpe == found.best.metrics.sharpe
    # More tries elsewhere make the same figure worth less.
    assert found.evidence(other_tries=1_000).deflated_sharpe < evidence.deflated_sharpe
    assert "12 tries" in repr(evidence)
    alone = qf.sweep(rule, data, executor=1, fast=(10,))
    assert alone.overfitting.deflated_sharpe != alone.overfitting.deflated_sharpe
    assert "it takes two" in repr(alone.overfitting)


def test_neighbours_worked_by_hand():
    parameters = {"fast": [1, 2, 3, 1, 2, 3], "kind": ["a", "a", "a", "b", "b", "b"]}
    metric = np.array([1.0, 5.0, 2.0, 3.0, np.nan, 4.0])
    mean, least, whole = neighbour_figures(parameters, {"fast": (1, 2, 3), "kind": ("a", "b")}, metric)
    # 1a: 2a and 1b; 2a: 1a, 3a (2b has none); 3a: 2a, 3b; 1b: 1a; 2b: 2a, 1b, 3b; 3b: 3a.
    assert mean.tolist() == [4.0, 1.5, 4.5, 1.0, 4.0, 2.0]
    assert least.tolist() == [3.0, 1.0, 4.0, 1.0, 3.0, 2.0]
    assert whole[[0, 1]].tolist() == [3.0, (5.0 + 1.0 + 2.0) / 3.0] and np.isnan(whole[4])
    lonely, _, _ = neighbour_figures({"fast": [1, 9]}, {"fast": (1, 5, 9)}, np.array([1.0, 2.0]))
    assert np.isnan(lonely).all()


def test_the_middle_of_a_plateau_is_told_beside_a_lone_peak():
    class Landscape(qf.Strategy):
        x = qf.Param(0)

    heights = {0: 1.0, 1: 9.0, 2: 0.0, 3: 5.0, 4: 6.0, 5: 5.5, 6: 2.0}

    def height(result):
        return heights[result.parameters["Landscape"]["x"]]

    found = qf.sweep(Landscape, bars(30), executor=1, metric=height, x=range(7))
    assert found.best_parameters == {"x": 1} and found.stable_parameters == {"x": 4}
    assert "the best neighbourhood is that of x=4" in repr(found)
    assert found.top(3)["x"].tolist() == [1, 4, 5]


def test_a_sweep_shows_itself_in_a_notebook_with_names_escaped():
    found = qf.sweep(rules()["signal"], bars(), executor=1, **AXES)
    found.label = "<script>alert(1)</script>"
    page = found._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert page.count("<tr>") == 1 + 10
    assert page.count("<img") == 1 and "sharpe by fast and slow" in page
    one_axis = qf.sweep(rules()["signal"], bars(), executor=1, fast=(5, 8))
    assert "<img" not in one_axis._repr_html_()


def test_the_bar_tells_the_rate_and_the_time_left(capfd):
    qf.sweep(rules()["strategy"], bars(200), executor=1, progress=True, **AXES)
    shown = capfd.readouterr().err
    assert "12/12" in shown.replace(" ", "") and "combinations" in shown and "/s" in shown


def test_a_job_on_its_way_leaves_its_own_memory_behind():
    job = Job(rules()["signal"](), bars(100), engine_settings(), {}, "sharpe")
    job.result({"fast": 5})
    there = cloudpickle.loads(cloudpickle.dumps(job))
    assert there.result({"fast": 5}).equity.equals(job.result({"fast": 5}).equity)
    rows = there.run([(0, 0, {"fast": 5})])
    assert rows.figures.shape == (1, len(FIGURES)) and rows.sums.shape == (1, BLOCKS)


def test_a_sweep_over_a_catalogue_notices_that_its_files_changed(tmp_path):
    catalogue = qf.recordings(str(tmp_path / "market"))
    catalogue.add(bars(100), symbol="AAPL")
    path = tmp_path / "sweep.parquet"
    rule = rules()["strategy"]
    qf.sweep(rule, catalogue.bars("AAPL", timeframe="1d"), executor=1, path=path, fast=(5, 8))
    assert qf.sweep(rule, catalogue.bars("AAPL", timeframe="1d"), executor=1, path=path, fast=(5, 8)).done == 2
    catalogue.add(sample("AAPL").iloc[100:400], symbol="AAPL")
    with pytest.raises(ResearchError, match="another sweep"):
        qf.sweep(rule, catalogue.bars("AAPL", timeframe="1d"), executor=1, path=path, fast=(5, 8))
