"""How many tries a result is the best of, and what that takes off its Sharpe ratio."""

from math import e, exp, isfinite, log, pi, sqrt
from statistics import NormalDist

import numpy as np

from qfkit.core.wording import count, money, share
from qfkit.views.report.grids import Cell, pairs
from qfkit.views.report.page import safe
from qfkit.views.report.returns import period_returns
from qfkit.views.series import Floats
