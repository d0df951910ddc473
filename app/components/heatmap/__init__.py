"""The heatmap as a Streamlit component.

component.py the two Streamlit calls, `matrix` and `token_matrix`
grid.py      the grid of experts beside a text, and the fragment that sends it routes
"""

from gatescope.app.components.heatmap.component import Options, matrix, token_matrix
from gatescope.app.components.heatmap.grid import Expert, Grid

__all__ = ["Expert", "Grid", "Options", "matrix", "token_matrix"]
