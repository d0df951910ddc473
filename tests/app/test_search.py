"""The search: everything has one entry, which leads where it is shown."""

import pytest

from gatescope.analysis.metrics import METRICS
from gatescope.app.charts.glossary import MECHANISMS
from gatescope.app.shell.navigation import find_pages
from gatescope.app.shell.search_entries import entries
from gatescope.drawing.token_heatmap import views

CAPTURES = {"probe.sift-softmax": "sift-softmax on the probe set", "abcdefghijklmnop": "The bank raised"}
PAGES = find_pages()


def test_pages_captures_words_views_and_measures_are_found_each_once():
    found = entries(PAGES, CAPTURES)
    labels = [each.label for each in found]
    assert len(found) == len(PAGES) + len(CAPTURES) + len(MECHANISMS) + len(views()) + len(METRICS)
    assert len(set(labels)) == len(labels)
    assert {each.page for each in found} <= {page.address for page in PAGES}


def test_every_word_and_measure_says_what_it_means():
    for each in entries(PAGES, {}):
        assert each.says or each.label.startswith(tuple(f"{page.title} · page" for page in PAGES)), each.label


@pytest.mark.parametrize(
    ("words", "page", "parts"),
    [
        ("The bank raised", "prompt", {"capture": "abcdefghijklmnop"}),
        ("load_gini", "layers", {}),
        ("lru_hit_rate", "locality", {}),
        ("Router", "prompt", {}),
    ],
)
def test_an_entry_leads_where_it_is_shown(words, page, parts):
    found = next(each for each in entries(PAGES, CAPTURES) if words in each.label)
    assert (found.page, found.parts) == (page, parts)
