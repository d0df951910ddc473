"""Two captures in words: how they relate, what that allows to be said, and a text with what it lost and gained."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.analysis.comparison.alignment import Alignment
from gatescope.analysis.comparison.compare import Relation, Shift
from gatescope.analysis.comparison.saturation import Agreement
from gatescope.app.charts.card import visible
from gatescope.app.charts.figure import Chart, Figure, Html, Matrix
from gatescope.app.charts.lines import named_layer_axis
from gatescope.app.charts.plots import NULL, A, add_line, plot
from gatescope.app.components import Pick, Scale
from gatescope.routing.record import RoutingRecord

CEILING = "#7b3294"
"""Ink of what the same capture made again reaches."""

CUT = 40
"""Tokens of an unchanged run that are shown at each of its ends."""


class Told(NamedTuple):
    """A kind of comparison: what it is, what it can say, and what it cannot."""

    title: str
    can: str
    cannot: str


def kind_words(found: Relation, *, is_same_capture: bool) -> Told:
    """What a comparison of this kind can say, and what it cannot."""
    if found.kind == "text":
        what = "Two documents of one capture" if is_same_capture else "The same model, two texts"
        return Told(
            f"{what}: tokens are aligned by what stays, as in a list of changes.",
            "It can say: where a token that both texts have went to other experts, because what stands before it "
            "changed.",
            "It cannot say: what such a change is for; one pair of texts is one example, and has no interval.",
        )
    if found.kind == "weights":
        of = f"{len(found.pairs):,} document{'s' * (len(found.pairs) != 1)} of the same tokens"
        if found.is_same_model:
            what = f"The same model on {of}: number format, device or engine may differ."
        else:
            what = f"Two sets of weights with layers of one shape, on {of}."
        return Told(
            what,
            "It can say: token by token, which experts changed, in which layers, and whether that is more than noise.",
            "It cannot say: whether expert 5 of A is expert 5 of B, unless one was trained from the other. Models that "
            "were trained apart share no more experts than chance gives.",
        )
    same = (
        f"{len(found.pairs):,} documents hold the same tokens" if found.pairs else "no document holds the same tokens"
    )
    return Told(
        f"Two models; {same}.",
        "It can say: what survives any renaming of experts: how evenly work is spread, what routes tell about labels, "
        "and how far both tell the same tokens apart.",
        _why_not(found),
    )


def _why_not(found: Relation) -> str:
    if found.is_same_shape:
        return (
            "It cannot say: what a difference comes from, where both weights and text differ; nor anything expert by "
            "expert."
        )
    return "It cannot say: anything expert by expert; why, is said below."


def diff_html(first: RoutingRecord, second: RoutingRecord, found: Alignment) -> str:
    """Both texts as one: what only A has struck out after a −, what only B has underlined after a +; all escaped."""
    parts = []
    for step in found.steps:
        if step.what == "same":
            parts.append(_run(first, step.first))
        elif step.what == "removed":
            parts.append(f'<del aria-label="only in A">−{_words(first, step.first)}</del>')
        else:
            parts.append(f'<ins aria-label="only in B">+{_words(second, step.second)}</ins>')
    return (
        f'{_STYLE}<div class="gs-diff" tabindex="0" role="region" aria-label="Both texts as one">{"".join(parts)}</div>'
    )


def _run(record: RoutingRecord, rows: slice) -> str:
    """A run that both share; of a long one, its ends."""
    size = rows.stop - rows.start
    if size <= 3 * CUT:
        return _words(record, rows)
    ends = slice(rows.start, rows.start + CUT), slice(rows.stop - CUT, rows.stop)
    middle = f"<small> … {size - 2 * CUT:,} more tokens that both have … </small>"
    return f"{_words(record, ends[0])}{middle}{_words(record, ends[1])}"


def _words(record: RoutingRecord, rows: slice) -> str:
    pieces = [record.piece(token) for token in record.token_t[rows]]
    return "".join(f"<bdi>{visible(piece)}</bdi>" for piece in pieces)


_STYLE = """<style>
.gs-diff { max-height: 16rem; overflow: auto; line-height: 1.7; overflow-wrap: anywhere; font-size: .95rem; }
.gs-diff:focus-visible { outline: 3px solid; outline-offset: 2px; }
.gs-diff i { font-style: normal; opacity: .45; } .gs-diff small { opacity: .75; }
.gs-diff del { text-decoration: line-through 2px; background: rgba(43, 123, 186, .2); padding: 0 .15em; }
.gs-diff ins { text-decoration: underline 2px; background: rgba(213, 94, 0, .22); padding: 0 .15em; }
</style>"""


def diff_figure(first: RoutingRecord, second: RoutingRecord, found: Alignment) -> Figure:
    """What two texts share."""
    kept = len(found.first_n)
    return Figure(
        key="diff",
        takeaway=f"{kept:,} tokens stay, {found.removed:,} of A are gone (−), {found.added:,} of B are new (+).",
        population=f"A: {first.tokens:,} tokens; B: {second.tokens:,}",
        badge="observed",
        says=(("How", "longest runs of equal token ids first, after what both texts begin and end with"),),
        body=(Html(diff_html(first, second, found)),),
        frame=lambda: diff_frame(found),
    )


def diff_frame(found: Alignment) -> pd.DataFrame:
    """A row for each run of tokens: in both texts, of A alone or of B alone, from its first token up to its end."""
    runs = [(step.what, step.first.start, step.first.stop, step.second.start, step.second.stop) for step in found.steps]
    return pd.DataFrame(runs, columns=["what", "start_a", "end_a", "start_b", "end_b"])


def left_out(repeated: int) -> str:
    """How many tokens were not counted again, as the end of a sentence on what was."""
    return f"; {repeated:,} left out that an earlier document begins with too" if repeated else ""


class Line(NamedTuple):
    """Overlap by layer with what it is held against; `null_words` and `ceiling_words` say how those were made.

    `ceiling_l` is what a repeated run reaches, `near_l` the share of tokens with a margin below the format's step.
    """

    names: tuple[str, ...]
    share_l: NDArray[np.float64]
    low_l: NDArray[np.float64] | None
    high_l: NDArray[np.float64] | None
    null_l: NDArray[np.float64] | None
    null_words: str
    null_name: str = "chance"
    ceiling_l: NDArray[np.float64] | None = None
    ceiling_words: str = ""
    near_l: NDArray[np.float64] | None = None


def line_of(agreed: tuple[Agreement, ...], names: list[str]) -> Line:
    """The overlap of two captures of the same tokens."""
    share, low, high, null = (
        np.array([getattr(layer, name) for layer in agreed]) for name in ("share", "low", "high", "load_matched")
    )
    known = np.isfinite(low).any()
    how = "two independent routes with the loads of A and B"
    return Line(tuple(names), share, low if known else None, high if known else None, null, how)


def overlap_figure(line: Line, *, key: str, population: str) -> Figure:
    """The overlap's sentence: where it is least, where most, what chance and a repeat give; `key` is the figure's."""
    least, most = int(np.nanargmin(line.share_l)), int(np.nanargmax(line.share_l))
    if np.nanmin(line.share_l) > 1 - 1e-9:
        sentence = "Every token has the same experts in every layer"
    elif least == most:
        sentence = f"{line.share_l[least]:.1%} of a token's experts are the same"
    else:
        sentence = (
            f"{line.share_l[most]:.1%} of a token's experts are the same in layer {line.names[most]}, "
            f"{line.share_l[least]:.1%} in layer {line.names[least]}"
        )
    null = ""
    if line.null_l is not None and np.isfinite(line.null_l).any():
        sentence += f"; {line.null_name} gives {np.nanmean(line.null_l):.1%}"
        null = f"dotted: {line.null_words}, {np.nanmin(line.null_l):.1%} to {np.nanmax(line.null_l):.1%}"
    if line.ceiling_l is not None:
        null = f"{null} · noise ceiling: {line.ceiling_words}, {_from_to(line.ceiling_l)}"
    return Figure(
        key=key,
        takeaway=f"{sentence}.",
        population=population,
        unit="share of a token's experts in both",
        null=null,
        badge="observed",
        says=(
            (
                "Overlap",
                "of the two sets of experts of a token, over the larger of them; order and weights are left out",
            ),
            ("Interval", "95 %, over documents drawn anew" if line.low_l is not None else "none: one document"),
            *_near_ties(line),
        ),
        body=(Chart(overlap_plot(line)),),
        frame=lambda: overlap_frame(line),
    )


def _from_to(share_l: NDArray[np.float64]) -> str:
    """The least and the most of some layers, once where they read alike."""
    least, most = f"{np.nanmin(share_l):.2%}", f"{np.nanmax(share_l):.2%}"
    return f"{least} in every layer" if least == most else f"{least} to {most}"


def _near_ties(line: Line) -> tuple[tuple[str, str], ...]:
    """How many choices are near ties, and that this is no bound of what noise changes."""
    if line.near_l is None:
        return ()
    sentence = (
        f"{_from_to(line.near_l)} of the tokens have a margin below the step of the coarser number format, so that "
        "rounding the scores alone may flip them. It bounds nothing: most of what noise flips comes with the hidden "
        "state, in tokens with wider margins. Only a repeated run tells how much of a difference is noise"
    )
    return (("Near ties", sentence),)


def overlap_frame(line: Line) -> pd.DataFrame:
    """Overlap by layer."""
    rows: dict[str, object] = {"layer": line.names, "overlap": line.share_l}
    parts = ("low", line.low_l), ("high", line.high_l), ("null", line.null_l), ("ceiling", line.ceiling_l)
    return pd.DataFrame(rows | {name: values for name, values in parts if values is not None})


def overlap_plot(line: Line) -> go.Figure:
    """Overlap by layer, its null and its ceiling."""
    shown = plot("layer", "share of experts in common")
    if line.null_l is not None:
        add_line(shown, line.names, line.null_l, name=line.null_name, ink=NULL)
    if line.ceiling_l is not None:
        shown.add_scatter(
            x=list(line.names),
            y=line.ceiling_l.astype(np.float32),
            name="noise ceiling",
            mode="lines",
            line={"color": CEILING, "dash": "dashdot", "width": 2},
        )
    add_line(shown, line.names, line.share_l, name="A and B", ink=A, low=line.low_l, high=line.high_l)
    shown.update_yaxes(range=[0, 1.04], tickformat=".0%")
    named_layer_axis(shown, line.names)
    return shown


def shift_figure(
    found: Shift, names: list[str], *, population: str, pinned: Pick | None = None, is_faint: bool = True
) -> Figure:
    """Which expert gained or lost most."""
    moved_le = np.where(np.isfinite(found.value_le), np.abs(found.value_le), -1)
    layer, expert = np.unravel_index(int(np.argmax(moved_le)), moved_le.shape)
    sure = int(np.count_nonzero(found.q_le <= 0.05)) if np.isfinite(found.q_le).any() else 0
    most = found.value_le[layer, expert]
    beyond = bool(np.isfinite(found.q_le[layer, expert]) and found.q_le[layer, expert] <= 0.05)
    counted = int(np.isfinite(found.value_le).sum())
    return Figure(
        key="shift",
        takeaway=(
            f"Expert {expert} of layer {names[layer]} has {abs(100 * most):.2g} points "
            f"{'more' if most > 0 else 'less'} of the tokens in A; {sure} of {counted} experts differ beyond noise."
        )
        if abs(most) > 0
        else "No expert has more work in either.",
        population=population,
        unit="percentage points of the tokens, A less B",
        null="0: A and B swapped within documents at random; q ≤ 0.05 over a layer's experts",
        badge="beyond null" if beyond else "observed",
        says=(("Not this", "tokens that moved: as many may come as go. The overlap above counts those"),),
        body=(
            Matrix(
                values_rc=100 * found.value_le,
                rows=names,
                columns=None,
                scale=shift_scale(found),
                pinned=pinned,
                options={
                    "faded_rc": ~(np.nan_to_num(found.q_le, nan=1.0) <= 0.05) if is_faint else None,
                    "faded_says": "no more than noise",
                    "attribution": "",
                },
            ),
        ),
        frame=lambda: shift_frame(found, names),
    )


def shift_frame(found: Shift, names: list[str]) -> pd.DataFrame:
    """A row for each expert."""
    layers, experts = np.indices(found.value_le.shape).reshape(2, -1)
    columns = {name: getattr(found, f"{name}_le").ravel() for name in ("value", "low", "high", "p", "q")}
    frame = pd.DataFrame({"layer": np.array(names, object)[layers], "expert": experts, **columns})
    return frame[np.isfinite(frame["value"])].reset_index(drop=True)


def shift_scale(found: Shift) -> Scale:
    """Colours around no difference, in points."""
    return Scale.of(100 * found.value_le, "A − B", unit="points", null=0.0, palette="diverging", pool="far")
