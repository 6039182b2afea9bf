"""The terminal's page, its summary and its plain lines, drawn from hand-made snapshots."""

import io
import re

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console

from qfkit.core.orders import Fill, Order, OrderStatus, OrderType, Side
from qfkit.core.snapshot import FeedView, PositionView, Snapshot, StrategyView, SymbolHealth, SymbolView
from qfkit.views.summary import summary
from qfkit.views.terminal import TerminalView, dashboard, plain_line
from qfkit.views.text import clean, duration, money, price_decimals, quantity, signed_money, signed_percent

SECOND = 1_000_000_000
NOW = 1_723_161_331 * SECOND  # 2024-08-08 23:55:31 UTC
HOSTILE = "\x1b[2J\x1b]0;owned\x07[red]bold[/red]\r\nsecond\u202e line"


def fill(number: int, symbol: str = "BTCUSDT", reason: str = "fast average crossed above slow") -> Fill:
    return Fill(
        fill_id=number,
        order_id=number,
        symbol=symbol,
        side=Side.BUY if number % 2 == 0 else Side.SELL,
        quantity=0.404061,
        price=61_872.35 + number,
        fee=25.0,
        time_ns=NOW - (31 - number) * 7 * SECOND,
        received_ns=NOW - (31 - number) * 7 * SECOND,
        market_price=61_872.35,
        strategy="MovingAverageCrossover",
        reason=reason,
    )


def order(number: int, **changes) -> Order:
    made = Order(
        order_id=number,
        symbol="ETHUSDT",
        side=Side.SELL,
        type=OrderType.STOP_LIMIT,
        quantity=2.5,
        strategy="MomentumRebalance",
        reason="protects the entry",
        decided_ns=NOW,
        sent_ns=NOW,
        decision_price=2_650.0,
        stop_price=2_600.0,
        limit_price=2_595.5,
        status=OrderStatus.PARTIALLY_FILLED,
        filled=0.5,
    )
    return msgspec.structs.replace(made, **changes)


def snapshot(**changes) -> Snapshot:
    """A session of two strategies in three symbols, some profit, and one bad event."""
    made = Snapshot(
        time_ns=NOW,
        events=123_456,
        starting_cash=100_000.0,
        cash=50_223.5,
        equity=100_446.99,
        realised=310.25,
        unrealised=211.74,
        fees=75.0,
        drawdown=0.0012,
        max_drawdown=0.0345,
        fills_count=31,
        trades_count=14,
        winning_trades=9,
        late_events=0,
        symbols=(
            SymbolView("BTCUSDT", 61_880.0, 0.0042, 61_879.99, NOW, 61_879.99, 61_880.0),
            SymbolView("ETHUSDT", 2_650.1, -0.0131, 2_650.3, NOW, 2_650.1, 2_650.2),
            SymbolView("SHIBUSDT", 0.00001413, 0.0, 0.00001413, NOW, None, None),
        ),
        positions=(
            PositionView("MovingAverageCrossover", "BTCUSDT", 0.404061, 61_350.0, 61_880.0, 25_003.29, 214.15, 310.25),
            PositionView("MomentumRebalance", "ETHUSDT", -9.5, 2_649.84, 2_650.1, -25_175.95, -2.41, 0.0),
        ),
        working_orders=(order(31), order(32, type=OrderType.MARKET, stop_price=None, limit_price=None, filled=0.0)),
        fills=tuple(fill(number) for number in range(11, 31)),
        strategies=(
            StrategyView("MovingAverageCrossover", "running", 50_400.0, 400.0, {"fast": 10, "slow": 30}, {}),
            StrategyView("MomentumRebalance", "paused", 50_046.99, 46.99, {"lookback": 60, "every": 20}, {}),
        ),
        equity_curve=tuple((NOW - (300 - step) * SECOND, 100_000.0 + (step * 37 % 400) + step) for step in range(300)),
        name="demo",
        state="running",
        feed=FeedView("Binance BTCUSDT, ETHUSDT", "live", 123_456, 1_362.0, 0.1, 42.0, 1, 0, 2, 0),
        messages=((NOW - SECOND, "bad data kept aside: the price is -1.0"),),
        journal_path="/home/someone/.local/share/qfkit/sessions/demo/2024-08-08_23-50-31.qfkit.sqlite",
    )
    return msgspec.structs.replace(made, **changes)


def drawn(made: Snapshot, width: int = 120, height: int = 40, encoding: str = "utf-8", color: bool = False) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    console = Console(
        file=file, width=width, height=height, force_terminal=color, color_system="truecolor" if color else None
    )
    console.print(dashboard(made), height=height)
    return raw.getvalue().decode(encoding)


def page(made: Snapshot, **arguments) -> list[str]:
    return drawn(made, **arguments).rstrip("\n").split("\n")


# -- the page ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (119, 24), (120, 40), (160, 50), (250, 80)])
def test_page_fits_and_tells_everything(width, height):
    lines = page(snapshot(), width=width, height=height)
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    for said in (
        "2024-08-08 23:55:31 UTC",  # time
        "100,446.99",  # portfolio value
        "+446.99 (+0.45 %)",  # profit and loss
        "50,223.50",  # cash
        "0.12 %",  # drawdown
        "14 (9 won)",  # trades
        "live",  # the feed: state, rate, age
        "1,362/s",
        "last 0.1 s ago",
        "2 bad",
        "61,880.00",  # last prices with change and mark
        "▲ +0.42 %",
        "2,650.10",
        "▼ -1.31 %",
        "0.00001413",
        "-9.5",  # positions
        "#32",  # working orders
        "fast average crossed",  # fills with their reason
        "bad data kept aside",
        "◐ paused",
    ):
        assert said in text, said


@pytest.mark.parametrize(("width", "height"), [(20, 5), (40, 10), (60, 15), (10, 3), (300, 3)])
def test_tiny_terminal_shows_what_fits(width, height):
    lines = page(snapshot(), width=width, height=height)
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width


def test_no_number_is_ever_cut():
    whole = set(re.findall(r"[\d,.]*\d", drawn(snapshot(), width=250, height=90)))
    for width in range(60, 200, 7):
        for number in re.findall(r"(?<![\w…])[\d,]*\d\.\d+", drawn(snapshot(journal_path=""), width=width)):
            assert number in whole, (width, number)


def test_before_the_first_event():
    empty = Snapshot(
        time_ns=0,
        events=0,
        starting_cash=100_000.0,
        cash=100_000.0,
        equity=100_000.0,
        realised=0.0,
        unrealised=0.0,
        fees=0.0,
        drawdown=0.0,
        max_drawdown=0.0,
        fills_count=0,
        trades_count=0,
        winning_trades=0,
        late_events=0,
        symbols=(),
        positions=(),
        working_orders=(),
        fills=(),
        strategies=(),
        equity_curve=(),
    )
    for width in (80, 120):
        text = drawn(empty, width=width)
        assert "waiting for the first price" in text
        assert "0.00 %" in text
        assert "1970" not in text
        assert "nan" not in text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_outputs_that_know_no_blocks(encoding):
    text = drawn(snapshot(name="réné €"), encoding=encoding)
    assert "^ +0.42 %" in text
    assert "v -1.31 %" in text
    assert "* live" in text


@pytest.mark.parametrize("width", [80, 120])
def test_foreign_text_is_harmless(width):
    hostile = snapshot(
        name=HOSTILE,
        symbols=(SymbolView(HOSTILE, 1.0, 0.0, 1.0, NOW),),
        fills=(fill(1, symbol=HOSTILE, reason=HOSTILE),),
        messages=((NOW, HOSTILE),),
        strategies=(StrategyView(HOSTILE, "failed", 1.0, 0.0, {HOSTILE: HOSTILE}, {}, fault=HOSTILE),),
        feed=FeedView(HOSTILE, "stale"),
        working_orders=(order(1, reason=HOSTILE),),
        journal_path=HOSTILE,
    )
    text = drawn(hostile, width=width)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "[red]" in text  # as it stands, not as a colour
    assert len(text.rstrip("\n").split("\n")) <= 40
    console = Console(file=io.StringIO(), width=width)
    console.print(summary(hostile, HOSTILE, (HOSTILE,)), soft_wrap=True)
    assert "\x1b" not in console.file.getvalue()
    assert "\x1b" not in plain_line(hostile)


def test_colour_is_left_out_on_request(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", drawn(snapshot(), color=True))


def test_daily_fills_show_their_dates():
    daily = snapshot(equity_curve=((NOW - 400 * 86_400 * SECOND, 100_000.0), (NOW, 100_100.0)))
    assert "2024-08-08  " in drawn(daily).split("FILLS")[1]


def test_summary_tells_the_end():
    console = Console(file=io.StringIO(), width=80)
    console.print(summary(snapshot(state="stopped"), "equal: 5 events", ("qfkit status",)), soft_wrap=True)
    text = console.file.getvalue()
    for said in (
        "100,446.99 from 100,000.00",
        "+446.99 (+0.45 %)",
        "realised +310.25, unrealised +211.74, fees 75.00",
        "3.45 % at worst, 0.12 % at the end",
        "31 fills, 14 round trips, 9 won",
        "equal: 5 events",
        "qfkit status",
        snapshot().journal_path,  # in one piece, wider than the terminal though it is
    ):
        assert said in text, said


# -- the feed's health -----------------------------------------------------------------------------

WELL = SymbolHealth("ETHUSDT", "binance", "live", events=9, connects=1, age_s=0.1, lag_p99_ms=3.2, uptime=1.0)
SILENT = SymbolHealth(
    "BTCUSDT", "binance", "stale", events=7, connects=3, reconnects=2, age_s=75.0, gaps_found=4, gaps_filled=3,
    gaps_open=1, missing=17, duplicates=12, rejected=2, rejected_reasons={"impossible value": 2}, stale_s=75.0,
    lag_p50_ms=0.4, lag_p99_ms=1_400.0, uptime=0.874,
)  # fmt: skip


def with_health(*views: SymbolHealth, **changes) -> Snapshot:
    return snapshot(feed=FeedView("Binance", "live", 16, 3.0, 0.1, symbols=views), **changes)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 50)])
def test_what_is_wrong_with_the_data_is_always_shown(width, height):
    lines = page(with_health(WELL, SILENT), width=width, height=height)
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    told = text.split("FEED HEALTH")[1]
    row = next(line for line in told.splitlines() if "BTCUSDT" in line and "stale" in line)
    for said in ("✗ stale", "1 min 15 s", "87.4 %"):
        assert said in row, said
    if width == 200:
        assert told.index("BTCUSDT") < told.index("ETHUSDT")  # what is unwell comes first
        for said in ("17", "12", "1.4 s", "2 impossible value"):
            assert said in row, said


def test_a_feed_that_is_well_gives_way_to_the_trading():
    assert "FEED HEALTH" in drawn(with_health(WELL), width=120, height=50)
    assert "FEED HEALTH" not in drawn(with_health(WELL), width=80, height=18)
    assert "FEED HEALTH" in drawn(with_health(SILENT), width=80, height=18)
    assert "FEED HEALTH" not in drawn(with_health(SymbolHealth("A", "replay", "closed")), width=120, height=50)


def test_why_nothing_happens_is_said():
    waits = "the market is closed: waits until 2024-08-09 13:30 UTC"
    waiting = StrategyView("Mine", "running", 1.0, 0.0, {"fast": 10}, {}, waiting="waits for slow of AAPL (3 bars)")
    text = drawn(
        snapshot(
            strategies=(waiting,),
            working_orders=(order(7, type=OrderType.MARKET, stop_price=None, limit_price=None, status_reason=waits),),
            symbols=(SymbolView("AAPL", 230.0, 0.0, 230.0, NOW - 7_200 * SECOND), SymbolView("B", 1.0, 0.0, 1.0, NOW)),
        ),
        width=250,
        height=60,
    )
    assert "waits for slow of AAPL (3 bars)  fast=10" in text
    assert waits in text
    assert "◐ 2 h old" in text
    assert text.count(" old") == 1


# -- plain lines ---------------------------------------------------------------------------------


class Pipe(io.TextIOWrapper):
    """An output that is no terminal."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)

    @property
    def text(self) -> str:
        return self.buffer.getvalue().decode(self.encoding)


def test_plain_lines_tell_each_fill_and_message_once():
    pipe, moment = Pipe(), [0.0]
    with TerminalView(Console(file=pipe), clock=lambda: moment[0]) as view:
        view.update(snapshot(fills=(fill(1), fill(2))))
        view.update(snapshot(fills=(fill(1), fill(2))))
        moment[0] = 10.0
        view.update(snapshot(fills=(fill(2), fill(3))))
        view.update(snapshot(fills=(fill(9),)))
    text = pipe.text
    assert "\x1b" not in text
    assert len(re.findall(r"  fill (?:BUY|SELL)", text)) == 4
    assert text.count("message: bad data") == 1
    assert "5 more fills before this" in text
    assert len(re.findall("value 100,446.99", text)) == 2  # one now, one after the interval
    assert "2024-08-08 23:52:01 UTC  fill SELL 0.404061 BTCUSDT at 61,873.35, fee 25.00" in text
    assert "fast average crossed above slow" in text


def test_plain_lines_tell_each_printed_line_once():
    pipe = Pipe()
    with TerminalView(Console(file=pipe)) as view:
        view.update(snapshot(printed=((1_700_000_000_000_000_000, "bar"),)))
        view.update(snapshot(printed=((1_700_000_000_000_000_000, "bar"), (1_700_000_000_000_000_000, "bar"))))
    assert pipe.text.count("2023-11-14 22:13:20 UTC  printed: bar\n") == 2


def test_the_parts_of_an_order_are_one_line():
    parts = tuple(msgspec.structs.replace(fill(number), order_id=7, price=100.0 + number) for number in (1, 2, 3))
    table = drawn(snapshot(fills=(*parts, fill(4)), fills_count=4), width=160).split("FILLS")[1].split("STRATEGIES")[0]
    assert table.count("BTCUSDT") == 2
    assert "1.212183" in table  # three times 0.404061
    assert "102.00" in table
    assert "75.00" in table
    assert "3 parts" in table
    pipe = Pipe()
    with TerminalView(Console(file=pipe)) as view:
        view.update(snapshot(fills=parts))
    assert "fill SELL 1.212183 BTCUSDT at 102.00, fee 75.00, in 3 parts" in pipe.text


def test_plain_lines_in_ascii():
    pipe = Pipe("ascii")
    with TerminalView(Console(file=pipe)) as view:
        view.update(snapshot(name="Zürich", fills=(fill(1, reason="fällt"),)))
    assert "f?llt" in pipe.text


def test_what_a_strategy_prints_comes_after_the_page():
    screen = Pipe()
    console = Console(file=screen, force_terminal=True, width=80, height=24)
    with TerminalView(console, plain=False) as view:
        view.update(snapshot())
        print("from elsewhere")
        view.update(snapshot(printed=((1, "from a strategy"),)))
        view.update(snapshot(printed=((1, "from a strategy"), (2, "again"), (2, "again"))))
        view.update(snapshot(printed=((2, "again"), (2, "again"), (3, "at last\x1b[2J"))))
        assert "from a strategy" not in screen.text
    assert screen.text.endswith("from elsewhere\nfrom a strategy\nagain\nagain\nat last[2J\n")
    assert screen.text.index("\x1b[?1049l") < screen.text.index("from a strategy")  # the page is closed


# -- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (money(-0.001), "0.00"),
        (money(float("nan")), "-"),
        (signed_money(0.004), "0.00"),
        (signed_money(0.25), "+0.25"),
        (signed_money(-1234.5), "-1,234.50"),
        (signed_percent(0.0), "0.00 %"),
        (signed_percent(-0.012), "-1.20 %"),
        (quantity(1200.0), "1,200"),
        (quantity(0.449523), "0.449523"),
        (quantity(0.00000001), "1e-08"),
        (quantity(-9.5), "-9.5"),
        (duration(0.23), "0.2 s"),
        (duration(200.0), "3 min 20 s"),
        (duration(1_047_600.0), "12 d 3 h"),
        (clean("a\tb\x1b[0m\u200b"), "a b[0m"),
    ],
)
def test_numbers_and_words(made, said):
    assert made == said


@pytest.mark.parametrize(
    ("prices", "decimals"),
    [
        ((61_880.0, 61_879.99), 2),
        ((0.00001413,), 8),
        ((1.0845, 1.08), 4),
        ((26.142857142857142,), 2),
        ((None, float("nan")), 2),
    ],
)
def test_decimals_of_prices(prices, decimals):
    assert price_decimals(prices) == decimals
