"""Binance spot, live and with no key."""

from qfkit.feeds.binance_frames import CaptureParser, parse_frame

__all__ = ["CaptureParser", "parse_frame"]
