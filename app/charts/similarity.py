"""Tokens that route like one token, and its word elsewhere: sentences, tables with contexts, data."""

from collections.abc import Callable
from html import escape

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.analysis.token.similarity import Near, SameWord, spread_over
from gatescope.app.charts.card import visible
from gatescope.app.charts.context import STYLE as CONTEXT_STYLE
from gatescope.app.charts.context import context
from gatescope.app.charts.figure import Chart, Figure, Html
from gatescope.app.charts.lines import named_layer_axis
from gatescope.app.charts.plots import NULL, A, add_line, plot
from gatescope.routing.groups import layer_names
from gatescope.routing.record import RoutingRecord

NEAR = "Which other words route like it?"
SAME = "Is the route the word's, or its context's?"
SHOWN = 8
SURE = 0.05

Href = Callable[[int], str]
"""The link of a row of the record."""

STYLE = (
    CONTEXT_STYLE
    + """<style>
.gs-rows { --faint: color-mix(in srgb, currentColor 14%, transparent); font-size: .875rem; line-height: 1.4; }
.gs-rows table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
.gs-rows th, .gs-rows td { border: 0; border-top: 1px solid var(--faint); padding: .35rem .6rem .35rem 0;
  text-align: left; vertical-align: top; font-weight: 400; overflow-wrap: anywhere; }
.gs-rows thead th { white-space: nowrap; font-size: .8125rem; border-top: 0; }
.gs-rows th i { font-style: normal; opacity: .6; }
.gs-rows.numbers td { white-space: nowrap; overflow-wrap: normal; }
.gs-rows td.much { white-space: nowrap; min-width: 4.5rem; }
.gs-rows .bar { display: block; height: 4px; border-radius: 2px; background: var(--faint); }
.gs-rows .bar span { display: block; height: 100%; border-radius: 2px; background: #2b7bba; }
.gs-rows a.pick { display: inline-block; min-height: 24px; min-width: 24px; font-weight: 600; }
.gs-rows small { opacity: .8; }
@media (max-width: 640px) { .gs-rows td.from, .gs-rows th.from { display: none; } }
</style>"""
)


def near_figure(record: RoutingRecord, found: Near, word: str, href: Href) -> Figure:
    """What is said around the other words that route alike."""
    best = record.piece(record.token_t[found.row_n[0]]).replace("\n", "⏎")
    is_sure = found.expected < SURE
    return Figure(
        key="near",
        takeaway=(
            f"In routing space, the nearest other word to {word} is “{best}”: it shares {found.best:.0%} of the "
            f"experts over all layers. By chance the nearest of {found.tokens:,} tokens would share "
            f"{found.by_chance:.0%}; a token at random shares {found.random:.0%}."
        ),
        population=f"N = {found.tokens:,} tokens of other words",
        unit="share of the k experts in common, mean over layers",
        null=f"chance: {found.by_chance:.0%} for the nearest, each layer's experts taken from a token of its own",
        badge="beyond null" if is_sure else "observed",
        says=(
            (
                "Neighbours",
                "tokens that share most experts, computed over all layers in routing space: of each word one.",
            ),
            ("Chance", f"tokens as near as the nearest one that such mixing would make: {found.expected:.2g}."),
            (
                "Not this",
                "likeness of meaning: words that stand in like places, or are spelled alike, route alike too.",
            ),
        ),
        body=(Html(near_html(record, found, href), "near-html"),),
        frame=lambda: near_frame(record, found),
    )


def near_html(record: RoutingRecord, found: Near, href: Href) -> str:
    """The other words with one context each."""
    rows = zip(found.row_n.tolist(), found.overlap_n.tolist(), strict=True)
    return _table(record, list(rows), href, "Nearest tokens of other words")


def near_frame(record: RoutingRecord, found: Near) -> pd.DataFrame:
    """The other words' data."""
    frame = _frame(record, found.row_n, found.overlap_n)
    return frame.assign(by_chance_nearest=found.by_chance, at_random=found.random)


def same_figure(record: RoutingRecord, found: SameWord, word: str, href: Href, *, corpus: str = "") -> Figure:
    """What is said around the same word elsewhere; `corpus` names where that is, if not here."""
    of = "other " if not corpus else ""
    same, other = float(found.same_l.mean()), float(found.other_l.mean())
    where = f"in {found.documents:,} {of}document{'s' * (found.documents != 1)}" if found.is_apart else "in this text"
    where += f" of {corpus}" if corpus else ""
    times = len(found.row_n)
    interval = f" (95 % interval {found.low:.0%} to {found.high:.0%})" if np.isfinite(found.low) else ""
    return Figure(
        key="same",
        takeaway=(
            f"{word} stands {times:,} more time{'s' * (times != 1)} {where}. There it has {same:.0%} of these experts, "
            f"other words have {other:.0%}: {found.share:.0%} of what can differ is the context's{interval}."
        ),
        population=f"N = {times:,} token{'s' * (times != 1)} of the same word",
        unit="share of the k experts in common",
        null=f"{other:.0%}: tokens of other words{' of other documents' if found.is_apart else ''}",
        badge="beyond null" if found.high < 1 else "observed",
        says=(
            (
                "Context share",
                "1 - (same - other) / (1 - other): 0 if the word alone decides, 1 if it says no more than others.",
            ),
            ("Interval", "documents of the word drawn anew; none where it is in fewer than five."),
            ("Not this", "the share of the whole text: this is one token beside its own word."),
            ("Source", "Token-identity decomposition (arXiv 2604.17182), here of one token"),
        ),
        body=(Chart(same_plot(record, found)), Html(same_html(record, found, href), "same-html")),
        frame=lambda: same_frame(record, found),
    )


def same_plot(record: RoutingRecord, found: SameWord) -> go.Figure:
    """By depth: what the token shares with its word, and with other words."""
    shown = plot("layer", "share of experts in common", height=240)
    names = layer_names(record.layers)
    add_line(shown, names, found.other_l, name="other words", ink=NULL)
    add_line(shown, names, found.same_l, name="the same word", ink=A)
    named_layer_axis(shown, names)
    shown.update_yaxes(range=[0, 1.02], tickformat=".0%")
    return shown


def same_html(record: RoutingRecord, found: SameWord, href: Href) -> str:
    """Some of the word's other places, from the most to the least alike."""
    at = spread_over(len(found.row_n), SHOWN)
    rows = zip(found.row_n[at].tolist(), found.overlap_n[at].tolist(), strict=True)
    return _table(record, list(rows), href, "The same word elsewhere, from the most alike to the least")


def same_frame(record: RoutingRecord, found: SameWord) -> pd.DataFrame:
    """Every other place of the word."""
    return _frame(record, found.row_n, found.overlap_n)


def _table(record: RoutingRecord, rows: list[tuple[int, float]], href: Href, caption: str) -> str:
    has_documents = len(record.documents) > 1
    cells = "".join(_row(record, row, overlap, href, has_documents) for row, overlap in rows)
    last = '<th scope="col" class="from">From</th>' if has_documents else ""
    return (
        f'{STYLE}<div class="gs-rows" role="region" aria-label="{escape(caption)}"><table>'
        f'<thead><tr><th scope="col">Token</th><th scope="col">In common</th><th scope="col">Context</th>{last}</tr>'
        f"</thead><tbody>{cells}</tbody></table></div>"
    )


def _row(record: RoutingRecord, row: int, overlap: float, href: Href, has_documents: bool) -> str:
    piece = f"<bdi>{visible(record.piece(record.token_t[row]))}</bdi>"
    link = escape(href(row), quote=True)
    last = f'<td class="from"><small>{escape(document_label(record, row))}</small></td>' if has_documents else ""
    return (
        f'<tr><th scope="row"><a class="pick" href="{link}">{piece}</a></th>'
        f'<td class="much">{overlap:.0%}<span class="bar"><span style="width:{100 * overlap:.0f}%"></span></span></td>'
        f"<td>{context(record, row)}</td>{last}</tr>"
    )


def document_label(record: RoutingRecord, row: int) -> str:
    """Which document a row is of: its id, domain and language; plain text.

    An id may be long: only its beginning is given.
    """
    document = record.documents[int(record.document_t[row])]
    name = document.id or f"document {int(record.document_t[row])}"
    return " · ".join(filter(None, (name[:40], document.domain, document.language)))


def _frame(record: RoutingRecord, row_n: NDArray[np.intp], overlap_n: NDArray[np.float64]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "token": [record.piece(token) for token in record.token_t[row_n].tolist()],
            "token_id": record.token_t[row_n],
            "document": [document_label(record, row) for row in row_n.tolist()],
            "position": record.position_t[row_n],
            "overlap": overlap_n,
        }
    )
