"""Figures of the page of layers: what is said and drawn of results that were counted by hand."""

import numpy as np
import pytest

from gatescope.analysis.registry import Result
from gatescope.app.charts.depth import Depth, by_layer, depth_frame, depth_plot, depth_takeaway, null_words, over_zero
from gatescope.app.views.layers.load_figure import (
    MARKS,
    busiest_share,
    expert_sentence,
    load_frame,
    load_grid,
    load_takeaway,
    shared_words,
    sorted_frame,
    sorted_load,
    sorted_plot,
    sorted_takeaway,
)
from gatescope.app.views.layers.windows_figure import (
    places,
    places_frame,
    places_takeaway,
    window_frame,
    window_plot,
    window_takeaway,
    windowed,
)
from gatescope.routing import RouterRule
from gatescope.routing.errors import OptionError

NAN = float("nan")


def rule(layer, experts, **options):
    return RouterRule(layer=layer, block=layer, module="mlp", experts=experts, k=1, score="softmax", **options)


RULES = (rule(0, 4), rule(1, 2))
"""Two layers; the second has two experts only, so that its row ends in NaN."""

LOAD = Result(
    value=np.array([[0.0, 1.0, 2.0, 1.0], [0.5, 1.5, NAN, NAN]]),
    low=np.array([[0.0, 0.9, 1.5, 1.1], [0.4, 1.2, NAN, NAN]]),
    high=np.array([[0.0, 1.1, 2.5, 1.2], [0.6, 1.8, NAN, NAN]]),
)
STATE = Result(value=np.array([[-2.0, 0.0, 1.0, 0.0], [-1.0, 0.0, NAN, NAN]]))


def test_the_load_is_drawn_in_doublings_and_an_unused_expert_lies_beyond_the_end():
    grid = load_grid(LOAD, STATE, is_stretched=False)
    assert grid.values_le[0, 1:].tolist() == [0, 1, 0]
    assert (grid.scale.low, grid.scale.high, grid.scale.null) == (-1, 1, 0)
    assert grid.values_le[0, 0] < grid.scale.low
    assert grid.values_le[1, :2] == pytest.approx([-1, np.log2(1.5)])
    assert np.isnan(grid.values_le[1, 2:]).all()


def test_faint_is_what_its_interval_does_not_tell_from_an_even_share():
    assert load_grid(LOAD, STATE, is_stretched=False).faded_le.tolist() == [
        [False, True, False, False],
        [False, False, False, False],
    ]
    bare = Result(value=LOAD.value)
    assert not load_grid(bare, None, is_stretched=False).faded_le.any()


def test_a_layer_on_its_own_scale_reaches_the_end_and_a_flat_one_stays_grey():
    load = Result(value=np.array([[0.5, 1.5], [1.0, 1.0], [NAN, NAN]]))
    grid = load_grid(load, None, is_stretched=True)
    assert grid.values_le[0] == pytest.approx([-1, np.log2(1.5)])
    assert grid.values_le[1].tolist() == [0, 0]
    assert np.isnan(grid.values_le[2]).all()


def test_glyphs_say_dead_cold_and_hot():
    marks = load_grid(LOAD, STATE, is_stretched=False).marks_le
    assert [[MARKS[mark - 1].glyph if mark else "" for mark in row] for row in marks] == [
        ["×", "", "●", ""],
        ["▽", "", "", ""],
    ]
    assert not load_grid(LOAD, None, is_stretched=False).marks_le.any()


def test_the_sentence_of_the_load_names_both_ends_and_counts_states():
    assert load_takeaway(LOAD, STATE, RULES) == (
        "Busiest is expert 2 of layer 0, with 2 times an even share; least busy expert 0 of layer 0, with 0 times. "
        "Of 6 experts 1 are dead (×), 1 cold (▽) and 1 hot (●)."
    )


def test_the_table_of_the_load_has_only_experts_that_exist():
    frame = load_frame(LOAD, Result(value=LOAD.value / 2), STATE, RULES)
    assert frame[["layer", "expert"]].to_numpy().tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0], [1, 1]]
    assert frame["relative_load"].tolist() == [0, 1, 2, 1, 0.5, 1.5]
    assert frame["relative_gate_mass"].tolist() == [0, 0.5, 1, 0.5, 0.25, 0.75]
    assert frame["state"].tolist() == ["dead", "neither", "hot", "neither", "cold", "neither"]
    assert "relative_gate_mass" not in load_frame(LOAD, None, None, RULES)


def test_one_expert_in_words():
    assert expert_sentence(LOAD, None, STATE, RULES[1], 0) == (
        "0.5 times an even share of layer 1, number 2 of 2 by load (95 % interval over documents 0.4 to 0.6); cold."
    )
    silent = Result(value=np.full((1, 4), NAN))
    assert "No token" in expert_sentence(silent, None, None, RULES[0], 1)


@pytest.mark.parametrize(
    ("counts", "said"), [((0, 0), ""), ((0, 1), "these 1 shared expert works"), ((2, 1), "1 to 2 shared experts work")]
)
def test_shared_experts_are_said_to_be_counted_apart(counts, said):
    words = shared_words([rule(layer, 4, shared_experts=count) for layer, count in enumerate(counts)])
    assert said in words
    assert bool(words) == any(counts)


def test_a_sorted_load_ends_where_the_layers_own_experts_do():
    lorenz = Result(value=np.array([[0, 0, 0.25, 0.5, 1], [0, 0.25, 1, NAN, NAN]]))
    curve = sorted_load(lorenz, Result(value=np.zeros(2), null=np.zeros(2)), RULES[1])
    assert curve.share_r.tolist() == [0, 0.25, 1]
    assert curve.even_r.tolist() == [0, 0.5, 1]
    assert busiest_share(curve.share_r, 1) == 0.75
    assert sorted_takeaway(curve, "1") == (
        "The busiest 1 of 2 experts of layer 1 do 75.0 % of its work; under an even router 50.0 %."
    )
    assert sorted_frame([("A", curve)])["experts"].tolist() == [0, 1, 2]
    assert sorted_plot([("A", curve)]).data[1].x.tolist() == [0, 0.5, 1]


def test_without_a_noise_floor_the_sorted_load_is_held_against_equal_shares():
    lorenz = Result(value=np.array([[0, 0, 0.25, 0.5, 1]]))
    curve = sorted_load(lorenz, Result(value=np.zeros(1)), RULES[0])
    assert curve.even_r is None
    assert sorted_takeaway(curve, "0").endswith("do 50.0 % of its work; under an even router 25.0 %.")


def line(**options):
    found = Result(
        value=np.array([2.0, 3.0]), low=np.array([1.5, 0.5]), high=np.array([2.5, 3.5]), null=np.array([1.0, 1.0])
    )
    return by_layer(found, ["0", "1"], **options)


def test_a_line_by_depth_says_its_ends_and_how_many_layers_leave_chance_out():
    assert depth_takeaway([line()], "bits") == (
        "From 2 bits in layer 0 to 3 in layer 1. The interval leaves out the dotted value in 1 of 2 layers."
    )
    assert depth_takeaway([line(whose="B")], "bits").startswith("B: from 2 bits in layer 0")
    assert null_words([line()], "an even router") == "dotted: an even router, 1"


def test_shares_are_told_in_hundredths_and_equal_layers_once():
    found = Result(value=np.array([[0.25, 0.25]]))
    assert depth_takeaway([by_layer(found, ["0", "1"])], "% of the weight") == "25 % of the weight in every layer."
    assert null_words([by_layer(found, ["0", "1"])], "an even router") == ""


def test_a_line_can_be_picked_from_a_last_axis():
    found = Result(value=np.array([[[0.1, 0.2], [0.3, 0.4]]]))
    assert by_layer(found, ["0", "1"], at=1).value_l.tolist() == [0.2, 0.4]


def test_a_metric_without_any_value_says_why():
    with pytest.raises(OptionError, match="Not known in layers 0"):
        by_layer(Result(value=np.array([[NAN, NAN]]), warnings=("Not known in layers 0, 1.",)), ["0", "1"])


def test_what_chance_is_taken_off_already_is_held_against_zero():
    assert over_zero(by_layer(Result(value=np.array([1.0, NAN]), null=np.array([0.3, NAN])), "01")).null_l[0] == 0


def test_a_and_b_have_their_own_ink_and_dash_and_one_null_where_it_is_the_same():
    shown = depth_plot([line(), line(whose="B")], "bits")
    drawn = {trace.name: trace.line.dash for trace in shown.data if trace.name}
    assert drawn == {"chance": "dot", "A": "solid", "B": "dash"}
    frame = depth_frame([line(), line(whose="B")], "bits")
    assert frame["capture"].tolist() == ["A", "A", "B", "B"]
    assert frame["null"].tolist() == [1, 1, 1, 1]


def test_every_small_chart_names_a_metric_of_the_registry():
    from gatescope.analysis.metrics import METRICS
    from gatescope.app.charts.depth import DEPTHS

    assert {shown.metric for shown in DEPTHS} <= METRICS.keys()
    assert Depth("load_gini", "?", "y", "1").null == METRICS["load_gini"].null


WINDOWS = Result(
    value=np.array([[4.0, 2.0, NAN], [NAN, NAN, NAN]]),
    low=np.array([[3.0, NAN, NAN], [NAN, NAN, NAN]]),
    high=np.array([[5.0, NAN, NAN], [NAN, NAN, NAN]]),
    null=np.array([[2.0, 1.0, 0.5], [2.0, 1.0, 0.5]]),
    labels={"w": ("8", "16", "32")},
)


def test_windows_without_a_value_are_left_out():
    one = windowed(WINDOWS, 0)
    assert one.size_w.tolist() == [8, 16]
    assert window_takeaway(one, "0") == (
        "MaxVio of layer 0: 4 in windows of 8 tokens (even router: 2), 2 in windows of 16 tokens (even router: 1)."
    )
    frame = window_frame([("A", one)])
    assert frame[["tokens", "max_violation", "even_router"]].to_numpy().tolist() == [[8, 4, 2], [16, 2, 1]]
    band = window_plot([("A", one)]).data[1]
    assert band.y.tolist() == [5, 2]  # a batch has no interval: the band closes on its value
    with pytest.raises(OptionError, match="no window"):
        windowed(WINDOWS, 1)


PLACES = Result(
    value=np.array([[NAN, 0.5, 0.25, 0.9], [NAN, 0.1, 0.3, 0.8]]),
    low=np.array([[NAN, 0.4, 0.05, 0.8], [NAN, 0.0, 0.2, 0.7]]),
    null=np.array([[NAN, 0.1, 0.1, 0.1], [NAN, 0.1, 0.1, 0.1]]),
    labels={"b": ("0", "1–3", "4–15", "special tokens")},
)


def test_positions_are_faint_where_noise_could_do_it():
    grid = places(PLACES)
    assert grid.names == ("1–3", "4–15", "special tokens")
    assert grid.faded_lb.tolist() == [[False, True, False], [True, False, False]]
    assert places_takeaway(grid, ["0", "1"]) == (
        "Served least like the rest of the text: positions 1–3 in layer 0, where 50 % of the work goes to other "
        "experts; special tokens in layer 0, where 90 % of the work goes to other experts."
    )
    assert len(places_frame(PLACES, ["0", "1"])) == 8
    with pytest.raises(OptionError, match="no two stretches"):
        places(Result(value=np.full((1, 2), NAN), labels={"b": ("0", "1–3")}))
