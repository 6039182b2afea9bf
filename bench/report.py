"""What a benchmark found: rows with their targets, as a table, as Markdown and as JSON."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from bench.work import Timing

__all__ = ["Row", "at_least", "at_most", "machine", "rate", "table", "write"]


class Row(NamedTuple):
    """One measurement: what qfkit did, what a peer did, and whether that is what was wanted."""

    case: str
    ours: str
    theirs: str
    figure: str
    target: str
    verdict: str


def rate(timing: Timing, count: int, unit: str) -> str:
    """A rate as text: its median, and the lowest and highest."""
    middle, low, high = timing.rates(count)
    return f"{_short(middle)} {unit}/s ({_short(low)}..{_short(high)})"


def _short(value: float) -> str:
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def at_least(value: float, target: float) -> str:
    """PASS, or by how much a figure is too low."""
    return "PASS" if value >= target else f"short by {1.0 - value / target:.0%}"


def at_most(value: float, target: float) -> str:
    """PASS, or by how much a figure is too high."""
    return "PASS" if value <= target else f"over by {value / target - 1.0:.0%}"


def machine() -> str:
    """The kind of this machine: processor, cores, system."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {os.cpu_count()} cores, {platform.system()}"


def table(rows: Sequence[Row]) -> Any:
    """The rows as a table for the terminal."""
    from rich.table import Table

    shown = Table("case", "qfkit", "peer", "figure", "target", "", title="qfkit benchmark")
    for row in rows:
        colour = "green" if row.verdict == "PASS" else "yellow" if row.verdict else "dim"
        shown.add_row(*row[:-1], f"[{colour}]{row.verdict}[/]")
    return shown


def write(
    folder: Path, rows: Sequence[Row], notes: Sequence[str], about: Mapping[str, Any], details: Mapping[str, Any]
) -> None:
    """Write results.md and results.json into a folder."""
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = [
        "# Benchmark",
        "",
        f"{when}; {about['machine']}. Rates are medians with the lowest and highest of the runs.",
        "",
        "| case | qfkit | peer | figure | target | |",
        "|---|---|---|---|---|---|",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows),
        "",
        *(f"- {note}" for note in notes),
        "",
        *(
            f"- {side}: " + ", ".join(f"{name} {number}" for name, number in found.items())
            for side, found in about["versions"].items()
        ),
        "",
    ]
    (folder / "results.md").write_text("\n".join(lines), encoding="utf-8")
    everything = {
        "when": when,
        **about,
        "rows": [row._asdict() for row in rows],
        "notes": list(notes),
        "details": details,
    }
    (folder / "results.json").write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
