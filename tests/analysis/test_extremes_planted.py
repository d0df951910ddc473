"""Every metric of two routers that know no chance: one that never changes its mind, and one that goes by the word.

The first sends every token of layer n to expert n first and n + 4 second. The second has two experts for each of four
domains (or languages), each of whose two words has one of them first and the other second; what follows an expert in
the next layer is fixed. All values are worked out by hand from that.
"""

from math import floor, log, log2, sqrt

import numpy as np
import pytest

from gatescope.analysis.counting import tally
from gatescope.analysis.metrics import METRICS, MetricOptions
from tests.analysis.even_orders import BATCHES
from tests.analysis.even_values import GATE, about
from tests.analysis.extremes import (
    DOCUMENTS,
    EXPERTS,
    GENERATED,
    LAYERS,
    PLAIN,
    STEP,
    K,
    documents,
    one_hot_record,
    planted_record,
    planted_words,
)
from tests.analysis.test_extremes import CASES, QUICK, within

TOKENS, GROUPS, NAN = DOCUMENTS * PLAIN, 4, np.nan
BIT = 2 * log(2)
WITHOUT: dict[str, str] = {}
"""Metrics that have no value to expect from these routers, and why."""
CLASS = np.array([4, 5, 6, 13])
"""Digits, punctuation, code symbols and Han: the words of the four groups."""


def tables(*shape, fill=0.0):
    return np.full(shape, fill)


def apart(value):
    """Four groups, each with itself at 0."""
    return np.where(np.eye(GROUPS, dtype=bool), 0.0, value)


def without_itself(value_lef):
    return np.where(np.eye(EXPERTS, dtype=bool), NAN, value_lef)


def but_last(value):
    """Undefined in the last layer."""
    table = np.broadcast_to(np.asarray(value, float), (LAYERS, *np.shape(value)[1:])).copy()
    table[-1] = NAN
    return table


def sure_gate(name):
    """Of a gate that is sure: raw scores of 40, 20 and six times 0."""
    return {
        "gate_effective_experts": 1,
        "first_share": 1,
        "first_lead": 1,
        "kept_share": 1,
        "selection_margin": 20,
        "log_sum_exp": 40,
        "z_loss": 1600,
        "centred_log_sum_exp": 40 - 60 / 8,
        "score_spread": sqrt((40**2 + 20**2) / 8 - (60 / 8) ** 2),
        "score_peak": 40,
    }.get(name, 0)


def sure_quantiles(name):
    """All tokens in one bin, which is taken for evenly filled: a sixteenth of the power of two below, 2⁻¹⁸ at 0."""
    value, greatest = sure_gate(name), METRICS[name].range.greatest
    width = 2.0 ** floor(log2(value)) / 16 if value else 2.0**-18
    found = value // width * width + np.array([0.05, 0.25, 0.5, 0.75, 0.95]) * width
    return found if greatest is None else np.minimum(found, greatest)


SURE = {
    **{name: (sure_gate(name) - 1e-6, sure_gate(name) + 1e-6) for name in GATE},
    **{f"{name}_quantiles": sure_quantiles(name) for name in GATE},
    "near_ties": 0,
    "selection_flips": 0,
    "selection_loss": 0,
    "any_choice_repeats": 1,
    "overlap_decay": 1,
    "segment_predictability": 1,
    "lru_hit_rate": [0.5] + [1] * 7,  # with room for one, the first choice of a token is there for the next
    "lfu_hit_rate": [0.5] + [1] * 7,
    "belady_hit_rate": [0.5] + [1] * 7,
    "cache_efficiency": 1,
    "segment_cache_hits": 1,
    "segment_cache_excess": NAN,  # tokens in another order miss nothing either
    "same_word_overlap": 1,
    "prompt_against_generated": 0,
    "position_distance": [NAN, 0, 0, 0, 0, NAN, 0],  # at 0 there are special tokens only, at 256 none
    "word_decoding_accuracy": 1,
}
"""What both routers have in common: of a gate that is sure, and of documents that have two experts each."""

CHOSEN, FIRST = tables(LAYERS, EXPERTS), tables(LAYERS, EXPERTS)
for n in range(LAYERS):
    FIRST[n, n] = CHOSEN[n, n] = CHOSEN[n, n + 4] = 1
PARTNERS = CHOSEN[:, :, None] * CHOSEN[:, None, :]
OF_FOUR_CLASSES = np.isin(np.arange(19), CLASS)[:, None, None]

ONE = SURE | {
    "relative_load": EXPERTS / K * CHOSEN,
    "relative_gate_mass": EXPERTS * FIRST,
    "load_gini": 1 - K / EXPERTS,
    "gate_mass_gini": 1 - 1 / EXPERTS,
    "load_min_violation": 1,
    "gate_mass_min_violation": 1,
    "load_mean_violation": 2 * (1 - K / EXPERTS),
    "gate_mass_mean_violation": 2 * (1 - 1 / EXPERTS),
    "load_entropy": log(K, 2) + 1 / (BIT * K * TOKENS),
    "gate_mass_entropy": 0,
    "load_effective_experts": K * 2 ** (1 / (BIT * K * TOKENS)),
    "gate_mass_effective_experts": 1,
    "load_max_violation": EXPERTS / K - 1,
    "gate_mass_max_violation": EXPERTS - 1,
    "load_cv": sqrt(EXPERTS / K - 1),
    "gate_mass_cv": sqrt(EXPERTS - 1),
    "load_lorenz": [0] * 7 + [0.5, 1],
    "expert_state": np.where(CHOSEN > 0, 1, -2),
    "soft_information": (0, 1e-6),
    "first_choice_repeats": 1,
    "segment_predictability_excess": [1, NAN],  # loads of all or nothing are certain by themselves
    "static_hit_rate": [0.5] + [1] * 7,
    "class_load": np.where(OF_FOUR_CLASSES, EXPERTS / K * CHOSEN, NAN),
    "class_information": -3 / (BIT * K * TOKENS),  # nothing, less what four classes and two experts show by chance
    "class_association": 0,
    "different_word_overlap": 1,
    "context_share": NAN,
    "token_share_of_group": CHOSEN,
    "usage_difference": 0,
    "mutual_information": 0,
    "profile_divergence": 0,
    "profile_shift": 0,
    "label_decoding_accuracy": 1 / GROUPS,  # all are alike: the first group is named
    "decoding_gain_over_words": 1 / GROUPS - 1,
    "core_membership": CHOSEN,
    "core_coverage": 1,
    "language_divergence": 0,
    "language_divergence_by_weight": 0,
    "language_reach": CHOSEN,
    "exclusive_experts": 0,
    "coactivation_share": without_itself(np.where(CHOSEN[:, :, None] > 0, PARTNERS, NAN)),
    "coactivation_lift": without_itself(np.where(PARTNERS > 0, 1, NAN)),
    "coactivation_support": without_itself(TOKENS * PARTNERS),
    "transition_share": but_last(np.where(FIRST[:, :, None] > 0, np.roll(FIRST, -1, axis=0)[:, None], NAN)),
    "set_transition_share": but_last(np.where(CHOSEN[:, :, None] > 0, np.roll(CHOSEN, -1, axis=0)[:, None], NAN)),
    "transition_information": but_last(tables(LAYERS)),
    "transition_predictability": NAN,
    "transition_information_by_label": but_last(tables(LAYERS, GROUPS)),
    "path_count": 1,
    "path_coverage": 1,
    "path_entropy": 0,
    "same_path": 1,
    "vocabulary_specialisation": NAN,  # chance leaves no room
    "vocabulary_specialisation_by_token": NAN,
    "window_violation": [EXPERTS / K - 1] * 10 + [NAN] * 4,
    "window_cv": [sqrt(EXPERTS / K - 1)] * 10 + [NAN] * 4,
}
"""A router that never changes its mind, in two experts of each layer."""

PLACE = np.array([np.arange(EXPERTS), STEP, STEP[STEP]])
"""The expert of each word, by layer."""
OWN, PAIRED = tables(GROUPS, LAYERS, EXPERTS), tables(LAYERS, EXPERTS, EXPERTS)
NEXT, NEXT_SET = tables(LAYERS, EXPERTS, EXPERTS, fill=0), tables(LAYERS, EXPERTS, EXPERTS, fill=0)
for n in range(LAYERS):
    for word in range(EXPERTS):
        OWN[word // 2, n, PLACE[n, word]] = 1
        PAIRED[n, PLACE[n, word], PLACE[n, word ^ 1]] = 1
        NEXT[n, PLACE[n, word], STEP[PLACE[n, word]]] = 1
        NEXT_SET[n, PLACE[n, word], [STEP[PLACE[n, word]], STEP[PLACE[n, word ^ 1]]]] = 1


def class_load():
    table = tables(19, LAYERS, EXPERTS, fill=NAN)
    table[CLASS] = EXPERTS / K * OWN
    return table


def class_association():
    """φ² is 3, of 3 at most; Bergsma's correction takes 21 / (n - 1) off it and 9 / (n - 1) off the four classes."""
    slots = K * TOKENS
    return sqrt((3 - 21 / (slots - 1)) / (4 - 9 / (slots - 1) - 1))


def different_words():
    """In the sample, 9 other documents of the group say 4 of their 8 words otherwise, 30 of other groups all 8."""
    return about(36 / 276, 0.004)


def batches(measure):
    """Inside a document two experts do all; batches of so many documents are drawn here, as often as they are there."""
    label_d, generator = np.arange(DOCUMENTS) % GROUPS, np.random.default_rng(0)
    low, high = [measure(np.array([4.0, 0, 0, 0]))] * 5, [measure(np.array([4.0, 0, 0, 0]))] * 5
    for number in BATCHES:
        drawn = [np.bincount(generator.permutation(label_d)[:number], minlength=GROUPS) for _ in range(2000)]
        found = np.array([measure(count_g * GROUPS / number) for count_g in drawn])
        ends = about(found.mean(), found.std() / sqrt(20))
        low.append(ends[0])
        high.append(ends[1])
    return np.array(low + [NAN] * 4), np.array(high + [NAN] * 4)


def same_word():
    """How often two neighbours of one facet are the same word: they have the same first choice then, and never else."""
    word_dt, is_generated_d = planted_words(4, 2).reshape(DOCUMENTS, -1)[:, 1:], documents(4, 2)[1]
    same_dt = word_dt[:, 1:] == word_dt[:, :-1]
    border = PLAIN - GENERATED - 1
    across = same_dt[is_generated_d, border]
    return (same_dt.sum() - across.sum()) / (same_dt.size - len(across))


def mean_square(load_g):
    return ((load_g - 1) ** 2).mean()


PLANTED = SURE | {
    "relative_load": 1,
    "relative_gate_mass": 1,
    **{f"{what}_{shape}": 0 for what in ("load", "gate_mass") for shape in ("gini", "cv")},
    **{f"{what}_{end}_violation": 0 for what in ("load", "gate_mass") for end in ("min", "mean", "max")},
    **{f"{what}_entropy": log(EXPERTS, 2) for what in ("load", "gate_mass")},
    **{f"{what}_effective_experts": EXPERTS for what in ("load", "gate_mass")},
    "load_lorenz": np.arange(EXPERTS + 1) / EXPERTS,
    "expert_state": 0,
    "soft_information": (log(EXPERTS, 2) - 1e-6, log(EXPERTS, 2)),
    "first_choice_repeats": [same_word(), 0, 1],
    "segment_predictability_excess": 1,
    "static_hit_rate": [0] * 6 + [0.5, 1],  # the other documents use a document's own experts least
    "class_load": class_load(),
    "class_information": log(GROUPS, 2) - 3 * 7 / (BIT * K * TOKENS),
    "class_association": class_association(),
    "different_word_overlap": different_words(),
    "context_share": 0,
    "token_share_of_group": OWN,
    "usage_difference": OWN - (1 - OWN) / 3,  # an expert of one group serves a third of the others' documents
    "mutual_information": lambda result: log(GROUPS, 2) - result.null,
    "profile_divergence": apart(1.0),
    "profile_shift": apart(1.0),
    "label_decoding_accuracy": 1,
    "decoding_gain_over_words": 0,
    "core_membership": 1 / GROUPS,
    "core_coverage": 0,
    "language_divergence": apart(0.5),  # one bit of the two that two profiles over two experts each leave
    "language_divergence_by_weight": apart(0.5),
    "language_reach": 1 / GROUPS,
    "exclusive_experts": K / EXPERTS,
    "coactivation_share": without_itself(PAIRED),
    "coactivation_lift": without_itself(7 * PAIRED),  # a quarter of the tokens, where chance gives one of 28
    "coactivation_support": without_itself(TOKENS / 4 * PAIRED),
    "transition_share": but_last(NEXT),
    "set_transition_share": but_last(NEXT_SET),
    "transition_information": lambda result: 1 - result.null,
    "transition_predictability": but_last(tables(LAYERS, fill=1)),
    "transition_information_by_label": lambda result: 1 - result.null,
    "path_count": EXPERTS,
    "path_coverage": [1 / EXPERTS, 1, 1, 1],
    "path_entropy": log(EXPERTS, 2),
    "same_path": (TOKENS / EXPERTS - 1) / (TOKENS - 1),
    "vocabulary_specialisation": 1,
    "vocabulary_specialisation_by_token": 1,
    "window_violation": batches(lambda load_g: load_g.max() - 1),
    "window_cv": tuple(np.sqrt(end) for end in batches(mean_square)),
}
"""A router that goes by the word, and words that go by the group."""


@pytest.fixture(scope="module")
def one_hot():
    return {"domain": tally(one_hot_record(4, 2)), "language": tally(one_hot_record(2, 4))}


@pytest.fixture(scope="module")
def planted():
    return {"domain": tally(planted_record(4, 2)), "language": tally(planted_record(2, 4))}


def agrees(name, by, expected, found):
    result = METRICS[name](found[by or "domain"], MetricOptions(by=by, **QUICK))
    expected = expected(result) if callable(expected) else expected
    within(result.value, expected if isinstance(expected, tuple) else (expected, expected), name=name)
    return result


@pytest.mark.parametrize("table", [ONE, PLANTED], ids=["one-hot", "planted"])
def test_every_metric_says_what_an_extreme_router_gives(table):
    assert set(METRICS) == set(table) | set(WITHOUT), "a new metric: what do these routers give?"
    assert not set(table) & set(WITHOUT)


@pytest.mark.parametrize(("name", "by"), CASES)
def test_a_router_that_never_changes_its_mind(name, by, one_hot):
    agrees(name, by, ONE[name], one_hot)


@pytest.mark.parametrize(("name", "by"), CASES)
def test_a_router_that_goes_by_the_word(name, by, planted):
    agrees(name, by, PLANTED[name], planted)


@pytest.mark.parametrize("by", ["domain", "language"])
def test_deals_of_labels_see_what_is_there_and_nothing_else(by, one_hot, planted):
    """p is one in 41 with 40 shuffles where no shuffle is as far from chance, and 1 where all are alike."""
    for name in ("mutual_information", "profile_divergence", "profile_shift", "usage_difference"):
        sure, never = (METRICS[name](found[by], MetricOptions(by=by, **QUICK)).p for found in (planted, one_hot))
        own = OWN > 0 if name == "usage_difference" else np.isfinite(sure)
        assert sure[own] == pytest.approx(1 / 41) and never[np.isfinite(never)] == pytest.approx(1)
        assert own.any() and np.isfinite(never).any()


def test_tokens_of_documents_that_are_alike_are_worth_as_many_as_there_are_documents(planted):
    """Every document is all of two experts or nothing: 6,000 tokens say what 40 independent ones do."""
    found = METRICS["load_cv"](planted["domain"], MetricOptions(resamples=0))
    assert found.null == pytest.approx(sqrt((EXPERTS / K - 1) / DOCUMENTS))


def test_what_chance_gives_where_labels_or_choices_are_shuffled_anew(planted):
    """Labels move within a language; in the next layer every token of a domain has one of two experts."""
    generator, true_d, found = np.random.default_rng(0), np.tile(np.arange(GROUPS), DOCUMENTS // GROUPS), []
    for _ in range(2000):
        halves = [generator.permutation(true_d[: DOCUMENTS // 2]) for _ in range(2)]
        both = np.zeros((GROUPS, GROUPS))
        np.add.at(both, (true_d, np.concatenate(halves)), GROUPS / DOCUMENTS)
        found.append((both * np.log2(np.maximum(both, 1e-300))).sum() / GROUPS + log(GROUPS, 2))
    shuffled = METRICS["mutual_information"](planted["domain"], MetricOptions(by="domain", resamples=400)).null
    assert shuffled == pytest.approx(np.mean(found), abs=5 * np.std(found) / sqrt(400))
    chance = METRICS["transition_information"](planted["domain"], MetricOptions()).null[:-1]
    assert chance == pytest.approx(1 / (BIT * TOKENS / GROUPS), rel=0.01)
