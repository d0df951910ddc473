"""The sidebar of every page, below the navigation: which tokens count, and what is pinned, with ways to its pages."""

from collections import Counter
from html import escape

import streamlit as st

from gatescope.app.charts.card import visible
from gatescope.app.components.links import linked
from gatescope.app.shell import address
from gatescope.routing.groups import layer_names
from gatescope.server.sources import Source, document_of
from gatescope.server.view import View
from gatescope.studies.manifest import clean_name

NOTHING = "none"
FACET_NAMES = {
    "own": "the text's own tokens",
    "prompt": "only what was read",
    "generated": "only what was written",
    "format": "special and template tokens",
}


def show(source: Source, view: View, *, counts: bool = True) -> None:
    """Draw the sidebar; without `counts` for a page that shows one text, of which every token is seen."""
    with st.sidebar:
        if counts:
            _scope(source, view)
        _range(source, view)
        _pinned(source, view)


def _scope(source: Source, view: View) -> None:
    st.session_state["facet"] = view.facet
    st.selectbox(
        "Include tokens",
        list(FACET_NAMES),
        key="facet",
        format_func=lambda name: FACET_NAMES[name],
        on_change=_take_facet,
    )
    slices = _slices(source)
    if view.slice is not None:
        slices.setdefault(view.slice, view.slice)
    if slices:
        st.session_state["slice"] = view.slice or NOTHING
        st.selectbox(
            "Include documents",
            [NOTHING, *slices],
            key="slice",
            format_func=lambda name: slices.get(name, f"all {len(source.record.documents):,}"),
            on_change=_take_slice,
        )


def _range(source: Source, view: View) -> None:
    if view.span is not None:
        where = f" of document {view.document or 0}" if len(source.record.documents) > 1 else ""
        st.markdown(f"**Range:** tokens {view.span.first} to {view.span.last}{where}. Every number is of these.")
        st.button("Clear the range", on_click=address.change, kwargs={"span": None})


def _slices(source: Source) -> dict[str, str]:
    """Each label that some but not all documents have, with how many."""
    found: dict[str, str] = {}
    for kind in ("domain", "language"):
        counts = Counter(getattr(document, kind) for document in source.record.documents)
        if len(counts) > 1:
            found |= {
                f"{kind}:{name}": f"{clean_name(name)} ({number:,})" for name, number in sorted(counts.items()) if name
            }
    return found


def _pinned(source: Source, view: View) -> None:
    if view.token is None and view.layer is None and view.expert is None:
        return
    rows = []
    if view.token is not None:
        record = document_of(source, view.document or 0)
        text = f"<bdi>{visible(record.piece(record.token_t[view.token]))}</bdi>"
        rows.append(("Token", f'{text} <a href="{_href("token")}">{view.token}</a>'))
    if view.document is not None and len(source.record.documents) > 1:
        rows.append(("Document", f'<a href="{_href("prompt")}">{view.document}</a>'))
    if view.layer is not None:
        name = escape(layer_names(source.record.layers)[view.layer])
        rows.append(("Layer", f'<a href="{_href("layers")}">{name}</a>'))
    if view.expert is not None:
        rows.append(("Expert", f'<a href="{_href("expert")}">{view.expert}</a>'))
    facts = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in rows)
    with st.container(border=True):
        linked(f"{_STYLE}<h3>Pinned</h3><dl>{facts}</dl>", key="pinned-card", on_follow=address.visit_link)
        st.button("Unpin", on_click=address.change, kwargs=dict.fromkeys(("token", "layer", "expert")), key="release")


_STYLE = """<style>
h3 { font-size: 0.875rem; margin: 0 0 0.35rem; font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 0.8rem; margin: 0; font-size: 0.875rem; }
dt { opacity: 0.75; } dd { margin: 0; overflow-wrap: anywhere; } i { font-style: normal; opacity: 0.6; }
a { display: inline-block; min-width: 24px; min-height: 24px; }
</style>"""


def _href(page: str) -> str:
    return escape(address.link(page))


def _take_facet() -> None:
    address.change(facet=st.session_state["facet"])


def _take_slice() -> None:
    chosen = st.session_state["slice"]
    address.change(slice=None if chosen == NOTHING else chosen, span=None)
