"""Agreement of captures: by hand, against sets, chance levels, coverage of the interval."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.analysis.comparison.saturation import agreement, agreement_by_label, saturation
from gatescope.routing import EMPTY8, EMPTY16
from gatescope.routing.errors import OptionError


def even(generator, tokens, experts, k, layers=1):
    """Independent even routes."""
    return np.argsort(generator.random((tokens, layers, experts)), axis=2)[:, :, :k]


def test_shares_by_hand_layer_by_layer(records):
    first = records([[[0, 1], [2, 3]], [[0, 1], [2, 3]]], experts=4)
    second = records([[[1, 0], [2, 0]], [[2, 3], [3, 1]]], experts=4)
    layers = agreement(first, second)
    assert [layer.share for layer in layers] == [0.5, 0.5]
    assert [layer.same_set for layer in layers] == [0.5, 0.0]
    assert [layer.uniform for layer in layers] == [0.5, 0.5]
    assert [layer.load_matched for layer in layers] == [(1 * 0.5 + 1 * 0.5) / 2, (1 * 0.5 + 1 * 0.5) / 2]
    assert [(layer.documents, layer.tokens) for layer in layers] == [(1, 2), (1, 2)]
    assert np.isnan([[layer.low, layer.high] for layer in layers]).all()


ROUTES = st.lists(st.integers(0, 5), unique=True, max_size=3)


@settings(max_examples=80)
@given(tokens=st.lists(st.tuples(st.integers(0, 2), ROUTES, ROUTES), min_size=1, max_size=20))
def test_agrees_with_sets(records, tokens):
    tokens.sort(key=lambda token: token[0])
    options = {"experts": 6, "documents": [token[0] for token in tokens]}
    first, second = (
        records([[[*token[n], EMPTY8, EMPTY8, EMPTY8][:3]] for token in tokens], **options) for n in (1, 2)
    )
    layer = agreement(first, second, resamples=20)[0]
    compared = [(set(one), set(two), document) for document, one, two in tokens if one or two]
    shares = [len(one & two) / max(len(one), len(two)) for one, two, _ in compared] or [np.nan]
    same = [one == two for one, two, _ in compared] or [np.nan]
    assert layer.tokens == len(compared) and layer.documents == len({document for *_, document in compared})
    assert [layer.share, layer.same_set] == pytest.approx([np.mean(shares), np.mean(same)], nan_ok=True)
    np.testing.assert_allclose(agreement(second, first, resamples=20)[0], layer)


@pytest.mark.parametrize(("experts", "k"), [(64, 8), (32, 4), (8, 1)])
def test_independent_even_routes_agree_by_chance(records, experts, k):
    generator = np.random.default_rng(0)
    first, second = (records(even(generator, 6000, experts, k), experts=experts) for _ in range(2))
    layer = agreement(first, second)[0]
    assert layer.uniform == k / experts
    assert layer.share == pytest.approx(k / experts, abs=0.012)
    assert layer.load_matched == pytest.approx(k / experts, rel=0.02)


def test_independent_lopsided_routes_agree_as_often_as_their_loads_say(records):
    generator = np.random.default_rng(1)
    lean_e = np.linspace(0, 3, 16)
    first, second = (
        records(np.argsort(-lean_e - generator.gumbel(size=(8000, 1, 16)), axis=2)[:, :, :4], experts=16)
        for _ in range(2)
    )
    layer = agreement(first, second)[0]
    assert layer.share > 1.4 * layer.uniform
    assert layer.share == pytest.approx(layer.load_matched, abs=0.01)


def test_a_series_reaches_one_at_its_end(records):
    generator = np.random.default_rng(2)
    last = even(generator, 300, 16, 4, layers=2)
    documents = np.arange(300) // 30
    kept = [records(np.where(generator.random((300, 1, 1)) < part, last, 15 - last), experts=16, documents=documents)
            for part in (0.2, 0.6, 0.9)]  # fmt: skip
    rows = saturation([*kept, records(last, experts=16, documents=documents)])
    shares = [[layer.share for layer in row] for row in rows]
    assert np.diff(shares, axis=0).min() > 0
    assert rows[-1][0][:4] == rows[-1][1][:4] == (1.0, 1.0, 1.0, 1.0)
    assert all(layer.low <= layer.share <= layer.high for row in rows for layer in row)
    assert rows[1] == agreement(kept[1], records(last, experts=16, documents=documents))


def test_a_capture_with_empty_slots_agrees_with_itself(records):
    record = records([[[0, 1]], [[2, EMPTY8]], [[EMPTY8, EMPTY8]]], experts=3)
    layer = agreement(record, record)[0]
    assert (layer.share, layer.same_set, layer.tokens) == (1.0, 1.0, 2)
    wide = records([[[0, 1]], [[2, EMPTY16]], [[EMPTY16, EMPTY16]]], experts=3, kind=np.uint16)
    np.testing.assert_array_equal(agreement(record, wide), agreement(record, record))


def test_a_route_that_one_capture_drops_counts_as_no_agreement(records):
    full, dropped = records([[[0, 1]], [[0, 1]]], experts=3), records([[[0, 1]], [[EMPTY8, EMPTY8]]], experts=3)
    assert agreement(full, dropped)[0].share == 0.5
    assert agreement(full, dropped)[0].tokens == 2


def test_a_layer_without_routes_is_undefined_and_the_others_are_not(records):
    record = records([[[EMPTY8, EMPTY8], [0, 1]]] * 4, experts=4, documents=[0, 0, 1, 1])
    silent, told = agreement(record, record)
    assert np.isnan([silent.share, silent.low, silent.same_set, silent.load_matched]).all() and silent.documents == 0
    assert (told.share, told.low, told.high) == (1.0, 1.0, 1.0)


def test_no_tokens_are_undefined_not_an_error(records):
    record = records(np.zeros((0, 1, 2)), experts=4)
    layer = agreement(record, record)[0]
    assert np.isnan(layer.share) and layer.tokens == 0 and layer.uniform == 0.5


def test_intervals_hold_the_truth_as_often_as_they_say_when_tokens_of_a_document_are_alike(records):
    """Each document keeps its own part of the routes: with tokens as the unit, the interval would be far too narrow."""
    hits, widths = 0, []
    for seed in range(100):
        generator = np.random.default_rng(seed)
        documents = np.repeat(np.arange(40), 25)
        keeps_t = generator.random(1000) < generator.beta(2, 2, size=40)[documents]
        first_tlk = np.zeros((1000, 1, 1), int)
        second_tlk = np.where(keeps_t[:, None, None], 0, 1)
        pair = [records(ids_tlk, experts=2, documents=documents) for ids_tlk in (first_tlk, second_tlk)]
        layer = agreement(*pair, resamples=400, seed=seed)[0]
        hits += layer.low <= 0.5 <= layer.high
        widths.append(layer.high - layer.low)
    assert 87 <= hits <= 99
    sd_of_mean = np.sqrt((0.05 + (0.25 - 0.05) / 25) / 40)  # beta(2, 2) varies by 1/20
    assert np.mean(widths) == pytest.approx(2 * 1.96 * sd_of_mean, rel=0.1)


def test_the_same_seed_gives_the_same_interval_and_chunks_do_not_show(records, monkeypatch):
    generator = np.random.default_rng(3)
    documents = np.arange(200) // 10
    pair = [records(even(generator, 200, 8, 2), experts=8, documents=documents) for _ in range(2)]
    whole = agreement(*pair, resamples=50, seed=1)
    assert whole != agreement(*pair, resamples=50, seed=2)
    monkeypatch.setattr("gatescope.analysis.comparison.saturation._CHUNK_CELLS", 1)
    assert agreement(*pair, resamples=50, seed=1) == whole


def test_labels_are_compared_apart(records):
    ids_tlk = np.zeros((8, 1, 1), int)
    other_tlk = ids_tlk.copy()
    other_tlk[4:] = 1
    documents = np.arange(8) // 2
    first, second = records(ids_tlk, experts=2, documents=documents), records(other_tlk, experts=2, documents=documents)
    by_label = agreement_by_label(first, second, np.array([5, -1, 7, 7]))
    assert {label: layers[0].share for label, layers in by_label.items()} == {5: 1.0, 7: 0.0}
    assert [layers[0].load_matched for layers in by_label.values()] == [1.0, 0.0]
    assert [layers[0].documents for layers in by_label.values()] == [1, 2]
    chosen = agreement(first, second, chosen_d=np.array([False, False, True, True]))
    assert chosen == by_label[7]


def test_real_routes_agree_with_themselves_and_less_with_their_neighbours(gptoss):
    """A capture against its copy shifted by one token: far above even chance, for neighbours are alike."""
    whole = gptoss.take(slice(0, 20_000))
    shifted = replace(whole, ids_tlk=np.roll(whole.ids_tlk, 1, axis=0), weight_tlk=None)
    assert [layer.share for layer in agreement(whole, whole, resamples=20)] == [1.0] * 24
    layers = agreement(whole, shifted, resamples=20)
    assert all(layer.share > layer.uniform == 0.125 for layer in layers)
    assert all(layer.low < layer.share < layer.high and layer.high - layer.low < 0.05 for layer in layers)


def test_captures_of_different_tokens_or_models_are_refused(records):
    ids_tlk = [[[0, 1]], [[1, 2]], [[2, 0]]]
    record = records(ids_tlk, experts=3, documents=[0, 0, 1])
    others = {
        "3 and 2 tokens": records(ids_tlk[:2], experts=3, documents=[0, 1]),
        "2 and 1 documents": records(ids_tlk, experts=3),
        "token_t 1 and 9 at token 1": records(
            ids_tlk, experts=3, documents=[0, 0, 1], token_t=np.array([0, 9, 2], np.int32)
        ),
        "document_t 0 and 1 at token 1": records(ids_tlk, experts=3, documents=[0, 1, 1]),
        "1 and 2 layers": records(np.repeat(ids_tlk, 2, axis=1), experts=3, documents=[0, 0, 1]),
        "2 of 3 and 2 of 4 experts in layer 0": records(ids_tlk, experts=4, documents=[0, 0, 1]),
        "2 of 3 and 1 of 3 experts in layer 0": records(np.array(ids_tlk)[:, :, :1], experts=3, documents=[0, 0, 1]),
    }
    for complaint, other in others.items():
        with pytest.raises(OptionError, match=complaint):
            agreement(record, other)
    with pytest.raises(OptionError, match="token_t 9 and 1"):
        saturation([others["token_t 1 and 9 at token 1"], record])


def test_options_that_do_not_fit_are_named(records):
    record = records([[[0]], [[1]]], experts=2)
    with pytest.raises(OptionError, match="0 resamples"):
        agreement(record, record, resamples=0)
    with pytest.raises(OptionError, match=r"int64 choice of shape \(1,\) for 1 documents"):
        agreement(record, record, chosen_d=np.array([0]))
    with pytest.raises(OptionError, match="for 1 documents"):
        agreement_by_label(record, record, np.array([0, 1]))
    with pytest.raises(OptionError, match="no capture"):
        saturation([])
