"""The one call: what the address of this page should say."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

import streamlit as st

from gatescope.drawing.modules import join_modules

_PLACE = st.components.v2.component(
    "gatescope_url_sync", js=join_modules(Path(__file__).parent / "url_sync.js"), css=":host { display: none }"
)


def complete_address(page: str, params: Mapping[str, str]) -> None:
    """Give the bare address of a page its parameters in place, so that one Back leads to the page before.

    Streamlit writes parameters as a new entry of the history. After a change of page there would be two: the bare
    address, and the full one.
    """
    _PLACE(data={"page": page, "said": urlencode(params)}, key="place")
