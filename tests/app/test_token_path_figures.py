"""The ladder of one token, and tokens that route alike, as figures: sentences, links and data, by hand."""

import re
from dataclasses import replace

import numpy as np
import pytest

from gatescope.analysis.token.similarity import Near, SameWord
from gatescope.app.charts.card import card
from gatescope.app.charts.context import around, context, quoted
from gatescope.app.charts.similarity import near_figure, near_frame, near_html, same_figure, same_html, same_plot
from gatescope.app.views.token.token_path_figure import (
    firmness,
    margin_figure,
    margin_plot,
    token_path_figure,
    token_path_frame,
    token_path_html,
)
from gatescope.routing import Document, Flag


def href(layer, expert):
    return f"layers?l={layer}" if expert is None else f"expert?l={layer}&e={expert}"


@pytest.fixture
def close(make_record):
    """Token 1 is a close call at layer 1: its margin is below 2⁻⁷, the step of bfloat16 at scores of size 1."""
    margin_tl = np.full((3, 2), 0.5, np.float16)
    margin_tl[1, 1] = 0.004
    return make_record(margin_tl=margin_tl)


def test_a_close_call_is_said_with_both_experts(close):
    firm = firmness(close, 1)
    assert firm.is_close_l.tolist() == [False, True]
    said = token_path_figure(close, 1, firm, href).takeaway
    # token 1 takes experts 2 and 3 at layer 1 and rejects 0 (the third in turn of four)
    assert "The choice of 1 of 2 layers is within a bfloat16 step" in said
    assert "layer 1 (block 2): expert 3 is ahead of expert 0 by 0.004; a step there is 0.0078" in said


def test_a_firm_route_is_said(make_record):
    record = make_record()
    assert (
        "A firm route: no layer's choice is within" in token_path_figure(record, 1, firmness(record, 1), href).takeaway
    )


def test_without_margins_firmness_is_not_claimed(make_record):
    record = make_record(margin_tl=None)
    assert "not known" in token_path_figure(record, 0, firmness(record, 0), href).takeaway


def test_the_ladder_has_a_chip_for_each_expert_and_a_hollow_one_where_it_was_close(close):
    shown = token_path_html(close, 1, firmness(close, 1), href=href, pinned=1)
    links = re.findall(r'<a class="(chip[^"]*)"[^>]* href="([^"]*)"', shown)
    assert [link.replace("&amp;", "&") for kind, link in links if kind == "chip"] == [
        "expert?l=0&e=1",
        "expert?l=0&e=2",
        "expert?l=1&e=2",
        "expert?l=1&e=3",
    ]
    assert [link.replace("&amp;", "&") for kind, link in links if kind == "chip hollow"] == ["expert?l=1&e=0"]
    assert 'href="layers?l=1"' in shown and shown.count('<tr class="pinned">') == 1
    widths = [float(share) for share in re.findall(r"flex: ([0-9.]+) 1", shown)]
    assert widths == [0.75, 0.25, 0.75, 0.25]


def test_a_dropped_token_has_no_chip(make_record):
    ids_tlk = np.array([[[255, 255]], [[0, 1]], [[0, 1]]], np.uint8)
    weight_tlk = np.array([[[0, 0]], [[0.5, 0.5]], [[0.5, 0.5]]], np.float16)
    record = make_record(layers=1, ids_tlk=ids_tlk, weight_tlk=weight_tlk)
    assert "no expert ran" in token_path_html(record, 0, firmness(record, 0), href=href, pinned=None)


def test_the_ladders_data_say_who_ran(close):
    frame = token_path_frame(close, 1, firmness(close, 1))
    assert frame[["layer", "expert", "ran"]].values.tolist() == [
        [0, 1, True],
        [0, 2, True],
        [0, 3, False],
        [1, 2, True],
        [1, 3, True],
        [1, 0, False],
    ]
    assert frame["weight"].tolist()[:2] == [0.75, 0.25]


def test_margins_are_drawn_beside_both_steps_and_none_is_lost_at_zero(make_record):
    margin_tl = np.full((3, 2), 0.5, np.float16)
    margin_tl[0] = [0.0, 0.005]
    record = make_record(margin_tl=margin_tl)
    firm = firmness(record, 0)
    assert "2 of 2 layers lie below the bfloat16 step and 1 below that of float16; 2 are closer" in (
        margin_figure(record, firm).takeaway
    )
    drawn = {line.name: line.y.tolist() for line in margin_plot(record, firm).data}
    assert drawn["bfloat16 step"] == [2**-7, 2**-7] and drawn["float16 step"] == [2**-10, 2**-10]
    assert drawn["this token"] == [2**-11, pytest.approx(0.005, abs=1e-5)], (
        "half of the smallest value, where it is marked"
    )
    assert drawn["0: a tie"] == [2**-11]
    assert drawn["median of this text"] == [0.5, 0.5]


def test_a_margin_below_every_step_is_drawn_where_it_is(make_record):
    margin_tl = np.full((3, 2), 0.5, np.float16)
    margin_tl[0] = [1.4e-5, 0.005]
    record = make_record(margin_tl=margin_tl)
    drawn = {line.name: line.y.tolist() for line in margin_plot(record, firmness(record, 0)).data}
    assert drawn["this token"][0] == pytest.approx(1.4e-5, rel=0.01)
    assert "0: a tie" not in drawn


def test_neighbours_are_said_with_their_chance(make_record):
    record = make_record(["x", "five", "six"])
    found = Near(np.array([1, 2]), np.array([0.75, 0.5]), 0.75, 0.25, 0.5, 0.01, 200)
    words = near_figure(record, found, "“x”", str)
    assert "nearest other word to “x” is “five”: it shares 75%" in words.takeaway
    assert "nearest of 200 tokens would share 50%; a token at random shares 25%" in words.takeaway
    assert words.badge == "beyond null"
    assert near_figure(record, found._replace(expected=0.05), "“x”", str).badge == "observed"
    assert near_frame(record, found)["token"].tolist() == ["five", "six"]
    assert re.findall(r'class="pick" href="(\w+)"', near_html(record, found, lambda row: f"row{row}")) == [
        "row1",
        "row2",
    ]


def test_the_words_share_is_said_with_its_interval(make_record):
    record = make_record(["x", "x", "x"])
    found = SameWord(
        np.array([1, 2]), np.array([1.0, 0.5]), np.array([0.75, 0.75]), np.array([0.25, 0.25]), 1 / 3, 0.2, 0.5, 2, True
    )
    words = same_figure(record, found, "“x”", str)
    assert "“x” stands 2 more times in 2 other documents. There it has 75% of these experts" in words.takeaway
    assert "33% of what can differ is the context's (95 % interval 20% to 50%)" in words.takeaway
    assert words.badge == "beyond null"
    assert same_figure(record, found._replace(high=1.1), "“x”", str).badge == "observed"
    alone = same_figure(record, found._replace(low=np.nan, high=np.nan, is_apart=False), "“x”", str)
    assert "in this text" in alone.takeaway and "interval" not in alone.takeaway and alone.badge == "observed"
    assert [line.name for line in same_plot(record, found).data] == ["other words", "the same word"]
    assert "50%" in same_html(record, found, str)


def test_a_context_ends_with_its_text(make_record):
    record = make_record(
        list("abcde"),
        document_t=np.array([0, 0, 0, 1, 1], np.int32),
        position_t=np.array([0, 1, 2, 0, 1], np.int32),
        flag_t=np.zeros(5, np.uint8),
        documents=(Document("abc"), Document("de")),
    )
    assert around(record, 1, 8) == (0, 2) and around(record, 3, 8) == (3, 4)
    assert around(record, 1, 0) == (1, 1)
    assert "…" not in context(record, 1)
    assert context(record, 0, reach=1).endswith("…</span>")
    encoder = replace(record, flag_t=np.array([Flag.ENCODER, 0, 0, 0, 0], np.uint8))
    assert around(encoder, 1, 8) == (1, 2), "what an encoder read is another text"


def test_a_quoted_token_stays_on_one_line(make_record):
    record = make_record(["a\nb", "x" * 40, "c"])
    assert quoted(record, 0) == "“a⏎b”"
    assert len(quoted(record, 1)) == 26


def test_a_quoted_token_does_not_turn_the_sentence_around_it(make_record):
    assert quoted(make_record(["\u202egnp", "\u2066a\u2069"]), 0) == "“‹202E›gnp”"


HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'


def test_no_text_becomes_markup(make_record):
    record = make_record([HOSTILE] * 3, documents=(Document("x", id=HOSTILE, domain=HOSTILE),))
    found = Near(np.array([1]), np.array([0.75]), 0.75, 0.25, 0.5, 0.01, 2)
    shown = [
        near_html(record, found, lambda _row: HOSTILE),
        context(record, 1, href=lambda _row: HOSTILE),
        token_path_html(record, 1, firmness(record, 1), href=lambda _layer, _expert: HOSTILE, pinned=None),
        card(record, 1, 0, href=lambda _layer, _expert: HOSTILE),
    ]
    assert not any(re.search(r"<(script|img)", one) for one in shown)


def test_the_cards_experts_and_layers_are_links(make_record):
    record = make_record()
    shown = card(record, 1, 1, href=href).replace("&amp;", "&")
    links = re.findall(r'href="([^"]*)"', shown)
    # the pinned layer's name, its two experts and the rejected one; then the same of both layers
    assert links[:4] == ["layers?l=1", "expert?l=1&e=2", "expert?l=1&e=3", "expert?l=1&e=0"]
    assert len(links) == 4 + 2 * 4
    assert "href" not in card(record, 1, 1)
