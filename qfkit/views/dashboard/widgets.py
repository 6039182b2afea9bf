"""Widgets as a whole: the outermost one, and closing all that belongs to one."""

from collections.abc import Sequence
from typing import Any

import ipywidgets

__all__ = ["Outer", "close_all"]


class Outer(ipywidgets.VBox):  # type: ignore[misc]
    """The outermost widget. A page that cannot draw widgets shows ``words``, and not all that is inside."""

    def __init__(self, children: Sequence[ipywidgets.Widget], words: str) -> None:
        super().__init__(list(children), layout=ipywidgets.Layout(width="100%"))
        self._words = words

    def __repr__(self) -> str:
        return self._words

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options) or {}
        bundle["text/plain"] = self._words
        return bundle


def close_all(widget: ipywidgets.Widget, keep: Sequence[ipywidgets.Widget] = ()) -> None:
    """Close a widget and what belongs to it: children, marks, scales, layouts, styles; but for ``keep`` and theirs."""
    found = {id(one): one for one in _inside([widget], {id(one) for one in keep})}
    for one in found.values():
        one.unobserve_all()
        one.close()


def _inside(start: list[Any], left_out: set[int]) -> list[ipywidgets.Widget]:
    found: dict[int, ipywidgets.Widget] = {}
    waiting = start
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
        elif isinstance(one, ipywidgets.Widget) and id(one) not in found and id(one) not in left_out:
            found[id(one)] = one
            waiting += [getattr(one, key) for key in one.keys if key not in ("x", "y") and one.has_trait(key)]
    return list(found.values())
