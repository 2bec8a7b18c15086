"""How far samplers end from the converged solution.

measure        runs, a row each
ratios         rows compared with mode off
against_stock  with the best stock sampler
page           ACCURACY.md and its plots
quick          a few problems, for the tests
"""

from . import page
from .measure import Cell, Row, reference
from .quick import quick_cells, quick_ratios

__all__ = ["Cell", "Row", "page", "quick_cells", "quick_ratios", "reference"]
