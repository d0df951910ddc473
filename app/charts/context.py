"""A token among its neighbours, as HTML: everything that comes from a text is escaped."""

from collections.abc import Callable
from html import escape

from gatescope.app.charts.card import visible
from gatescope.routing.record import Flag, RoutingRecord

_TURNING = {code: f"‹{code:04X}›" for code in (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""Characters that turn the direction of what follows, a sentence of ours included; each as its number."""

REACH = 8
"""Tokens shown on either side."""

STYLE = """<style>
.gs-context { line-height: 1.7; overflow-wrap: anywhere; }
.gs-context a { color: inherit; text-decoration: none; }
.gs-context a:hover, .gs-context a:focus-visible { text-decoration: underline; }
.gs-context a { padding: .15rem 0; }
.gs-context mark { color: inherit; font-weight: 700; border: 1px solid currentColor; border-radius: 3px;
  background: color-mix(in srgb, #2b7bba 24%, transparent); padding: 0 .12rem; }
.gs-context i { font-style: normal; opacity: .6; }
</style>"""


def context(record: RoutingRecord, row: int, *, reach: int = REACH, href: Callable[[int], str] | None = None) -> str:
    """The text around one row of a record, the row marked; `href` gives the link of a row, and None leaves text."""
    first, last = around(record, row, reach)
    is_cut = (
        first > 0 and _is_same(record, first - 1, row),
        last + 1 < record.tokens and _is_same(record, last + 1, row),
    )
    tokens = "<wbr>".join(_token(record, at, at == row, href) for at in range(first, last + 1))
    return f'<span class="gs-context">{"…" if is_cut[0] else ""}{tokens}{"…" if is_cut[1] else ""}</span>'


def around(record: RoutingRecord, row: int, reach: int) -> tuple[int, int]:
    """First and last row of the same text within reach."""
    first = last = row
    while first > max(row - reach, 0) and _is_same(record, first - 1, row):
        first -= 1
    while last < min(row + reach, record.tokens - 1) and _is_same(record, last + 1, row):
        last += 1
    return first, last


def quoted(record: RoutingRecord, token_id: int, *, most: int = 24) -> str:
    """A token's text in quotation marks, in one line; plain text."""
    piece = record.piece(token_id).replace("\n", "⏎").replace("\t", "⇥").translate(_TURNING)
    return f"“{piece if len(piece) <= most else piece[: most - 1] + '…'}”"


def _is_same(record: RoutingRecord, one: int, other: int) -> bool:
    same_side = (int(record.flag_t[one]) ^ int(record.flag_t[other])) & Flag.ENCODER == 0
    return bool(record.document_t[one] == record.document_t[other]) and same_side


def _token(record: RoutingRecord, row: int, is_marked: bool, href: Callable[[int], str] | None) -> str:
    text = f"<bdi>{visible(record.piece(record.token_t[row]))}</bdi>"
    text = f"<mark>{text}</mark>" if is_marked else text
    return text if href is None else f'<a href="{escape(href(row), quote=True)}">{text}</a>'
