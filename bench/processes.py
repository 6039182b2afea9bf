"""Whole processes: their time from start to end and their largest memory."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Ended", "best_seconds", "qfkit_command", "run_apart"]

_ROOT = Path(__file__).parent.parent

# A child's largest memory starts from that of its parent, so a small process starts it. With a
# terminal of its own the child shows what a person would see.
_LAUNCHER = """
import json, os, pty, subprocess, sys, threading, time
on_terminal, looks_s, arguments = sys.argv[1] == "1", json.loads(sys.argv[2]), sys.argv[3:]
looks = []
def used():
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
def look():
    try:
        looks.append((time.monotonic(), used()))
    except OSError:
        pass
for seconds in looks_s:
    timer = threading.Timer(seconds, look)
    timer.daemon = True
    timer.start()
if on_terminal:
    pid, terminal = pty.fork()
    if not pid:
        os.execv(arguments[0], arguments)
    kept = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        kept = (kept + part)[-20000:]
else:
    child = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    pid, kept = child.pid, child.stdout.read()[-20000:]
_, status, usage = os.wait4(pid, 0)
unit = 1 if sys.platform == "darwin" else 1024
load = (looks[1][1] - looks[0][1]) / (looks[1][0] - looks[0][0]) if len(looks) == 2 else None
code = os.waitstatus_to_exitcode(status)
print(json.dumps([code, usage.ru_maxrss * unit, kept.decode("utf-8", "replace"), load]))
"""


class Ended(NamedTuple):
    """How a process ended, its largest resident memory in bytes, and the end of what it printed.

    ``load`` is the processor time a second between the two moments of ``looks_s``; None where that
    was not asked, or the system does not say.
    """

    code: int
    peak_bytes: int
    printed: str
    load: float | None


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_ROOT), "COLUMNS": "120", "LINES": "40", "TERM": "xterm-256color", **more}


def qfkit_command() -> list[str]:
    """The command as a user has it."""
    installed = Path(sys.executable).parent / "qfkit"
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "qfkit"]


def run_apart(
    arguments: Sequence[str],
    *,
    on_terminal: bool,
    timeout_s: float,
    looks_s: tuple[float, float] | None = None,
    **environment: str,
) -> Ended:
    """Run a command to its end in a process of its own, on a terminal or not."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", _LAUNCHER, "1" if on_terminal else "0", json.dumps(looks_s or ()), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=timeout_s,
        env=_environment(environment),
    )
    return Ended(*json.loads(done.stdout))


def best_seconds(commands: Sequence[Sequence[str]], rounds: int) -> list[float]:
    """The shortest time of each command, run in turns."""
    best = [float("inf")] * len(commands)
    for _ in range(rounds):
        for number, arguments in enumerate(commands):
            start = time.perf_counter()
            subprocess.run(arguments, check=True, capture_output=True, env=_environment({}))
            best[number] = min(best[number], time.perf_counter() - start)
    return best
