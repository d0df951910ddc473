"""The one call: put the cursor into the first field of the dialog it is drawn in."""

from pathlib import Path

import streamlit as st

from gatescope.drawing.modules import join_modules

_FOCUS = st.components.v2.component(
    "gatescope_focus", js=join_modules(Path(__file__).parent / "focus.js"), css=":host { display: none }"
)


def focus_first(key: str) -> None:
    """Put the cursor into the dialog's first field once it is drawn: Streamlit leaves it on the button that closes."""
    _FOCUS(key=f"focus-{key}")
