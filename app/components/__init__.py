"""Our own Streamlit components: the matrix, alone or under the text of its tokens; and a text while it is typed."""

from gatescope.app.components.heatmap import TOKEN_FLAGS, Mark, Pick, Scale, matrix, token_matrix
from gatescope.app.components.live_text import draft

__all__ = ["TOKEN_FLAGS", "Mark", "Pick", "Scale", "draft", "matrix", "token_matrix"]
