"""Every metric of an even router against what such a router gives, and what the catalogue says that it gives."""

from math import comb, log

import numpy as np
import pytest

from gatescope.analysis.counting import tally
from gatescope.analysis.metrics import METRICS, MetricOptions
from tests.analysis import even_orders as orders
from tests.analysis import even_values as even
from tests.analysis.even_orders import DEPTHS
from tests.analysis.even_values import FREE, GATE, SHAPES, World, about, exactly, noise, share
from tests.analysis.extremes import EXPERTS, SIZES, K, even_record

CASES = [(name, by) for name, found in METRICS.items() for by in (found.by or ("",))]
QUICK = {"resamples": 40, "seed": 3}
P = K / EXPERTS

BY_CORPUS = {"word_decoding_accuracy": "words are drawn alike for all documents: it speaks of them, not of the router"}
"""Metrics that no router has a say in."""

EVEN = {
    "relative_load": lambda w: about(1, np.sqrt(even.load_variance(w))),
    "relative_gate_mass": lambda w: about(1, np.sqrt(even.mass_variance(w))),
    **{f"load_{shape}": lambda w, shape=shape: noise(shape, even.load_variance(w)) for shape in SHAPES},
    **{f"gate_mass_{shape}": lambda w, shape=shape: noise(shape, even.mass_variance(w)) for shape in SHAPES},
    "load_entropy": lambda w: even.entropy(even.load_variance(w), even.miller(w)),
    "gate_mass_entropy": lambda w: even.entropy(even.mass_variance(w)),
    "load_effective_experts": lambda w: np.exp2(even.entropy(even.load_variance(w), even.miller(w))),
    "gate_mass_effective_experts": lambda w: np.exp2(even.entropy(even.mass_variance(w))),
    "load_lorenz": even.lorenz,
    "expert_state": exactly(0),
    **{name: even.gate_mean(name) for name in GATE},
    **{f"{name}_quantiles": even.gate_quantiles(name) for name in GATE},
    "near_ties": even.near_ties,
    "selection_flips": exactly(0),
    "selection_loss": exactly(0),
    "soft_information": even.soft_information,
    "first_choice_repeats": orders.neighbours(1 / EXPERTS),
    "any_choice_repeats": orders.neighbours(1 - comb(EXPERTS - K, K) / comb(EXPERTS, K)),
    "overlap_decay": orders.overlap,
    "segment_predictability": orders.segments,
    "segment_predictability_excess": orders.segments_excess,
    "lru_hit_rate": lambda w: orders.hits_of(orders.blind_hits(w.length), w.tokens),
    "lfu_hit_rate": lambda w: orders.hits_of(orders.blind_hits(w.length), w.tokens),
    "belady_hit_rate": orders.best,
    "static_hit_rate": lambda w: orders.hits_of(SIZES / EXPERTS, w.tokens),
    "cache_efficiency": orders.efficiency,
    "segment_cache_hits": orders.segment_hits,
    "segment_cache_excess": orders.segment_excess,
    "class_load": even.class_load,
    "class_information": even.class_information,
    "class_association": even.class_association,
    "same_word_overlap": even.in_common(True),
    "different_word_overlap": even.in_common(False),
    "context_share": even.context_share,
    "token_share_of_group": lambda w: share(P, w.own),
    "usage_difference": lambda w: about(0, np.sqrt(2 * P * (1 - P) / w.own)),
    "mutual_information": even.group_information,
    "profile_divergence": even.divergence,
    "profile_shift": lambda w: even.across(even.moved(w.own, w.own), 0)(2),
    "label_decoding_accuracy": lambda _w: about(0.5, np.sqrt(0.25 / even.DOCUMENTS)),
    "decoding_gain_over_words": lambda _w: about(0, np.sqrt(0.5 / even.DOCUMENTS)),
    "core_membership": exactly(0),
    "core_coverage": exactly(0),
    "prompt_against_generated": lambda w: even.moved(5 / 6 * w.tokens, w.tokens / 6),
    "position_distance": even.positions,
    "language_divergence": even.language_divergence,
    "language_divergence_by_weight": even.language_divergence,
    "language_reach": lambda _w: (0, 0.5),  # see the test of many layers
    "exclusive_experts": exactly(0),
    "coactivation_share": even.of_pairs(lambda w: share((K - 1) / FREE, P * w.tokens)),
    "coactivation_lift": even.of_pairs(even.lift),
    "coactivation_support": even.of_pairs(even.support),
    "transition_share": orders.transitions(1 / EXPERTS),
    "set_transition_share": orders.transitions(P),
    "transition_information": orders.but_last(lambda w: orders.transition_bits(2, w.tokens)),
    "transition_predictability": orders.but_last(
        lambda w: tuple(bits / log(EXPERTS, 2) for bits in orders.transition_bits(2, w.tokens))
    ),
    "transition_information_by_label": orders.but_last(
        lambda w: tuple(np.array([b]) for b in orders.transition_bits(1, w.own))
    ),
    "path_count": orders.path_count,
    "path_coverage": orders.path_coverage,
    "path_entropy": orders.path_entropy,
    "same_path": orders.same_path,
    "vocabulary_specialisation": even.vocabulary(False),
    "vocabulary_specialisation_by_token": even.vocabulary(True),
    "window_violation": orders.windows("max_violation", 0.4),
    "window_cv": orders.windows("cv", 0.27),
}


def roughly(value, part):
    return value * (1 - part), value * (1 + part)


INDIFFERENT = {name: exactly(even.gates(0.0)[name].mean()) for name in GATE if METRICS[name].uniform}
NULLS = INDIFFERENT | {
    "class_information": exactly(even.bias(even.CLASSES, World().slots)),
    "mutual_information": lambda w: roughly(even.DEPENDENT * even.bias(FREE, w.slots), 0.5),
    "transition_information": lambda w: roughly(even.bias(2 * FREE**2, w.tokens), 0.02),
    "transition_information_by_label": lambda w: roughly(even.bias(FREE**2, w.own), 0.02),
    "position_distance": lambda w: roughly(even.expected_move(even.STRETCHES * w.tokens, even.others(w)), 0.01),
    "prompt_against_generated": lambda w: roughly(even.expected_move(5 / 6 * w.tokens, w.tokens / 6), 0.01),
    "label_decoding_accuracy": exactly(0.5),
    "word_decoding_accuracy": exactly(0.5),
    "decoding_gain_over_words": exactly(0),
}
"""What metrics are held against, where that is not the value of an even router."""

ENDLESS = World(tokens=1e14, length=2000, sigma=0.0)
"""An even router whose gate is indifferent, over so much text that no noise is left."""
TEXTS = {
    "0": 0,
    "0 without a selection bias": 0,
    "1": 1,
    "1: the word decides nothing": 1,
    "E": EXPERTS,
    "log2 E": log(EXPERTS, 2),
    "ln E": log(EXPERTS),
    "log2 k": log(K, 2),
    "1 / k": 1 / K,
    "1 / E": 1 / EXPERTS,
    "k/E": P,
    "k / E": P,
    "(k - 1) / (E - 1)": (K - 1) / (EXPERTS - 1),
    "1 - C(E - k, k) / C(E, k)": 1 - 15 / 28,
    "N k (k - 1) / (E (E - 1))": 1e14 / 28,
    "C / E": SIZES / EXPERTS,
    "C / E, less what a document's beginning costs": SIZES / EXPERTS,
    "a straight line from 0 to 1": np.arange(EXPERTS + 1) / EXPERTS,
    "1 / E for each layer, multiplied": 1 / DEPTHS,
    "the share of the largest group, or less": 0.5,
    "1/2, as the null: noise alone is half as far apart as can be": np.array([[0, 0.5], [0.5, 0]]),  # 0 from itself
    "of 16 tokens, 0.45 at k / E = 1/4, 0.32 at 1/8, 0.24 at 1/16, 0.20 at 1/32": [np.nan] * 3 + [0.452],
}
"""The catalogue's words for what an even router gives, in numbers."""
WORDED = {
    "window_violation": "falls as 1 / √w",
    "window_cv": "falls as 1 / √w",
    "cache_efficiency": "well below 1 while C is small: the future cannot be told from the past",
    "belady_hit_rate": "well above C / E: who knows what comes keeps what is asked for",
    "segment_cache_hits": "about C / E and what knowing 16 tokens adds",
    "decoding_gain_over_words": "what guessing gives less what words give: below 0",
    "language_reach": "0, but for what a 95 % interval lets pass (some 2 %)",
}
"""Where those are no number of one cell: compared by hand below."""


@pytest.fixture(scope="module", params=[1.0, 0.0], ids=["scores drawn", "scores alike"])
def world(request):
    """Two even routers: experts drawn by normal scores, and drawn where the gate has no preference at all."""
    return World(sigma=request.param), tally(even_record(request.param))


def within(value, bounds, *, name):
    """Undefined where it should be, and within bounds elsewhere."""
    low, high = (np.broadcast_to(np.asarray(bound, float), value.shape) for bound in bounds)
    np.testing.assert_array_equal(np.isnan(value), np.isnan(low), err_msg=name)
    known = ~np.isnan(value)
    off = np.maximum(low - value, value - high)[known]
    at = tuple(np.argwhere(known)[off.argmax()].tolist()) if known.any() else ()
    is_within = bool(off.max(initial=-1) <= 1e-9)
    assert is_within, f"{name} at {at}: {value[at]}, not {low[at]} to {high[at]}"


def test_every_metric_says_what_an_even_router_gives():
    assert set(METRICS) == set(EVEN) | set(BY_CORPUS), "a new metric: what does an even router give?"
    assert not set(EVEN) & set(BY_CORPUS)


@pytest.mark.parametrize(("name", "by"), [case for case in CASES if case[0] in EVEN])
def test_an_even_router_gives_what_chance_gives(name, by, world):
    result = METRICS[name](world[1], MetricOptions(by=by, **QUICK))
    within(result.value, EVEN[name](world[0]._replace(by=by)), name=name)


@pytest.mark.parametrize(("name", "by"), CASES)
def test_what_it_is_held_against_is_what_chance_gives(name, by, world):
    null = METRICS[name](world[1], MetricOptions(by=by, **QUICK)).null
    if null is None:
        assert not METRICS[name].null or METRICS[name].null.startswith("0"), "a null is announced, and none is given"
        return
    ends = (EVEN | NULLS)[name](world[0]._replace(by=by))
    low, high = (np.broadcast_to(np.asarray(end, float), null.shape) for end in ends)
    both = np.isfinite(null) & np.isfinite(low)
    assert both.any() and (null >= low - 1e-9)[both].all() and (null <= high + 1e-9)[both].all(), (null, low, high)


def limit(name):
    """What is left of the bounds when there is no noise."""
    low, high = EVEN[name](ENDLESS._replace(by=METRICS[name].by[0] if METRICS[name].by else ""))
    return (np.asarray(low, float) + high) / 2


SAID = [name for name, found in METRICS.items() if found.uniform and name not in BY_CORPUS and name not in WORDED]


@pytest.mark.parametrize("name", SAID)
def test_the_catalogue_says_what_an_even_router_gives(name):
    number = TEXTS[METRICS[name].uniform.partition(", up to")[0]]
    found = limit(name)
    known = np.isfinite(found) & np.isfinite(np.broadcast_to(number, found.shape))
    np.testing.assert_allclose(found[known], np.broadcast_to(number, found.shape)[known], rtol=0.01, atol=0.01)
    assert known.any()


def test_what_the_catalogue_says_in_words():
    sizes = 2.0 ** np.arange(3, 8)
    assert all(METRICS[name].uniform == words for name, words in WORDED.items())
    for name in ("window_violation", "window_cv"):
        np.testing.assert_allclose(limit(name)[:5] * np.sqrt(sizes), limit(name)[4] * np.sqrt(128), rtol=0.06)
    assert (limit("cache_efficiency")[:-1, 0] < 0.93).all() and (limit("cache_efficiency")[:4, 0] < 0.7).all()
    assert (limit("belady_hit_rate")[:-1] > np.arange(1, EXPERTS) / EXPERTS + 0.04).all()
    assert (limit("segment_cache_hits") > np.array([2, 4, 6]) / 8 + 0.05).all()


MANY = 48


@pytest.fixture(scope="module")
def layered():
    """Many layers of an even router, of which only loads are counted."""
    return tally(even_record(layers=MANY, seed=1), only=["assignments", "gate_mass", "tokens"])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("what", ["load", "gate_mass"])
def test_on_average_over_many_layers_noise_is_as_large_as_chance_makes_it(what, shape, layered):
    """One layer's noise says little: 48 of them give its mean to a few percent, and that of the floor."""
    found = METRICS[f"{what}_{shape}"](layered, MetricOptions(resamples=0))
    variance = (even.load_variance if what == "load" else even.mass_variance)(World())
    drawn = SHAPES[shape](even.deviates()) * np.sqrt(variance)
    assert found.value.mean() == pytest.approx(drawn.mean(), abs=4 * drawn.std() / np.sqrt(MANY))
    if what == "load":  # a tenth above: tokens are never worth more than themselves, by chance sometimes less
        assert 0.95 < found.null.mean() / drawn.mean() < 1.15


def test_few_experts_are_surely_busy_by_chance(layered):
    """The lower end of a 95 % interval lies above the truth once in 40, somewhat more often with 20 documents."""
    significantly = METRICS["language_reach"](layered, MetricOptions(by="language", resamples=200)).value
    assert significantly.shape == (MANY, EXPERTS) and 0.01 < significantly.mean() < 0.06
