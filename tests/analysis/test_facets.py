"""Kinds and places of tokens: by plain loops, by hand, and on simulated routers that know nothing of them."""

import numpy as np
import pytest

from gatescope.analysis.counting import tally as tally_of
from gatescope.analysis.metrics import METRICS, MetricOptions
from gatescope.analysis.metrics.facets import PLACES, noise, total_variation
from gatescope.analysis.tally.tally import TokenRole
from gatescope.routing import Flag
from tests.analysis.conftest import make_record

PROMPT, POSITION = METRICS["prompt_against_generated"], METRICS["position_distance"]
QUIET = MetricOptions(resamples=0)


def tally(record):
    return tally_of(record, only=["tokens", "assignments", "place_loads"])


def simulated(seed, *, documents=30, length=300, experts=8, k=2, favour=None):
    """Texts whose first half was read and second half written; experts even, but for those that `favour` moves."""
    generator = np.random.default_rng(seed)
    position_t = np.tile(np.arange(length), documents)
    ids = np.argsort(generator.random((documents * length, 1, experts)), axis=-1)[..., :k]
    flag_t = np.where(position_t >= length // 2, Flag.GENERATED, 0).astype(np.uint8)
    flag_t[position_t == 5] = Flag.SPECIAL
    if favour is not None:
        ids[favour(position_t)] = np.arange(k)
    return make_record(
        ids,
        experts=experts,
        documents=np.repeat(np.arange(documents), length),
        position_t=position_t.astype(np.int32),
        flag_t=flag_t,
    )


def profile(record, rows):
    counts = np.bincount(record.ids_tlk[rows, 0].ravel(), minlength=record.experts)
    return counts / counts.sum()


def distance(record, rows, others):
    return np.abs(profile(record, rows) - profile(record, others)).sum() / 2


def test_prompt_and_generated_agree_with_plain_counts():
    record = simulated(0, favour=lambda position: position > 200)
    found = PROMPT(tally(record), MetricOptions(resamples=200))
    expected = distance(record, record.flag_t == 0, record.flag_t == Flag.GENERATED)
    assert found.value == pytest.approx([expected]) and found.low < expected < found.high
    assert found.null[0] < 0.02 < 0.3 < found.low[0] and found.tokens == 30 * 299


def test_positions_agree_with_plain_counts_and_special_tokens_are_apart():
    record = simulated(1, favour=lambda position: position == 0)
    found = POSITION(tally(record), MetricOptions(resamples=50))
    plain = record.flag_t != Flag.SPECIAL
    bounds = [0, 1, 4, 16, 64, 256, 10**9]
    for place in range(6):
        is_here = plain & (record.position_t >= bounds[place]) & (record.position_t < bounds[place + 1])
        assert found.value[0, place] == pytest.approx(distance(record, is_here, plain & ~is_here))
    assert found.value[0, 6] == pytest.approx(distance(record, ~plain, plain))
    assert found.labels["b"] == PLACES and found.tokens == 30 * 300 and found.warnings == ()
    assert found.low[0, 0] > 0.7 and found.value[0, 0] > 5 * found.null[0, 0]


def test_noise_is_what_even_routers_show():
    prompt, places = [], []
    for seed in range(60):
        found = tally(simulated(seed, documents=6))
        prompt.append((PROMPT(found, QUIET).value, PROMPT(found, QUIET).null))
        places.append((POSITION(found, QUIET).value[0], POSITION(found, QUIET).null[0]))
    assert np.mean(prompt, axis=0)[0] == pytest.approx(np.mean(prompt, axis=0)[1], rel=0.1)
    value_b, null_b = np.mean(places, axis=0)
    np.testing.assert_allclose(value_b, null_b, rtol=0.15)


def test_an_interval_of_no_difference_is_near_its_noise():
    found = PROMPT(tally(simulated(2)), MetricOptions(resamples=400))
    assert found.low[0] < 0.02 and found.high[0] < 4 * found.null[0]


def test_noise_by_hand():
    """One expert of two for each of 100 and 100 tokens: deviation of a share 0.5 / 10, of the difference 0.0707."""
    counts = np.array([50, 50])
    assert noise(counts, counts, np.array(1)) == pytest.approx(np.sqrt(2 / np.pi) * np.sqrt(0.005))
    assert total_variation(np.array([1, 0]), np.array([0, 7])) == 1


def test_what_is_not_there_is_undefined_and_says_so():
    record = simulated(3, documents=3, length=20)
    plain = make_record(record.ids_tlk, experts=8, documents=record.document_t, position_t=record.position_t)
    found = PROMPT(tally(plain), MetricOptions(resamples=20))
    assert np.isnan(found.value).all() and "no generated ones" in found.warnings[0]
    places = POSITION(tally(plain), MetricOptions(resamples=20, facets=(TokenRole.PROMPT,)))
    assert np.isfinite(places.value[0, :4]).all() and np.isnan(places.value[0, 4:]).all()
    assert "64–255, 256+, special tokens" in places.warnings[0] and "whatever facets" in places.warnings[1]


def test_what_an_encoder_read_is_no_place_in_the_document():
    flag = np.full(8, Flag.ENCODER, np.uint8)
    flag[4:] = 0
    ids = np.array([0, 0, 0, 0, 1, 2, 2, 2])[:, None, None]
    position = np.tile(np.arange(4), 2).astype(np.int32)
    found = tally(make_record(ids, experts=3, flag_t=flag, position_t=position)).table("place_loads")
    assert found[0, :, 0].tolist() == [[0, 1, 0], [0, 0, 3]] + [[0, 0, 0]] * 5
