"""Decoding a document's group from its routing or its words; and what remains with the same words equally often."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gatescope.analysis.labels.verdict import COVERED
from gatescope.analysis.registry import Result
from gatescope.app.charts.figure import Chart, Figure, Table
from gatescope.app.charts.formatting import SURE, in_layers, over_layers, percent, percents
from gatescope.app.charts.lines import WORDS, add_stroke, layer_axis
from gatescope.app.charts.page import measure_reference, population
from gatescope.app.charts.plots import NULL, A, B, add_line, plot
from gatescope.app.views.domains.groups_figure import PLURALS
from gatescope.app.views.domains.word_tables import Groups
from gatescope.routing.errors import OptionError

LEAST_WORDS = 5
"""Words that all groups must have often: with fewer, one comma decides."""

DECODED = ("experts", "words", "over words")
COLUMNS = {
    "shared_words": ("shared words", "localized"),
    "text_share": ("share of the text", "percent"),
    "plain_beyond_chance_bits": ("bits beyond chance, as they are", "%.4f"),
    "one_mix_beyond_chance_bits": ("bits beyond chance, same words equally often", "%.4f"),
    "share_left": ("share that is left", "percent"),
    "p": ("p", "%.4f"),
}
"""Labels and formats of what remains when every group uses the same words equally often."""


def decoding_takeaway(routing: Result, words: Result, over: Result, names: Sequence[str], by: str) -> str:
    """How often documents are predicted correctly, by what, and whether the experts show what words do not."""
    chance = float(np.nanmax(routing.null)) if routing.null is not None else float("nan")
    known_l = np.isfinite(over.value)
    above = "" if routing.low is None else f" The interval lies above that {in_layers(routing.low > chance, known_l)}."
    more = "" if over.low is None else in_layers(np.nan_to_num(over.low, nan=-1.0) > 0, known_l)
    verdict = f" The experts do significantly better than the words {more}." if more else ""
    return (
        f"From the experts of one layer, {percents(routing.value, names)} of the documents are predicted correctly; "
        f"from their words {percent(float(words.value))}, by always naming the largest {by} {percent(chance)}."
        f"{above}{verdict}"
    )


def decoding_frame(
    routing: Result, words: Result, over: Result, names: Sequence[str], other: Result | None = None
) -> pd.DataFrame:
    """One row for each layer and thing that documents are told from; `other` is capture B's routing."""
    parts = [_decoded("A", what, found, names) for what, found in zip(DECODED, (routing, words, over), strict=True)]
    if other is not None:
        parts.append(_decoded("B", DECODED[0], other, [str(at) for at in range(len(other.value))]))
    return pd.concat(parts, ignore_index=True)


def _decoded(whose: str, what: str, found: Result, names: Sequence[str]) -> pd.DataFrame:
    rows: dict[str, object] = {"capture": whose, "from": what, "layer": names}
    rows["value"] = np.broadcast_to(found.value, len(names))
    for name in ("low", "high", "null"):
        values = getattr(found, name)
        if values is not None:
            rows[name] = np.broadcast_to(values, len(names))
    return pd.DataFrame(rows)


def decoding_plot(routing: Result, words: Result, names: Sequence[str], other: Result | None = None) -> go.Figure:
    """Share of documents predicted correctly by layer: from experts with interval, words, chance; `other` is B."""
    shown = plot("layer", "documents predicted correctly")
    x = np.arange(len(names))
    if routing.null is not None:
        add_line(shown, x, np.broadcast_to(routing.null, len(names)), name="chance", ink=NULL)
    add_stroke(
        shown, x, np.full(len(names), float(words.value)), name="from words", ink=WORDS, dash="dashdot", symbol="square"
    )
    add_line(shown, x, routing.value, name="from experts (A)", ink=A, low=routing.low, high=routing.high)
    if other is not None:
        add_line(shown, np.arange(len(other.value)), other.value, name="from experts (B)", ink=B)
    layer_axis(shown, names)
    shown.update_yaxes(range=[0, 1], tickformat=".0%")
    return shown


def support_rows(support: pd.DataFrame) -> pd.DataFrame:
    """The rows of all groups together, with the columns that are read."""
    own = support[support["group"] == ""]
    return pd.DataFrame(
        {
            "layer": own["layer_name"].astype(str),
            "shared_words": own["ids"].astype(int),
            "text_share": own["covered"],
            "plain_beyond_chance_bits": own["raw_excess_bits"],
            "one_mix_beyond_chance_bits": own["standardised_excess_bits"],
            "share_left": own["left"],
            "p": own["standardised_p_value"],
            "why_not": own["reason"].astype(str),
        }
    ).reset_index(drop=True)


def is_supported(rows: pd.DataFrame) -> bool:
    """Whether the words that all groups have are enough of the text for anything to be said."""
    return bool(rows["shared_words"].max() >= LEAST_WORDS) and bool(rows["text_share"].max() >= COVERED)


def is_support_sure(rows: pd.DataFrame) -> bool:
    """Whether more than chance is left in every layer, of enough words."""
    return is_supported(rows) and bool((rows["p"] <= SURE).all())


def support_takeaway(rows: pd.DataFrame, by: str) -> str:
    """How much experts tell when every group is given the same words."""
    left_l = rows["one_mix_beyond_chance_bits"].to_numpy(np.float64)
    p_l = rows["p"].to_numpy(np.float64)
    if not np.isfinite(left_l).any():
        return f"Nothing is known: {next(iter(rows['why_not']), '') or 'no word is frequent in all of them'}."
    names, known_l = rows["layer"].tolist(), np.isfinite(p_l)
    words, covered = int(rows["shared_words"].max()), float(rows["text_share"].max())
    if not is_supported(rows):
        verb = "is" if words == 1 else "are"
        return (
            f"Too little to go by: only {words:,} word{'s' * (words != 1)} ({percent(covered)} of the text) {verb} "
            f"frequent in every {by}, and {LEAST_WORDS} words and {percent(COVERED)} of the text are needed to say "
            "anything. The table shows what was computed."
        )
    return (
        f"If every {by} had one mix of the {words:,} word{'s' * (words != 1)} that all have often "
        f"({percent(covered)} of the text), experts would still tell {over_layers(left_l, names, 'bits')} of it "
        f"beyond chance, significantly (p ≤ {SURE}) {in_layers(p_l <= SURE, known_l)}."
    )


def decoding(groups: Groups) -> Figure:
    """Documents told from their experts, from their words, by chance."""
    page, by = groups.page, groups.by
    routing, words_only, over = (
        page.measure(name, by=by)
        for name in ("label_decoding_accuracy", "word_decoding_accuracy", "decoding_gain_over_words")
    )
    if not np.isfinite(routing.value).any():
        raise OptionError(
            f"no {by} has two documents", expected=f"two documents and more of a {by}", do="choose more documents"
        )
    other = measure_reference(page, "label_decoding_accuracy", by=by)
    beside = None if other is None else other[1]
    return Figure(
        key="decoding",
        takeaway=decoding_takeaway(routing, words_only, over, groups.names, by),
        population=population(page),
        unit="share of the documents, told in ten folds",
        null=f"dotted: always naming the largest {by}",
        badge="observed",
        metric="label_decoding_accuracy",
        says=(("From words", "the same classifier on the document's bag of words"),),
        body=(Chart(decoding_plot(routing, words_only, groups.names, beside)),),
        frame=lambda: decoding_frame(routing, words_only, over, groups.names, beside),
        notes=routing.warnings,
    )


def support(groups: Groups, table: pd.DataFrame) -> Figure:
    """The table of what is left when all groups have the same words; `table` is `support_table`'s."""
    rows = support_rows(table)
    shown = rows if (rows["why_not"] != "").any() else rows.drop(columns="why_not")
    return Figure(
        key="support",
        takeaway=support_takeaway(rows, groups.by),
        population=groups.page.population,
        unit="bits of one choice, beyond chance",
        null="p: sign-flip test over documents",
        badge="beyond null" if is_support_sure(rows) else "observed",
        says=(
            (
                "Same words equally often",
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
        body=(Table(shown, COLUMNS),),
        frame=lambda: rows,
    )
