"""The one call: what stands in a text area right now."""

from pathlib import Path

import streamlit as st

from gatescope.drawing.modules import join_modules

_DRAFT = st.components.v2.component(
    "gatescope_live_text", js=join_modules(Path(__file__).parent / "live_text.js"), css=":host { display: none }"
)


def read_live_text(label: str, *, text: str, key: str) -> str:
    """The text in the area of that label, typed or committed; asks for a rerun whenever typing rests.

    `text` is what the area's own widget holds. It wins as soon as it changes, for then the draft is an old one.
    """
    typed = _DRAFT(data={"label": label}, key=key, on_text_change=lambda: None).get("text")
    kept = st.session_state.setdefault(f"{key}-kept", {"typed": None, "beside": text})
    if typed != kept["typed"]:
        kept.update(typed=typed, beside=text)
    return typed if isinstance(typed, str) and kept["beside"] == text else text
