"""A text before and after a change, token by token: which of those that stayed went to other experts."""

from collections.abc import Callable
from html import escape

import numpy as np

from gatescope.analysis.comparison.alignment import Alignment
from gatescope.analysis.comparison.changed_layers import Changed
from gatescope.app.charts.card import visible
from gatescope.routing.record import RoutingRecord

LEAD = 30
"""Tokens shown before the first change: none of them can have changed."""

MOST = 400
"""Tokens of each text that are shown; what is cut is said."""

STYLE = """<style>
.gs-change { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: .5rem 1.5rem; }
.gs-change section { min-width: 0; }
.gs-change h3 { font-size: .875rem; font-weight: 600; margin: 0 0 .25rem; padding: 0; }
.gs-change .words { max-height: 14rem; overflow: auto; line-height: 1.9; overflow-wrap: anywhere; font-size: .9375rem; }
.gs-change .words:focus-visible { outline: 3px solid; outline-offset: 2px; }
.gs-change i { font-style: normal; opacity: .6; }
.gs-change small { font-size: .75rem; opacity: .85; }
.gs-change del { text-decoration: line-through 2px; background: rgba(43, 123, 186, .2); padding: 0 .15em; }
.gs-change ins { text-decoration: underline 2px; background: rgba(213, 94, 0, .22); padding: 0 .15em; }
.gs-change mark { color: inherit; border-bottom: 2px solid; border-radius: 3px; padding: 0 .1em;
  background: color-mix(in srgb, #e69f00 calc(var(--share) * 1%), transparent); }
.gs-change mark a { color: inherit; text-decoration: none; }
.gs-change sup { font-size: .6875rem; margin-left: .1em; font-variant-numeric: tabular-nums; }
</style>"""


def change_sentence(after: RoutingRecord, found: Alignment, changed: Changed) -> str:
    """How many tokens that stayed went elsewhere, and which of them in the most layers."""
    stayed, begun = len(found.first_n), min(found.begun_alike, len(found.first_n))
    moved = int((changed.layers_n > 0).sum())
    if not stayed:
        return "The two texts have no token in common."
    said = (
        f"{moved:,} of the {stayed:,} tokens that both texts have went to other experts in some layer"
        if moved
        else f"All {stayed:,} tokens that both texts have kept their experts in every layer"
    )
    if moved:
        at = int(np.argmax(changed.layers_n))
        token = int(found.second_n[at])
        piece = after.piece(int(after.token_t[token])).strip()
        said += f"; token {token} “{piece}” in the most, {changed.layers_n[at]} of {changed.known_n[at]} layers"
    before = int((changed.layers_n[:begun] > 0).sum())
    if begun and not before:
        said += f". The {begun:,} before the change kept theirs, as they must: a decoder cannot look ahead"
    elif begun:
        said += f". {before:,} of the {begun:,} before the change moved too: that is noise of the computation"
    return f"{said}."


def change_html(
    before: RoutingRecord,
    after: RoutingRecord,
    found: Alignment,
    changed: Changed,
    *,
    href: Callable[[int], str] | None = None,
) -> str:
    """Both texts beside each other; a token that went elsewhere carries in how many layers, all text escaped.

    `href` makes the link of a token of the text after.
    """
    start = max(0, min(found.begun_alike, len(found.first_n)) - LEAD)
    sides = (
        _side(before, found, changed, start, is_after=False, href=None),
        _side(after, found, changed, start, is_after=True, href=href),
    )
    return f'{STYLE}<div class="gs-change">{"".join(sides)}</div>'


def _side(
    record: RoutingRecord,
    found: Alignment,
    changed: Changed,
    start: int,
    *,
    is_after: bool,
    href: Callable[[int], str] | None,
) -> str:
    """One of the texts, from a few tokens before the change on."""
    mine_n = found.second_n if is_after else found.first_n
    place_t = np.full(record.tokens, -1)
    place_t[mine_n] = np.arange(len(mine_n))
    end = min(record.tokens, start + MOST)
    parts = [f"<small>… {start:,} tokens before … </small>"] if start else []
    for token in range(start, end):
        text = f"<bdi>{visible(record.piece(int(record.token_t[token])))}</bdi>"
        place = int(place_t[token])
        if place < 0:
            parts.append(
                f'<ins aria-label="new">+{text}</ins>' if is_after else f'<del aria-label="gone">−{text}</del>'
            )
        elif changed.layers_n[place]:
            link = text if href is None else f'<a href="{escape(href(token), quote=True)}">{text}</a>'
            parts.append(_marked(link, int(changed.layers_n[place]), int(changed.known_n[place])))
        else:
            parts.append(text)
    if end < record.tokens:
        parts.append(f"<small> … {record.tokens - end:,} more tokens</small>")
    name = "After" if is_after else "Before"
    return (
        f'<section><h3>{name}</h3><div class="words" tabindex="0" role="region" aria-label="The text '
        f'{name.lower()} the change">{"".join(parts)}</div></section>'
    )


def _marked(text: str, layers: int, known: int) -> str:
    """A token that went elsewhere, and in how many layers."""
    share = round(15 + 55 * layers / max(known, 1))
    says = f"other experts in {layers} of {known} layers"
    return f'<mark style="--share:{share}" title="{says}">{text}<sup>{layers}</sup></mark>'
