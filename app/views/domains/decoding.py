"""Whether a document's group can be named from its experts, and what experts tell under one mix of words."""

import numpy as np
import streamlit as st

from gatescope.app.shell.figure import Words, answering, chart, figure
from gatescope.app.shell.layer_charts import notes, of_b, population
from gatescope.app.shell.messages import plain
from gatescope.app.views.domains.by_group import Groups, offer_to_compute, support_table
from gatescope.app.views.domains.decoding_figure import (
    decoding_frame,
    decoding_plot,
    decoding_takeaway,
    is_support_sure,
    support_rows,
    support_takeaway,
)
from gatescope.app.views.domains.groups_figure import PLURALS
from gatescope.routing.errors import OptionError
from gatescope.server.measures import measure


def show_decoding(groups: Groups) -> None:
    """Documents told from their experts, from their words, by chance."""
    page, by = groups.page, groups.by
    question = f"Can the {by} of a document be told from its routing?"
    with answering(question):
        routing, words_only, over = (
            measure(page.source, name, by=by, scope=page.scope)
            for name in ("label_decoding_accuracy", "word_decoding_accuracy", "decoding_gain_over_words")
        )
        if not np.isfinite(routing.value).any():
            raise OptionError(
                f"no {by} has two documents", expected=f"two documents and more of a {by}", do="choose more documents"
            )
        other = of_b(page, "label_decoding_accuracy", by=by)
        words = Words(
            question=question,
            takeaway=decoding_takeaway(routing, words_only, over, groups.names, by),
            population=population(page),
            unit="share of the documents, told in ten folds",
            null=f"dotted: always naming the largest {by}",
            badge="observed",
            metric="label_decoding_accuracy",
            says=(("From words", "the same classifier on the document's bag of words"),),
        )
        frame = decoding_frame(routing, words_only, over, groups.names, None if other is None else other[1])
        with figure(words, key="decoding", is_chart=True, frame=lambda: frame):
            shown = decoding_plot(routing, words_only, groups.names, None if other is None else other[1])
            chart(shown, words, key="decoding-chart")
        notes(routing.warnings)


def show_support(groups: Groups) -> None:
    """The table of what is left when all groups have the same words."""
    question = "What is left under one mix of words?"
    with answering(question):
        with st.spinner("Giving every group the same words"):
            support = support_table(groups)
        if support is None:
            st.subheader(question, anchor=False)
            offer_to_compute(groups, "compute-support")
            return
        rows = support_rows(support)
        words = Words(
            question=question,
            takeaway=support_takeaway(rows, groups.by),
            population=groups.page.population,
            unit="bits of one choice, beyond chance",
            null="p: the sign of how each document departs from what its words do, drawn at random",
            badge="beyond null" if is_support_sure(rows) else "observed",
            says=(
                (
                    "One mix of words",
                    f"choices are weighed so that the words which all {PLURALS[groups.by]} have often are equally "
                    "frequent in all of them. With many groups, these may be commas and digits: read it with the share "
                    "of the text.",
                ),
                (
                    "Share that is left",
                    "bits under one mix over bits as they are. Above 100 %: their different words made the groups look "
                    "more alike than they are at the same word.",
                ),
            ),
        )
        with figure(words, key="support", frame=lambda: rows):
            st.dataframe(
                rows if (rows["why_not"] != "").any() else rows.drop(columns="why_not"),
                hide_index=True,
                alt=plain(words.alt),
                column_config=_COLUMNS,
            )


_COLUMNS = {
    name: st.column_config.NumberColumn(label, format=form)
    for name, label, form in (
        ("shared_words", "shared words", "localized"),
        ("text_share", "share of the text", "percent"),
        ("plain_beyond_chance_bits", "bits beyond chance, as they are", "%.4f"),
        ("one_mix_beyond_chance_bits", "bits beyond chance, one mix of words", "%.4f"),
        ("share_left", "share that is left", "percent"),
        ("p", "p", "%.4f"),
    )
}
