"""Recordings in a cell: the catalogue of the market data that are kept."""

from os import PathLike

from qfkit.errors import ParameterError
from qfkit.feeds.catalogue import Catalogue
from qfkit.live.registry import home

__all__ = ["recordings"]


def recordings(address: str | PathLike[str] | None = None) -> Catalogue:
    """The market data that are kept in a folder or an object store, as a table in a notebook; see :class:`Catalogue`.

    ``address``: a folder, or what fsspec knows, such as "s3://bucket/market" (``pip install 'qfkit[s3]'``); None is
    the folder ``recordings`` in qfkit's own (``QFKIT_HOME``, or the user's data folder). Credentials come from the
    environment, as ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY`` and, for a store of your own,
    ``AWS_ENDPOINT_URL``; an address with some in it is refused.

    ``catalogue.add(frame, symbol="BTCUSDT")`` adds bars or trades; ``catalogue.bars("BTCUSDT", timeframe="1m",
    start="2024-08-01", end="2024-09-01")`` and ``catalogue.ticks(...)`` are data for ``qf.backtest``, ``qf.sweep`` and
    ``qf.ReplayFeed``, read day by day as they are needed.
    """
    if not isinstance(address, str | PathLike | None):
        raise ParameterError(f"recordings({address!r}): give a folder, or an address such as 's3://bucket/market'")
    return Catalogue(home() / "recordings" if address is None else address)
