"""Files that were made to hurt, or that were cut: each is refused in our own words, in little time and memory."""

import ast
import io
import json
import os
import pickle
import struct
import time
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gatescope.cache.importers import importers, read_trace
from gatescope.cache.importers.importer import Given
from gatescope.routing.errors import TraceError
from tests.parquet_forgery import forge_rows

IDS = np.arange(24).reshape(4, 3, 2) % 8


def npy(array, **changes):
    """An array as the bytes of an .npy file, with parts of its header changed."""
    stream = io.BytesIO()
    np.save(stream, array)
    data = stream.getvalue()
    length = struct.unpack("<H", data[8:10])[0]
    header = ast.literal_eval(data[10 : 10 + length].decode()) | changes
    text = (repr(header) + "\n").encode()
    return data[:8] + struct.pack("<H", len(text)) + text + data[10 + length :]


def archive(path, **members):
    """An .npz of raw bytes, compressed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return path


class Bomb:
    """Leaves a trace when somebody unpickles it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def read_all(path, **given):
    return list(read_trace(path, Given(experts=8, **given))[0])


def test_pickles_inside_an_archive_are_never_opened(tmp_path):
    victim = tmp_path / "was here"
    for name, array in {"ids": IDS, "piece": np.empty(4, object)}.items():
        array = array.astype(object)
        array[...] = Bomb(victim)
        members = {"ids": IDS} | {name: array}
        np.savez(tmp_path / "a.npz", **members)
        with pytest.raises(TraceError, match="pickled"):
            read_all(tmp_path / "a.npz")
    assert not victim.exists()


def test_a_pickle_in_place_of_an_array_is_never_opened(tmp_path):
    victim = tmp_path / "was here"
    with pytest.raises(TraceError):
        read_all(archive(tmp_path / "a.npz", ids=pickle.dumps(Bomb(victim))))
    assert not victim.exists()


@pytest.mark.parametrize(
    "header",
    [
        {"shape": (2**50, 3, 2)},
        {"shape": (4, 3, 2**60)},
        {"shape": (10**30, 10**30, 1)},
        {"shape": (5, 3, 2)},
        {"shape": (3, 3, 2)},
        {"shape": (-4, 3, 2)},
        {"descr": "<i4"},
        {"descr": "nonsense"},
        {"descr": [("a", "<i8")]},
        {"fortran_order": True},
        {"shape": (0, 3, 2)},
    ],
)
def test_headers_that_promise_something_else_are_refused(tmp_path, header):
    with pytest.raises(TraceError) as caught:
        read_all(archive(tmp_path / "a.npz", ids=npy(IDS, **header)))
    assert str(tmp_path / "a.npz") in caught.value.found


def test_a_header_of_a_megabyte_is_refused(tmp_path):
    data = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**20) + b" " * 2**20
    with pytest.raises(TraceError):
        read_all(archive(tmp_path / "a.npz", ids=data))


@pytest.mark.parametrize("version", [b"\x00\x00", b"\x03\x00", b"\xff\xff"])
def test_format_versions_nobody_knows_are_refused(tmp_path, version):
    data = npy(IDS)
    with pytest.raises(TraceError):
        read_all(archive(tmp_path / "a.npz", ids=data[:6] + version + data[8:]))


def test_an_archive_cut_anywhere_is_refused_or_not_known(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", ids=np.random.default_rng(0).integers(0, 8, (400, 3, 1)))
    whole = (tmp_path / "a.npz").read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 40)):
        (tmp_path / "a.npz").write_bytes(whole[:length])
        with pytest.raises(TraceError):
            read_all(tmp_path / "a.npz")


def test_an_archive_with_flipped_bits_is_refused_or_read_whole(tmp_path):
    generator = np.random.default_rng(0)
    ids = generator.integers(0, 8, (400, 3, 1))
    np.savez_compressed(tmp_path / "a.npz", ids=ids)
    whole, refused = (tmp_path / "a.npz").read_bytes(), 0
    for place in generator.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(generator.integers(8))
        (tmp_path / "a.npz").write_bytes(damaged)
        try:
            (record,) = read_all(tmp_path / "a.npz")
        except TraceError:
            refused += 1
        else:
            assert record.ids_tlk.tolist() == ids.tolist(), "a bit that says nothing of the arrays"
    assert refused > 100


def test_zeros_that_unfold_from_a_small_file_are_not_read(tmp_path, process_memory):
    """The text of one token, 400 MB long and 2 MB on disk: refused before it is read."""
    lines = f"""
import numpy as np
from gatescope.cache.importers import read_trace
from gatescope.cache.importers.importer import Given
from gatescope.routing.errors import TraceError
try:
    list(read_trace({str(tmp_path / "a.npz")!r}, Given(experts=8))[0])
except TraceError as error:
    print("refused", "at once" in error.found)
"""
    header = {"descr": f"<U{10**8}", "fortran_order": False, "shape": (1,)}
    text = (repr(header) + "\n").encode()
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("ids.npy", npy(IDS[:1]))
        with file.open("piece.npy", "w", force_zip64=True) as stream:
            stream.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
            for _ in range(400):
                stream.write(bytes(10**6))
    assert (tmp_path / "a.npz").stat().st_size < 5e6
    said, peak = process_memory(lines)
    assert said == "refused True" and peak < 300


@pytest.mark.parametrize("name", ["weights", "logits", "token", "document", "position", "flags"])
@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros((4, 3)), np.array("x"), np.array(["x"] * 3), np.zeros(())])
def test_arrays_that_do_not_fit_the_ids_are_named(tmp_path, name, wrong):
    np.savez(tmp_path / "a.npz", ids=IDS, **{name: wrong})
    with pytest.raises(TraceError, match=name):
        read_all(tmp_path / "a.npz")


@pytest.mark.parametrize("ids", [IDS[0], IDS.astype(float), np.array(3), np.zeros((4, 0, 2), int), IDS[:, :, :0]])
def test_ids_that_are_no_routes_are_refused(tmp_path, ids):
    np.savez(tmp_path / "a.npz", ids=ids)
    with pytest.raises(TraceError):
        read_all(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "labels", [{"domain": ["a"], "id": ["a", "b"]}, {"domain": [1, 2]}, {"domain": "a"}, {"domain": [["a"]]}]
)
def test_labels_that_fit_no_documents_are_refused(tmp_path, labels):
    np.savez(tmp_path / "a.npz", ids=IDS, **{f"document_{name}": value for name, value in labels.items()})
    with pytest.raises(TraceError, match="document_"):
        read_all(tmp_path / "a.npz")


def table(path, columns, said=None):
    metadata = {"trace": said if isinstance(said, str) else json.dumps(said)} if said is not None else None
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return path


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"ids_layer0": [[1.5]]}, "ids_layer0"),
        ({"ids_layer0": [["1"]]}, "ids_layer0"),
        ({"ids_layer0": [[[1]]]}, "ids_layer0"),
        ({"ids_layer0": [[1]], "ids_layer1": [1]}, "ids_layer1"),
        ({"ids_layer0": [[1]], "weights_layer0": [["1"]]}, "weights_layer0"),
        ({"ids_layer0": [[1]], "weights_layer1": [[1.0]]}, "weights of layers"),
        ({"ids_layer0": [[1]], "ids_layer1": [[1]], "logits_layer1": [[1.0]]}, "logits of layers"),
        ({"ids_layer0": [[1]], "position": [None]}, "position"),
        ({"ids_layer0": [[1]], "document": pa.array([None], pa.int64())}, "document: nothing in row 0"),
        ({"ids_layer0": [[1]], "token": ["a"]}, "token"),
        ({"ids_layer0": [[1]], "position": [0.5]}, "position"),
        ({"ids_layer0": [[1]], "piece": [b"\xff"]}, "piece"),
        ({"ids_layer0": [[1]], "flags": [[1]]}, "flags"),
        ({"ids_layer0": pa.array([[]], pa.list_(pa.int8()))}, "first row"),
    ],
)
def test_columns_that_are_no_routes_are_named(tmp_path, columns, found):
    with pytest.raises(TraceError, match=found):
        read_all(table(tmp_path / "a.parquet", columns))


@pytest.mark.parametrize("said", ["no JSON", "[1]", "3", {"layer_expert": 8}, {"experts": 8}, {"layer_block": [0]}])
def test_metadata_that_nobody_understands_is_refused(tmp_path, said):
    with pytest.raises(TraceError, match="metadata"):
        read_all(table(tmp_path / "a.parquet", {"ids_layer0": [[1]]}, said))


def test_a_table_cut_or_changed_anywhere_is_refused_or_read_by_the_rules(tmp_path):
    """Parquet has no checksum of its own here: what is read may differ, but it is always a legal record."""
    path = table(tmp_path / "a.parquet", {"ids_layer0": [[1, 2], [3, 4]] * 50}, {"layer_experts": 8})
    whole, generator = path.read_bytes(), np.random.default_rng(0)
    for place in generator.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(generator.integers(8))
        for data in (damaged, whole[:place]):
            path.write_bytes(data)
            try:
                kept = read_all(path, on_fault="skip")
            except TraceError:
                continue
            assert all(record.ids_tlk.max() < 8 for record in kept)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"PAR1", b"PAR1PAR1", b"\x80\x02.", b"{}", bytes(5000)])
def test_no_importer_stumbles_over_what_is_not_its_own(tmp_path, data):
    for name in ("a.npz", "a.parquet", "a.pt", "a.csv", "a.txt", "a.json", "a"):
        (tmp_path / name).write_bytes(data)
        for importer in importers():
            assert importer.detect(tmp_path / name) in (True, False)
    assert not any(importer.detect(each) for importer in importers() for each in (tmp_path, tmp_path / "missing"))


def test_a_file_of_no_known_format_names_the_known_ones(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"routes")
    with pytest.raises(TraceError, match="no known format") as caught:
        read_trace(tmp_path / "a.bin")
    assert all(importer.title in caught.value.expected for importer in importers())
    with pytest.raises(TraceError, match="no format 'plan'"):
        read_trace(tmp_path / "a.bin", format="plan")
    with pytest.raises(TraceError, match="no file"):
        read_trace(tmp_path / "b.bin")


@pytest.mark.parametrize("name", ["plain", "sglang_recorder", "llamacpp_trace", "gptoss_routes"])
def test_a_format_that_is_named_wrongly_is_refused_in_our_own_words(tmp_path, name):
    (tmp_path / "folder").mkdir()
    np.savez(tmp_path / "other.npz", other=IDS)
    table(tmp_path / "other.parquet", {"ids_layer0": [1]})
    for file, data in (("a", b""), ("b.csv", b"1,2,3\n" * 9), ("c.pt", b"PK"), ("d.json", b"{}"), ("e", bytes(999))):
        (tmp_path / file).write_bytes(data)
    for path in tmp_path.iterdir():
        with pytest.raises(TraceError):
            list(read_trace(path, Given(experts=8, k=2), format=name)[0])


@pytest.mark.parametrize("name", ["a.npz", "folder"])
def test_a_pipe_is_told_before_it_is_opened(tmp_path, name):
    (tmp_path / "folder").mkdir()
    pipe = tmp_path / name if name != "folder" else tmp_path / name / "a.jsonl"
    os.mkfifo(pipe)
    with pytest.raises(TraceError, match="is a pipe"):
        read_all(tmp_path / name)


@pytest.mark.parametrize("layers", [5_000, 200_000])
def test_more_layers_than_any_model_has_are_told_at_once(tmp_path, layers):
    np.savez_compressed(tmp_path / "a.npz", ids=np.zeros((1, layers, 1), np.uint8))
    started = time.process_time()
    with pytest.raises(TraceError, match=f"{layers:,} layers"):
        read_all(tmp_path / "a.npz")
    assert time.process_time() - started < 2


@pytest.mark.parametrize("said", [100, 3_000, 10**9, 2**40])
@pytest.mark.parametrize("where", ["first", "last"])
def test_a_table_that_says_another_number_of_rows_is_refused(tmp_path, said, where):
    rows, path = 1_234, tmp_path / "a.parquet"
    ids = pa.FixedSizeListArray.from_arrays(np.arange(2 * rows) % 8, 2)
    pq.write_table(pa.table({"ids_layer0": ids, "token": np.arange(rows)}), path, store_schema=True)
    assert sum(record.tokens for record in read_all(path)) == rows
    forge_rows(path, rows, said, where=where)
    with pytest.raises(TraceError, match="rows"):
        read_all(path)
