"""The results of a study as tables: one row for each place of a metric's axes, with what must travel with a number."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.analysis.labels.common_support import CommonSupport
from gatescope.analysis.labels.composition import Composition
from gatescope.analysis.registry import AXES, METRICS, Result
from gatescope.analysis.statistics.permutation import q_values
from gatescope.routing.groups import layer_names
from gatescope.routing.router import RouterRule
from gatescope.studies.compute import Study, Supported
from gatescope.studies.export import json_text
from gatescope.studies.presets import PRESETS

PARTS = {
    "overall": "over all assignments",
    "raw": "over the assignments of words that every label has",
    "standardised": "over those, when every label has one mix of them",
}
INFORMATION = {
    "observed_bits": "bits that experts tell of the label, every label counting alike",
    "null_mean_bits": "what chance gives of such bits",
    "excess_bits": "such bits beyond chance",
    "z": "such bits beyond chance, in standard deviations of it",
    "p_value": "share of shuffles with as many such bits, never 0",
    "label_entropy_bits": "the most that could be told",
    "documents": "documents that such bits speak of",
    "assignments": "assignments that such bits speak of",
}
COLUMNS: dict[str, str] = {
    "layer": "number of the MoE layer, from 0",
    "layer_name": "that layer's number with its block, stack and part where they differ",
    "expert": "an expert of the layer; other_expert: the second of a pair",
    "group": "the domain or language; other_group: the second of a pair; empty: all of them together",
    "window": "tokens in a window or a lag, or what the label says",
    "rank": "a rank, or a size of a cache, from 0",
    "bin": "a bin of a histogram or a bucket of positions",
    "class": "a class of tokens",
    "value": "the metric, in its unit; empty where it is undefined",
    "low": "lower end of the 95 % interval over documents",
    "high": "upper end of it",
    "null": "what chance alone would give",
    "taken_off": "what chance alone would give, where that is taken off the value already",
    "p": "share of shuffles at least as extreme, never 0",
    "q": "p corrected for the tests of one layer",
    "of": "what the points are: documents or tokens",
    "label": "which label neighbours are compared by",
    "greatest": "the most that the value could be",
    "points": "labelled points with neighbours",
    "domain": "domain of a document, or of a block of documents",
    "language": "language of it",
    "documents": "documents in it",
    "first": "its place along the first principal component of how documents spread over experts",
    "second": "its place along the second",
    "token_id": "id of a word in the model's vocabulary",
    "token": "that word, as a JSON string",
    "z": "how characteristic the word is of the expert: shrunken log-odds over their deviation",
    "here": "tokens of the word that the expert worked on",
    "tokens": "tokens of the word in all",
    "ids": "words that every label has ten times or more",
    "covered": "share of a label's assignments that are of such words, the mean over labels",
    "least_covered": "the same of the label that has least of them",
    "alone": "share of the one mix that is a word of one label only within the other label, which can tell nothing",
    "left": "standardised over raw bits, both beyond chance",
    "reason": "why there are no such bits; empty where there are",
    **{f"{part}_{what}": f"{said}, {where}" for part, where in PARTS.items() for what, said in INFORMATION.items()},
}
"""Every column that a table may have, with its meaning; a column that a metric does not have is left out."""


def tables(study: Study, *, counts_only: bool) -> Iterator[tuple[str, pd.DataFrame]]:
    """Name and table of every result; with `counts_only`, none that names tokens."""
    for (name, by), result in study.results.items():
        if not (counts_only and names_tokens(result)):
            yield f"{name}.{by}" if by else name, result_frame(study.tally.layers, name, result)
    for by, (_, layers) in study.composition.items():
        yield f"composition.{by}", _composition_frame(study, layers)
    for by, found in study.common_support.items():
        yield f"common_support.{by}", _support_frame(study, found)
    if study.words:
        yield "expert_words", _words_frame(study)
    yield from study.more.items()
    if study.near is not None:
        yield "document_places", study.near.places
        yield "nearest_neighbours", study.near.purities


def result_frame(layers: Sequence[RouterRule], name: str, result: Result) -> pd.DataFrame:
    """One result, places outermost first; rows without a value are left out."""
    axes, shape = METRICS[name].axes, result.value.shape
    if result.places is not None:
        index: NDArray[np.integer] = result.places.T
    else:
        index = np.indices(shape).reshape(len(axes), -1) if axes else np.zeros((0, 1), int)
    columns: dict[str, object] = {}
    for letter, place in zip(axes, index, strict=True):
        columns |= _axis(layers, letter, place, result, second=AXES[letter] in columns)
    for what in ("value", "low", "high", "null", "p", "q"):
        values = getattr(result, what)
        if values is not None:
            columns["taken_off" if what == "null" and METRICS[name].is_excess else what] = np.broadcast_to(
                values, shape
            ).ravel()
    frame = pd.DataFrame(columns)
    return frame[np.isfinite(frame["value"])].reset_index(drop=True)


def _axis(
    layers: Sequence[RouterRule], letter: str, place: NDArray[np.integer], result: Result, *, second: bool
) -> dict[str, object]:
    """The columns that say where along one axis a row is."""
    title = f"other_{AXES[letter]}" if second else AXES[letter]
    if letter == "l" and result.shape[0] == len(layers):
        names = np.array(layer_names(layers), dtype=object)
        return {title: place, f"{title}_name": names[place]}
    labels = result.labels.get(letter) or (result.groups if letter in "gh" else ())
    return {title: np.array(labels, dtype=object)[place] if labels else place}


def names_tokens(result: Result) -> bool:
    """Whether labels of a result are text of the corpus."""
    return "t" in result.labels or "x" in result.labels


def _words_frame(study: Study) -> pd.DataFrame:
    """The words most clearly each expert's own; a word is written as a JSON string, so that no table takes it amiss."""
    rows = [
        (layer, expert, rank, word.token, json_text(word.piece), word.z, word.here, word.tokens)
        for layer, experts in enumerate(study.words)
        for expert, words in enumerate(experts)
        for rank, word in enumerate(words)
    ]
    return pd.DataFrame(rows, columns=["layer", "expert", "rank", "token_id", "token", "z", "here", "tokens"])


def _composition_frame(study: Study, layers: Sequence[Composition]) -> pd.DataFrame:
    """What the words alone explain of a label, a row for each layer."""
    rows = []
    for number, layer in enumerate(layers):
        parts = {name: value for name, value in layer._asdict().items() if not hasattr(value, "_asdict")}
        for name in ("label", "words", "given_words"):
            parts |= {f"{name}_{what}": value for what, value in getattr(layer, name)._asdict().items()}
        rows.append({"layer": number, "layer_name": layer_names(study.tally.layers)[number], **parts})
    return pd.DataFrame(rows)


def _support_frame(study: Study, found: Supported) -> pd.DataFrame:
    """What experts tell under one mix of words: a row for each layer of all labels, then of every two of them.

    q is over the pairs of one layer.
    """
    names = layer_names(study.tally.layers)
    compared = [("", "", found.layers)]
    compared += [(found.names[pair.first], found.names[pair.second], pair.layers) for pair in found.pairs]
    frame = pd.DataFrame(
        {"layer": number, "layer_name": names[number], "group": first, "other_group": second, **_parts(layer)}
        for first, second, layers in compared
        for number, layer in enumerate(layers)
    )
    frame["q"] = np.nan
    pairs = frame["group"] != ""
    frame.loc[pairs, "q"] = frame[pairs].groupby("layer")["standardised_p_value"].transform(q_values)
    return frame


def _parts(layer: CommonSupport) -> dict[str, object]:
    """The fields of one layer's result, those of its parts under both names."""
    parts = {f"{name}_{what}": value for name in PARTS for what, value in getattr(layer, name)._asdict().items()}
    return {name: value for name, value in layer._asdict().items() if name not in PARTS} | parts


def about(study: Study, *, model: str, corpus: str) -> dict[str, object]:
    """What study.json says: the population, what was asked, every metric with its definition, and what was skipped."""
    whole = study.tally
    tokens_f = whole.table("tokens").sum(axis=0)
    return {
        "model": model,
        "corpus": corpus,
        "lacks": list(study.lacks),
        "provenance": asdict(whole.provenance),
        "documents": whole.documents,
        "units": len(whole.units),
        "tokens": {"prompt": int(tokens_f[0]), "generated": int(tokens_f[1]), "format": int(tokens_f[2])},
        "labels": {name: dict(sorted(counts.items())) for name, counts in study.labels.items()},
        "asked": asdict(study.chosen),
        "preset": PRESETS[study.chosen.preset].says if study.chosen.preset else "",
        "metrics": {
            f"{name}.{by}" if by else name: _definition(name, result) for (name, by), result in study.results.items()
        },
        "skipped": {f"{name}.{by}" if by else name: reason for (name, by), reason in study.skipped.items()},
        "warnings": [warning._asdict() for warning in study.warnings],
        "columns": COLUMNS,
    }


def _definition(name: str, result: Result) -> dict[str, object]:
    metric = METRICS[name]
    return {
        "title": metric.title,
        "meaning": metric.meaning,
        "unit": metric.unit,
        "axes": [AXES[letter] for letter in metric.axes],
        "range": list(metric.range),
        "uniform": metric.uniform,
        "null": metric.null,
        "source": metric.source,
        "tokens": result.tokens,
        "documents": result.documents,
        "warnings": list(result.warnings),
    }
