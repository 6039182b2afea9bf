"""The live dashboard of a notebook: it draws snapshots with a chart view each, at most five times a second."""

from qfkit.views.dashboard.board import Board, still

__all__ = ["Board", "still"]
