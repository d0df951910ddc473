"""Confidence of the gate, and choices against its raw scores: by plain loops, by hand, and what holds of all."""

from dataclasses import replace

import numpy as np
import pytest

from gatescope.analysis.counting import tally
from gatescope.analysis.metrics import METRICS, MetricOptions, confidence
from gatescope.analysis.metrics import bias as choices
from gatescope.analysis.tally.quantities import LARGEST
from gatescope.analysis.tally.tally import TokenRole, merge
from gatescope.analysis.tally.token_values import bin_of, edges
from gatescope.routing import Document
from tests.analysis.conftest import make_record
from tests.analysis.test_tally import part, random_record

QUIET = MetricOptions(resamples=0)
MINE = [name for name, found in METRICS.items() if found.compute.__module__ in (confidence.__name__, choices.__name__)]
CASES = [(name, by) for name in MINE for by in (METRICS[name].by or ("",))]


def scored(seed, documents=12):
    """A random record with raw scores, what softmax makes of them, and choices that a bias has moved at times."""
    record = random_record(seed, documents)
    generator = np.random.default_rng(seed)
    rows, layers, experts = record.tokens, 2, 5
    logit = (generator.normal(size=(rows, layers, experts)) * 2).astype(np.float16)
    z = logit.astype(float)
    share = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
    moved = z + np.array([0, 0, 0, 0, 1.5])
    order = np.argsort(-moved, axis=-1, kind="stable")
    chosen = order[..., :2]
    weight = np.take_along_axis(share, chosen, -1)
    by_weight = np.argsort(-weight, axis=-1, kind="stable")
    ids = np.take_along_axis(chosen, by_weight, -1).astype(np.uint8)
    margin = np.take_along_axis(moved, order[..., 1:2], -1) - np.take_along_axis(moved, order[..., 2:3], -1)
    return replace(
        record,
        ids_tlk=ids,
        weight_tlk=np.take_along_axis(weight, by_weight, -1).astype(np.float16),
        logit_tle=logit,
        margin_tl=margin[..., 0].astype(np.float16),
        entropy_tl=-(share * np.log(share)).sum(-1).astype(np.float16),
        lse_tl=np.log(np.exp(z).sum(-1)).astype(np.float16),
        layers=tuple(replace(rule, has_selection_bias=True) for rule in record.layers),
    )


def relabelled(record, new_e):
    """Experts called otherwise: also their raw scores stand elsewhere."""
    logit = np.empty_like(record.logit_tle)
    logit[..., new_e] = record.logit_tle
    return replace(record, ids_tlk=new_e[record.ids_tlk].astype(np.uint8), logit_tle=logit)


@pytest.fixture(scope="module")
def record():
    return scored(11)


def plain_values(record, name, t, n):
    """A quantity of one token and layer from its definition, in plain numbers."""
    weights = record.weight_tlk[t, n].astype(float)
    z = record.logit_tle[t, n].astype(float)
    share, gate = weights / weights.sum(), np.exp(z) / np.exp(z).sum()
    return {
        "gate_entropy": float(record.entropy_tl[t, n]) / np.log(2),
        "gate_effective_experts": np.exp(float(record.entropy_tl[t, n])),
        "chosen_entropy": -sum(p * np.log2(p) for p in share),
        "first_share": share[0],
        "first_lead": share[0] - share[1],
        "kept_share": gate[record.ids_tlk[t, n]].sum(),
        "selection_margin": float(record.margin_tl[t, n]),
        "log_sum_exp": float(record.lse_tl[t, n]),
        "z_loss": float(record.lse_tl[t, n]) ** 2,
        "centred_log_sum_exp": np.log(np.exp(z - z.mean()).sum()),
        "score_spread": z.std(),
        "score_peak": abs(z).max(),
    }[name]


NAMES = [quantity.name for quantity in (*confidence.QUANTITIES, *choices.SCORES)]


@pytest.mark.parametrize("name", NAMES)
def test_means_and_quantiles_agree_with_plain_loops(name, record):
    found = tally(record)
    asked = MetricOptions(resamples=0, by="domain", facets=(TokenRole.PROMPT, TokenRole.GENERATED))
    result, spread = METRICS[name](found, asked), METRICS[f"{name}_quantiles"](found, asked)
    assert result.groups == ("code", "law") == spread.groups
    domain_t = np.array([record.documents[d].domain for d in record.document_t.tolist()])
    for g, domain in enumerate(result.groups):
        for layer in (0, 1):
            rows = np.flatnonzero((domain_t == domain) & (record.flag_t != 1))
            values = np.sort([plain_values(record, name, t, layer) for t in rows.tolist()])
            assert result.value[g, layer] == pytest.approx(np.mean(values), abs=1e-5)
            for place, share in enumerate(confidence.QUANTILES):
                at = values[max(0, int(np.ceil(share * len(values))) - 1)]
                assert spread.value[g, layer, place] == pytest.approx(at, rel=1 / 16, abs=1e-3)


@pytest.fixture(scope="module")
def tallied(record):
    """The record counted whole, with its experts renamed, and in three shards merged out of order."""
    first, second, third = (tally(part(record, [d for d in range(12) if d % 3 == shard])) for shard in (2, 0, 1))
    renamed = tally(relabelled(record, np.array([2, 4, 0, 1, 3])))
    return tally(record), renamed, merge(merge(first, second), third)


@pytest.mark.parametrize(("name", "by"), CASES)
def test_what_holds_of_every_metric_holds_with_scores(name, by, tallied):
    """Range, names of experts, order and shards: the record of the tests over all metrics has no scores."""
    ask = MetricOptions(by=by, resamples=30, seed=3)
    whole, renamed, merged = tallied
    result, stated = METRICS[name](whole, ask), METRICS[name].range
    known = result.value[np.isfinite(result.value)]
    assert known.size and result.value.ndim == len(METRICS[name].axes) and result.documents == 12
    assert stated.least is None or known.min() >= stated.least - 1e-9
    assert stated.greatest is None or known.max() <= stated.greatest + 1e-9
    if result.low is not None:
        assert (result.low <= result.high + 1e-12)[np.isfinite(result.low)].all()
    other = METRICS[name](renamed, ask)
    np.testing.assert_allclose(result.value, other.value, atol=1e-9)
    added = METRICS[name](merged, ask)
    for what in ("value", "low", "high", "null"):
        if getattr(result, what) is not None:
            np.testing.assert_array_equal(getattr(result, what), getattr(added, what))


def test_bins_are_in_order_and_powers_of_two_are_edges():
    edge_b = edges()
    assert (np.diff(edge_b[16:-16]) > 0).all()
    values = np.concatenate([[0.0], 2.0 ** np.arange(-18, 12), np.random.default_rng(0).lognormal(0, 3, 500)])
    values = values[values < LARGEST].astype(np.float16).astype(float)
    place = bin_of(values)
    assert ((edge_b[place] <= values) & (values < edge_b[place + 1])).all()
    below = bin_of(-values[values > 0])
    assert ((edge_b[below] < -values[values > 0] + 1e-12) & (-values[values > 0] <= edge_b[below + 1])).all()
    for power in range(-18, 12):
        assert edge_b[bin_of(np.array(2.0**power))] == 2.0**power


def test_near_ties_are_counted_exactly():
    """Margins on either side of each step; one at a step is not below it."""
    margin = np.array([0, 2**-19, 2**-11, 2**-10, 0.0077, 2**-7, 0.06, 2**-4, 1, 9], np.float16)[:, None]
    record = replace(make_record(np.zeros((10, 1, 1)), experts=4), margin_tl=margin)
    found = METRICS["near_ties"](tally(record), QUIET)
    assert found.value.tolist() == [[[0.2, 0.3, 0.5, 0.7]]] and found.labels["c"] == tuple(choices.CLOSE)


def slow_flips(record, n):
    """Slots whose expert has k or more experts of strictly larger raw score; gate kept and what could be kept."""
    flips, had, could = [], [], []
    for t in np.flatnonzero(record.flag_t != 1).tolist():
        z = record.logit_tle[t, n].astype(float)
        gate = np.exp(z) / np.exp(z).sum()
        flips += [(z > z[e]).sum() >= 2 for e in record.ids_tlk[t, n]]
        had.append(gate[record.ids_tlk[t, n]].sum())
        could.append(np.sort(gate)[-2:].sum())
    return np.mean(flips), 1 - np.sum(had) / np.sum(could)


def test_flips_agree_with_plain_loops(record):
    found = tally(record)
    rate, lost = METRICS["selection_flips"](found, QUIET).value, METRICS["selection_loss"](found, QUIET).value
    for n in (0, 1):
        assert (rate[n], lost[n]) == pytest.approx(slow_flips(record, n), abs=1e-5)
    assert (rate > 0.02).all() and (lost > 0).all()


def with_scores(ids, logit, **rule):
    record = make_record(ids, experts=np.shape(logit)[-1])
    layers = tuple(replace(each, **rule) for each in record.layers)
    return replace(record, logit_tle=np.array(logit, np.float16), layers=layers)


def test_flips_by_hand():
    """Scores 4, 3, 3, 1: the second and third tie, so that either may be chosen; the last may not."""
    logit = [[[4, 3, 3, 1]]] * 3
    for ids, expected in (([[0, 1]], 0), ([[0, 2]], 0), ([[0, 3]], 0.5)):
        found = tally(with_scores([ids] * 3, logit))
        assert METRICS["selection_flips"](found, QUIET).value.tolist() == [expected]
    gate = np.exp([4, 3, 3, 1]) / np.exp([4, 3, 3, 1]).sum()
    lost = 1 - (gate[0] + gate[3]) / (gate[0] + gate[1])
    assert METRICS["selection_loss"](found, QUIET).value == pytest.approx([lost], abs=1e-6)


def test_groups_bound_what_could_be_chosen():
    """Two groups of two, the best kept by the sum of its two gates: (5, -9) loses to (2, 2) by sigmoid."""
    logit = [[[5, -9, 2, 2]]]
    limited = {"score": "sigmoid", "groups": 2, "groups_kept": 1, "has_selection_bias": True}
    inside = tally(with_scores([[[2, 3]]], logit, **limited))
    outside = tally(with_scores([[[0, 1]]], logit, **limited))
    assert METRICS["selection_flips"](inside, QUIET).value.tolist() == [0]
    assert METRICS["selection_flips"](outside, QUIET).value.tolist() == [1]


def test_soft_information_by_hand():
    """Two sure and opposite tokens: 1 bit; two alike: nothing."""
    opposite = tally(with_scores([[[0]], [[1]]], [[[30, 0]], [[0, 30]]]))
    alike = tally(with_scores([[[0]], [[0]]], [[[1, 0]], [[1, 0]]]))
    assert METRICS["soft_information"](opposite, QUIET).value == pytest.approx([1], abs=1e-5)
    assert METRICS["soft_information"](alike, QUIET).value == pytest.approx([0], abs=1e-6)


@pytest.mark.parametrize("score", ["softmax", "sigmoid", "sqrtsoftplus"])
def test_soft_information_agrees_with_plain_loops(score):
    generator = np.random.default_rng(1)
    logit = generator.normal(size=(50, 1, 6)).astype(np.float16)
    record = with_scores(np.argsort(-logit, axis=-1)[..., :2], logit, score=score)
    z = logit[:, 0].astype(float)
    gate = {"softmax": np.exp(z), "sigmoid": 1 / (1 + np.exp(-z)), "sqrtsoftplus": np.sqrt(np.log(1 + np.exp(z)))}[
        score
    ]
    share = gate / gate.sum(axis=1, keepdims=True)
    mean = share.mean(axis=0)
    bits = -(mean * np.log2(mean)).sum() + (share * np.log2(share)).sum(axis=1).mean()
    assert METRICS["soft_information"](tally(record), QUIET).value == pytest.approx([bits], abs=1e-5)


def test_an_unknown_gate_is_undefined_and_says_so(record):
    strange = replace(record, layers=(record.layers[0], replace(record.layers[1], score="unknown")))
    for name in ("selection_flips", "soft_information", "kept_share"):
        found = METRICS[name](tally(strange), QUIET)
        value = found.value.reshape(-1, 2)[0]
        assert np.isfinite(value[0]) and np.isnan(value[1]) and "Not known in layers 1" in found.warnings[0]


def test_the_kept_share_needs_scores_only_where_weights_are_made_to_sum_to_one(record):
    without = replace(record, logit_tle=None)
    assert METRICS["kept_share"](tally(without), QUIET).value == pytest.approx(
        METRICS["kept_share"](tally(record), QUIET).value, abs=1e-3
    )
    renormalised = replace(without, layers=tuple(replace(rule, is_renormalised=True) for rule in record.layers))
    found = METRICS["kept_share"](tally(renormalised), QUIET)
    assert np.isnan(found.value).all() and "cannot be had" in found.warnings[0]


def test_tokens_without_a_number_are_left_out_and_told(record):
    gone = record.margin_tl.copy()
    gone[::2] = np.nan
    found = METRICS["selection_margin"](tally(replace(record, margin_tl=gone)), QUIET)
    rows = np.flatnonzero((record.flag_t != 1) & (np.arange(record.tokens) % 2 == 1))
    assert found.value[0] == pytest.approx(record.margin_tl[rows].astype(float).mean(axis=0), abs=1e-5)
    assert "% of the tokens" in found.warnings[0]


@pytest.mark.slow
def test_real_weights_are_as_sure_as_a_plain_sum_says(gptoss):
    short = gptoss.take(np.arange(20_000))
    short = replace(short, documents=tuple(Document(f"{n}") for n in range(len(short.documents))))
    found = METRICS["first_share"](tally(short, only=["first_share_sums", "assignments", "tokens"]), QUIET)
    weight = short.weight_tlk.astype(float)
    assert found.value[0] == pytest.approx((weight[..., 0] / weight.sum(axis=-1)).mean(axis=0), abs=1e-6)
    assert (found.value > found.null).all()
