"""Every metric of the registry can be seen on a page, whatever its axes are."""

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from gatescope.analysis.registry import METRICS, Result
from gatescope.app.shell.session import FRAME
from gatescope.app.views.layers.any_measure import CHOSEN
from gatescope.app.views.layers.any_measure_figure import Drawn, at, drawn, names, summary
from gatescope.server.settings import settings


@pytest.fixture(scope="module")
def layers_page(tmp_path_factory):
    """The Layers page of a server of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATESCOPE_CACHE_DIR", str(tmp_path_factory.mktemp("captures")))
        settings.cache_clear()
        page = AppTest.from_file(FRAME, default_timeout=60).run()
        page.switch_page("../pages/layers.py").run()
        yield page.segmented_control(key="layers-part").set_value("Any other measure").run()
    settings.cache_clear()


@pytest.mark.parametrize("name", METRICS)
def test_it_is_drawn_or_its_place_says_what_is_missing(layers_page, name):
    layers_page.selectbox(key=CHOSEN).select(name).run()
    assert not layers_page.exception
    assert any(METRICS[name].title in title.value.replace("\\", "") for title in layers_page.subheader)


def test_a_layer_by_group_table_is_drawn_with_its_layers_as_rows():
    values = np.arange(6.0).reshape(2, 3)  # groups by layers
    how = drawn("gl", (2, 3))
    assert (how.rows, how.columns, how.chosen) == (1, 0, ())
    assert at(values, how, ()).tolist() == [[0, 3], [1, 4], [2, 5]]


def test_of_three_axes_one_has_a_place_that_the_reader_chooses():
    values = np.arange(8.0).reshape(2, 2, 2)
    how = drawn("lef", (2, 2, 2))
    assert at(values, how, (1,)).tolist() == [[4, 5], [6, 7]]


def test_an_axis_of_one_place_is_no_axis():
    assert drawn("gl", (1, 3)) == Drawn(chosen=(0,), rows=None, columns=1)


def test_places_have_the_names_that_the_metric_gives_them():
    result = Result(value=np.zeros((2, 3)), groups=("code", "law"))
    assert names("gate_entropy", result, 0, ["0", "1", "2"]) == ["code", "law"]
    assert names("gate_entropy", result, 1, ["0 (encoder)", "1", "2"]) == ["0 (encoder)", "1", "2"]


def test_the_sentence_names_the_ends_and_where_the_largest_is():
    values = np.array([0.25, np.nan, 0.75, 0.5])
    assert summary("load_gini", values, ["a", "b", "c", "d"]) == (
        "From 0.25 to 0.75, at c; half of the values lie below 0.5."
    )
    assert summary("load_gini", np.array([np.nan])) == "It is defined nowhere here."
