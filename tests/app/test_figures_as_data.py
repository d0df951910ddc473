"""Figures as data: made of a page's captures without a dashboard, and drawn in one place."""

import pytest
from streamlit.testing.v1 import AppTest

from gatescope.analysis.registry import METRICS
from gatescope.app.charts.depth import DEPTHS, depth
from gatescope.app.charts.figure import Chart, Figure, Html, Matrix
from gatescope.app.charts.page import Page
from gatescope.app.views.expert.groups_figure import classes, places
from gatescope.app.views.expert.profile_figure import chosen_of, glance
from gatescope.app.views.expert.words_figure import where
from gatescope.app.views.layers.load_figure import load_figure, loads_of, sorted_work
from gatescope.app.views.layers.windows_figure import windows
from gatescope.app.views.locality.reach_figure import hit_curves, hits, overlap
from gatescope.app.views.pairs.transitions_figure import coverage, same_path, step
from gatescope.app.views.token.token_path_figure import ladder, margins
from gatescope.routing.errors import OptionError
from gatescope.server.measures import noted, noting
from gatescope.server.sources import WHOLE, Source
from gatescope.server.view import View
from tests.records import build_record

RECORD = build_record([f"{number} " for number in range(64)], layers=3, experts=8)


def page_of() -> Page:
    source = Source(id="figures-as-data", name="figures", kind="corpus", record=RECORD)
    return Page(view=View(model="small", quantity=""), source=source, reference=None, scope=WHOLE)


def link(*place: int | None) -> str:
    return f"?{place}"


MADE = {
    "load": (lambda page: load_figure(page, loads_of(page), "relative_load", is_stretched=False), Matrix),
    "sorted": (lambda page: sorted_work(page, 1), Chart),
    "windows": (lambda page: windows(page, 1), Chart),
    "load_max_violation": (lambda page: depth(page, DEPTHS[1]), Chart),
    "overlap": (overlap, Chart),
    "hits": (lambda page: hits(page, hit_curves(page), 2), Chart),
    "step": (lambda page: step(page, 0, 0), Chart),
    "coverage": (coverage, Matrix),
    "same": (same_path, Chart),
    "glance": (lambda page: glance(page, chosen_of(page)), Html),
    "places": (lambda page: places(page, chosen_of(page)), Chart),
    "classes": (lambda page: classes(page, chosen_of(page)), Chart),
    "ladder": (lambda page: ladder(page, page.source.record, 5, link), Html),
    "margins": (lambda page: margins(page, page.source.record, 5), Chart),
}
"""Figures by key: what makes them, and what is drawn first."""


@pytest.mark.parametrize("key", MADE)
def test_a_figure_is_made_of_a_page_s_captures_alone(key):
    make, kind = MADE[key]
    with noting():
        figure = make(page_of())
        assert noted(), "what it read, for the Python under it"
    assert figure.key == key and figure.takeaway.endswith(".") and figure.population.startswith("N = ")
    assert isinstance(figure.body[0], kind)
    assert len(figure.frame())


def test_what_a_page_cannot_show_is_an_error_of_its_figure():
    with pytest.raises(OptionError, match="layer 2 is the last one"):
        step(page_of(), 2, 0)
    bare = build_record(margin_tl=None)
    with pytest.raises(OptionError, match="no margins"):
        margins(page_of(), bare, 1)


def test_an_expert_s_contexts_stand_side_by_side():
    page = page_of()
    (columns,) = where(page, chosen_of(page), lambda row: f"?{row}").body
    assert [part.key for part in columns.parts] == ["contexts-At random", "contexts-By weight"]


def test_unit_and_chance_are_the_metric_s_where_they_are_left_out():
    metric = METRICS["class_load"]
    figure = Figure(key="x", takeaway="", metric="class_load")
    assert figure.foot == f"unit: {metric.unit} · chance: {metric.null}"
    assert Figure(key="x", takeaway="", metric="class_load", unit="bits", null="").foot == "unit: bits"
    assert Figure(key="x", takeaway="").foot == ""


def _script() -> None:
    import streamlit as st

    from gatescope.app.charts.figure import Columns, Figure, Html, Table, Text
    from gatescope.app.shell.figure import show
    from gatescope.routing.errors import OptionError

    def drawn() -> Figure:
        import pandas as pd

        frame = pd.DataFrame({"share": [0.5]})
        body = (Text("small *print*"), Text("A", "strong"), Table(frame, {"share": ("Share", "percent")}, "Rows"))
        columns = Columns((Html("<p>one</p>"), Html("<p>two</p>")))
        return Figure(key="x", takeaway="Half of it.", body=(*body, columns), notes=("few",), null="dotted: 0")

    def refused() -> Figure:
        raise OptionError("no layers", expected="some", do="choose a model")

    found = show("Is it shown?", drawn, above=lambda: st.caption("above"), below=lambda: st.caption("below"))
    st.text(f"{found.question} {show('Is it refused?', refused)} {show('Is it left out?', lambda: None)}")


def test_a_figure_is_drawn_from_top_to_bottom_and_an_error_in_its_place():
    page = AppTest.from_function(_script, default_timeout=60).run()
    assert not page.exception
    said = [each.value.replace("\\", "") for each in page.subheader]
    assert said == ["Is it shown?", "Is it refused?"]
    captions = [each.value.replace("\\", "") for each in page.caption]
    assert captions[2:] == ["above", "small *print*", "Note: few", "below", "dotted: 0"]
    assert [each.value.replace("\\", "") for each in page.markdown] == [
        "Half of it.",
        "**A**",
        "**Not shown:** no layers. This needs some: choose a model.",
    ]
    assert [each.label for each in page.expander] == ["Rows"] and len(page.dataframe) == 1
    assert page.text[0].value == "Is it shown? None None"
