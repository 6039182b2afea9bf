"""Several strategies in one account: one joins, pauses or stops alone while the others run on."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as for_any
from hypothesis import settings
from hypothesis import strategies as st
from support import walk
from test_session import SECOND, START_NS, HandFeed, until
from test_session import bar as flat

import qfkit as qf
from qfkit.core.engine import Engine
from qfkit.core.events import AddStrategy, Bar, Event, Flatten, Pause, Resume, SetParameters, Stop, SwapStrategy
from qfkit.errors import ParameterError, SessionError
from qfkit.journal.reader import JournalReader, read_events


class Holds(qf.Strategy):
    """Buys a quantity at its first bar and keeps it; remembers the bars and transfers that it was told of."""

    quantity = qf.Param(10.0)

    def setup(self) -> None:
        self.average = self.indicator(qf.SMA, 5)

    def on_start(self) -> None:
        self.seen: list[int] = []
        self.told: list[tuple[float, float]] = []

    def on_bar(self, bar: Bar) -> None:
        if not self.seen and self.quantity:
            self.buy(bar.symbol, quantity=self.quantity)
        self.seen.append(bar.close_ns)

    def on_transfer(self, amount: float, owed: float) -> None:
        self.told.append((amount, owed))


def given(feed: HandFeed, session: qf.Session, *bars: Bar) -> None:
    before = session.snapshot.events
    feed.give(*bars)
    until(lambda: session.snapshot.events >= before + len(bars))


def test_one_joins_by_hand() -> None:
    """Two with 500 each; one holds 10 A at 10 (400 free), the other nothing (500 free). 180 join: 80 and 100 of it."""
    feed = HandFeed()
    session = qf.paper(
        {"holds": Holds(quantity=10.0), "cash": Holds(quantity=0.0)}, feed, cash=1000.0, costs=qf.Costs.ideal()
    ).start()
    given(feed, session, *[flat(index, 10.0) for index in range(8)])
    session.add(Holds(quantity=2.0), "third", cash=180.0)
    assert [view.name for view in session.snapshot.strategies] == ["holds", "cash", "third"]
    assert session.snapshot.strategies[2].waiting.startswith("waits for its capital")
    given(feed, session, flat(8, 10.0))
    transfers = session.transfers
    assert transfers["source"].tolist() == ["holds", "cash"]
    assert transfers["target"].tolist() == ["third", "third"]
    assert transfers["amount"].tolist() == pytest.approx([80.0, 100.0])
    # The bar after it: bought at 10, and A rises to 20.
    given(feed, session, flat(9, 20.0), flat(10, 20.0), flat(11, 20.0))
    engine = session._pipeline.engine
    books = {name: desk.book for name, desk in engine.desks.items()}
    assert {name: book.cash for name, book in books.items()} == pytest.approx({"holds": 320, "cash": 400, "third": 140})
    assert {name: book.equity for name, book in books.items()} == pytest.approx(
        {"holds": 520, "cash": 400, "third": 180}
    )
    # It saw the first bar after the equity point that brought the money, its average ready from the kept bars.
    assert engine.desks["third"].strategy.seen[0] == flat(8, 10.0).close_ns  # type: ignore[attr-defined]
    assert engine.desks["holds"].strategy.told == [pytest.approx((-80.0, 0.0))]  # type: ignore[attr-defined]
    equity = session.equity
    assert list(equity.columns) == ["account", "holds", "cash", "third"]
    first = equity["third"].first_valid_index()
    assert first == equity.index[8]
    assert equity["third"].isna().sum() == 8
    sums = equity[["holds", "cash", "third"]].sum(axis=1)
    np.testing.assert_allclose(sums, equity["account"], rtol=1e-12)
    # What moved is nobody's profit: nothing was lost by whoever gave, nothing won by who got it.
    growth = session.result.growth
    assert growth["cash"].tolist() == pytest.approx([1.0] * len(growth))
    assert growth["holds"].iloc[-1] == pytest.approx(520.0 / 420.0)
    assert growth["third"].dropna().tolist() == pytest.approx([1.0] * growth["third"].notna().sum())
    metrics, live = session.result.metrics_by(), session.metrics
    assert metrics.loc["third", "total_return"] == pytest.approx(0.0)
    assert metrics.loc["cash", "total_return"] == pytest.approx(0.0)
    for name in ("account", "holds", "cash", "third"):
        for figure in ("total_return", "max_drawdown", "fills", "volatility"):
            assert live.loc[name, figure] == pytest.approx(metrics.loc[name, figure], nan_ok=True), (name, figure)
    session.stop()
    assert session.verify()


# -- one alone, the others undisturbed -------------------------------------------------------------


class Swings(qf.Strategy):
    """Long and short in turn, every so many bars."""

    every = qf.Param(3, low=1, high=50)

    def on_start(self) -> None:
        self.bars_seen = 0

    def on_bar(self, bar: Bar) -> None:
        self.bars_seen += 1
        if self.bars_seen % self.every == 0:
            self.order_target(bar.symbol, quantity=1.0 if self.bars_seen // self.every % 2 else -1.0)


class Stumbles(Swings):
    def on_bar(self, bar: Bar) -> None:
        if bar.close_ns > START_NS + 40 * 60 * SECOND:
            raise ZeroDivisionError("on purpose")
        super().on_bar(bar)


def fills_of(engine: Engine, *names: str) -> list[tuple[object, ...]]:
    """All but the ids, which count through all strategies."""
    fills = [one for one in engine.records.fills if one.strategy in names]
    return [(one.strategy, str(one.side), one.quantity, one.price, one.fee, one.time_ns) for one in fills]


@pytest.mark.parametrize("netting", [False, True])
@pytest.mark.parametrize("what", ["pause", "pause and resume", "stop", "flatten", "fail"])
def test_the_others_run_on_as_if_there_had_been_no_other(what: str, netting: bool) -> None:
    """Of three, one is paused, stopped, flattened or raises; the fills and equity of the others are those of a run of two."""
    events: list[Event] = [flat(index, 100.0 + index % 7) for index in range(80)]
    at_ns = events[40].received_ns
    commands: dict[str, list[Event]] = {
        "pause": [Pause(at_ns, "c")],
        "pause and resume": [Pause(at_ns, "c"), Resume(at_ns + 600 * SECOND, "c")],
        "stop": [Stop(at_ns, "c")],
        "flatten": [Flatten(at_ns, "c")],
        "fail": [],
    }

    def play(names: str, extra: list[Event]) -> Engine:
        kinds = {"a": Swings(every=3), "b": Swings(every=5), "c": (Stumbles if what == "fail" else Swings)(every=2)}
        chosen = {name: kinds[name] for name in names}
        engine = Engine(chosen, cash=1000.0 * len(names), netting=netting and names != "ab")
        timed = sorted([*events, *extra], key=lambda event: event.received_ns)
        engine.process_all(timed)
        engine.process(Stop(engine.clock_ns))
        return engine

    three, two = play("abc", commands[what]), play("ab", [])
    c = [one for one in three.records.fills if one.strategy == "c"]
    until_ns = max(one.time_ns for one in c)
    expected = {"pause": False, "stop": False, "flatten": False, "fail": False, "pause and resume": True}[what]
    assert (until_ns > at_ns + 120 * SECOND) == expected
    assert three.desks["a"].state == three.desks["b"].state == "stopped"
    if not netting:
        assert fills_of(three, "a", "b") == fills_of(two, "a", "b")
        assert [row[2:4] for row in three.records.equity] == [row[2:4] for row in two.records.equity]
    else:
        # Prices and costs depend on who else trades; what is traded does not.
        assert [one[:3] for one in sorted(fills_of(three, "a"), key=lambda one: one[5])] == [
            one[:3] for one in fills_of(two, "a")
        ]


# -- joining --------------------------------------------------------------------------------------


def test_a_session_of_one_gets_a_second_and_is_resumed(tmp_path: Path) -> None:
    """The account's column was the only one; from now on there are three, and the first strategy's past is the account's."""
    feed = HandFeed()
    session = qf.paper(
        {"first": Holds(quantity=10.0)}, feed, cash=1000.0, journal=tmp_path, costs=qf.Costs.ideal()
    ).start()
    given(feed, session, *[flat(index, 10.0) for index in range(6)], flat(6, 12.0))
    session.add(Holds, share=0.25, risk=qf.RiskLimits(max_position_weight=0.1))
    session.pause("Holds").resume("Holds").set("Holds", quantity=50.0)
    given(feed, session, *[flat(index, 12.0 + index % 2) for index in range(7, 14)])
    assert session.transfers["amount"].tolist() == [pytest.approx(0.25 * 1020.0)]
    equity = session.equity
    before = equity.iloc[:7]
    assert before["first"].tolist() == before["account"].tolist()
    assert before["Holds"].isna().all()
    # The limit of its own: a tenth of 255 at 13 is 1.96, not the 50 that it was set to want.
    fill = session.fills[session.fills["strategy"] == "Holds"].iloc[0]
    assert fill["quantity"] * 13.0 <= 25.5 * 1.0001
    assert session.snapshot.strategies[1].parameters == {"quantity": 50.0}
    live, done = session.metrics, session.result.metrics_by()
    for name in ("account", "first", "Holds"):
        for figure in ("total_return", "volatility", "max_drawdown", "value_at_risk", "rolling_return"):
            if figure in done.columns:
                assert live.loc[name, figure] == pytest.approx(done.loc[name, figure], nan_ok=True), (name, figure)
    rolling = session.result.rolling(3, "Holds")
    assert len(rolling) == len(session.equity)
    assert session.metrics_by(window=3).loc["Holds", "rolling_volatility"] == pytest.approx(
        rolling["rolling_volatility"].iloc[-1], nan_ok=True
    )
    session.suspend()
    path = session.journal_path
    assert path is not None
    feed = HandFeed()
    again = qf.resume(path, feed=feed, alerts=[qf.alerts.Drawdown(0.5, strategy="Holds")]).start()
    assert [view.name for view in again.snapshot.strategies] == ["first", "Holds"]
    given(feed, again, *[flat(index, 14.0) for index in range(14, 18)])
    again.stop()
    verdict = again.verify()
    assert verdict, verdict.text
    assert list(again.equity.columns) == ["account", "first", "Holds"]
    assert len(again.equity) > len(equity)
    assert again.equity["Holds"].notna().sum() > equity["Holds"].notna().sum()
    assert repr(again)
    assert again.result._repr_html_()
    assert not again.positions.empty


def test_what_cannot_join_is_refused_in_the_cell_and_the_session_runs_on() -> None:
    feed = HandFeed()
    session = qf.paper({"first": Holds(quantity=90.0)}, feed, cash=1000.0, costs=qf.Costs.ideal()).start()
    given(feed, session, *[flat(index, 10.0) for index in range(8)])
    with pytest.raises(SessionError, match=r"cannot begin with 200.00: free are first 100.00"):
        session.add(Holds, cash=200.0)
    session.add(Holds, "second", cash=60.0)
    with pytest.raises(SessionError, match=r"60.00 is promised to strategies that join"):
        session.add(Holds, cash=60.0)
    with pytest.raises(SessionError, match=r"'second' is taken, by a strategy that is running"):
        session.add(Holds, "second", cash=1.0)
    with pytest.raises(SessionError, match="cannot be named 'account'"):
        session.add(Holds, "account", cash=1.0)
    for wrong in ({}, {"cash": 1.0, "share": 0.1}, {"cash": -1.0}, {"share": 1.0}, {"cash": 1.0, "risk": 0.5}):
        with pytest.raises(ParameterError):
            session.add(Holds, **wrong)  # type: ignore[arg-type]
    # One that is stopped before it began never gets money, and its name is gone.
    session.stop("second")
    given(feed, session, flat(8, 10.0))
    assert session.transfers.empty
    assert session.snapshot.strategies[1].state == "stopped"
    assert session.equity["second"].isna().all()
    with pytest.raises(SessionError, match=r"'second' is taken, by a strategy that is stopped"):
        session.add(Holds, "second", cash=1.0)
    session.add(Holds, "third", cash=60.0)
    given(feed, session, flat(9, 10.0), flat(10, 10.0))
    assert session.state == "running"
    assert session.metrics_by().index.tolist() == ["account", "first", "third"]
    assert session.result.metrics_by().index.tolist() == ["account", "first", "third"]
    assert list(session.equity.columns) == ["account", "first", "third", "second"]
    assert session.equity["third"].iloc[-1] == pytest.approx(60.0)
    session.stop()
    assert session.verify()
    with pytest.raises(SessionError, match="only a running one"):
        session.add(Holds, cash=1.0)


def test_a_stopped_one_hands_its_cash_to_its_successor() -> None:
    """Stopped flat with 500: half of the account's 1,000 joins again, 250 from each."""
    feed = HandFeed()
    session = qf.paper({"old": Holds(quantity=0.0), "other": Holds(quantity=0.0)}, feed, cash=1000.0).start()
    given(feed, session, flat(0, 10.0), flat(1, 10.0))
    session.stop("old").add(Holds(quantity=3.0), "new", share=0.5)
    given(feed, session, flat(2, 10.0), flat(3, 10.0), flat(4, 10.0))
    books = session.read(lambda engine: {name: desk.book.equity for name, desk in engine.desks.items()})
    assert books["old"] == books["other"] == 250.0
    states = {view.name: view.state for view in session.snapshot.strategies}
    assert states == {"old": "stopped", "other": "running", "new": "running"}
    session.stop()
    assert session.verify()


def playing(strategies: dict[str, qf.Strategy], events: list[Event], **settings: object) -> Engine:
    settings = {"cash": 1000.0, "costs": qf.Costs.ideal()} | settings
    engine = Engine(strategies, resolve=lambda to: {"holds": Holds, "swings": Swings}[to], **settings)  # type: ignore[arg-type]
    engine.process_all(events)
    return engine


def test_what_is_not_free_comes_when_it_is() -> None:
    """900 of 1,000 are tied up in a limit order that works: 100 come at once, the other 500 once it is cancelled."""

    class Ties(qf.Strategy):
        def on_start(self) -> None:
            self.count = 0

        def on_bar(self, bar: Bar) -> None:
            self.count += 1
            if self.count == 3:
                self.order_id = self.buy("A", quantity=90.0, limit_price=9.0)
            if self.count == 6:
                self.cancel(self.order_id)

    events: list[Event] = [flat(index, 10.0) for index in range(12)]
    events.insert(3, AddStrategy(events[2].received_ns, "late", to="holds", cash=600.0, parameters={"quantity": 1.0}))
    engine = playing({"ties": Ties()}, events)
    paid = [(one.time_ns, one.amount) for one in engine.records.transfers]
    assert paid == [(flat(2, 10.0).close_ns, pytest.approx(100.0)), (flat(5, 10.0).close_ns, pytest.approx(500.0))]
    late = engine.desks["late"]
    assert late.strategy.told == [(pytest.approx(500.0), 0.0)]  # type: ignore[attr-defined]
    assert late.book.equity == pytest.approx(600.0)
    assert engine.joiners == {}
    engine.measure()
    curve = engine.scorecard.strategies["late"].curve
    assert (curve.starting_equity, curve.equity, curve.max_drawdown) == pytest.approx((100.0, 100.0, 0.0))


def test_one_that_gives_all_it_has_keeps_the_figures_of_its_time() -> None:
    """Alone with 1,000, it earns 2 % and then hands all of it to its successor."""
    feed = HandFeed()
    session = qf.paper({"old": Holds(quantity=10.0)}, feed, cash=1000.0, costs=qf.Costs.ideal()).start()
    given(feed, session, *[flat(index, 10.0) for index in range(6)], flat(6, 12.0))
    session.flatten("old")
    given(feed, session, flat(7, 12.0))
    session.stop("old").add(Holds(quantity=0.0), "new", cash=1020.0)
    given(feed, session, *[flat(index, 13.0) for index in range(8, 14)])
    live, done = session.metrics, session.result.metrics_by()
    assert session.read(lambda engine: engine.desks["old"].book.equity) == 0.0
    for frame in (live, done):
        assert frame.loc["old", "total_return"] == pytest.approx(0.02)
        assert frame.loc["new", "total_return"] == pytest.approx(0.0)
        assert frame.loc["account", "total_return"] == pytest.approx(0.02)
    assert live.loc["old", "volatility"] == pytest.approx(done.loc["old", "volatility"])
    assert live.loc["old", "value_at_risk"] == pytest.approx(done.loc["old", "value_at_risk"], nan_ok=True)
    session.stop()
    assert session.verify()


def test_what_is_given_away_is_no_drawdown_to_an_alert_and_a_watch_list_has_nothing_to_give() -> None:
    feed = HandFeed()
    rules = [qf.alerts.Drawdown(0.1, strategy=name, every_s=0.0) for name in ("giver", "other")]
    strategies = {"giver": Holds(quantity=0.0), "other": Holds(quantity=45.0)}
    session = qf.paper(strategies, feed, cash=1000.0, costs=qf.Costs.ideal(), alerts=rules).start()
    given(feed, session, *[flat(index, 10.0) for index in range(7)])
    session.add(Holds(quantity=0.0), cash=400.0)
    given(feed, session, flat(7, 10.0), flat(8, 10.0), flat(9, 8.0), flat(10, 8.0), flat(11, 8.0))
    assert session.snapshot.strategies[0].equity == pytest.approx(500.0 - 400.0 * 500 / 550)
    session.stop()
    assert session.journal_path is not None
    with JournalReader(session.journal_path) as reader:
        told = [(one.strategy, round(one.value, 3)) for one in reader.alerts()]
    # It had 45 A at 10 and 13.64 in cash left; 90 of 463.64 are lost.
    assert told == [("other", 0.194)]
    watching = qf.watch("A", feed=HandFeed())
    try:
        with pytest.raises(SessionError, match="has no capital"):
            watching.add(Holds, cash=1.0)
    finally:
        watching.stop()


def test_a_drawdown_limit_counts_no_transfer_and_that_of_a_newcomer_counts_from_its_capital() -> None:
    """Both lose a fifth on what they hold: the giver 4 % of what it has left, the newcomer 15 %, over its limit of 10 %."""
    events: list[Event] = [flat(index, 10.0 if index < 8 else 8.0) for index in range(14)]
    limits = {"max_drawdown": 0.1}
    at_ns = events[3].received_ns
    events.insert(4, AddStrategy(at_ns, "new", to="holds", cash=400.0, parameters={"quantity": 30.0}, risk={**limits}))
    engine = playing({"giver": Holds(quantity=12.0)}, events, risk=qf.RiskLimits(**limits))
    assert engine.desks["giver"].book.equity == pytest.approx(600.0 - 24.0)
    stops = [(one.strategy, one.limit_name, round(one.value, 9)) for one in engine.records.stops]
    assert stops == [("new", "max_drawdown", 0.15)]


def test_two_that_join_at_once_and_an_allocation_that_goes_on() -> None:
    step = 6 * 3600 * SECOND

    def long(index: int, price: float) -> Bar:
        return Bar("A", "6h", price, price, price, price, 1e9, START_NS + index * step, START_NS + (index + 1) * step)

    events: list[Event] = [long(index, 10.0) for index in range(30)]
    at_ns = events[5].received_ns
    adds = [AddStrategy(at_ns, name, to="holds", cash=250.0, parameters={"quantity": 0.0}) for name in ("c", "d")]
    events[6:6] = adds
    strategies = {"a": Holds(quantity=0.0), "b": Holds(quantity=0.0)}
    fixed = playing(strategies, events, allocation=qf.Allocation("fixed", every="1d"), shares={"a": 0.75, "b": 0.25})
    # A quarter each came from a and b as 3 to 1; the fixed shares are those of then, so nothing moves after.
    assert {name: desk.book.equity for name, desk in fixed.desks.items()} == pytest.approx(
        {"a": 375.0, "b": 125.0, "c": 250.0, "d": 250.0}
    )
    assert len(fixed.records.transfers) == 4
    equal = playing(
        {"a": Holds(quantity=0.0), "b": Holds(quantity=0.0)},
        events,
        allocation=qf.Allocation("inverse_volatility", every="1d", lookback=2),
        shares={"a": 0.75, "b": 0.25},
    )
    # Nothing varies: the rule can say nothing, with newcomers as without.
    assert len(equal.records.transfers) == 4
    even = playing(
        {"a": Holds(quantity=0.0), "b": Holds(quantity=0.0)},
        events,
        allocation=qf.Allocation("equal", every="1d"),
        shares={"a": 0.75, "b": 0.25},
    )
    assert {desk.book.equity for desk in even.desks.values()} == {250.0}


@for_any(
    st.lists(
        st.tuples(
            st.integers(0, 38),
            st.sampled_from(("add", "stop", "pause", "resume", "swap", "set")),
            st.integers(0, 4),
            st.floats(1.0, 400.0),
        ),
        max_size=10,
    ),
    st.integers(0, 1000),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_whoever_comes_and_goes_the_account_is_the_sum_and_nobody_profits_from_a_transfer(
    steps: list[tuple[int, str, int, float]], seed: int, netting: bool, has_allocation: bool
) -> None:
    events: list[Event] = list(walk(40, seed, start_cents=1_000))
    commands: list[tuple[int, Event]] = []
    names = ["a", "b"]
    for place, what, whom, cash in sorted(steps, key=lambda step: step[0]):
        at_ns, name = events[place].received_ns, names[whom % len(names)]
        command: Event
        if what == "add":
            name = f"n{len(names)}"
            names.append(name)
            kind = "holds" if whom % 2 else "swings"
            command = AddStrategy(at_ns, name, to=kind, cash=cash, parameters={"quantity": 3.0} if whom % 2 else {})
        elif what == "swap":
            command = SwapStrategy(at_ns, name, to="swings", parameters={"every": 2})
        elif what == "set":
            command = SetParameters(at_ns, None, parameters={"every": 1 + whom})
        else:
            command = {"stop": Stop, "pause": Pause, "resume": Resume}[what](at_ns, name)
        commands.append((place, command))
    timed: list[Event] = []
    for place, event in enumerate(events):
        timed += [event, *[command for at, command in commands if at == place]]
    timed.append(Stop(events[-1].received_ns))
    allocation = qf.Allocation("equal", every="1h") if has_allocation else None

    def play() -> Engine:
        strategies = {"a": Holds(quantity=20.0), "b": Swings(every=4)}
        return playing(strategies, timed, costs=qf.Costs(), netting=netting, allocation=allocation)

    engine = play()
    assert not engine.exceptions, engine.exceptions
    books = [desk.book for desk in engine.desks.values()]
    assert sum(book.transferred for book in books) == pytest.approx(0.0, abs=1e-9)
    assert sum(book.starting_cash for book in books) == pytest.approx(1000.0)
    for book in books:
        balance = book.starting_cash + book.transferred + book.realised + book.unrealised - book.fees
        assert book.equity == pytest.approx(balance, rel=1e-9, abs=1e-9)
    for row in engine.records.equity:
        assert row[1] == pytest.approx(sum(row[2:]), rel=1e-12)
    last = dict(zip(engine.equity_names, engine.records.equity[-1][2:], strict=False))
    for name, equity in last.items():
        assert engine.desks[name].book.equity == pytest.approx(equity), name
    widths = [len(row) for row in engine.records.equity]
    assert widths == sorted(widths)
    engine.measure()
    for name, score in engine.scorecard.strategies.items():
        # Its return is its profit only: what it earned on what it had, transfers left out.
        if not any(fill.strategy == name for fill in engine.records.fills):
            assert score.curve.equity == pytest.approx(score.curve.starting_equity)
    again = play()
    assert again.records.equity == engine.records.equity
    assert again.records.fills == engine.records.fills
    assert again.records.transfers == engine.records.transfers


# -- on recorded data -----------------------------------------------------------------------------


def test_on_the_recorded_capture_one_joins_one_stops_and_the_journal_replays(capture_path: Path) -> None:
    """Three on a real stream; a fourth joins, the second stops, with orders crossing inside the account."""
    feed = qf.ReplayFeed(capture_path, speed=30)
    strategies = {f"s{every}": Swings(every=every) for every in (2, 3, 5)}
    session = qf.paper(strategies, feed, cash=4e6, timeframe="1s", netting=True).start()
    until(lambda: session.snapshot.fills_count > 20, 20.0)
    session.add(Swings(every=4), "late", share=0.2)
    until(lambda: session.snapshot.strategies[3].equity > 0.0, 20.0)
    session.stop("s3")
    until(lambda: any(fill.strategy == "late" for fill in session.snapshot.fills), 20.0)
    session.stop()
    verdict = session.verify()
    assert verdict, verdict.text
    fills, crossed = session.fills, session.fills[session.fills["is_crossed"]]
    assert 0 < len(crossed) < len(fills)
    signed = crossed["quantity"].where(crossed["side"] == "buy", -crossed["quantity"])
    assert signed.groupby(crossed.index).sum().abs().max() == pytest.approx(0.0, abs=1e-12)
    assert (crossed["fee"] == 0.0).all()
    assert session.transfers["amount"].sum() == pytest.approx(0.2 * 4e6, rel=0.01)
    positions = session.positions
    if len(positions):
        own = positions.drop(index="account", level="strategy").groupby(level="symbol").sum(numeric_only=True)
        net = positions.xs("account", level="strategy")
        np.testing.assert_allclose(net["quantity"], own["quantity"])
        np.testing.assert_allclose(net["unrealised"], own["unrealised"])
    # The journal's events in a bare engine give the same: nothing but the events decides.
    assert session.journal_path is not None
    events = [event for batch in read_events(session.journal_path) for event in batch]
    engine = session._plan.engine()
    engine.process_all(events)
    assert len(engine.records.fills) == len(fills)
    assert [one.price for one in engine.records.fills] == fills["price"].tolist()
