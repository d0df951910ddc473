"""What the comparison says: sentences from hand-made numbers, foreign text never markup, one scale for A and B."""

from dataclasses import replace

import numpy as np
import pytest

from gatescope.analysis.comparison.alignment import align
from gatescope.analysis.comparison.compare import Cascade, Flips, Relation, Shift
from gatescope.analysis.comparison.saturation import Agreement
from gatescope.analysis.registry import Result
from gatescope.analysis.tally.first_choices import Shared
from gatescope.app.views.compare.alignment_figure import (
    aligned,
    aligned_frame,
    aligned_words,
    column_names,
    difference,
    in_common,
    own_figures,
    sights,
)
from gatescope.app.views.compare.differences_figure import (
    SIGHTS,
    layer_at,
    model_line,
    shape_figure,
    shape_of,
    shared_figure,
    sight_figure,
    sight_frame,
)
from gatescope.app.views.compare.flips_figure import cascade_figure, cascade_plot, margin_figure, margin_frame
from gatescope.app.views.compare.relation_figure import (
    diff_figure,
    diff_html,
    kind_words,
    left_out,
    line_of,
    overlap_figure,
    overlap_frame,
    overlap_plot,
    shift_figure,
    shift_frame,
)
from gatescope.app.views.compare.training_figure import settling, settling_figure, settling_frame
from tests.records import build_record


def agreed(share: float, *, low: float = 0.0, high: float = 1.0, null: float = 0.125) -> Agreement:
    return Agreement(share, low, high, share, 0.125, null, 3, 30)


def test_each_kind_says_what_it_can_and_cannot():
    texts = kind_words(Relation("text", True, True, ()), is_same_capture=False)
    assert "same model, two texts" in texts.title
    assert "Two documents" in kind_words(Relation("text", True, True, ()), is_same_capture=True).title
    weights = kind_words(Relation("weights", False, True, ((0, 0),)), is_same_capture=False)
    assert "on 1 document of the same tokens" in weights.title
    assert "whether expert 5 of A is expert 5 of B" in weights.cannot
    models = kind_words(Relation("models", False, False, ((0, 0), (1, 1))), is_same_capture=False)
    assert "2 documents hold the same tokens" in models.title
    assert "expert by expert" in models.cannot


def test_a_diff_is_text_and_marks_never_markup():
    one = build_record(["a", "<b>", "c"])
    two = replace(build_record(["a", "<b>", "c", "<script>"]), token_t=np.array([0, 3, 2, 1], np.int32))
    found = align(one.token_t, two.token_t)
    html = diff_html(one, two, found)
    assert "<b>" not in html and "<script>" not in html
    assert "&lt;b&gt;" in html and "&lt;script&gt;" in html
    assert html.count("<del") == 1 and html.count("<ins") == 1
    assert "2 tokens stay, 1 of A are gone (−), 2 of B are new (+)" in diff_figure(one, two, found).takeaway


def test_long_runs_that_stay_show_their_ends():
    one = build_record([f"w{n}" for n in range(300)])
    html = diff_html(one, one, align(one.token_t, one.token_t))
    assert "220 more tokens that both have" in html
    assert "w39<" in html and "w40<" not in html and "w260<" in html


def test_the_overlap_names_its_ends_its_chance_and_its_ceiling():
    line = line_of((agreed(0.4), agreed(0.25)), ["0", "1"])
    line = line._replace(ceiling_l=np.array([1.0, 0.99]), ceiling_words="A again")
    words = overlap_figure(line, key="overlap", population="")
    assert words.takeaway == (
        "40.0% of a token's experts are the same in layer 0, 25.0% in layer 1; chance gives 12.5%."
    )
    assert "noise ceiling: A again, 99.00% to 100.00%" in words.null
    same = line._replace(ceiling_l=np.ones(2), near_l=np.array([0.01, 0.04]))
    words = overlap_figure(same, key="overlap", population="")
    assert words.null.endswith("noise ceiling: A again, 100.00% in every layer")
    near = dict(words.says)["Near ties"]
    assert near.startswith("1.00% to 4.00% of the tokens have a margin below") and "It bounds nothing" in near
    frame = overlap_frame(line)
    assert list(frame.columns) == ["layer", "overlap", "low", "high", "null", "ceiling"]
    assert len(overlap_plot(line).data) == 5


def test_captures_without_a_difference_say_so():
    line = line_of((agreed(1.0), agreed(1.0)), ["0", "1"])
    assert (
        "Every token has the same experts in every layer" in overlap_figure(line, key="overlap", population="").takeaway
    )
    shift = Shift(*(np.zeros((1, 2)) for _ in range(3)), *(np.ones((1, 2)) for _ in range(2)))
    assert shift_figure(shift, ["0"], population="").takeaway == "No expert has more work in either."
    nothing = Flips(*(np.zeros(2) for _ in range(4)), np.ones(2, int), 0.0)
    assert "Nothing flips" in margin_figure(nothing, population="", whose="A").takeaway


def test_a_shift_earns_its_badge_by_q_alone():
    value = np.array([[0.02, -0.01], [-0.05, np.nan]])
    q = np.array([[0.01, 0.5], [0.04, np.nan]])
    shift = Shift(value, value - 0.01, value + 0.01, q, q)
    words = shift_figure(shift, ["0", "1"], population="")
    assert words.takeaway == (
        "Expert 0 of layer 1 has 5 points less of the tokens in A; 2 of 3 experts differ beyond noise."
    )
    assert words.badge == "beyond null"
    assert shift_figure(shift._replace(q_le=q * 10), ["0", "1"], population="").badge == "observed"
    assert len(shift_frame(shift, ["0", "1"])) == 3


def test_near_ties_flip_first_only_beyond_the_interval():
    rates = np.array([0.5, 0.1])
    found = Flips(rates, rates - 0.05, rates + 0.05, np.array([0.01, 0.5]), np.array([20, 20]), 0.3)
    assert margin_figure(found, population="", whose="A").takeaway == (
        "Yes: of the closest tenth of the choices 50.0% flip, of the firmest 10.0%; of all, 30.0%."
    )
    unsure = found._replace(low_b=np.array([0.2, 0.0]))
    assert margin_figure(unsure, population="", whose="A").takeaway.startswith("Not beyond doubt")
    assert margin_frame(found)["null"].tolist() == [0.3, 0.3]
    wide = found._replace(high_b=np.array([0.55, 0.46]))
    assert margin_figure(wide, population="", whose="A").takeaway.startswith("Not beyond doubt"), "as the firmest may"
    fewer = found._replace(rate_b=rates[::-1], low_b=rates[::-1] - 0.05, high_b=rates[::-1] + 0.05)
    assert margin_figure(fewer, population="", whose="A").takeaway.startswith("No: of the closest tenth")


def test_where_everything_flips_near_ties_cannot_be_first():
    every = Flips(np.ones(2), np.ones(2), np.ones(2), np.array([0.01, 0.5]), np.array([20, 20]), 0.99998)
    assert margin_figure(every, population="", whose="A").takeaway == (
        "Cannot be told, since nearly every choice flips: of the closest tenth of the choices 100.0% flip, of the "
        "firmest 100.0%; of all, 100.0%."
    )


def test_the_cascade_names_where_changes_begin():
    nan = np.nan
    found = Cascade(*map(np.array, ([0.1, 0.3], [nan, 0.8], [nan, 0.7], [nan, 0.9], [nan, 0.2], [0.1, 0.2])))
    assert cascade_figure(found, ["0", "1"], population="").takeaway == (
        "Most change first in layer 1 (20.0% of the tokens); after a change 80.0% change in the next layer too, after "
        "none 20.0%, apart beyond the interval in 1 of 1 layers."
    )


def test_where_all_change_at_once_nothing_is_said_of_carrying_on():
    nan = np.nan
    found = Cascade(*map(np.array, ([1.0, 1.0], [nan, 1.0], [nan, 1.0], [nan, 1.0], [nan, nan], [1.0, 0.0])))
    assert cascade_figure(found, ["0", "1"], population="").takeaway == (
        "Most change first in layer 0 (100.0% of the tokens). Whether changes carry on cannot be told: in no layer are "
        "there 10 tokens that had not changed in the layer before."
    )
    assert "after none" not in [trace.name for trace in cascade_plot(found, ["0", "1"]).data]
    assert "after a change" in [trace.name for trace in cascade_plot(found, ["0", "1"]).data]


def test_what_was_not_counted_again_is_said():
    assert left_out(0) == ""
    assert left_out(1234) == "; 1,234 left out that an earlier document begins with too"


def test_settling_names_the_first_step_with_half():
    rows = tuple((agreed(share, null=0.0), agreed(share - 0.1, null=0.0)) for share in (0.1, 0.6, 0.9, 1.1))
    found = settling([0, 10, 20, 30], [0, 1, 2, 3], rows, ["0", "1"])
    words = settling_figure(found, model="m", population="")
    assert (
        "By step 10 of 30 m had half of its above-chance agreement with the final model: 60% in common in layer 0, "
        "50% in layer 1" in (words.takeaway)
    )
    assert "at step 20 it was 85%" in words.takeaway
    assert len(settling_frame(found)) == 8


@pytest.fixture
def pair():
    """Four tokens of A over three of B that stay; the second changed one expert of two in layer 0, near a tie."""
    one = build_record(list("abcd"))
    ids = one.ids_tlk[[0, 1, 3]].copy()
    ids[1, 0, 0] = 3
    margin_tl = np.full((3, 2), 0.25, np.float16)
    margin_tl[1, 0] = 0
    two = build_record(list("abd"), ids_tlk=ids, margin_tl=margin_tl, token_t=np.array([0, 1, 3], np.int32))
    return aligned(one, two, np.array([0, 1, 3]), np.array([0, 1, 2]))


def test_a_pair_counts_its_changes_and_its_near_ties(pair):
    assert pair.share_lt.tolist() == [[1.0, 0.5, 1.0], [1.0, 1.0, 1.0]]
    assert pair.noise_lt.all()
    assert "1 of 6 choices differ (16.7%), most in layer 0 (block 1) (33.3%); 1 of them are near ties" in (
        aligned_words(pair, where="").takeaway
    )
    assert in_common(pair).tolist() == [[2, 1, 2], [2, 2, 2]]
    assert column_names(pair) == ["0 | 0", "1 | 1", "3 | 2"]
    assert [pair.column_of(token) for token in (None, 0, 2, 3)] == [None, 0, None, 2]
    frame = aligned_frame(pair)
    assert frame[frame["overlap"] < 1].values.tolist() == [["0 (block 1)", 1, 1, "b", 0.5, True]]


def test_both_captures_share_one_scale(pair):
    one, two = own_figures(pair)
    assert (one.scale.low, one.scale.high) == (two.scale.low, two.scale.high)
    assert sights(pair) == ["overlap", "margin"]
    assert difference(pair, "margin").values_lt.tolist() == [[0.25, 0.5, 0.25], [0.25, 0.25, 0.25]]


def test_without_margins_identities_are_shown_and_ties_not_told():
    one, two = (build_record(margin_tl=None) for _ in range(2))
    found = aligned(one, two, np.arange(3), np.arange(3))
    assert sights(found) == ["overlap"]
    assert own_figures(found)[0].expert_lt is not None
    words = aligned_words(found, where="")
    assert "All 6 choices of experts are the same" in words.takeaway
    assert "near ties cannot be told" in words.null


def test_models_are_compared_by_shares_of_their_own_size():
    found = Result(value=np.array([16.0, 8.0]), low=np.array([15.0, 7.0]), high=np.array([17.0, 9.0]))
    lines = [model_line(found, SIGHTS[0], experts, whose=name) for name, experts in (("A", 32), ("B", 16))]
    assert lines[0].value_l.tolist() == [0.5, 0.25]
    assert lines[1].low_l.tolist() == [15 / 16, 7 / 16]
    assert sight_figure(lines, SIGHTS[0], population="", by="").takeaway == (
        "A: 0.375 on average, most at depth 0.00 (0.5); B: 0.75 on average, most at depth 0.00 (1)."
    )
    assert sight_frame(lines)["depth"].tolist() == [0, 1, 0, 1]


def test_the_busiest_tenth_is_read_from_the_sorted_load():
    even = Result(value=np.linspace(0, 1, 11)[None])
    one_does_all = Result(value=np.append(np.zeros(10), 1.0)[None])
    shapes = [shape_of(even, 0, 10, whose="A"), shape_of(one_does_all, 0, 10, whose="B")]
    assert "A (layer 0) 10%, B (layer 0) 100%" in shape_figure(shapes, population="").takeaway
    assert [layer_at(depth, 6) for depth in (0.0, 0.5, 1.0)] == [0, 2, 5]


def test_shared_information_earns_its_badge_by_q():
    value = np.array([[0.1, 0.3]])
    found = Shared(value, value * 2, value * 0, value * 0, np.array([[0.2, 0.01]]), 10, 2)
    words = shared_figure(found, ["0"], ["0", "1"], population="")
    assert "1 of 2 pairs of layers share more than chance; most in layer 0 of A and 1 of B: 30%" in words.takeaway
    assert words.badge == "beyond null"
    assert shared_figure(found._replace(q_lm=np.ones((1, 2))), ["0"], ["0", "1"], population="").badge == "observed"
