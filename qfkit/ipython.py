"""Whether this process is a notebook's, and a line below its cell."""

import sys
from html import escape
from typing import Any
from uuid import uuid4

__all__ = ["CellLine", "is_kernel", "shell"]


def shell() -> Any:
    """IPython's shell, None outside of it. Only a process that has imported IPython can have one."""
    # While another thread imports it, it is there without its parts.
    return getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()


def is_kernel() -> bool:
    """Whether this process is a notebook's kernel."""
    return getattr(shell(), "kernel", None) is not None


class CellLine:
    """One output of the cell, replaced as it goes; it reads well without style sheets and without a kernel.

    Rich has an output widget for this, which swallows an interrupt that comes while it draws.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._display_id = f"qfkit-line-{uuid4().hex}"
        self._is_there = False

    def show(self, text: str, share: float | None = None) -> None:
        """``share`` of the whole, 0 to 1, is drawn as a bar."""
        bar = ""
        if share is not None:
            percent = f"{share * 100.0:.0f}"
            bar = (
                f'<span role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}" '
                'style="flex:0 0 180px;height:6px;border-radius:3px;overflow:hidden;background:var(--jp-border-color2,#ccc)">'
                f'<span style="display:block;height:100%;width:{percent}%;background:var(--jp-brand-color1,#1976d2)">'
                "</span></span> "
            )
        html = (
            '<div style="display:flex;align-items:center;gap:8px;font-variant-numeric:tabular-nums">'
            f"<b>{escape(self._title)}</b> {bar}<span>{escape(text)}</span></div>"
        )
        self._put({"text/html": html, "text/plain": f"{self._title}: {text}"})

    def clear(self) -> None:
        """Leave nothing."""
        if self._is_there:
            self._put({"text/html": "", "text/plain": ""})

    def _put(self, page: dict[str, str]) -> None:
        from IPython.display import display

        display(page, raw=True, display_id=self._display_id, update=self._is_there)  # type: ignore[no-untyped-call]
        self._is_there = True
