"""Excess information: hand-calculated values, an independent formula, and its behaviour under the null."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_matrix
from scipy.stats import kstest
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import expected_mutual_information

from gatescope.analysis.statistics.information import (
    excess_information,
    mutual_information_bits,
    of_shuffles,
    shuffled,
    shuffled_information_bits,
)
from gatescope.routing.errors import OptionError


def _separating(documents_per_label: int, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Each label has an expert of its own, and every document the same number of assignments."""
    labels_d = np.repeat(np.arange(labels), documents_per_label)
    counts_dle = np.zeros((len(labels_d), 1, labels), dtype=np.int64)
    counts_dle[np.arange(len(labels_d)), 0, labels_d] = 7
    return counts_dle, labels_d


def test_an_expert_per_label_tells_the_whole_entropy_of_the_label():
    result = excess_information(*_separating(10, 4), permutations=50)[0]
    assert result.observed_bits == pytest.approx(2.0)
    assert result.label_entropy_bits == pytest.approx(2.0)
    assert result.p_value == pytest.approx(1 / 51)
    assert result.z > 10
    assert (result.documents, result.assignments) == (40, 280)


def test_unequal_labels_are_weighed_by_their_assignments():
    counts_dle = np.array([[[6, 0]], [[0, 2]]])
    result = excess_information(counts_dle, np.array([0, 1]), permutations=20)[0]
    by_hand = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))
    assert result.label_entropy_bits == pytest.approx(by_hand)
    assert result.observed_bits == pytest.approx(by_hand)


def test_two_documents_of_different_labels_can_never_be_significant():
    result = excess_information(np.array([[[8, 0]], [[0, 8]]]), np.array([0, 1]), permutations=20)[0]
    assert result.observed_bits == result.null_mean_bits == 1.0
    assert result.p_value == 1.0
    assert np.isnan(result.z)


def test_independent_experts_have_an_excess_of_about_zero_where_the_plug_in_value_has_not():
    generator = np.random.default_rng(1)
    counts_dle = generator.multinomial(100, np.full(64, 1 / 64), size=(60, 2))
    for layer in excess_information(counts_dle, np.arange(60) % 6, permutations=200):
        expected_bias = 63 * 5 / (2 * 6000 * np.log(2))
        assert layer.null_mean_bits == pytest.approx(expected_bias, rel=0.1)
        assert layer.observed_bits > 0.03
        assert abs(layer.excess_bits) < 0.005


@settings(max_examples=50)
@given(arrays(np.int64, (3, 5), elements=st.integers(0, 9)).filter(lambda table: table.sum() > 0))
def test_mutual_information_agrees_with_an_independent_implementation(counts_ge):
    label, expert = np.nonzero(counts_ge)
    times = counts_ge[label, expert]
    nats = mutual_info_score(np.repeat(label, times), np.repeat(expert, times))
    assert mutual_information_bits(counts_ge) == pytest.approx(nats / np.log(2), abs=1e-9)


def test_p_values_are_uniform_when_labels_mean_nothing():
    generator = np.random.default_rng(2)
    p_values = []
    for draw in range(50):
        bursts = generator.dirichlet(np.full(8, 0.5), size=(30, 8))
        counts_dle = generator.multinomial(40, bursts)
        layers = excess_information(counts_dle, generator.integers(0, 3, 30), permutations=199, seed=draw)
        p_values += [layer.p_value for layer in layers]
    assert kstest(p_values, "uniform").pvalue > 0.01


def test_strata_absorb_a_difference_that_lies_between_them():
    """Experts follow the stratum, labels follow it too: within a stratum nothing is left to tell."""
    strata_d = np.repeat([0, 1], 20)
    labels_d = np.where(np.arange(40) % 10 == 0, 1 - strata_d, strata_d)
    counts_dle = np.zeros((40, 1, 2), dtype=np.int64)
    counts_dle[np.arange(40), 0, strata_d] = 5
    free = excess_information(counts_dle, labels_d, permutations=200)[0]
    within = excess_information(counts_dle, labels_d, permutations=200, strata_d=strata_d)[0]
    assert free.p_value < 0.01 and free.excess_bits > 0.3
    assert within.p_value == 1.0 and within.excess_bits == pytest.approx(0.0, abs=1e-9)


def test_a_negative_label_leaves_the_document_out():
    counts_dle, labels_d = _separating(5, 2)
    noise_dle = np.full((3, 1, 2), 50)
    all_dle, all_d = np.concatenate([counts_dle, noise_dle]), np.concatenate([labels_d, [-1, -1, -1]])
    assert excess_information(all_dle, all_d) == excess_information(counts_dle, labels_d)


def test_a_layer_without_assignments_is_undefined_and_the_others_are_not():
    counts_dle, labels_d = _separating(5, 2)
    silent, told = excess_information(np.concatenate([counts_dle * 0, counts_dle], axis=1), labels_d, permutations=9)
    assert np.isnan([silent.observed_bits, silent.null_mean_bits, silent.p_value, silent.label_entropy_bits]).all()
    assert (silent.documents, silent.assignments) == (0, 0)
    assert told.observed_bits == pytest.approx(1.0)


def test_no_labelled_document_at_all_is_undefined_not_an_error():
    result = excess_information(np.ones((2, 1, 3), dtype=int), np.array([-1, -1]), permutations=9)[0]
    assert np.isnan(result.observed_bits) and np.isnan(result.excess_bits) and result.documents == 0


def test_the_same_seed_gives_the_same_result_and_chunks_do_not_show(monkeypatch):
    counts_dle = np.random.default_rng(3).integers(0, 5, (12, 3, 4))
    labels_d = np.arange(12) % 3
    whole = excess_information(counts_dle, labels_d, permutations=37, seed=5)
    monkeypatch.setattr("gatescope.analysis.statistics.information._CHUNK_CELLS", 1)
    assert excess_information(counts_dle, labels_d, permutations=37, seed=5) == whole


@pytest.mark.parametrize(
    ("counts_shape", "labels_d", "permutations", "complaint"),
    [
        ((2, 3), np.array([0, 1]), 10, "shape"),
        ((2, 1, 3), np.array([0, 1, 2]), 10, "labels"),
        ((2, 1, 3), np.array([0.5, 1.0]), 10, "float64"),
        ((2, 1, 3), np.array([0, 1]), 0, "0 permutations"),
    ],
)
def test_arguments_that_do_not_fit_are_named(counts_shape, labels_d, permutations, complaint):
    with pytest.raises(OptionError, match=complaint):
        excess_information(np.ones(counts_shape), labels_d, permutations=permutations)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9), st.sampled_from([5, 60, 2_000, 50_000]))
def test_chance_of_fixed_margins_agrees_with_scikit_learn(seed, groups, experts, total):
    generator = np.random.default_rng(seed)
    share = generator.dirichlet(np.full(groups * experts, 0.5))
    count_ge = generator.multinomial(total, share).reshape(groups, experts)
    count_ge = count_ge[count_ge.any(axis=1)][:, count_ge.any(axis=0)]
    nats = expected_mutual_information(csr_matrix(count_ge), total)
    assert shuffled_information_bits(count_ge) == pytest.approx(nats / np.log(2), abs=2e-6)


def test_chance_of_fixed_margins_is_the_mean_over_shuffles():
    generator = np.random.default_rng(0)
    one_n, two_n = generator.integers(0, 5, 40) ** 2 % 5, generator.integers(0, 6, 40)
    shuffles = []
    for _ in range(4000):
        count = np.zeros((5, 6))
        np.add.at(count, (one_n, generator.permutation(two_n)), 1)
        shuffles.append(float(mutual_information_bits(count)))
    close = 4 * np.std(shuffles) / np.sqrt(len(shuffles))
    assert shuffled_information_bits(count.astype(int)) == pytest.approx(np.mean(shuffles), abs=close)
    assert np.isnan(shuffled_information_bits(np.zeros((2, 3, 3), int))).all()


@pytest.mark.parametrize("groups", [2, 4, 9])
@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.float64])
@pytest.mark.parametrize("largest", [9, 1 << 23])
def test_sums_by_shuffled_label_are_exact_whatever_floats_hold_them(kind, largest, groups):
    generator = np.random.default_rng(5)
    count_dle = generator.integers(0, min(largest, np.iinfo(np.uint8).max if kind is np.uint8 else largest), (20, 2, 3))
    count_dle[0, 0, 0] = 1
    group_bd = generator.integers(0, groups, (50, 20))
    for group in (0, groups - 1):
        found = of_shuffles(count_dle.astype(kind), group_bd, groups, lambda sums_bge, own=group: sums_bge[:, own, 2])
        expected = [[count_dle[group_d == group, layer, 2].sum() for layer in range(2)] for group_d in group_bd]
        assert found.tolist() == expected


def test_sums_of_predicted_counts_keep_their_fractions():
    count_dle = np.array([[[0.1]], [[0.2]], [[1 << 20]]])
    found = of_shuffles(count_dle, np.array([[0, 0, 1], [0, 1, 1]]), 2, lambda sums_bge: sums_bge[:, 0, 0])
    assert found[:, 0].tolist() == [0.1 + 0.2, 0.1]


def test_shuffles_are_those_of_sorting_one_row_of_random_numbers_after_another():
    """Written plainly: within each stratum the labels in the order of as many random numbers."""
    generator = np.random.default_rng(4)
    group_d, strata_d = generator.integers(0, 3, 40), generator.integers(5, 9, 40)
    plain, expected_bd = np.random.default_rng(8), []
    for _ in range(30):
        drawn_d, row_d = plain.random(40), np.full(40, -1)
        for stratum in set(strata_d.tolist()):
            own = [document for document in range(40) if strata_d[document] == stratum]
            for place, taken in zip(own, sorted(own, key=drawn_d.__getitem__), strict=True):
                row_d[place] = group_d[taken]
        expected_bd.append(row_d)
    assert np.array_equal(shuffled(group_d, strata_d, 30, np.random.default_rng(8)), expected_bd)
