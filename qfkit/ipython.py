"""Whether this process is a notebook's."""

import sys
from typing import Any

__all__ = ["is_kernel", "shell"]


def shell() -> Any:
    """IPython's shell, None outside of it. Only a process that has imported IPython can have one."""
    # While another thread imports it, it is there without its parts.
    return getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()


def is_kernel() -> bool:
    """Whether this process is a notebook's kernel."""
    return getattr(shell(), "kernel", None) is not None
