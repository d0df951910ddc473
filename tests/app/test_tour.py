"""The tour: each question leads to a state that answers it; it can be hidden and seen again."""

from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from gatescope.analysis.claims.claims import check_claims
from gatescope.analysis.claims.tour import Parting, Taker
from gatescope.analysis.labels.verdict import Evidence, left_of_columns, strength
from gatescope.analysis.metrics import METRICS
from gatescope.analysis.registry import MetricOptions, Result
from gatescope.app.charts.tour import parting_stop, specialization_stop, taker_stop
from gatescope.app.shell.session import server
from gatescope.app.shell.tour import stops
from gatescope.app.views.domains.groups_figure import split_frame, split_takeaway
from gatescope.models import BUNDLED_MODELS
from gatescope.server.measures import measure, table, tally_of


def test_a_parting_is_told_with_both_tokens(make_record):
    record = make_record(["The", " 2", " or", " 2"])
    record = replace(record, token_t=np.array([0, 1, 2, 1], np.int32))
    stop = parting_stop("welcome.m", record, Parting(layer=3, first=1, second=3, shared=0, slots=4))
    assert stop.question == "Why did layer 3 split at “2”?"
    assert "“2” is read twice, as tokens 1 and 3." in stop.says and "none of the 4 experts" in stop.says
    assert (stop.page, stop.parts) == ("prompt", {"capture": "welcome.m", "token": 3, "layer": 3})
    assert parting_stop("welcome.m", record, None) is None


def test_a_taker_is_told_with_its_interval():
    found = Taker(1, 3, share=0.827, share_of_others=0.07, low=0.69, high=0.79, tokens=5048, documents=263)
    stop = taker_stop("probe.m", found)
    assert (
        "Expert 3 of layer 1 works on 82.7% of the 5,048 tokens that are digits, and on 7.0% of all others" in stop.says
    )
    assert "69 to 79 points" in stop.says
    assert stop.parts == {"capture": "probe.m", "layer": 1, "expert": 3}


def test_the_greatest_usage_difference_that_is_sure_is_shown():
    value, q = np.array([[[0.2, 0.6]], [[0.1, 0.0]]]), np.array([[[0.01, 0.5]], [[0.01, 0.9]]])
    difference = Result(value=value, q=q, groups=("code", "law"))
    share = Result(value=np.array([[[0.35, 0.9]], [[0.5, 0.5]]]), groups=("code", "law"))
    told = {"given_words_excess_bits": [0.09], "given_words_null_mean_bits": [0.1], "given_words_p_value": [0.01]}
    words = pd.DataFrame({"layer": [0], "share_excess": [0.4], "covered": [0.3], **told})
    stop = specialization_stop("probe.m", difference, share, words)
    assert stop.parts == {"capture": "probe.m", "by": "domain", "layer": 0, "expert": 0}, "expert 1 is not sure"
    assert "35% of the tokens of code, 20 points more" in stop.says and "q = 0.01" in stop.says
    assert "alone gives 40%" in stop.says
    assert stop.says.startswith("Real but slight: at the same word, experts tell the domain in 1 of 1 layers")
    assert "alone gives" not in specialization_stop("probe.m", difference, share, None).says
    assert specialization_stop("probe.m", replace(difference, q=q + 0.05), share, words) is None
    assert specialization_stop("probe.m", difference, share, words, group="news") is None


@pytest.mark.parametrize("model", BUNDLED_MODELS)
def test_each_question_leads_to_what_answers_it(model):
    prompt, expert, domains = stops(model)
    record = server().find_source(prompt.parts["capture"]).record
    token, layer = prompt.parts["token"], prompt.parts["layer"]
    before = np.flatnonzero(record.token_t[:token] == record.token_t[token])
    assert any(set(record.ids_tlk[at, layer]) != set(record.ids_tlk[token, layer]) for at in before)

    corpus = server().find_source(expert.parts["capture"])
    record, place = corpus.record, (expert.parts["layer"], expert.parts["expert"])
    digit_t = np.array([record.piece(token).strip().isdigit() for token in record.token_t.tolist()])
    share_e = np.bincount(record.ids_tlk[digit_t, place[0]].ravel(), minlength=record.experts) / digit_t.sum()
    assert share_e.argmax() == place[1] and share_e.max() > 0.5

    place = (domains.parts["layer"], domains.parts["expert"])
    anew = METRICS["usage_difference"](
        tally_of(corpus, "usage_difference"), MetricOptions(by="domain", resamples=99, seed=7)
    )
    code = anew.groups.index("code")
    assert domains.parts["by"] == "domain"
    assert np.nanargmax(anew.value[code]) == np.ravel_multi_index(place, anew.value[code].shape)
    assert anew.q[code][place] <= 0.05


def _script():
    from gatescope.app.shell import address, tour

    tour.first_visit(address.current())
    tour.answer("prompt", address.current())


def shown(page: AppTest) -> str:
    return "".join(str(each.value) for each in page.markdown).replace("\\", "")


def test_the_tour_is_hidden_and_stays_so():
    page = AppTest.from_function(_script, default_timeout=240)
    page.query_params["t"], page.query_params["l"] = "3", "2"
    page.run()
    assert not page.exception
    assert "token 3, “ank”, is pinned in layer 2" in shown(page)
    page.button(key="tour-hide").click().run()
    assert not page.exception and not page.markdown
    page.run()
    assert not page.markdown


def _arrived():
    from gatescope.app.shell import address, tour

    tour.answer("expert", address.current())


def test_where_a_question_leads_it_is_answered():
    expert = stops("sift-softmax")[1]
    page = AppTest.from_function(_arrived, default_timeout=240)
    page.query_params["c"] = expert.parts["capture"]
    page.query_params["l"], page.query_params["e"] = str(expert.parts["layer"]), str(expert.parts["expert"])
    page.run()
    assert not page.exception
    assert expert.question in shown(page) and expert.says in shown(page)
    page.query_params["e"] = str(expert.parts["expert"] + 1)
    page.run()
    assert not page.markdown, "another expert answers nothing"


def test_the_first_question_is_answered_over_its_own_state():
    prompt = stops("sift-softmax")[0]
    page = AppTest.from_function(_script, default_timeout=240)
    page.query_params["c"] = prompt.parts["capture"]
    page.query_params["t"], page.query_params["l"] = str(prompt.parts["token"]), str(prompt.parts["layer"])
    page.run()
    assert not page.exception and prompt.says in shown(page)


def test_the_links_are_addresses_of_their_states():
    page = AppTest.from_function(_links, default_timeout=240)
    page.query_params["c"], page.query_params["s"], page.query_params["f"] = (
        "probe.sift-softmax",
        "domain:law",
        "prompt",
    )
    page.run()
    assert not page.exception
    hrefs = [each.value for each in page.code]
    expert = stops("sift-softmax")[1]
    asked = {key: value for key, (value,) in parse_qs(urlsplit(hrefs[1]).query).items()}
    wanted = {"c": expert.parts["capture"], "l": str(expert.parts["layer"]), "e": str(expert.parts["expert"])}
    assert asked == wanted, "nothing is left of the slice and the facet"
    assert [urlsplit(href).path for href in hrefs] == ["", "expert", "domains"]


def _links():
    import html
    import re

    import streamlit as st

    from gatescope.app.shell import tour

    for href in re.findall(r'href="([^"]*)"', tour.questions(tour.stops("sift-softmax"))):
        st.code(html.unescape(href))


@pytest.mark.parametrize("model", BUNDLED_MODELS)
def test_the_pages_that_say_whether_domains_differ_say_it_in_the_same_words(model):
    probe = server().find_source(f"probe.{model}")
    composed = table(probe, "composition.domain")
    found = {("mutual_information", "domain"): measure(probe, "mutual_information", by="domain")}
    left = left_of_columns(lambda name: composed[name].to_numpy(np.float64))
    line = strength(left, "domain").says
    evidence = Evidence(layers=probe.record.layers, tokens=10**5, documents=552, results=found, left={"domain": left})
    claim = next(each for each in check_claims(evidence) if each.name == "subject")
    assert claim.figure.startswith(line)
    assert split_takeaway(split_frame(composed), "domain").startswith(line)
    assert stops(model)[2].says.startswith(line)
    assert line.startswith("Real but slight: ") and claim.holds == "does not hold"
