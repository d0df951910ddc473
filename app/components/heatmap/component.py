"""The two Streamlit calls: a matrix, and a matrix under the text of its tokens."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypedDict, Unpack

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from gatescope.app.components.heatmap.grid import Expert, Grid, feed
from gatescope.drawing.heatmap.browser import markup, script, style
from gatescope.drawing.heatmap.encode import Axis, encode
from gatescope.drawing.heatmap.events import (
    Event,
    Pick,
    Pinned,
    Span,
    expert_event,
    inside,
    pick_event,
    row_event,
    span_event,
    span_inside,
)
from gatescope.drawing.heatmap.overlay import Mark, Overlay
from gatescope.drawing.heatmap.scale import Scale

_HEATMAP = st.components.v2.component("gatescope_heatmap", html=markup(), css=style(), js=script("streamlit"))
_PIN = st.components.v2.component("gatescope_pin", js=script("pin"))


class Options(TypedDict, total=False):
    """What both calls take besides the values; all of it may be left out.

    `row_noun`, `column_noun`: what one row and one column are called.
    `labels_rc`, `label_noun`: whole numbers written into cells that have room, negative for none; what they count.
    `description`: the takeaway, for readers who do not see the picture and under the saved one.
    `attribution`: the line at the foot of a saved picture: where the numbers come from.
    `on_pick`: hears of a pick or release (None) before the run it causes begins.
    `span`, `on_span`: the selected range of columns, both ends included; it can be changed where `on_span` is given.
    `on_row`: hears which row's label was chosen; the labels then look like links.
    `marks_rc`, `marks`: glyphs on cells, 0 for none, else 1 + index into `marks`.
    `faded_rc`, `faded_says`: cells that are drawn faint, and why ("not beyond chance").
    `changes_rc`: where the keys `.` and `,` stop; `stops_rc`, `stops_say`: where `n` and `N` do, and what is there.
    `group`: matrices of one page with the same group share cursor and window.
    `square`: cells as square as the width allows, for experts by experts; both axes zoom.
    `grid`: beside the text of tokens, the experts that ran for them.
    `follows`: the last column is looked at whenever more have come.
    """

    row_noun: str
    column_noun: str
    labels_rc: NDArray[np.integer] | None
    label_noun: str
    description: str
    attribution: str
    on_pick: Callable[[Pick | None], None] | None
    span: Span | None
    on_span: Callable[[Span | None], None] | None
    on_row: Callable[[int], None] | None
    marks_rc: NDArray[np.integer] | None
    marks: Sequence[Mark]
    faded_rc: NDArray[np.bool_] | None
    faded_says: str
    changes_rc: NDArray[np.bool_] | None
    stops_rc: NDArray[np.bool_] | None
    stops_say: str
    group: str
    square: bool
    grid: Grid | None
    follows: bool


def matrix(
    values_rc: NDArray[np.floating],
    *,
    rows: Sequence[str] | None,
    columns: Sequence[str] | None,
    scale: Scale,
    pinned: Pinned,
    key: str,
    **options: Unpack[Options],
) -> Pick | None:
    """Draw a matrix and return the cell that is pinned after this run.

    The page owns the pin: hand in the one it knows, keep the one that comes back. A click, Enter or Esc in the browser
    wins over `pinned` in the run it causes; `on_pick` hears of it before that run begins. The same holds for `span`.
    Keep pin and range in `on_pick` and `on_span` where both can change: a run may be cut short by the next event
    before it comes to keep what is returned.

        state.pin = matrix(load_le, rows=None, columns=None, scale=scale, pinned=state.pin, key="load")

    Shapes: `values_rc` and every option that ends in `_rc` have one row per row of the picture. Undefined: NaN is drawn
    hatched. `rows`, `columns`: the names, or None for 0, 1, 2 ... The other options are described at `Options`.
    A pin that lies outside this matrix counts as none. Not for use inside `st.form`, where Streamlit drops clicks.
    """
    data = encode(
        values_rc,
        scale,
        rows=Axis(options.get("row_noun", "layer"), rows),
        columns=Axis(options.get("column_noun", "expert"), columns),
        labels_rc=options.get("labels_rc"),
        overlay=_overlay(options),
        extra=_extra(key, options),
    )
    return _mount(data, values_rc.shape, pinned, key=key, options=options)


def token_matrix(
    values_rc: NDArray[np.floating],
    *,
    pieces: Sequence[str],
    rows: Sequence[str] | None,
    scale: Scale,
    pinned: Pinned,
    key: str,
    flags: Sequence[int] | NDArray[np.integer] | None = None,
    columns: Sequence[str] | None = None,
    **options: Unpack[Options],
) -> Pick | None:
    """Draw the text of the tokens above the matrix of their values; otherwise like `matrix`.

    Each token takes the colour of its value in the pinned row, or of the extreme of its column while no row is pinned.
    `pieces` are the tokens as Python strings (white space, hidden characters and markup are made visible in the
    browser); `flags` are sums of `TOKEN_FLAGS`. A click on a token pins its column and keeps the pinned row.
    """
    data = encode(
        values_rc,
        scale,
        rows=Axis(options.get("row_noun", "layer"), rows),
        columns=Axis(options.get("column_noun", "token"), columns),
        labels_rc=options.get("labels_rc"),
        pieces=pieces,
        flags=flags,
        overlay=_overlay(options),
        extra=_extra(key, options),
    )
    return _mount(data, values_rc.shape, pinned, key=key, options=options)


_OVERLAYS = tuple(Overlay.__dataclass_fields__)


def _overlay(options: Options) -> Overlay:
    """The options that lie over the cells."""
    given: Mapping[str, Any] = options
    return Overlay(**{name: given[name] for name in _OVERLAYS if name in given})


def _extra(key: str, options: Options) -> dict[str, object]:
    """What else the browser must know. An option nobody knows is refused: it would be lost without a word."""
    if unknown := sorted(options.keys() - Options.__annotations__.keys()):
        raise TypeError(f"unexpected options: {', '.join(unknown)}")
    return {
        "channel": key,
        "description": options.get("description", ""),
        "attribution": options.get("attribution", ""),
        "label_noun": options.get("label_noun", "expert"),
        "group": options.get("group", ""),
        "square": options.get("square", False),
        "follows": options.get("follows", False),
        "has_grid": options.get("grid") is not None,
        "can_span": options.get("on_span") is not None,
        "can_open_rows": options.get("on_row") is not None,
        "can_open_experts": options.get("grid") is not None,
    }


def _mount(data: bytes, shape: tuple[int, ...], pinned: Pinned, *, key: str, options: Options) -> Pick | None:
    """Place the matrix, then the tiny carrier of pin and range, so that a new pin does not send the matrix again."""
    on_pick, on_span, on_row = options.get("on_pick"), options.get("on_span"), options.get("on_row")
    grid = options.get("grid")

    def hear_pick() -> None:
        event = pick_event(st.session_state[key].get("pick"), shape)
        if event is not None and on_pick is not None:
            on_pick(event.value)

    def hear_span() -> None:
        event = span_event(st.session_state[key].get("span"), shape)
        if event is not None and on_span is not None:
            on_span(event.value)

    def hear_row() -> None:
        row = row_event(st.session_state[key].get("row"), shape)
        if row is not None and on_row is not None:
            on_row(row)

    def chosen_in(name: str) -> Event[Expert] | None:
        return None if grid is None else expert_event(st.session_state[key].get(name), shape[0], grid.experts)

    def hear_expert() -> None:
        event = chosen_in("expert")
        if grid is not None and event is not None:
            grid.on_choose(event.value)

    def hear_opened() -> None:
        event = chosen_in("opened")
        if grid is not None and event is not None and event.value is not None:
            grid.on_open(event.value)

    with st.container(gap=None):
        result = _HEATMAP(
            data=data,
            key=key,
            on_pick_change=hear_pick,
            on_span_change=hear_span,
            on_row_change=hear_row,
            on_expert_change=hear_expert,
            on_opened_change=hear_opened,
        )
        picked, ranged = pick_event(result.get("pick"), shape), span_event(result.get("span"), shape)
        pick = inside(pinned, shape) if picked is None else picked.value
        span = span_inside(options.get("span"), shape) if ranged is None else ranged.value
        chose = None if grid is None else expert_event(result.get("expert"), shape[0], grid.experts)
        answers = max((event.serial for event in (picked, ranged, chose) if event is not None), default=0)
        place = {"row": None, "column": None} if pick is None else asdict(pick)
        chosen = None if grid is None else grid.message()
        _PIN(data={"channel": key, "answers": answers, **place, "span": span, "chosen": chosen}, key=f"{key}-pin")
        if grid is not None:
            feed(grid, key, 0 if pick is None else pick.column, shape[1])
    return pick
