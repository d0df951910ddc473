"""Numbers to bytes: one message that holds all the browser needs to draw a matrix, deflated.

4 bytes    length of the header, little-endian
header     JSON: shape, scale, labels of rows and columns, token pieces
R*C bytes  one code a cell, row by row: 0 to 254 from scale.low to scale.high, 255 = undefined (NaN)
R*C*w      the labels of the cells, little-endian unsigned of w = 1 or 2 bytes, header.no_label = none; w may be 0
C bytes    flags of the tokens, when there are pieces
R*C bytes  numbers of the glyphs on the cells, when header.marks has any
R*C/8      one bit a cell for each name in header.bits, in that order, each rounded up to whole bytes
"""

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from gatescope.drawing.heatmap.hues import HUES
from gatescope.drawing.heatmap.overlay import Overlay
from gatescope.drawing.heatmap.scale import Scale
from gatescope.routing.errors import OptionError

UNDEFINED = 255
"""The code of a cell that has no value. It is drawn hatched, never as a zero."""

STEPS = 254
"""The number of steps between the two ends of the scale: a decoded value is off by at most half a step."""

STRENGTHS = 14
"""The number of steps of an expert's colour, from palest to full (LEVELS of palette.js)."""

TOKEN_FLAGS = {"special": 1, "template": 2, "generated": 4}
"""The bits of a token's flags: control token, text of the chat template, written by the model."""

PIECE_LIMIT = 200
"""Characters of a token that are sent; longer ones are cut and end in an ellipsis."""

MESSAGE_LIMIT = 8_000_000
"""Bytes that one message may have before it is deflated."""

DEFLATION = 1
"""The fastest level: higher ones save 1 % for several times the wait."""

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Axis:
    """One side of a matrix: what a row or column is called, and the label of each (None: 0, 1, 2 ...)."""

    noun: str
    labels: Sequence[str] | None = None


def quantise(values_rc: NDArray[np.floating], scale: Scale) -> NDArray[np.uint8]:
    """The code of each cell.

    >>> quantise(np.array([[0.0, 1.0, 2.0, np.nan]]), Scale("margin", low=0.0, high=2.0)).tolist()
    [[0, 127, 254, 255]]
    """
    values = np.asarray(values_rc, dtype=np.float32)
    undefined = np.isnan(values)
    _refuse_infinite(values, undefined)
    step = (values - np.float32(scale.low)) * np.float32(STEPS / (scale.high - scale.low))
    np.rint(step, out=step)
    np.clip(step, 0, STEPS, out=step)
    if scale.palette == "experts":  # as many strengths as are drawn: fewer deflate better
        np.rint(np.rint(step * (STRENGTHS / STEPS)) * (STEPS / STRENGTHS), out=step)
    step[undefined] = UNDEFINED
    return step.astype(np.uint8)


def encode(
    values_rc: NDArray[np.floating],
    scale: Scale,
    *,
    rows: Axis,
    columns: Axis,
    labels_rc: NDArray[np.integer] | None = None,
    pieces: Sequence[str] | None = None,
    flags: Sequence[int] | NDArray[np.integer] | None = None,
    overlay: Overlay | None = None,
    extra: Mapping[str, object] | None = None,
) -> bytes:
    """The message that draws this matrix; the layout is at the head of this file. `extra` joins the header."""
    shape = _shape(values_rc, rows, columns)
    overlay = overlay or Overlay()
    labels, width, no_label = _label_bytes(labels_rc, shape)
    header = {
        "shape": shape,
        "scale": asdict(scale) | _beyond(values_rc, scale),
        "rows": {"noun": rows.noun, "labels": _strings(rows.labels)},
        "columns": {"noun": columns.noun, "labels": _strings(columns.labels)},
        "label_bytes": width,
        "no_label": no_label,
        "pieces": None if pieces is None else [_shorten(piece) for piece in pieces],
        **overlay.header(),
        "hues": HUES,
        **(extra or {}),
    }
    text = _LONE_SURROGATE.sub(_escape, json.dumps(header, ensure_ascii=False, separators=(",", ":"))).encode()
    cells = quantise(values_rc, scale).tobytes()
    tail = labels + _flag_bytes(pieces, flags, shape[1]) + overlay.tail(shape)
    return _deflate(_within_limit(len(text).to_bytes(4, "little") + text + cells + tail, shape))


def _deflate(message: bytes) -> bytes:
    """Codes are close to noise: only runs are looked for, which is faster than any level and leaves less."""
    packer = zlib.compressobj(DEFLATION, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    return packer.compress(message) + packer.flush()


def _escape(found: re.Match[str]) -> str:
    """Half a character cannot be UTF-8; as JSON's escape it arrives, and the browser shows its code."""
    return f"\\u{ord(found[0]):04x}"


def _refuse_infinite(values: NDArray[np.float32], undefined: NDArray[np.bool_]) -> None:
    """Raise with the first cell that is infinite."""
    infinite = ~np.isfinite(values) & ~undefined
    if infinite.any():
        row, column = np.argwhere(infinite)[0].tolist()
        raise OptionError(
            f"{int(infinite.sum())} infinite values, the first at row {row}, column {column}",
            expected="finite numbers, or NaN where the quantity is undefined",
            do="decide what the infinity means and pass its limit or NaN",
        )


def _shape(values_rc: NDArray[np.floating], rows: Axis, columns: Axis) -> tuple[int, int]:
    """Rows and columns of the matrix, once both agree with the labels."""
    if values_rc.ndim != 2 or 0 in values_rc.shape:
        raise OptionError(
            f"an array of shape {values_rc.shape}",
            expected="two axes, rows and columns, neither empty",
            do="show a sentence instead of an empty matrix",
        )
    for axis, size in zip((rows, columns), values_rc.shape, strict=True):
        if axis.labels is not None and len(axis.labels) != size:
            raise OptionError(
                f"{len(axis.labels)} {axis.noun} labels for {size}",
                expected="one label for each",
                do="check that the matrix is rows by columns and not transposed",
            )
    return values_rc.shape[0], values_rc.shape[1]


def _beyond(values_rc: NDArray[np.floating], scale: Scale) -> dict[str, bool]:
    """Does any value lie beyond the ends? The legend then reads "≤ low" or "≥ high"."""
    lowest, highest = np.fmin.reduce(values_rc, axis=None), np.fmax.reduce(values_rc, axis=None)
    slack = (scale.high - scale.low) * 1e-6
    return {"below": bool(lowest < scale.low - slack), "above": bool(highest > scale.high + slack)}


def _label_bytes(labels_rc: NDArray[np.integer] | None, shape: tuple[int, int]) -> tuple[bytes, int, int | None]:
    """The labels in the fewest bytes a cell, how many, and which number means "none" where any is negative."""
    if labels_rc is None:
        return b"", 0, None
    if labels_rc.shape != shape or labels_rc.max() >= 65_535:
        raise OptionError(
            f"cell labels of shape {labels_rc.shape}, largest {labels_rc.max()}",
            expected=f"shape {shape} and whole numbers below 65,535",
            do="give one label for each cell",
        )
    has_none = bool(labels_rc.min() < 0)
    kind = np.dtype("u1" if labels_rc.max() < 256 - has_none else "<u2")
    none = int(np.iinfo(kind).max)
    return np.where(labels_rc < 0, none, labels_rc).astype(kind).tobytes(), kind.itemsize, none if has_none else None


def _flag_bytes(pieces: Sequence[str] | None, flags: Sequence[int] | NDArray[np.integer] | None, columns: int) -> bytes:
    """One byte a token, zeros when no flags are given."""
    if pieces is None:
        return b""
    given = np.zeros(columns, np.uint8) if flags is None else np.asarray(flags)
    if len(pieces) != columns or given.shape != (columns,):
        raise OptionError(
            f"{len(pieces)} pieces and {given.size} flags for {columns} columns",
            expected="one piece and one flag for each column",
            do="check that the matrix is layers by tokens and not transposed",
        )
    return given.astype(np.uint8).tobytes()


def _strings(labels: Sequence[str] | None) -> list[str] | None:
    """Labels as plain strings."""
    return None if labels is None else [str(label) for label in labels]


def _shorten(piece: str) -> str:
    """A token no longer than the screen needs."""
    return piece if len(piece) <= PIECE_LIMIT else piece[:PIECE_LIMIT] + "…"


def _within_limit(message: bytes, shape: tuple[int, int]) -> bytes:
    """Refuse a message that would stall the browser."""
    if len(message) > MESSAGE_LIMIT:
        raise OptionError(
            f"a matrix of {shape[0]:,} x {shape[1]:,} needs {len(message):,} bytes",
            expected=f"at most {MESSAGE_LIMIT:,} bytes",
            do="show fewer tokens at a time",
        )
    return message
