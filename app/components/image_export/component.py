"""The one call: two buttons that save the chart in a container."""

from pathlib import Path

import streamlit as st

from gatescope.drawing.modules import join_modules

_HERE = Path(__file__).parent
_PICTURE = st.components.v2.component(
    "gatescope_image_export",
    html=(
        '<div role="group" aria-label="Save the chart"><button type="button" data-kind="png">Picture (PNG)</button>'
        '<button type="button" data-kind="svg">Picture (SVG)</button></div>'
    ),
    css=(_HERE / "image_export.css").read_text("utf-8"),
    js=join_modules(_HERE / "image_export.js"),
)


def picture(container: str, *, name: str, caption: str) -> None:
    """Buttons that save the Plotly chart inside the container of that key, with a caption under it."""
    _PICTURE(data={"container": container, "name": name, "caption": caption}, key=f"{container}-picture")
