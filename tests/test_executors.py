"""Past one machine: on every executor each row of a sweep is the backtest of its parameters, a lost worker or not."""

import logging
import os
import signal
import subprocess
import sys
import threading
from _thread import interrupt_main
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

import qfkit as qf
from qfkit.errors import ParameterError, ResearchError
from qfkit.research.trials import FIGURES

ROOT = Path(__file__).resolve().parent.parent
AXES = {"fast": range(3, 11), "slow": range(20, 26)}
COUNT = 48


def rule():
    """A strategy of a cell: no module holds it."""

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

    return Cross


def bars():
    return qf.sample("AAPL").iloc[:300]


@pytest.fixture(scope="module")
def one_by_one():
    """The figures of each combination, of a backtest of its own."""
    kind, data = rule(), bars()
    return {
        (fast, slow): [qf.backtest(kind(fast=fast, slow=slow), data).metrics[name] for name in FIGURES]
        for fast in AXES["fast"]
        for slow in AXES["slow"]
    }


def assert_same(found, one_by_one):
    assert found.done == len(found) == len(found.table) == COUNT
    assert found.failed == 0, repr(found)
    for _, row in found.table.iterrows():
        figures = one_by_one[int(row["fast"]), int(row["slow"])]
        for name, alone in zip(FIGURES, figures, strict=True):
            assert row[name] == alone or (row[name] != row[name] and alone != alone), name


# -- this machine ----------------------------------------------------------------------------


def test_threads(one_by_one):
    with ThreadPoolExecutor(2) as executor:
        assert_same(qf.sweep(rule(), bars(), executor=executor, **AXES), one_by_one)


def test_processes_that_begin_anew(one_by_one):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        found = qf.sweep(rule(), bars(), executor=executor, **AXES)
    assert found.where == "on ProcessPoolExecutor"
    assert_same(found, one_by_one)


def test_loky(one_by_one):
    import loky

    executor = loky.ProcessPoolExecutor(2)
    try:
        assert_same(qf.sweep(rule(), bars(), executor=executor, **AXES), one_by_one)
    finally:
        executor.shutdown(kill_workers=True)


# -- Dask ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dask_client():
    import dask
    from distributed import Client, LocalCluster

    # So long it is looked for a worker that died with results; by default half a minute.
    with dask.config.set({"distributed.comm.timeouts.connect": "5s"}):
        # That a worker is killed is told by its nanny and the scheduler; it is meant here.
        cluster = LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
        with cluster, Client(cluster) as client:
            yield client


class Watched(Executor):
    """Calls ``act`` in the midst of the work: once, when ``after`` tasks have come back."""

    def __init__(self, executor, act, after):
        self.executor, self.act, self.after = executor, act, after
        self.handed_out = self.came_back = self.out_then = 0
        self._lock = threading.Lock()

    def submit(self, function, /, *args, **kwargs):
        future = self.executor.submit(function, *args, **kwargs)
        with self._lock:
            self.handed_out += 1
        future.add_done_callback(self._count)
        return future

    def _count(self, _):
        with self._lock:
            self.came_back += 1
            if self.came_back == self.after:
                self.out_then = self.handed_out - self.came_back
                self.act()


def test_dask_with_a_worker_killed_in_the_midst(dask_client, one_by_one):
    before = dask_client.run(os.getpid)
    victim = next(iter(before.values()))
    executor = Watched(dask_client.get_executor(), lambda: os.kill(victim, signal.SIGKILL), after=5)
    found = qf.sweep(rule(), bars(), executor=executor, **AXES)
    # It was killed when some tasks had come back and others were with the workers.
    assert executor.out_then > 0 and executor.came_back == executor.handed_out > 5
    assert_same(found, one_by_one)
    dask_client.wait_for_workers(2, timeout=30)
    after = set(dask_client.run(os.getpid).values())
    assert victim not in after and len(after) == 2


def test_an_interrupt_on_dask_keeps_what_is_done_and_leaves_nothing_at_work(dask_client, one_by_one, caplog):
    executor = Watched(dask_client.get_executor(), interrupt_main, after=5)
    found = qf.sweep(rule(), bars(), executor=executor, **AXES)
    assert found.is_interrupted and 0 < found.done < COUNT
    assert_same(found.continue_(dask_client), one_by_one)
    assert not any(dask_client.processing().values())
    # No traceback of what was cancelled on purpose.
    assert not [record for record in caplog.records if record.name.startswith("tornado")]


def test_a_dask_client_is_taken_as_it_is(dask_client, one_by_one):
    found = qf.sweep(rule(), bars(), executor=dask_client, **AXES)
    assert found.where == "on ClientExecutor"
    assert_same(found, one_by_one)


def test_a_walk_forward_on_dask_is_that_of_this_process(dask_client):
    windows = {"train": 120, "test": 60, "fast": (3, 5, 8), "slow": (20, 25)}
    here = qf.walk_forward(rule(), bars(), executor=1, **windows)
    there = qf.walk_forward(rule(), bars(), executor=dask_client, **windows)
    assert there.where == "on ClientExecutor" and len(there) == len(here) > 1
    assert there.parameters == here.parameters
    assert there.equity.equals(here.equity)
    assert there.in_sample.equals(here.in_sample) and there.out_of_sample.equals(here.out_of_sample)


def test_a_combination_that_kills_dask_workers_is_a_row_and_the_others_are_done(dask_client):
    class Deadly(qf.Strategy):
        at = qf.Param(1)

        def on_start(self):
            if self.at == 4:
                os._exit(1)

    found = qf.sweep(Deadly, bars()[:30], executor=dask_client, at=range(8))
    assert found.done == 8 and found.failed == 1
    assert "KilledWorker" in found.table.set_index("at").loc[4, "error"]


# -- ipyparallel -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    import ipyparallel

    profile = tmp_path_factory.mktemp("ipython") / "profile_default"
    with ipyparallel.Cluster(n=2, profile_dir=str(profile), log_level=logging.ERROR) as client:
        yield client


@pytest.mark.parametrize("how", ["client", "executor", "view"])
def test_ipyparallel(engines, one_by_one, how):
    executor = {
        "client": lambda: engines,
        "executor": lambda: engines.executor(),
        "view": lambda: engines.load_balanced_view().executor,
    }[how]()
    found = qf.sweep(rule(), bars(), executor=executor, **AXES)
    assert found.where == "on ViewExecutor"
    assert_same(found, one_by_one)


def test_an_ipyparallel_view_that_has_every_engine_do_all_of_it_is_told_apart(engines):
    with pytest.raises(ResearchError, match=r"client\.executor\(\)"):
        qf.sweep(rule(), bars(), executor=engines[:].executor, **AXES)


# -- MPI -------------------------------------------------------------------------------------

_ON_MPI = """
import sys

from mpi4py.futures import MPIPoolExecutor

import qfkit as qf
from tests.test_executors import AXES, bars, rule

if __name__ == "__main__":
    with MPIPoolExecutor() as executor:
        found = qf.sweep(rule(), bars(), executor=executor, path=sys.argv[1], **AXES)
        print(executor.num_workers, found.where)
"""


def test_mpi(tmp_path, one_by_one):
    script, path = tmp_path / "script.py", tmp_path / "sweep.parquet"
    script.write_text(_ON_MPI)
    mpiexec = Path(sys.executable).with_name("mpiexec")
    command = [mpiexec, "-n", "3", sys.executable, "-m", "mpi4py.futures", script, path]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["2", "on", "MPIPoolExecutor"]
    assert_same(qf.read_sweep(path), one_by_one)


# -- workers that are lost, or of no use -------------------------------------------------------


class Made(Executor):
    """Does each task at once, as ``make`` of its number and a function that does it says."""

    def __init__(self, make):
        self.make, self.count, self.with_contents = make, 0, 0

    def submit(self, function, reference, items, contents=None):
        future = Future()
        self.count += 1
        self.with_contents += contents is not None
        try:
            future.set_result(self.make(self.count, lambda: function(reference, items, contents)))
        except ImportError as error:
            future.set_exception(error)
        return future


def test_a_worker_that_asks_for_the_data_and_goes_does_not_have_them_sent_for_ever(one_by_one):
    executor = Made(lambda number, work: ("elsewhere 1", None) if number == 1 else work())
    assert_same(qf.sweep(rule(), bars(), executor=executor, **AXES), one_by_one)
    assert 0 < executor.with_contents < executor.count / 2


def test_workers_without_what_they_need_end_the_sweep_at_once_and_say_what():
    def missing(number, work):
        raise ModuleNotFoundError("No module named 'qfkit'")

    executor = Made(missing)
    with pytest.raises(ResearchError, match=r"No module named 'qfkit'\): they need qfkit"):
        qf.sweep(rule(), bars(), executor=executor, **AXES)
    assert executor.count < COUNT


def test_a_task_that_is_lost_once_is_done_again(one_by_one):
    def lossy(number, work):
        if number in (4, 7):
            raise ImportError("lost")
        return work()

    assert_same(qf.sweep(rule(), bars(), executor=Made(lossy), **AXES), one_by_one)


# -- what is none ----------------------------------------------------------------------------


def test_what_is_no_executor_is_said(dask_client):
    with pytest.raises(ParameterError, match="Executor of concurrent.futures"):
        qf.sweep(rule(), bars(), executor=dask_client.cluster, **AXES)
