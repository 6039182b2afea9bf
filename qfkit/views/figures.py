"""What all figures of bqplot have in common."""

from typing import Any

__all__ = ["FIGURE_LOOK"]

FIGURE_LOOK: dict[str, Any] = {
    "background_style": {"fill": "transparent"},
    "min_aspect_ratio": 0.01,
    "max_aspect_ratio": 100.0,
    "padding_x": 0.0,
    "padding_y": 0.0,
    "animation_duration": 0,
    "display_toolbar": False,
}
"""Nothing but the marks, in whatever shape their box has, drawn at once."""
