"""Captures A and B at the head of every page: chosen, swapped, cleared, and whose text the numbers are about."""

import streamlit as st

from gatescope.app.shell import address
from gatescope.server.settings import settings
from gatescope.server.sources import Source, shipped_ids, shipped_name

NOTHING = "none"
MOST_NAMED = 60


def show(source: Source, reference: Source | None) -> None:
    """Draw the choice of A and B."""
    named = offered()
    st.session_state["capture-a"] = source.id
    st.session_state["capture-b"] = reference.id if reference else NOTHING
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="captures"):
        st.selectbox(
            "Showing (A)", list(named), key="capture-a", format_func=lambda id: named[id], on_change=_take_capture
        )
        if reference is not None:
            named |= {reference.id: named.get(reference.id, reference.name[:MOST_NAMED])}
            swapped = {**address.NO_PINS, "capture": reference.id, "reference": source.id}
            st.button(
                "Swap", icon=":material/swap_horiz:", on_click=address.change, kwargs=swapped, key="swap", help=_SWAP
            )
        st.selectbox(
            "Compare with (B)",
            [NOTHING, *named],
            key="capture-b",
            format_func=lambda id: named.get(id, "none"),
            on_change=_take_reference,
        )
        if reference is not None:
            st.button(
                "Clear", icon=":material/close:", on_click=address.change, kwargs={"reference": None}, key="clear-b"
            )
            if address.here() != "compare":
                st.button("Compare", on_click=address.visit, args=("compare",), key="to-compare")


_SWAP = "A becomes B, and B becomes A."


def offered() -> dict[str, str]:
    """Captures one can choose, by id: what ships with the models, and what this session has looked at."""
    shipped = {id: shipped_name(id) for model in settings().offered for id in shipped_ids(model)[:2]}
    return shipped | seen()


def seen() -> dict[str, str]:
    """The captures this session has looked at, by id, the last one first."""
    ids: dict[str, str] = st.session_state.setdefault("seen", {})
    return ids


def remember(source: Source) -> None:
    """Note that this session has looked at a capture."""
    name = " ".join(source.name.split())
    st.session_state["seen"] = {source.id: name[:MOST_NAMED]} | seen()


def own() -> str | None:
    """The capture of a visitor's own that was looked at last; None where only what ships was."""
    return next((id for id in seen() if "." not in id), None)


def say_whose(source: Source, words: str) -> None:
    """What is looked at, in `words`; of what ships with a model, that it is no text of the visitor's."""
    if "." not in source.id:
        st.caption(words)
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="row-whose"):
        st.caption(f"{words}. **The {_kind(source)}, not your text.**")
        parts = {**address.NO_PINS, "capture": own()}
        if own() is not None:
            st.button("Show mine", on_click=address.change, kwargs=parts, key="show-mine", type="tertiary")
        else:
            st.button(
                "Run my text", on_click=address.visit, args=("prompt",), kwargs=parts, key="run-mine", type="tertiary"
            )


def _kind(source: Source) -> str:
    return "probe set" if source.id.startswith("probe.") else "example"


def _take_capture() -> None:
    address.change(**address.NO_PINS | {"capture": st.session_state["capture-a"]})


def _take_reference() -> None:
    chosen = st.session_state["capture-b"]
    address.change(reference=None if chosen == NOTHING else chosen)
