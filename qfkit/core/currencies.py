"""Positions in other currencies than the account's, and the rates they are valued at."""

from math import inf, nan
from typing import TYPE_CHECKING

import msgspec

from qfkit.errors import ParameterError

if TYPE_CHECKING:
    from qfkit.core.engine import Engine
    from qfkit.core.market import Market

__all__ = ["Currencies", "Rates"]

# Prices that exchanges give in hundredths: the currency and the fraction of it.
_MINOR = {"GBp": ("GBP", 0.01), "GBX": ("GBP", 0.01), "ZAc": ("ZAR", 0.01), "ILA": ("ILS", 0.01)}
_FORMS = ("{}{}=X", "{}{}", "{}-{}", "{}/{}")


class Currencies(msgspec.Struct, frozen=True):
    """The account's currency, and where other currencies' rates come from.

    - ``base``: of the account: cash, equity, fees and profit are in it.
    - ``symbols``: the currency a symbol is priced in, ``{"SAP.DE": "EUR"}``. Without, it is what an
      :class:`~qfkit.Instrument` event says, or the base. It is settled while nobody holds the symbol.
    - ``rates``: for a currency a number, ``{"USDT": 1.0}``, or the symbol whose price is its rate,
      ``{"EUR": "EURUSD=X"}``. A symbol named here is a rate and nothing else: strategies do not hear it.
      Without, a symbol of the run that is named like the pair is taken: EURUSD=X, EURUSD, EUR-USD,
      EUR/USD, or the other way round (USDJPY, JPY=X), or against a currency of a fixed rate (BTCUSDT).

    Rates are the last prices of these symbols, as any market event brings them. A position is worth
    quantity * price * rate of now; a fill is converted at the rate of its moment, for the cash is all in
    the base; so the profit from the rate is part of the unrealised and the realised. Where there is no
    rate yet an order is rejected.
    """

    base: str
    symbols: dict[str, str] = {}
    rates: dict[str, float | str] = {}

    def __post_init__(self) -> None:
        if not self.base:
            raise ParameterError('Currencies(base=""): name the account\'s currency, such as "USD"')
        for currency, rate in self.rates.items():
            if not isinstance(rate, str) and not 0.0 < rate < inf:
                raise ParameterError(
                    f"Currencies(rates={{{currency!r}: {rate!r}}}): above zero and finite, or a symbol"
                )
            if currency == self.base:
                raise ParameterError(f"Currencies(rates={{{currency!r}: ...}}): that is the base, its rate is 1")

    @classmethod
    def of(cls, given: "Currencies | str | None") -> "Currencies | None":
        """A base's name stands for that base with nothing else said; None keeps no currencies apart."""
        return cls(given) if isinstance(given, str) else given

    @property
    def rate_symbols(self) -> frozenset[str]:
        """The symbols that are rates and nothing else."""
        return frozenset(rate for rate in self.rates.values() if isinstance(rate, str))

    def describe(self) -> str:
        """One line for a person."""
        parts = [f"{symbol} in {currency}" for symbol, currency in self.symbols.items()]
        parts += [
            f"{currency} by {rate}" if isinstance(rate, str) else f"1 {currency} is {rate:g} {self.base}"
            for currency, rate in self.rates.items()
        ]
        return f"account in {self.base}" + (f" ({', '.join(parts)})" if parts else "")


class Rates:
    """The rates of a running engine: which symbols give them, and which markets need them."""

    def __init__(self, engine: "Engine", currencies: Currencies) -> None:
        self.currencies = currencies
        self.sources: dict[Market, list[str]] = {}
        self._engine = engine
        self._markets: dict[str, list[Market]] = {}
        fixed = [name for name, rate in currencies.rates.items() if not isinstance(rate, str)]
        self._quotes = (currencies.base, *fixed)

    def currency_of(self, symbol: str) -> str:
        """What a symbol is priced in, as far as was said."""
        given = self.currencies.symbols.get(symbol)
        if given is None:
            instrument = self._engine.instruments.get(symbol)
            given = None if instrument is None else instrument.currency
        return given or self.currencies.base

    def wire(self) -> None:
        """Look anew which symbol gives which rate; after a new symbol, or news of one."""
        markets = [track.market for track in self._engine.tracks.values()]
        for market in markets:
            if not any(market.symbol in desk.book.open for desk in self._engine.desks.values()):
                market.currency = self.currency_of(market.symbol)
        for market in self.sources:
            market.floor = -inf
        self._markets, self.sources = {}, {}
        for market in markets:
            if market.currency != self.currencies.base:
                self._markets.setdefault(market.currency, []).append(market)
            else:
                market.rate = 1.0
        for currency, priced in self._markets.items():
            rate = self._rate(currency, (), currency)
            for market in priced:
                market.rate = rate
        for market in self.sources:
            # No price lies above it: each one is looked at.
            market.floor = inf

    def update(self, source: "Market") -> list["Market"]:
        """A rate's symbol has a new price: give it to the markets that need it; return these."""
        changed = []
        for currency in self.sources[source]:
            rate = self._rate(currency, (), None)
            for market in self._markets[currency]:
                if market.rate != rate:
                    market.rate = rate
                    changed.append(market)
        return changed

    def missing(self, currency: str) -> str:
        """Why there is no order in a currency."""
        given = self.currencies.rates.get(currency)
        name = given if isinstance(given, str) else f"{currency}{self.currencies.base}"
        return (
            f"no rate of {currency} in {self.currencies.base} yet: let {name} be among the symbols, "
            f"or say where it comes from, as Currencies(rates={{{currency!r}: ...}})"
        )

    def _rate(self, currency: str, seen: tuple[str, ...], wired_for: str | None) -> float:
        """The base's units for one of the currency, NaN if unknown; ``wired_for`` notes the sources on the way."""
        if currency == self.currencies.base:
            return 1.0
        given = self.currencies.rates.get(currency)
        if given is not None and not isinstance(given, str):
            return given
        if given is None and currency in _MINOR:
            major, fraction = _MINOR[currency]
            return fraction * self._rate(major, (*seen, currency), wired_for)
        pair = self._pair(currency, given)
        if pair is None or currency in seen:
            return nan
        symbol, quote, is_inverse = pair
        track = self._engine.tracks.get(symbol)
        if track is None:
            return nan
        if wired_for is not None:
            needed = self.sources.setdefault(track.market, [])
            if wired_for not in needed:
                needed.append(wired_for)
        of_quote = self._rate(quote, (*seen, currency), wired_for)
        price = track.market.price
        return of_quote / price if is_inverse else of_quote * price

    def _pair(self, currency: str, given: str | None) -> tuple[str, str, bool] | None:
        """The symbol that gives a rate, the other currency in it, and whether it is upside down."""
        if given is not None:
            plain = given.removesuffix("=X").replace("-", "").replace("/", "")
            if plain == currency:
                return given, "USD", True
            if plain.endswith(currency) and not plain.startswith(currency):
                return given, plain.removesuffix(currency), True
            # "EURGBP" is in GBP by its name; of a name that tells nothing the symbol's currency is taken.
            rest = plain.removeprefix(currency) if plain.startswith(currency) else ""
            return given, rest or self.currency_of(given), False
        tracks = self._engine.tracks
        for quote in self._quotes:
            for form in _FORMS:
                if (symbol := form.format(currency, quote)) in tracks:
                    return symbol, quote, False
                if (symbol := form.format(quote, currency)) in tracks:
                    return symbol, quote, True
        if (symbol := f"{currency}=X") in tracks:
            return symbol, "USD", True
        return None
