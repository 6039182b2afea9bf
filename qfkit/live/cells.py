"""The notebook's cells, where there are any."""

import sys
from typing import Any

__all__ = ["is_kernel", "shell"]


def shell() -> Any:
    """IPython's shell, None outside of it. Only a process that has imported IPython can have one."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def is_kernel() -> bool:
    """Whether this process is a notebook's kernel."""
    return getattr(shell(), "kernel", None) is not None
