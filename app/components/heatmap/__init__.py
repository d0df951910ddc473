"""A matrix of numbers on a canvas: every cell can be seen, hovered, picked and reached by keyboard.

scale.py     what the colours mean: ends, unit, null value, palette, pooling
overlay.py   what lies over the cells: glyphs, faintness, where keys stop
encode.py    numbers to one byte a cell, and everything the browser needs in one message
hues.py      the colours of experts
routes.py    which experts ran for each token, in bytes
grid.py      the grid of experts beside a text, and the fragment that sends it routes
events.py    what the browser may say: a pick, a range of columns, a row, an expert
component.py the two Streamlit calls, `matrix` and `token_matrix`
*.js *.html *.css   the browser's half: modules from heatmap.js, pin.js and feed.js on, joined by Python; no build step
"""

from gatescope.app.components.heatmap.component import Options, matrix, token_matrix
from gatescope.app.components.heatmap.encode import TOKEN_FLAGS
from gatescope.app.components.heatmap.events import Pick
from gatescope.app.components.heatmap.grid import Expert, Grid
from gatescope.app.components.heatmap.overlay import Mark
from gatescope.app.components.heatmap.routes import encode_routes, took, window_first
from gatescope.app.components.heatmap.scale import Scale

__all__ = [
    "TOKEN_FLAGS",
    "Expert",
    "Grid",
    "Mark",
    "Options",
    "Pick",
    "Scale",
    "encode_routes",
    "matrix",
    "token_matrix",
    "took",
    "window_first",
]
