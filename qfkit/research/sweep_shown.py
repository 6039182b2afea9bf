"""What a sweep shows of itself: a text, a table and pictures."""

from collections.abc import Mapping
from html import escape
from math import isfinite
from typing import TYPE_CHECKING, Any

from qfkit.errors import ResearchError
from qfkit.research.trial_rows import SMALLER_IS_BETTER

if TYPE_CHECKING:
    import pandas

    from qfkit.research.evidence import Evidence

__all__ = ["SweepShown"]

_SHOWN = 10
_BESIDE = ("total_return", "sharpe", "max_drawdown", "trades", "neighbours")
_PERCENT = ("total_return", "max_drawdown", "cagr", "volatility", "win_rate", "exposure")


class SweepShown:
    """The part of a sweep that people look at."""

    metric: str
    strategy_name: str
    label: str
    where: str
    elapsed_s: float
    is_interrupted: bool

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """The values of each parameter that was varied."""
        raise NotImplementedError

    @property
    def done(self) -> int:
        """How many were run."""
        raise NotImplementedError

    @property
    def failed(self) -> int:
        """How many of them raised."""
        raise NotImplementedError

    @property
    def table(self) -> "pandas.DataFrame":
        """A row a combination."""
        raise NotImplementedError

    @property
    def best_parameters(self) -> dict[str, Any]:
        """The best by the metric."""
        raise NotImplementedError

    @property
    def stable_parameters(self) -> dict[str, Any]:
        """The middle of the best plateau."""
        raise NotImplementedError

    @property
    def overfitting(self) -> "Evidence":
        """What the best is worth."""
        raise NotImplementedError

    def top(self, count: int = _SHOWN) -> "pandas.DataFrame":
        """The rows of the best combinations by the metric, the best first."""
        import numpy as np

        # An infinite one, as the profit factor of a run without a loss, cannot be ranked: as for best_parameters.
        is_known = np.isfinite(self.table[self.metric].to_numpy(dtype=float, na_value=np.nan))
        known: pandas.DataFrame = self.table.loc[is_known]
        return known.sort_values(self.metric, ascending=self.metric in SMALLER_IS_BETTER, kind="stable").head(count)

    # -- texts -------------------------------------------------------------------------------

    def lines(self) -> list[str]:
        """What it was and what came of it, in words."""
        axes = " x ".join(f"{name} ({len(values)})" for name, values in self.axes.items())
        lines = [f"sweep of {self.strategy_name} over {axes}" + (f" | {self.label}" if self.label else "")]
        rate = f", {self.done / self.elapsed_s:,.0f} a second" if self.elapsed_s > 0.0 and self.done > 1 else ""
        many = "combination" if self.done == 1 else "combinations"
        lines.append(f"{self.done:,} {many} in {self.elapsed_s:,.1f} s{rate} {self.where}".rstrip())
        if self.done < len(self):
            how = "interrupted: " if self.is_interrupted else ""
            lines.append(f"{how}{len(self) - self.done:,} of {len(self):,} are not done; sweep.continue_() goes on")
        if self.failed:
            error = self.table["error"].dropna().iloc[0]
            lines.append(f"{self.failed:,} failed, the first with: {error}")
        try:
            best = self.best_parameters
        except ResearchError as error:
            return [*lines, str(error)]
        row = self.top(1).iloc[0]
        lines.append(
            f"best {self.metric} {_written(self.metric, row[self.metric])}: {_named(best)}" + self._beside(row)
        )
        return [*lines, *self.overfitting.lines()]

    def _beside(self, row: "pandas.Series[Any]") -> str:
        mean, worst = float(row["neighbours"]), float(row["worst_neighbour"])
        if not isfinite(mean):
            return ""
        text = (
            f"; its neighbours have {_written(self.metric, mean)} on average, {_written(self.metric, worst)} at worst"
        )
        stable = self.stable_parameters
        return text if stable == self.best_parameters else f"{text}; the best neighbourhood is that of {_named(stable)}"

    def __repr__(self) -> str:
        from qfkit.views.text import clean

        return "\n".join(map(clean, self.lines()))

    def _repr_html_(self) -> str:
        first, *others = self.lines()
        body = f"<p><b>{escape(first)}</b><br>{'<br>'.join(map(escape, others))}</p>{self._rows_html()}"
        return (body + self._picture()).encode("utf-8", "replace").decode()

    def _picture(self) -> str:
        """The heat map where two axes vary; it is drawn without a kernel, so that a saved notebook keeps it."""
        from qfkit.views.picture import data_uri
        from qfkit.views.sweep_cells import heat_cells, varying
        from qfkit.views.sweep_picture import describe_heat, heat_svg

        if not self.table[self.metric].notna().any() or len(varying(self.table, self.axes)) < 2:
            return ""
        cells = heat_cells(self.table, self.axes, self.metric, lower_is_better=self.metric in SMALLER_IS_BETTER)
        words = escape(describe_heat(cells))
        return f'<img src="{data_uri(heat_svg(cells))}" alt="{words}" width="960" style="max-width:100%;height:auto;margin:8px 0">'

    def _rows_html(self) -> str:
        table = self.top()
        axes = list(self.axes)
        names = list(dict.fromkeys((*axes, self.metric, *_BESIDE)))
        head = "".join(f'<th style="text-align:right">{escape(name.replace("_", " "))}</th>' for name in names)
        cell = '<td style="text-align:right;font-variant-numeric:tabular-nums">'
        rows = "".join(
            "<tr>"
            + "".join(f"{cell}{escape(_written('' if name in axes else name, row[name]))}</td>" for name in names)
            + "</tr>"
            for row in table.to_dict("records")
        )
        return f"<table><tr>{head}</tr>{rows}</table>" if rows else ""


def _named(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in parameters.items())


def _written(name: str, value: Any) -> str:
    if isinstance(value, str | bool) or value is None:
        return str(value)
    number = float(value)
    if not isfinite(number):
        return "-"
    if name in _PERCENT:
        return f"{number:.2%}"
    if number.is_integer() and abs(number) < 1e9:
        return f"{number:,.0f}"
    return f"{number:,.2f}" if abs(number) >= 0.1 else f"{number:.3g}"
