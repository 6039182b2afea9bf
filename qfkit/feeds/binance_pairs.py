"""How Binance writes a pair, checked as far as that goes without asking it."""

import re
from collections.abc import Iterable

from qfkit.errors import SymbolError, did_you_mean

__all__ = ["pairs_of"]

# fmt: off
_COMMON = (
    "ADAUSDT", "AVAXUSDT", "BNBBTC", "BNBUSDT", "BTCEUR", "BTCFDUSD", "BTCTRY", "BTCUSDC", "BTCUSDT", "DOGEUSDT",
    "DOTUSDT", "ETHBTC", "ETHEUR", "ETHFDUSD", "ETHUSDC", "ETHUSDT", "LINKUSDT", "LTCUSDT", "SHIBUSDT", "SOLBTC",
    "SOLUSDC", "SOLUSDT", "SUIUSDT", "TRXUSDT", "USDCUSDT", "XRPUSDC", "XRPUSDT",
)
# fmt: on


def pairs_of(given: Iterable[str]) -> list[str]:
    """Pairs in capitals, each once; :class:`SymbolError` for what cannot be one, with what it may have meant."""
    listed = [given] if isinstance(given, str) else list(given)
    for symbol in listed:
        if not isinstance(symbol, str):
            raise SymbolError(f'{symbol!r} is no symbol: write Binance\'s pairs as text, as in ["BTCUSDT"]')
    symbols = list(dict.fromkeys(symbol.strip().upper() for symbol in listed))
    if not symbols:
        raise SymbolError('no symbols were given: name Binance\'s pairs, as in BinanceFeed(["BTCUSDT"])')
    for symbol in symbols:
        if not re.fullmatch(r"\w{2,40}", symbol):
            plain = re.sub(r"\W", "", symbol)
            raise SymbolError(
                f"{symbol!r} is not how Binance writes a pair, which is letters and digits only.{_near(plain, plain)}"
            )
    return symbols


def _near(symbol: str, otherwise: str) -> str:
    fix = did_you_mean(symbol, _COMMON)
    if fix.startswith(" Did"):
        return fix
    return f" Did you mean {otherwise!r}?" if otherwise else ""
