"""Simulated routes are valid, the same whenever they are drawn, and say what they are."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from gatescope.routing.errors import OptionError
from gatescope.simulation import GEOMETRIES, Effects, Geometry, Simulation, Texts
from gatescope.simulation.effects import NONE, SOURCES
from gatescope.simulation.geometry import free_geometry
from gatescope.simulation.texts import piece_of

SMALL = Geometry(name="small", experts=(16, 16, 16), k=4)
TEXTS = Texts(tokens=6000, documents=24, vocabulary=400)


def same(one, other):
    names = [name for name, _ in one.arrays()]
    return names == [name for name, _ in other.arrays()] and all(
        np.array_equal(array, getattr(other, name)) for name, array in one.arrays()
    )


def test_a_seed_gives_the_same_routes_and_another_seed_others():
    one, again, other = (Simulation(SMALL, TEXTS, seed=seed).record(0, 24) for seed in (1, 1, 2))
    assert same(one, again) and one.documents == again.documents
    assert not np.array_equal(one.ids_tlk[:1000], other.ids_tlk[:1000])


def test_documents_are_the_same_however_many_are_drawn_together():
    made = Simulation(SMALL, TEXTS, seed=3)
    whole = made.record(0, 24)
    for number in (0, 7, 23):
        alone = made.record(number, number + 1)
        own = whole.of_documents([number])
        assert same(alone, own) and alone.documents == own.documents


def test_routes_are_these_whatever_the_machine():
    """Written down when the generator was made: whole numbers alone decide them."""
    found = Simulation(SMALL, TEXTS, NONE, seed=0).record(0, 1)
    assert found.ids_tlk[:2, 0].tolist() == [[0, 4, 9, 12], [5, 11, 3, 7]]
    assert found.documents[0].text.startswith(" goba viba baba jeba fiba guba")


def test_tokens_and_documents_are_as_many_as_asked_for_and_blocks_hold_them_all():
    made = Simulation(SMALL, Texts(tokens=12_345, documents=50, vocabulary=400), seed=1)
    blocks = list(made.blocks(2000))
    assert [number for block in blocks for number in block] == list(range(50))
    sizes = [made.record(block.start, block.stop).tokens for block in blocks]
    assert sum(sizes) == 12_345 and max(sizes) <= 2000


@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_shape_gives_valid_records_in_its_groups(name):
    shape = GEOMETRIES[name]
    record = Simulation(shape, Texts(tokens=400, documents=4), seed=1).record(0, 4)  # checks itself when it is made
    assert record.ids_tlk.shape == (400, shape.layers, shape.k) and record.experts == shape.experts[0]
    group_tlk = record.ids_tlk // (shape.experts[0] // shape.groups)
    most = max(len(np.unique(group_k)) for group_k in group_tlk.reshape(-1, shape.k))
    assert most <= shape.groups_kept
    assert np.allclose(record.weight_tlk.sum(axis=2), 1, atol=5e-3)


def test_layers_may_be_of_different_sizes_and_a_token_may_take_all_experts():
    shape = free_geometry(0, [4, 64, 8], 4)
    record = Simulation(shape, TEXTS, Effects(skew=2), seed=1).record(0, 6)
    assert [int(record.ids_tlk[:, layer].max()) + 1 for layer in range(3)] == [4, 64, 8]
    assert (np.sort(record.ids_tlk[:, 0], axis=1) == [0, 1, 2, 3]).all()


def test_texts_are_their_pieces_one_after_another():
    record = Simulation(SMALL, TEXTS, seed=1).record(3, 5)
    for number, document in enumerate(record.documents):
        own_t = record.token_t[record.document_t == number]
        assert document.text == "".join(record.piece(token) for token in own_t)
    assert len({piece_of(token) for token in range(10_000)}) == 10_000


def test_labels_take_turns_and_words_follow_them():
    made = Simulation(SMALL, replace(TEXTS, domains=2, languages=2, common=0.5, topical=0.2), seed=1)
    record = made.record(0, 24)
    assert [(d.domain, d.language) for d in record.documents[:4]] == [
        ("code", "en"), ("law", "en"), ("code", "de"), ("law", "de")
    ]  # fmt: skip
    ranks = made.texts.ranks
    own_t = record.document_t % 4 == 3  # law in German: the second language, its second domain
    list_t = record.token_t[own_t] // ranks
    share = np.bincount(list_t, minlength=7) / own_t.sum()
    assert set(np.flatnonzero(share)) == {0, 2, 6}
    assert share[[0, 2, 6]] == pytest.approx([0.5, 0.3, 0.2], abs=5 * 0.5 / np.sqrt(own_t.sum()))


def test_each_source_fills_its_share_of_the_slots():
    """Up to what falls to load: no token before, no partner yet, all of them taken."""
    made = Simulation(Geometry(name="wide", experts=(256,) * 4, k=8), TEXTS, seed=1)
    source_tlk = made.sourced(0, 24).source_tlk
    found = np.bincount(source_tlk.ravel(), minlength=7) / source_tlk.size
    wanted = dict(made.effects.shares)
    wanted["pairs"] *= 7 / 8
    wanted["transitions"] *= 3 / 4
    for number, name in enumerate(SOURCES[1:], 1):
        assert found[number] == pytest.approx(wanted[name], rel=0.08), name


def test_load_alone_is_a_choice_without_putting_back_by_the_planted_shares():
    """Held against the largest of Gumbel-distributed scores, another way to draw the same (Kool et al. 2019)."""
    made = Simulation(SMALL, Texts(tokens=40_000, documents=50), replace(NONE, skew=1.0), seed=5)
    ids_tlk = made.record(0, 50).ids_tlk
    generator = np.random.default_rng(0)
    for layer, share_e in enumerate(made.planted.loads.share_le):
        score_te = np.log(share_e) + generator.gumbel(size=(40_000, 16))
        gumbel_tk = np.argsort(-score_te, axis=1)[:, :4]
        for slot in range(4):
            one, other = (np.bincount(k_t[:, slot], minlength=16) for k_t in (ids_tlk[:, layer], gumbel_tk))
            assert (((one - other) ** 2 / (one + other)).sum()) < 15 + 5 * np.sqrt(30)


def test_the_spread_of_loads_is_what_was_asked_for():
    for skew in (0.0, 0.3, 1.0):
        share_le = Simulation(SMALL, TEXTS, replace(NONE, skew=skew)).planted.loads.share_le
        assert np.log(share_le).std(axis=1) == pytest.approx(skew, abs=1e-9)
        assert share_le.sum(axis=1) == pytest.approx(1)


def test_memory_does_not_grow_with_the_number_of_tokens():
    def peak(tokens):
        made = Simulation(SMALL, Texts(tokens=tokens, documents=tokens // 250, vocabulary=400), seed=1)
        made.record(0, 2)
        tracemalloc.start()
        for block in made.blocks(20_000):
            made.record(block.start, block.stop)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(300_000) < 1.2 * peak(60_000)


def test_it_says_that_no_model_made_it():
    made = Simulation(SMALL, TEXTS, seed=1).provenance
    assert made.is_simulated and made.model == "simulated small" and made.fingerprint.startswith("simulated-")
    other = Simulation(SMALL, TEXTS, seed=2).provenance
    assert other.fingerprint != made.fingerprint


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: free_geometry(2, [8], 9), "k = 9 of 8 experts"),
        (lambda: free_geometry(2, [8], 0), "k = 0 of 8 experts"),
        (lambda: free_geometry(0, [8], 2), "0 layers"),
        (lambda: free_geometry(3, [8, 16], 2), "--layers 3 and 2 numbers of experts"),
        (lambda: free_geometry(2, [70_000], 2), "70,000 experts"),
        (lambda: free_geometry(2, [10], 2, groups=4), "4 groups of 10 experts"),
        (lambda: free_geometry(2, [16], 2, groups=4, groups_kept=5), "5 of 4 groups"),
        (lambda: free_geometry(2, [16], 8, groups=4, groups_kept=1), "k = 8 from 1 groups that hold 4 experts"),
        (lambda: Texts(tokens=10, documents=6), "6 documents"),
        (lambda: Texts(tokens=1000, vocabulary=10), "10 words"),
        (lambda: Texts(tokens=10**6, documents=2), "documents of 500,000 tokens"),
        (lambda: Effects(words=0.6, domains=0.6), "effects that fill 1.600"),
        (lambda: Effects(pairs=-0.1), "an effect of pairs of -0.1"),
        (lambda: Effects(skew=float("nan")), "an effect of skew of nan"),
    ],
)
def test_what_cannot_be_is_refused_with_what_was_found(make, found):
    with pytest.raises(OptionError) as caught:
        make()
    assert found in caught.value.found


def test_one_expert_and_thousands_of_them_are_drawn():
    one = Simulation(free_geometry(2, [1], 1), TEXTS, seed=1).record(0, 2)
    assert not one.ids_tlk.any()
    many = Simulation(free_geometry(2, [4096], 8, groups=8, groups_kept=4), TEXTS, seed=1).record(0, 24)
    assert len(np.unique(many.ids_tlk[:, 0])) > 4000
