"""Orders in the steps that a symbol's rules allow: see :class:`~qfkit.core.events.Instrument`."""

from math import floor

from qfkit.core.events import Instrument

__all__ = ["fit_quantity", "stepped_price", "whole_steps"]

# A quantity this near below a step, as a fraction of a step, is meant to be on it.
_NEAR = 1e-6
# As a fraction of the whole: what a float of that size cannot tell apart.
_ROUNDING = 1e-15


def whole_steps(quantity: float, step: float) -> float:
    """The greatest whole number of steps in a quantity, as the nearest float to its decimal."""
    ratio = quantity / step
    steps = round(ratio)
    if steps - ratio > max(_NEAR, _ROUNDING * ratio):
        steps = floor(ratio)
    # 3 * 0.1 is not 0.3; 3 / 10 is.
    inverse = round(1.0 / step)
    return steps / inverse if inverse and abs(inverse * step - 1.0) < 1e-9 else steps * step


def fit_quantity(quantity: float, price: float, rules: Instrument) -> tuple[float, str]:
    """The quantity rounded down to the symbol's step, and why it is 0 if it cannot be ordered at all."""
    fitting = quantity if rules.quantity_step is None else whole_steps(quantity, rules.quantity_step)
    if rules.quantity_step is not None and fitting <= 0.0:
        return 0.0, f"quantity {quantity:.10g} is less than the symbol's step {rules.quantity_step:.10g}"
    if rules.minimum_quantity is not None and fitting < rules.minimum_quantity * (1.0 - 1e-9):
        return 0.0, f"quantity {fitting:.10g} is below the symbol's minimum {rules.minimum_quantity:.10g}"
    notional = fitting * price
    if rules.minimum_notional is not None and notional < rules.minimum_notional * (1.0 - 1e-9):
        return 0.0, f"notional {notional:.6g} is below the symbol's minimum {rules.minimum_notional:.6g}"
    return fitting, ""


def stepped_price(price: float | None, rules: Instrument | None, *, is_down: bool) -> float | None:
    """A price on the symbol's grid; the way it is rounded makes an order no keener than it was meant.

    So the limit of a buy and the stop of a sale go down, the others up.
    """
    step = None if rules is None else rules.price_step
    if price is None or step is None:
        return price
    down = whole_steps(price, step)
    if is_down or abs(price - down) <= _NEAR * step:
        # A price below its first step stays as it is: 0 would be no price.
        return down or price
    return whole_steps(down + step, step)
