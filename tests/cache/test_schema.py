"""A record written and read again is the same record, bit for bit."""

import dataclasses
import io
import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache import schema
from cache.schema import decode, encode
from routing import Document, Provenance, RouterRule, RoutingRecord
from routing.errors import RecordError, StoreError

TEXT = st.text(st.characters(), max_size=20)
OPTION = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXT
OPTIONAL = ("weight_tlk", "rejected_tl", "margin_tl", "entropy_tl", "lse_tl", "logit_tle", "loss_t", "predicted_t")


@st.composite
def rules(draw) -> tuple[RouterRule, ...]:
    """One to four layers, each with its own E and k, sometimes more than 255 experts."""
    many = draw(st.booleans())
    layers = []
    for layer in range(draw(st.integers(1, 4))):
        experts = draw(st.integers(1, 300 if many else 12))
        k = draw(st.integers(1, min(experts, 5)))
        kinds = st.sampled_from(["softmax", "sigmoid", "unknown"])
        rule = RouterRule(layer=layer, block=2 * layer, module=draw(TEXT), experts=experts, k=k, score=draw(kinds))
        layers.append(dataclasses.replace(rule, scale=draw(st.floats(0.1, 9)), is_renormalised=draw(st.booleans())))
    return tuple(layers)


@st.composite
def records(draw) -> RoutingRecord:
    """Any record that can be constructed: arbitrary bits where the record allows them, NaN and -0 among them."""
    layers = draw(rules())
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    tokens, slots = draw(st.integers(0, 12)), max(rule.k for rule in layers)
    experts = max(rule.experts for rule in layers)
    kind = np.uint16 if experts > 255 or draw(st.booleans()) else np.uint8
    ids_tlk = np.full((tokens, len(layers), slots), np.iinfo(kind).max, kind)
    weight_tlk = np.zeros(ids_tlk.shape, np.float16)
    for rule in layers:
        for token in range(tokens):
            filled = generator.integers(0, rule.k + 1)
            ids_tlk[token, rule.layer, :filled] = generator.permutation(rule.experts)[:filled]
            weight_tlk[token, rule.layer, :filled] = np.sort(generator.random(filled))[::-1]

    def bits(dtype: type, *shape: int) -> np.ndarray:
        return np.frombuffer(generator.bytes(math.prod(shape) * np.dtype(dtype).itemsize), dtype).reshape(shape).copy()

    shape_tl = (tokens, len(layers))
    arrays = {
        "weight_tlk": weight_tlk,
        "rejected_tl": bits(kind, *shape_tl),
        **{name: bits(np.float16, *shape_tl) for name in ("margin_tl", "entropy_tl", "lse_tl")},
        "logit_tle": bits(np.float16, *shape_tl, experts),
        "loss_t": bits(np.float32, tokens),
        "predicted_t": bits(np.int32, tokens),
    }
    kept = draw(st.sets(st.sampled_from(OPTIONAL)))
    documents = draw(st.lists(st.builds(Document, TEXT, TEXT, TEXT, TEXT, TEXT), min_size=1, max_size=3))
    return RoutingRecord(
        ids_tlk=ids_tlk,
        token_t=bits(np.int32, tokens),
        document_t=np.sort(generator.integers(0, len(documents), tokens, dtype=np.int32)),
        position_t=np.arange(tokens, dtype=np.int32),
        flag_t=bits(np.uint8, tokens),
        documents=tuple(documents),
        layers=layers,
        provenance=Provenance(
            model=draw(TEXT),
            fingerprint="f",
            dtype="bfloat16",
            device="cpu",
            versions=draw(st.dictionaries(TEXT, TEXT, max_size=2)),
            options=draw(st.dictionaries(TEXT, OPTION, max_size=3)),
        ),
        pieces=draw(st.dictionaries(st.integers(0, 2**31 - 1), TEXT, max_size=4)),
        **{"weight_tlk": None, **{name: arrays[name] for name in kept}},
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records())
def test_every_field_of_any_record_survives(same, record):
    assert same(decode(encode(record)), record)


def test_many_row_groups_read_as_one(same, records, monkeypatch):
    monkeypatch.setattr(schema, "ROW_GROUP_TOKENS", 7)
    record = records(tokens=50)
    data = encode(record)
    assert pq.ParquetFile(pa.BufferReader(pa.py_buffer(data))).num_row_groups == 8
    assert same(decode(data), record)


def test_a_part_of_a_record_keeps_only_its_own_rows(same, records):
    part = records(tokens=50).take(slice(10, 40, 3))
    assert same(decode(encode(part)), part)


def test_numbers_of_the_other_byte_order_are_written_as_the_same_numbers(records):
    record = records()
    swapped = dataclasses.replace(
        record, token_t=record.token_t.astype(">i4"), margin_tl=record.margin_tl.astype(">f2")
    )
    read = decode(encode(swapped))
    assert read.token_t.tolist() == record.token_t.tolist()
    assert read.margin_tl.tobytes() == record.margin_tl.tobytes()


def test_a_record_that_was_read_is_read_only(record):
    with pytest.raises(ValueError, match="read-only"):
        decode(encode(record)).ids_tlk[0, 0, 0] = 1


def test_the_file_is_plain_parquet_with_a_column_per_layer(record):
    table = pq.read_table(io.BytesIO(encode(record)))
    assert table.num_rows == 50
    assert table.column("ids_layer2").to_pylist() == [ids.tobytes() for ids in record.ids_tlk[:, 2]]
    assert table.column("token").to_pylist() == record.token_t.tolist()
    assert "loss" not in table.column_names


def _with_version(data: memoryview, version: object) -> bytes:
    table = pq.read_table(io.BytesIO(data))
    about = json.loads(table.schema.metadata[b"gatescope"]) | {"schema_version": version}
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({b"gatescope": json.dumps(about)}), sink)
    return sink.getvalue()


def test_a_newer_version_is_refused_with_both_versions_named(record):
    with pytest.raises(StoreError, match="version 2") as caught:
        decode(_with_version(encode(record), 2))
    assert "version 1" in caught.value.expected


@pytest.mark.parametrize("version", [None, 0, "1"])
def test_a_file_without_a_known_version_is_no_record(record, version):
    with pytest.raises(RecordError, match="schema version"):
        decode(_with_version(encode(record), version))


def _older(data: memoryview, version: int) -> bytes:
    """A file as an older Gatescope might have written it: another name for a column, another for the slots."""
    table = pq.read_table(io.BytesIO(data))
    about = json.loads(table.schema.metadata[b"gatescope"]) | {"schema_version": version}
    about["k"] = about.pop("slots")
    names = ["gap" if name == "margin" else name for name in table.column_names]
    sink = io.BytesIO()
    pq.write_table(table.rename_columns(names).replace_schema_metadata({b"gatescope": json.dumps(about)}), sink)
    return sink.getvalue()


def _name_slots(about: dict, table: pa.Table) -> tuple[dict, pa.Table]:
    about["slots"] = about.pop("k")
    return about, table


def _name_margins(about: dict, table: pa.Table) -> tuple[dict, pa.Table]:
    assert "slots" in about, "the step before has been taken"
    return about, table.rename_columns(["margin" if name == "gap" else name for name in table.column_names])


def _both(about: dict, table: pa.Table) -> tuple[dict, pa.Table]:
    return _name_margins(*_name_slots(about, table))


def test_a_file_of_an_older_version_is_read_as_if_written_now(record, same, monkeypatch):
    older = _older(encode(record), 0)
    with pytest.raises(RecordError, match="schema version 0"):
        decode(older)
    monkeypatch.setitem(schema.MIGRATIONS, 0, _both)
    assert same(decode(older), record)
    assert same(decode(encode(record)), record), "one of now is left alone"


def test_several_versions_back_every_step_is_taken_in_order(record, same, monkeypatch):
    older = _older(encode(record), 1)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 3)
    monkeypatch.setattr(schema, "MIGRATIONS", {1: _name_slots, 2: _name_margins})
    assert same(decode(older), record)
    monkeypatch.delitem(schema.MIGRATIONS, 2)
    with pytest.raises(RecordError, match="schema version 1"):
        decode(older)


def test_every_older_version_can_be_migrated():
    """Once there is a version 2, leaving out how version 1 becomes it would orphan every stored capture."""
    assert sorted(schema.MIGRATIONS) == list(range(1, schema.SCHEMA_VERSION))


def test_files_written_before_pages_had_checksums_are_read():
    """The captures in the box were written by the first encoder: token ids as differences, no checksums."""
    path = Path(__file__).parents[2] / "models" / "sift-softmax" / "captures" / "welcome.gsr"
    file = schema.open_parquet(path.read_bytes(), checks_pages=True)
    encodings = {file.metadata.row_group(0).column(at).path_in_schema: file.metadata.row_group(0).column(at).encodings
                 for at in range(file.metadata.num_columns)}  # fmt: skip
    if "DELTA_BINARY_PACKED" not in encodings["token"]:
        pytest.skip("the captures in the box have been written anew: no file of the first encoder is left")
    record = decode(path.read_bytes(), checks_pages=True)
    text = "".join(record.piece(token) for token in record.token_t[record.flag_t == 0])
    assert text == record.documents[0].text


def test_provenance_that_json_cannot_hold_is_named(record):
    odd = dataclasses.replace(record.provenance, options={"path": object()})
    with pytest.raises(RecordError, match="not JSON serializable"):
        encode(dataclasses.replace(record, provenance=odd))


def test_documents_longer_than_a_hundred_megabytes_survive(record):
    long = dataclasses.replace(record, documents=(Document("x" * 101_000_000),))
    assert decode(encode(long)).documents == long.documents


@pytest.mark.parametrize("is_guessed", [False, True])
def test_a_guessed_language_stays_marked(record, is_guessed):
    documents = (dataclasses.replace(record.documents[0], language="de", language_guessed=is_guessed),)
    assert decode(encode(dataclasses.replace(record, documents=documents))).documents == documents


def test_a_capture_from_before_languages_were_guessed_is_read_as_said(record):
    about = json.loads(pq.read_schema(io.BytesIO(encode(record))).metadata[b"gatescope"])
    assert set(about["documents"][0]) == {"text", "id", "source", "domain", "language"}, "written as it always was"
    assert decode(encode(record)).documents[0].language_guessed is False


def test_ids_and_weights_take_less_than_they_do_in_memory(records):
    record = records(tokens=20_000, layers=8, experts=64, k=8)
    only = dataclasses.replace(record, margin_tl=None, entropy_tl=None)
    assert len(encode(only)) / only.ids_tlk.size <= 2.5
