"""Strategy and Param: what a user writes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar, overload

from qfkit.core.events import Bar, Depth, Quote, Tick
from qfkit.core.orders import Fill, Order, TimeInForce
from qfkit.errors import ParameterError, StrategyError, did_you_mean

if TYPE_CHECKING:
    from qfkit.core.desk import Desk
    from qfkit.core.indicators import Indicator
    from qfkit.core.lanes import IndicatorSet
    from qfkit.core.portfolio import Book, Position
    from qfkit.core.rebalance_plan import RebalancePlan

__all__ = ["Param", "Strategy", "as_strategy", "named_strategies"]

Value = TypeVar("Value")
Kind = TypeVar("Kind", bound="Indicator")


class Param(Generic[Value]):
    """A parameter of a strategy: a slider, an axis of a sweep and an entry in the journal.

    ``low`` and ``high`` are the bounds, both allowed; ``choices`` lists the values of a
    parameter that is no number. A value must be of the default's type (an int passes for a float).
    """

    def __init__(
        self,
        default: Value,
        *,
        low: float | None = None,
        high: float | None = None,
        step: float | None = None,
        choices: Sequence[Value] | None = None,
        help: str = "",
    ) -> None:
        self.default = default
        self.low = low
        self.high = high
        self.step = step
        self.choices = None if choices is None else tuple(choices)
        self.help = help
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.check(self.default)

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...
    def __get__(self, instance: object | None, owner: type) -> Self | Value:
        # Values live in the instance's __dict__, which Python looks at first.
        return self if instance is None else self.default

    def check(self, value: Any) -> Any:
        """Return the value as the parameter's type, or raise :class:`ParameterError`."""
        wanted = type(self.default)
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        elif wanted is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        elif wanted is int and not isinstance(value, bool) and hasattr(value, "__index__"):
            value = int(value.__index__())
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise ParameterError(f"{self.name}={value!r}: it must be of type {wanted.__name__}, like {self.default!r}")
        if value != value:
            raise ParameterError(f"{self.name}={value!r}: it must be a number")
        if self.choices is not None and value not in self.choices:
            raise ParameterError(f"{self.name}={value!r}: it must be one of {', '.join(map(repr, self.choices))}")
        if isinstance(value, int | float) and not isinstance(value, bool):
            below = self.low is not None and value < self.low
            above = self.high is not None and value > self.high
            if below or above:
                low = "any" if self.low is None else f"{self.low:g}"
                high = "any" if self.high is None else f"{self.high:g}"
                raise ParameterError(f"{self.name}={value!r} is out of bounds: it must be from {low} to {high}")
        return value

    def __repr__(self) -> str:
        bounds = f", low={self.low!r}, high={self.high!r}" if self.low is not None or self.high is not None else ""
        return f"Param({self.default!r}{bounds})"


class Strategy:
    """The base of every strategy. Write ``setup`` and one of ``on_bar``, ``on_tick``, ``on_quote``.

    Declare indicators in ``setup``: it runs again, with the indicators warmed from kept bars,
    when a parameter changes in a running session; start your own counters in ``on_start``.

    The engine calls ``on_bar`` with closed bars only, and only once every indicator of the
    symbol is ready. Everything a strategy may know is in its arguments and in ``self``: it must
    not read the clock, files or unseeded random numbers, or a replay will not equal the session.
    """

    parameters_of_class: ClassVar[dict[str, Param[Any]]] = {}
    registry: ClassVar[dict[str, type["Strategy"]]] = {}
    _desk: "Desk | None" = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.parameters_of_class = {
            name: value
            for base in reversed(cls.__mro__)
            for name, value in vars(base).items()
            if isinstance(value, Param)
        }
        Strategy.registry[cls.key()] = cls

    def __init__(self, **parameters: Any) -> None:
        vars(self).update({name: param.default for name, param in self.parameters_of_class.items()})
        vars(self).update(self.check_parameters(parameters))

    @classmethod
    def key(cls) -> str:
        """The name that a journal stores for this class."""
        return f"{cls.__module__}:{cls.__qualname__}"

    @classmethod
    def check_parameters(cls, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values in their types, or raise :class:`ParameterError` for one that cannot be."""
        checked = {}
        for name, value in parameters.items():
            param = cls.parameters_of_class.get(name)
            if param is None:
                raise ParameterError(
                    f"{cls.__name__} has no parameter {name!r}.{did_you_mean(name, cls.parameters_of_class)}"
                )
            checked[name] = param.check(value)
        return checked

    @property
    def parameters(self) -> dict[str, Any]:
        """The present values of all parameters."""
        return {name: getattr(self, name) for name in self.parameters_of_class}

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.parameters.items())
        return f"{type(self).__name__}({values})"

    # -- what a strategy may define --------------------------------------------------------

    def setup(self) -> None:
        """Declare indicators. Runs before the first event and again when a parameter changes."""

    def on_start(self) -> None:
        """Runs once, at the first event."""

    def on_bar(self, bar: Bar) -> None:
        """A bar closed and every indicator of its symbol is ready, those of higher timeframes too."""

    def on_tick(self, tick: Tick) -> None:
        """Something traded."""

    def on_quote(self, quote: Quote) -> None:
        """The best bid or ask changed."""

    def on_depth(self, depth: Depth) -> None:
        """The best levels of the order book changed, where the feed has them; both sides of the market are known."""

    def on_fill(self, fill: Fill) -> None:
        """One of this strategy's orders was filled, wholly or in part."""

    def on_transfer(self, amount: float, owed: float) -> None:
        """Cash came (or went, negative) by ``allocation=``, or went to one that joined. ``owed`` is what the book should still give and
        cannot: it goes as soon as positions are made smaller."""

    def on_stop(self) -> None:
        """The run ends. Orders sent here are not filled any more."""

    # -- what a strategy may use -----------------------------------------------------------

    @property
    def _at(self) -> "Desk":
        if self._desk is None:
            raise StrategyError(
                f"{type(self).__name__} is not running: give it to qf.backtest(...) or qf.paper(...), "
                "which call setup() and the on_... methods"
            )
        return self._desk

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols of this run, in the order in which they were declared or first seen."""
        return self._at.symbols

    @property
    def time_ns(self) -> int:
        """The engine's clock: UTC nanoseconds since 1970."""
        return self._at.clock_ns

    @property
    def portfolio(self) -> "Book":
        """This strategy's own book: cash, equity, exposure, realised and unrealised profit."""
        return self._at.book

    @property
    def buying_power(self) -> float:
        """What this strategy may still buy for, in the account's currency and before costs."""
        return self._at.buying_power

    def position(self, symbol: str) -> "Position":
        """The position in a symbol; false when flat, ``quantity`` negative when short."""
        return self._at.position(symbol)

    def price(self, symbol: str) -> float:
        """The last price of a symbol, NaN before the first."""
        return self._at.price(symbol)

    def bars(self, symbol: str, count: int, *, timeframe: str | None = None) -> list[Bar]:
        """The last ``count`` closed bars, oldest first; fewer where fewer are kept (1,000 at most).

        ``timeframe`` is a higher one that :meth:`setup` named, by an indicator or :meth:`follow`.
        """
        return self._at.bars(symbol, count, timeframe)

    @property
    def orders(self) -> list[Order]:
        """This strategy's open orders, oldest first."""
        return self._at.open_orders()

    @overload
    def indicator(
        self, factory: type[Kind], *args: Any, timeframe: str | None = None, source: str = "close", **kwargs: Any
    ) -> "IndicatorSet[Kind]": ...
    @overload
    def indicator(
        self, factory: Any, *args: Any, timeframe: str | None = None, source: str = "close", **kwargs: Any
    ) -> "IndicatorSet[Any]": ...
    def indicator(
        self, factory: Any, *args: Any, timeframe: str | None = None, source: str = "close", **kwargs: Any
    ) -> "IndicatorSet[Any]":
        """Make an indicator for every symbol, fed with closed bars: ``self.indicator(qf.SMA, 20)[symbol]``.

        In :meth:`setup` only. ``timeframe`` feeds it with bars of a higher timeframe (``"15m"``), which
        are on the UTC grid of :mod:`qfkit.core.timeframes` and count from their close on, or with each
        trade (``"tick"``). ``on_bar`` waits for these too: 20 bars of ``"1h"`` are 20 hours of trade.
        ``source`` is the bar's field that a one-number indicator reads. A streaming indicator of the
        library talipp may be given as it is.
        """
        return self._at.declare(factory, args, kwargs, timeframe, source)

    def follow(self, timeframe: str) -> None:
        """Have ``on_bar`` called for closed bars of a higher timeframe too: tell them by ``bar.timeframe``.

        In :meth:`setup` only. Where several close at once the run's own bar comes first, then the others from
        the smallest timeframe up, with the indicators of all fed before; the rules stand in :mod:`qfkit.core.closing`.
        """
        self._at.follow(timeframe)

    def buy(
        self,
        symbol: str,
        *,
        quantity: float | None = None,
        notional: float | None = None,
        weight: float | None = None,
        limit_price: float | None = None,
        stop_price: float | None = None,
        trail: float | None = None,
        trail_fraction: float | None = None,
        stop_loss: float | None = None,
        take_profit: float | None = None,
        time_in_force: TimeInForce | str = TimeInForce.GTC,
        expires_ns: int | None = None,
        reason: str = "",
    ) -> int | None:
        """Buy; return the order's id, or None where the risk gate refused it.

        The size is one of ``quantity``, ``notional`` (money) or ``weight`` (fraction of this
        strategy's equity); without any, the sizer of the run decides. Prices make the type:
        none is a market order, ``limit_price``, ``stop_price``, both (stop-limit), or a trailing
        stop by ``trail`` (in price) or ``trail_fraction``. ``stop_loss`` and ``take_profit`` are
        prices: they make a bracket, whose legs wait for the fill.
        """
        return self._at.order("buy", **_without(locals(), "self"))

    def sell(
        self,
        symbol: str,
        *,
        quantity: float | None = None,
        notional: float | None = None,
        weight: float | None = None,
        limit_price: float | None = None,
        stop_price: float | None = None,
        trail: float | None = None,
        trail_fraction: float | None = None,
        stop_loss: float | None = None,
        take_profit: float | None = None,
        time_in_force: TimeInForce | str = TimeInForce.GTC,
        expires_ns: int | None = None,
        reason: str = "",
    ) -> int | None:
        """Sell, also short; arguments as for :meth:`buy`."""
        return self._at.order("sell", **_without(locals(), "self"))

    def order_target(
        self,
        symbol: str,
        *,
        quantity: float | None = None,
        notional: float | None = None,
        weight: float | None = None,
        reason: str = "",
    ) -> int | None:
        """Trade at the market to a target position (signed); return the order's id, None if none is needed.

        A market order of this strategy that still works in the symbol is replaced.
        """
        return self._at.order_target(symbol, quantity=quantity, notional=notional, weight=weight, reason=reason)

    @overload
    def rebalance(
        self, weights: Mapping[str, float], *, band: float = 0.0, preview: Literal[False] = False, reason: str = ...
    ) -> list[int]: ...
    @overload
    def rebalance(
        self, weights: Mapping[str, float], *, band: float = 0.0, preview: Literal[True], reason: str = ...
    ) -> "RebalancePlan": ...
    def rebalance(
        self,
        weights: Mapping[str, float],
        *,
        band: float = 0.0,
        preview: bool = False,
        reason: str = "rebalance",
    ) -> "list[int] | RebalancePlan":
        """Trade to these fractions of equity (negative is short); a symbol not named goes to zero.

        Sales go out at once, purchases as soon as what they free has come in; so the book never holds more
        than the weights say. Returns the ids of the orders sent at once. ``band`` leaves positions alone that
        are no further than this fraction of equity from their weight. ``preview=True`` sends nothing and
        returns the :class:`~qfkit.RebalancePlan`, with turnover and cost. A later call takes the place of an
        earlier one; the rules stand in :mod:`qfkit.core.rebalancing`.
        """
        done: list[int] | RebalancePlan = self._at.rebalance(weights, band=band, preview=preview, reason=reason)
        return done

    def close(self, symbol: str, *, reason: str = "close") -> int | None:
        """Cancel this strategy's orders in a symbol and close its position at the market."""
        return self._at.close(symbol, reason=reason)

    def protect(
        self,
        symbol: str,
        *,
        stop_loss: float | None = None,
        take_profit: float | None = None,
        trailing: float | None = None,
        reason: str = "",
    ) -> list[int]:
        """Put protective orders on a position: ``self.protect("A", stop_loss=0.02, trailing=0.03)``.

        ``stop_loss`` and ``take_profit`` are fractions of the position's average price, ``trailing`` one of the
        best price from now on. Whichever comes first closes the position; they follow its size, only ever
        reduce it and end with it. Right after :meth:`buy` or :meth:`order_target` it waits for the fill and works
        from that on. Said again with other fractions it replaces the earlier ones; with the same it changes nothing, so
        it may be called at each bar. Returns the ids of the orders, none where it waits; with no position
        and no order that would open one, a rejected signal says so. The rules stand in :mod:`qfkit.core.protection`.
        """
        return self._at.protect(symbol, stop_loss=stop_loss, take_profit=take_profit, trailing=trailing, reason=reason)

    def cancel(self, order_id: int, *, reason: str = "cancelled by the strategy") -> None:
        """Cancel an open order; one that is no longer open is left as it is."""
        self._at.cancel(order_id, reason=reason)

    def modify(
        self,
        order_id: int,
        *,
        quantity: float | None = None,
        limit_price: float | None = None,
        stop_price: float | None = None,
    ) -> None:
        """Change an open order's quantity or prices; it works again after the latency."""
        self._at.modify(order_id, quantity=quantity, limit_price=limit_price, stop_price=stop_price)

    def one_cancels_other(self, *order_ids: int | None) -> None:
        """Link open orders: a fill of one takes as much from the others."""
        self._at.one_cancels_other(order_ids)


def _without(arguments: dict[str, Any], name: str) -> dict[str, Any]:
    del arguments[name]
    return arguments


def as_strategy(given: object) -> Strategy:
    """A strategy of its own: a fresh one from a class, a copy with the same parameters from an instance."""
    if isinstance(given, type) and issubclass(given, Strategy):
        return given()
    if isinstance(given, Strategy):
        return type(given)(**given.parameters)
    hint = "; decorate a function of price bars with @qf.signal" if callable(given) else ""
    raise StrategyError(
        f"{given!r} is no strategy: give a class that inherits from qf.Strategy, or an instance of one{hint}"
    )


def named_strategies(given: object) -> dict[str, Strategy]:
    """A strategy, a list of them or a dict of names, as fresh strategies by name."""
    if isinstance(given, Mapping):
        return {str(name): as_strategy(one) for name, one in given.items()}
    several = given if isinstance(given, Sequence) else [given]
    named: dict[str, Strategy] = {}
    for one in several:
        strategy = as_strategy(one)
        base, number = type(strategy).__name__, 1
        name = base
        while name in named:
            number += 1
            name = f"{base} {number}"
        named[name] = strategy
    return named
