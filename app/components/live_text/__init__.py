"""The text of a Streamlit text area while it is being typed: by itself, the area tells it only when it is left."""

from gatescope.app.components.live_text.component import read_live_text

__all__ = ["read_live_text"]
