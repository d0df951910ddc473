"""A record keeps its rules: what cannot be true cannot be constructed."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from gatescope.routing import Document, Flag, Provenance, RouterRule, RoutingRecord, empty_slot, joined
from gatescope.routing.errors import RecordError

EMPTY = empty_slot(np.uint8)


def rule(layer, experts=4, k=2):
    return RouterRule(
        layer=layer, block=layer + 1, module=f"model.layers.{layer + 1}.mlp", experts=experts, k=k, score="softmax"
    )


def fields(**changes):
    """Three tokens of two documents through two layers; the second layer has only one slot."""
    ids = np.array([[[0, 1], [2, EMPTY]], [[3, 2], [0, EMPTY]], [[1, EMPTY], [1, EMPTY]]], np.uint8)
    weight = np.array([[[0.7, 0.3], [1, 0]], [[0.5, 0.5], [1, 0]], [[0.9, 0], [1, 0]]], np.float16)
    base = {
        "ids_tlk": ids,
        "weight_tlk": weight,
        "token_t": np.array([5, 6, 5], np.int32),
        "document_t": np.array([0, 0, 1], np.int32),
        "position_t": np.array([0, 1, 0], np.int32),
        "flag_t": np.array([Flag.SPECIAL, 0, Flag.GENERATED], np.uint8),
        "documents": (Document("ab"), Document("a", domain="law")),
        "layers": (rule(0), rule(1, experts=3, k=1)),
        "provenance": Provenance(model="m", fingerprint="f", dtype="float32", device="cpu"),
        "pieces": {5: "a", 6: "b"},
    }
    return base | changes


def test_a_record_that_keeps_the_rules_knows_its_sizes():
    record = RoutingRecord(**fields())
    assert (record.tokens, record.slots, record.experts, record.empty) == (3, 2, 4, 255)
    assert record.piece(5) == "a" and record.piece(99) == "<99>"


def test_a_record_cannot_be_written_to():
    record = RoutingRecord(**fields())
    with pytest.raises(ValueError, match="read-only"):
        record.ids_tlk[0, 0, 0] = 3
    with pytest.raises(TypeError):
        record.pieces[5] = "z"


def test_taking_tokens_keeps_every_column_in_step():
    taken = RoutingRecord(**fields()).take(np.array([False, True, True]))
    assert taken.token_t.tolist() == [6, 5]
    assert taken.document_t.tolist() == [0, 1]
    assert taken.ids_tlk[:, 0].tolist() == [[3, 2], [1, EMPTY]]


def test_positions_count_anew_in_what_the_encoder_read_and_only_there():
    positions = {"document_t": np.zeros(3, np.int32), "position_t": np.array([0, 1, 0], np.int32)}
    encoder = np.array([Flag.ENCODER, Flag.ENCODER, 0], np.uint8)
    assert RoutingRecord(**fields(**positions, flag_t=encoder)).tokens == 3
    with pytest.raises(RecordError, match="position_t does not rise at token 2"):
        RoutingRecord(**fields(**positions, flag_t=np.array([Flag.ENCODER, 0, 0], np.uint8)))


def test_places_in_an_image_count_along_its_run():
    flags = np.array([0, 8, 8, 0, 8, 8, 8], np.uint8)
    many = {
        "ids_tlk": np.zeros((7, 1, 1), np.uint8),
        "weight_tlk": np.ones((7, 1, 1), np.float16),
        "token_t": np.zeros(7, np.int32),
        "document_t": np.array([0, 0, 0, 0, 0, 1, 1], np.int32),
        "position_t": np.array([0, 1, 2, 3, 4, 0, 1], np.int32),
        "flag_t": flags,
        "layers": (rule(0, k=1),),
    }
    record = RoutingRecord(**fields(**many))
    assert record.image_places().tolist() == [-1, 0, 1, -1, 0, 0, 1]


def test_a_record_of_no_tokens_is_a_record():
    assert RoutingRecord(**fields()).take(slice(0, 0)).tokens == 0


def test_more_than_255_experts_need_wider_ids():
    with pytest.raises(RecordError, match="uint8 ids for 256 experts"):
        RoutingRecord(**fields(layers=(rule(0, experts=256), rule(1, experts=3, k=1))))


def changed(name, index, value):
    array = fields()[name].copy()
    array[index] = value
    return {name: array}


BROKEN = {
    "an expert that does not exist": (
        changed("ids_tlk", (0, 1, 0), 3),
        r"3 at token 0, layer 1 \(model.layers.2.mlp\)",
    ),
    "an expert twice": (changed("ids_tlk", (0, 0, 1), 0), "at most once per token"),
    "a filled slot after an empty one": (changed("ids_tlk", (2, 0), [EMPTY, 1]), "empty slots after the filled"),
    "a route beyond the layer's k": (changed("ids_tlk", (0, 1, 1), 1), "no route beyond the layer's k=1"),
    "weights that rise": (changed("weight_tlk", (0, 0), [0.3, 0.7]), "decreasing weight"),
    "weight in an empty slot": (changed("weight_tlk", (2, 0, 1), 0.5), "weight 0 in an empty slot"),
    "a weight that is not a number": (changed("weight_tlk", (0, 0, 0), np.nan), "finite weight"),
    "documents out of order": (changed("document_t", (0,), 1), "document_t goes back at token 1"),
    "a document that is not there": (changed("document_t", (2,), 2), "expected: 0…1"),
    "positions that do not rise": (changed("position_t", (1,), 0), "position_t does not rise at token 1"),
    "a column of another length": ({"token_t": np.zeros(2, np.int32)}, r"token_t has shape \(2,\)"),
    "a column of another kind": ({"token_t": np.zeros(3, np.int64)}, "token_t is int64"),
    "no layers": ({"layers": ()}, "0 layers"),
    "layers out of order": ({"layers": (rule(1), rule(0, experts=3, k=1))}, r"layers are numbered \[1, 0\]"),
    "a rejected expert of another kind": ({"rejected_tl": np.zeros((3, 2), np.uint16)}, "rejected_tl is uint16"),
}


@pytest.mark.parametrize(("changes", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_rule_is_refused_by_name(changes, words):
    with pytest.raises(RecordError, match=words):
        RoutingRecord(**fields(**changes))


def test_replacing_a_column_checks_again():
    with pytest.raises(RecordError):
        replace(RoutingRecord(**fields()), token_t=np.zeros(1, np.int32))


def test_a_router_cannot_keep_more_experts_than_it_has():
    with pytest.raises(RecordError, match="k=5 of 4"):
        rule(0, k=5)


def test_a_rule_says_itself_in_words():
    grouped = RouterRule(
        layer=0, block=3, module="m", experts=256, k=8, score="sigmoid", has_selection_bias=True, groups=8,
        groups_kept=4, is_renormalised=True, scale=2.5, shared_experts=1,
    )  # fmt: skip
    assert grouped.sentence == (
        "sigmoid over 256 experts, a balancing bias added for the choice only, the best 4 of 8 groups, "
        "the best 8 kept, their weights made to sum to 1, times 2.5, beside 1 shared expert"
    )


def test_joined_records_keep_every_document_apart():
    first = RoutingRecord(**fields())
    whole = joined([first, first.take(slice(0, 2))])
    assert whole.document_t.tolist() == [0, 0, 1, 2, 2]
    assert whole.token_t.tolist() == [5, 6, 5, 5, 6]
    assert whole.ids_tlk[3:].tolist() == first.ids_tlk[:2].tolist()
    assert len(whole.documents) == 4 and whole.pieces == first.pieces


def test_records_read_one_after_another_are_joined_as_those_at_hand():
    """However many tokens they were said to have; those of several devices name all of them."""
    first = RoutingRecord(**fields())
    made = Provenance(**asdict(first.provenance) | {"device": "cuda:1"})
    parts = [first, replace(first.take(slice(0, 2)), provenance=made), first]
    wanted = joined([replace(part, provenance=first.provenance) for part in parts])
    for said in (1, wanted.tokens, 100):
        whole = joined(iter(parts), tokens=said, any_device=True)
        assert whole.provenance.device == "cpu, cuda:1"
        assert whole.documents == wanted.documents and whole.pieces == wanted.pieces
        for (name, array), (_, other) in zip(whole.arrays(), wanted.arrays(), strict=True):
            assert array.dtype == other.dtype and array.tolist() == other.tolist(), name
    with pytest.raises(RecordError, match="different provenance"):
        joined(parts)


@pytest.mark.parametrize(
    ("others", "found"),
    [
        ({"layers": (rule(0), rule(1, experts=4, k=1))}, "different layers"),
        ({"provenance": Provenance(model="n", fingerprint="f", dtype="float32", device="cpu")}, "different provenance"),
        ({"weight_tlk": None}, "different arrays"),
    ],
)
def test_records_that_do_not_fit_are_not_joined(others, found):
    with pytest.raises(RecordError, match=found):
        joined([RoutingRecord(**fields()), RoutingRecord(**fields(**others))])


def test_nothing_is_not_joined():
    with pytest.raises(RecordError, match="no records"):
        joined([])
