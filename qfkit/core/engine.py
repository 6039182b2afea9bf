"""The engine: one deterministic state machine behind backtest, session and replay.

``process(event)`` is the only way to change it. It does no I/O, reads no clock and draws no
chance: the same events give the same records, to the last bit. One event goes this way::

    clock -> broker matches working orders -> fills into the book -> bars close ->
    indicators -> strategy -> signal -> risk gate -> order -> equity point
"""

import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from qfkit.core.accounts import Accounts
from qfkit.core.allocation import Allocation, Allocator
from qfkit.core.assessment import Assessor, RiskBands
from qfkit.core.broker import Broker
from qfkit.core.closing import close_bar, close_due, close_higher, close_over
from qfkit.core.corporate import apply_action
from qfkit.core.costs import Costs
from qfkit.core.currencies import Currencies
from qfkit.core.desk import Desk
from qfkit.core.events import (
    Bar,
    CorporateAction,
    Depth,
    Event,
    Gap,
    Heartbeat,
    Hours,
    Instrument,
    Quote,
    Stop,
    Tick,
    WarmUp,
)
from qfkit.core.filters import SignalFilters, checked_filters
from qfkit.core.hours import MarketHours
from qfkit.core.ladder import see_depth
from qfkit.core.lanes import Track
from qfkit.core.limit_watch import LimitWatch
from qfkit.core.margin import Margin
from qfkit.core.market import see_bar, see_price
from qfkit.core.marks import work_on_mark
from qfkit.core.netting import Netting
from qfkit.core.notices import see_stale, take_hours, take_instrument
from qfkit.core.opening import check_kinds, check_opening, check_sizer, open_desks, own_limits
from qfkit.core.orders import Fill
from qfkit.core.portfolio import cash_shares
from qfkit.core.protection import follow
from qfkit.core.rebalancing import go_on
from qfkit.core.records import Fault, Records
from qfkit.core.returns_window import ReturnsWindow
from qfkit.core.risk import ACCOUNT_LIMITS, NO_LIMITS, RiskLimits
from qfkit.core.scorecard import Scorecard
from qfkit.core.seats import Seat
from qfkit.core.sizing import FractionOfEquity, Sizer
from qfkit.core.snapshot import Snapshot
from qfkit.core.steering import Steering
from qfkit.core.strategy import Strategy
from qfkit.core.survey import take_snapshot
from qfkit.core.timeframes import timeframe_ns
from qfkit.core.warmup import warm_up
from qfkit.core.working import WorkingOrder

__all__ = ["Engine"]

_SHOWN_FILLS = 50


class Engine:
    """Runs strategies over events.

    ``strategies`` maps a name to a fresh :class:`Strategy`; ``shares`` maps the same names to
    fractions of ``cash`` (equal by default), which ``allocation`` restores or changes on a schedule; ``risk`` is
    one set of limits or a mapping of them by name. ``timeframe`` is that of ``on_bar``: None takes the
    incoming bars' own, or "1m" for ticks. ``resolve`` finds the class that a ``SwapStrategy``
    event names. The owner drains :attr:`records`. ``has_running_metrics`` False leaves the drawdown and
    the curve out of snapshots, for a run that is measured at its end. ``assess_every_s`` has a
    :class:`RiskAssessment` made so often on the engine's clock, by the bounds of ``risk_bands``.
    ``netting``: see :mod:`qfkit.core.netting`. ``margin`` None is ``Margin.cash()``; ``filters`` None lets every
    entry go on to the risk gate; ``currency`` None takes all prices for the account's own currency.
    """

    def __init__(
        self,
        strategies: Mapping[str, Strategy],
        *,
        cash: float,
        shares: Mapping[str, float] | None = None,
        costs: Costs | None = None,
        risk: RiskLimits | Mapping[str, RiskLimits] | None = None,
        sizer: Sizer | None = None,
        filters: SignalFilters | None = None,
        margin: Margin | None = None,
        currency: Currencies | str | None = None,
        timeframe: str | None = None,
        symbols: Sequence[str] = (),
        allocation: Allocation | None = None,
        netting: bool = False,
        resolve: Callable[[str], type[Strategy]] | None = None,
        has_running_metrics: bool = True,
        assess_every_s: float | None = None,
        risk_bands: RiskBands | None = None,
    ) -> None:
        check_opening(strategies, cash)
        check_kinds(
            costs=(costs, Costs, "qf.Costs(commission=0.001)"),
            margin=(margin, Margin, "qf.Margin.regulation_t()"),
            allocation=(allocation, Allocation, 'qf.Allocation("equal", every="1M")'),
            netting=(netting, bool, "True"),
        )
        check_sizer(sizer)
        self.costs = Costs() if costs is None else costs
        self.margin = Margin.cash() if margin is None else margin
        self.limits, self.risk = own_limits(risk, strategies, self.margin)
        self.sizer: Sizer = FractionOfEquity() if sizer is None else sizer
        self.has_own_sizer = sizer is not None
        self.filters = checked_filters(filters)
        self.timeframe = timeframe
        self.starting_cash = cash
        self.latency_ns = self.costs.latency_of()
        self.records = Records()
        # These lists are emptied but never replaced.
        self.keep_bar = self.records.bars.append
        self._keep_equity = self.records.equity.append
        self.broker = Broker(self.costs, self.records, self._on_fill)
        self.broker.netting = Netting(self) if netting else None
        self.tracks: dict[str, Track] = {}
        self.clock_ns: int = 0
        self.events = 0
        self.late_events = 0
        self.is_warming = False
        self.instruments: dict[str, Instrument] = {}
        self.hours: dict[str, MarketHours] = {}
        self.signals_count = 0
        self.orders_count = 0
        self.exceptions: dict[str, Exception] = {}
        self._declared = tuple(symbols)
        self.cost_at = self.costs.estimator()
        self._step_ns = timeframe_ns(timeframe or "1m")
        self._mark_ns = 0
        self._started = False
        self.has_running_metrics = has_running_metrics
        self.last_fills: deque[Fill] = deque(maxlen=_SHOWN_FILLS)
        self.accounts = Accounts(self, Currencies.of(currency))
        self.steering = Steering(self, resolve)
        self.pending = self.steering.pending
        self.joiners = self.steering.joining.waiting
        # The desks of which a rebalance is under way.
        self.rebalancing: list[Desk] = []
        self._handlers: dict[type, Callable[..., None]] = {
            Tick: self._on_tick,
            Quote: self._on_quote,
            Depth: self._on_depth,
            Bar: self._on_bar,
            Heartbeat: self._on_heartbeat,
            Gap: self._on_gap,
            Instrument: lambda event: take_instrument(self, event),
            Hours: lambda event: take_hours(self, event),
            CorporateAction: lambda action: apply_action(self, action),
            WarmUp: lambda event: warm_up(self, event),
            **self.steering.handlers,
            Stop: self._on_stop,
        }
        self.returns: ReturnsWindow | None = None
        self.assessor = None if assess_every_s is None else Assessor(self, assess_every_s, risk_bands)
        capital = cash_shares(strategies, shares)
        self.allocator = None if allocation is None else Allocator(self, allocation, capital)
        self.desks = open_desks(self, strategies, capital, cash)
        self.scorecard = Scorecard(cash, {name: desk.book.starting_cash for name, desk in self.desks.items()})
        self.metrics = self.scorecard.account.curve
        self.equity_curve = self.scorecard.recent
        # The columns of equity rows: whoever joins has the last.
        self.equity_names, self.books = list(self.desks), [desk.book for desk in self.desks.values()]
        self.only_book = self.books[0] if len(self.books) == 1 else None
        self.limit_watch = LimitWatch(self, ACCOUNT_LIMITS, self.limits.get(ACCOUNT_LIMITS, NO_LIMITS), is_account=True)
        for watch in self.limit_watches:
            watch.begin()
        self.choose_watches()
        if timeframe is not None:
            for symbol in self._declared:
                self._open_track(symbol, timeframe)

    @property
    def limit_watches(self) -> list[LimitWatch]:
        """Each strategy's, then the account's."""
        return [*[desk.limit_watch for desk in self.desks.values()], self.limit_watch]

    def choose_watches(self) -> None:
        """Limits or stops have changed: have those looked at that equity points matter to."""
        self.marked_watches = [watch for watch in self.limit_watches if watch.is_marked and watch.has_begun]
        self._has_mark_work = bool(
            self.marked_watches or self.joiners or self.has_running_metrics or self.allocator or self.margin.has_rates
        )

    def look_at_limits(self) -> None:
        """A price left its band, or the books changed by something else than a price."""
        for watch in self.marked_watches:
            watch.look()

    @property
    def symbols(self) -> tuple[str, ...]:
        """The declared symbols, then those seen beyond them."""
        return self._declared + tuple(symbol for symbol in self.tracks if symbol not in self._declared)

    def process(self, event: Event) -> None:
        """Apply one event. Raises only for what the strategies are not to blame for; it counts then too."""
        self.events += 1
        self._handlers[type(event)](event)

    def process_all(self, events: Iterable[Event]) -> None:
        """Apply events one after the other; the same as ``process`` on each, with less overhead."""
        handlers = self._handlers
        count = 0
        try:
            for event in events:
                count += 1
                handlers[type(event)](event)
        finally:
            self.events += count

    # -- market events -----------------------------------------------------------------------

    def _on_bar(self, bar: Bar) -> None:
        track = self.tracks.get(bar.symbol)
        if track is None:
            track = self._open_track(bar.symbol, self.timeframe or bar.timeframe)
        if bar.timeframe != track.source_timeframe:
            track.accept_bars(bar.timeframe)
        clock_ns = bar.close_ns
        if bar.open_ns < track.closed_until_ns:
            self.late_events += 1
            self.advance(clock_ns)
            return
        if clock_ns > self._mark_ns:
            self._mark(self._mark_ns, bar.open_ns)
            self._mark_ns = clock_ns
        if bar.open_ns >= track.due_ns or not track.is_direct:
            close_due(self, track, bar)
        if clock_ns > self.clock_ns:
            self.clock_ns = clock_ns
        market = track.market
        if market.working:
            if market.held:
                see_price(market.held, bar.open)
            self.broker.match_bar(market, bar)
        if market.held:
            see_bar(market.held, bar)
        price = bar.close
        if price != market.price:
            market.previous_price = market.price
            market.price = price
            if not market.has_trades:
                market.first_price = bar.open
                market.has_trades = True
        market.time_ns = clock_ns
        if not market.floor <= price <= market.ceiling:
            self.accounts.look_at(market)
        if clock_ns >= self.broker.next_expiry_ns:
            self.broker.expire(clock_ns)
        if track.is_direct:
            close_bar(self, track, bar)
        else:
            for built in track.raise_bar(track.base, bar):
                close_bar(self, track, built)

    def _on_tick(self, tick: Tick) -> None:
        track = self.tracks.get(tick.symbol)
        if track is None:
            track = self._open_track(tick.symbol, self.timeframe or "1m")
        time_ns = tick.time_ns
        builder = track.base.builder
        if time_ns < builder.open_ns:
            self.late_events += 1
            self.advance(tick.received_ns)
            return
        if tick.flag == "stale":
            see_stale(self, track.market, tick)
            return
        clock_ns = tick.received_ns
        if clock_ns >= self._mark_ns:
            self._mark_grid(clock_ns)
        if clock_ns > self.clock_ns:
            self.clock_ns = clock_ns
        market = track.market
        price = tick.price
        if price != market.price:
            market.previous_price = market.price
            market.price = price
            for position in market.held:
                if price > position.highest:
                    position.highest = price
                if price < position.lowest:
                    position.lowest = price
            if not market.has_trades:
                market.first_price = price
                market.has_trades = True
        market.time_ns = time_ns
        if market.working:
            self.broker.match_tick(market, tick)
        if not market.floor <= price <= market.ceiling:
            self.accounts.look_at(market)
        if clock_ns >= self.broker.next_expiry_ns:
            self.broker.expire(clock_ns)
        if time_ns >= builder.close_ns:
            bar = builder.close_before(time_ns)
            if bar is not None:
                close_bar(self, track, bar)
            if time_ns >= track.due_ns:
                close_higher(self, track, time_ns)
        builder.add_tick(tick)
        for seat in track.tick_seats:
            if seat.hear_price(price) and seat.on_tick is not None:
                try:
                    seat.on_tick(tick)
                except Exception as error:  # noqa: BLE001 - whatever a user's code raises stops that strategy, and is shown
                    self.fail(seat.desk, error, tick)

    def _on_quote(self, quote: Quote, depth: Depth | None = None) -> None:
        """A quote, or the one that a depth makes."""
        track = self.tracks.get(quote.symbol)
        if track is None:
            track = self._open_track(quote.symbol, self.timeframe or "1m")
        self._mark_grid(quote.received_ns)
        self.advance(quote.received_ns)
        market = track.market
        market.see_quote(quote)
        if market.working:
            self.broker.match_quote(market, quote)
        if not market.floor <= market.price <= market.ceiling:
            self.accounts.look_at(market)
        for seat in track.quote_seats:
            try:
                if depth is None and seat.on_quote is not None:
                    seat.on_quote(quote)
                elif depth is not None and seat.on_depth is not None:
                    seat.on_depth(depth)
            except Exception as error:  # noqa: BLE001 - whatever a user's code raises stops that strategy, and is shown
                self.fail(seat.desk, error, quote if depth is None else depth)

    def _on_depth(self, depth: Depth) -> None:
        quote = see_depth(self.track(depth.symbol, "1m").market, depth)
        if quote is None:
            self.advance(depth.received_ns)
        else:
            self._on_quote(quote, depth)

    def _on_heartbeat(self, heartbeat: Heartbeat) -> None:
        self._mark_grid(heartbeat.received_ns)
        self.advance(heartbeat.received_ns)
        time_ns = heartbeat.time_ns
        for track in self.tracks.values():
            if track.source_timeframe:
                if track.higher or not track.is_direct:
                    close_over(self, track, time_ns)
                continue
            bar = track.base.builder.close_before(time_ns)
            if bar is not None:
                close_bar(self, track, bar)
            if time_ns >= track.due_ns:
                close_higher(self, track, time_ns)

    def _on_gap(self, gap: Gap) -> None:
        self.advance(gap.received_ns)
        if gap.symbol in self.tracks:
            self.tracks[gap.symbol].market.doubt_book()

    def _mark_grid(self, clock_ns: int) -> None:
        """Record the equity of the interval that is over, where no bars come in to say when."""
        if clock_ns >= self._mark_ns:
            self._mark(self._mark_ns, clock_ns)
            self._mark_ns = (clock_ns // self._step_ns + 1) * self._step_ns

    def advance(self, clock_ns: int) -> None:
        """Move the clock; whoever's time is over by then goes."""
        if clock_ns > self.clock_ns:
            self.clock_ns = clock_ns
        if clock_ns >= self.broker.next_expiry_ns:
            self.broker.expire(clock_ns)

    def track(self, symbol: str, timeframe: str) -> Track:
        """A symbol's track, opened at need for bars of the run's timeframe, else of this one."""
        track = self.tracks.get(symbol)
        return self._open_track(symbol, self.timeframe or timeframe) if track is None else track

    def _open_track(self, symbol: str, timeframe: str) -> Track:
        track = self.tracks[symbol] = Track(symbol, timeframe)
        track.market.rules = self.instruments.get(symbol)
        track.market.hours = self.hours.get(symbol)
        track.market.activity = self.costs.new_activity()
        self.accounts.news_of(track)
        for desk in self.desks.values():
            if desk.state in ("running", "paused") and not track.is_rate and not desk.is_joining:
                track.put(Seat(desk, track))
        return track

    # -- the equity point --------------------------------------------------------------------

    def _mark(self, mark_ns: int, next_ns: int) -> None:
        """Record the equity as of the mark that is over; called before the next event, of ``next_ns``, counts."""
        if not self._started:
            self.start()
            self.accounts.charge(next_ns)
            return
        if self._has_mark_work and mark_ns >= self.accounts.next_night_ns:
            self.accounts.charge(mark_ns)
        book = self.only_book
        if book is not None:
            equity = book.cash
            for position in book.open.values():
                market = position.market
                equity += position.quantity * market.price * market.rate
            row: tuple[float, ...] = (mark_ns, equity)
        else:
            each = [book.equity for book in self.books]
            equity = 0.0
            for value in each:
                equity += value
            row = (mark_ns, equity, *each)
        self._keep_equity(row)
        if self._has_mark_work or equity <= 0.0:
            work_on_mark(self, row, next_ns)

    def start(self) -> None:
        """Have the strategies begin, once."""
        if not self._started:
            self._started = True
            for desk in self.desks.values():
                if not desk.is_joining:
                    self.call(desk, desk.strategy.on_start, None)

    def begin_equity(self) -> None:
        """The first equity point is now, and not before."""
        self._mark_ns = max(self._mark_ns, self.clock_ns)

    def measure(self) -> None:
        """Bring :attr:`scorecard` and :attr:`equity_curve` up to the last equity point and fill."""
        self.scorecard.settle()

    # -- fills and faults --------------------------------------------------------------------

    def _on_fill(self, working: WorkingOrder, fill: Fill) -> None:
        desk = working.owner
        assert isinstance(desk, Desk)
        trade = self.accounts.book(desk, fill, working.market)
        self.last_fills.append(fill)
        if trade is not None:
            self.records.trades.append(trade)
            desk.limit_watch.note_trade(trade.pnl)
            self.limit_watch.note_trade(trade.pnl)
            if trade.pnl < 0.0:
                desk.lost_ns[trade.symbol] = trade.exit_time_ns
        if self.has_running_metrics:
            self.scorecard.note_fill(desk.name, fill, trade, is_open=bool(desk.book.open))
        if working.is_reduce_only or desk.protections:
            follow(desk, working, fill)
        if desk.state in ("running", "paused") and type(desk.strategy).on_fill is not Strategy.on_fill:
            try:
                desk.strategy.on_fill(fill)
            except Exception as error:  # noqa: BLE001 - whatever a user's code raises stops that strategy, and is shown
                self.fail(desk, error, fill)
        if desk.rebalancing is not None:
            go_on(desk)

    def call(self, desk: Desk, hook: Callable[[], None], event: object) -> None:
        try:
            hook()
        except Exception as error:  # noqa: BLE001 - whatever a user's code raises stops that strategy, and is shown
            self.fail(desk, error, event)

    def fail(self, desk: Desk, error: Exception, event: object) -> None:
        """Stop one strategy for its exception; the others and the feed go on."""
        desk.state = "failed"
        desk.error = f"{type(error).__name__}: {error}"
        self.exceptions[desk.name] = error
        desk.cancel_all("the strategy failed", by_hand=False)
        for track in self.tracks.values():
            track.remove(desk)
        text = "".join(traceback.format_exception(error))
        self.records.faults.append(Fault(desk.name, self.clock_ns, desk.error, text, str(event)))

    def _on_stop(self, event: Stop) -> None:
        self.steering.stop(event)
        if event.received_ns > self.clock_ns:
            self.clock_ns = event.received_ns
        if event.strategy is None and self._started:
            mark_ns = min(self._mark_ns, self.clock_ns)
            self._mark(mark_ns, mark_ns)
            self._mark_ns = max(self._mark_ns, self.clock_ns + 1)
            for desk in self.desks.values():
                # The last night may have been one margin call more.
                desk.cancel_all("the run ended", forced=True)

    def snapshot(self) -> Snapshot:
        """The trading part of a snapshot; the session adds its own."""
        return take_snapshot(self)
