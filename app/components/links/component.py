"""The one call: HTML whose links are followed within the session."""

import zlib
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from gatescope.drawing.modules import join_modules

_LINKS = st.components.v2.component(
    "gatescope_links",
    html='<div data-part="body"></div>',
    css="""
:host { display: block }
a { color: var(--st-link-color) }
a:focus-visible { outline: 3px solid; outline-offset: 1px }
""",
    js=join_modules(Path(__file__).parent / "links.js"),
)


def linked(html: str, *, key: str, on_follow: Callable[[str], None]) -> None:
    """Draw HTML; `on_follow` gets the `href` of a link that was clicked, before the run that the click causes.

    A click with a modifier or the middle button opens the link in another tab, as everywhere. The caller escapes every
    text that is not ours: nothing is taken out here.
    """

    def hear() -> None:
        href = st.session_state[key].get("follow")
        if isinstance(href, str):
            on_follow(href)

    _LINKS(data=zlib.compress(html.encode("utf-8", "replace")), key=key, on_follow_change=hear)
