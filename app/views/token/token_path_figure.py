"""The way of one token through the layers: which experts took it, how firmly they were chosen, what nearly was."""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.analysis.token.near_tie import steps
from gatescope.app.charts.figure import Chart, Figure, Html
from gatescope.app.charts.lines import named_layer_axis
from gatescope.app.charts.page import Page
from gatescope.app.charts.plots import NULL, A, B, add_line, plot
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names
from gatescope.routing.record import RoutingRecord
from gatescope.server.measures import Reading, note
from gatescope.server.sources import Scope

Href = Callable[[int, int | None], str]
"""The link of an expert by layer and number, or (None) of the layer."""

QUESTION = "Which experts took this token, and what nearly did?"
HOW_FIRM = "How firmly was it sent there?"
ZERO_BELOW = 0.5
"""A margin of 0 is drawn at this share of the smallest other value, as an open triangle: a logarithm has no 0."""

STYLE = """<style>
.gs-ladder { --faint: color-mix(in srgb, currentColor 14%, transparent); font-size: .875rem; line-height: 1.35;
  font-variant-numeric: tabular-nums; max-height: 44rem; overflow: auto; }
.gs-ladder:focus-visible { outline: 3px solid; outline-offset: 2px; }
.gs-ladder table { width: 100%; border-collapse: collapse; }
.gs-ladder th, .gs-ladder td { border: 0; border-top: 1px solid var(--faint); padding: .3rem .5rem .3rem 0;
  text-align: left; vertical-align: middle; font-weight: 400; }
.gs-ladder thead th { font-size: .8125rem; border-top: 0; }
.gs-ladder tr.pinned th, .gs-ladder tr.pinned td { background: var(--faint); }
.gs-ladder tr.pinned th:first-child { box-shadow: inset 3px 0 currentColor; padding-left: .4rem; }
.gs-ladder td.way { width: 99%; } .gs-ladder td.gap { white-space: nowrap; }
.gs-ladder tbody th { white-space: nowrap; }
.gs-ladder .chips { display: flex; flex-wrap: wrap; gap: 3px; }
.gs-ladder a.chip { box-sizing: border-box; min-width: 3.9rem; min-height: 24px; padding: .12rem .4rem; color: inherit;
  text-decoration: none; border: 1px solid #2b7bba; border-radius: 4px; overflow: hidden; white-space: nowrap;
  background: color-mix(in srgb, #2b7bba 26%, transparent); }
.gs-ladder a.chip b { margin-right: .35rem; }
.gs-ladder a.chip:hover { outline: 2px solid #2b7bba; }
.gs-ladder a.hollow { background: none; border: 2px dashed #d55e00; flex: 0 0 auto; }
@media (max-width: 640px) { .gs-ladder a.chip { min-width: 3.4rem; padding: .12rem .3rem; }
  .gs-ladder td.gap { white-space: normal; } }
.gs-ladder .unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
</style>"""


@dataclass(frozen=True, eq=False)
class Firmness:
    """How close each layer's choice was: the margin, and the steps of two number formats at scores of that size.

    All of shape (layers,). `margin_l` is NaN where it was not recorded; `typical_l` is the median over the text.
    """

    margin_l: NDArray[np.float64]
    typical_l: NDArray[np.float64]
    brain_l: NDArray[np.float64]
    half_l: NDArray[np.float64]

    @property
    def is_close_l(self) -> NDArray[np.bool_]:
        """Where rounding to bfloat16 alone may choose otherwise."""
        return self.margin_l < self.brain_l

    @property
    def is_known(self) -> bool:
        """Whether any margin was recorded."""
        return bool(np.isfinite(self.margin_l).any())


def firmness(record: RoutingRecord, token: int) -> Firmness:
    """How close each layer's choice for a token was."""
    row = np.array([token])
    margin_tl = np.full((record.tokens, len(record.layers)), np.nan)
    if record.margin_tl is not None:
        margin_tl = record.margin_tl.astype(np.float64)
    known = np.isfinite(margin_tl).any(axis=0)
    typical_l = np.full(len(record.layers), np.nan)
    typical_l[known] = np.nanmedian(margin_tl[:, known], axis=0)
    return Firmness(margin_tl[token], typical_l, steps(record, row, "bfloat16")[0], steps(record, row, "float16")[0])


def token_path_figure(
    record: RoutingRecord, token: int, firm: Firmness, href: Href, pinned: int | None = None
) -> Figure:
    """What is said around the ladder."""
    return Figure(
        key="ladder",
        takeaway=_how_firm(record, token, firm),
        population=f"N = 1 token, {len(record.layers)} layers",
        unit="weight multiplied into the output; width of a chip: its part of the layer's weights",
        badge="observed",
        says=(
            ("Chips", "the experts that ran, by weight. Each leads to its expert, the number of a layer to the layer."),
            ("Dashed", "an expert that did not run, but whose score was less than a bfloat16 step behind."),
            ("A step", "what two neighbouring numbers of a format are apart, at scores of this size: see the margins."),
            ("Not this", "expert 3 of one layer has nothing to do with expert 3 of another."),
        ),
        body=(Html(token_path_html(record, token, firm, href=href, pinned=pinned), "ladder-html"),),
        frame=lambda: token_path_frame(record, token, firm),
    )


def _how_firm(record: RoutingRecord, token: int, firm: Firmness) -> str:
    if not firm.is_known:
        return "How firmly is not known: this capture holds no margins."
    layer = int(np.nanargmin(firm.margin_l))
    name = layer_names(record.layers)[layer]
    known, close = int(np.isfinite(firm.margin_l).sum()), int(firm.is_close_l.sum())
    sentence = "A firm route: no layer's choice" if not close else f"The choice of {close} of {known} layers"
    verb = "is" if close < 2 else "are"
    return (
        f"{sentence} {verb} within a bfloat16 step of another. Closest is layer {name}: expert "
        f"{_last(record, token, layer)} is ahead of {_rejected(record, token, layer)} by {firm.margin_l[layer]:.2g}; "
        f"a step there is {firm.brain_l[layer]:.2g}."
    )


def _last(record: RoutingRecord, token: int, layer: int) -> str:
    ids_k = record.ids_tlk[token, layer]
    filled_k = ids_k[ids_k != record.empty]
    return str(filled_k[-1]) if len(filled_k) else "none"


def _rejected(record: RoutingRecord, token: int, layer: int) -> str:
    if record.rejected_tl is None or record.rejected_tl[token, layer] == record.empty:
        return "the next"
    return f"expert {record.rejected_tl[token, layer]}"


def token_path_html(record: RoutingRecord, token: int, firm: Firmness, *, href: Href, pinned: int | None) -> str:
    """The ladder: a row for each layer, with links to its experts."""
    rows = "".join(_rung(record, token, rule.layer, firm, href, rule.layer == pinned) for rule in record.layers)
    return (
        f'{STYLE}<div class="gs-ladder" tabindex="0" role="region" aria-label="Experts by layer"><table>'
        '<thead><tr><th scope="col">Layer</th><th scope="col">Experts by weight</th><th scope="col">Margin</th></tr>'
        f"</thead><tbody>{rows}</tbody></table></div>"
    )


def _rung(record: RoutingRecord, token: int, layer: int, firm: Firmness, href: Href, is_pinned: bool) -> str:
    name = escape(layer_names(record.layers)[layer])
    link = f'<a href="{escape(href(layer, None), quote=True)}">{name}</a>'
    chips = "".join(_chips(record, token, layer, firm, href)) or "no expert ran"
    mark = ' class="pinned"' if is_pinned else ""
    return (
        f'<tr{mark}><th scope="row">{link}</th><td class="way"><div class="chips">{chips}</div></td>'
        f'<td class="gap">{_gap(firm, layer)}</td></tr>'
    )


def _gap(firm: Firmness, layer: int) -> str:
    margin = firm.margin_l[layer]
    if not np.isfinite(margin):
        return "–"
    return f"{margin:.2g}{' ≈ close' if firm.is_close_l[layer] else ''}"


def _chips(record: RoutingRecord, token: int, layer: int, firm: Firmness, href: Href) -> list[str]:
    ids_k = record.ids_tlk[token, layer]
    weight_k = None if record.weight_tlk is None else record.weight_tlk[token, layer].astype(np.float64)
    total = 1.0 if weight_k is None else max(float(np.abs(weight_k).sum()), 1e-9)
    found = []
    for slot, expert in enumerate(ids_k.tolist()):
        if expert == record.empty:
            continue
        share = 1 / len(ids_k) if weight_k is None else abs(float(weight_k[slot])) / total
        sentence = "" if weight_k is None else f"{weight_k[slot]:.2f}"
        found.append(
            _chip(href(layer, expert), expert, sentence, f"Expert {expert}, weight {sentence or 'not known'}", share)
        )
    if firm.is_close_l[layer] and record.rejected_tl is not None and record.rejected_tl[token, layer] != record.empty:
        expert = int(record.rejected_tl[token, layer])
        found.append(_chip(href(layer, expert), expert, "not run", f"Expert {expert}, nearly chosen", None))
    return found


def _chip(link: str, expert: int, sentence: str, label: str, share: float | None) -> str:
    style = f' style="flex: {share:.4f} 1 {60 * share:.1f}%"' if share is not None else ""
    kind = "chip" if share is not None else "chip hollow"
    return (
        f'<a class="{kind}"{style} href="{escape(link, quote=True)}" title="{label}">'
        f'<span class="unseen">Expert </span><b>{expert}</b><span class="unseen">: </span>{sentence}</a>'
    )


def token_path_frame(record: RoutingRecord, token: int, firm: Firmness) -> pd.DataFrame:
    """The ladder's data: a row for each layer and slot, the first rejected expert last."""
    rows: list[dict[str, object]] = []
    for rule in record.layers:
        layer, place = rule.layer, {"layer": rule.layer, "layer_name": layer_names(record.layers)[rule.layer]}
        firmly = {
            "margin": firm.margin_l[layer],
            "bfloat16_step": firm.brain_l[layer],
            "float16_step": firm.half_l[layer],
        }
        for slot, expert in enumerate(record.ids_tlk[token, layer].tolist()):
            if expert != record.empty:
                weight = None if record.weight_tlk is None else float(record.weight_tlk[token, layer, slot])
                rows.append({**place, "expert": expert, "ran": True, "weight": weight, **firmly})
        if record.rejected_tl is not None and record.rejected_tl[token, layer] != record.empty:
            expert = int(record.rejected_tl[token, layer])
            rows.append({**place, "expert": expert, "ran": False, "weight": None, **firmly})
    return pd.DataFrame(rows)


def margin_figure(record: RoutingRecord, firm: Firmness) -> Figure:
    """What is said around the margins by depth."""
    lower = int(np.count_nonzero(firm.margin_l < firm.typical_l))
    known = int(np.isfinite(firm.margin_l).sum())
    half = int(np.count_nonzero(firm.margin_l < firm.half_l))
    return Figure(
        key="margins",
        takeaway=(
            f"{int(firm.is_close_l.sum())} of {known} layers lie below the bfloat16 step and {half} below that of "
            f"float16; {lower} are closer calls than the median token of this text."
        ),
        population=f"N = 1 token, beside the median of {record.tokens:,}",
        unit="difference of selection scores, on a logarithmic scale",
        null="no chance line: an even router has no margin to speak of",
        badge="observed",
        says=(
            ("Margin", "how far the last expert that ran was ahead of the best that did not."),
            (
                "Step",
                "scores are rounded by half a step each, so that below one step the two may change places. Its size "
                "follows that of the scores, which is read off the raw scores or bounded by what was recorded.",
            ),
            (
                "Not this",
                "flips that were seen: earlier layers round as well, and move the scores by more than a step.",
            ),
        ),
        body=(Chart(margin_plot(record, firm)),),
        frame=lambda: margin_frame(record, firm),
    )


def margin_plot(record: RoutingRecord, firm: Firmness) -> go.Figure:
    """Margins by depth, with what may flip them."""
    shown = plot("layer", "margin")
    names = layer_names(record.layers)
    lines = (firm.typical_l, firm.brain_l, firm.half_l, firm.margin_l)
    floor = ZERO_BELOW * min((float(line_l[line_l > 0].min()) for line_l in lines if (line_l > 0).any()), default=1.0)
    add_line(shown, names, _drawn(firm.typical_l, floor), name="median of this text", ink=NULL)
    add_line(shown, names, _drawn(firm.brain_l, floor), name="bfloat16 step", ink=B)
    add_line(shown, names, _drawn(firm.half_l, floor), name="float16 step", ink="#9467bd")
    add_line(shown, names, _drawn(firm.margin_l, floor), name="this token", ink=A)
    shown.data[-2].update(line={"dash": "longdashdot"}, marker={"symbol": "square"})
    _mark_ties(shown, names, firm.margin_l, floor)
    named_layer_axis(shown, names)
    shown.update_yaxes(type="log")
    return shown


def _drawn(value_l: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """Values as they are; an exact 0 at the floor, where it is marked."""
    return np.where(value_l == 0, floor, value_l)


def _mark_ties(shown: go.Figure, names: list[str], margin_l: NDArray[np.float64], floor: float) -> None:
    """Say at the axis that a margin is 0 exactly."""
    is_tie_l = margin_l == 0
    if is_tie_l.any():
        shown.add_scatter(
            x=[name for name, is_tie in zip(names, is_tie_l, strict=True) if is_tie],
            y=np.full(int(is_tie_l.sum()), floor, np.float32),
            name="0: a tie",
            mode="markers",
            marker={"symbol": "triangle-down-open", "size": 12, "color": A, "line": {"width": 2}},
        )


def margin_frame(record: RoutingRecord, firm: Firmness) -> pd.DataFrame:
    """The margins' data."""
    return pd.DataFrame(
        {
            "layer": range(len(record.layers)),
            "layer_name": layer_names(record.layers),
            "margin": firm.margin_l,
            "median_of_text": firm.typical_l,
            "bfloat16_step": firm.brain_l,
            "float16_step": firm.half_l,
        }
    )


def ladder(page: Page, record: RoutingRecord, token: int, href: Href) -> Figure:
    """The experts that took a token, layer by layer; `record` is its document."""
    return token_path_figure(record, token, _firmness(page, record, token), href, page.view.layer)


def margins(page: Page, record: RoutingRecord, token: int) -> Figure:
    """How close each layer's choice was. Errors: OptionError where no margins were recorded."""
    firm = _firmness(page, record, token)
    if not firm.is_known:
        raise OptionError(
            "no margins in this capture",
            expected="the router's scores",
            do="capture the text again with scores, which costs 8 bytes a token and layer",
        )
    return margin_figure(record, firm)


def _firmness(page: Page, record: RoutingRecord, token: int) -> Firmness:
    code = f"firm = firmness(record, {token})"
    imports = ("from gatescope.app.views.token.token_path_figure import firmness",)
    scope = Scope(documents=(page.view.document or 0,))
    note(Reading(source=page.source, scope=scope, code=code, imports=imports))
    return firmness(record, token)
