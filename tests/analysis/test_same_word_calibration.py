"""Information at the same word on simulated studies: chance is chance whatever words labels have, effects are found.

Each label has words of its own, used as Zipf says, so that many words are about as frequent under a label as is asked
of those that count. What is found for layers of one study is independent, as their routes are drawn apart.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, kstest

from gatescope.analysis.labels.composition import composition
from gatescope.simulation.effects import NONE
from tests.analysis.same_word_studies import QUESTIONS, TEXTS, WORDS_ALONE, at_the_same_word, drawn, studied
from tests.analysis.test_common_support_calibration import routed, text

PLANTED = replace(NONE, words=0.2, domains=0.04)


def test_nothing_is_found_by_domain_where_nothing_is_planted():
    found_ic = studied(NONE, 8, "domain", permutations=99)
    p_i, excess_i, observed_i = found_ic.T
    assert binomtest(int((p_i <= 0.05).sum()), len(p_i), 0.05, alternative="greater").pvalue > 0.001
    assert abs(excess_i.mean()) < 0.02 * observed_i.mean()


def test_what_is_planted_by_domain_is_found():
    p_i, excess_i, _ = studied(PLANTED, 3, "domain", "language", permutations=99).T
    assert (p_i <= 0.05).mean() > 0.7 and excess_i.mean() > 0.004


@pytest.mark.slow
@pytest.mark.parametrize("planted", [NONE, WORDS_ALONE], ids=["nothing", "words alone"])
@pytest.mark.parametrize(("by", "within"), QUESTIONS)
def test_p_is_small_as_often_as_it_says_and_the_mean_excess_is_none(by, within, planted):
    p_i, excess_i, observed_i = studied(planted, 100, by, within, permutations=199).T
    for level in (0.01, 0.05, 0.2):
        assert binomtest(int((p_i <= level).sum()), len(p_i), level, alternative="greater").pvalue > 0.001
    assert abs(excess_i.mean()) < 4 * excess_i.std() / np.sqrt(len(excess_i)) < 0.01 * observed_i.mean()


@pytest.mark.slow
def test_bits_at_the_same_word_are_those_that_forty_times_as_much_text_tells():
    """With so much text chance tells little, and the bits in all are nearly those of the router."""
    size = replace(TEXTS, tokens=40 * TEXTS.tokens, documents=40 * TEXTS.documents)
    much = at_the_same_word(drawn(PLANTED, 0, texts=size), "domain", "language", permutations=99)
    p_i, excess_i, _ = studied(PLANTED, 40, "domain", "language", permutations=199).T
    assert excess_i.mean() == pytest.approx(np.mean([layer.excess_bits for layer in much]), rel=0.1)
    assert (p_i <= 0.05).mean() > 0.95


@pytest.mark.slow
@pytest.mark.parametrize(
    ("documents_g", "leaning", "has_strata"),
    [((12, 12, 12), 0.0, False), ((4, 10, 30), 0.4, False), ((10, 10), 0.4, False), ((12, 12, 12), 0.2, True)],
    ids=["words alone", "uneven labels and documents that lean", "two labels", "strata with words of their own"],
)
def test_p_values_are_uniform_where_labels_have_the_same_words_at_odds_of_their_own(documents_g, leaning, has_strata):
    p_values, excess, observed = [], [], []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        token_t, document_t, labels_d = text(generator, documents_g)
        odds_d = np.array([0.2, 0.5, 0.8])[labels_d]
        strata_d = (generator.random(len(labels_d)) < odds_d).astype(int) if has_strata else None
        experts_t = routed(generator, token_t, document_t, leaning, strata_d)
        arrays = experts_t.astype(np.uint8)[:, None, None], token_t, document_t, labels_d
        layer = composition(*arrays, least_tokens=4, permutations=99, seed=seed, strata_d=strata_d)[0].given_words
        p_values.append(layer.p_value)
        excess.append(layer.excess_bits)
        observed.append(layer.observed_bits)
    assert kstest(p_values, "uniform").pvalue > 0.01
    assert abs(np.mean(excess)) < 3 * np.std(excess) / np.sqrt(200) < 0.03 * np.mean(observed)
