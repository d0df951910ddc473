"""The long form has one row for each filled slot, as a plain walk over the record finds them."""

import csv
import dataclasses
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from gatescope.cache import long_form, schema
from gatescope.cache.long_form import export_long
from gatescope.cache.schema import encode
from gatescope.cache.store import Store
from gatescope.routing.errors import CaptureDamagedError, OptionError, StoreError

COLUMNS = ["document", "position", "token_id", "token", "layer", "slot", "expert", "weight"]


def walked(record) -> list[tuple]:
    """Every row, by three loops."""
    rows = []
    for token in range(record.tokens):
        for layer in range(len(record.layers)):
            for slot in range(record.slots):
                expert = int(record.ids_tlk[token, layer, slot])
                if expert == record.empty:
                    continue
                id = int(record.token_t[token])
                weight = None if record.weight_tlk is None else float(record.weight_tlk[token, layer, slot])
                place = int(record.document_t[token]), int(record.position_t[token]), id
                rows.append((*place, record.pieces.get(id), layer, slot, expert, weight))
    return rows


def with_gaps(record):
    """Some slots empty, a token without a text, a token that is none, odd texts."""
    ids, weights, tokens = record.ids_tlk.copy(), record.weight_tlk.copy(), record.token_t.copy()
    ids[3, 1, 2:], weights[3, 1, 2:] = record.empty, 0
    ids[7, 0, :], weights[7, 0, :] = record.empty, 0
    tokens[5], tokens[6] = -1, 77
    pieces = {**record.pieces, 0: "=1+1", 1: '"quoted",\n', 2: "NA", 3: " é文", 4: "", 5: "'"}
    return dataclasses.replace(record, ids_tlk=ids, weight_tlk=weights, token_t=tokens, pieces=pieces)


def read(path) -> list[tuple]:
    return [tuple(row.values()) for row in pq.read_table(path).to_pylist()]


@pytest.fixture
def gappy(record):
    return with_gaps(record)


def test_rows_are_those_of_a_plain_walk(tmp_path, gappy):
    rows = export_long(gappy, tmp_path / "out.parquet")
    assert rows == len(walked(gappy)) == gappy.ids_tlk.size - 2 - 4
    assert read(tmp_path / "out.parquet") == walked(gappy)
    assert pq.read_schema(tmp_path / "out.parquet").names == COLUMNS
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]
    (tmp_path / "plain").touch()
    assert (tmp_path / "out.parquet").stat().st_mode == (tmp_path / "plain").stat().st_mode, "as any file of this user"


@pytest.mark.parametrize("at_once", [1, 50, 1 << 20])
def test_a_file_read_in_parts_gives_the_same_rows(tmp_path, gappy, monkeypatch, at_once):
    monkeypatch.setattr(schema, "ROW_GROUP_TOKENS", 17)
    monkeypatch.setattr(long_form, "ROWS_AT_ONCE", at_once)
    store = Store(tmp_path / "captures")
    store.put("a" * 16, gappy)
    (tmp_path / "shard").write_bytes(encode(gappy))
    for number, source in enumerate((store.path("a" * 16), tmp_path / "shard", gappy)):
        out = tmp_path / f"{number}.parquet"
        assert export_long(source, out) == len(walked(gappy))
        assert read(out) == walked(gappy)


def test_weights_that_were_not_recorded_are_null(tmp_path, record):
    bare = dataclasses.replace(record, weight_tlk=None)
    export_long(bare, tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").column("weight").null_count == record.ids_tlk.size
    assert read(tmp_path / "out.parquet") == walked(bare)


def test_more_than_255_experts_are_numbered_right(tmp_path, record):
    wide = dataclasses.replace(
        record,
        ids_tlk=record.ids_tlk.astype(np.uint16) + 280,
        layers=tuple(dataclasses.replace(rule, experts=300) for rule in record.layers),
    )
    export_long(wide, tmp_path / "out.parquet")
    assert read(tmp_path / "out.parquet") == walked(wide)
    assert min(row[6] for row in walked(wide)) >= 280


def test_a_table_of_no_tokens_still_has_its_columns(tmp_path, record):
    nothing = record.take(slice(0, 0))
    for name in ("out.parquet", "out.csv"):
        assert export_long(nothing, tmp_path / name) == 0
    assert pq.read_table(tmp_path / "out.parquet").column_names == COLUMNS
    assert (tmp_path / "out.csv").read_text().strip().replace('"', "").split(",") == COLUMNS


def test_a_csv_has_the_same_rows_with_tokens_as_json(tmp_path, gappy):
    assert export_long(gappy, tmp_path / "out.csv") == len(walked(gappy))
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as stream:
        header, *lines = csv.reader(stream)
    assert header == COLUMNS
    found = [
        (*map(int, line[:3]), json.loads(line[3]) if line[3] else None, *map(int, line[4:7]), np.float32(line[7]))
        for line in lines
    ]
    assert found == walked(gappy)
    assert all(line[3][:1] in ('"', "") for line in lines), "no spreadsheet takes it for a formula"
    assert len((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()) == len(lines) + 1


def test_texts_that_are_no_unicode_are_spelt_out(tmp_path, record):
    lone = dataclasses.replace(record, pieces={**record.pieces, 0: "\ud800"})
    for name in ("out.parquet", "out.csv"):
        export_long(lone, tmp_path / name)
    assert r"\ud800" in set(pd.read_parquet(tmp_path / "out.parquet")["token"])


def test_a_damaged_capture_gives_no_table(tmp_path, record):
    store = Store(tmp_path / "captures")
    store.put("a" * 16, record)
    data = bytearray(store.path("a" * 16).read_bytes())
    data[len(data) // 2] ^= 1
    store.path("a" * 16).write_bytes(data)
    with pytest.raises(CaptureDamagedError, match="checksum"):
        export_long(store.path("a" * 16), tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_a_failure_leaves_an_earlier_table_as_it_was(tmp_path, gappy, monkeypatch):
    """The second part is missing a column: what was written of the first is not left behind."""
    monkeypatch.setattr(schema, "ROW_GROUP_TOKENS", 25)
    path, out = tmp_path / "shard", tmp_path / "out.parquet"
    path.write_bytes(encode(gappy))
    out.write_text("earlier")
    about = pq.ParquetFile(path).metadata.row_group(1)
    column = next(about.column(at) for at in range(about.num_columns) if about.column(at).path_in_schema == "position")
    data = bytearray(path.read_bytes())
    data[column.data_page_offset : column.data_page_offset + column.total_compressed_size] = bytes(
        column.total_compressed_size
    )
    path.write_bytes(data)
    with pytest.raises(CaptureDamagedError, match="position cannot be read"):
        export_long(path, out)
    assert out.read_text() == "earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "shard"]


@pytest.mark.parametrize("name", ["out.xlsx", "out", "out.parquet.gz"])
def test_another_ending_is_refused(tmp_path, record, name):
    with pytest.raises(OptionError, match="a table called"):
        export_long(record, tmp_path / name)


def test_a_file_is_not_made_its_own_table(tmp_path, record):
    path = tmp_path / "shard.parquet"
    path.write_bytes(encode(record))
    before = path.read_bytes()
    with pytest.raises(OptionError, match="its own table"):
        export_long(path, path)
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_named(tmp_path, record):
    with pytest.raises(StoreError, match="does not exist"):
        export_long(record, tmp_path / "none" / "out.parquet")
