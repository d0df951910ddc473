"""The Python side of the pin: who wins, and what a browser may not say."""

import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from gatescope.app.components import Scale, matrix
from gatescope.app.components.heatmap import component
from gatescope.drawing.heatmap.encode import Axis, encode
from gatescope.drawing.heatmap.events import (
    Pick,
    expert_event,
    inside,
    pick_event,
    row_event,
    span_event,
    span_inside,
    token_event,
)
from gatescope.drawing.modules import join_modules

HERE = Path(__file__).parent
HEATMAP = HERE.parents[2] / "drawing" / "heatmap"
SHAPE = (24, 100)
SVG_SPACE = '"http://www.w3.org/2000/svg"'  # a name, never an address that is asked


@pytest.mark.parametrize(
    ("row", "column", "pick"),
    [(3, 5, Pick(3, 5)), (None, 5, Pick(None, 5)), (23, 99, Pick(23, 99)), (0, 0, Pick(0, 0)), (None, None, None)],
)
def test_an_event_of_the_browser_is_a_pick_or_a_release(row, column, pick):
    event = pick_event({"row": row, "column": column, "serial": 7}, SHAPE)
    assert event is not None
    assert (event.value, event.serial) == (pick, 7)


@pytest.mark.parametrize(
    "payload",
    [
        None,
        "3,5",
        {},
        {"row": 3, "column": 5},
        {"row": 3, "column": 5, "serial": -1},
        {"row": 24, "column": 5, "serial": 1},
        {"row": 3, "column": 100, "serial": 1},
        {"row": -1, "column": 5, "serial": 1},
        {"row": 3, "column": None, "serial": 1},
        {"row": 3.0, "column": 5, "serial": 1},
        {"row": True, "column": 5, "serial": 1},
        {"row": "3", "column": 5, "serial": 1},
        {"row": 3, "column": "5; drop", "serial": 1},
    ],
)
def test_anything_else_from_the_browser_is_no_event(payload):
    assert pick_event(payload, SHAPE) is None


@pytest.mark.parametrize(
    ("pinned", "pick"),
    [(None, None), ((3, 5), Pick(3, 5)), (Pick(None, 5), Pick(None, 5)), ((24, 5), None), ((3, -1), None)],
)
def test_a_pin_outside_the_matrix_counts_as_none(pinned, pick):
    assert inside(pinned, SHAPE) == pick


def test_a_pin_holds_python_numbers_whatever_came_in():
    pick = inside((np.int64(3), np.uint16(5)), SHAPE)
    assert [type(pick.row), type(pick.column)] == [int, int]


@pytest.mark.parametrize(
    ("first", "last", "span"), [(3, 5, (3, 5)), (0, 99, (0, 99)), (7, 7, (7, 7)), (None, None, None)]
)
def test_a_range_of_the_browser_is_a_span_or_a_release(first, last, span):
    event = span_event({"first": first, "last": last, "serial": 7}, SHAPE)
    assert event is not None
    assert (event.value, event.serial) == (span, 7)


@pytest.mark.parametrize(
    ("first", "last"), [(5, 3), (0, 100), (-1, 3), (None, 3), (1, None), (1.0, 3), (True, 3), ("1", 3)]
)
def test_anything_else_is_no_range(first, last):
    assert span_event({"first": first, "last": last, "serial": 7}, SHAPE) is None


@pytest.mark.parametrize(("span", "kept"), [(None, None), ((3, 5), (3, 5)), ((5, 3), None), ((0, 100), None)])
def test_a_range_outside_the_matrix_counts_as_none(span, kept):
    assert span_inside(span, SHAPE) == kept


@pytest.mark.parametrize(
    ("row", "heard"), [(0, 0), (23, 23), (24, None), (-1, None), (None, None), ("1", None), (True, None)]
)
def test_only_a_row_of_the_matrix_can_be_opened(row, heard):
    assert row_event({"row": row, "serial": 7}, SHAPE) == heard


@pytest.mark.parametrize(
    ("layer", "expert", "heard"),
    [(0, 0, (0, 0)), (23, 31, (23, 31)), (24, 0, None), (0, 32, None), (-1, 0, None), (True, 0, None), ("1", 0, None)],
)
def test_only_an_expert_of_the_grid_can_be_chosen(layer, expert, heard):
    event = expert_event({"layer": layer, "expert": expert, "serial": 7}, 24, 32)
    assert (event and event.value) == heard


def test_an_expert_can_be_let_go():
    event = expert_event({"layer": None, "expert": None, "serial": 7}, 24, 32)
    assert event is not None
    assert event.value is None


@pytest.mark.parametrize(("token", "heard"), [(0, 0), (99, 99), (100, None), (-1, None), (1.0, None), (None, None)])
def test_routes_can_be_asked_for_of_the_tokens_there_are(token, heard):
    assert token_event({"token": token, "serial": 7}, 100) == heard


def test_an_option_nobody_knows_is_refused():
    with pytest.raises(TypeError, match="unexpected options: fadedd_rc"):
        matrix(np.zeros((1, 1)), rows=None, columns=None, scale=Scale("x", 0, 1), pinned=None, key="k", fadedd_rc=None)


@pytest.mark.parametrize("show", ["rich", "domains", "tokens_demo", "spikes", "difference", "identity"])
def test_the_page_draws_without_a_browser_and_keeps_the_pin_it_was_given(show):
    app = AppTest.from_file(str(HERE / "heatmap_app.py"))
    app.query_params["show"], app.query_params["pin"] = show, "3,7"
    app.run(timeout=30)
    assert not app.exception
    assert app.text[0].value == "pin: Pick(row=3, column=7)"


@pytest.mark.parametrize(("file", "kind"), [("model.js", "Header"), ("palette.js", "Scale")])
def test_the_types_of_the_browser_name_what_the_message_holds(file, kind):
    cell, axis = np.zeros((1, 1)), Axis("layer")
    message = zlib.decompress(encode(cell, Scale("x", 0, 1), rows=axis, columns=axis, extra=component._extra("k", {})))
    header = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
    described = (HEATMAP / file).read_text("utf-8").partition(f"@typedef {{object}} {kind}\n")[2].partition("*/")[0]
    assert set(re.findall(r"@property \{.*\} (\w+)", described)) == set(header if kind == "Header" else header["scale"])


def test_every_script_of_the_folder_is_sent_and_none_reaches_out():
    sent = "".join(join_modules(HEATMAP / f"{entry}.js") for entry in ("streamlit", "pin", "feed", "page", "widget"))
    assert all(path.read_text("utf-8").splitlines()[0] in sent for path in HEATMAP.glob("*.js"))
    for path in HEATMAP.glob("*.*"):
        text = path.read_text("utf-8").replace(SVG_SPACE, "")
        if path.suffix in {".js", ".css", ".html"}:
            assert not [word for word in ("http:", "https:", "innerHTML", "eval(", "fetch(", "import(") if word in text]
