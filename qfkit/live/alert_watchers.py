"""The state of alert rules: one watcher a rule, which sees what its rule is about and nothing else.

A watcher says by its hooks what it wants to see: ``on_price`` and ``on_gap`` (events),
``on_records`` (what the engine made of them), ``on_snapshot``. All are called on the session's
thread with what is in the journal, or will be in the same transaction as the alert.
"""

from collections import deque
from collections.abc import Mapping
from math import isfinite, nan
from typing import Any, Protocol

from qfkit.core.events import Gap
from qfkit.core.orders import Fill, OrderStatus
from qfkit.core.portfolio import total
from qfkit.core.records import Records
from qfkit.core.snapshot import FeedView, Snapshot
from qfkit.core.wording import money, percent, share, span, utc_time
from qfkit.live.alert_rules import (
    Drawdown,
    FeedGap,
    FeedStale,
    Filled,
    LimitNear,
    OrderRejected,
    PriceAbove,
    PriceBelow,
    PriceMove,
    Rule,
    StrategySilent,
    StrategyStopped,
    VolumeBurst,
    When,
    figure,
)

__all__ = ["Teller", "Watcher", "watcher_of"]

_SECOND_NS = 1_000_000_000
_WELL = frozenset({"live", "backfilling", "running", "closed"})
_STEPS = 10
_BURST_MARGIN = 0.2


class Teller(Protocol):
    """Takes what a watcher has to say."""

    def __call__(
        self,
        watcher: "Watcher",
        time_ns: int,
        text: str,
        *,
        symbol: str | None,
        strategy: str | None,
        value: float,
        level: float,
        held_back: int,
    ) -> None: ...


class Watcher:
    """One rule's state: which of its levels are left behind (``disarmed``), and when it last spoke."""

    def __init__(self, rule: Rule, tell: Teller) -> None:
        self.rule = rule
        self.title = rule.title
        self.is_changed = False
        self._tell = tell
        self._disarmed: set[str] = set()
        self._last_ns: dict[str, int] = {}
        self._held_back: dict[str, int] = {}
        self._every_ns = round(rule.every_s * _SECOND_NS)

    # -- kept in the journal, so that a resumed session does not say everything again -----------------

    @property
    def state(self) -> dict[str, Any]:
        return {"disarmed": sorted(self._disarmed), "last_ns": self._last_ns, "held_back": self._held_back}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._disarmed = set(state["disarmed"])
        self._last_ns, self._held_back = dict(state["last_ns"]), dict(state["held_back"])

    # -- for the kinds ---------------------------------------------------------------------------------

    def _reached(self, key: str, time_ns: int, *, is_over: bool, is_back: bool) -> bool:
        """Whether a level is to be told of now: not again before it was left (``is_back``).

        What is reached too soon after the last alert is told when its time has come, if it is so still.
        """
        if key in self._disarmed:
            if is_back:
                self._disarmed.discard(key)
                self.is_changed = True
            return False
        if not is_over or self._is_too_soon(key, time_ns):
            return False
        self._disarmed.add(key)
        return True

    def _is_too_soon(self, key: str, time_ns: int) -> bool:
        last_ns = self._last_ns.get(key)
        return last_ns is not None and time_ns - last_ns < self._every_ns

    def _say(
        self,
        time_ns: int,
        text: str,
        *,
        key: str = "",
        symbol: str | None = None,
        strategy: str | None = None,
        value: float = nan,
        level: float = nan,
    ) -> None:
        """Tell it, or count it where the rule spoke of the same thing too lately."""
        self.is_changed = True
        if self._is_too_soon(key, time_ns):
            self._held_back[key] = self._held_back.get(key, 0) + 1
            return
        self._last_ns[key] = time_ns
        self._tell(
            self,
            time_ns,
            text,
            symbol=symbol,
            strategy=strategy,
            value=value,
            level=level,
            held_back=self._held_back.pop(key, 0),
        )


# -- prices ------------------------------------------------------------------------------------------


class PriceWatcher(Watcher):
    """Sees every price of its ``symbol`` (None: of each) in the order of receipt."""

    symbol: str | None

    def on_price(self, symbol: str, price: float, size: float, time_ns: int, clock_ns: int) -> None:
        """A trade; ``time_ns`` is the exchange's time, ``clock_ns`` that of the receipt."""
        raise NotImplementedError

    def on_past_bar(self, symbol: str, volume: float, time_ns: int) -> None:
        """A bar of the warm-up, which tells nothing."""

    def on_gap(self, gap: Gap) -> None:
        """Events are missing here."""


class _Level(PriceWatcher):
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


class _Move(PriceWatcher):
    def __init__(self, rule: PriceMove, tell: Teller) -> None:
        super().__init__(rule, tell)
        self.symbol = rule.symbol
        self._fraction = rule.fraction
        self._window_ns = round(rule.window_s * _SECOND_NS)
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
            lasted = span(max(0, time_ns - since_ns) / _SECOND_NS / 86_400.0)
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


class _Burst(PriceWatcher):
    def __init__(self, rule: VolumeBurst, tell: Teller) -> None:
        super().__init__(rule, tell)
        self.symbol = rule.symbol
        self._times, self._window_s = rule.times, rule.window_s
        self._step_ns = max(1, round(rule.window_s * _SECOND_NS / _STEPS))
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


class _Gaps(PriceWatcher):
    """Sees no price, only the gaps."""

    def __init__(self, rule: FeedGap, tell: Teller) -> None:
        super().__init__(rule, tell)
        self.symbol = rule.symbol

    def on_gap(self, gap: Gap) -> None:
        lacks = "" if gap.missing is None else f", {gap.missing:,} events"
        why = f": {gap.reason}" if gap.reason else ""
        seconds = max(0, gap.end_ns - gap.start_ns) / _SECOND_NS
        text = f"{gap.symbol} lacks {span(seconds / 86_400.0)} from {utc_time(gap.start_ns)} UTC on{lacks}{why}"
        self._say(gap.received_ns, text, key=gap.symbol, symbol=gap.symbol, value=seconds)


# -- the book and the strategies ---------------------------------------------------------------------


class RecordWatcher(Watcher):
    """Sees what the engine made of each batch."""

    def on_records(self, records: Records, names: tuple[str, ...], clock_ns: int, warm_ns: int) -> None:
        """``names`` are the strategies in the order of the equity rows; until ``warm_ns`` was warm-up."""
        raise NotImplementedError


class _Fills(RecordWatcher):
    rule: Filled

    def on_records(self, records: Records, names: tuple[str, ...], clock_ns: int, warm_ns: int) -> None:
        by_order: dict[int, list[Fill]] = {}
        for fill in records.fills:
            if self.rule.symbol in (None, fill.symbol) and self.rule.strategy in (None, fill.strategy):
                by_order.setdefault(fill.order_id, []).append(fill)
        for fills in by_order.values():
            last = fills[-1]
            quantity = total([fill.quantity for fill in fills])
            price = total([fill.quantity * fill.price for fill in fills]) / quantity
            bought = "bought" if last.side == "buy" else "sold"
            why = f": {last.reason}" if last.reason else ""
            text = f"{last.strategy} {bought} {figure(quantity)} {last.symbol} at {figure(price)}{why}"
            self._say(
                last.received_ns,
                text,
                key=last.symbol,
                symbol=last.symbol,
                strategy=last.strategy,
                value=price,
            )


class _Rejections(RecordWatcher):
    rule: OrderRejected

    def on_records(self, records: Records, names: tuple[str, ...], clock_ns: int, warm_ns: int) -> None:
        # (strategy, symbol, time, what, why); an order that its market refused had a signal that was sent.
        refused = [
            (one.strategy, one.symbol, one.time_ns, f"{one.action} {figure(abs(one.wanted))}", one.decision_reason)
            for one in records.signals
            if one.decision == "rejected" and one.time_ns > warm_ns
        ]
        refused += [
            (one.strategy, one.symbol, one.updated_ns, f"{one.side} {figure(one.quantity)}", one.status_reason)
            for one in records.orders
            if one.status == OrderStatus.REJECTED
        ]
        for strategy, symbol, time_ns, what, why in refused:
            if self.rule.symbol in (None, symbol) and self.rule.strategy in (None, strategy):
                text = f"{strategy}: {what} {symbol} was rejected: {why or 'no reason given'}"
                self._say(time_ns, text, key=f"{strategy} {symbol}", symbol=symbol, strategy=strategy)


class _Silence(RecordWatcher):
    rule: StrategySilent

    def __init__(self, rule: StrategySilent, tell: Teller) -> None:
        super().__init__(rule, tell)
        self._after_ns = round(rule.after_s * _SECOND_NS)
        self._heard_ns: dict[str, int] = {}

    def on_records(self, records: Records, names: tuple[str, ...], clock_ns: int, warm_ns: int) -> None:
        heard = self._heard_ns
        for signal in records.signals:
            if signal.time_ns > warm_ns:
                heard[signal.strategy] = signal.time_ns
        if not clock_ns:
            return
        for name in names if self.rule.strategy is None else (self.rule.strategy,):
            since_ns = clock_ns - heard.setdefault(name, clock_ns)
            if self._reached(name, clock_ns, is_over=since_ns >= self._after_ns, is_back=since_ns < self._after_ns):
                text = f"{name} has wanted nothing for {span(since_ns / _SECOND_NS / 86_400.0)}"
                value = since_ns / _SECOND_NS
                self._say(clock_ns, text, key=name, strategy=name, value=value, level=self.rule.after_s)


class SnapshotWatcher(Watcher):
    """Sees each snapshot, some four to ten a second."""

    def on_snapshot(self, snapshot: Snapshot, now_ns: int) -> None:
        """``now_ns`` is the time by the feed's clock: the engine's stands still while nothing comes."""
        raise NotImplementedError

    def on_end(self, session: str, state: str, error: str, now_ns: int) -> None:
        """The session ended in this state."""


class _Drawdown(RecordWatcher, SnapshotWatcher):
    rule: Drawdown

    def __init__(self, rule: Drawdown, tell: Teller) -> None:
        super().__init__(rule, tell)
        self._peak = 0.0
        self._back = rule.fraction * (1.0 - rule.margin)

    def on_records(self, records: Records, names: tuple[str, ...], clock_ns: int, warm_ns: int) -> None:
        strategy = self.rule.strategy
        column = 1 if strategy is None or names == (strategy,) else names.index(strategy) + 2
        for row in records.equity:
            self._peak = max(self._peak, row[column])
            self._look(row[column], int(row[0]))

    def on_snapshot(self, snapshot: Snapshot, now_ns: int) -> None:
        strategy = self.rule.strategy
        if strategy is None:
            if snapshot.drawdown < 1.0:
                # A session that goes on had its peak before this rule saw anything.
                self._peak = max(self._peak, snapshot.equity / (1.0 - snapshot.drawdown))
            self._look(snapshot.equity, snapshot.time_ns or now_ns)
        else:
            for view in snapshot.strategies:
                if view.name == strategy:
                    self._peak = max(self._peak, view.equity)
                    self._look(view.equity, snapshot.time_ns or now_ns)

    def _look(self, equity: float, time_ns: int) -> None:
        if not self._peak > 0.0:
            return
        drawdown = 1.0 - equity / self._peak
        if self._reached("", time_ns, is_over=drawdown >= self.rule.fraction, is_back=drawdown <= self._back):
            whose = f"{self.rule.strategy}: " if self.rule.strategy else ""
            text = f"{whose}drawdown {share(drawdown)}: equity {money(equity)}, peak {money(self._peak)}"
            self._say(time_ns, text, strategy=self.rule.strategy, value=drawdown, level=self.rule.fraction)


class _Limits(SnapshotWatcher):
    rule: LimitNear

    def on_snapshot(self, snapshot: Snapshot, now_ns: int) -> None:
        rule = self.rule
        for view in getattr(snapshot, "limits", ()):
            if rule.limit not in (None, view.name) or rule.strategy not in (None, view.strategy):
                continue
            value, limit = abs(view.value), abs(view.limit)
            if not (isfinite(value) and isfinite(limit) and limit > 0.0):
                continue
            used = value / limit
            key = f"{view.strategy or ''} {view.name}"
            time_ns = snapshot.time_ns or now_ns
            is_back = used < rule.share * (1.0 - rule.margin)
            if self._reached(key, time_ns, is_over=used >= rule.share, is_back=is_back):
                whose = f"{view.strategy}: " if view.strategy else ""
                text = f"{whose}{view.name} at {share(used)} of its limit: {figure(value)} of {figure(limit)}"
                strategy = view.strategy or None
                self._say(time_ns, text, key=key, strategy=strategy, value=used, level=rule.share)


class _Stopped(SnapshotWatcher):
    rule: StrategyStopped

    def on_snapshot(self, snapshot: Snapshot, now_ns: int) -> None:
        for view in snapshot.strategies:
            if self.rule.strategy not in (None, view.name):
                continue
            is_off = view.state != "running"
            if self._reached(view.name, now_ns, is_over=is_off, is_back=not is_off):
                why = f": {view.fault}" if view.fault else ""
                self._say(now_ns, f"{view.name} is {view.state}{why}", key=view.name, strategy=view.name)

    def on_end(self, session: str, state: str, error: str, now_ns: int) -> None:
        if state == "failed":
            self._say(now_ns, f"the session {session} failed: {error}", key=f"session {session}")


# -- the feed ----------------------------------------------------------------------------------------


class _Stale(SnapshotWatcher):
    """``_disarmed`` holds what was told of; ``_since_ns`` when each thing began to be unwell."""

    rule: FeedStale

    def __init__(self, rule: FeedStale, tell: Teller) -> None:
        super().__init__(rule, tell)
        self._after_ns = round(rule.after_s * _SECOND_NS)
        self._since_ns: dict[str, int] = {}

    def on_snapshot(self, snapshot: Snapshot, now_ns: int) -> None:
        feed = snapshot.feed
        if feed is None or feed.state == "closed":
            return
        unwell = self._unwell(feed)
        for key in self._since_ns.keys() - unwell.keys():
            lasted_ns = now_ns - self._since_ns.pop(key)
            if key in self._disarmed:
                self._disarmed.discard(key)
                # Whoever was told that it stopped must hear that it goes on.
                self._last_ns.pop(key, None)
                text = f"{key or 'the feed'} is live again after {span(lasted_ns / _SECOND_NS / 86_400.0)}"
                self._say(now_ns, text, key=key, symbol=key or None)
        for key, state in unwell.items():
            since_ns = now_ns - self._since_ns.setdefault(key, now_ns)
            if self._reached(key, now_ns, is_over=since_ns >= self._after_ns, is_back=False):
                text = f"{key or 'the feed'} ({feed.name}) is {state}: no data for {span(since_ns / _SECOND_NS / 86_400.0)}"
                value = since_ns / _SECOND_NS
                self._say(now_ns, text, key=key, symbol=key or None, value=value, level=self.rule.after_s)

    def _unwell(self, feed: FeedView) -> dict[str, str]:
        """What gives no data, with its state; "" is the feed as a whole, and then its symbols are not named too."""
        rule = self.rule
        if rule.symbol is None and (feed.state not in _WELL or _is_silent(feed.age_s, rule.silent_s)):
            return {"": feed.state if feed.state not in _WELL else "silent"}
        # Of a symbol that several sources give, one that is well is enough.
        well = {one.symbol for one in feed.symbols if one.state in _WELL and not _is_silent(one.age_s, rule.silent_s)}
        return {
            one.symbol: one.state if one.state not in _WELL else "silent"
            for one in feed.symbols
            if one.symbol not in well and rule.symbol in (None, one.symbol)
        }


def _is_silent(age_s: float | None, most_s: float | None) -> bool:
    return age_s is not None and most_s is not None and age_s >= most_s


class Asked(Watcher):
    """A function's answers: told when one is true after one was not."""

    rule: When

    def on_answer(self, answer: object, now_ns: int) -> None:
        is_true = bool(answer)
        if self._reached("", now_ns, is_over=is_true, is_back=not is_true):
            self._say(now_ns, answer if isinstance(answer, str) else self.rule.text or self.title)


_KINDS: dict[type[Rule], Any] = {
    PriceAbove: _Level,
    PriceBelow: _Level,
    PriceMove: _Move,
    VolumeBurst: _Burst,
    FeedGap: _Gaps,
    Filled: _Fills,
    OrderRejected: _Rejections,
    StrategySilent: _Silence,
    Drawdown: _Drawdown,
    LimitNear: _Limits,
    StrategyStopped: _Stopped,
    FeedStale: _Stale,
    When: Asked,
}


def watcher_of(rule: Rule, tell: Teller) -> Watcher:
    """A fresh watcher for a rule."""
    watcher: Watcher = _KINDS[type(rule)](rule, tell)
    return watcher
