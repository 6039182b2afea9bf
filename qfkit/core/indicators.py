"""Streaming indicators, each constant time a step, each with ``over(...)`` for whole series."""

from inspect import Signature, signature
from typing import Any

from qfkit.core.averages import EMA, SMA, WMA, Price
from qfkit.core.crossings import Cross, Line
from qfkit.core.indicator_base import Indicator, restore_indicators, save_indicators
from qfkit.core.oscillators import MACD, RSI, RateOfChange, Stochastic
from qfkit.core.talipp_adapter import TalippIndicator, adapt, is_talipp
from qfkit.core.trend import ADX
from qfkit.core.volatility import ATR, BollingerBands, DonchianChannel, StandardDeviation, ZScore
from qfkit.core.volume import VWAP, OnBalanceVolume
from qfkit.errors import ParameterError

__all__ = [
    "ADX",
    "ATR",
    "EMA",
    "MACD",
    "RSI",
    "SMA",
    "VWAP",
    "WMA",
    "BollingerBands",
    "Cross",
    "DonchianChannel",
    "Indicator",
    "Line",
    "OnBalanceVolume",
    "Price",
    "RateOfChange",
    "StandardDeviation",
    "Stochastic",
    "TalippIndicator",
    "ZScore",
    "adapt",
    "make_indicator",
    "restore_indicators",
    "save_indicators",
]


def make_indicator(factory: Any, *args: Any, **kwargs: Any) -> Indicator:
    """A new indicator: from a class of ours (or your own :class:`Indicator`) or of talipp, with its arguments.

    An instance of talipp's is copied. Raises :class:`ParameterError` for anything else, and for
    arguments that do not fit.
    """
    if is_talipp(factory):
        return adapt(factory, *args, **kwargs)
    if isinstance(factory, type) and issubclass(factory, Indicator):
        takes = signature(factory).replace(return_annotation=Signature.empty)
        try:
            takes.bind(*args, **kwargs)
        except TypeError as error:
            raise ParameterError(f"{factory.__name__}{takes}: {error}") from None
        return factory(*args, **kwargs)
    if isinstance(factory, Indicator):
        raise ParameterError(
            f"{factory!r} is one indicator, and each symbol needs its own: give the class and the "
            f"arguments, as in self.indicator(qf.{type(factory).__name__}, ...)"
        )
    raise ParameterError(
        f"{factory!r} is no indicator: give a class such as qf.SMA (or one of talipp) and its arguments"
    )
