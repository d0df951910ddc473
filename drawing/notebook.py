"""A trace in a notebook: drawn in a frame that reaches nothing, or as a widget whose clicks come back to Python."""

from dataclasses import dataclass
from html import escape
from importlib import import_module
from itertools import count
from json import dumps
from pathlib import Path
from typing import Any

from gatescope.drawing.facts import captured_by
from gatescope.drawing.heatmap.browser import script, trace_markup, trace_style
from gatescope.drawing.one_file import to_html
from gatescope.drawing.parts import parts_of, without_text
from gatescope.routing.errors import OptionError
from gatescope.routing.record import RoutingRecord

CELL_BYTES = 1_000_000
"""Bytes of HTML that a notebook's cell may take; longer texts show their first tokens."""

FRAME_PIXELS = 860

_numbers = count()


def show(record: RoutingRecord, *, text: bool = True) -> "Shown":
    """A trace for the last line of a notebook's cell: heatmap, text, experts of each token; nothing is fetched.

    text        False: places stand for the tokens, as in `to_html`
    """
    return Shown(record, text=text)


@dataclass(frozen=True, eq=False, repr=False)
class Shown:
    """A trace that a notebook draws; `widget` makes one that answers, `to_html` a file."""

    record: RoutingRecord
    text: bool = True

    def __repr__(self) -> str:
        made = self.record.provenance
        return (
            f"{made.model} @ {made.fingerprint[:8]}: {self.record.tokens:,} tokens, "
            f"{len(self.record.layers)} MoE layers, {self.record.slots} of {self.record.experts} experts a token, "
            f"{captured_by(made)}"
        )

    def _repr_html_(self) -> str:
        """The page in a frame of its own: styles, scripts and tokens stay in it. Words stand under it."""
        page = escape(self._page(), quote=True)
        title = escape(repr(self), quote=True)
        return (
            f'<iframe srcdoc="{page}" sandbox="allow-scripts allow-downloads" title="{title}" '
            f'style="width:100%;height:{FRAME_PIXELS}px;border:0" loading="lazy"></iframe><p><small>{title}</small></p>'
        )

    def to_html(self, path: str | Path | None = None) -> str:
        """The same as one file, of all tokens."""
        return to_html(self.record, path, text=self.text)

    def widget(self) -> Any:
        """A widget with the traits `token`, `layer` and `expert`: what the reader pinned or chose, else None.

        Errors      OptionError where anywidget is not installed.
        """
        parts = parts_of(self.record if self.text else without_text(self.record), channel=f"widget-{next(_numbers)}")
        return _widget_class()(
            _style=trace_style(), _markup=trace_markup(), _parts=parts.parts, _quantities=dumps(parts.quantities)
        )

    def _page(self) -> str:
        """All of the text, or as much of its beginning as a cell may hold."""
        page, tokens = self.to_html(), self.record.tokens
        while len(page) > CELL_BYTES and tokens > 1:
            tokens = max(1, int(tokens * 0.95 * CELL_BYTES / len(page)))
            note = (
                f"Reduced: the first {tokens:,} of {self.record.tokens:,} tokens, to keep this notebook small. "
                "show(record).to_html(path) writes all of them."
            )
            page = to_html(self.record.take(slice(0, tokens)), text=self.text, note=note)
        return page


def _widget_class() -> type[Any]:
    """The widget's class, made where anywidget is."""
    try:
        anywidget, traitlets = import_module("anywidget"), import_module("traitlets")
    except ImportError:
        raise OptionError(
            "no anywidget in this environment",
            expected="the extra of notebooks, which a click needs to come back to Python",
            do="pip install 'gatescope[notebook]', or let the cell end in show(record) without .widget()",
        ) from None
    places = {name: traitlets.Int(None, allow_none=True).tag(sync=True) for name in ("token", "layer", "expert")}
    texts = {name: traitlets.Unicode().tag(sync=True) for name in ("_style", "_markup", "_quantities")}
    parts = {"_parts": traitlets.Dict().tag(sync=True)}
    return type("TraceWidget", (anywidget.AnyWidget,), {"_esm": script("widget"), **places, **texts, **parts})
