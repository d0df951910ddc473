"""Glyphs, faint cells and stops: their bytes by hand calculation, refusals by message."""

import doctest
import json
import zlib

import numpy as np
import pytest

from gatescope.drawing.heatmap import overlay as overlay_module
from gatescope.drawing.heatmap.encode import Axis, encode
from gatescope.drawing.heatmap.overlay import Mark, Overlay
from gatescope.drawing.heatmap.scale import Scale
from gatescope.routing.errors import OptionError

SCALE = Scale("load", low=0.0, high=1.0)
DEAD = Mark("×", "dead")


def send(values: np.ndarray, overlay: Overlay, **options) -> tuple[dict, bytes]:
    """Header and what follows the cells."""
    message = zlib.decompress(
        encode(values, SCALE, rows=Axis("layer"), columns=Axis("expert"), overlay=overlay, **options)
    )
    end = 4 + int.from_bytes(message[:4], "little")
    return json.loads(message[4:end]), message[end + values.size :]


def test_bits_go_row_by_row_the_first_cell_lowest_and_each_overlay_ends_at_a_byte():
    stops = np.zeros((2, 5), bool)
    stops[0, 1] = stops[1, 4] = True  # cells 1 and 9: 0b00000010, 0b00000010
    changes = np.zeros((2, 5), bool)
    changes[0, :4] = True  # cells 0 to 3: 0b00001111, 0
    header, tail = send(np.zeros((2, 5)), Overlay(changes_rc=changes, stops_rc=stops, stops_say="near tie"))
    assert header["bits"] == ["changes", "stops"]
    assert list(tail) == [0b00001111, 0, 0b00000010, 0b00000010]
    assert header["stops_say"] == "near tie"


def test_glyphs_lie_behind_labels_and_flags_and_before_the_bits():
    overlay = Overlay(
        marks_rc=np.array([[1, 0]]), marks=(DEAD,), faded_rc=np.array([[True, False]]), faded_says="not beyond chance"
    )
    header, tail = send(
        np.zeros((1, 2)), overlay, labels_rc=np.array([[7, -1]]), pieces=["a", "b"], flags=np.array([1, 4])
    )
    assert header["marks"] == [{"glyph": "×", "says": "dead"}]
    assert list(tail) == [7, 255, 1, 4, 1, 0, 0b01]


def test_marks_without_cells_are_not_sent():
    header, tail = send(np.zeros((1, 2)), Overlay(marks=(DEAD,)))
    assert (header["marks"], header["bits"], tail) == ([], [], b"")


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        (Overlay(marks_rc=np.array([[2, 0]]), marks=(DEAD,)), "glyph numbers from 0 to 2 for 1 marks"),
        (Overlay(marks_rc=np.array([[-1, 0]]), marks=(DEAD,)), "glyph numbers from -1 to 0"),
        (Overlay(marks_rc=np.array([[0], [0]]), marks=(DEAD,)), "marks of shape"),
        (Overlay(stops_rc=np.array([[True]])), "stops of shape"),
        (Overlay(faded_rc=np.array([[True, False]])), "faint cells without words"),
    ],
)
def test_what_does_not_fit_the_matrix_is_refused(overlay, message):
    with pytest.raises(OptionError, match=message):
        send(np.zeros((1, 2)), overlay)


@pytest.mark.parametrize(("glyph", "says"), [("", "dead"), ("dead", "dead"), ("×", "")])
def test_a_mark_needs_a_short_glyph_and_words(glyph, says):
    with pytest.raises(OptionError, match="glyph"):
        Mark(glyph, says)


def test_examples_in_the_docstrings_hold():
    assert doctest.testmod(overlay_module).failed == 0
