"""What experts tell of a document's domain or language: layer by layer, beyond chance, and beyond the words."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from analysis.composition import Composition
from analysis.permutation import q_values
from analysis.registry import Result
from app.components import Scale
from app.figures.plots import NULL, A, B, add_line, plot
from app.figures.spoken import SURE, chance_words, in_layers, over_layers, percent, percents
from app.figures.strokes import WORDS, add_band, add_bars, layer_axis

PLURALS = {"domain": "domains", "language": "languages"}
NORMAL_95 = 1.96
MUCH = 0.2
"""Share of choices at words of one group alone above which the sentence itself says so."""
LEAST_REACH = 0.05
"""The colours of leanings reach at least this far, so that noise is not painted as a finding."""


def told_takeaway(found: Result, names: Sequence[str], by: str) -> str:
    """How much one choice tells of the group, and in how many layers that is more than chance."""
    known_l = np.isfinite(found.value)
    if found.q is None:
        return f"One choice of an expert tells {over_layers(found.value, names, 'bits')} of the {by} beyond chance."
    said = in_layers(found.q <= SURE, known_l & np.isfinite(found.q))
    return (
        f"Beyond chance, one choice of an expert tells {over_layers(found.value, names, 'bits')} of the {by}; "
        f"surely more than nothing (q ≤ {SURE}) {said}."
    )


def is_surely_told(found: Result) -> bool:
    """Whether every layer that was tested tells more than chance."""
    return found.q is not None and bool(np.isfinite(found.q).any()) and float(np.nanmax(found.q)) <= SURE


def deviation(split: pd.DataFrame | None) -> NDArray[np.float64] | None:
    """Standard deviation of what dealt labels tell, by layer, from the bits and how many deviations they are."""
    if split is None:
        return None
    excess_l, z_l = (split[f"label_{name}"].to_numpy(np.float64) for name in ("excess_bits", "z"))
    known_l = np.isfinite(z_l) & (z_l != 0)
    deviation_l = np.full(len(z_l), np.nan)
    np.divide(excess_l, z_l, out=deviation_l, where=known_l)
    return deviation_l


def told_frame(found: Result, names: Sequence[str], spread_l: NDArray[np.float64] | None) -> pd.DataFrame:
    """One row for each layer: bits in all, of chance, beyond it, p and q."""
    null_l = np.full(len(names), np.nan) if found.null is None else found.null
    rows = {"layer": names, "bits": found.value + null_l, "chance_bits": null_l, "beyond_chance_bits": found.value}
    rows |= {name: values for name, values in (("p", found.p), ("q", found.q)) if values is not None}
    return pd.DataFrame(rows if spread_l is None else rows | {"chance_deviation_bits": spread_l})


def told_plot(
    found: Result, names: Sequence[str], spread_l: NDArray[np.float64] | None, other: Result | None = None
) -> go.Figure:
    """Bits in all by layer, over what dealt labels tell and 95 of 100 deals; `other` is capture B."""
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


def split_frame(split: pd.DataFrame) -> pd.DataFrame:
    """What is drawn of the composition: the two parts, and what is told at the same word with its p and q."""
    label_l, words_l = split["label_excess_bits"], split["words_excess_bits"]
    return pd.DataFrame(
        {
            "layer": split["layer_name"].astype(str),
            "beyond_chance_bits": label_l,
            "words_alone_bits": words_l,
            "beyond_words_bits": label_l - words_l,
            "words_share": split["share_excess"],
            "agreement": split["agreement"],
            "same_word_bits": split["given_words_excess_bits"],
            "same_word_p": split["given_words_p_value"],
            "same_word_q": q_values(split["given_words_p_value"].to_numpy(np.float64)),
            "covered": split["covered"],
            "one_label": split["one_label"],
        }
    )


def split_takeaway(shown: pd.DataFrame, by: str) -> str:
    """How much the words alone explain, and whether experts tell the group at one and the same word."""
    names, share_l, q_l = (shown[name].to_numpy() for name in ("layer", "words_share", "same_word_q"))
    known_l = np.isfinite(q_l.astype(np.float64))
    if not np.isfinite(share_l.astype(np.float64)).any():
        return f"Experts tell no more of the {by} than chance does: there is nothing for the words to explain."
    words = f"The words alone explain {percents(share_l.astype(np.float64), names)} of what experts tell of the {by}"
    if not known_l.any():
        return f"{words}; no word is frequent in two {PLURALS[by]}, so that nothing is known at the same word."
    sure_l = q_l <= SURE
    verdict = "Yes" if sure_l[known_l].all() else "In part" if sure_l[known_l].any() else "Not surely"
    return (
        f"{verdict}: at one and the same word, experts still tell of the {by} {in_layers(sure_l, known_l)} "
        f"(q ≤ {SURE}). {words}.{_same_thing(shown, by)}"
    )


def _same_thing(shown: pd.DataFrame, by: str) -> str:
    """A warning where much of the text is words that one group alone has."""
    alone = float(shown["one_label"].max())
    if not alone > MUCH:
        return ""
    return f" But {percent(alone)} of the choices are at words that one {by} alone has: there, word and {by} are one."


def is_split_sure(shown: pd.DataFrame) -> bool:
    """Whether experts tell the group at the same word in every layer where that is known."""
    q_l = shown["same_word_q"].to_numpy(np.float64)
    return bool(np.isfinite(q_l).any()) and float(np.nanmax(q_l)) <= SURE


def split_plot(shown: pd.DataFrame) -> go.Figure:
    """The bits beyond chance of each layer as two parts: what the words alone would give, and the rest."""
    found = plot("layer", "bits beyond chance")
    add_bars(found, shown["words_alone_bits"].to_numpy(), name="by the words alone", ink=WORDS, is_hatched=True)
    add_bars(found, shown["beyond_words_bits"].to_numpy(), name="beyond the words", ink=A)
    layer_axis(found, shown["layer"].tolist())
    return found


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
            "all choices; labels are dealt among documents of one stratum",
        ),
        ("Agreement", f"of the two tables, {least:.2f} at least; near 0 or below, the first part explains nothing"),
        (f"Words of one {by} only", f"{percent(alone)} of all choices: there, word and {by} are one"),
    )


class Leanings(NamedTuple):
    """Experts × groups of one layer: values, what is not beyond chance, and the colours."""

    values_eg: NDArray[np.float64]
    faded_eg: NDArray[np.bool_]
    scale: Scale


def leanings(found: Result, layer: int, experts: int) -> Leanings:
    """The leanings of one layer's experts, faint where q is not small."""
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
    return Leanings(values_eg, ~(q_eg <= SURE), scale)


def leaning_takeaway(found: Result, layer: int, names: Sequence[str], by: str) -> str:
    """The strongest leaning of a layer, and how many there are."""
    value_ge = found.value[:, layer]
    if not np.isfinite(value_ge).any():
        return f"Nothing leans in layer {names[layer]}: no {by} can be held against others."
    g, expert = np.unravel_index(int(np.nanargmax(np.abs(value_ge))), value_ge.shape)
    q_ge = np.full(value_ge.shape, np.nan) if found.q is None else found.q[:, layer]
    sure, tested = int((q_ge <= SURE).sum()), int(np.isfinite(q_ge).sum())
    return (
        f"Layer {names[layer]}: expert {expert} leans most, {value_ge[g, expert]:+.2f} for {found.groups[g]} "
        f"({chance_words('q', float(q_ge[g, expert]))}). {sure} of {tested} cells lean beyond chance (q ≤ {SURE})."
    )


def leaning_frame(found: Result, share: Result, layer: int, by: str) -> pd.DataFrame:
    """One row for each group and expert of a layer: its share with its interval, the leaning, its null, p and q."""
    groups, experts = found.value[:, layer].shape
    blank = np.full((groups, experts), np.nan)
    columns = {"share": share.value, "share_low": share.low, "share_high": share.high, "leaning": found.value}
    columns |= {"chance": found.null, "p": found.p, "q": found.q}
    rows: dict[str, object] = {by: np.repeat(np.array(found.groups, object), experts)}
    rows["expert"] = np.tile(np.arange(experts), groups)
    for name, values in columns.items():
        rows[name] = (blank if values is None else values[:, layer]).ravel()
    frame = pd.DataFrame(rows)
    return frame[np.isfinite(frame["leaning"])].reset_index(drop=True)


def leaning_counts(found: Result) -> NDArray[np.float64]:
    """Share of each layer's experts that lean to or from a group beyond chance, layers × groups; NaN if not tested."""
    q_gle = np.full(found.value.shape, np.nan) if found.q is None else found.q
    tested_gl = np.isfinite(q_gle).sum(axis=2)
    share_gl = (q_gle <= SURE).sum(axis=2) / np.maximum(tested_gl, 1)
    return np.where(tested_gl > 0, share_gl, np.nan).T
