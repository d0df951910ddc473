"""Kinds of text: told by hand, counted one by one, and experts planted on them."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats.contingency import association

from gatescope.analysis.counting import tally
from gatescope.analysis.labels.token_classes import CLASSES, class_bits, class_of, cramers_v
from gatescope.analysis.metrics import METRICS, MetricOptions
from gatescope.analysis.tally.tally import TokenRole
from gatescope.routing import Flag
from tests.analysis.conftest import make_record
from tests.analysis.test_tally import random_record

NAMES = [
    (" the", "word in lower case"),
    ("é", "word in lower case"),
    (" Über", "capitalised word"),
    ("I", "capitalised word"),
    (" USA", "word in capitals"),
    ("\n\n", "line break or indent"),
    ("        ", "line break or indent"),
    ("\t", "line break or indent"),
    (" ", "space"),
    (" 1984", "digits"),
    ("٣", "digits"),
    ("...", "punctuation"),
    ("。", "punctuation"),
    ("«", "punctuation"),
    (" (", "punctuation"),
    ("-", "punctuation"),
    (" +=", "code symbols"),
    ("}", "code symbols"),
    ("x1", "word in lower case"),
    (" мир", "Cyrillic"),
    ("λόγος", "Greek"),
    ("日本", "Han"),
    ("ひ", "Kana"),
    ("한국", "Hangul"),
    ("سلام", "Arabic"),
    ("नम", "Devanagari"),
    ("שלום", "another script"),
    ("\ufffd", "part of a character"),
    ("", "no known text"),
]
PIECES = dict(enumerate([" the", "Paris", "\n", "42", ",", "();", " is", "это", " a"]))


@pytest.mark.parametrize(("piece", "name"), NAMES)
def test_what_kind_of_text_a_token_is(piece, name):
    assert class_of(piece) == name and name in CLASSES


def test_a_word_goes_on_only_after_a_letter_of_the_same_document():
    record = make_record(
        np.zeros((6, 1, 1)), experts=2, documents=[0, 0, 0, 0, 1, 1], token_t=np.array([0, 1, 2, 1, 1, 1], np.int32)
    )
    record = replace(record, pieces={0: " spec", 1: "ial", 2: "-"})
    token_c = tally(record).pooled("class_tokens")
    found = {CLASSES[c]: int(n) for c, n in enumerate(token_c) if n}
    assert found == {"word in lower case": 3, "inside a word": 2, "punctuation": 1}


@pytest.mark.parametrize("facets", [(TokenRole.PROMPT, TokenRole.GENERATED), (TokenRole.FORMAT,)])
def test_load_by_class_agrees_with_counting_one_by_one(facets):
    record = replace(random_record(5, documents=12), pieces=PIECES)
    result = METRICS["class_load"](tally(record), MetricOptions(facets=facets))
    used, total = Counter(), Counter()
    for t in range(record.tokens):
        if (record.flag_t[t] == Flag.SPECIAL) != (facets == (TokenRole.FORMAT,)):
            continue
        before = t > 0 and record.document_t[t] == record.document_t[t - 1]
        follows = bool(before and PIECES[int(record.token_t[t - 1])][-1].isalpha())
        c = CLASSES.index(class_of(PIECES[int(record.token_t[t])], follows_letter=follows))
        for layer, expert in np.ndindex(2, 2):
            used[c, layer, int(record.ids_tlk[t, layer, expert])] += 1
            total[c, layer] += 1
    assert len({c for c, _ in total}) > 3
    for c, layer, e in np.ndindex(len(CLASSES), 2, 5):
        expected = 5 * used[c, layer, e] / total[c, layer] if total[c, layer] else np.nan
        assert result.value[c, layer, e] == pytest.approx(expected, nan_ok=True)
    assert result.labels["c"] == CLASSES and result.tokens == sum(total.values()) // 4


def test_an_expert_of_digits_is_found_and_nothing_where_there_is_none():
    generator = np.random.default_rng(0)
    token_t = generator.integers(0, 9, 4000).astype(np.int32)
    route = np.where(token_t == 3, 2, generator.choice([0, 1, 3], 4000))
    ids_tlk = np.stack([route, generator.integers(0, 4, 4000)], axis=1)[:, :, None]
    record = replace(make_record(ids_tlk, experts=4, documents=np.arange(4000) // 50, token_t=token_t), pieces=PIECES)
    found = tally(record)
    load = METRICS["class_load"](found)
    digits = CLASSES.index("digits")
    assert load.value[digits, 0].tolist() == [0, 0, 4, 0]
    assert load.null[digits, 0, 2] == pytest.approx(4 * (token_t == 3).mean())
    bits, strength = METRICS["class_information"](found), METRICS["class_association"](found)
    share = (token_t == 3).mean()
    told = -share * np.log2(share) - (1 - share) * np.log2(1 - share)  # the expert tells digits from the rest, no more
    assert bits.value[0] == pytest.approx(told, abs=0.01) and abs(bits.value[1]) < 0.006
    assert strength.value[0] == pytest.approx(1 / np.sqrt(3), abs=0.02) and strength.value[1] < 0.03


def test_chance_is_what_independent_tokens_show():
    """Plug-in information of independent classes and experts, over 300 draws of 400: the bias that is taken off."""
    generator, bits, biases, strengths = np.random.default_rng(1), [], [], []
    for _ in range(300):
        table = generator.multinomial(400, np.outer([0.5, 0.3, 0.2], np.full(8, 1 / 8)).ravel()).reshape(3, 8)
        found, bias = class_bits(table)
        bits.append(float(found))
        biases.append(float(bias))
        strengths.append(cramers_v(table))
    assert np.mean(bits) == pytest.approx(np.mean(biases), rel=0.06)
    assert np.mean(strengths) < 0.05


def test_association_agrees_with_an_independent_implementation_and_its_correction_by_hand():
    table = np.array([[300, 100, 0], [50, 200, 30], [0, 20, 400]])
    n, plain = table.sum(), association(table, method="cramer")
    corrected = (plain**2 * 2 - 4 / (n - 1)) / (3 - 4 / (n - 1) - 1)
    assert cramers_v(table) == pytest.approx(np.sqrt(corrected))
    assert np.isnan(cramers_v(np.zeros((2, 2), int)))
    assert cramers_v(np.array([[3, 4, 5]])) == 0


def test_tokens_without_text_are_said_and_left_out_where_others_have_some():
    record = random_record(5, documents=12)
    bare = METRICS["class_information"](tally(record))
    assert any("have no known text" in said for said in bare.warnings)
    assert any("nothing to tell apart" in said for said in bare.warnings)
    half = replace(record, pieces={n: PIECES[n] for n in range(5)})
    known = np.isin(record.token_t, range(5))
    fewer = make_record(record.ids_tlk[known], experts=5, token_t=record.token_t[known], flag_t=record.flag_t[known])
    both = [METRICS["class_association"](tally(each)) for each in (half, replace(fewer, pieces=half.pieces))]
    assert any("have no known text" in said for said in both[0].warnings) and both[1].warnings == ()


def test_a_layer_without_routes_and_experts_that_a_layer_lacks():
    ids_tlk = np.array([[[0], [255], [1]], [[1], [255], [3]]])
    record = replace(make_record(ids_tlk, experts=[2, 2, 4], token_t=np.array([1, 3], np.int32)), pieces=PIECES)
    found = tally(record)
    assert np.isnan(METRICS["class_information"](found).value).tolist() == [False, True, False]
    assert np.isnan(METRICS["class_association"](found).value).tolist() == [False, True, False]
    load = METRICS["class_load"](found).value[CLASSES.index("digits")]
    np.testing.assert_array_equal(load, [[0, 2, np.nan, np.nan], [np.nan] * 4, [0, 0, 0, 4]])
