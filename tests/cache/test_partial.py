"""Part of a capture is what the whole has there, and comes without touching the rest."""

import io
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gatescope.cache import schema
from gatescope.cache.file_checksum import CHECKSUM_BYTES
from gatescope.cache.partial import PartialRecord
from gatescope.cache.schema import decode, encode
from gatescope.cache.store import Store
from gatescope.routing.errors import CaptureDamagedError, CaptureNotFoundError, OptionError, StoreError
from tests.parquet_forgery import forge_rows

HUGE_PAGE = 2 << 20  # the kernel maps files in pieces of up to this size
ID = "abcdefghij234567"


@pytest.fixture
def record(records, monkeypatch):
    """A capture in several row groups."""
    monkeypatch.setattr(schema, "ROW_GROUP_TOKENS", 300)
    return records(tokens=1000, layers=5)


@pytest.fixture
def path(tmp_path, record):
    """The same as a shard: Parquet alone."""
    (tmp_path / "00000000.routes").write_bytes(encode(record))
    return tmp_path / "00000000.routes"


@pytest.fixture
def sealed(tmp_path, record):
    """The same in a store."""
    store = Store(tmp_path / "captures")
    store.put(ID, record)
    return store.path(ID)


def chunks(path: Path) -> dict[tuple[int, str], slice]:
    """Where the bytes of each column chunk lie in the file, as the Parquet metadata say."""
    data = path.read_bytes()
    start = CHECKSUM_BYTES if data.startswith(b"GSROUTE") else 0
    found = {}
    about = pq.ParquetFile(io.BytesIO(data[start:])).metadata
    for group in range(about.num_row_groups):
        for at in range(about.num_columns):
            column = about.row_group(group).column(at)
            first = start + column.data_page_offset
            found[group, column.path_in_schema] = slice(first, first + column.total_compressed_size)
    return found


def overwrite(path: Path, places: list[slice]) -> None:
    data = bytearray(path.read_bytes())
    for place in places:
        data[place] = b"\xaa" * (place.stop - place.start)
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["path", "sealed"])
def test_every_part_is_that_of_the_whole(request, kind, record):
    with PartialRecord(request.getfixturevalue(kind)) as partial:
        assert partial.tokens == 1000 and partial.slots == record.slots
        assert partial.layers == record.layers and partial.documents == record.documents
        assert partial.provenance == record.provenance and partial.pieces == dict(record.pieces)
        np.testing.assert_array_equal(partial.ids(), record.ids_tlk)
        np.testing.assert_array_equal(partial.ids([3, 0]), record.ids_tlk[:, [3, 0]])
        np.testing.assert_array_equal(partial.weights([4]), record.weight_tlk[:, [4]])
        assert partial.ids([]).shape == (1000, 0, record.slots)
        assert set(partial.columns) == {"token", "document", "position", "flag", "margin", "entropy"}
        for name in partial.columns:
            whole = getattr(record, f"{name}_{'tl' if name in ('margin', 'entropy') else 't'}")
            np.testing.assert_array_equal(partial.column(name), whole)
            assert partial.column(name).dtype == whole.dtype


def test_row_groups_follow_one_another_and_make_up_the_whole(path, record):
    with PartialRecord(path) as partial:
        parts = [(rows.tokens, rows.ids([1]), rows.column("position")) for rows in partial.row_groups()]
    assert [tokens for tokens, *_ in parts] == [300, 300, 300, 100]
    np.testing.assert_array_equal(np.concatenate([ids for _, ids, _ in parts]), record.ids_tlk[:, [1]])
    np.testing.assert_array_equal(np.concatenate([position for *_, position in parts]), record.position_t)


@pytest.mark.parametrize("kind", ["path", "sealed"])
def test_what_is_not_asked_for_may_be_garbage(request, kind, record):
    """Every byte of every other column, and of the other row groups, is overwritten."""
    file = request.getfixturevalue(kind)
    wanted = {(1, "ids_layer2"), (1, "token")}
    overwrite(file, [place for key, place in chunks(file).items() if key not in wanted])
    with PartialRecord(file) as partial:
        rows = list(partial.row_groups())[1]
        np.testing.assert_array_equal(rows.ids([2]), record.ids_tlk[300:600, [2]])
        np.testing.assert_array_equal(rows.column("token"), record.token_t[300:600])
        with pytest.raises(CaptureDamagedError, match="ids_layer3 cannot be read"):
            rows.ids([3])
        with pytest.raises(CaptureDamagedError):
            partial.verify()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc: runs on Linux only")
def test_little_of_the_file_is_mapped_to_read_one_layer(tmp_path, records):
    """Counted by the kernel: how much of the mapping has ever been touched."""
    large = records(tokens=100_000, layers=12, experts=64, k=8)
    path = tmp_path / "large"
    path.write_bytes(encode(large))
    with PartialRecord(path) as partial:
        np.testing.assert_array_equal(partial.ids([7]), large.ids_tlk[:, [7]])
        place = chunks(path)[0, "ids_layer7"]
        allowed = place.stop - place.start + 4 * HUGE_PAGE  # the head, the end, and both ends of the column
        assert 0 < touched(path) < allowed < 0.5 * path.stat().st_size
        partial.verify()
        assert touched(path) > 0.9 * path.stat().st_size


def touched(path: Path) -> int:
    """Bytes of the mappings of a file that this process has touched."""
    total, is_ours = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if "-" in line.split()[0] and not line.split()[0].endswith(":"):
            is_ours = line.endswith(str(path))
        elif is_ours and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


def test_a_byte_that_changed_in_a_page_is_never_read_as_data(path, record):
    """Weights are stored nearly as they are, so most changes still decompress: the page's checksum finds them."""
    place, whole = chunks(path)[0, "weight_layer1"], path.read_bytes()
    generator, found, unseen_without = np.random.default_rng(0), 0, 0
    for at in generator.integers(place.start, place.stop, 60):
        data = bytearray(whole)
        data[at] ^= 1 << int(generator.integers(8))
        path.write_bytes(data)
        with PartialRecord(path) as partial:
            try:
                np.testing.assert_array_equal(partial.weights([1]), record.weight_tlk[:, [1]])
            except CaptureDamagedError:
                found += 1
        unseen_without += is_silently_wrong(bytes(data), record)
    assert found >= 50, "the others lie in a page's header and changed nothing"
    assert unseen_without > 10, "without the checksum these would have been taken for weights"


def is_silently_wrong(data: bytes, record) -> bool:
    """Whether a plain reader takes the changed page for weights without a word."""
    try:
        read = schema.open_parquet(data).read_row_group(0, columns=["weight_layer1"])
    except OSError:
        return False
    return read.column(0).to_pylist() != [row.tobytes() for row in record.weight_tlk[:300, 1]]


def test_the_seal_is_checked_on_demand_alone(sealed, record):
    overwrite(sealed, [chunks(sealed)[0, "margin"]])
    with PartialRecord(sealed) as partial:
        np.testing.assert_array_equal(partial.ids(), record.ids_tlk)
        with pytest.raises(CaptureDamagedError, match="checksum does not match"):
            partial.check_seal()
        with pytest.raises(CaptureDamagedError):
            partial.verify()


def test_an_intact_file_passes_every_check(path, sealed, record, same):
    for file in (path, sealed):
        with PartialRecord(file) as partial:
            partial.check_seal()
            assert same(partial.verify(), record)


def test_what_is_not_there_is_said(path):
    with PartialRecord(path) as partial:
        for layers in ([5], [-1]):
            with pytest.raises(OptionError, match="layer") as caught:
                partial.ids(layers)
            assert caught.value.expected == "0 to 4"
        with pytest.raises(OptionError, match="logit_tle"):
            partial.logits()
        with pytest.raises(OptionError, match="'loss'") as missing:
            partial.column("loss")
        assert "margin" in missing.value.expected
        with pytest.raises(OptionError, match="'ids'"):
            partial.column("ids")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"GSROUTE\n" + bytes(32), b"GSROUTE\n", b"text" * 99])
def test_a_file_that_is_no_capture_is_named(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(StoreError, match="file cannot be read as a capture"):
        PartialRecord(tmp_path / "file")


def test_parquet_of_another_kind_is_no_capture(tmp_path):
    import pyarrow as pa

    pq.write_table(pa.table({"a": [1]}), tmp_path / "file")
    with pytest.raises(StoreError, match="schema version None"):
        PartialRecord(tmp_path / "file")


def test_what_is_not_there_at_all_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        PartialRecord(tmp_path / "none")
    with pytest.raises(CaptureNotFoundError):
        Store(tmp_path).open(ID)


def test_a_capture_may_be_removed_while_it_is_read(sealed, record):
    with PartialRecord(sealed) as partial:
        sealed.unlink()
        np.testing.assert_array_equal(partial.ids([1]), record.ids_tlk[:, [1]])


def test_arrays_outlive_the_file(path, record):
    with PartialRecord(path) as partial:
        ids = partial.ids([0])
    del partial
    np.testing.assert_array_equal(ids, record.ids_tlk[:, [0]])


def test_a_capture_whose_columns_were_others_once_is_read_in_parts_too(path, record, monkeypatch):
    changed = schema.Migration(header=dict, table=lambda table: table.drop_columns(["margin"]))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 3)
    monkeypatch.setitem(schema.MIGRATIONS, 2, changed._replace(header=without_margins))
    with PartialRecord(path) as partial:
        np.testing.assert_array_equal(partial.ids([1]), record.ids_tlk[:, [1]])
        assert "margin" not in partial.columns
        assert partial.documents == record.documents


def without_margins(said):
    return said | {"arrays": {name: kind for name, kind in said["arrays"].items() if name != "margin_tl"}}


def test_a_capture_in_the_box_is_read_in_parts():
    """Written by whichever version was current when its model was shipped."""
    path = Path(__file__).parents[2] / "models" / "sift-softmax" / "captures" / "welcome.gsr"
    whole = decode(path.read_bytes())
    with PartialRecord(path) as partial:
        np.testing.assert_array_equal(partial.ids([2]), whole.ids_tlk[:, [2]])
        assert partial.documents == whole.documents
        assert partial.pieces == dict(whole.pieces)


def test_no_tokens_are_no_tokens(tmp_path, record):
    (tmp_path / "none").write_bytes(encode(record.take(slice(0, 0))))
    assert decode((tmp_path / "none").read_bytes()).tokens == 0
    with PartialRecord(tmp_path / "none") as partial:
        assert partial.tokens == 0
        assert partial.ids([1]).shape == (0, 1, record.slots)
        assert partial.column("token").shape == (0,)
        assert sum(rows.tokens for rows in partial.row_groups()) == 0


def test_a_pipe_is_no_capture(tmp_path):
    os.mkfifo(tmp_path / "pipe.gsr")
    with pytest.raises(StoreError, match="it is a pipe"):
        PartialRecord(tmp_path / "pipe.gsr")


@pytest.mark.parametrize("where", ["first", "last"])
def test_a_capture_that_says_another_number_of_rows_is_none(path, where):
    path.write_bytes(encode(decode(path.read_bytes()).take(slice(0, 250))))  # one row group
    forge_rows(path, 250, 240, where=where)
    with pytest.raises(StoreError, match="rows"):
        PartialRecord(path)
