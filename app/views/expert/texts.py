"""The texts of one expert: its words, and the places where it worked."""

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from gatescope.analysis.labels.expert_words import Kind, Vocabulary, contexts, uses, vocabulary
from gatescope.app.components.links import linked
from gatescope.app.shell import address
from gatescope.app.shell.figure import answering, figure
from gatescope.app.shell.links import linker, place_of
from gatescope.app.shell.page import Page
from gatescope.app.views.expert import words_figure as drawn
from gatescope.app.views.expert.choice import Chosen
from gatescope.routing.errors import OptionError
from gatescope.routing.record import RoutingRecord
from gatescope.server.measures import call
from gatescope.server.sources import counted, facet_mask


def words(page: Page, chosen: Chosen) -> None:
    """The table of words, by what is read, predicted or came next."""
    with answering(drawn.WHICH):
        kind: Kind = st.session_state.get("expert-kind") or "read"
        record, found = counted(page.source, page.scope), _vocabulary(page, chosen, kind)
        said = drawn.words_words(record, found, kind, population(page, chosen))
        with figure(said, key="words", at=chosen.place, frame=lambda: drawn.words_frame(record, found)):
            _kinds()
            linked(drawn.words_html(record, found), key="words-html", on_follow=address.visit_link)
        return
    _kinds()


def _kinds() -> None:
    st.segmented_control(
        "Words by",
        list(drawn.KINDS),
        key="expert-kind",
        default=None if "expert-kind" in st.session_state else "read",
        required=True,
        format_func=drawn.KINDS.__getitem__,
        label_visibility="collapsed",
        persist_state="session",
    )


def places(page: Page, chosen: Chosen) -> None:
    """Contexts at random beside those of most weight."""
    with answering(drawn.WHERE):
        record = counted(page.source, page.scope)
        found = call(page.source, page.scope, contexts, chosen.layer, chosen.expert)
        said = drawn.contexts_words(record, found, _read(page, chosen), population(page, chosen))
        with figure(
            said,
            key="contexts",
            at=chosen.place,
            frame=lambda: drawn.contexts_frame(record, found, chosen.layer, chosen.expert),
        ):
            _both(page, record, chosen, {"At random": found.random_n, "By weight": found.top_n})


def _both(page: Page, record: RoutingRecord, chosen: Chosen, rows: dict[str, NDArray[np.intp]]) -> None:
    to_prompt = linker("prompt")

    def href(row: int) -> str:
        document, token = place_of(record, page.scope, row)
        return to_prompt(
            capture=page.source.id, document=document or None, token=token, layer=chosen.layer, span=None, slice=None
        )

    for column, (title, row_n) in zip(st.columns(2, gap="medium"), rows.items(), strict=True):
        with column:
            html = drawn.contexts_html(record, row_n, chosen.layer, chosen.expert, href, title)
            linked(html, key=f"contexts-{title}", on_follow=address.visit_link)


def population(page: Page, chosen: Chosen) -> str:
    """How many tokens the expert worked on, in words."""
    mask_t = _mask(page)
    own = int(np.count_nonzero(uses(counted(page.source, page.scope), chosen.layer, chosen.expert) & mask_t))
    return f"N = {own:,} of {int(mask_t.sum()):,} tokens"


def _read(page: Page, chosen: Chosen) -> Vocabulary | None:
    try:
        return _vocabulary(page, chosen, "read")
    except OptionError:
        return None


def _vocabulary(page: Page, chosen: Chosen, kind: Kind) -> Vocabulary:
    return call(page.source, page.scope, vocabulary, chosen.layer, chosen.expert, kind, to=f"words_{kind}")


def _mask(page: Page) -> NDArray[np.bool_]:
    return facet_mask(counted(page.source, page.scope), page.scope.facet)
