"""A text before and after a change: which tokens are marked, and what the sentence says of them."""

import re

import numpy as np

from gatescope.analysis.comparison.alignment import align
from gatescope.analysis.comparison.changed_layers import changed_layers
from gatescope.app.views.prompt.change_figure import LEAD, MOST, change_html, change_sentence


def both(make_record, first: list[int], second: list[int], moved: dict[int, int]):
    """Two texts of token ids; `moved`: tokens of the second whose experts are others in that many layers."""
    tokens = max(len(first), len(second))
    ids_tlk = np.zeros((tokens, 2, 2), np.uint8) + np.array([0, 1], np.uint8)
    before = make_record(pieces=["x"] * len(first), token_t=np.array(first, np.int32), ids_tlk=ids_tlk[: len(first)])
    after_tlk = ids_tlk[: len(second)].copy()
    for token, layers in moved.items():
        after_tlk[token, :layers] = [2, 3]
    after = make_record(pieces=["x"] * len(second), token_t=np.array(second, np.int32), ids_tlk=after_tlk)
    found = align(before.token_t, after.token_t)
    return before, after, found, changed_layers(before, after, found)


def test_tokens_that_went_elsewhere_carry_the_number_of_layers(make_record):
    html = change_html(*both(make_record, [10, 11, 12, 13], [10, 21, 12, 13], {2: 1, 3: 2}), href=lambda t: f"?t={t}&x")
    assert re.findall(r"of 2 layers\">.*?<sup>(\d)</sup>", html) == ["1", "2", "1", "2"]  # in both texts
    assert html.count("<mark") == 4
    assert 'href="?t=2&amp;x"' in html
    assert html.count("<del") == html.count("<ins") == 1


def test_the_sentence_counts_what_moved_and_names_the_most(make_record):
    _, after, found, changed = both(make_record, [10, 11, 12, 13], [10, 21, 12, 13], {2: 1, 3: 2})
    said = change_sentence(after, found, changed)
    assert said.startswith("2 of the 3 tokens that both texts have went to other experts in some layer; token 3 ")
    assert "in the most, 2 of 2 layers" in said
    assert "The 1 before the change kept theirs, as they must" in said


def test_noise_before_the_change_is_called_noise(make_record):
    _, after, found, changed = both(make_record, [10, 11, 12], [10, 11, 22], {0: 1})
    assert "1 of the 2 before the change moved too: that is noise" in change_sentence(after, found, changed)


def test_texts_without_a_token_in_common_say_so(make_record):
    _, after, found, changed = both(make_record, [10, 11], [20, 21], {})
    assert change_sentence(after, found, changed) == "The two texts have no token in common."


def test_long_texts_are_cut_around_the_change_and_say_so(make_record):
    first = list(range(1000))
    second = [*first[:500], 2000, *first[501:]]
    html = change_html(*both(make_record, first, second, {600: 1}))
    assert html.count(f"… {500 - LEAD:,} tokens before …") == 2
    assert html.count(f"… {1000 - (500 - LEAD) - MOST:,} more tokens") == 2
    assert html.count("<sup>") == 2


def test_markup_in_a_token_is_shown_not_run(make_record):
    first, second = make_record(pieces=["<b>", "b", "c"]), make_record(pieces=["<b>", "b", "c"])
    found = align(first.token_t, second.token_t)
    assert "<b>" not in change_html(first, second, found, changed_layers(first, second, found))
