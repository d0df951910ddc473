"""The pinned token as a card: what it is, what came next, and layer by layer the experts that took it.

The card is HTML, for it is a table of bars and no chart; everything that comes from a text or a model is escaped. A bar
is the background of its expert, and what lies below in the box waits to be seen: 96 layers of 9 experts stand at once.
"""

import re
from collections.abc import Callable
from html import escape

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.token.routing_trace import in_decimals
from gatescope.routing.groups import layer_names
from gatescope.routing.record import Flag, RoutingRecord

_HIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_MARKS = {" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍", "\xa0": "⍽", "\x7f": "␡"}
_KINDS = {
    Flag.SPECIAL: "special",
    Flag.TEMPLATE: "chat template",
    Flag.GENERATED: "generated",
    Flag.IMAGE: "image",
}

Href = Callable[[int, int | None], str]
"""The link of an expert by layer and number, or (None) of the layer."""

STYLE = """<style>
.gs-card { --faint: color-mix(in srgb, currentColor 14%, transparent); font-size: .875rem; line-height: 1.4; }
.gs-card .piece { font-size: 1.35rem; font-weight: 600; overflow-wrap: anywhere; margin: 0 0 .5rem; }
.gs-card .piece i { font-style: normal; opacity: .5; }
.gs-card dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .9rem; margin: 0 0 .9rem; padding: 0; }
.gs-card dt, .gs-card dd { font-size: .875rem; }
.gs-card dt { opacity: .75; margin: 0; padding: 0; font-weight: 400; }
.gs-card dd { margin: 0; padding: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.gs-card .scroll { max-height: 30rem; overflow: auto; }
.gs-card .scroll:focus-visible { outline: 3px solid; outline-offset: 2px; }
.gs-card table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
.gs-card caption { text-align: left; opacity: .75; padding-bottom: .35rem; }
.gs-card th, .gs-card td { border: 0; border-top: 1px solid var(--faint); padding: .3rem .4rem .3rem 0;
  text-align: left; vertical-align: top; font-weight: 400; }
.gs-card thead th { opacity: .75; font-size: .8125rem; border-top: 0; }
.gs-card tr.pinned th, .gs-card tr.pinned td { background: var(--faint); }
.gs-card tr.pinned th { font-weight: 700; box-shadow: inset 3px 0 currentColor; }
.gs-card tbody th { padding-left: .5rem; }
.gs-card .experts { display: flex; flex-wrap: wrap; gap: .3rem .7rem; }
.gs-card td .experts { content-visibility: auto; contain-intrinsic-size: auto 1.75rem; }
.gs-card .expert { min-width: 3.4rem; padding-bottom: 5px; font-weight: 600; }
.gs-card .expert small { opacity: .8; font-weight: 400; }
.gs-card .expert[style] { background: linear-gradient(color-mix(in srgb, currentColor 75%, transparent) 0 0)
  0 100% / var(--share) 4px no-repeat, linear-gradient(var(--faint) 0 0) 0 100% / 100% 4px no-repeat; }
.gs-card .rejected { border-bottom: 1px dashed; padding: 0; white-space: nowrap; font-weight: 400; }
.gs-card .here { border-left: 3px solid; padding: .1rem 0 .25rem .7rem; margin: 0 0 .9rem; }
@media (min-width: 900px) { .gs-card { display: grid; grid-template-columns: minmax(14rem, 2fr) 5fr; gap: 0 1.5rem; } }
.gs-card .here p { margin: 0 0 .2rem; font-weight: 600; font-size: .875rem; }
</style>"""


def visible(piece: str) -> str:
    """A token's text as HTML, its white space and hidden characters as signs.

    >>> visible(" <b>")
    '<i>·</i>&lt;b&gt;'
    """
    if not piece:
        return "<i>∅</i>"
    return _SPLIT.sub(lambda run: f"<i>{_marks(run[0])}</i>", escape(piece))


_SPLIT = re.compile(f"{_HIDDEN.pattern}+")


def _marks(hidden: str) -> str:
    return "".join(_MARKS.get(character, _code(character)) for character in hidden)


def _code(character: str) -> str:
    return chr(0x2400 + ord(character)) if ord(character) < 32 else f"‹{ord(character):04X}›"


def card(record: RoutingRecord, token: int, layer: int | None, *, href: Href | None = None) -> str:
    """The card of one token; the pinned layer's experts come first, then those of all layers in order.

    With `href`, the numbers of experts and the names of layers are links.
    """
    items = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts(record, token))
    return (
        f'{STYLE}<section class="gs-card" aria-label="Pinned token"><div>'
        f'<p class="piece"><bdi>{visible(record.piece(record.token_t[token]))}</bdi></p><dl>{items}</dl>'
        f"{'' if layer is None else _pinned_layer(record, token, layer, href)}</div>"
        f"{_layers(record, token, layer, href)}</section>"
    )


def _pinned_layer(record: RoutingRecord, token: int, layer: int, href: Href | None) -> str:
    name = _link(f"Layer {escape(layer_names(record.layers)[layer])}", href, layer)
    return f'<div class="here"><p>{name}</p>{_experts(record, token, layer, href)}</div>'


def _link(text: str, href: Href | None, layer: int, expert: int | None = None) -> str:
    return text if href is None else f'<a href="{escape(href(layer, expert), quote=True)}">{text}</a>'


def _layers(record: RoutingRecord, token: int, layer: int | None, href: Href | None) -> str:
    """All layers, in a box of their own that scrolls when they are many."""
    rows = "".join(_row(record, token, rule.layer, href, is_pinned=rule.layer == layer) for rule in record.layers)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Experts by layer"><table>'
        "<caption>Every layer: its experts by weight, and the runner-up that was not chosen</caption>"
        '<thead><tr><th scope="col">Layer</th><th scope="col">Expert and weight</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def kinds(record: RoutingRecord, token: int) -> str:
    """What kind of token it is, in words."""
    flag = int(record.flag_t[token])
    return ", ".join(name for bit, name in _KINDS.items() if flag & bit) or "prompt"


def facts(record: RoutingRecord, token: int) -> list[tuple[str, str]]:
    """What is known of a token: names, and texts as HTML."""
    known = [
        ("Token", f"{token} of 0 … {record.tokens - 1}"),
        ("Id", f"{record.token_t[token]}"),
        ("Kind", kinds(record, token)),
    ]
    if len(record.documents) > 1:
        known.append(("Document", f"{record.document_t[token]}, position {record.position_t[token]}"))
    if record.predicted_t is not None and record.predicted_t[token] >= 0:
        known.append(("Expected next", f"<bdi>{visible(record.piece(record.predicted_t[token]))}</bdi>"))
    known.append(("Came next", _next(record, token)))
    return known


def _next(record: RoutingRecord, token: int) -> str:
    """The token that followed, and how much it surprised the model."""
    after = token + 1
    if after >= record.tokens or record.document_t[after] != record.document_t[token]:
        return "nothing, the text ends"
    text = f"<bdi>{visible(record.piece(record.token_t[after]))}</bdi>"
    if record.loss_t is None or not np.isfinite(record.loss_t[token]):
        return text
    return f"{text} (loss {record.loss_t[token]:.2f} nats)"


def _row(record: RoutingRecord, token: int, layer: int, href: Href | None, *, is_pinned: bool) -> str:
    mark = ' class="pinned"' if is_pinned else ""
    name = _link(str(layer), href, layer)
    return f'<tr{mark}><th scope="row">{name}</th><td>{_experts(record, token, layer, href)}</td></tr>'


def _experts(record: RoutingRecord, token: int, layer: int, href: Href | None) -> str:
    """The experts of one token at one layer with their weights as bars, then the first one rejected."""
    ids_k = record.ids_tlk[token, layer]
    taken = [
        _expert(_link(str(expert), href, layer, int(expert)), _weights(record, token, layer), slot)
        for slot, expert in enumerate(ids_k)
        if expert != record.empty
    ]
    nobody = [] if taken else [f"none: {escape(_why_none(record, token, layer))}"]
    return f'<div class="experts">{"".join(taken + nobody + _rejected(record, token, layer, href))}</div>'


def _weights(record: RoutingRecord, token: int, layer: int) -> NDArray[np.float64] | None:
    return None if record.weight_tlk is None else record.weight_tlk[token, layer].astype(np.float64)


def _why_none(record: RoutingRecord, token: int, layer: int) -> str:
    """Why no expert of a layer ran for a token."""
    rule, is_encoder_token = record.layers[layer], bool(record.flag_t[token] & Flag.ENCODER)
    if is_encoder_token == (rule.stack == "decoder"):
        return f"the token does not pass this layer of the {rule.stack}"
    return f"a slot stays empty {rule.empty_when}" if rule.empty_when else "the token was dropped"


def _expert(expert: str, weight_k: NDArray[np.float64] | None, slot: int) -> str:
    if weight_k is None:
        return f'<span class="expert">{expert}</span>'
    largest = max(float(np.abs(weight_k).max()), 1e-9)
    share = 100 * abs(float(weight_k[slot])) / largest
    return f'<span class="expert" style="--share:{share:.0f}%">{expert} <small>{weight_k[slot]:.2f}</small></span>'


def _rejected(record: RoutingRecord, token: int, layer: int, href: Href | None) -> list[str]:
    """The runner-up, the best expert that was not chosen, and by how much it missed, if that was recorded."""
    if record.rejected_tl is None or record.rejected_tl[token, layer] == record.empty:
        return []
    gap = "" if record.margin_tl is None else f" by {in_decimals(record.margin_tl[token, layer])}"
    expert = _link(str(record.rejected_tl[token, layer]), href, layer, int(record.rejected_tl[token, layer]))
    return [f'<span class="expert rejected">{expert} <small>runner-up{gap}</small></span>']
