"""A watch list: symbols and alerts on them, as a session without a strategy."""

from collections.abc import Sequence
from pathlib import Path

from qfkit.errors import ParameterError
from qfkit.feed_names import named_feed
from qfkit.feeds.base import Feed
from qfkit.journal.reader import JournalReader
from qfkit.live.alert_rules import FeedGap, FeedStale, PriceAbove, PriceBelow, PriceMove, Rule, VolumeBurst
from qfkit.live.paper import paper
from qfkit.live.session import Session
from qfkit.live.watch_only import WatchOnly

__all__ = ["given_rules", "summary_line", "watch", "watch_session"]


def watch(
    symbols: str | Sequence[str],
    *,
    alerts: object = (),
    notify: object = None,
    feed: Feed | str | None = None,
    name: str = "watch",
    timeframe: str | None = None,
    journal: Path | str | None = None,
) -> Session:
    """Watch symbols and start at once: a session with alerts and no strategy, with a journal like any other.

    - ``alerts`` and ``notify`` as in :func:`~qfkit.paper`; of a rule's symbols only those that are
      watched are ever seen.
    - ``feed`` None takes Binance for crypto pairs and Yahoo for all else; or a feed, or its name as the
      command line has it ("synthetic", "sample", a recording's path).
    - ``name``: starting a second session of a name stops the first.

    Raises :class:`ParameterError` for a rule on a symbol that is not watched, and :class:`FeedError`
    where no provider answers.
    """
    return watch_session(
        symbols, alerts=alerts, notify=notify, feed=feed, name=name, timeframe=timeframe, journal=journal
    ).start()


def watch_session(
    symbols: str | Sequence[str],
    *,
    alerts: object,
    notify: object,
    feed: Feed | str | None,
    name: str = "watch",
    timeframe: str | None = None,
    journal: Path | str | None = None,
) -> Session:
    """As :func:`watch`, and not started yet."""
    wanted = (symbols,) if isinstance(symbols, str) else tuple(symbols)
    source = feed if isinstance(feed, Feed) else named_feed("auto" if feed is None else feed, wanted)[0]
    missing = [symbol for symbol in wanted if source.symbols and symbol not in source.symbols]
    if missing:
        raise ParameterError(f"{', '.join(missing)}: not a symbol of {source.label} ({', '.join(source.symbols)})")
    session = paper(WatchOnly(), source, timeframe=timeframe, name=name, journal=journal, alerts=alerts, notify=notify)
    for rule in session.alert_rules.values():
        symbol = getattr(rule, "symbol", None)
        if symbol is not None and source.symbols and symbol not in source.symbols:
            raise ParameterError(
                f"the rule {rule.title!r} is on {symbol}, which is not watched: {', '.join(source.symbols)}"
            )
    return session


def given_rules(
    symbols: Sequence[str],
    *,
    above: Sequence[tuple[str | None, float]],
    below: Sequence[tuple[str | None, float]],
    move: float | None,
    volume: float | None,
    window_s: float | None,
    every_s: float,
) -> list[Rule]:
    """The rules of a command line. A level without a symbol is of the only one; the feed's own are always there."""
    rules: list[Rule] = []
    for kind, levels in ((PriceAbove, above), (PriceBelow, below)):
        for symbol, price in levels:
            if symbol is None and len(symbols) != 1:
                word = "above" if kind is PriceAbove else "below"
                raise ParameterError(
                    f"--{word} {price:g}: of which symbol? With several write it, as in "
                    f"--{word} {symbols[0] if symbols else 'BTCUSDT'}={price:g}"
                )
            rules.append(kind(symbol or symbols[0], price, every_s=every_s))
    if move is not None:
        rules.append(PriceMove(None, move, window_s=window_s or 300.0, every_s=every_s))
    if volume is not None:
        window = window_s or 60.0
        rules.append(VolumeBurst(None, volume, window_s=window, over_s=20.0 * window, every_s=every_s))
    return [*rules, FeedStale(every_s=every_s), FeedGap(every_s=every_s)]


def summary_line(session: Session) -> str:
    """What a watch came to, in one line."""
    assert session.journal_path is not None
    with JournalReader(session.journal_path) as reader:
        count, failed = (
            len(reader.alerts()),
            [one for one in reader.deliveries() if one.outcome in ("failed", "dropped")],
        )
    alerts = f"{count:,} alert{'' if count == 1 else 's'}"
    lost = f", {len(failed):,} not delivered" if failed else ""
    return f"{alerts}{lost} in {session.snapshot.events:,} events; journal {session.journal_path}"
