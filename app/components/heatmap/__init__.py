"""A matrix of numbers on a canvas: every cell can be seen, hovered, picked and reached by keyboard.

scale.py     what the colours mean: ends, unit, null value, palette, pooling
overlay.py   what lies over the cells: glyphs, faintness, where keys stop
encode.py    numbers to one byte a cell, and everything the browser needs in one message
events.py    what the browser may say: a pick, a range of columns, a row
component.py the two Streamlit calls, `matrix` and `token_matrix`
*.js *.html *.css   the browser's half: modules from heatmap.js and pin.js on, joined by Python; no build step
"""

from gatescope.app.components.heatmap.component import Options, matrix, token_matrix
from gatescope.app.components.heatmap.encode import TOKEN_FLAGS
from gatescope.app.components.heatmap.events import Pick
from gatescope.app.components.heatmap.overlay import Mark
from gatescope.app.components.heatmap.scale import Scale

__all__ = ["TOKEN_FLAGS", "Mark", "Options", "Pick", "Scale", "matrix", "token_matrix"]
