"""Plain words on the page: errors in their three parts, notices, and text that is never taken for markup."""

import string

import streamlit as st

from gatescope.routing.errors import GatescopeError

_ESCAPES = str.maketrans({mark: f"\\{mark}" for mark in string.punctuation} | {"\n": "  \n"})


def plain(text: str) -> str:
    r"""Foreign text for a place that reads Markdown: every mark that could mean something is escaped.

    >>> plain("**[x](y)** <b>")
    '\\*\\*\\[x\\]\\(y\\)\\*\\* \\<b\\>'
    """
    return text.translate(_ESCAPES)


def show_error(error: GatescopeError) -> None:
    """An error as found, expected, do."""
    st.error(
        f"**Found:** {plain(error.found)}  \n**Expected:** {plain(error.expected)}  \n**Do:** {plain(error.do)}",
        icon=":material/error:",
    )


def show_notices(notices: tuple[str, ...]) -> None:
    """Sentences the reader should know, one box together."""
    if notices:
        st.warning("  \n".join(map(plain, notices)), icon=":material/info:")
