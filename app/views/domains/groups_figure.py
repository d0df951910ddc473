"""What experts tell of a document's domain or language: layer by layer, beyond chance, and beyond the words."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.analysis.labels.composition import Composition
from gatescope.analysis.labels.verdict import COVERED, Left, strength
from gatescope.analysis.registry import Result
from gatescope.analysis.statistics.permutation import q_values
from gatescope.app.charts.formatting import SURE, chance_words, in_layers, over_layers, percent, percents
from gatescope.app.charts.lines import WORDS, add_band, add_bars, layer_axis
from gatescope.app.charts.plots import NULL, A, B, add_line, plot
from gatescope.app.components import Scale

PLURALS = {"domain": "domains", "language": "languages"}
NORMAL_95 = 1.96
LEAST_BITS = 1e-9
MUCH = 0.2
"""Share of choices at words of one group alone above which the sentence itself says so."""
LEAST_REACH = 0.05
"""The colours of differences reach at least this far, so that noise is not painted as a finding."""


def information_takeaway(found: Result, names: Sequence[str], by: str) -> str:
    """How much one choice tells of the group, and in how many layers that is more than chance."""
    null_l = np.zeros(len(names)) if found.null is None else found.null
    sentence = f"One choice of an expert tells {over_layers(found.value + null_l, names, 'bits')} of the {by}"
    if found.null is not None:
        sentence += f", where shuffled labels tell {over_layers(null_l, names)}"
    if found.q is None:
        return f"{sentence}."
    sure = in_layers(found.q <= SURE, np.isfinite(found.value) & np.isfinite(found.q))
    return f"{sentence}: significantly above chance (q ≤ {SURE}) {sure}."


def is_significant(found: Result) -> bool:
    """Whether every layer that was tested tells more than chance."""
    return found.q is not None and bool(np.isfinite(found.q).any()) and float(np.nanmax(found.q)) <= SURE


def deviation(split: pd.DataFrame | None) -> NDArray[np.float64] | None:
    """Standard deviation of what shuffled labels tell, by layer, from the bits and how many deviations they are."""
    return None if split is None else _deviation(split, "label")


def _deviation(split: pd.DataFrame, part: str) -> NDArray[np.float64]:
    excess_l, z_l = (split[f"{part}_{name}"].to_numpy(np.float64) for name in ("excess_bits", "z"))
    known_l = np.isfinite(z_l) & (z_l != 0)
    deviation_l = np.full(len(z_l), np.nan)
    np.divide(excess_l, z_l, out=deviation_l, where=known_l)
    return deviation_l


def information_frame(
    found: Result, names: Sequence[str], spread_l: NDArray[np.float64] | None, other: Result | None = None
) -> pd.DataFrame:
    """One row for each layer of A, then of B: bits in all, of chance with 95 of 100 shuffles, beyond it, p and q."""
    rows = _information_rows(found, names, "A")
    if spread_l is not None:
        reach_l = NORMAL_95 * spread_l
        rows = rows.assign(chance_low=rows["chance_bits"] - reach_l, chance_high=rows["chance_bits"] + reach_l)
    if other is None:
        return rows
    return pd.concat(
        [rows, _information_rows(other, [str(at) for at in range(len(other.value))], "B")], ignore_index=True
    )


def _information_rows(found: Result, names: Sequence[str], whose: str) -> pd.DataFrame:
    null_l = np.full(len(names), np.nan) if found.null is None else found.null
    rows: dict[str, object] = {"capture": whose, "layer": names, "bits": found.value + null_l, "chance_bits": null_l}
    rows["beyond_chance_bits"] = found.value
    return pd.DataFrame(
        rows | {name: values for name, values in (("p", found.p), ("q", found.q)) if values is not None}
    )


def information_plot(
    found: Result, names: Sequence[str], spread_l: NDArray[np.float64] | None, other: Result | None = None
) -> go.Figure:
    """Bits in all by layer, over what shuffled labels tell and 95 of 100 shuffles; `other` is capture B."""
    shown = plot("layer", "bits about the group")
    x = np.arange(len(names))
    null_l = np.zeros(len(names)) if found.null is None else found.null
    if spread_l is not None:
        add_band(shown, x, null_l - NORMAL_95 * spread_l, null_l + NORMAL_95 * spread_l, NULL)
    add_line(shown, x, null_l, name="chance", ink=NULL)
    add_line(shown, x, found.value + null_l, name="A", ink=A)
    if other is not None:
        null_m = np.zeros(len(other.value)) if other.null is None else other.null
        add_line(shown, np.arange(len(other.value)), other.value + null_m, name="B", ink=B)
    layer_axis(shown, names)
    shown.update_yaxes(rangemode="tozero")
    return shown


def composition_frame(layers: Sequence[Composition], names: Sequence[str]) -> pd.DataFrame:
    """One row for each layer, its columns named as in the table of a study."""
    rows = []
    for name, layer in zip(names, layers, strict=True):
        parts = {key: value for key, value in layer._asdict().items() if not hasattr(value, "_asdict")}
        for part in ("label", "words", "given_words"):
            parts |= {f"{part}_{key}": value for key, value in getattr(layer, part)._asdict().items()}
        rows.append({"layer_name": name, **parts})
    return pd.DataFrame(rows)


def split_frame(split: pd.DataFrame, told: Result | None = None, *, is_part: bool = False) -> pd.DataFrame:
    """What is drawn of the composition: the two parts, and what is told at the same word, its chance, p and q.

    `told` is `mutual_information` of the same tokens: then the bits beyond chance are that figure's, to the digit. With
    `is_part` the composition is of some of those tokens: then the words explain the share of the bits that they explain
    there.
    """
    label_l = split["label_excess_bits"].to_numpy(np.float64) if told is None else told.value
    words_l = split["words_excess_bits"].to_numpy(np.float64)
    if told is not None and is_part:
        words_l = label_l * split["share_excess"].to_numpy(np.float64)
    chance_l, spread_l = split["given_words_null_mean_bits"], NORMAL_95 * _deviation(split, "given_words")
    share_l = np.divide(words_l, label_l, out=np.full(len(label_l), np.nan), where=np.abs(label_l) > LEAST_BITS)
    return pd.DataFrame(
        {
            "layer": split["layer_name"].astype(str),
            "beyond_chance_bits": label_l,
            "words_alone_bits": words_l,
            "beyond_words_bits": label_l - words_l,
            "words_share": np.where(np.isfinite(split["share_excess"].to_numpy(np.float64)), share_l, np.nan),
            "agreement": split["agreement"],
            "same_word_bits": split["given_words_excess_bits"],
            "same_word_chance_bits": chance_l,
            "same_word_chance_low": chance_l - spread_l,
            "same_word_chance_high": chance_l + spread_l,
            "same_word_p": split["given_words_p_value"],
            "same_word_q": q_values(split["given_words_p_value"].to_numpy(np.float64)),
            "covered": split["covered"],
            "one_label": split["one_label"],
        }
    )


def split_takeaway(shown: pd.DataFrame, by: str) -> str:
    """How much the words alone explain, and whether experts tell the group at one and the same word."""
    names, share_l = shown["layer"].tolist(), shown["words_share"].to_numpy(np.float64)
    if not np.isfinite(share_l).any():
        return f"Experts tell no more of the {by} than chance does: there is nothing for the words to explain."
    more = int((share_l > 1).sum())
    words = f"The words alone explain {percents(np.minimum(share_l, 1), names)} of what experts tell of the {by} in all"
    if more:
        words += (
            f"; in {more} layer{'s' * (more != 1)} they alone would set the {PLURALS[by]} further apart than they are"
        )
    return f"{strength(_left_of(shown), by).says} {words}.{_same_thing(shown, by)}"


def _left_of(shown: pd.DataFrame) -> Left:
    """What is told at the same word, as evidence."""
    columns = ("same_word_bits", "same_word_chance_bits", "same_word_p", "words_share")
    bits_l, null_l, p_l, by_words_l = (shown[name].to_numpy(np.float64) for name in columns)
    covered = float(shown["covered"].min())
    return Left(bits_l=bits_l, null_l=null_l, p_l=p_l, by_words_l=by_words_l, covered=covered)


def _same_thing(shown: pd.DataFrame, by: str) -> str:
    """A warning where much of the text is words that one group alone has."""
    alone = float(shown["one_label"].max())
    if not alone > MUCH:
        return ""
    return (
        f" But {percent(alone)} of the choices are at words that one {by} alone has: there, vocabulary and {by} cannot "
        "be separated."
    )


def is_split_sure(shown: pd.DataFrame) -> bool:
    """Whether experts tell the group at the same word in every layer where that is known."""
    q_l = shown["same_word_q"].to_numpy(np.float64)
    is_enough = float(shown["covered"].min()) >= COVERED
    return is_enough and bool(np.isfinite(q_l).any()) and float(np.nanmax(q_l)) <= SURE


def split_plot(shown: pd.DataFrame) -> go.Figure:
    """The bits beyond chance of each layer as two parts, and beside them those at the same word, a test of its own."""
    found = plot("layer", "bits beyond chance")
    add_bars(found, shown["words_alone_bits"].to_numpy(), name="by the words alone", ink=WORDS, is_hatched=True)
    add_bars(found, shown["beyond_words_bits"].to_numpy(), name="beyond the words", ink=A)
    same_l = shown["same_word_bits"].to_numpy(np.float64)
    if np.isfinite(same_l).any():
        above_l = (shown["same_word_chance_high"] - shown["same_word_chance_bits"]).to_numpy(np.float64)
        add_band(found, np.arange(len(same_l)), -above_l, above_l, NULL)
        found.add_scatter(
            x=list(range(len(same_l))),
            y=same_l.astype(np.float32),
            name="at the same word",
            mode="markers",
            marker={"symbol": "diamond", "size": 10, "color": B, "line": {"width": 1, "color": "white"}},
        )
    layer_axis(found, shown["layer"].tolist())
    return found


def split_population(split: pd.DataFrame, population: str) -> str:
    """Of how much the two parts are, where the composition is of the first documents of what `population` names."""
    documents = int(split["label_documents"].max())
    return f"{population} · what the words explain: the first {documents:,} of these documents"


NO_INTERVAL = (
    "none over documents: of documents drawn anew some come twice and predict themselves, and every copy adds bits. "
    "How far chance reaches when labels are shuffled among documents is in the band, p and q"
)


def split_notes(shown: pd.DataFrame, by: str) -> tuple[tuple[str, str], ...]:
    """What is said under About of the two parts."""
    covered, alone = shown["covered"].max(), shown["one_label"].max()
    least = shown["agreement"].min()
    return (
        ("By the words alone", "bits told if every token went where its word goes in the other documents"),
        ("Beyond the words", "the rest. Below 0 where the words alone would set the groups further apart"),
        (
            "At the same word",
            f"a test of its own, not the blue part: over words frequent in two {PLURALS[by]}, {percent(covered)} of "
            "all choices; chance flips the sign of what is peculiar to each document",
        ),
        ("Interval", NO_INTERVAL),
        ("Agreement", f"of the two tables, {least:.2f} at least; near 0 or below, the first part explains nothing"),
        (f"Words of one {by} only", f"{percent(alone)} of all choices: vocabulary and {by} cannot be separated there"),
    )


class UsageDifferences(NamedTuple):
    """Experts × groups of one layer: values, what is not beyond chance, and the colours."""

    values_eg: NDArray[np.float64]
    faded_eg: NDArray[np.bool_]
    scale: Scale


def differences(found: Result, layer: int, experts: int) -> UsageDifferences:
    """The usage differences of one layer's experts, faint where q is not small."""
    values_eg = found.value[:, layer, :experts].T
    q_eg = np.full(values_eg.shape, np.nan) if found.q is None else found.q[:, layer, :experts].T
    reach = max(LEAST_REACH, float(np.nanmax(np.abs(values_eg), initial=0.0)))
    scale = Scale(
        "share of tokens, less that of all others",
        low=-reach,
        high=reach,
        null=0.0,
        palette="diverging",
        pool="far",
    )
    return UsageDifferences(values_eg, ~(q_eg <= SURE), scale)


def usage_difference_takeaway(found: Result, layer: int, names: Sequence[str], by: str) -> str:
    """The largest usage difference of a layer, and how many there are."""
    value_ge = found.value[:, layer]
    if not np.isfinite(value_ge).any():
        return f"No specialization in layer {names[layer]}: no {by} can be compared with others."
    g, expert = np.unravel_index(int(np.nanargmax(np.abs(value_ge))), value_ge.shape)
    q_ge = np.full(value_ge.shape, np.nan) if found.q is None else found.q[:, layer]
    sure, tested = int((q_ge <= SURE).sum()), int(np.isfinite(q_ge).sum())
    return (
        f"Layer {names[layer]}: the largest usage difference is expert {expert}'s, "
        f"{value_ge[g, expert]:+.2f} for {found.groups[g]} "
        f"({chance_words('q', float(q_ge[g, expert]))}). {sure} of {tested} cells are significant (q ≤ {SURE})."
    )


def usage_difference_frame(found: Result, share: Result, layer: int, by: str) -> pd.DataFrame:
    """One row for each group and expert of a layer: its share and usage difference, with intervals; null, p, q."""
    groups, experts = found.value[:, layer].shape
    blank = np.full((groups, experts), np.nan)
    columns = {"share": share.value, "share_low": share.low, "share_high": share.high, "usage_difference": found.value}
    columns |= {"low": found.low, "high": found.high, "chance": found.null, "p": found.p, "q": found.q}
    rows: dict[str, object] = {by: np.repeat(np.array(found.groups, object), experts)}
    rows["expert"] = np.tile(np.arange(experts), groups)
    for name, values in columns.items():
        rows[name] = (blank if values is None else values[:, layer]).ravel()
    frame = pd.DataFrame(rows)
    return frame[np.isfinite(frame["usage_difference"])].reset_index(drop=True)


def counts_frame(share_lg: NDArray[np.float64], found: Result, names: Sequence[str], by: str) -> pd.DataFrame:
    """One row for each layer and group: the share of its experts that are specialized."""
    layer_n, group_n = np.nonzero(np.isfinite(share_lg))
    rows = {"layer": np.array(names, object)[layer_n], by: np.array(found.groups, object)[group_n]}
    return pd.DataFrame(rows | {"share_of_experts": share_lg[layer_n, group_n]})


def specialized_counts(found: Result) -> NDArray[np.float64]:
    """Share of each layer's experts that a group significantly changes, layers × groups; NaN if not tested."""
    q_gle = np.full(found.value.shape, np.nan) if found.q is None else found.q
    tested_gl = np.isfinite(q_gle).sum(axis=2)
    share_gl = (q_gle <= SURE).sum(axis=2) / np.maximum(tested_gl, 1)
    return np.where(tested_gl > 0, share_gl, np.nan).T
