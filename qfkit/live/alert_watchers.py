"""Watchers of the book, the strategies and the feed, and which watcher a rule has."""

from math import isfinite
from typing import Any

from qfkit.core.orders import Fill, OrderStatus
from qfkit.core.portfolio import total
from qfkit.core.records import Records
from qfkit.core.snapshot import FeedView, Snapshot
from qfkit.core.wording import money, share, span
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
from qfkit.live.price_watchers import BurstWatcher, GapWatcher, LevelWatcher, MoveWatcher
from qfkit.live.watcher_base import SECOND_NS, RecordWatcher, SnapshotWatcher, Teller, Watcher

__all__ = ["Asked", "watcher_of"]

_WELL = frozenset({"live", "backfilling", "running", "closed"})


# -- the book and the strategies ---------------------------------------------------------------------


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
        self._after_ns = round(rule.after_s * SECOND_NS)
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
                text = f"{name} has wanted nothing for {span(since_ns / SECOND_NS / 86_400.0)}"
                value = since_ns / SECOND_NS
                self._say(clock_ns, text, key=name, strategy=name, value=value, level=self.rule.after_s)


class _Drawdown(RecordWatcher, SnapshotWatcher):
    rule: Drawdown

    def __init__(self, rule: Drawdown, tell: Teller) -> None:
        super().__init__(rule, tell)
        self._peak = 0.0
        self._back = rule.fraction * (1.0 - rule.margin)

    def on_records(self, records: Records, names: tuple[str, ...], clock_ns: int, warm_ns: int) -> None:
        strategy = self.rule.strategy
        if strategy is not None and strategy not in names:
            # It has not joined yet.
            return
        own = 0 if strategy is None else names.index(strategy) + 2
        moved: dict[float, float] = {}
        for transfer in records.transfers:
            if strategy is not None and strategy in (transfer.source, transfer.target):
                change = transfer.amount if transfer.target == strategy else -transfer.amount
                moved[transfer.time_ns] = moved.get(transfer.time_ns, 0.0) + change
        for row in records.equity:
            # The only strategy there is has no column but the account's; one that joins has none before.
            column = 1 if strategy is None or (len(row) == 2 and own == 2) else own
            if column >= len(row):
                continue
            equity = row[column]
            self._peak = max(self._peak, equity)
            self._look(equity, int(row[0]))
            if row[0] in moved and equity > 0.0:
                # Cash that came or went right after it is no profit and no loss.
                self._peak *= max(0.0, equity + moved[row[0]]) / equity

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
        for view in snapshot.limits:
            if rule.limit not in (None, view.name) or rule.strategy not in (None, view.strategy):
                continue
            if rule.limit is None and view.is_default:
                # Who is fully invested is at it all the time.
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
        self._after_ns = round(rule.after_s * SECOND_NS)
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
                text = f"{key or 'the feed'} is live again after {span(lasted_ns / SECOND_NS / 86_400.0)}"
                self._say(now_ns, text, key=key, symbol=key or None)
        for key, state in unwell.items():
            since_ns = now_ns - self._since_ns.setdefault(key, now_ns)
            if self._reached(key, now_ns, is_over=since_ns >= self._after_ns, is_back=False):
                text = (
                    f"{key or 'the feed'} ({feed.name}) is {state}: no data for {span(since_ns / SECOND_NS / 86_400.0)}"
                )
                value = since_ns / SECOND_NS
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
    PriceAbove: LevelWatcher,
    PriceBelow: LevelWatcher,
    PriceMove: MoveWatcher,
    VolumeBurst: BurstWatcher,
    FeedGap: GapWatcher,
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
