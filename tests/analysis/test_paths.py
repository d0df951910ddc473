"""Transitions, their information and paths: by hand, by slow counts, and by routers whose answer is known."""

from collections import Counter
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.analysis.counting import tally
from gatescope.analysis.metrics import METRICS, MetricOptions
from gatescope.analysis.metrics.paths import path_depths
from gatescope.analysis.tally.pairs import BINS
from gatescope.analysis.tally.tally import TokenRole
from gatescope.routing import Document
from gatescope.routing.errors import OptionError
from tests.analysis.conftest import make_record
from tests.analysis.test_tally import random_record

NAMES = ["first_transitions", "set_transitions", "first_choices", "paths", "tokens", "assignments"]


def found(name, record, **ask):
    return METRICS[name](tally(record, only=NAMES), MetricOptions(**ask))


def of_first_choices(choice_tl, experts, **more):
    """A record of top-1 layers."""
    return make_record(np.asarray(choice_tl)[:, :, None], experts=experts, **more)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_transitions_and_paths_are_those_a_slow_count_finds(seed):
    record = random_record(seed)
    counted = tally(record, only=NAMES)
    rows = [row for row in range(record.tokens) if not record.flag_t[row] & 3]  # neither special nor template
    sets, first, whole = np.zeros((1, 5, 5), int), np.zeros((1, 5, 5), int), Counter()
    for row in rows:
        ids_lk = record.ids_tlk[row].tolist()
        for one, two in product(*ids_lk):
            sets[0, one, two] += 1
        first[0, ids_lk[0][0], ids_lk[1][0]] += 1
        whole[tuple(ids_k[0] for ids_k in ids_lk)] += 1
    np.testing.assert_array_equal(counted.pooled("set_transitions"), sets)
    np.testing.assert_array_equal(counted.pooled("first_transitions"), first)
    assert found("path_count", record).value.tolist()[-1] == len(whole)
    assert found("path_coverage", record).value[-1, 0] == pytest.approx(max(whole.values()) / len(rows))
    share = np.array(list(whole.values())) / len(rows)
    assert found("path_entropy", record).value[-1] == pytest.approx(-(share * np.log2(share)).sum())
    pairs = sum(count * (count - 1) for count in whole.values())
    assert found("same_path", record).value[-1] == pytest.approx(pairs / (len(rows) * (len(rows) - 1)))


def test_transitions_by_hand():
    record = make_record([[[0, 1], [2, 0]], [[0, 2], [2, 1]], [[1, 0], [0, 2]], [[0, 1], [1, 0]]], experts=3)
    first = found("transition_share", record)
    assert first.value[0, 0].tolist() == [0, 1 / 3, 2 / 3] and first.value[0, 1].tolist() == [1, 0, 0]
    assert first.null[0, 0].tolist() == [0.25, 0.25, 0.5] and np.isnan(first.value[1]).all()
    both = found("set_transition_share", record)
    assert both.value[0, 2].tolist() == [0, 1, 1]  # the one token of expert 2 went to experts 2 and 1
    np.testing.assert_allclose(both.value[0].sum(axis=1), 2)
    assert both.null[0, 0].tolist() == [0.75, 0.5, 0.75]


def test_layers_of_different_widths_and_tokens_without_experts():
    record = make_record([[[0], [4]], [[1], [255]], [[255], [2]]], experts=[2, 5])
    first = found("transition_share", record)
    assert first.value[0, 0].tolist() == [0, 0, 0, 0, 1] and np.isnan(first.value[0, 1:]).all()
    assert found("path_count", record).value.tolist() == [2, 3]
    assert np.isnan(found("transition_information", make_record([[[0], [255]]], experts=2)).value).all()
    assert np.isnan(found("transition_share", make_record([[[0]], [[1]]], experts=2)).value).all()  # one layer


def test_a_layer_that_repeats_the_one_before_tells_all():
    choice_t = np.arange(4000) % 4
    record = of_first_choices(np.stack([choice_t, (choice_t + 1) % 4], axis=1), 4)
    assert found("transition_information", record).value[0] == pytest.approx(2, abs=0.002)
    assert found("transition_predictability", record).value[0] == pytest.approx(1, abs=1e-9)


def test_independent_layers_tell_nothing_once_corrected():
    """The plug-in value of 64 experts and 20,000 tokens is 63² / (2 · 20,000 ln 2) = 0.143 bits too high."""
    record = of_first_choices(np.random.default_rng(0).integers(0, 64, (20_000, 2)), 64)
    result = found("transition_information", record)
    assert abs(result.value[0]) < 0.012 and np.isnan(result.value[1])
    assert "Fewer than 5 tokens for each pair of experts in layers [0]" in result.warnings[0]


def test_domains_are_never_pooled():
    """Two domains with experts of their own: told apart by both layers, yet a layer tells nothing within a domain."""
    generator = np.random.default_rng(1)
    half = np.repeat([0, 2], 3000)[:, None]
    record = of_first_choices(half + generator.integers(0, 2, (6000, 2)), 4, documents=np.repeat([0, 1], 3000))
    labelled = tuple(Document("", id=name, domain=name) for name in ("code", "law"))
    object.__setattr__(record, "documents", labelled)
    assert abs(found("transition_information", record).value[0]) < 0.002
    by_label = found("transition_information_by_label", record, by="domain")
    assert by_label.groups == ("code", "law") and np.abs(by_label.value[0]).max() < 0.002
    counts = tally(record).pooled("first_transitions")[0].astype(float)  # what pooling would have said: one bit
    share = counts / counts.sum()
    outer = np.outer(share.sum(axis=1), share.sum(axis=0))
    assert (share[share > 0] * np.log2(share / outer, where=share > 0, out=share * 0)[share > 0]).sum() > 0.99
    with pytest.raises(OptionError, match="by domain or language"):
        found("transition_information_by_label", record)


@pytest.mark.slow
def test_paths_beyond_the_exact_ones_are_hashed_and_nearly_as_good():
    generator = np.random.default_rng(2)
    path_pl = generator.integers(0, 32, (3000, 8))
    record = of_first_choices(path_pl[generator.integers(0, 3000, 12_000)], 32)
    routes = Counter(map(tuple, record.ids_tlk[:, :, 0].tolist()))
    assert path_depths(8) == (1, 2, 4, 8) and 33**2 < BINS < 33**4
    result = found("path_count", record)
    assert result.labels["w"] == ("1 layer", "2 layers", "4 layers", "all 8")
    shorter = [len({path[:depth] for path in routes}) for depth in (1, 2, 4)]
    assert result.value[:2].tolist() == shorter[:2] and result.value[2] == pytest.approx(shorter[2], rel=0.01)
    assert result.value[3] == pytest.approx(len(routes), rel=0.01)
    share = np.array(sorted(routes.values(), reverse=True)) / 12_000
    assert found("path_entropy", record).value[3] == pytest.approx(-(share * np.log2(share)).sum(), abs=0.1)
    coverage = found("path_coverage", record)
    np.testing.assert_allclose(coverage.value[3], [share[0], *(share[:n].sum() for n in (10, 100, 1000))], atol=0.02)
    assert not coverage.warnings and coverage.labels["r"] == ("top 1", "top 10", "top 100", "top 1000")
    count = np.array(list(routes.values()))
    unbiased = (count * (count - 1)).sum() / (12_000 * 11_999)
    assert found("same_path", record).value[3] == pytest.approx(unbiased, abs=3e-6)


def test_more_paths_than_a_hash_keeps_apart():
    record = of_first_choices(np.random.default_rng(3).integers(0, 32, (60_000, 6)), 32)
    assert found("path_count", record).value[-1] == pytest.approx(60_000, rel=0.015)
    assert np.isnan(found("path_entropy", record).value[-1])
    coverage = found("path_coverage", record)
    assert coverage.warnings == ("Paths share bins through 4 layers, all 6: coverage there is too high.",)
    same = found("same_path", record)
    assert same.value[-1] == pytest.approx(0, abs=3e-7) and same.null[-1] == pytest.approx(32**-6, rel=0.1)
    assert same.value[1] == pytest.approx(32**-2, rel=0.03)  # independent layers: the null is met


def test_facets_are_told_apart():
    record = random_record(4, documents=40)
    parts = [found("path_count", record, facets=(facet,)).tokens for facet in TokenRole]
    assert sum(parts) == record.tokens and parts[TokenRole.ENCODER] == 0
    assert np.isnan(found("transition_share", record, facets=(TokenRole.ENCODER,)).value).all()
    assert np.isnan(found("transition_information", record, facets=(TokenRole.ENCODER,)).value).all()


def test_gpt_oss_layers_tell_of_one_another(gptoss):
    """Within the bounds of what is possible, and above what a count over its first choices by numpy finds by chance."""
    result = found("transition_information", gptoss, facets=(TokenRole.PROMPT,))
    first_tl = gptoss.ids_tlk[:, :, 0].astype(int)
    for layer, (one_t, two_t) in enumerate(pairwise(first_tl.T[:4])):
        joint = np.histogram2d(one_t, two_t, bins=[np.arange(33)] * 2)[0] / len(one_t)
        outer = np.outer(joint.sum(axis=1), joint.sum(axis=0))
        plain = (joint[joint > 0] * np.log2(joint[joint > 0] / outer[joint > 0])).sum()
        assert result.value[layer] == pytest.approx(plain, abs=0.005) and result.value[layer] > 0.3
    assert not result.warnings
