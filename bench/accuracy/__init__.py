"""How far samplers end from the converged solution.

measure        makes the runs, one row each
ratios         compares the rows with mode off
against_stock  compares them with the best stock sampler
page           writes ACCURACY.md and its plots
quick          runs a few problems, for the tests
"""

from . import page
from .measure import Cell, Row, reference
from .quick import quick_cells, quick_ratios

__all__ = ["Cell", "Row", "page", "quick_cells", "quick_ratios", "reference"]
