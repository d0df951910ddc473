"""What anyone wrote in the plain form comes back: through .npz and through Parquet, whole, in part, and in order."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatescope.cache.importers import read_trace
from gatescope.cache.importers.importer import Given
from gatescope.cache.importers.reading import rows
from gatescope.routing import Flag
from gatescope.routing.errors import OptionError, TraceError
from gatescope.routing.joined import joined

DOCUMENTS = [("one", "law", "en"), ("two", "", "de"), ("three", "code", "")]
FULL = {
    "ids": np.array([[[3, 1], [0, 7]], [[2, 0], [5, 4]], [[1, 6], [7, 2]], [[4, 5], [6, 1]]]),
    "weights": np.array([[[0.25, 0.75], [0.5, 0.5]], [[1, 0.5], [2, 1]], [[3, 1], [1, 2]], [[1, 1], [4, 3]]], "f4"),
    "token": np.array([5, 9, 5, 7]),
    "piece": np.array([" a", "b", " a", ""]),
    "document": np.array([0, 0, 1, 2]),
    "position": np.array([0, 3, 7, 1]),
    "flags": np.array([1, 0, 4, 0]),
}
LABELS = {name: np.array([row[at] for row in DOCUMENTS]) for at, name in enumerate(["id", "domain", "language"])}
LABELLED = {f"document_{name}": values for name, values in LABELS.items()}
LAYERS = {"layer_experts": 8, "layer_block": [3, 4]}


def save_npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def save_parquet(path, arrays, said=None, *, kind="fixed"):
    """The arrays of the plain form as a table, lists of one of three Arrow types."""
    columns = {}
    for name in ("ids", "weights", "logits"):
        for layer, part in enumerate(np.moveaxis(arrays[name], 1, 0) if name in arrays else ()):
            if kind == "fixed":
                column = pa.FixedSizeListArray.from_arrays(part.ravel(), part.shape[1])
            else:
                of = pa.from_numpy_dtype(part.dtype)
                column = pa.array(part.tolist(), pa.list_(of) if kind == "list" else pa.large_list(of))
            columns[f"{name}_layer{layer + 3}"] = column
    columns |= {name: arrays[name] for name in ("token", "piece", "document", "position", "flags") if name in arrays}
    for name in LABELS if "document" in arrays else ():
        columns[f"document_{name}"] = LABELS[name][arrays["document"]]
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata({"trace": json.dumps(said)} if said else None), path)
    return path


@pytest.fixture(params=["npz", "fixed", "list", "large"])
def full(request, tmp_path):
    """The same four tokens in each container."""
    if request.param == "npz":
        return save_npz(tmp_path / "full.npz", **FULL, **LABELLED, **LAYERS)
    return save_parquet(tmp_path / "full.parquet", FULL, {"layer_experts": 8}, kind=request.param)


def test_a_full_trace_says_everything(full, imported):
    record, report = imported(full).record, imported(full).report
    assert record.ids_tlk.tolist() == [[[1, 3], [0, 7]], [[2, 0], [5, 4]], [[1, 6], [2, 7]], [[4, 5], [6, 1]]]
    weights = [[[0.75, 0.25], [0.5, 0.5]], [[1, 0.5], [2, 1]], [[3, 1], [2, 1]], [[1, 1], [4, 3]]]
    assert record.weight_tlk.tolist() == weights and record.weight_tlk.dtype == np.float16
    assert (record.token_t.tolist(), record.document_t.tolist()) == ([5, 9, 5, 7], [0, 0, 1, 2])
    assert (record.position_t.tolist(), record.flag_t.tolist()) == ([0, 3, 7, 1], [Flag.SPECIAL, 0, Flag.GENERATED, 0])
    assert dict(record.pieces) == {5: " a", 9: "b", 7: ""}
    assert [(each.id, each.domain, each.language) for each in record.documents] == DOCUMENTS
    assert [(rule.block, rule.experts, rule.k, rule.score) for rule in record.layers] == [
        (3, 8, 2, "unknown"),
        (4, 8, 2, "unknown"),
    ]
    assert (report.documents, report.tokens, report.left_out) == (3, 4, {})
    assert record.provenance.engine == "plain" and record.provenance.fingerprint.startswith("trace-")


def test_what_is_absent_is_said_and_never_zero(tmp_path, imported, rules):
    got = imported(save_npz(tmp_path / "ids.npz", ids=FULL["ids"]), layers=rules(3, 4), model="mine", fingerprint="ab")
    record = got.record
    assert record.weight_tlk is None and record.logit_tle is None
    assert record.ids_tlk.tolist() == FULL["ids"].tolist(), "as written: nothing says in which order they are"
    assert record.token_t.tolist() == [-1] * 4 and record.position_t.tolist() == [0, 1, 2, 3]
    assert len(record.documents) == 1 and record.layers == rules(3, 4)
    assert (record.provenance.model, record.provenance.fingerprint) == ("mine", "ab")
    said = " ".join(got.report.missing)
    assert all(word in said for word in ("weights", "ids of tokens", "documents", "positions", "flags", "domains"))


def test_the_fingerprint_of_an_unknown_model_is_of_the_file(tmp_path, imported):
    one = save_npz(tmp_path / "one.npz", ids=FULL["ids"], layer_experts=8)
    other = save_npz(tmp_path / "other.npz", ids=FULL["ids"][::-1], layer_experts=8)
    prints = [imported(path).record.provenance.fingerprint for path in (one, other, one)]
    assert prints[0] == prints[2] != prints[1]


def test_a_trace_that_does_not_say_how_many_experts_is_not_guessed_at(tmp_path, imported):
    path = save_npz(tmp_path / "ids.npz", ids=FULL["ids"])
    with pytest.raises(TraceError, match="how many experts") as caught:
        imported(path)
    assert "model" in caught.value.do
    assert imported(path, experts=64).record.layers[0].experts == 64


def test_scores_say_how_many_experts_there_are_and_are_kept(tmp_path, imported):
    logits = np.arange(64, dtype="f4").reshape(4, 2, 8)
    record = imported(save_npz(tmp_path / "a.npz", ids=FULL["ids"], logits=logits)).record
    assert record.experts == 8 and record.logit_tle.tolist() == logits.tolist()
    same = imported(save_parquet(tmp_path / "a.parquet", {"ids": FULL["ids"], "logits": logits})).record
    assert same.logit_tle.tolist() == logits.tolist()


def test_texts_without_ids_are_numbered_alike_all_through(tmp_path, imported, monkeypatch):
    monkeypatch.setattr(rows, "CELLS", 4)
    pieces = np.array(["x", "y", "x", "z", "y", "x", "x"])
    got = imported(save_npz(tmp_path / "a.npz", ids=FULL["ids"][[0] * 7], piece=pieces, layer_experts=8))
    assert len(got.records) == 7
    assert [record.piece(record.token_t[0]) for record in got.records] == pieces.tolist()
    assert any("token ids proper" in line for line in got.report.missing)


@pytest.mark.parametrize("container", ["npz", "parquet"])
@pytest.mark.parametrize("cells", [4, 12, 100])
def test_parts_of_any_size_are_the_same_trace(tmp_path, imported, routes, monkeypatch, container, cells):
    """Positions count on over parts, documents keep their labels, and a document cut in two counts once."""
    arrays = {"ids": routes(23, 2, 8, 2), "document": np.repeat([0, 1, 2], [9, 1, 13])}
    if container == "npz":
        path = save_npz(tmp_path / "a.npz", **arrays, **LABELLED, layer_experts=8)
    else:
        path = save_parquet(tmp_path / "a.parquet", arrays, {"layer_experts": 8})
    monkeypatch.setattr(rows, "CELLS", cells)
    got = imported(path)
    assert max(record.tokens for record in got.records) == min(23, cells // 4)
    assert (got.report.documents, got.report.tokens) == (3, 23)
    whole = joined(got.records)
    assert whole.ids_tlk.tolist() == arrays["ids"].tolist()
    assert whole.position_t.tolist() == [*range(9), 0, *range(13)]
    domains = [whole.documents[number].domain for number in whole.document_t]
    assert domains == ["law"] * 9 + [""] + ["code"] * 13


@pytest.mark.parametrize("container", ["npz", "parquet"])
def test_documents_may_have_names(tmp_path, imported, container):
    names = np.array(["b", "b", "a", "c"])
    if container == "npz":
        path = save_npz(tmp_path / "a.npz", ids=FULL["ids"], document=names, layer_experts=8)
    else:
        table = pa.table({"ids_layer0": pa.array(FULL["ids"][:, 0].tolist()), "document": names})
        path = tmp_path / "a.parquet"
        pq.write_table(table, path)
    record = imported(path, experts=8).record
    assert [each.id for each in record.documents] == ["b", "a", "c"] and record.document_t.tolist() == [0, 0, 1, 2]


def test_named_documents_may_have_labels_in_the_order_of_their_names(tmp_path, imported):
    path = save_npz(tmp_path / "a.npz", **FULL | {"document": np.array(["b", "b", "a", "c"])}, layer_experts=8,
                    document_domain=np.array(["law", "", "code"]))  # fmt: skip
    said = [(each.id, each.domain) for each in imported(path).record.documents]
    assert said == [("b", "law"), ("a", ""), ("c", "code")]


def test_documents_beyond_the_labels_are_refused(tmp_path, imported):
    path = save_npz(tmp_path / "a.npz", **FULL, document_domain=np.array(["law", "code"]), layer_experts=8)
    with pytest.raises(TraceError, match="labels of 2 documents"):
        imported(path)


def test_what_an_encoder_read_counts_its_positions_by_itself(tmp_path, imported):
    path = save_npz(tmp_path / "a.npz", ids=FULL["ids"], flags=[16, 16, 0, 0], position=[0, 1, 0, 1], layer_experts=8)
    assert imported(path).record.position_t.tolist() == [0, 1, 0, 1]
    back = save_npz(tmp_path / "b.npz", ids=FULL["ids"], flags=[0, 0, 16, 16], position=[0, 1, 0, 1], layer_experts=8)
    with pytest.raises(TraceError, match="row 2: a place that does not rise"):
        imported(back)


def test_empty_slots_come_last_and_short_lists_are_filled(tmp_path, imported):
    ids = [[[-1, 3, -1], [2, 1, 0]], [[-1, -1, -1], [5, 4, -1]]]
    weights = [[[9, 0.5, 9], [1, 2, 3]], [[0, 0, 0], [1, 2, 7]]]
    record = imported(save_npz(tmp_path / "a.npz", ids=ids, weights=weights, layer_experts=8)).record
    assert record.ids_tlk.tolist() == [[[3, 255, 255], [0, 1, 2]], [[255, 255, 255], [4, 5, 255]]]
    assert record.weight_tlk.tolist() == [[[0.5, 0, 0], [3, 2, 1]], [[0, 0, 0], [2, 1, 0]]]
    table = pa.table({"ids_layer0": [[3, 1], [2], []], "weights_layer0": [[1.0, 2.0], [1.0], []]})
    pq.write_table(table, tmp_path / "b.parquet")
    record = imported(tmp_path / "b.parquet", experts=8).record
    assert record.ids_tlk[:, 0].tolist() == [[1, 3], [2, 255], [255, 255]]
    assert record.weight_tlk[:, 0].tolist() == [[2, 1], [1, 0], [0, 0]]


def test_more_than_255_experts_take_two_bytes(tmp_path, imported):
    ids = np.array([[[255, 300]]], np.uint16)
    for experts, width in ((301, np.uint16), (65_535, np.uint16)):
        record = imported(save_npz(tmp_path / "a.npz", ids=ids, layer_experts=experts)).record
        assert record.ids_tlk.dtype == width and record.ids_tlk.tolist() == ids.tolist()
    with pytest.raises(TraceError, match="65536"):
        imported(save_npz(tmp_path / "a.npz", ids=ids, layer_experts=65_536))


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16, np.uint64, ">i4"])
@pytest.mark.parametrize("weight", [np.float16, np.float64, ">f4", np.uint8])
def test_ids_and_weights_of_any_type(tmp_path, imported, kind, weight):
    ids, weights = FULL["ids"].astype(kind), np.broadcast_to([2, 1], (4, 2, 2)).astype(weight)
    record = imported(save_npz(tmp_path / "a.npz", ids=ids, weights=weights, layer_experts=8)).record
    assert record.ids_tlk.tolist() == FULL["ids"].tolist() and record.weight_tlk.tolist() == weights.tolist()


def test_what_is_said_of_the_rules_is_kept(tmp_path, imported):
    said = {
        "layer_score": "sigmoid",
        "layer_is_renormalised": True,
        "layer_scale": 2.5,
        "layer_groups": [4, 2],
        "layer_module": ["a", "b"],
        "layer_experts": 8,
    }
    about = {"model": "run 7", "engine": "my trainer", "dtype": "bfloat16"}
    records = [imported(save_npz(tmp_path / "a.npz", ids=FULL["ids"], **said, **about)).record]
    records.append(imported(save_parquet(tmp_path / "a.parquet", {"ids": FULL["ids"]}, said | about)).record)
    for record in records:
        first, second = record.layers
        assert (first.score, first.is_renormalised, first.scale, first.groups, first.module) == (
            "sigmoid", True, 2.5, 4, "a",
        )  # fmt: skip
        assert (second.groups, second.module) == (2, "b")
        made = record.provenance
        assert (made.model, made.engine, made.dtype) == ("run 7", "my trainer", "bfloat16")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"ids": FULL["ids"][:, :1]}, "1 MoE layers"),
        ({"ids": FULL["ids"][..., :1]}, "1 experts for each token"),
        ({"layer_experts": 16}, "experts = 16"),
        ({"layer_block": [0, 1]}, "block = 0"),
        ({"layer_k": [2, 1]}, "k = 1"),
    ],
)
def test_a_trace_of_another_model_is_refused(tmp_path, imported, rules, change, found):
    path = save_npz(tmp_path / "a.npz", **({"ids": FULL["ids"]} | change))
    with pytest.raises(TraceError, match=found) as caught:
        imported(path, layers=rules(3, 4), model="tiny")
    assert str(path) in caught.value.found and "tiny" in caught.value.expected


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "8", [8, 8, 8], [8, 0]])
def test_numbers_of_layers_that_make_no_sense_are_named(tmp_path, imported, wrong):
    with pytest.raises(TraceError, match="layer_experts"):
        imported(save_npz(tmp_path / "a.npz", ids=FULL["ids"], layer_experts=wrong))


@pytest.mark.parametrize(("name", "wrong"), [("score", "softmix"), ("scale", "2"), ("groups", 1.5), ("stack", "lower")])
def test_words_of_layers_that_nobody_knows_are_named(tmp_path, imported, name, wrong):
    with pytest.raises(TraceError, match=f"layer_{name}"):
        imported(save_npz(tmp_path / "a.npz", ids=FULL["ids"], layer_experts=8, **{f"layer_{name}": wrong}))


def spoilt(name, row, value):
    """The full trace with one cell changed."""
    arrays = {key: array.copy() for key, array in FULL.items()}
    place = (row, 1, 0) if arrays[name].ndim == 3 else row
    arrays[name][place] = value
    return arrays


FAULTS = [
    (spoilt("ids", 2, -2), 2, "no expert"),
    (spoilt("ids", 2, 8), 2, "no expert"),
    (spoilt("ids", 2, 2**40), 2, "no expert"),
    (spoilt("ids", 1, 4), 1, "twice"),
    (spoilt("weights", 3, np.nan), 3, "weight"),
    (spoilt("weights", 3, np.inf), 3, "weight"),
    (spoilt("weights", 3, 1e5), 3, "weight"),
    (spoilt("position", 1, 0), 1, "rise"),
    (spoilt("position", 2, -1), 2, "position"),
    (spoilt("document", 3, 0), 3, "rise"),
    (spoilt("token", 0, 2**31), 0, "token"),
    (spoilt("flags", 1, 256), 1, "flag"),
]


@pytest.mark.parametrize("container", ["npz", "parquet"])
@pytest.mark.parametrize(("arrays", "row", "reason"), FAULTS, ids=range(len(FAULTS)))
def test_a_bad_row_is_stopped_at_or_counted_where_it_stands(tmp_path, imported, container, arrays, row, reason):
    if container == "npz":
        path = save_npz(tmp_path / "a.npz", **arrays, layer_experts=8)
    else:
        path = save_parquet(tmp_path / "a.parquet", arrays, {"layer_experts": 8})
    with pytest.raises(TraceError, match=rf"row {row}: .*{reason}"):
        imported(path)
    got = imported(path, on_fault="skip")
    (said,) = got.report.left_out
    assert reason in said and got.report.left_out[said] == 1
    assert got.report.where[said] == [f"{path}, row {row}"]
    kept = [each for each in range(4) if each != row]
    assert got.record.token_t.tolist() == FULL["token"][kept].tolist() and got.report.tokens == 3


@pytest.mark.parametrize("container", ["npz", "parquet"])
def test_a_bad_row_of_a_later_part_is_named_by_its_place_in_the_file(tmp_path, imported, monkeypatch, container):
    monkeypatch.setattr(rows, "CELLS", 4)
    arrays = spoilt("ids", 2, 99)
    if container == "npz":
        path = save_npz(tmp_path / "a.npz", **arrays, layer_experts=8)
    else:
        path = save_parquet(tmp_path / "a.parquet", arrays, {"layer_experts": 8})
    with pytest.raises(TraceError, match="row 2: an id"):
        imported(path)


def test_a_trace_of_nothing_but_bad_rows_is_empty_and_says_so(tmp_path, imported):
    got = imported(save_npz(tmp_path / "a.npz", ids=FULL["ids"] + 90, layer_experts=8), on_fault="skip")
    assert got.records == [] and got.report.tokens == 0
    assert got.report.left_out == {"an id that is no expert of its layer": 4}


def test_missing_values_are_not_experts(tmp_path, imported):
    table = pa.table({"ids_layer0": pa.array([[1, 2], None, [3, None], [4, 5, 6], [0, 7]], pa.list_(pa.int32()))})
    pq.write_table(table, tmp_path / "a.parquet")
    got = imported(tmp_path / "a.parquet", experts=8, on_fault="skip")
    assert got.record.ids_tlk[:, 0].tolist() == [[1, 2], [0, 7]]
    assert got.report.left_out == {"an id that is no expert of its layer": 2, "more experts than a layer keeps": 1}


def test_what_has_no_known_name_is_named(tmp_path, imported):
    got = imported(save_npz(tmp_path / "a.npz", ids=FULL["ids"], layer_experts=8, wieghts=FULL["weights"]))
    assert got.report.where == {"an array of no known name": [f"{tmp_path / 'a.npz'}, wieghts"]}
    table = pa.table({"ids_layer0": FULL["ids"][:, 0].tolist(), "ids_layer01": [1] * 4, "weight_layer0": [1] * 4})
    pq.write_table(table, tmp_path / "b.parquet")
    assert imported(tmp_path / "b.parquet", experts=8).report.left_out == {"a column of no known name": 2}


def test_only_known_ways_to_meet_a_fault():
    with pytest.raises(OptionError, match="ignore"):
        Given(on_fault="ignore")


@st.composite
def traces(draw):
    """Any rows at all, right and wrong, beside the number of experts."""
    shape = draw(st.integers(0, 6)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    arrays = {"ids": generator.integers(draw(st.integers(-3, 0)), 7, shape)}
    if draw(st.booleans()):
        arrays["weights"] = generator.choice([0, 1, 0.5, -2, np.nan, np.inf, 1e9], shape)
    for name, least, most in (("document", -1, 4), ("position", -1, 9), ("token", -3, 9), ("flags", -1, 300)):
        if draw(st.booleans()):
            drawn = generator.integers(least, most, shape[0])
            arrays[name] = drawn if draw(st.booleans()) else np.sort(drawn)
    return arrays


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(traces(), st.sampled_from(["npz", "parquet"]))
def test_any_rows_are_kept_or_counted_one_by_one(tmp_path, arrays, container):
    """No row is lost and none is invented, whatever is in it; a kept row has the experts it had."""
    if container == "npz":
        path = save_npz(tmp_path / "any.npz", **arrays)
    else:
        path = tmp_path / "any.parquet"
        save_parquet(path, {name: array for name, array in arrays.items() if name != "document"})
    try:
        records, report = read_trace(path, Given(experts=6, on_fault="skip"))
        kept = list(records)
    except TraceError as error:
        assert arrays["ids"].shape[2] > 6 or not arrays["ids"].size, error
        return
    assert sum(record.tokens for record in kept) + report.left_out.total() == len(arrays["ids"])
    wanted = {tuple(sorted(row[row >= 0])) for row in arrays["ids"].reshape(-1, arrays["ids"].shape[2])}
    for record in kept:
        for row in record.ids_tlk.reshape(-1, record.slots):
            assert tuple(sorted(row[row != record.empty].tolist())) in wanted
