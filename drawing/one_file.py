"""A trace as one HTML file: it asks for nothing, and says by itself what it shows and how its bytes are read.

The file holds, as base64 of zlib streams, one block for each quantity and one of the routes; `about` says in JSON what
they are, of which model, and in which version of this format. Nothing in it is run but its own script, whose hash its
policy names. docs/sharing.md describes the format.
"""

import json
import re
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from html import escape
from pathlib import Path

from gatescope.cache.temporary import write_whole
from gatescope.drawing.facts import captured_by
from gatescope.drawing.heatmap.browser import script, trace_markup, trace_style
from gatescope.drawing.parts import parts_of, without_text
from gatescope.routing.record import RoutingRecord

FORMAT = "gatescope-trace"
VERSION = 1
"""Goes up when a reader of the file would have to read it otherwise."""

LAYOUT = (
    "Each block is base64 of a zlib stream. Decompressed: 4 bytes little-endian = length of a JSON header, the header, "
    "then bytes. Block of a quantity, layers x tokens in the header's shape: one code a cell, layer by layer, "
    "0 to 254 in equal steps from scale.low to scale.high, 255 = undefined; then label_bytes bytes a cell (the first "
    "expert, little-endian), one byte of flags a token (1 special, 2 template, 4 generated), and one bit a cell for "
    "each name in bits. Block routes: counts by layer and expert (4 bytes each), tokens by layer (4 bytes each), then "
    "by token, layer and slot the ids of the experts (id_bytes each, little-endian, empty = none) and, with "
    "has_weights, each one's share of the token's weight in that layer in 255 steps."
)

_UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def to_html(
    record: RoutingRecord, path: str | Path | None = None, *, text: bool = True, selfcheck: str = "", note: str = ""
) -> str:
    """A trace as one HTML file that works without a network: heatmap, text, experts of each token.

    record      any number of tokens up to some 100,000 cells a quantity is comfortable; of one text, best
    path        where it is written, whole or not at all, readable by its owner; None: it is only returned
    text        False: every token's place stands for it; text, ids, predictions and labels of the text are not in the
                file. Routes remain, and who has the model may guess tokens from them.
    selfcheck   what is known of the model's self-check, in words
    note        a sentence above the heatmap

    Values are kept in 254 steps between the ends of their scale, weights as shares in 255 steps.
    Errors      OptionError for a record without tokens, or too large for a browser; OSError where `path` fails.
    """
    page = _page(record if text else without_text(record), text=text, selfcheck=selfcheck, note=note)
    if path is not None:
        write_whole(Path(path), page.encode())
    return page


def _page(record: RoutingRecord, *, text: bool, selfcheck: str, note: str) -> str:
    made, parts = record.provenance, parts_of(record, channel="trace")
    facts = _facts(record, text=text, selfcheck=selfcheck)
    about = {
        "format": FORMAT,
        "version": VERSION,
        "layout": LAYOUT,
        "facts": facts,
        "text": text,
        "quantities": parts.quantities,
    }
    blocks = "\n".join(
        f'<script type="text/plain" id="{name}">{b64encode(part).decode()}</script>'
        for name, part in parts.parts.items()
    )
    style, code = trace_style(), script("page")
    rows = "".join(f"<dt>{_shown(name)}</dt><dd>{_shown(value)}</dd>" for name, value in facts.items())
    title = f"{made.model}: where {record.tokens:,} tokens went"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy(style, code)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="{FORMAT} {VERSION}">
<title>{_shown(title)}</title>
<style>{style}</style>
</head>
<body>
<h1>{_shown(title)}</h1>
<p class="facts">{_shown(_headline(record, selfcheck))}</p>
{f'<p class="note">{_shown(note)}</p>' if note else ""}
<noscript><p class="note">This page draws with JavaScript, which is off.</p></noscript>
{trace_markup()}
<details class="about"><summary>About this file</summary><dl>{rows}</dl></details>
<script type="application/json" id="about">{_json(about)}</script>
{blocks}
<script type="module">{code}</script>
</body>
</html>
"""


def _policy(style: str, code: str) -> str:
    """Nothing may be loaded, sent or run but these two."""
    look, run = (b64encode(sha256(part.encode()).digest()).decode() for part in (style, code))
    return (
        f"default-src 'none'; script-src 'sha256-{run}'; style-src 'sha256-{look}'; base-uri 'none'; form-action 'none'"
    )


def _facts(record: RoutingRecord, *, text: bool, selfcheck: str) -> dict[str, str]:
    """What the numbers are of, and what they stand on."""
    from gatescope import __version__

    made = record.provenance
    known = {
        "Model": made.model,
        "Fingerprint": made.fingerprint,
        "Revision": made.revision,
        "Number format": "" if made.is_simulated else made.dtype,
        "Device": "" if made.is_simulated else made.device,
        "Routes": captured_by(made),
        "Intervention": made.intervention,
        "N": f"{record.tokens:,} tokens, {len(record.layers)} MoE layers, {record.slots} of {record.experts} experts",
        "Self-check": selfcheck or "not stated in this record",
        "Made with": ", ".join(f"{name} {version}" for name, version in made.versions.items()),
        "File": f"{FORMAT}, version {VERSION}, written by gatescope {__version__} on {datetime.now(UTC):%Y-%m-%d}",
        "Precision": "values in 254 steps of their scale, weights as shares in 255 steps",
        "Text": "contained in this file" if text else "not contained: places stand for the tokens",
    }
    return {name: value for name, value in known.items() if value}


def _headline(record: RoutingRecord, selfcheck: str) -> str:
    made = record.provenance
    parts = [
        f"{made.model} @ {made.fingerprint[:16]}",
        "" if made.is_simulated else made.dtype,
        f"N = {record.tokens:,} tokens",
        f"{len(record.layers)} MoE layers, {record.slots} of {record.experts} experts a token",
        captured_by(made),
        f"self-check: {selfcheck}" if selfcheck else "",
    ]
    return " · ".join(filter(None, parts))


def _shown(text: str) -> str:
    """Foreign text as HTML; what would hide or reorder is replaced."""
    return escape(_UNSHOWN.sub("\ufffd", text))


def _json(value: object) -> str:
    """JSON that no HTML ends."""
    plain = json.dumps(value, separators=(",", ":"))
    return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
