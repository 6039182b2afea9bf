"""The dashboard's widgets, drawn from scenes; it knows nothing of where they come from."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import ipywidgets

from qfkit.core.chart_feed import ChartView
from qfkit.core.snapshot import Snapshot
from qfkit.views.dashboard import drift, header, risk, sheets
from qfkit.views.dashboard.candles import Candles
from qfkit.views.dashboard.controls import Controls, Steered
from qfkit.views.dashboard.equity import EquityChart
from qfkit.views.dashboard.scene import Scene
from qfkit.views.dashboard.strategies import Strategies
from qfkit.views.dashboard.theme import CLASS, style
from qfkit.views.dashboard.widgets import Outer, close_all
from qfkit.views.text import clean, symbol_decimals

__all__ = ["WINDOWS", "Board", "Kind", "still"]

Kind = Literal["full", "compact", "chart", "equity", "blotter", "risk"]
WINDOWS = (60, 120, 300)
_FIRST_WINDOW = 120
# Ages move all the time; a person reads them no faster.
_AGE_S = 0.95


class Board:
    """All widgets of one dashboard; ``box`` is the outermost.

    ``session`` gives the buttons somebody to steer; None leaves them out. ``wish`` is called when a person chose
    another symbol, timeframe or window: :attr:`symbol`, :attr:`timeframe` and :attr:`window` say which. ``token``
    names the outputs that it hides where it is drawn.
    """

    def __init__(
        self,
        kind: Kind = "full",
        session: Steered | None = None,
        *,
        symbol: str | None = None,
        tell: Callable[[str], None] | None = None,
        wish: Callable[[], None] | None = None,
        token: str = "",
    ) -> None:
        self.kind = kind
        self.symbol = symbol
        self.timeframe: str | None = None
        self.window = _FIRST_WINDOW
        self._wish = wish
        # One writer at a time: hold_sync is one flag a widget, whichever thread holds it.
        self.lock = threading.RLock()
        self._decimals: dict[str, int] = {}
        self._session = session
        self._text: dict[str, ipywidgets.HTML] = {}
        self._drawers: list[Callable[[Scene], None]] = []
        self.controls: Controls | None = None
        self.strategies: Strategies | None = None
        self.candles: Candles | None = None
        self.equity: EquityChart | None = None
        self.symbols = ipywidgets.Dropdown(options=[], tooltip="symbol")
        self.timeframes = ipywidgets.ToggleButtons(options=[], tooltip="timeframe")
        self.windows = ipywidgets.ToggleButtons(
            options=[(f"{window}", window) for window in WINDOWS], value=self.window, tooltip="bars shown"
        )
        self._is_filling = False
        self._tell: Callable[[str], None] = _unheard if tell is None else tell
        makers: dict[str, Callable[[], list[ipywidgets.Widget]]] = {
            "full": self._full,
            "compact": self._compact,
            "chart": lambda: [self._price_card(380)],
            "equity": lambda: [self._equity_card(200, 90)],
            "blotter": lambda: [self._sheet("blotter", lambda scene: sheets.blotter(scene, 25))],
            "risk": lambda: [self._sheet("risk", risk.risk), self._drift()],
        }
        parts = makers[kind]()
        words = (
            "a live dashboard, which needs a running kernel; below is what it showed last" if token else "a dashboard"
        )
        self.style = ipywidgets.HTML(style(token), layout=ipywidgets.Layout(display="block"))
        self.box = Outer([self.style, *parts], words)
        self.box.add_class(CLASS)
        if kind == "compact":
            self.box.add_class("q-small")
        for chooser in (self.symbols, self.timeframes, self.windows):
            chooser.observe(self._on_choice, names="value")

    # -- what it is made of ------------------------------------------------------------------

    def _full(self) -> list[ipywidgets.Widget]:
        if self._session is not None and self._session.snapshot.is_watch_list:
            return self._watched()
        self.strategies = Strategies(self._changer(), self.lock)
        self._drawers.append(lambda scene: self.strategies.draw(scene) if self.strategies else None)
        # The log on the left, so that both columns are about as long.
        left = ipywidgets.VBox(
            [self._price_card(360), self._equity_card(150, 84), self.strategies.box, self._sheet("log", sheets.log)]
        )
        right = ipywidgets.VBox(
            [
                self._sheet("positions", _held),
                self._sheet("blotter", sheets.blotter),
                self._sheet("risk", risk.risk),
                self._drift(),
                self._sheet("health", risk.health, _AGE_S),
            ]
        )
        return [self._head(), _columns(left, right)]

    def _watched(self) -> list[ipywidgets.Widget]:
        """A watch list: prices, alerts and how the data come; it has no book."""
        left = ipywidgets.VBox([self._price_card(360), self._sheet("log", sheets.log)])
        right = ipywidgets.VBox([self._sheet("positions", _held), self._sheet("health", risk.health, _AGE_S)])
        return [self._head(), _columns(left, right)]

    def _compact(self) -> list[ipywidgets.Widget]:
        return [
            self._head(is_small=True),
            self._price_card(220),
            self._sheet("positions", _held),
            self._sheet("log", lambda scene: sheets.log(scene, 3)),
        ]

    def _head(self, *, is_small: bool = False) -> ipywidgets.Widget:
        title = self._html("title", header.title)
        figures = self._html("figures", lambda scene: f'<div class="q-figures">{header.figures(scene)}</div>')
        # Alone, for its age changes each second where nothing else does.
        age = self._html("age", lambda scene: header.feed_age(scene.snapshot.feed), _AGE_S)
        row: list[ipywidgets.Widget] = []
        if self._session is not None:
            controls = self.controls = Controls(self._session, self._tell, self.lock, is_small=is_small)
            self._drawers.append(lambda scene: controls.draw(scene.snapshot.state))
            row.append(controls.box)
        age.layout.width = "auto"
        bar = ipywidgets.HBox([*row, age])
        bar.add_class("q-row")
        bar.add_class("q-bar-top")
        card = ipywidgets.VBox([title, figures, bar])
        card.add_class("q-card")
        return card

    def _price_card(self, height_px: int) -> ipywidgets.Widget:
        candles = self.candles = Candles(height_px)
        keys = ipywidgets.HTML()
        choosers = ipywidgets.HBox([self.timeframes, self.windows])
        choosers.add_class("q-row")
        top = ipywidgets.HBox([self.symbols, choosers])
        top.add_class("q-row")
        top.add_class("q-bar-top")
        card = ipywidgets.VBox([top, keys, candles.box])
        card.add_class("q-card")

        def draw(scene: Scene) -> None:
            self._fill_choosers(scene)
            candles.draw(scene, self.window)
            if keys.value != candles.keys:
                keys.value = candles.keys

        self._drawers.append(draw)
        return card

    def _equity_card(self, height_px: int, drawdown_px: int) -> ipywidgets.Widget:
        chart = self.equity = EquityChart(height_px, drawdown_px)
        self._drawers.append(chart.draw)
        equity, drawdown = chart.boxes
        card = ipywidgets.VBox(
            [
                ipywidgets.HTML(sheets.sheet("Equity", "")),
                equity,
                ipywidgets.HTML(sheets.sheet("Drawdown", "")),
                drawdown,
            ]
        )
        card.add_class("q-card")
        return card

    def _html(self, name: str, write: Callable[[Scene], str], every_s: float = 0.0) -> ipywidgets.HTML:
        """A part that is one piece of HTML; with ``every_s`` it is written no oftener, but where a feed's state changed."""
        widget = self._text[name] = ipywidgets.HTML()
        last: list[Any] = [None, 0.0]

        def draw(scene: Scene) -> None:
            if every_s:
                states, now_s = _feed_states(scene), time.monotonic()
                if states == last[0] and now_s - last[1] < every_s:
                    return
                last[:] = [states, now_s]
            html = write(scene)
            if widget.value != html:
                widget.value = html

        self._drawers.append(draw)
        return widget

    def _sheet(self, name: str, write: Callable[[Scene], str], every_s: float = 0.0) -> ipywidgets.HTML:
        widget = self._html(name, write, every_s)
        widget.add_class("q-card")
        return widget

    def _drift(self) -> ipywidgets.HTML:
        """No card where the session was not told its backtest."""
        widget = self._sheet("drift", drift.drift)

        def draw(scene: Scene) -> None:
            display = "none" if scene.snapshot.drift is None else None
            if widget.layout.display != display:
                widget.layout.display = display

        self._drawers.append(draw)
        return widget

    def _changer(self) -> Callable[[str, str, Any], None] | None:
        session = self._session
        if session is None:
            return None
        return lambda strategy, parameter, value: session.set(strategy, **{parameter: value})

    # -- what it shows -----------------------------------------------------------------------

    def text(self, name: str) -> str:
        """The HTML of a part: "title", "figures", "age", "positions", "blotter", "risk", "drift", "health" or
        "log"."""
        return str(self._text[name].value)

    def hide(self, name: str) -> None:
        """Leave a part out, by the names of :meth:`text`."""
        self._text[name].layout.display = "none"

    def show(self, snapshot: Snapshot, chart: ChartView, own: Sequence[tuple[int, str]] = ()) -> None:
        """Draw a snapshot; only what changed is sent. ``own`` are lines for the log."""
        for symbol, decimals in symbol_decimals(snapshot).items():
            self._decimals[symbol] = max(decimals, self._decimals.get(symbol, 0))
        scene = Scene(snapshot, chart, self._decimals, own)
        with self.lock:
            for draw in self._drawers:
                draw(scene)

    def _fill_choosers(self, scene: Scene) -> None:
        names = [view.symbol for view in scene.snapshot.symbols]
        chart = scene.chart
        self._is_filling = True
        try:
            options = [(clean(name), name) for name in names]
            if tuple(self.symbols.options) != tuple(options):
                self.symbols.options = options
            if chart.symbol in names and self.symbols.value != chart.symbol:
                self.symbols.value = chart.symbol
            if tuple(self.timeframes.options) != chart.timeframes:
                self.timeframes.options = chart.timeframes
            if chart.timeframe in chart.timeframes and self.timeframes.value != chart.timeframe:
                self.timeframes.value = chart.timeframe
        finally:
            self._is_filling = False

    def _on_choice(self, change: Any) -> None:
        with self.lock:
            if self._is_filling:
                return
            # What was chosen, and not what the widget has now: a drawing under way puts the former value back.
            chosen = change["new"]
            if change["owner"] is self.symbols:
                self.symbol = chosen or self.symbol
            elif change["owner"] is self.timeframes:
                self.timeframe = chosen or self.timeframe
            else:
                self.window = int(chosen)
        if self._wish is not None:
            self._wish()

    def close(self) -> None:
        """Close every widget, and with them their callbacks."""
        with self.lock:
            self._drawers.clear()
            close_all(self.box)


def _feed_states(scene: Scene) -> tuple[object, ...]:
    feed = scene.snapshot.feed
    return () if feed is None else (scene.snapshot.state, feed.state, *(view.state for view in feed.symbols))


def _unheard(text: str) -> None:
    """Of a still there is nothing to tell."""


def _held(scene: Scene) -> str:
    return sheets.prices(scene) if scene.snapshot.is_watch_list else sheets.positions(scene)


def still(snapshot: Snapshot, chart: ChartView | None = None, board: Board | None = None) -> Board:
    """A dashboard of one moment, without a session: ``still(snapshot, chart).box`` is the widget.

    With ``board``, one that it made before, that is drawn anew, and sends only what differs.
    """
    board = Board("full") if board is None else board
    board.show(snapshot, ChartView() if chart is None else chart)
    return board


def _columns(left: ipywidgets.VBox, right: ipywidgets.VBox) -> ipywidgets.Box:
    """Side by side, where the width allows it."""
    left.add_class("q-left")
    right.add_class("q-right")
    columns = ipywidgets.Box([left, right])
    columns.add_class("q-cols")
    return columns
