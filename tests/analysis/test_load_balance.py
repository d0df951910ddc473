"""Evenness of the load: published figures, slow obvious implementations, simulated even routers, and rules by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatescope.analysis.counting import tally
from gatescope.analysis.metrics import METRICS, MetricOptions
from gatescope.analysis.metrics.load_balance import (
    entropy_bits,
    gini,
    layer_effect,
    lorenz,
    mean_violation,
    min_violation,
)
from gatescope.analysis.statistics.load import max_violation
from gatescope.analysis.tally.tally import TokenRole
from gatescope.routing import Document, Flag
from tests.analysis.conftest import make_record
from tests.analysis.test_tally import random_record

QUIET = MetricOptions(resamples=0)
DOMAINS = ("github", "arxiv", "c4", "book", "wikipedia")
# Layers 0, 7 and 15 of each domain, then of all domains together:
GINI = [".29 .58 .59", ".32 .55 .56", ".14 .21 .29", ".27 .41 .43", ".35 .45 .63", ".17 .25 .27"]
MAXVIO = ["4.0 5.2 3.5", "6.8 5.3 6.5", "2.0 1.7 1.5", "2.6 3.1 1.9", "5.2 5.8 3.7", "1.10 1.75 1.73"]
ENTROPY = [".96 .85 .85", ".94 .87 .86", ".99 .98 .97", ".97 .93 .93", ".94 .91 .83"]
counts_st = st.lists(st.lists(st.integers(0, 20), min_size=3, max_size=3), min_size=1, max_size=4)


@pytest.fixture(scope="session")
def published(realdata):
    """Counts (layers, experts) of OLMoE's domains, and of all of them together."""
    counts = json.loads((realdata / "olmoe" / "domain_counts.json").read_text())
    tables = [np.array([counts[f"olmoe/{name}/L{n}"]["counts"] for n in (0, 7, 15)]) for name in DOMAINS]
    return [*tables, np.sum(tables, axis=0)]


def test_gini_of_published_counts(published):
    for counts_le, printed in zip(published, GINI, strict=True):
        assert gini(counts_le).round(2).tolist() == [float(digits) for digits in printed.split()]


def test_maximal_violation_and_entropy_of_published_counts(published):
    for counts_le, printed in zip(published, MAXVIO, strict=True):
        places = len(printed.split()[0].partition(".")[2])
        assert max_violation(counts_le).round(places).tolist() == [float(digits) for digits in printed.split()]
    for counts_le, printed in zip(published[:-1], ENTROPY, strict=True):
        assert (entropy_bits(counts_le) / 6).round(2).tolist() == [float(digits) for digits in printed.split()]


def test_entropy_of_real_routes(gptoss, realdata):
    expected = json.loads((realdata / "expected.json").read_text())["gptoss20b"]
    found = METRICS["load_entropy"](tally(gptoss, only=["assignments", "tokens"]), QUIET)
    assert (found.value[[0, 11, 23]] / 5).round(4).tolist() == expected["normalised_load_entropy_L0_11_23"]
    assert (found.tokens, found.documents) == (215438, 703) and (found.value < found.null).all()


@given(counts_st)
def test_measures_agree_with_their_definitions(rows):
    for row in rows:
        counts_re, total, mean = np.array([row]), sum(row), sum(row) / 3
        found = [measure(counts_re)[0] for measure in (gini, min_violation, mean_violation, entropy_bits)]
        if not total:
            assert np.isnan(found).all() and np.isnan(lorenz(counts_re)).all()
            continue
        pairs = sum(abs(a - b) for a in row for b in row) / (2 * 3 * total)
        off = sum(abs(a - mean) for a in row) / (3 * mean)
        bits = -sum(a / total * np.log2(a / total) for a in row if a)
        np.testing.assert_allclose(found, [pairs, (mean - min(row)) / mean, off, bits], atol=1e-12)
        below = [sum(sorted(row)[:r]) / total for r in range(4)]
        np.testing.assert_allclose(lorenz(counts_re)[0], below)


@given(counts_st)
def test_experts_that_a_layer_does_not_have_change_nothing(rows):
    padded_re = np.ma.MaskedArray(np.pad(rows, ((0, 0), (0, 2))), mask=np.zeros((len(rows), 5), bool))
    padded_re.mask[:, 3:] = True
    for measure in (gini, min_violation, mean_violation, entropy_bits):
        np.testing.assert_allclose(measure(padded_re), measure(np.array(rows)), atol=1e-12)
    np.testing.assert_allclose(lorenz(padded_re)[:, :4], lorenz(np.array(rows)))
    assert np.isnan(lorenz(padded_re)[:, 4:]).all()


def test_correction_by_hand():
    """Three experts seen in eight slots: 2 / 16 nats more."""
    plain, corrected = (entropy_bits(np.array([[4, 2, 2, 0]]), corrected=c)[0] for c in (False, True))
    assert plain == 1.5 and corrected == pytest.approx(1.5 + 2 / 16 / np.log(2))


def even_record(seed, *, documents=40, length=50, experts=16, k=2):
    ids = np.argsort(np.random.default_rng(seed).random((documents * length, 1, experts)), axis=-1)[..., :k]
    return make_record(ids, experts=experts, documents=np.repeat(np.arange(documents), length))


def test_noise_floors_are_what_even_routers_show():
    names = ["load_max_violation", "load_min_violation", "load_mean_violation", "load_cv", "load_gini", "load_entropy"]
    drawn = [tally(even_record(seed), only=["assignments", "tokens"]) for seed in range(40)]
    for name in names:
        results = [METRICS[name](each, QUIET) for each in drawn]
        value, null = (np.mean([getattr(result, what) for result in results]) for what in ("value", "null"))
        assert value == pytest.approx(null, rel=0.1 if name != "load_entropy" else 1e-3), name


def test_tokens_that_go_together_count_as_fewer():
    """Documents that each use one pair of experts throughout: every one is worth one token."""
    pairs = np.argsort(np.random.default_rng(0).random((30, 1, 8)), axis=-1)[..., :2]
    alike = make_record(np.repeat(pairs, 20, axis=0), experts=8, documents=np.repeat(np.arange(30), 20))
    counts = tally(alike)
    assert layer_effect(counts, QUIET) == pytest.approx([20], rel=0.01)
    apart = METRICS["load_cv"](tally(even_record(0, documents=30, length=20, experts=8)), QUIET).null
    assert METRICS["load_cv"](counts, QUIET).null == pytest.approx(apart * np.sqrt(20), rel=0.2)


def test_an_interval_of_relative_load_is_that_of_drawing_documents():
    record = random_record(3, documents=30)
    found = METRICS["relative_load"](tally(record), MetricOptions(resamples=2000))
    ids_tlk = np.where((record.flag_t != Flag.SPECIAL)[:, None, None], record.ids_tlk, 255)
    table_dle = np.array(
        [
            [np.bincount(ids_tlk[record.document_t == d, n].ravel(), minlength=256)[:5] for n in (0, 1)]
            for d in range(30)
        ]
    )
    generator, drawn = np.random.default_rng(1), []
    for _ in range(2000):
        rows = np.concatenate([generator.choice(np.arange(side, 30, 2), 15) for side in (0, 1)])
        sums_le = table_dle[rows].sum(axis=0)
        drawn.append(5 * sums_le / sums_le.sum(axis=1, keepdims=True))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    assert found.low == pytest.approx(low, abs=0.1) and found.high == pytest.approx(high, abs=0.1)
    assert (found.low < found.value).all() and (found.value < found.high).all()


def test_mass_is_counted_by_weight():
    weight = np.array([[[0.75, 0.25]], [[0.5, 0.25]]], np.float16)
    record = make_record([[[0, 1]], [[0, 2]]], experts=3, documents=[0, 1], weight_tlk=weight)
    found = tally(record)
    mass = np.array([1.25, 0.25, 0.25])
    assert METRICS["relative_gate_mass"](found, QUIET).value[0] == pytest.approx(mass * 3 / 1.75)
    assert METRICS["gate_mass_cv"](found, QUIET).value == pytest.approx(mass.std() / mass.mean())
    assert METRICS["gate_mass_max_violation"](found, QUIET).value == pytest.approx(1.25 * 3 / 1.75 - 1)
    share = mass / 1.75
    assert METRICS["gate_mass_entropy"](found, QUIET).value == pytest.approx(-(share * np.log2(share)).sum())


def states(record, resamples=400):
    return METRICS["expert_state"](tally(record), MetricOptions(resamples=resamples))


def with_domains(record, *domains):
    named = tuple(Document(f"text {n}", domain=domains[n % len(domains)]) for n in range(len(record.documents)))
    return replace(record, documents=named)


def skewed(documents=20, length=40):
    """Of 8 experts, one is never chosen, one nearly never, one always: top 2."""
    generator = np.random.default_rng(2)
    other = generator.integers(1, 6, (documents * length, 1, 1))
    ids = np.concatenate([np.zeros_like(other), other], axis=-1)
    ids[5, 0, 1] = 6
    return make_record(ids, experts=8, documents=np.repeat(np.arange(documents), length))


def test_dead_cold_and_hot_experts():
    found = states(with_domains(skewed(), "law", "code"))
    assert found.value.tolist() == [[1, 0, 0, 0, 0, 0, -1, -2]] and found.warnings == ()


def test_no_expert_is_dead_of_one_domain_or_few_tokens():
    one = states(with_domains(skewed(), "law"))
    assert one.value[0, 7] == -1 and "cold, not dead" in one.warnings[0]
    assert "name no domain" in states(skewed()).warnings[0]
    few = states(with_domains(skewed(documents=4, length=11), "law", "code"))  # 0.75 ** 44 > 1e-6
    assert np.isnan(few.value[0, 7]) and "Too few tokens" in few.warnings[0]
    enough = states(with_domains(skewed(documents=4, length=13), "law", "code"))  # 0.75 ** 52 < 1e-6
    assert enough.value[0, 7] == -2


def test_without_intervals_only_the_dead_are_known():
    found = states(with_domains(skewed(), "law", "code"), resamples=0)
    assert np.isnan(found.value[0, :7]).all() and found.value[0, 7] == -2 and "none were asked" in found.warnings[0]


def test_one_document_has_no_interval_and_says_so():
    found = METRICS["load_gini"](tally(even_record(0, documents=1)), MetricOptions(resamples=50))
    assert np.isnan(found.low).all() and np.isfinite(found.value).all() and np.isfinite(found.null).all()
    assert "fewer than two" in " ".join(found.warnings) and "independent" in " ".join(found.warnings)


def test_facets_are_apart_and_an_absent_one_is_undefined():
    found = METRICS["load_gini"](tally(even_record(0)), MetricOptions(facets=(TokenRole.ENCODER,), resamples=20))
    assert np.isnan(found.value).all() and found.tokens == 0
