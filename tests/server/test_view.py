"""The address of a view: whatever it says is checked, what it cannot say is dropped in words, and it reads back."""

from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatescope.server.view import Span, View, ViewParts, read_view

QUANTITIES, MODELS = ("margin", "entropy"), ("sift-softmax", "other/model")


def read(**params: str) -> View:
    return read_view(params, quantities=QUANTITIES, models=MODELS)


def test_a_bare_address_shows_the_first_quantity_of_the_first_model():
    assert read() == View(quantity="margin", model="sift-softmax")


def test_everything_an_address_may_say():
    found = read(c="abcdefghijklmn27", t="12", l="3", view="entropy", m="other/model")
    assert found == View(quantity="entropy", model="other/model", capture="abcdefghijklmn27", token=12, layer=3)


@pytest.mark.parametrize(
    "params",
    [
        {"c": "../../etc/passwd"},
        {"c": "ABCDEFGHIJKLMNOP"},
        {"c": "abcdefghijklmnop\n"},
        {"c": ""},
        {"t": "-1"},
        {"t": "1.5"},
        {"t": "١"},
        {"t": "9" * 400},
        {"l": "two"},
        {"e": "-2"},
        {"d": "first"},
        {"r": "12"},
        {"r": "40-12"},
        {"r": "1-99999999"},
        {"s": "code"},
        {"s": "documents:4,5"},
        {"s": "domain:two\nlines"},
        {"vs": "probe.../../etc"},
        {"c": "probe.SIFT"},
        {"by": "colour"},
        {"f": "all of them"},
        {"view": "<script>"},
        {"m": "somebody/elses-model"},
    ],
)
def test_a_value_that_cannot_be_used_is_dropped_and_said(params):
    found = read(**params)
    assert (found.capture, found.token, found.layer) == (None, None, None)
    assert (found.quantity, found.model) == ("margin", "sift-softmax")
    assert len(found.problems) == 1
    assert len(found.problems[0]) < 120


def test_a_range_and_a_slice_read_back():
    found = read(c="probe.sift-softmax", d="3", r="12-40", s="documents:0-4.9", f="prompt", by="language", e="7")
    assert (found.capture, found.document, found.span, found.slice) == (
        "probe.sift-softmax",
        3,
        Span(12, 40),
        "documents:0-4.9",
    )
    assert (found.facet, found.by, found.expert, found.problems) == ("prompt", "language", 7, ())
    assert read(**found.params(default=read())) == found


def test_a_range_that_ends_outside_of_the_document_is_dropped_and_said():
    found = read(r="3-10").within(tokens=10, layers=4)
    assert found.span is None
    assert found.problems == ("There are no tokens 3 to 10 here: there are 10, counted from 0.",)


def test_a_pin_outside_of_the_capture_is_dropped_and_said():
    found = read(t="10", l="4").within(tokens=10, layers=4)
    assert (found.token, found.layer) == (None, None)
    assert found.problems == (
        "There is no token 10: this capture has 10 tokens, counted from 0.",
        "There is no layer 4: this capture has 4 layers, counted from 0.",
    )


def test_every_part_of_a_view_but_its_problems_may_be_said_anew():
    parts = get_type_hints(View)
    del parts["problems"]
    assert get_type_hints(ViewParts) == parts


def test_the_last_token_and_layer_are_within_the_capture():
    found = read(t="9", l="3").within(tokens=10, layers=4)
    assert (found.token, found.layer, found.problems) == (9, 3, ())


def test_the_defaults_leave_the_address_bare():
    assert read().params(default=read()) == {}


@given(
    capture=st.none() | st.from_regex(r"[a-z2-7]{16}", fullmatch=True),
    token=st.none() | st.integers(0, 9_999_999),
    layer=st.none() | st.integers(0, 9_999_999),
    quantity=st.sampled_from(QUANTITIES),
    model=st.sampled_from(MODELS),
)
def test_an_address_reads_back_as_the_view_it_was_written_from(capture, token, layer, quantity, model):
    view = View(quantity=quantity, model=model, capture=capture, token=token, layer=layer)
    assert read(**view.params(default=read())) == view


@given(st.dictionaries(st.sampled_from(["c", "t", "l", "view", "m", "x"]), st.text()))
def test_no_address_breaks_the_reader(params):
    found = read(**params)
    assert found.quantity in QUANTITIES
    assert found.model in MODELS


def test_a_parameter_that_means_nothing_is_said():
    assert read(k="abc", t="1").problems == ("'k' is no part of an address here.",)
    many = read(**{f"x{number}": "1" for number in range(9)}).problems
    assert many[:3] == tuple(f"'x{number}' is no part of an address here." for number in range(3))
    assert many[3:] == ("Nor are 6 more.",)
    assert len(read(**{"y" * 5000: "1"}).problems[0]) < 120
