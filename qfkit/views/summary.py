"""The end of a session in a terminal: what came of it, and what to do next."""

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from qfkit.core.snapshot import Snapshot
from qfkit.views.health import health_line
from qfkit.views.sections import LABEL, Sections
from qfkit.views.text import duration, money, percent, signed_money, signed_percent, utc

__all__ = ["summary"]


def summary(
    snapshot: Snapshot, verify_text: str = "", next_steps: tuple[str, ...] = (), start_ns: int = 0
) -> RenderableType:
    """The end of a session: what came of it, whether the replay agrees, where the journal is, what to type next.

    ``start_ns`` is the time of the first event, where it is known. Print it with ``soft_wrap=True``, so that the journal's path stays in one piece.
    """
    return _Summary(snapshot, verify_text, next_steps, start_ns)


class _Summary:
    def __init__(self, snapshot: Snapshot, verify_text: str, next_steps: tuple[str, ...], start_ns: int) -> None:
        self.snapshot = snapshot
        self.verify_text = verify_text
        self.next_steps = next_steps
        self.start_ns = start_ns

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        sections = Sections(self.snapshot, options.encoding)
        rows = [*_figures(sections), *self._ending(sections)]
        labelled = [Text.assemble((f"  {label:<15}", LABEL), value) for label, value in rows]
        yield Group(_title(sections, self.start_ns), *labelled)

    def _ending(self, sections: Sections) -> list[tuple[str, Text]]:
        rows = [("verify", sections.word(self.verify_text))] if self.verify_text else []
        if self.snapshot.journal_path:
            rows.append(("journal", sections.word(self.snapshot.journal_path)))
        steps = [sections.word(step, "cyan") for step in self.next_steps]
        return [*rows, *_labelled("next", steps)]


def _title(sections: Sections, start_ns: int) -> Text:
    snapshot = sections.snapshot
    title = Text.assemble(
        sections.word(snapshot.name or "session", "bold"), "  ", sections.state(snapshot.state or "stopped")
    )
    if start_ns:
        span = duration((snapshot.time_ns - start_ns) / 1e9)
        title.append(f"  {utc(start_ns)} to {utc(snapshot.time_ns)} ({span})", style=LABEL)
    return title


def _figures(sections: Sections) -> list[tuple[str, Text]]:
    snapshot = sections.snapshot
    gain = sections.moved(snapshot.pnl, f"{signed_money(snapshot.pnl)} ({signed_percent(snapshot.return_)})")
    parts = (
        f"realised {signed_money(snapshot.realised)}, unrealised {signed_money(snapshot.unrealised)}, "
        f"fees {money(snapshot.fees)}"
    )
    won = f", {snapshot.winning_trades:,} won" if snapshot.trades_count else ""
    rows = [
        ("portfolio", Text(f"{money(snapshot.equity)} from {money(snapshot.starting_cash)}")),
        ("profit & loss", gain),
        ("of which", Text(parts)),
        ("drawdown", Text(f"{percent(snapshot.max_drawdown)} at worst, {percent(snapshot.drawdown)} at the end")),
        ("trading", Text(f"{snapshot.fills_count:,} fills, {snapshot.trades_count:,} round trips{won}")),
    ]
    figures = snapshot.figures
    if figures is not None and figures.sharpe == figures.sharpe:
        rows.append(
            (
                "figures",
                Text(
                    f"Sharpe {figures.sharpe:,.2f}, volatility {percent(figures.volatility)} a year, "
                    f"in the market {percent(figures.exposure)} of the time"
                ),
            )
        )
    rows += _labelled("strategies" if len(snapshot.strategies) > 1 else "strategy", _strategies(sections))
    if snapshot.feed is not None:
        rows.append(("data", Text.assemble(sections.word(snapshot.feed.name), f", {snapshot.events:,} events")))
        told = health_line(snapshot.feed.symbols).removeprefix("health: ")
        if told:
            rows.append(("feed health", sections.word(told)))
    return rows


def _strategies(sections: Sections) -> list[Text]:
    return [
        Text.assemble(
            sections.word(view.name),
            "  ",
            sections.moved(view.pnl, signed_money(view.pnl)),
            "  ",
            sections.word(view.fault, "red") if view.fault else sections.word(view.state, LABEL),
        )
        for view in sections.snapshot.strategies
    ]


def _labelled(label: str, values: list[Text]) -> list[tuple[str, Text]]:
    """The label before the first value only."""
    return [("" if number else label, value) for number, value in enumerate(values)]
