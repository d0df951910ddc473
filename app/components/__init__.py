"""Our own Streamlit components: the matrix, alone or under the text of its tokens."""

from app.components.carpet import TOKEN_FLAGS, Pick, Scale, matrix, token_matrix

__all__ = ["TOKEN_FLAGS", "Pick", "Scale", "matrix", "token_matrix"]
