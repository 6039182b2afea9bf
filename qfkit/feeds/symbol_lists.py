"""What a user gives as symbols, as a list of texts in capitals, each once."""

from collections.abc import Iterable

from qfkit.errors import SymbolError

__all__ = ["listed_symbols"]


def listed_symbols(given: Iterable[str] | str, whose: str, feed: str, examples: str) -> list[str]:
    """The symbols in capitals, each once; :class:`SymbolError` where there is none, or one is no text.

    ``whose`` names them in an error, as "Binance's pairs"; ``examples`` are some, as a list is written.
    """
    listed = [given] if isinstance(given, str) else list(given)
    for symbol in listed:
        if not isinstance(symbol, str):
            raise SymbolError(f"{symbol!r} is no symbol: write {whose} as text, as in {examples}")
    symbols = list(dict.fromkeys(symbol.strip().upper() for symbol in listed))
    if not symbols:
        raise SymbolError(f"no symbols were given: name {whose}, as in {feed}({examples})")
    return symbols
