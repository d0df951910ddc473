"""The two Streamlit calls: a matrix, and a matrix under the text of its tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from app.components.carpet.encode import Axis, encode
from app.components.carpet.scale import Scale

SCRIPTS = ("palette.js", "model.js", "view.js", "paint.js", "text.js", "carpet.js")
"""The browser's files in the order in which they are joined to one module."""

_HERE = Path(__file__).parent
_CARPET = st.components.v2.component(
    "gatescope_carpet",
    html=(_HERE / "carpet.html").read_text("utf-8"),
    css=(_HERE / "carpet.css").read_text("utf-8"),
    js="\n".join((_HERE / name).read_text("utf-8") for name in SCRIPTS),
)
_PIN = st.components.v2.component("gatescope_pin", js=(_HERE / "pin.js").read_text("utf-8"))


@dataclass(frozen=True)
class Pick:
    """A pinned cell; `row` is None when only a column (a token) was picked."""

    row: int | None
    column: int


Pinned = Pick | tuple[int | None, int] | None
"""What a page may hand in as the pinned cell."""


def matrix(
    values_rc: NDArray[np.floating],
    *,
    rows: Sequence[str] | None,
    columns: Sequence[str] | None,
    scale: Scale,
    pinned: Pinned,
    key: str,
    row_noun: str = "layer",
    column_noun: str = "expert",
    labels_rc: NDArray[np.integer] | None = None,
    label_noun: str = "expert",
    description: str = "",
    on_pick: Callable[[Pick | None], None] | None = None,
) -> Pick | None:
    """Draw a matrix and return the cell that is pinned after this run.

    The page owns the pin: hand in the one it knows, keep the one that comes back. A click, Enter or Esc in the browser
    wins over `pinned` in the run it causes; `on_pick` hears of it before that run begins.

        state.pin = matrix(load_le, rows=None, columns=None, scale=scale, pinned=state.pin, key="load")

    Shapes: `values_rc` and `labels_rc` have one row per row of the picture. Undefined: NaN is drawn hatched.
    `rows`, `columns`: the names, or None for 0, 1, 2 ... `labels_rc`: whole numbers written into cells that have room,
    negative for none. `description`: the takeaway, for readers who do not see the picture and under the saved one.
    A pin that lies outside this matrix counts as none. Not for use inside `st.form`, where Streamlit drops clicks.
    """
    data = encode(
        values_rc,
        scale,
        rows=Axis(row_noun, rows),
        columns=Axis(column_noun, columns),
        labels_rc=labels_rc,
        extra={"channel": key, "description": description, "label_noun": label_noun},
    )
    return _mount(data, values_rc.shape, pinned, key=key, on_pick=on_pick)


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
    row_noun: str = "layer",
    column_noun: str = "token",
    labels_rc: NDArray[np.integer] | None = None,
    label_noun: str = "expert",
    description: str = "",
    on_pick: Callable[[Pick | None], None] | None = None,
) -> Pick | None:
    """Draw the text of the tokens above the matrix of their values; otherwise like `matrix`.

    Each token takes the colour of its value in the pinned row, or of the extreme of its column while no row is pinned.
    `pieces` are the tokens as Python strings (white space, hidden characters and markup are made visible in the
    browser); `flags` are sums of `TOKEN_FLAGS`. A click on a token pins its column and keeps the pinned row.
    """
    data = encode(
        values_rc,
        scale,
        rows=Axis(row_noun, rows),
        columns=Axis(column_noun, columns),
        labels_rc=labels_rc,
        pieces=pieces,
        flags=flags,
        extra={"channel": key, "description": description, "label_noun": label_noun},
    )
    return _mount(data, values_rc.shape, pinned, key=key, on_pick=on_pick)


def _mount(
    data: bytes,
    shape: tuple[int, ...],
    pinned: Pinned,
    *,
    key: str,
    on_pick: Callable[[Pick | None], None] | None,
) -> Pick | None:
    """Place the matrix, then the tiny carrier of its pin, so that a new pin does not send the matrix again."""

    def hear() -> None:
        event = _read_event(st.session_state[key].get("pick"), shape)
        if event is not None and on_pick is not None:
            on_pick(event.pick)

    with st.container(gap=None):
        result = _CARPET(data=data, key=key, on_pick_change=hear)
        event = _read_event(result.get("pick"), shape)
        pick = _inside(pinned, shape) if event is None else event.pick
        place = {"row": None, "column": None} if pick is None else {"row": pick.row, "column": pick.column}
        answers = 0 if event is None else event.serial
        _PIN(data={"channel": key, "answers": answers, **place}, key=f"{key}-pin")
    return pick


@dataclass(frozen=True)
class _Event:
    """What the reader did: picked a cell, or released it (None); `serial` tells later events from earlier ones."""

    pick: Pick | None
    serial: int


def _read_event(payload: Any, shape: tuple[int, ...]) -> _Event | None:
    """The event the browser sent, or None when there is none or when it is not one of this matrix."""
    if not isinstance(payload, dict) or not _is_index(payload.get("serial"), 2**53):
        return None
    row, column, serial = payload.get("row"), payload.get("column"), payload["serial"]
    if row is None and column is None:
        return _Event(None, serial)
    pick = _cell(row, column, shape)
    return None if pick is None else _Event(pick, serial)


def _inside(pinned: Pinned, shape: tuple[int, ...]) -> Pick | None:
    """The pin of the page, if it lies in this matrix."""
    if pinned is None:
        return None
    row, column = (pinned.row, pinned.column) if isinstance(pinned, Pick) else pinned
    return _cell(row, column, shape)


def _cell(row: Any, column: Any, shape: tuple[int, ...]) -> Pick | None:
    """A cell of the matrix, or None for anything else."""
    is_cell = (row is None or _is_index(row, shape[0])) and _is_index(column, shape[1])
    return Pick(None if row is None else int(row), int(column)) if is_cell else None


def _is_index(number: Any, size: int) -> bool:
    """A whole number from 0 to size - 1; true and false are not numbers."""
    return isinstance(number, (int, np.integer)) and not isinstance(number, bool) and bool(0 <= number < size)
