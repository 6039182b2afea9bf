"""How Binance writes a pair, checked as far as that goes without asking it."""

import re
from collections.abc import Iterable

from qfkit.errors import SymbolError, did_you_mean
from qfkit.feeds.symbol_lists import listed_symbols

__all__ = ["is_pair", "pairs_of"]

# fmt: off
_COMMON = (
    "ADAUSDT", "AVAXUSDT", "BNBBTC", "BNBUSDT", "BTCEUR", "BTCFDUSD", "BTCTRY", "BTCUSDC", "BTCUSDT", "DOGEUSDT",
    "DOTUSDT", "ETHBTC", "ETHEUR", "ETHFDUSD", "ETHUSDC", "ETHUSDT", "LINKUSDT", "LTCUSDT", "SHIBUSDT", "SOLBTC",
    "SOLUSDC", "SOLUSDT", "SUIUSDT", "TRXUSDT", "USDCUSDT", "XRPUSDC", "XRPUSDT",
)
# fmt: on
# By what pairs are quoted in; no exchange of shares has symbols that long and so ending.
_QUOTED = re.compile(r"[A-Z0-9]{2,12}(USDT|USDC|FDUSD|TUSD|BUSD|BTC|ETH|BNB|EUR|TRY|BRL|JPY|GBP)")
_SHORTEST = 6


def is_pair(symbol: str) -> bool:
    """Whether a symbol is a crypto pair as Binance writes it, and none of a share."""
    name = symbol.strip().upper()
    return len(name) >= _SHORTEST and _QUOTED.fullmatch(name) is not None


def pairs_of(given: Iterable[str]) -> list[str]:
    """Pairs in capitals, each once; :class:`SymbolError` for what cannot be one, with what it may have meant."""
    symbols = listed_symbols(given, "Binance's pairs", "BinanceFeed", '["BTCUSDT"]')
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
