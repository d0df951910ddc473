"""What the page of domains and languages draws: by which label, and what experts tell of it, beyond the words too."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from gatescope.analysis.labels.common_support import common_support
from gatescope.analysis.labels.composition import composition
from gatescope.analysis.labels.profiles import OTHER
from gatescope.analysis.registry import Result
from gatescope.analysis.tally.tally import label_numbers
from gatescope.app.shell import address
from gatescope.app.shell.figure import Words, answering, chart, figure
from gatescope.app.shell.layer_charts import notes, of_b, population
from gatescope.app.shell.messages import plain
from gatescope.app.shell.page import Page
from gatescope.app.views.domains.groups_figure import (
    PLURALS,
    composition_frame,
    deviation,
    is_split_sure,
    is_surely_told,
    split_frame,
    split_notes,
    split_plot,
    split_population,
    split_takeaway,
    told_frame,
    told_plot,
    told_takeaway,
)
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names
from gatescope.routing.record import RoutingRecord
from gatescope.server.measures import LIVE_RESAMPLES, Reading, measure, note, table
from gatescope.server.memo_cache import MemoCache
from gatescope.server.sources import WHOLE, counted, facet_mask
from gatescope.server.view import LABELS

LIVE_CHOICES = 4_000_000
"""Choices of experts up to which the words' part is computed without asking: some seconds."""
SECONDS_A_CHOICE = 1.2e-6
ASKED = "words-asked"
"""For what a reader of this session wanted the words' part computed though it takes long."""

Make = Callable[[RoutingRecord, str, list[str]], pd.DataFrame]

_tables = MemoCache()
"""Tables made here, by source, what they are, label and scope."""


@dataclass(frozen=True, kw_only=True)
class Groups:
    """What is compared: a page's documents by their domain or language, and one layer that is looked at."""

    page: Page
    by: str
    layer: int

    @property
    def names(self) -> list[str]:
        """Names of the layers."""
        return layer_names(self.page.source.record.layers)


def choose_groups(page: Page) -> Groups | None:
    """Which label, and the layer pinned or told most by; None, and what to do, where there is nothing to compare."""
    by = page.view.by
    st.session_state["groups-by"] = by
    st.segmented_control(
        "Compare",
        LABELS,
        format_func=lambda each: PLURALS[each].capitalize(),
        key="groups-by",
        required=True,
        on_change=lambda: address.change(by=st.session_state["groups-by"]),
    )
    found = group_sizes(page, by)
    if len(found) < 2:
        _nothing_to_compare(page, by, list(found))
        return None
    _guessed(page, by)
    layer = page.view.layer
    if layer is None:
        told_l = measure(page.source, "mutual_information", by=by, scope=page.scope).value
        layer = int(np.nanargmax(told_l)) if np.isfinite(told_l).any() else 0
    return Groups(page=page, by=by, layer=layer)


def group_sizes(page: Page, by: str) -> Counter[str]:
    """How many documents of the scope, with tokens that count, have each label."""
    record = counted(page.source, page.scope)
    has_tokens = np.unique(record.document_t[facet_mask(record, page.scope.facet)])
    labels = (getattr(record.documents[number], by) for number in has_tokens)
    return Counter(label for label in labels if label)


def _nothing_to_compare(page: Page, by: str, found: list[str]) -> None:
    """Why two groups are missing, and the ways to some."""
    other = OTHER[by]
    what = f"only the {by} {found[0]} counts here" if found else f"no document that counts states a {by}"
    with st.container(border=True):
        st.markdown(
            plain(f"Nothing to compare: {what}. This page holds two {PLURALS[by]} and more against each other.")
        )
        with st.container(horizontal=True):
            if page.view.slice is not None or page.view.span is not None:
                parts = {"slice": None, "span": None}
                st.button("Count all documents", on_click=address.change, kwargs=parts, key="groups-all")
            if len(group_sizes(page, other)) > 1:
                st.button(
                    f"Compare {PLURALS[other]}", on_click=address.change, kwargs={"by": other}, key="groups-other"
                )
            st.button("Study a corpus with labels", on_click=address.visit, args=("library",), key="groups-library")


def _guessed(page: Page, by: str) -> None:
    """Say where labels are a program's guess; under domains, languages are what labels are shuffled within."""
    documents = counted(page.source, page.scope).documents
    guessed = sum(document.language_guessed for document in documents)
    if guessed:
        use = "" if by == "language" else " They are the strata that domains are shuffled within."
        st.caption(
            f"The language of {guessed:,} of {len(documents):,} documents was guessed by a program from their text, "
            f"not stated by their owner.{use}"
        )


def split_table(groups: Groups) -> pd.DataFrame | None:
    """What the words alone explain, by layer; None where it would take long and nobody asked for it yet.

    Errors: OptionError as `analysis.composition`.
    """
    return _made(groups, "composition", _composed)


def support_table(groups: Groups) -> pd.DataFrame | None:
    """What is told under one mix of words; None as `split_table`."""
    return _made(groups, "common_support", _supported)


def _made(groups: Groups, name: str, make: Make) -> pd.DataFrame | None:
    page = groups.page
    if page.scope == WHOLE and (before := table(page.source, f"{name}.{groups.by}")) is not None:
        return before
    record = counted(page.source, page.scope)
    asked = (page.source.id, groups.by, page.scope)
    if record.ids_tlk.size > LIVE_CHOICES and asked not in st.session_state.get(ASKED, set()):
        return None
    note(_call_of(page, name, groups.by))
    key = (*page.source.key, name, groups.by, page.scope)
    return _tables.get(key, lambda: make(record.take(facet_mask(record, page.scope.facet)), groups.by, groups.names))


def _call_of(page: Page, name: str, by: str) -> Reading:
    """How a table that is made here can be had without the page."""
    code = (
        "own = record.take(is_counted_t)\n"
        "label_d, strata_d = (\n"
        f'    label_numbers([getattr(each, by) for each in own.documents])[0] for by in ("{by}", "{OTHER[by]}")\n'
        ")\n"
        f"{name}_by_{by} = {name}(\n"
        "    own.ids_tlk, own.token_t, own.document_t, label_d, strata_d=strata_d, "
        f"permutations={LIVE_RESAMPLES}\n)"
    )
    imports = (
        f"from gatescope.analysis.labels.{name} import {name}",
        "from gatescope.analysis.tally.tally import label_numbers",
    )
    return Reading(source=page.source, scope=page.scope, code=code, imports=imports)


def offer_to_compute(groups: Groups, key: str) -> None:
    """A button where a table takes long."""
    page = groups.page
    size = counted(page.source, page.scope).ids_tlk.size

    def ask() -> None:
        st.session_state[ASKED] = st.session_state.get(ASKED, set()) | {(page.source.id, groups.by, page.scope)}

    with st.container(border=True):
        st.markdown("What the words alone explain was not computed for this choice of tokens.")
        st.button(f"Compute (about {size * SECONDS_A_CHOICE:.0f} s)", on_click=ask, key=key)


def _labels(own: RoutingRecord, by: str) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Number of each document's label, and of the other label, which labels are shuffled within."""
    labels_d, names = label_numbers([getattr(document, by) for document in own.documents])
    if len(names) < 2:
        raise OptionError(f"{len(names)} {PLURALS[by]}", expected="two", do="choose more documents")
    strata_d, _ = label_numbers([getattr(document, OTHER[by]) for document in own.documents])
    return labels_d, strata_d


def _composed(own: RoutingRecord, by: str, names: list[str]) -> pd.DataFrame:
    labels_d, strata_d = _labels(own, by)
    arrays = own.ids_tlk, own.token_t, own.document_t, labels_d
    found = composition(*arrays, strata_d=strata_d, permutations=LIVE_RESAMPLES)
    return composition_frame(found, names)


def _supported(own: RoutingRecord, by: str, names: list[str]) -> pd.DataFrame:
    labels_d, strata_d = _labels(own, by)
    arrays = own.ids_tlk, own.token_t, own.document_t, labels_d
    found = common_support(*arrays, strata_d=strata_d, permutations=LIVE_RESAMPLES)
    rows = []
    for number, layer in enumerate(found):
        parts = {key: value for key, value in layer._asdict().items() if not hasattr(value, "_asdict")}
        for part in ("raw", "standardised"):
            parts |= {f"{part}_{key}": value for key, value in getattr(layer, part)._asdict().items()}
        rows.append(
            {"layer": number, "layer_name": names[number], "group": "", "other_group": "", "q": np.nan, **parts}
        )
    return pd.DataFrame(rows)


def show_told(groups: Groups) -> None:
    """What experts tell of the group, over shuffled labels."""
    question = f"Do experts differ between {PLURALS[groups.by]}?"
    page, by = groups.page, groups.by
    with answering(question):
        found = measure(page.source, "mutual_information", by=by, scope=page.scope)
        if not np.isfinite(found.value).any():
            raise OptionError("no layer has assignments", expected="tokens that count", do="choose other tokens")
        other = of_b(page, "mutual_information", by=by)
        spread_l = deviation(_known_split(groups))
        words = Words(
            question=question,
            takeaway=told_takeaway(found, groups.names, by),
            population=population(page),
            unit="bits of one choice",
            null=f"dotted: labels shuffled among documents of one {OTHER[by]}, mean"
            + ("" if spread_l is None else " and 95 of 100 shuffles"),
            badge="beyond null" if is_surely_told(found) else "observed",
            metric="mutual_information",
        )
        beside = None if other is None else other[1]
        frame = told_frame(found, groups.names, spread_l, beside)
        with figure(words, key="told", is_chart=True, frame=lambda: frame):
            chart(told_plot(found, groups.names, spread_l, beside), words, key="told-chart")
            notes(found.warnings)


def _known_split(groups: Groups) -> pd.DataFrame | None:
    try:
        return split_table(groups)
    except OptionError:
        return None


def _told(page: Page, by: str) -> Result | None:
    """The bits that the figure beside draws, so that both say the same."""
    try:
        return measure(page.source, "mutual_information", by=by, scope=page.scope)
    except OptionError:
        return None


def show_split(groups: Groups) -> None:
    """The same bits as two parts: by the words alone, and beyond them."""
    question = "And beyond the words themselves?"
    page, by = groups.page, groups.by
    with answering(question):
        with st.spinner("Computing what the words alone explain"):
            split = split_table(groups)
        if split is None:
            st.subheader(question, anchor=False)
            offer_to_compute(groups, "compute-split")
            return
        is_part = page.source.is_cut and page.scope.is_whole and page.source.counts is not None
        shown = split_frame(split, _told(page, by), is_part=is_part)
        words = Words(
            question=question,
            takeaway=split_takeaway(shown, by),
            population=split_population(split, page.population) if is_part else page.population,
            unit="bits of one choice, beyond chance",
            null=f"at the same word: labels shuffled among documents of one {OTHER[by]}; largest p "
            f"{np.nanmax(split['given_words_p_value'].fillna(1)):.2g}",
            badge="beyond null" if is_split_sure(shown) else "observed",
            says=split_notes(shown, by),
        )
        with figure(words, key="split", is_chart=True, frame=lambda: shown):
            chart(split_plot(shown), words, key="split-chart")
