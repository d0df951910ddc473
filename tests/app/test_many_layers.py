"""Charts of models with many layers and experts: ticks have room, marks are no band, every axis can be read."""

import numpy as np
import pytest

from gatescope.analysis.registry import Result
from gatescope.app.charts.depth import number
from gatescope.app.charts.forest import forest
from gatescope.app.charts.lines import MOST_NAMED, add_stroke, named_layer_axis
from gatescope.app.charts.plots import MOST_MARKED, add_line, plot
from gatescope.app.charts.similarity import same_plot as same_word_plot
from gatescope.app.views.pairs.transitions_figure import MOST_DECADES, same_plot


@pytest.mark.parametrize("layers", [1, 6, 12, 13, 46, 58, 94])
def test_layers_drawn_at_their_names_have_few_ticks_of_their_numbers(layers):
    names = [f"{layer} (block {layer + 3})" for layer in range(layers)]
    shown = plot("layer", "value")
    add_line(shown, names, np.ones(layers), name="A")
    named_layer_axis(shown, names)
    axis = shown.layout.xaxis
    assert len(axis.tickvals) <= MOST_NAMED and axis.tickvals[0] == names[0] and axis.tickangle == 0
    assert [name.partition(" ")[0] for name in axis.tickvals] == list(axis.ticktext)
    assert set(axis.tickvals) <= set(names) and (layers > MOST_NAMED or len(axis.tickvals) == layers)


def test_the_chart_of_a_word_elsewhere_names_few_of_58_layers(make_record):
    record = make_record(layers=58)

    class Found:
        other_l, same_l = np.zeros(58), np.ones(58)

    assert len(same_word_plot(record, Found()).layout.xaxis.tickvals) <= MOST_NAMED


def test_marks_of_a_line_of_256_points_are_not_seen_but_there_to_be_chosen():
    for points, opacity in ((MOST_MARKED, None), (256, 0)):
        shown = plot("x", "y")
        add_line(shown, np.arange(points), np.ones(points), name="A")
        add_stroke(shown, np.arange(points), np.ones(points), name="B", ink="#8250a6", dash="dash", symbol="square")
        for line in shown.data:
            assert line.mode == "lines+markers" and line.marker.opacity == opacity


def test_an_axis_of_many_powers_of_ten_names_some_of_them():
    deep = Result(value=np.array([1e-1, 1e-37]), null=np.array([1e-2, np.nan]), labels={"w": ("2 layers", "all 58")})
    flat = Result(value=np.array([1e-1, 1e-3]), labels={"w": ("2 layers", "all 58")})
    assert 36 / same_plot([("A", deep)]).layout.yaxis.dtick <= MOST_DECADES
    assert same_plot([("A", flat)]).layout.yaxis.dtick == 1
    nothing = Result(value=np.array([0.0, np.nan]), labels={"w": ("2 layers", "all 58")})
    assert same_plot([("A", nothing)]).layout.yaxis.dtick == 1


def test_chances_below_what_is_drawn_are_left_out_and_said_in_powers_of_ten():
    """Through 94 layers of 128 experts two paths are the same once in 128 to the power 94: 1.2 × 10^198."""
    found = Result(
        value=np.array([1e-2, 4e-7]), null=np.array([1 / 128, 128.0**-94]), labels={"w": ("1 layer", "all 94")}
    )
    null, own = same_plot([("A", found)]).data
    assert np.isfinite(null.y).tolist() == [True, False] and np.isfinite(own.y).all()
    assert number(128.0**94) == "1.2 × 10¹⁹⁸" and number(-2.5e12) == "-2.5 × 10¹²"
    assert number(999_999_999_999) == "999,999,999,999" and number(np.inf) == "inf"


def test_values_in_one_place_have_an_axis_from_zero():
    one = forest(["word"], np.array([1.19]), x="load", null=1.1900001)
    assert one.layout.xaxis.rangemode == "tozero"
    assert forest(["word", "number"], np.array([1.19, 2.0]), x="load").layout.xaxis.rangemode is None
    assert forest(["word"], np.array([np.nan]), x="load").layout.xaxis.rangemode is None
