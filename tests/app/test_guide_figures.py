"""The guide's texts: every measure and topic has a page, keys are those of the docs, searches find what they should."""

import re

import pytest

from gatescope.analysis.registry import METRICS
from gatescope.app.reference import DASHBOARD
from gatescope.app.shell.navigation import find_pages
from gatescope.app.views.guide.texts_figure import (
    KEYS,
    MECHANISMS,
    TOPICS,
    found_metrics,
    glossary,
    in_rules,
    keys_list,
    metrics_frame,
    metrics_list,
    topic_of,
)
from gatescope.routing import RouterRule

TITLES = {page.address: page.title for page in find_pages()}
RULE = {"layer": 0, "block": 0, "module": "m", "experts": 8, "k": 2, "score": "sigmoid"}


WAYS = {page: f"{page}?l=1&e=2" for page in TITLES}


def test_every_topic_of_measures_has_a_page():
    assert {topic_of(metric) for metric in METRICS.values()} == set(TOPICS)
    assert set(TOPICS.values()) <= set(TITLES)
    assert {page for each in MECHANISMS for page in each.pages} <= set(TITLES)


def test_the_keys_are_those_of_the_docs():
    rows = re.findall(
        r"^\| (.+) \| (.+) \|$", DASHBOARD.read_text("utf-8").partition("## Mouse and keys")[2], re.MULTILINE
    )
    told = [(key.replace("`", ""), does) for key, does in rows if key not in ("key", "---")]
    assert told == [(key, does) for key, does in KEYS]
    assert keys_list().count("<kbd>") == len(KEYS)


@pytest.mark.parametrize(
    ("search", "name"),
    [
        ("gini load", "load_gini"),
        ("LOAD_GINI", "load_gini"),
        ("shazeer", "load_cv"),
        ("belady", "belady_hit_rate"),
        ("bits language", "mutual_information"),
    ],
)
def test_a_measure_is_found_by_words_of_all_that_is_said_of_it(search, name):
    found = [metric.name for metric in found_metrics(search)]
    assert name in found and len(found) < len(METRICS)


def test_no_words_find_all_and_nonsense_nothing():
    assert len(found_metrics("  ")) == len(METRICS)
    assert found_metrics("zebra") == []
    assert len(metrics_frame([])) == 0


def test_a_measure_is_told_in_full():
    metric = METRICS["context_share"]
    html = metrics_list([metric], WAYS, TITLES)
    for said in (metric.title, "context_share", metric.unit, metric.null, "arXiv 2604.17182", "0 to …"):
        assert said in html.replace("&#x27;", "'")
    assert f'href="token?l=1&amp;e=2">See it: {TITLES["token"]}' in html
    assert "See it" not in metrics_list([metric], WAYS, {}), "a page that is not there is not offered"
    assert "<h3>Context</h3>" in html and "<h3>" not in metrics_list([], WAYS, TITLES)


def test_the_table_has_every_measure_with_its_page():
    frame = metrics_frame(list(METRICS.values()))
    assert frame["name"].tolist() == list(METRICS)
    row = frame.set_index("name").loc["load_gini"]
    assert (row["topic"], row["page"], row["range"]) == ("load_balance", "layers", "0 to 1")


def test_mechanisms_say_what_the_model_has_of_them():
    plain = RouterRule(**RULE)
    rich = RouterRule(
        **RULE, shared_experts=1, groups=4, groups_kept=2, has_selection_bias=True, empty_when="where full"
    )
    names = ("Top-k", "Shared experts", "Group-limited routing", "Selection bias", "Capacity and dropped tokens")
    assert [in_rules(name, [plain]) for name in names] == ["2 of 8", *["none"] * 4]
    assert [in_rules(name, [rich, rich]) for name in names] == [
        "2 of 8",
        "1 in each of 2 layers",
        "2 of 4 groups",
        "yes",
        "a slot stays empty where full",
    ]
    html = glossary(WAYS, TITLES, [plain], "<b>x</b>")
    assert "In &lt;b&gt;x&lt;/b&gt;: 2 of 8." in html and html.count("<dt>") == len(MECHANISMS) == 16
