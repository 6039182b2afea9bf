"""The tutorials in a folder of the user's, and JupyterLab on them: ``qfkit lab``."""

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from qfkit.errors import ParameterError

__all__ = ["FIRST", "Copied", "copy_tutorials", "run_lab", "tutorials"]

FIRST = "01_quick_start.ipynb"
_PACKAGE = Path(__file__).resolve().parent


class Copied(NamedTuple):
    """What became of the tutorials: names that are new, that were there unchanged, and that the user had changed."""

    folder: Path
    new: tuple[str, ...]
    same: tuple[str, ...]
    kept: tuple[str, ...]


def tutorials() -> list[Path]:
    """The notebooks that come with qfkit, from the installed package or from a folder of its source.

    Raises :class:`ParameterError` where they are missing.
    """
    for folder in (_PACKAGE / "notebooks", _PACKAGE.parent / "notebooks"):
        found = sorted(folder.glob("*.ipynb"))
        if found:
            return found
    raise ParameterError(f"the tutorials are not beside {_PACKAGE}: install qfkit again")


def copy_tutorials(folder: Path | str, *, fresh: bool = False) -> Copied:
    """Copy the tutorials into a folder, which is made; a file that is there already is never touched.

    ``fresh`` copies them into a new folder beside it: ``NAME-2``, ``NAME-3`` and so on.
    """
    target = Path(folder).expanduser()
    if fresh:
        target = _unused(target)
    if target.exists() and not target.is_dir():
        raise ParameterError(f"{target} is a file: name a folder for the tutorials")
    try:
        target.mkdir(parents=True, exist_ok=True)
        new, same, kept = [], [], []
        for source in tutorials():
            copy = target / source.name
            if not copy.exists():
                shutil.copyfile(source, copy)
                new.append(source.name)
            elif copy.read_bytes() == source.read_bytes():
                same.append(source.name)
            else:
                kept.append(source.name)
    except OSError as error:
        raise ParameterError(
            f"the tutorials cannot be copied to {target}: {error.strerror}; name another folder"
        ) from error
    return Copied(target, tuple(new), tuple(same), tuple(kept))


def _unused(folder: Path) -> Path:
    target, number = folder, 1
    while target.exists():
        number += 1
        target = folder.with_name(f"{folder.name}-{number}")
    return target


def run_lab(
    folder: Path | str,
    *,
    fresh: bool = False,
    browser: bool = True,
    port: int | None = None,
    allow_root: bool = False,
) -> int:
    """Copy the tutorials, say what was copied and what was left alone, and run JupyterLab until it ends."""
    copied = copy_tutorials(folder, fresh=fresh)
    for line in describe(copied):
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    arguments = [f"--ServerApp.root_dir={copied.folder.resolve()}", f"--LabApp.default_url=/lab/tree/{FIRST}"]
    if not browser:
        arguments.append("--no-browser")
    if port is not None:
        arguments.append(f"--port={port}")
    if allow_root:
        arguments.append("--allow-root")
    from jupyterlab.labapp import LabApp

    LabApp.launch_instance(arguments)
    return 0


def describe(copied: Copied) -> list[str]:
    """What happened to the files, a line each."""
    lines = []
    if copied.new:
        lines.append(f"copied {len(copied.new)} notebook{'s' * (len(copied.new) > 1)} to {copied.folder}")
    elif not copied.kept:
        lines.append(f"the notebooks in {copied.folder} are those of this version")
    if copied.kept:
        lines.append(f"left as they are, for they differ from those of this version: {', '.join(copied.kept)}")
        lines.append("for a new copy of all, in a folder beside: qfkit lab --fresh")
    return lines
