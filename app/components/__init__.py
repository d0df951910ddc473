"""Our own Streamlit components: the matrix, alone or under the text of its tokens; and a text while it is typed."""

from gatescope.app.components.heatmap import Expert, Grid, matrix, token_matrix
from gatescope.app.components.live_text import read_live_text
from gatescope.drawing.heatmap import TOKEN_FLAGS, Mark, Pick, Scale, encode_routes, took, window_first

__all__ = [
    "TOKEN_FLAGS",
    "Expert",
    "Grid",
    "Mark",
    "Pick",
    "Scale",
    "encode_routes",
    "matrix",
    "read_live_text",
    "token_matrix",
    "took",
    "window_first",
]
