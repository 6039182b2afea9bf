"""Streaming indicators, each constant time a step, each with ``over(array)`` for a whole series."""

from typing import Any

from qfkit.core.averages import EMA, SMA, Price
from qfkit.core.crossings import Cross, Line
from qfkit.core.indicator_base import Indicator, restore_indicators, save_indicators
from qfkit.errors import ParameterError

__all__ = [
    "EMA",
    "SMA",
    "Cross",
    "Indicator",
    "Line",
    "Price",
    "make_indicator",
    "restore_indicators",
    "save_indicators",
]


def make_indicator(factory: Any, *args: Any, **kwargs: Any) -> Indicator:
    """An indicator from one of our classes and its arguments."""
    if isinstance(factory, type) and issubclass(factory, Indicator):
        return factory(*args, **kwargs)
    raise ParameterError(f"{factory!r} is no indicator: give a class such as qf.SMA with its arguments")
