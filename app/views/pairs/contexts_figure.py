"""Tokens in their context, as HTML: where two experts worked together. All of it is foreign text, and escaped."""

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.app.charts.card import visible
from gatescope.routing.record import RoutingRecord
from gatescope.server.sources import Scope

AROUND = 8
MOST = 12


class Context(NamedTuple):
    """A token, `document` and `token` as the whole source counts them, with the pieces around it."""

    document: int
    token: int
    before: tuple[str, ...]
    piece: str
    after: tuple[str, ...]


def shared_rows(
    record: RoutingRecord, layer: int, experts: Sequence[int], counts_t: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """The tokens that count and that all of some experts of a layer worked on."""
    ids_tk = record.ids_tlk[:, layer]
    return np.flatnonzero(np.all([(ids_tk == expert).any(axis=1) for expert in experts], axis=0) & counts_t)


def sampled(rows: NDArray[np.intp], *, most: int = MOST, seed: int = 0) -> NDArray[np.intp]:
    """Some rows at random, in order; the same for the same seed."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def contexts(record: RoutingRecord, rows: Sequence[int] | NDArray[np.intp], scope: Scope) -> list[Context]:
    """Tokens with what is around them in their document. `record` holds the routes of the scope."""
    start_d = np.searchsorted(record.document_t, np.arange(len(record.documents) + 1))
    found = []
    for row in map(int, rows):
        document = int(record.document_t[row])
        start, end = int(start_d[document]), int(start_d[document + 1])
        before, after = range(max(start, row - AROUND), row), range(row + 1, min(end, row + 1 + AROUND))
        left, right = (tuple(record.piece(record.token_t[at]) for at in part) for part in (before, after))
        number = document if scope.documents is None else scope.documents[document]
        token = row - start + (0 if scope.span is None else scope.span.first)
        found.append(Context(number, token, left, record.piece(record.token_t[row]), right))
    return found


STYLE = """<style>
ol { list-style: none; margin: 0; padding: 0; font-size: 0.875rem; }
li { display: grid; grid-template-columns: 6.5rem 1fr; gap: 0 0.8rem; padding: 0.25rem 0;
  border-top: 1px solid color-mix(in srgb, currentColor 14%, transparent); }
li a { min-height: 24px; display: inline-block; }
li p { margin: 0; overflow-wrap: anywhere; }
li i { font-style: normal; opacity: 0.6; }
mark { background: none; color: inherit; font-weight: 700; border-bottom: 3px solid currentColor; padding: 0 1px; }
</style>"""


def contexts_html(found: Sequence[Context], href: Callable[[int, int], str], describe: Callable[[int], str]) -> str:
    """Tokens in context as a list; `href` gives the address of a document's token, `describe` a document's kind."""
    return STYLE + f"<ol>{''.join(_row(each, href(each.document, each.token), describe) for each in found)}</ol>"


def _row(each: Context, href: str, describe: Callable[[int], str]) -> str:
    before, after = ("".join(map(visible, side)) for side in (each.before, each.after))
    kind = escape(describe(each.document)[:40])
    return (
        f'<li><span><a href="{escape(href)}">{each.document} : {each.token}</a><br><small>{kind}</small></span>'
        f'<p dir="auto">{before}<mark>{visible(each.piece)}</mark>{after}</p></li>'
    )
