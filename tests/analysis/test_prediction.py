"""Documents told from experts and from words: against scikit-learn, and routers whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.naive_bayes import MultinomialNB

from gatescope.analysis.counting import strip_token_ids, tally
from gatescope.analysis.metrics import METRICS, MetricOptions
from gatescope.analysis.metrics.prediction import PRIOR, named_right
from gatescope.analysis.tally.tally import TokenRole
from gatescope.routing import Document
from gatescope.routing.errors import OptionError
from tests.analysis.conftest import make_record


def cross_validated(count_ux, group_u):
    """The same by fitting a classifier anew for every fold, to which every so many documents of a group belong."""
    number = min(10, np.bincount(group_u).min())
    fold_u = np.array([np.count_nonzero(group_u[:u] == group_u[u]) % number for u in range(len(group_u))])
    hits = np.empty(len(group_u))
    for fold in range(number):
        model = MultinomialNB(alpha=PRIOR, fit_prior=False).fit(count_ux[fold_u != fold], group_u[fold_u != fold])
        hits[fold_u == fold] = model.predict(count_ux[fold_u == fold]) == group_u[fold_u == fold]
    return hits.tolist()


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 4))
def test_names_are_those_of_a_classifier_fitted_on_the_other_folds(seed, groups):
    generator = np.random.default_rng(seed)
    group_u = np.concatenate([np.arange(groups).repeat(2), generator.integers(groups, size=9)])
    leaning_ge = generator.dirichlet(np.ones(7), groups)
    count_ux = np.array([generator.multinomial(generator.integers(20, 60), leaning_ge[g]) for g in group_u])
    count_ux = count_ux[:, count_ux.any(axis=0)]
    assert named_right(count_ux, group_u).tolist() == cross_validated(count_ux, group_u)


def record_of(ids_t, token_t, domains, tokens=30):
    """Documents of `tokens` tokens with one expert each, and the words given."""
    document_t = np.arange(len(domains)).repeat(tokens)
    record = make_record(np.asarray(ids_t)[:, None, None], experts=4, documents=document_t)
    labelled = tuple(Document(str(n), id=str(n), domain=f"domain {g}") for n, g in enumerate(domains))
    return replace(record, documents=labelled, token_t=np.asarray(token_t, np.int32), pieces={})


def simulated(seed, *, by_word, by_domain):
    """24 documents of two domains with a few words in common; experts follow the word, the domain, or neither."""
    generator = np.random.default_rng(seed)
    domains = np.arange(24) % 2
    domain_t = domains.repeat(30)
    token_t = 10 + generator.integers(0, 6, len(domain_t)) + (3 * domain_t if by_word else 0)
    expert_t = token_t % 4 if by_word else generator.integers(0, 4, len(domain_t))
    expert_t = np.where(generator.random(len(domain_t)) < 0.5 * by_domain, domain_t, expert_t)
    return record_of(expert_t, token_t, domains)


def asked(name, record, **options):
    return METRICS[name](tally(record), MetricOptions(**({"by": "domain", "resamples": 199} | options)))


def test_words_tell_the_domain_where_words_differ_and_experts_add_nothing():
    record = simulated(1, by_word=True, by_domain=False)
    assert asked("word_decoding_accuracy", record).value == 1
    over = asked("decoding_gain_over_words", record)
    assert over.value[0] <= 0 and over.high[0] <= 0


def test_experts_tell_the_domain_where_words_do_not():
    record = simulated(2, by_word=False, by_domain=True)
    words, experts, over = (
        asked(name, record)
        for name in ("word_decoding_accuracy", "label_decoding_accuracy", "decoding_gain_over_words")
    )
    assert words.value < 0.8 and experts.value[0] > 0.95 and over.low[0] > 0
    assert over.value[0] == pytest.approx(experts.value[0] - words.value)
    assert experts.null[0] == 0.5


@pytest.mark.slow
def test_nobody_tells_a_domain_that_leaves_no_trace():
    """Half of the documents are guessed right, not fewer: each fold takes as many from one group as from the other."""
    found = [
        asked("label_decoding_accuracy", simulated(s, by_word=False, by_domain=False), resamples=0) for s in range(60)
    ]
    assert np.mean([each.value[0] for each in found]) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(60 * 24))


def test_generated_words_are_counted_apart():
    record = simulated(3, by_word=True, by_domain=False)
    late = replace(record, flag_t=np.where(np.arange(record.tokens) % 30 < 15, 0, 4).astype(np.uint8))
    table_dfx = tally(late).table("words")
    assert table_dfx.sum(axis=2).tolist() == [[15, 15]] * 24
    only = asked("word_decoding_accuracy", late, facets=(TokenRole.GENERATED,))
    assert only.tokens == 24 * 15


def test_what_ids_can_be_read_from_is_not_in_a_tally_without_words():
    whole = tally(simulated(4, by_word=True, by_domain=False))
    bare = strip_token_ids(whole)
    assert set(whole.by_unit) - set(bare.by_unit) == {"words", "sampled"}
    with pytest.raises(OptionError, match="records with the ids of tokens"):
        METRICS["word_decoding_accuracy"](bare, MetricOptions(by="domain"))


def test_a_group_of_one_document_is_never_named_and_one_group_of_two_is_needed():
    assert np.isnan(named_right(np.array([[3, 1], [1, 3]]), np.array([0, 1]))).all()
    assert named_right(np.array([[3, 1], [3, 1], [1, 3]]), np.array([0, 0, 1])).tolist() == [1, 1, 0]
    assert np.isnan(named_right(np.array([[3, 1], [3, 1], [0, 0]]), np.array([0, 0, 1]))).tolist() == [False] * 2 + [
        True
    ]
