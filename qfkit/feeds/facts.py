"""What several feeds say of the symbols themselves, told once: their steps, hours, splits and dividends."""

import msgspec

from qfkit.core.events import CorporateAction, Hours, Instrument, MarketEvent

__all__ = ["Facts"]

_DAY_NS = 86_400 * 1_000_000_000
_replace = msgspec.structs.replace


class Facts:
    """Of steps and hours those of the most preferred feed that has them; of corporate actions each one once."""

    def __init__(self) -> None:
        self._told: dict[tuple[type, str], tuple[int, Instrument | Hours]] = {}
        self._held: dict[tuple[type, str], tuple[int, Instrument | Hours]] = {}
        self._actions: dict[tuple[str, int, str], tuple[int, set[float]]] = {}

    def take(self, place: int, event: Instrument | Hours, *, is_awaited: bool, out: list[MarketEvent]) -> bool:
        """Take what the feed at a place says; false if a preferred one said it, or this one did before.

        Where a preferred feed ``is_awaited`` it is held until :meth:`release`.
        """
        key = (type(event), event.symbol)
        for known in (self._told.get(key), self._held.get(key)):
            if known is not None and (known[0] < place or (known[0] == place and _is_same(known[1], event))):
                return False
        if is_awaited:
            self._held[key] = (place, event)
        else:
            self._held.pop(key, None)
            self._told[key] = (place, event)
            out.append(event)
        return True

    @property
    def held(self) -> set[str]:
        """The symbols of which something is held."""
        return {symbol for _, symbol in self._held}

    def release(self, symbol: str, out: list[MarketEvent]) -> None:
        """Give what was held of a symbol."""
        for key in [key for key in self._held if key[1] == symbol]:
            known = self._told[key] = self._held.pop(key)
            out.append(known[1])

    def act(self, place: int, action: CorporateAction, out: list[MarketEvent]) -> None:
        """Give a split or dividend, less what another feed, or this one, told of that day; one feed may tell two."""
        day = action.time_ns // _DAY_NS
        for kind, value, nothing in (("split", action.split, 1.0), ("dividend", action.dividend, 0.0)):
            if value == nothing:
                continue
            teller, told = self._actions.setdefault((action.symbol, day, kind), (place, set()))
            if teller != place or value in told:
                action = _replace(action, **{kind: nothing})
            else:
                told.add(value)
        if action.split != 1.0 or action.dividend != 0.0:
            out.append(action)


def _is_same(one: Instrument | Hours, other: Instrument | Hours) -> bool:
    return _replace(one, received_ns=0) == _replace(other, received_ns=0)
