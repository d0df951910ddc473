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

from gatescope.cache import schema
from gatescope.cache.schema import decode, encode
from gatescope.routing import Document, Provenance, RouterRule, RoutingRecord
from gatescope.routing.errors import RecordError, StoreError

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


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


def _said_otherwise(data: memoryview, *, columns: dict[str, str] | None = None, **changes: object) -> bytes:
    """The same file with changes (None: gone) in what it says of itself, and columns renamed."""
    table = pq.read_table(io.BytesIO(data))
    about = json.loads(table.schema.metadata[b"gatescope"]) | changes
    about = {name: value for name, value in about.items() if value is not None or name == "schema_version"}
    said = {**table.schema.metadata, b"gatescope": json.dumps(about).encode()}
    names = [(columns or {}).get(name, name) for name in table.column_names]
    sink = io.BytesIO()
    pq.write_table(table.rename_columns(names).replace_schema_metadata(said), sink)
    return sink.getvalue()


def _first_version(record: RoutingRecord) -> bytes:
    """A file as version 1 wrote it: documents and pieces in the one JSON, nothing under another key."""
    inline = {
        "documents": [dataclasses.asdict(document) for document in record.documents],
        "pieces": {str(token): piece for token, piece in record.pieces.items()},
    }
    table = pq.read_table(io.BytesIO(_said_otherwise(encode(record), schema_version=1, texts_bytes=None, **inline)))
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({b"gatescope": table.schema.metadata[b"gatescope"]}), sink)
    return sink.getvalue()


def test_a_newer_version_is_refused_with_both_versions_named(record):
    with pytest.raises(StoreError, match="version 4") as caught:
        decode(_said_otherwise(encode(record), schema_version=4))
    assert "version 3" in caught.value.expected


def test_only_a_record_of_changed_routes_needs_the_newest_program(record, same):
    """Programs of version 2 refuse 3 by name; everything else stays readable to them."""
    assert _version(encode(record)) == 2
    changed = dataclasses.replace(
        record, wanted_ids_tlk=record.ids_tlk.copy(), wanted_weight_tlk=record.weight_tlk.copy()
    )
    assert _version(encode(changed)) == 3
    assert same(decode(encode(changed)), changed)


def test_an_array_that_this_program_does_not_know_is_left_out(record, same):
    known = json.loads(pq.read_schema(io.BytesIO(encode(record))).metadata[b"gatescope"])["arrays"]
    data = _said_otherwise(encode(record), arrays={**known, "later_tlq": "float32"})
    assert same(decode(data), record)


def _version(data: memoryview) -> int:
    return json.loads(pq.read_schema(io.BytesIO(data)).metadata[b"gatescope"])["schema_version"]


@pytest.mark.parametrize("version", [None, 0, -1, "1", True, 1.0])
def test_a_file_without_a_known_version_is_no_record(record, version):
    with pytest.raises(RecordError, match="schema version"):
        decode(_said_otherwise(encode(record), schema_version=version))


def test_the_first_version_is_read(record, same):
    assert same(decode(_first_version(record)), record)


@pytest.fixture
def later(monkeypatch):
    """Two versions on: first the slots are called otherwise, then a column."""

    def named(said):
        assert "documents" not in said, "the texts are no longer among it"
        return {"slots" if name == "k" else name: value for name, value in said.items()}

    def renamed(table):
        return table.rename_columns(["margin" if name == "gap" else name for name in table.column_names])

    def checked(said):
        assert "slots" in said, "the step before has been taken"
        return said

    monkeypatch.setattr(schema, "SCHEMA_VERSION", 5)
    monkeypatch.setattr(schema, "PLAIN_VERSION", 5)
    monkeypatch.setitem(schema.MIGRATIONS, 3, schema.Migration(header=named))
    monkeypatch.setitem(schema.MIGRATIONS, 4, schema.Migration(header=checked, table=renamed))


@pytest.mark.usefixtures("later")
def test_every_step_is_taken_in_order(record, same):
    third = _said_otherwise(encode(record), schema_version=3, k=record.slots, slots=None, columns={"margin": "gap"})
    fourth = _said_otherwise(encode(record), schema_version=4, columns={"margin": "gap"})
    assert same(decode(third), record)
    assert same(decode(fourth), record)
    assert same(decode(encode(record)), record), "one of now is left alone"


@pytest.mark.usefixtures("later")
def test_a_step_that_is_missing_is_said(record, monkeypatch):
    monkeypatch.delitem(schema.MIGRATIONS, 4)
    with pytest.raises(RecordError, match="schema version 3"):
        decode(_said_otherwise(encode(record), schema_version=3))


def test_every_older_version_can_be_migrated():
    """Leaving out how one of them becomes the next would orphan every capture that was written in it."""
    assert sorted(schema.MIGRATIONS) == list(range(1, schema.SCHEMA_VERSION))


def test_texts_are_kept_small_and_whole(record):
    """A page of German, ten times: the file grows by less than a tenth of it."""
    page = "Der Wind weht über das Feld. Straße, Mäuse, Öl: 文字。" * 100
    with_page = dataclasses.replace(record, documents=(Document(page), *(Document(page) for _ in range(9))))
    data = encode(with_page)
    assert len(data) - len(encode(record)) < len(page.encode())
    assert decode(data).documents == with_page.documents


def test_halves_of_a_character_stay_two(record, same):
    """A tokenizer may cut a character in the middle; spelt as JSON alone, the two halves would read as one."""
    odd = dataclasses.replace(record, documents=(Document("\ud83d\ude00"),), pieces={0: "\ud83d", 1: "\ude00\ud83d"})
    assert same(decode(encode(odd)), odd)


@pytest.mark.parametrize("texts", [b"", b"!", b"AAAA"])
def test_texts_that_were_altered_are_no_record(record, texts):
    table = pq.read_table(io.BytesIO(encode(record)))
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"gatescope.texts": texts}), sink)
    with pytest.raises((ValueError, OSError)):
        decode(sink.getvalue())


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
    said = pq.read_schema(io.BytesIO(_first_version(record))).metadata[b"gatescope"]
    about = json.loads(said)
    del about["documents"][0]["language_guessed"]
    assert set(about["documents"][0]) == {"text", "id", "source", "domain", "language"}
    older = _said_otherwise(memoryview(_first_version(record)), documents=about["documents"])
    assert decode(older).documents == record.documents
    assert decode(older).documents[0].language_guessed is False


def test_ids_and_weights_take_less_than_they_do_in_memory(records):
    record = records(tokens=20_000, layers=8, experts=64, k=8)
    only = dataclasses.replace(record, margin_tl=None, entropy_tl=None)
    assert len(encode(only)) / only.ids_tlk.size <= 2.5
