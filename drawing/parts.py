"""A trace in parts, for hosts without a server: each quantity's message, the routes, and words beside them.

A part is a zlib stream; heatmap/encode.py and heatmap/routes.py say what it holds.
"""

import re
import zlib
from dataclasses import dataclass, replace

import numpy as np

from gatescope.drawing.heatmap.encode import Axis, encode
from gatescope.drawing.heatmap.overlay import Overlay
from gatescope.drawing.heatmap.routes import encode_routes
from gatescope.drawing.token_heatmap import (
    changes,
    close_calls,
    explain,
    row_names,
    token_figure,
    token_flags,
    token_pieces,
    view_title,
    views,
)
from gatescope.routing.record import Document, RoutingRecord

ROUTES = "routes"
"""The part that holds the experts of each token; the others have the name of their quantity."""

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Parts:
    """What a host draws a trace from: names and words of the quantities, in their order, and the parts by name."""

    quantities: list[dict[str, str]]
    parts: dict[str, bytes]


def parts_of(record: RoutingRecord, *, channel: str) -> Parts:
    """Every quantity of a record, and its routes. `channel` tells it from other traces of the same page.

    Errors      OptionError for a record without tokens, or one that a browser would not bear.
    """
    made, close = record.provenance, close_calls(record)
    quantities, parts = [], {}
    for view in views(record):
        drawn = token_figure(record, view)
        message = encode(
            drawn.values_lt,
            drawn.scale,
            rows=Axis("layer", row_names(record)),
            columns=Axis("token"),
            labels_rc=drawn.expert_lt,
            pieces=token_pieces(record),
            flags=token_flags(record),
            overlay=Overlay(
                changes_rc=None if drawn.expert_lt is not None else changes(record),
                stops_rc=close,
                stops_say="close call",
            ),
            extra={
                "channel": channel,
                "description": drawn.sentence,
                "attribution": made.model + (", under an intervention" if made.intervention else ""),
                "label_noun": "expert",
                "group": "",
                "square": False,
                "follows": False,
                "has_grid": True,
                "can_span": False,
                "can_open_rows": False,
                "can_open_experts": False,
            },
        )
        parts[view] = _tightened(message)
        words = {"slug": view, "title": view_title(view), "says": explain(view).says, "sentence": drawn.sentence}
        quantities.append({name: _SURROGATE.sub("\ufffd", text) for name, text in words.items()})
    parts[ROUTES] = _tightened(encode_routes(record, channel, is_whole=True))
    return Parts(quantities, parts)


def without_text(record: RoutingRecord) -> RoutingRecord:
    """The same routes, the tokens known by their places alone: no text, no ids, no predictions, no labels of texts.

    Routes themselves say something of a text: who has the model can try which tokens would take them.
    """
    return replace(
        record,
        token_t=np.arange(record.tokens, dtype=np.int32),
        pieces={place: f"⟨{place}⟩" for place in range(record.tokens)},
        predicted_t=None,
        loss_t=None,
        documents=tuple(Document("") for _ in record.documents),
    )


def _tightened(part: bytes) -> bytes:
    """The smaller of two ways to deflate: the messages of a server are packed for speed."""
    plain = zlib.decompress(part)
    return min((_packed(plain, way) for way in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_RLE)), key=len)


def _packed(plain: bytes, strategy: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 9, strategy)
    return packer.compress(plain) + packer.flush()
