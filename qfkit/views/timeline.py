"""A session at any of its moments, gone through with a slider."""

from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias
from uuid import uuid4

import ipywidgets

from qfkit.core.snapshot import Snapshot
from qfkit.inspection.times import short_stamp
from qfkit.inspection.tour import Stop
from qfkit.ipython import is_kernel
from qfkit.tables import time_index
from qfkit.views.dashboard import Board, still
from qfkit.views.dashboard.fallback import picture
from qfkit.views.dashboard.widgets import close_all
from qfkit.views.raster import PICTURE_WIDTH, png_uri
from qfkit.views.terminal import plain_line
from qfkit.views.text import clean, money, signed_money, signed_percent

if TYPE_CHECKING:
    import pandas

__all__ = ["Render", "Timeline"]

Render: TypeAlias = Callable[[Snapshot], Any]
"""What draws a snapshot: it returns a widget, a text of HTML, or anything that shows itself as HTML."""

_STEP_MS = 400
_CELL = "padding:2px 14px 2px 0;text-align:"


class Timeline:
    """The moments of a session, in order; made by ``session.timeline()``. In a notebook it shows the dashboard as it
    was at each, with a slider (arrow keys move it), a play button and buttons to the fills and refusals.

    ``snapshots`` are those moments' snapshots, :attr:`moments` a table of them. :meth:`show` draws by a function of yours.
    A newer one of the same session and symbol, once it is shown, takes the place of the former, whose cell goes empty
    but for the picture.
    """

    _open: ClassVar[dict[tuple[str, str], "Timeline"]] = {}

    def __init__(self, name: str, stops: Sequence[Stop]) -> None:
        self.name = name
        self.stops = tuple(stops)
        self._viewer: _Viewer | None = None
        self._token = uuid4().hex[:12]

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        return tuple(one.snapshot for one in self.stops)

    @property
    def moments(self) -> "pandas.DataFrame":
        """One row a moment, indexed by time: after how many events, the equity, and what happened ("" for nothing of note)."""
        import pandas

        rows = [(one.snapshot.events, one.snapshot.equity, one.what) for one in self.stops]
        index = time_index([one.snapshot.time_ns for one in self.stops])
        frame = pandas.DataFrame(rows, columns=["event", "equity", "what"], index=index)
        return frame.astype({"event": "int64", "equity": "float64", "what": "str"})

    def __len__(self) -> int:
        return len(self.stops)

    def show(self, render: Render | None = None) -> ipywidgets.Widget:
        """The slider over ``render(snapshot)``; None draws the dashboard."""
        return self._view(render).box

    def _view(self, render: Render | None = None) -> "_Viewer":
        return _Viewer(self.stops, _dashboard(self._token) if render is None else _by(render))

    @property
    def widget(self) -> ipywidgets.Widget:
        """What a notebook shows: the same widget in all cells."""
        if self._viewer is None:
            key = (self.name, self.stops[-1].chart.symbol)
            former = self._open.get(key)
            if former is not None:
                former.close()
            self._open[key] = self
            self._viewer = self._view()
        return self._viewer.box

    def close(self) -> None:
        """Close the widgets; shown again they are made anew."""
        if self._viewer is not None:
            self._viewer.close()
            self._viewer = None
        key = (self.name, self.stops[-1].chart.symbol)
        if self._open.get(key) is self:
            del self._open[key]

    def _ipython_display_(self) -> None:
        if not is_kernel():
            # IPython goes on with the plain text.
            raise NotImplementedError
        from IPython.display import display

        display(self.widget)  # type: ignore[no-untyped-call]
        # An output of its own, which a page that shows the widgets hides: where no kernel answers it is what is seen.
        page = {"text/plain": repr(self), "text/html": self._repr_html_()}
        display(page, raw=True)  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        first, last = self.stops[0].snapshot, self.stops[-1].snapshot
        happened = sum(1 for one in self.stops if one.what)
        return (
            f"Timeline of {clean(self.name)!r}: {len(self.stops):,} moments from {short_stamp(first.time_ns)} to "
            f"{short_stamp(last.time_ns)}, at {happened:,} of them something was filled or refused\n{plain_line(last)}"
        )

    def _repr_html_(self) -> str:
        """Without a kernel: the end as a picture, and what happened on the way."""
        last = self.stops[-1]
        happened = [one for one in self.stops if one.what]
        shown = happened[-20:]
        rows = "".join(
            f'<tr style="background:transparent"><td style="{_CELL}left">{short_stamp(one.snapshot.time_ns)}</td>'
            f'<td style="{_CELL}right">{money(one.snapshot.equity)}</td>'
            f'<td style="{_CELL}left">{escape(clean(one.what))}</td></tr>'
            for one in shown
        )
        more = f" (the last {len(shown)} of {len(happened):,})" if len(shown) < len(happened) else ""
        table = (
            f'<p style="margin:8px 0 2px"><b>What happened{more}</b></p><table style="border-collapse:collapse">'
            f'<tr style="background:transparent"><th style="{_CELL}left">time</th><th style="{_CELL}right">equity</th>'
            f'<th style="{_CELL}left">fills and refusals</th></tr>{rows}</table>'
            if rows
            else ""
        )
        page = (
            f'<div class="qfkit-still qfkit-still-{self._token}"><p style="margin:4px 0"><b>{escape(repr(self))}</b></p>'
            f"{_picture(last)}{table}</div>"
        )
        return page.encode("utf-8", "replace").decode()


def _picture(stop: Stop) -> str:
    png = picture(stop.snapshot, stop.chart)
    words = escape(
        clean(f"{stop.chart.symbol} and equity of {stop.snapshot.name} at {short_stamp(stop.snapshot.time_ns)}")
    )
    return f'<img src="{png_uri(png)}" alt="{words}" width="{PICTURE_WIDTH}" style="max-width:100%;height:auto">'


# -- drawing ---------------------------------------------------------------------------------


def _dashboard(token: str) -> Callable[[Stop], ipywidgets.Widget]:
    """The dashboard, of which only what differs is drawn anew; ``token`` names the picture that it hides."""
    board = Board("full", token=token)
    # Of a moment there is one symbol and timeframe to see.
    for chooser in (board.symbols, board.timeframes, board.windows):
        chooser.layout.display = "none"
    # What a feed said of itself is in no journal.
    board.hide("health")
    return lambda stop: still(stop.snapshot, stop.chart, board).box


def _by(render: Render) -> Callable[[Stop], ipywidgets.Widget]:
    html = ipywidgets.HTML()

    def draw(stop: Stop) -> ipywidgets.Widget:
        try:
            made = render(stop.snapshot)
        except Exception as error:  # noqa: BLE001 - whatever a user's code raises is shown where its picture would be
            html.value = f"<pre>render raised {escape(f'{type(error).__name__}: {error}')}</pre>"
            return html
        if isinstance(made, ipywidgets.Widget):
            return made
        own = getattr(made, "_repr_html_", None)
        html.value = made if isinstance(made, str) else own() if own is not None else f"<pre>{escape(repr(made))}</pre>"
        return html

    return draw


class _Viewer:
    """Slider, buttons and what they show; ``box`` is the outermost widget."""

    def __init__(self, stops: Sequence[Stop], draw: Callable[[Stop], ipywidgets.Widget]) -> None:
        self._stops = stops
        self._draw = draw
        last = len(stops) - 1
        self.slider = ipywidgets.IntSlider(
            value=last,
            min=0,
            max=max(last, 1),
            readout=False,
            tooltip="moment: the arrow keys move it",
            layout=ipywidgets.Layout(flex="1 1 240px", width="auto"),
        )
        self.play = ipywidgets.Play(min=0, max=max(last, 1), value=last, interval=_STEP_MS, show_repeat=False)
        self.back = ipywidgets.Button(description="◀ event", tooltip="to the fill or refusal before")
        self.on = ipywidgets.Button(description="event ▶", tooltip="to the next fill or refusal")
        self.label = ipywidgets.HTML()
        self.view = ipywidgets.VBox()
        self._link = ipywidgets.jslink((self.play, "value"), (self.slider, "value"))
        for button in (self.back, self.on):
            button.layout.width = "90px"
        bar = ipywidgets.HBox(
            [self.play, self.back, self.on, self.slider],
            layout=ipywidgets.Layout(width="100%", flex_flow="row wrap", align_items="center"),
        )
        self.box = ipywidgets.VBox([bar, self.label, self.view], layout=ipywidgets.Layout(width="100%"))
        self.box.add_class("qfkit-timeline")
        self.slider.observe(lambda change: self.show(int(change["new"])), names="value")
        self.back.on_click(lambda _: self._leap(-1))
        self.on.on_click(lambda _: self._leap(1))
        self.show(last)

    def show(self, place: int) -> None:
        """Draw a moment."""
        place = min(place, len(self._stops) - 1)
        stop = self._stops[place]
        drawn = self._draw(stop)
        if self.view.children != (drawn,):
            self.view.children = (drawn,)
        snapshot = stop.snapshot
        gain = f"{signed_money(snapshot.pnl)} ({signed_percent(snapshot.return_)})"
        words = (
            f"<b>{short_stamp(snapshot.time_ns)}</b> &nbsp; {place + 1:,} of {len(self._stops):,}, event {snapshot.events:,} "
            f"&nbsp; {money(snapshot.equity)} &nbsp; {gain}"
        )
        what = f"<br>{escape(clean(stop.what))}" if stop.what else ""
        self.label.value = f'<span style="font-variant-numeric:tabular-nums">{words}{what}</span>'
        self.back.disabled = self._next(place, -1) is None
        self.on.disabled = self._next(place, 1) is None

    def close(self) -> None:
        """Close every widget, and with them their callbacks."""
        self._link.close()
        close_all(self.box)

    def _next(self, place: int, step: int) -> int | None:
        places = range(place + step, len(self._stops) if step > 0 else -1, step)
        return next((one for one in places if self._stops[one].what), None)

    def _leap(self, step: int) -> None:
        place = self._next(self.slider.value, step)
        if place is not None:
            self.slider.value = place
