"""Information about the token's own id: by hand, against an independent formula, planted causes, calibration."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from sklearn.metrics import mutual_info_score

from gatescope.analysis.labels import words
from gatescope.analysis.labels.words import token_information
from gatescope.routing import EMPTY8, EMPTY16
from gatescope.routing.errors import OptionError


def flat(experts_t):
    """Routes of one layer and one slot."""
    return np.asarray(experts_t).astype(np.uint8)[:, None, None]


def one(experts_t, token_t, document_t, **options):
    """The only layer's result."""
    return token_information(flat(experts_t), token_t, document_t, **({"permutations": 99} | options))[0]


def drawn(generator, p_te):
    return (p_te.cumsum(axis=1) > generator.random((len(p_te), 1))).argmax(axis=1)


def test_an_expert_per_word_tells_the_whole_entropy_of_the_words():
    token_t, document_t = np.tile([10, 20, 30, 40], 50), np.arange(200) // 20
    layer = one(token_t // 10, token_t, document_t)
    assert layer.observed_bits == layer.label_entropy_bits == pytest.approx(2.0)
    assert layer.p_value == 0.01 and layer.z > 10 and layer.excess_bits > 1.9
    assert (layer.documents, layer.assignments) == (10, 200)


TOKENS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 4), st.lists(st.integers(0, 3), unique=True, max_size=3)), min_size=1
)


@settings(max_examples=60)
@given(TOKENS)
def test_observed_bits_agree_with_an_independent_implementation(tokens):
    ids_tlk = np.array([[[*experts, EMPTY8, EMPTY8, EMPTY8][:3]] for *_, experts in tokens], np.uint8)
    token_t, document_t = np.array([token[1] for token in tokens]), np.array([token[0] for token in tokens])
    layer = token_information(ids_tlk, token_t, document_t, permutations=2)[0]
    pairs = np.array([(word, expert) for _, word, experts in tokens for expert in experts]).reshape(-1, 2)
    assert layer.assignments == len(pairs)
    assert layer.documents == len({document for document, _, experts in tokens if experts})
    if len(pairs):
        shares = np.unique(pairs[:, 0], return_counts=True)[1] / len(pairs)
        assert layer.observed_bits == pytest.approx(mutual_info_score(*pairs.T) / np.log(2), abs=1e-9)
        assert layer.label_entropy_bits == pytest.approx(-(shares * np.log2(shares)).sum(), abs=1e-9)
    else:
        assert np.isnan([layer.observed_bits, layer.null_mean_bits, layer.p_value, layer.label_entropy_bits]).all()


def test_the_null_agrees_with_all_ways_to_deal_two_documents():
    """Words a a b in each; experts 0 0 1 and 1 1 0. A shuffle puts the odd route at b once in three, independently."""
    token_t, document_t = np.array([1, 1, 2, 1, 1, 2]), np.repeat([0, 1], 3)
    experts = [[0, 0, 1], [0, 1, 0], [1, 0, 0]], [[1, 1, 0], [1, 0, 1], [0, 1, 1]]
    all_bits = [mutual_info_score(token_t, left + right) / np.log(2) for left in experts[0] for right in experts[1]]
    layer = one([0, 0, 1, 1, 1, 0], token_t, document_t, permutations=4000)
    assert layer.null_mean_bits == pytest.approx(np.mean(all_bits), abs=0.01)
    assert layer.p_value == pytest.approx(np.mean(np.array(all_bits) >= layer.observed_bits - 1e-9), abs=0.03)


def test_what_a_document_alone_decides_is_no_information_about_words():
    """Each document has its own words and its own expert: chance tells as much, and nothing can be concluded."""
    document_t = np.arange(400) // 20
    layer = one(document_t % 4, 10 * document_t + np.arange(400) % 5, document_t)
    assert [layer.observed_bits, layer.null_mean_bits] == pytest.approx([2.0, 2.0])
    assert layer.p_value == 1.0 and np.isnan(layer.z)


def test_rare_words_have_an_excess_of_about_zero_where_the_plug_in_value_has_not():
    generator = np.random.default_rng(0)
    token_t, document_t = generator.zipf(1.3, 4000) % 3000, np.arange(4000) // 100
    layer = one(generator.integers(0, 16, 4000), token_t, document_t)
    assert layer.observed_bits > 1.0 and abs(layer.excess_bits) < 0.02
    assert 0.01 < layer.p_value <= 1


def test_p_values_are_uniform_when_words_and_experts_both_follow_the_document_only():
    p_values = []
    for seed in range(100):
        generator = np.random.default_rng(seed)
        document_t = np.arange(300) // 20
        p_de, p_dx = generator.dirichlet(np.full(4, 0.5), size=15), generator.dirichlet(np.full(12, 0.5), size=15)
        experts_t, token_t = drawn(generator, p_de[document_t]), drawn(generator, p_dx[document_t])
        p_values.append(one(experts_t, token_t, document_t, seed=seed).p_value)
    assert kstest(p_values, "uniform").pvalue > 0.01


def test_a_deal_moves_whole_routes_and_layers_share_the_shuffles():
    generator = np.random.default_rng(1)
    token_t, document_t = generator.integers(0, 9, 120), np.arange(120) // 30
    ids_tlk = np.argsort(generator.random((120, 2, 6)), axis=2)[:, :, :3].astype(np.uint8)
    both = token_information(ids_tlk, token_t, document_t, permutations=20, seed=3)
    assert both[1] == token_information(ids_tlk[:, 1:], token_t, document_t, permutations=20, seed=3)[0]
    assert both[0] != token_information(ids_tlk, token_t, document_t, permutations=20, seed=4)[0]
    wide = token_information(ids_tlk.astype(np.uint16), token_t, document_t, permutations=20, seed=3)
    assert wide == both


def test_counts_beyond_the_table_are_computed(monkeypatch):
    generator = np.random.default_rng(2)
    token_t, document_t, experts_t = generator.integers(0, 3, 300), np.arange(300) // 30, generator.integers(0, 4, 300)
    whole = one(experts_t, token_t, document_t)
    monkeypatch.setattr(words, "_TABLE", 8)
    np.testing.assert_allclose(one(experts_t, token_t, document_t), whole, atol=1e-9)


def test_documents_need_not_stand_in_order_and_no_tokens_are_undefined():
    generator = np.random.default_rng(3)
    token_t, document_t, experts_t = generator.integers(0, 3, 90), np.arange(90) % 3, generator.integers(0, 4, 90)
    layer = one(experts_t, token_t, 7 * document_t)
    assert layer.documents == 3 and 0 < layer.null_mean_bits < 1
    none = token_information(np.zeros((0, 2, 1), np.uint16), np.zeros(0, int), np.zeros(0, int), permutations=2)
    assert len(none) == 2 and np.isnan(none[0].observed_bits) and none[0].documents == 0


def test_empty_slots_are_nobodys_in_either_width():
    for empty, kind in ((EMPTY8, np.uint8), (EMPTY16, np.uint16)):
        ids_tlk = np.array([[[0]], [[1]], [[empty]]], kind)
        layer = token_information(ids_tlk, np.array([1, 2, 3]), np.zeros(3, int), permutations=5)[0]
        assert layer.assignments == 2 and layer.observed_bits == layer.label_entropy_bits == 1.0


@pytest.mark.parametrize(
    ("ids_tlk", "tokens", "permutations", "complaint"),
    [
        (np.zeros((2, 1, 1)), 2, 9, "float64"),
        (np.zeros((2, 1), np.uint8), 2, 9, "shape"),
        (np.zeros((2, 1, 1), np.uint8), 3, 9, "for 2 tokens"),
        (np.zeros((2, 1, 1), np.uint8), 2, 0, "0 permutations"),
    ],
)
def test_arguments_that_do_not_fit_are_named(ids_tlk, tokens, permutations, complaint):
    with pytest.raises(OptionError, match=complaint):
        token_information(ids_tlk, np.zeros(tokens, int), np.zeros(2, int), permutations=permutations)
