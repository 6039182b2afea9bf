"""A run's report: its chapters in their order, and what it came to in a few sentences."""

from math import isfinite

from qfkit.comparison import Comparison
from qfkit.core.wording import money, percent, share, span, span_text
from qfkit.errors import DataError, ParameterError
from qfkit.result import Result
from qfkit.views.report.curves import drawdown_chart, equity_chart
from qfkit.views.report.drawdowns import drawdowns_html, worst_drawdowns
from qfkit.views.report.exposure import exposure_html
from qfkit.views.report.footer import footer
from qfkit.views.report.grids import table
from qfkit.views.report.headline import Intervals, headline_html, intervals_of, metrics_html, versus_html
from qfkit.views.report.months import bars_html, months_html, returns_by
from qfkit.views.report.outlay import Outlay, costs_html, outlay_of
from qfkit.views.report.page import Report, Section, page_html, safe
from qfkit.views.report.quality import quality_html
from qfkit.views.report.returns import distribution_html
from qfkit.views.report.risk import risk_html
from qfkit.views.report.trading import trades_html
from qfkit.views.report.tries import Tries, sentence, tries_html, tries_of

__all__ = ["badges", "comparison_of", "in_short", "lines_html", "run_report", "run_sections", "subject"]

_DAY_NS = 86_400_000_000_000
# From so many days on a table of months says something, and a moment is told well enough by its date.
_MONTHS_FROM = 45.0
_LONG_FROM = 3.0
_YEAR_FROM = 30.0
_MADE_UP = ("synthetic", "made up", "simulated", "random")


def run_report(
    result: Result, *, title: str | None = None, benchmark: object = "buy and hold", tries: object = None
) -> Report:
    """A backtest's report; see :meth:`qfkit.Result.report`."""
    comparison = comparison_of(result, benchmark)
    known = tries_of(tries, result._equity.account, result.metrics)
    intervals = intervals_of(result)
    spent = outlay_of(result)
    heading = title or " + ".join(result.strategy_names)
    html = page_html(
        kind="backtest",
        title=heading,
        about=subject(result),
        badges=badges(result),
        in_short=in_short(result, comparison, intervals, spent, known),
        sections=run_sections(result, comparison, intervals, spent, known),
        footer=footer(),
    )
    return Report(html, heading)


def run_sections(
    result: Result, comparison: Comparison | None, intervals: Intervals, spent: Outlay, tries: Tries | None
) -> list[Section]:
    """The chapters that every run has; ``tries`` None leaves that chapter out."""
    metrics = result.metrics
    times_ns, equity = result._equity.times_ns, result._equity.account
    is_long = metrics.days >= _LONG_FROM
    series = result._series(benchmark=comparison)
    falls = worst_drawdowns(times_ns, equity, result.starting_cash)
    chapters = [
        ("Headline figures", headline_html(metrics, intervals)),
        (
            "Equity and drawdown",
            equity_chart(series, comparison)
            + drawdown_chart(series, comparison, times_ns)
            + f"<h3>The worst drawdowns</h3>{drawdowns_html(falls, is_long=is_long)}",
        ),
    ]
    if comparison is not None:
        chapters.append(("Against the benchmark", versus_html(comparison)))
    if calendar := _calendar(result, comparison):
        chapters.append(("Returns by time", calendar))
    chapters += [
        (
            "Distribution of returns",
            distribution_html(equity, metrics, f"from one equity point to the next ({result.timeframe})"),
        ),
        ("Exposure", exposure_html(result)),
        ("Trades", trades_html(result)),
        ("Costs", costs_html(result, spent)),
        ("Risk", risk_html(result)),
        ("Data quality", quality_html(result)),
    ]
    if tries is not None:
        chapters.append(("Number of tries", tries_html(tries)))
    chapters += [("All figures", metrics_html(metrics)), ("Assumptions", lines_html(result.assumptions))]
    chapters.append(("What was run", _settings(result)))
    return [Section(title, body) for title, body in chapters]


def subject(result: Result) -> list[str]:
    """Symbols, timeframe and time of a run, a line each."""
    names = ", ".join(result.symbols[:12]) + (
        f" and {len(result.symbols) - 12} more" if len(result.symbols) > 12 else ""
    )
    time = "no events" if result.data_span is None else span_text(*result.data_span)
    lines = [" · ".join(part for part in (names, f"bars of {result.timeframe}", time) if part)]
    told = [
        f"{name}: {', '.join(f'{key} {value}' for key, value in result.parameters.get(name, {}).items())}"
        for name in result.strategy_names
        if result.parameters.get(name)
    ]
    return lines + told[:6]


def badges(result: Result) -> list[tuple[str, bool]]:
    """What the data were, and what went wrong; True is a warning."""
    marks = []
    if result.label:
        is_made_up = any(word in result.label.lower() for word in _MADE_UP)
        marks.append((result.label, is_made_up))
        if is_made_up:
            marks.append(("not real prices", True))
    marks += [(line, True) for line in result._fault_lines]
    if calls := len(result.records.margin_calls):
        marks.append((f"{calls:,} margin call{'' if calls == 1 else 's'}", True))
    return marks


def in_short(
    result: Result, comparison: Comparison | None, intervals: Intervals, spent: Outlay, tries: Tries | None
) -> list[str]:
    """What it came to, in sentences that a reader may stop after."""
    metrics = result.metrics
    lines = []
    growth = f", {percent(metrics.cagr)} a year" if isfinite(metrics.cagr) else ""
    beside = (
        f"; {comparison.name.partition(', bought')[0]} came to {percent(comparison.benchmark.total_return)}"
        if comparison
        else ""
    )
    lines.append(
        f"{money(metrics.start_equity)} became {money(metrics.end_equity)} in {_length(metrics.days)}: "
        f"{percent(metrics.total_return)}{growth}{beside}."
    )
    if metrics.max_drawdown > 0.0:
        lines.append(
            f"At worst it stood {share(metrics.max_drawdown)} below an earlier peak, and was under water for "
            f"{_length(metrics.longest_drawdown_days)} at a stretch."
        )
    if metrics.days < _YEAR_FROM:
        lines.append("So short a run says nothing about a year: figures that are annualised are of little meaning.")
    bounds = intervals.of("sharpe")
    if bounds is not None and metrics.days >= _YEAR_FROM:
        chance = (
            "zero lies inside, so chance alone may have made it"
            if bounds[0] <= 0.0 <= bounds[1]
            else "zero lies outside"
        )
        lines.append(
            f"Its Sharpe ratio of {money(metrics.sharpe)} has an interval from {money(bounds[0])} to {money(bounds[1])}: {chance}."
        )
    if spent.total and isfinite(spent.share_of_profit):
        lines.append(f"Costs took {share(spent.share_of_profit)} of the profit before them.")
    elif spent.total:
        lines.append(f"Costs were {money(spent.total)}; without them it would have lost {money(-spent.gross_profit)}.")
    if 0 < metrics.trades < 30:
        lines.append(f"{metrics.trades} trades are few: figures of trades say little.")
    if tries is not None and (told := sentence(tries)):
        lines.append(told)
    return lines


def _length(days: float) -> str:
    return f"{days / 365.25:,.1f} years" if days >= 730.0 else span(days)


def comparison_of(result: Result, benchmark: object) -> Comparison | None:
    """The benchmark that was asked for; None where buy and hold, which nobody asked for, cannot be."""
    if benchmark is None or isinstance(benchmark, Comparison):
        return benchmark
    if isinstance(benchmark, str) and benchmark == "buy and hold":
        try:
            return result.compare()
        except (ParameterError, DataError):
            # A run without bars, or of three points.
            return None
    return result.compare(benchmark)


def _calendar(result: Result, comparison: Comparison | None) -> str:
    times_ns, equity, start = result._equity.times_ns, result._equity.account, result.starting_cash
    days = result.metrics.days
    if days < 1.0 or len(equity) < 2:
        return ""
    if days < _MONTHS_FROM:
        return bars_html(returns_by("D", times_ns, equity, start), "return of each day (UTC)")
    years = returns_by("Y", times_ns, equity, start)
    months = months_html(returns_by("M", times_ns, equity, start), years)
    text = "<h3>Monthly returns in percent (months in UTC)</h3>" + months
    if len(years) > 1:
        beside = None
        if comparison is not None and len(comparison.equity):
            beside = returns_by("Y", comparison.times_ns, comparison.equity, float(comparison.equity[0]))
        text += bars_html(years, "return of each year", beside)
    return text


def lines_html(lines: tuple[str, ...] | list[str]) -> str:
    """Lines as a list."""
    return f'<ul class="plain">{"".join(f"<li>{safe(line)}</li>" for line in lines)}</ul>'


def _settings(result: Result) -> str:
    rows = [
        (name, key, str(value))
        for name in result.strategy_names
        for key, value in (result.parameters.get(name) or {"(no parameters)": ""}).items()
    ]
    return table(("strategy", "parameter", "value"), rows, words=2)
