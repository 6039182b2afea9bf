"""Sweeps at their edges: single combinations, numbers of numpy, names that are taken, figures that are infinite."""

import numpy as np
import pytest

import qfkit as qf
from qfkit.errors import ParameterError, ResearchError
from qfkit.research.trials import FIGURES
from tests.test_sweep import AXES, bars, rules


def test_axes_of_a_single_value_each_are_a_sweep_of_one():
    found = qf.sweep(rules()["strategy"], bars(), executor=1, fast=5, slow=[20])
    assert len(found) == 1 and found.best_parameters == {"fast": 5, "slow": 20}
    assert "fast=5, slow=20" in repr(found) and "<table>" in found._repr_html_()
    assert np.isnan(found.table["neighbours"]).all() and found.stability.isna().all()


def test_a_number_out_of_the_table_names_a_combination_and_nonsense_is_told():
    found = qf.sweep(rules()["signal"], bars(), executor=1, samples=np.int64(3), **AXES)
    number = found.table["sharpe"].idxmax()
    assert isinstance(number, np.integer)
    assert found.result(number).metrics.sharpe == found.table["sharpe"].max()
    for wrong in ("fast", 1.0, True):
        with pytest.raises(ParameterError, match="its number in the table"):
            found.result(wrong)
    with pytest.raises(ParameterError, match="a list of dicts"):
        qf.sweep(rules()["signal"], bars(), combinations=3)


def test_what_cannot_be_ranked_is_not_shown_as_the_best():
    def ratio(result):
        return {5: np.inf, 6: 2.0, 7: 1.0}[result.parameters["Cross"]["fast"]]

    found = qf.sweep(rules()["strategy"], bars(100), executor=1, metric=ratio, fast=(5, 6, 7))
    assert found.best_parameters == {"fast": 6}
    assert found.top(1)["fast"].tolist() == [6] and "best ratio 2: fast=6" in repr(found)


def test_a_parameter_may_have_a_figures_name_and_comes_back_from_the_file(tmp_path):
    class Sized(qf.Strategy):
        volatility = qf.Param(0.1)

        def on_bar(self, bar):
            if not self.position(bar.symbol):
                self.order_target(bar.symbol, weight=self.volatility)

    path, axes = tmp_path / "sized.parquet", {"volatility": (0.125, 0.5)}
    found = qf.sweep(Sized, bars(100), executor=1, path=path, **axes)
    again = qf.read_sweep(path)
    assert again.axes == axes and again.table["volatility"].tolist() == [0.125, 0.5]
    assert again.best_parameters == found.best_parameters
    place = FIGURES.index("volatility")
    assert again.rows.figures[:, place].tolist() == found.rows.figures[:, place].tolist()
    assert found.rows.figures[0, place] == found.result(0).metrics.volatility
    resumed = qf.sweep(Sized, bars(100), executor=1, path=path, **axes)
    assert resumed.where == ""
    with pytest.raises(ParameterError, match="volatility is a parameter here and the metric"):
        qf.sweep(Sized, bars(100), metric="volatility", **axes)


@pytest.mark.parametrize("name", ["volatility", "error", "fast"])
def test_a_metric_function_of_a_name_that_is_taken_is_told(name):
    def judge(result):
        return result.metrics.total_return

    judge.__name__ = name
    with pytest.raises(ParameterError, match="another"):
        qf.sweep(rules()["strategy"], bars(100), metric=judge, fast=(5, 6))


def test_another_metric_function_of_the_same_name_is_another_sweep(tmp_path):
    path = tmp_path / "judged.parquet"
    settings = {"executor": 1, "path": path, "fast": (5, 6)}
    first = qf.sweep(rules()["strategy"], bars(100), metric=lambda result: result.metrics.total_return, **settings)
    again = qf.sweep(rules()["strategy"], bars(100), metric=lambda result: result.metrics.total_return, **settings)
    assert again.where == "" and again.table["<lambda>"].tolist() == first.table["<lambda>"].tolist()
    with pytest.raises(ResearchError, match="holds another sweep"):
        qf.sweep(rules()["strategy"], bars(100), metric=lambda result: -result.metrics.total_return, **settings)


def test_a_file_of_other_axes_or_of_more_combinations_is_not_written_over(tmp_path):
    path = tmp_path / "sweep.parquet"
    rule, data = rules()["strategy"], bars(100)
    first = qf.sweep(rule, data, executor=1, path=path, fast=(5, 6), slow=(20, 30, 40))
    # slow=30 is the strategy's own: the rows of the others are not those of fast alone.
    with pytest.raises(ResearchError, match="holds a sweep over fast, slow, not fast"):
        qf.sweep(rule, data, executor=1, path=path, fast=(5, 6))
    with pytest.raises(ResearchError, match="not slow"):
        qf.sweep(rule, data, executor=1, path=path, slow=(20, 30))
    with pytest.raises(ResearchError, match="holds 3 combinations that are not among these 6"):
        qf.sweep(rule, data, executor=1, path=path, fast=(5, 7), slow=(20, 30, 40))
    wider = qf.sweep(rule, data, executor=1, path=path, slow=(40, 30, 20), fast=(5, 6, 7))
    assert wider.done == 9 and len(qf.read_sweep(path)) == 9
    chosen = (wider.table["fast"] < 7).to_numpy()
    assert sorted(wider.table.loc[chosen, "end_equity"]) == sorted(first.table["end_equity"])


def test_a_file_is_read_with_the_data_it_was_made_with_or_alone(tmp_path):
    path, rule = tmp_path / "sweep.parquet", rules()["strategy"]

    def gain(result):
        return result.metrics.total_return

    found = qf.sweep(rule, bars(100), executor=1, path=path, metric=gain, fast=(5, 6))
    with pytest.raises(ResearchError, match="called gain: give metric="):
        qf.read_sweep(path, rule, bars(100))
    with pytest.raises(ResearchError, match="of other code, data, settings or metric"):
        qf.read_sweep(path, rule, bars(101), metric=gain)
    assert qf.read_sweep(path, rule, bars(100), metric=gain).best.equity.equals(found.best.equity)


def test_texts_of_numpy_are_shown_as_texts():
    class Named(qf.Strategy):
        kind = qf.Param("a")

    found = qf.sweep(Named, bars(60), executor=1, metric="total_return", kind=np.array(["a", "b"]))
    assert "kind='a'" in repr(found)
    listed = qf.sweep(Named, bars(60), executor=1, metric="total_return", combinations=[{"kind": np.str_("b")}])
    assert "kind='b'" in repr(listed)
