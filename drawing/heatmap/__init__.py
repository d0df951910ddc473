"""A matrix of numbers on a canvas: every cell can be seen, hovered, picked and reached by keyboard.

scale.py     what the colours mean: ends, unit, null value, palette, pooling
overlay.py   what lies over the cells: glyphs, faintness, where keys stop
encode.py    numbers to one byte a cell, and everything the browser needs in one message
hues.py      the colours of experts
routes.py    which experts ran for each token, in bytes
events.py    what the browser may say: a pick, a range of columns, a row, an expert
*.js *.html *.css   the browser's half: modules that any host may draw; joined by Python, no build step
"""

from gatescope.drawing.heatmap.encode import TOKEN_FLAGS
from gatescope.drawing.heatmap.events import Pick
from gatescope.drawing.heatmap.overlay import Mark
from gatescope.drawing.heatmap.routes import encode_routes, took, window_first
from gatescope.drawing.heatmap.scale import Scale

__all__ = ["TOKEN_FLAGS", "Mark", "Pick", "Scale", "encode_routes", "took", "window_first"]
