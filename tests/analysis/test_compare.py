"""Two captures side by side: kinds told by what is recorded, overlaps and flips by hand, p as SciPy has it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import permutation_test

from gatescope.analysis.comparison.compare import (
    FEWEST,
    cascade,
    flips_by_margin,
    load_shift,
    near_tie_step,
    near_ties,
    overlap,
    paired,
    relation,
    same_documents,
)
from gatescope.analysis.comparison.saturation import agreement
from gatescope.routing.errors import OptionError


def at_random(records, seed, *, tokens=120, layers=3, experts=8, documents=12, **arrays):
    random = np.random.default_rng(seed)
    ids = np.argsort(random.random((tokens, layers, experts)), axis=-1)[..., :2]
    return records(ids, experts=experts, documents=np.arange(tokens) // (tokens // documents), **arrays)


def made_by(record, **parts):
    return replace(record, provenance=replace(record.provenance, **parts))


def test_the_kind_is_told_by_fingerprint_shape_and_tokens(records):
    one = at_random(records, 1)
    assert relation(one, at_random(records, 2)).kind == "weights"
    other_text = at_random(records, 2, token_t=np.arange(500, 620, dtype=np.int32))
    assert relation(one, other_text) == ("text", True, True, ())
    assert relation(one, made_by(other_text, fingerprint="1")).kind == "models"
    wider = relation(one, at_random(records, 2, experts=9))
    assert (wider.kind, wider.is_same_shape, len(wider.pairs)) == ("models", False, 12)
    assert relation(made_by(one, fingerprint=""), made_by(other_text, fingerprint="")).kind == "models"


def test_documents_are_paired_by_their_tokens_each_once(records):
    tokens = np.array([1, 2, 3, 1, 2, 9], np.int32)
    one = records([[[0]]] * 6, experts=2, documents=[0, 0, 1, 2, 2, 3], token_t=tokens)
    two = records([[[1]]] * 5, experts=2, documents=[0, 1, 1, 2, 2], token_t=np.array([3, 1, 2, 1, 7], np.int32))
    assert same_documents(one, two) == ((0, 1), (1, 0))
    first, second = paired(one, two, same_documents(one, two))
    assert first.token_t.tolist() == second.token_t.tolist() == [1, 2, 3]
    assert second.ids_tlk.ravel().tolist() == [1, 1, 1]


def test_overlap_is_that_of_agreement_and_counts_empty_slots(records):
    one, two = at_random(records, 3), at_random(records, 4)
    by_layer = [layer.share for layer in agreement(one, two, resamples=1)]
    assert overlap(one, two).mean(axis=0) == pytest.approx(by_layer, abs=1e-6)
    few = records([[[0, 255]], [[255, 255]]], experts=3)
    more = records([[[0, 1]], [[255, 255]]], experts=3)
    assert overlap(few, more).ravel().tolist() == [0.5, pytest.approx(np.nan, nan_ok=True)]
    assert overlap(few, few).ravel().tolist() == [1.0, pytest.approx(np.nan, nan_ok=True)]


def test_flips_lie_in_the_bin_of_their_margin(records):
    # margins 0.1 … 1.0 in every document; the tokens of the two smallest change
    ids = np.zeros((40, 1, 1), int)
    margin_tl = np.tile(np.arange(1, 11) / 10, 4)[:, None].astype(np.float16)
    other = np.where(margin_tl[..., None] < 0.25, 1, 0)
    one = records(ids, experts=2, documents=np.arange(40) // 10, margin_tl=margin_tl)
    two = records(other, experts=2, documents=np.arange(40) // 10)
    found = flips_by_margin(one, two, bins=5, resamples=50)
    assert found.rate_b.tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert found.tokens_b.tolist() == [8] * 5
    assert found.overall == pytest.approx(0.2)
    assert found.margin_b == pytest.approx([0.15, 0.35, 0.55, 0.75, 0.95], abs=1e-3)
    assert flips_by_margin(two, one, bins=5, resamples=50).rate_b[0] == 1.0  # the second has the margins
    with pytest.raises(OptionError, match="without margins"):
        flips_by_margin(two, two)


def test_changes_that_carry_on_are_counted_after_changes(records):
    # of 40 tokens the first 20 change in both layers, the others in neither but one in the second
    ids = np.zeros((40, 2, 1), int)
    changed = ids.copy()
    changed[:20] = 1
    changed[20, 1] = 1
    documents = np.arange(40) // 10
    found = cascade(records(ids, experts=2, documents=documents), records(changed, experts=2, documents=documents))
    assert found.rate_l.tolist() == [0.5, 0.525]
    assert found.after_l[1] == 1.0
    assert found.else_l[1] == pytest.approx(1 / 20)
    assert found.first_l.tolist() == [0.5, 1 / 40]
    assert np.isnan(found.after_l[0]) and np.isnan(found.else_l[0])


def test_rates_of_few_tokens_are_not_told(records):
    ids = np.zeros((FEWEST + 5, 2, 1), int)
    changed = ids.copy()
    changed[:FEWEST, 0] = 1
    documents = np.arange(FEWEST + 5) // 5
    found = cascade(records(ids, experts=2, documents=documents), records(changed, experts=2, documents=documents))
    assert found.after_l[1] == 0.0
    assert np.isnan(found.else_l[1])


def test_a_shift_is_the_difference_of_token_shares(records):
    one = records([[[0]], [[0]], [[1]], [[0]]], experts=3, documents=[0, 0, 1, 1])
    two = records([[[1]], [[0]], [[1]], [[2]]], experts=3, documents=[0, 0, 1, 1])
    found = load_shift(one, two, resamples=20)
    assert found.value_le.tolist() == [[0.5, -0.25, -0.25]]
    alone = load_shift(one.of_documents([0]), two.of_documents([0]), resamples=20)
    assert alone.value_le.tolist() == [[0.5, -0.5, 0.0]]
    assert np.isnan(alone.q_le).all()


def test_p_of_a_shift_is_that_of_paired_samples(records):
    """SciPy's own test of the same null, over all 4,096 swaps."""
    one, two = at_random(records, 5, experts=4), at_random(records, 6, experts=4)
    found = load_shift(one, two, resamples=4000, seed=1)
    moved_de = np.stack(
        [np.bincount(r.ids_tlk[:, 1].ravel() + 4 * np.repeat(r.document_t, 2), minlength=48) for r in (one, two)]
    ).reshape(2, 12, 4)
    for expert in range(4):
        samples = (moved_de[0, :, expert], moved_de[1, :, expert])
        exact = permutation_test(
            samples, lambda a, b, axis: abs((a - b).sum(axis=axis)), permutation_type="samples", vectorized=True,
            n_resamples=np.inf, alternative="greater",
        ).pvalue  # fmt: skip
        assert found.p_le[1, expert] == pytest.approx(exact, abs=0.03)


def test_captures_that_differ_by_chance_alone_are_rarely_called_different(records):
    called = 0
    for seed in range(60):
        one = at_random(records, 100 + seed, layers=1)
        two = at_random(records, 900 + seed, layers=1)
        called += bool((load_shift(one, two, resamples=200, seed=seed).q_le <= 0.05).any())
    assert called <= 9  # of 60; 5 % expected, and the 99.9 % point of that is 9


def test_near_ties_are_below_a_step_of_the_coarser_format(records):
    margin_tl = np.array([[2.0**-20], [2.0**-9], [0.5]], np.float16)
    one = records([[[0]]] * 3, experts=2, margin_tl=margin_tl)
    two = made_by(one, dtype="bfloat16")
    bare = records([[[0]]] * 3, experts=2)
    assert near_ties(one, one).ravel().tolist() == [True, False, False]
    assert near_ties(one, two).ravel().tolist() == [True, True, False]
    assert near_tie_step(one, made_by(one, dtype="float8")) == near_tie_step(one, two)
    assert near_ties(bare, bare) is None
    assert near_ties(bare, one).ravel().tolist() == [True, False, False]
