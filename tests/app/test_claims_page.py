"""Claims on the Model page: of a bundled model from its probe set, of a model without a corpus, and of a study."""

import pytest
from streamlit.testing.v1 import AppTest

from gatescope.analysis.claims.claims import check_claims
from gatescope.app.views.model.claims_figure import evidence
from gatescope.server.sources import read_shipped
from tests.app.test_model_page import opened, words  # noqa: F401  # the page of this file's own


def takeaway(page: AppTest) -> str:
    return next(line for line in words(page).splitlines() if line.startswith("Of 10 common claims"))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("sift-softmax", "2 hold of this one, 7 do not, 1 does not apply to it"),
        ("sift-sigmoid", "3 hold of this one, 6 do not, 1 cannot be told yet"),
    ],
)
def test_a_bundled_model_is_judged_on_its_probe_set(opened, model, said):  # noqa: F811
    page = opened(model)
    assert said in takeaway(page)
    assert f"{model} on the probe set: N = 110,552 tokens of 552 documents" in words(page)
    assert "Yes: " in words(page)


def test_a_model_that_read_no_corpus_is_told_how_to(opened, tiny_model):  # noqa: F811
    page = opened(tiny_model)
    assert "1 does not, 8 cannot be told yet, 1 does not apply to it" in takeaway(page)
    assert "no corpus was read by this model yet" in words(page)
    assert "Study a corpus with this model" in [each.label for each in page.button]
    made = {}
    exec(next(each.value for each in page.code if each.language == "python"), made)
    assert sum(each.holds == "not enough data" for each in made["verdicts"]) == 8


@pytest.mark.parametrize("capture", ["probe.sift-sigmoid", "step0.sift-softmax", "welcome.sift-softmax"])
def test_what_another_model_read_or_one_text_does_not_stand_in(opened, capture):  # noqa: F811
    assert "sift-softmax on the probe set: N = 110,552 tokens" in words(opened("sift-softmax", c=capture))


def test_a_corpus_that_was_not_analysed_is_computed_when_asked():
    step = read_shipped("step0.sift-softmax")
    found = {each.name: each for each in check_claims(evidence(step, step.record.layers, None))}
    assert found["sparse"].holds == "not enough data", "no weights are at hand"
    untold = [name for name, each in found.items() if each.holds == "not enough data"]
    assert untold == ["sparse"]
    assert found["balanced"].documents == 100 and found["subject"].holds == "does not hold"
