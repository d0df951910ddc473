"""Layers that a sentence lists one by one stand as ranges: in notes, under About, where a figure cannot be shown."""

from gatescope.app.charts.figure import Figure
from gatescope.app.charts.folding import fold_layers
from gatescope.routing.errors import OptionError

MANY = ", ".join(map(str, range(1, 47)))


def test_what_metrics_say_of_many_layers_is_folded():
    assert fold_layers(f"Not known in layers {MANY}: no raw scores.") == "Not known in layers 1–46: no raw scores."
    assert fold_layers(f"In layers {MANY} a table chose.") == "In layers 1–46 a table chose."
    assert fold_layers(f"Layers [{MANY}, 60]: few") == "Layers 1–46, 60: few"
    assert fold_layers("in layers [5]: bits there are too few.") == "in layer 5: bits there are too few."
    assert fold_layers("in layers 0, 1 and in layers [4, 5]") == "in layers 0–1 and in layers 4–5"


def test_other_numbers_stay():
    for text in ("layers 3 to 5", "layers 2", "in 4 of 58 layers, 12 of them", "experts 1, 2, 3", "layers 0-3", ""):
        assert fold_layers(text) == text


def test_a_figures_notes_and_explanations_are_folded():
    figure = Figure(key="k", takeaway="", notes=[f"few in layers {MANY}"], says=(("Note", f"none in layers [{MANY}]"),))
    assert figure.notes == ("few in layers 1–46",)
    assert figure.says == (("Note", "none in layers 1–46"),)


def test_why_a_figure_is_not_shown_is_folded():
    from streamlit.testing.v1 import AppTest

    def script() -> None:
        from gatescope.app.shell.figure import show
        from tests.app.test_folding import refuse

        show("What?", refuse)

    page = AppTest.from_function(script).run()
    assert not page.exception
    (said,) = [each.value.replace("\\", "") for each in page.markdown if "Not shown" in each.value]
    assert said.startswith("**Not shown:** Not known in layers 1–46. This needs scores: capture again.")


def refuse() -> Figure:
    raise OptionError(f"Not known in layers {MANY}", expected="scores", do="capture again")
