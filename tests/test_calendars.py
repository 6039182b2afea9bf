"""Market hours against the exchanges' own published ones."""

from datetime import UTC, datetime

import pytest

from qfkit.errors import ParameterError
from qfkit.feeds.calendars import calendar_name, calendar_named, hours_of, is_open


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
