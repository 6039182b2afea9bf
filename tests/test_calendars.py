"""Market hours against the exchanges' own published ones."""

from datetime import UTC, datetime

import pandas as pd
import pytest

import qfkit as qf
from qfkit.core.events import Bar, Hours
from qfkit.errors import ParameterError
from qfkit.feeds.calendars import calendar_name, calendar_named, hours_of, is_open
from qfkit.feeds.recordings import open_recording

MINUTE = 60 * 10**9
FREE = qf.Costs(commission=0.0, slippage_bps=0.0)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("AAPL", "XNYS"), ("BRK-B", "XNYS"), ("BRK.B", None), ("VOD.L", "XLON"), ("SAP.DE", "XETR"), ("7203.T", "XTKS"),
        ("0700.HK", "XHKG"), ("BTC-USD", None), ("EURUSD=X", "us_futures"), ("ES=F", "CMES"), ("^GSPC", "XNYS"),
        ("^FTSE", "XLON"), ("aapl", "XNYS"),
    ],
)  # fmt: skip
def test_a_symbol_says_where_it_is_traded(symbol: str, name: str | None) -> None:
    assert calendar_name(symbol) == name


def test_american_shares_know_a_usual_day_a_half_day_and_a_holiday() -> None:
    calendar = calendar_named("XNYS")
    # In winter New York is five hours behind; the day after Thanksgiving ends at 13:00.
    assert calendar.sessions(at("2026-11-25"), at("2026-11-28")) == (
        (at("2026-11-25 14:30"), at("2026-11-25 21:00")),
        (at("2026-11-27 14:30"), at("2026-11-27 18:00")),
    )
    # In summer it is four.
    assert calendar.sessions(at("2026-07-06"), at("2026-07-07")) == ((at("2026-07-06 13:30"), at("2026-07-06 20:00")),)
    assert is_open("AAPL", at("2026-11-25 14:30"))
    assert not is_open("AAPL", at("2026-11-25 21:00"))
    assert not is_open("AAPL", at("2026-11-26 15:00"))
    assert is_open("BTC-USD", at("2026-11-26 15:00"))


def test_a_lunch_break_divides_a_day() -> None:
    # Hong Kong: 9:30 to 12:00 and 13:00 to 16:00, eight hours ahead of UTC.
    assert calendar_named("XHKG").sessions(at("2026-11-03"), at("2026-11-04")) == (
        (at("2026-11-03 01:30"), at("2026-11-03 04:00")),
        (at("2026-11-03 05:00"), at("2026-11-03 08:00")),
    )


def test_hours_reach_from_ten_days_before_to_twenty_after() -> None:
    now = at("2026-11-25 15:00")
    hours = hours_of("AAPL", now)
    assert hours is not None
    assert (hours.symbol, hours.calendar, hours.received_ns) == ("AAPL", "XNYS", now)
    assert hours.sessions[0][0] == at("2026-11-16 14:30")
    assert hours.sessions[-1][1] == at("2026-12-15 21:00")
    assert hours_of("BTC-USD", now) is None
    other = hours_of("BTC-USD", now, calendar="XLON")
    assert other is not None and other.calendar == "XLON"


def test_a_calendar_that_is_not_there_is_an_error_with_a_hint() -> None:
    with pytest.raises(ParameterError, match="no market calendar 'XNYX'. Did you mean 'XNYS'"):
        calendar_named("XNYX")


def minutes(*texts: str, symbol: str = "AAPL") -> list[Bar]:
    return [
        Bar(symbol, "1m", 100.0 + place, 101.0 + place, 99.0 + place, 100.5 + place, 10.0, at(text), at(text) + MINUTE)
        for place, text in enumerate(texts)
    ]


class BuysOnce(qf.Strategy):
    def setup(self) -> None:
        self.is_done = False

    def on_bar(self, bar: Bar) -> None:
        if not self.is_done:
            self.buy(bar.symbol, quantity=1)
            self.is_done = True


def test_in_a_backtest_an_order_waits_for_the_open() -> None:
    # The last minute of the half day after Thanksgiving, some of the evening, and the Monday after it.
    bars = minutes("2026-11-27 17:59", "2026-11-27 18:00", "2026-11-27 23:00", "2026-11-30 14:30", "2026-11-30 14:31")
    waits = qf.backtest(BuysOnce(), bars, calendar="auto", costs=FREE)
    assert waits.fills["price"].tolist() == [103.0]
    assert waits.fills.index.tolist() == [pd.Timestamp("2026-11-30 14:30", tz="UTC")]
    assert "the market's hours only (XNYS)" in repr(waits)
    # Without hours the first bar that comes fills it.
    assert qf.backtest(BuysOnce(), bars, costs=FREE).fills["price"].tolist() == [101.0]
    # So it is by name, in a frame, and in a replay.
    frame = pd.DataFrame(
        [(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars],
        columns=["open", "high", "low", "close", "volume"],
        index=pd.to_datetime([bar.open_ns for bar in bars], utc=True),
    )
    assert qf.backtest(BuysOnce(), frame, timeframe="1m", calendar="XNYS", costs=FREE).fills["price"].tolist() == [
        103.0
    ]
    session = (
        qf.paper(BuysOnce(), qf.ReplayFeed(bars, speed=None, calendar="XNYS"), name="hours", costs=FREE)
        .start()
        .wait(20)
    )
    assert session.fills["price"].tolist() == [103.0]
    assert session.verify()


def test_hours_are_told_anew_before_they_end_and_once_a_week() -> None:
    days = [f"2026-{month:02}-{day:02} 15:00" for month in (3, 4, 5) for day in range(1, 29)]
    events = [event for batch in open_recording(minutes(*days), calendar="auto").batches() for event in batch]
    told = [event for event in events if isinstance(event, Hours)]
    # 1, 8, 15 and 22 March, 1, 8, 15 and 22 April (there are no 29ths), and so in May.
    assert len(told) == 12
    for one in told:
        assert one.sessions[-1][1] > one.received_ns + 12 * 24 * 60 * MINUTE
    assert events[0] is told[0]
    assert [event.received_ns for event in events] == sorted(event.received_ns for event in events)
    # A pair has none.
    assert not any(
        isinstance(event, Hours)
        for batch in open_recording(minutes(*days, symbol="BTC-USD"), calendar="auto").batches()
        for event in batch
    )
    with pytest.raises(ParameterError, match="no market calendar 'NYSE!'"):
        open_recording(minutes(*days), calendar="NYSE!")
