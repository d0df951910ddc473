"""Labels under one mix of words, on simulated corpora: planted causes are told apart, and chance is chance."""

import numpy as np
import pytest
from scipy.stats import entropy, kstest

from gatescope.analysis.labels.common_support import common_support, support_of_pairs


def one(experts_t, token_t, document_t, labels_d, **options):
    """The only layer's result, for routes of one slot."""
    options = {"permutations": 99, "least_tokens": 2} | options
    return common_support(experts_t.astype(np.uint8)[:, None, None], token_t, document_t, labels_d, **options)[0]


def even_bits(profile_ge):
    """Information of labels that count alike."""
    share_ge = profile_ge / profile_ge.sum(axis=1, keepdims=True)
    return entropy(share_ge.mean(axis=0), base=2) - entropy(share_ge, axis=1, base=2).mean()


def text(generator, documents_g, *, length=60, words=60, tilt=0.9):
    """Tokens, documents and labels; with a tilt, each label has shared words at odds of its own, up to hundreds."""
    labels_d = np.repeat(np.arange(len(documents_g)), documents_g)
    document_t = np.repeat(np.arange(len(labels_d)), length)
    p_gx = tilt * generator.dirichlet(np.full(words, 0.5), size=len(documents_g)) + (1 - tilt) / words
    return drawn(generator, p_gx[labels_d[document_t]]), document_t, labels_d


def drawn(generator, p_te):
    return (p_te.cumsum(axis=1) > generator.random((len(p_te), 1))).argmax(axis=1)


def routed(generator, token_t, document_t, leaning, strata_d=None):
    """Experts that follow the word (in its stratum), and as far as asked a leaning of each document."""
    strata_t = np.zeros(len(token_t), int) if strata_d is None else strata_d[document_t]
    p_sxe = generator.dirichlet(np.full(6, 0.5), size=(strata_t.max() + 1, token_t.max() + 1))
    p_de = generator.dirichlet(np.ones(6), size=document_t.max() + 1)
    return drawn(generator, (1 - leaning) * p_sxe[strata_t, token_t] + leaning * p_de[document_t])


@pytest.mark.parametrize(
    ("documents_g", "leaning", "has_strata"),
    [((12, 12, 12), 0.0, False), ((4, 10, 30), 0.4, False), ((10, 10), 0.4, False), ((12, 12, 12), 0.2, True)],
    ids=["words alone", "uneven labels and documents that lean", "two labels", "strata with words of their own"],
)
def test_p_values_are_uniform_when_routing_follows_the_word_and_words_follow_the_label(
    documents_g, leaning, has_strata
):
    p_values, excess, observed = [], [], []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        token_t, document_t, labels_d = text(generator, documents_g)
        odds_d = np.array([0.2, 0.5, 0.8])[labels_d]
        strata_d = (generator.random(len(labels_d)) < odds_d).astype(int) if has_strata else None
        experts_t = routed(generator, token_t, document_t, leaning, strata_d)
        layer = one(experts_t, token_t, document_t, labels_d, least_tokens=4, seed=seed, strata_d=strata_d)
        p_values.append(layer.standardised.p_value)
        excess.append(layer.standardised.excess_bits)
        observed.append(layer.standardised.observed_bits)
    assert kstest(p_values, "uniform").pvalue > 0.01
    assert abs(np.mean(excess)) < 3 * np.std(excess) / np.sqrt(200) < 0.15 * np.mean(observed)


def shuffled_anew(table_dxe, labels_d, shuffles, generator):
    """What shuffled labels give when mix and profiles are made anew, over the shared words that all have."""
    found = []
    for _ in range(shuffles):
        given_d = generator.permutation(labels_d)
        count_gxe = np.array([table_dxe[given_d == label].sum(axis=0) for label in np.unique(labels_d)])
        count_gx = count_gxe.sum(axis=2)
        has_x = (count_gx > 0).all(axis=0)
        mix_x = (count_gx[:, has_x] / count_gx[:, has_x].sum(axis=1, keepdims=True)).mean(axis=0)
        profile_ge = (mix_x[:, None] * count_gxe[:, has_x] / count_gx[:, has_x, None]).sum(axis=1)
        found.append(even_bits(profile_ge))
    return np.mean(found)


def test_labels_shuffled_anew_would_give_too_little():
    """Routing by word alone: what is observed is noise, and signs give as much of it, labels shuffled do not."""
    observed, by_signs, by_shuffles = [], [], []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        token_t, document_t, labels_d = text(generator, (12, 12, 12))
        experts_t = routed(generator, token_t, document_t, 0.0)
        layer = one(experts_t, token_t, document_t, labels_d, least_tokens=4)
        table_dxe = np.zeros((36, 60, 6))
        np.add.at(table_dxe, (document_t, token_t, experts_t), 1)
        said_gx = np.array([table_dxe[labels_d == label].sum(axis=(0, 2)) for label in range(3)])
        shared_dxe = table_dxe[:, (said_gx >= 4).all(axis=0)]
        assert shared_dxe.shape[1] == layer.ids
        observed.append(layer.standardised.observed_bits)
        by_signs.append(layer.standardised.null_mean_bits)
        by_shuffles.append(shuffled_anew(shared_dxe, labels_d, 20, generator))
    assert np.mean(by_shuffles) < 0.8 * np.mean(observed)
    assert np.mean(by_signs) == pytest.approx(np.mean(observed), rel=0.1)


def test_a_router_that_follows_the_word_differs_between_labels_only_in_the_mix():
    generator = np.random.default_rng(1)
    token_t, document_t, labels_d = text(generator, (20, 20, 20), length=200)
    layer = one(routed(generator, token_t, document_t, 0.0), token_t, document_t, labels_d, permutations=199)
    assert layer.overall.p_value == layer.raw.p_value == 1 / 200 and layer.covered > 0.9
    assert layer.standardised.p_value > 0.05 and abs(layer.left) < 0.05


def test_a_router_that_follows_the_label_at_every_word_is_found_whatever_the_mix():
    generator = np.random.default_rng(2)
    token_t, document_t, labels_d = text(generator, (20, 20, 20), length=200)
    p_ge = generator.dirichlet(np.ones(6), size=3)
    layer = one(drawn(generator, p_ge[labels_d[document_t]]), token_t, document_t, labels_d, permutations=199)
    assert layer.standardised.p_value == 1 / 200 and layer.left == pytest.approx(1.0, abs=0.05)
    assert layer.standardised.observed_bits == pytest.approx(even_bits(p_ge), rel=0.05)


def test_a_router_that_follows_both_leaves_some():
    generator = np.random.default_rng(3)
    token_t, document_t, labels_d = text(generator, (20, 20, 20), length=200)
    p_xe, p_ge = generator.dirichlet(np.full(6, 0.2), size=60), generator.dirichlet(np.ones(6), size=3)
    p_te = 0.7 * p_xe[token_t] + 0.3 * p_ge[labels_d[document_t]]
    layer = one(drawn(generator, p_te), token_t, document_t, labels_d, permutations=199)
    assert layer.standardised.p_value == 1 / 200 and 0.1 < layer.left < 0.8


def test_pairs_are_the_same_of_two_labels_and_tell_which_label_is_apart():
    generator = np.random.default_rng(7)
    token_t, document_t, labels_d = text(generator, (15, 15, 15), length=100, words=20)
    p_xe = generator.dirichlet(np.full(6, 0.5), size=20)
    p_te = p_xe[np.where(labels_d[document_t] == 2, (token_t + 1) % 20, token_t)]
    p_te[labels_d[document_t] == 2] = 0.5 * p_te[labels_d[document_t] == 2] + 0.5 * np.eye(6)[0]
    arrays = drawn(generator, p_te).astype(np.uint8)[:, None, None], token_t, document_t
    options = {"least_tokens": 3, "permutations": 99, "strata_d": np.arange(45) % 2}
    pairs = support_of_pairs(*arrays, labels_d, **options)
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 1), (0, 2), (1, 2)]
    assert [pair.layers[0].standardised.p_value < 0.05 for pair in pairs] == [False, True, True]
    for pair in pairs:
        own_d = np.where((labels_d == pair.first) | (labels_d == pair.second), labels_d, -1)
        assert pair.layers == common_support(*arrays, own_d, **options)
