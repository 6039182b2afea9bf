"""Watchers of prices, volumes and gaps: they see every event of a batch."""

from collections import deque

from qfkit.core.events import Gap
from qfkit.core.portfolio import total
from qfkit.core.wording import percent, span, utc_time
from qfkit.live.alert_rules import FeedGap, PriceAbove, PriceBelow, PriceMove, VolumeBurst, figure
from qfkit.live.watcher_base import SECOND_NS, PriceWatcher, Teller

__all__ = ["BurstWatcher", "GapWatcher", "LevelWatcher", "MoveWatcher"]

_STEPS = 10
_BURST_MARGIN = 0.2


class LevelWatcher(PriceWatcher):
    def __init__(self, rule: PriceAbove | PriceBelow, tell: Teller) -> None:
        super().__init__(rule, tell)
        self.symbol = rule.symbol
        self._level = rule.price
        self._sign = sign = 1.0 if isinstance(rule, PriceAbove) else -1.0
        self._word = "above" if sign > 0.0 else "below"
        self._over = sign * rule.price
        self._back = sign * rule.price * (1.0 - sign * rule.margin)

    def on_price(self, symbol: str, price: float, size: float, time_ns: int, clock_ns: int) -> None:
        signed = self._sign * price
        if self._disarmed:
            # With no margin, being at the level is not having left it.
            is_back = signed <= self._back and signed < self._over
            self._reached("", clock_ns, is_over=False, is_back=is_back)
        elif signed >= self._over and self._reached("", clock_ns, is_over=True, is_back=False):
            text = f"{symbol} at {figure(price)} is {self._word} {figure(self._level)}"
            self._say(clock_ns, text, symbol=symbol, value=price, level=self._level)


class _Window:
    """The lowest and the highest price of the last moments, each step in constant time on the average."""

    def __init__(self, window_ns: int) -> None:
        self._window_ns = window_ns
        self.lows: deque[tuple[int, float]] = deque()
        self.highs: deque[tuple[int, float]] = deque()
        self._newest_ns = 0

    def add(self, time_ns: int, price: float) -> bool:
        """Take a price in; false for one that is older than the window."""
        newest_ns = self._newest_ns = max(self._newest_ns, time_ns)
        first_ns = newest_ns - self._window_ns
        if time_ns < first_ns:
            return False
        lows, highs = self.lows, self.highs
        while lows and lows[-1][1] >= price:
            lows.pop()
        while highs and highs[-1][1] <= price:
            highs.pop()
        lows.append((newest_ns, price))
        highs.append((newest_ns, price))
        while lows[0][0] < first_ns:
            lows.popleft()
        while highs[0][0] < first_ns:
            highs.popleft()
        return True

    def restart(self) -> None:
        """From the newest price on."""
        for side in (self.lows, self.highs):
            while len(side) > 1:
                side.popleft()


class MoveWatcher(PriceWatcher):
    def __init__(self, rule: PriceMove, tell: Teller) -> None:
        super().__init__(rule, tell)
        self.symbol = rule.symbol
        self._fraction = rule.fraction
        self._window_ns = round(rule.window_s * SECOND_NS)
        self._windows: dict[str, _Window] = {}

    def on_price(self, symbol: str, price: float, size: float, time_ns: int, clock_ns: int) -> None:
        window = self._windows.get(symbol)
        if window is None:
            window = self._windows[symbol] = _Window(self._window_ns)
        if not window.add(time_ns, price):
            return
        (low_ns, low), (high_ns, high) = window.lows[0], window.highs[0]
        rise, fall = price / low - 1.0, 1.0 - price / high
        if rise >= self._fraction or fall >= self._fraction:
            moved, since_ns, begin = (rise, low_ns, low) if rise >= fall else (-fall, high_ns, high)
            window.restart()
            lasted = span(max(0, time_ns - since_ns) / SECOND_NS / 86_400.0)
            text = f"{symbol} moved {percent(moved)} in {lasted}, from {figure(begin)} to {figure(price)}"
            self._say(clock_ns, text, key=symbol, symbol=symbol, value=moved, level=self._fraction)


class _Volumes:
    """Volume by steps of a tenth of the window; the newest step is still filling."""

    def __init__(self, step_ns: int, steps: int) -> None:
        self.step_ns = step_ns
        self.closed: deque[float] = deque(maxlen=steps)
        self.step: int | None = None
        self.current = self.recent = self.before = 0.0

    def add(self, time_ns: int, size: float) -> None:
        step = time_ns // self.step_ns
        if self.step is None:
            self.step = step
        elif step > self.step:
            self.closed.append(self.current)
            self.closed.extend([0.0] * min(step - self.step - 1, self.closed.maxlen or 0))
            self.step, self.current = step, 0.0
            steps = list(self.closed)
            self.recent, self.before = total(steps[1 - _STEPS :]), total(steps[: 1 - _STEPS])
        self.current += size

    @property
    def is_full(self) -> bool:
        return len(self.closed) == self.closed.maxlen


class BurstWatcher(PriceWatcher):
    def __init__(self, rule: VolumeBurst, tell: Teller) -> None:
        super().__init__(rule, tell)
        self.symbol = rule.symbol
        self._times, self._window_s = rule.times, rule.window_s
        self._step_ns = max(1, round(rule.window_s * SECOND_NS / _STEPS))
        self._windows = rule.over_s / rule.window_s
        self._steps = round(self._windows * _STEPS) + _STEPS - 1
        self._volumes: dict[str, _Volumes] = {}

    def _add(self, symbol: str, size: float, time_ns: int) -> _Volumes:
        volumes = self._volumes.get(symbol)
        if volumes is None:
            volumes = self._volumes[symbol] = _Volumes(self._step_ns, self._steps)
        volumes.add(time_ns, size)
        return volumes

    def on_past_bar(self, symbol: str, volume: float, time_ns: int) -> None:
        self._add(symbol, volume, time_ns - 1)

    def on_price(self, symbol: str, price: float, size: float, time_ns: int, clock_ns: int) -> None:
        if not size > 0.0:
            return
        volumes = self._add(symbol, size, time_ns)
        usual = volumes.before / self._windows
        if not volumes.is_full or not usual > 0.0:
            return
        times = (volumes.recent + volumes.current) / usual
        is_back = times < self._times * (1.0 - _BURST_MARGIN)
        if self._reached(symbol, clock_ns, is_over=times >= self._times, is_back=is_back):
            volume = figure(volumes.recent + volumes.current)
            text = f"{symbol} traded {volume} in {self._window_s:g} s, {times:.1f} times as much as before"
            self._say(clock_ns, text, key=symbol, symbol=symbol, value=times, level=self._times)

    def on_gap(self, gap: Gap) -> None:
        self._volumes.pop(gap.symbol, None)


class GapWatcher(PriceWatcher):
    """Sees no price, only the gaps."""

    def __init__(self, rule: FeedGap, tell: Teller) -> None:
        super().__init__(rule, tell)
        self.symbol = rule.symbol

    def on_gap(self, gap: Gap) -> None:
        lacks = "" if gap.missing is None else f", {gap.missing:,} events"
        why = f": {gap.reason}" if gap.reason else ""
        seconds = max(0, gap.end_ns - gap.start_ns) / SECOND_NS
        text = f"{gap.symbol} lacks {span(seconds / 86_400.0)} from {utc_time(gap.start_ns)} UTC on{lacks}{why}"
        self._say(gap.received_ns, text, key=gap.symbol, symbol=gap.symbol, value=seconds)
