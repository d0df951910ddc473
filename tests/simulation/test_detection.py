"""What is planted is found, at its size and where it was put; where nothing is planted, nothing is found.

Each effect is planted alone, so that whatever else a metric finds is its own fault.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.stats import binomtest

from gatescope.analysis.counting import tally
from gatescope.analysis.labels.composition import composition
from gatescope.analysis.metrics import METRICS
from gatescope.analysis.registry import MetricOptions
from gatescope.analysis.tally.tally import label_numbers
from gatescope.simulation import Geometry, Simulation, Texts
from gatescope.simulation.effects import NONE

EXPERTS, K, LAYERS = 32, 4, 3
SHAPE = Geometry(name="small", experts=(EXPERTS,) * LAYERS, k=K)
TEXTS = Texts(tokens=20_000, documents=96, domains=3, languages=2, vocabulary=450)
SIZE = 0.25


@cache
def simulated(effect="", seed=0, size=SIZE):
    effects = replace(NONE, **{effect: size}) if effect else NONE
    made = Simulation(SHAPE, TEXTS, effects, seed=seed)
    return made, made.record(0, TEXTS.documents)


def metric(name, record, by=""):
    counted = tally(record, only=sorted({*METRICS[name].needs, "tokens"}))
    return METRICS[name](counted, MetricOptions(by=by, resamples=199))


def composed(record, by):
    (labels_d, _), (other_d, _) = (
        label_numbers([getattr(document, name) for document in record.documents])
        for name in (by, "language" if by == "domain" else "domain")
    )
    arrays = record.ids_tlk, record.token_t, record.document_t
    return composition(*arrays, labels_d, permutations=199, strata_d=other_d)


def test_loads_are_as_uneven_as_planted():
    made = Simulation(SHAPE, TEXTS, replace(NONE, skew=0.5), seed=1)
    found = metric("relative_load", made.record(0, TEXTS.documents)).value
    assert np.corrcoef(np.log(found).ravel(), np.log(made.planted.loads.share_le).ravel())[0, 1] > 0.99


@pytest.mark.parametrize(("by", "effect"), [("domain", "domains"), ("language", "languages")])
def test_experts_that_prefer_a_label_are_the_ones_that_are_found(by, effect):
    made, record = simulated(effect)
    found = metric("usage_difference", record, by)
    for g, name in enumerate(found.groups):
        names = made.texts.domain_names if by == "domain" else made.texts.language_names
        planted_lx = getattr(made.planted, f"{effect}_lgx")[:, names.index(name)]
        for layer in range(LAYERS):
            best = set(np.argsort(-found.value[g, layer])[: planted_lx.shape[1]].tolist())
            assert best == set(planted_lx[layer].tolist())
            # an expert is taken by SIZE * K slots / as many as prefer it, besides what load gives all alike
            assert found.value[g, layer, planted_lx[layer]] == pytest.approx(SIZE * K / planted_lx.shape[1], abs=0.06)
    assert (metric("mutual_information", record, by).p < 0.01).all()
    for layer in composed(record, by):
        assert layer.given_words.p_value < 0.01  # it is not the words


def test_what_follows_the_words_is_told_from_what_follows_the_domain():
    _, record = simulated("words", size=0.5)
    assert (metric("mutual_information", record, "domain").p < 0.01).all()
    layers = composed(record, "domain")
    assert all(layer.given_words.p_value > 0.02 for layer in layers)
    assert all(layer.share_excess > 0.8 for layer in layers)


def test_words_are_specialised_where_planted_and_only_there():
    one, other = (simulated("words" * (size > 0), size=size)[1] for size in (0.0, 0.5))
    even, words = (metric("vocabulary_specialisation_by_token", each).value[0] for each in (one, other))
    assert abs(even).max() < 0.04
    assert words.min() > 0.1


def test_words_go_to_the_experts_that_prefer_their_kind():
    made, record = simulated("words")
    for layer in range(LAYERS):
        preferring_tx = made.planted.words_lcx[layer][made.planted.kind_v[record.token_t]]
        is_there = (record.ids_tlk[:, layer, :, None] == preferring_tx[:, None]).any(axis=2).mean()
        others = made.planted.preferring / EXPERTS
        assert is_there == pytest.approx(SIZE + (1 - SIZE) * others, abs=0.02)


def test_partners_are_the_pairs_with_the_highest_lift():
    made, record = simulated("pairs")
    lift_lef = metric("coactivation_lift", record).value
    for layer in range(LAYERS):
        assert np.nanargmax(lift_lef[layer], axis=1).tolist() == made.planted.partner_le[layer].tolist()
        own_e = lift_lef[layer, np.arange(EXPERTS), made.planted.partner_le[layer]]
        assert own_e.min() > 2


def test_successors_are_the_experts_that_follow():
    made, record = simulated("transitions")
    share_lef = metric("set_transition_share", record).value
    for layer in range(LAYERS - 1):
        assert np.argmax(share_lef[layer], axis=1).tolist() == made.planted.successor_le[layer + 1].tolist()
        # a slot is filled by one of K successors by SIZE, so that each of them is there as often, besides by load
        own_e = share_lef[layer, np.arange(EXPERTS), made.planted.successor_le[layer + 1]]
        assert own_e.mean() == pytest.approx(SIZE + (1 - SIZE) * K / EXPERTS, abs=0.02)


def test_neighbours_share_experts_and_tokens_further_apart_the_less():
    _, record = simulated("locality")
    found = metric("overlap_decay", record)
    # of K experts, SIZE are those of the token before, and SIZE² of the one before that
    excess_lb = (found.value - K / EXPERTS) / (1 - K / EXPERTS)
    assert excess_lb[:, 0] == pytest.approx(SIZE, abs=0.015)
    assert excess_lb[:, 1] == pytest.approx(SIZE**2, abs=0.015)
    assert abs(excess_lb[:, 3:]).max() < 0.015


@pytest.mark.parametrize("effect", ["", "pairs", "transitions", "locality"])
def test_nothing_is_found_of_labels_where_none_is_planted(effect):
    p = np.concatenate(
        [
            metric("mutual_information", simulated(effect, seed)[1], by).p
            for seed in range(4)
            for by in ("domain", "language")
        ]
    )
    assert p.min() >= 1 / 200
    assert binomtest(int((p < 0.05).sum()), len(p), 0.05, alternative="greater").pvalue > 0.001


def test_an_even_router_has_even_loads_no_pairs_and_no_neighbours():
    _, record = simulated()
    error = np.sqrt((1 - K / EXPERTS) / (K / EXPERTS * TEXTS.tokens))
    assert abs(metric("relative_load", record).value - 1).max() < 5 * error
    pair = K * (K - 1) / (EXPERTS * (EXPERTS - 1))
    assert np.nanmax(abs(metric("coactivation_lift", record).value - 1)) < 5 / np.sqrt(pair * TEXTS.tokens)
    assert abs(metric("transition_information", record).value[:-1]).max() < 0.005
    assert abs(metric("overlap_decay", record).value - K / EXPERTS).max() < 0.006
