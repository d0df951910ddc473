"""Files of `torch.save` read without torch: the same numbers as torch reads, and nothing but numbers."""

import collections
import io
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.cache.importers.reading import tensors
from gatescope.cache.importers.reading.tensors import Tensor, open_tensors
from gatescope.routing.errors import TraceError

ROOT = Path(__file__).parents[3]
WHOLE = [torch.int32, torch.int64, torch.int16, torch.int8, torch.uint8]
DTYPES = [*WHOLE, torch.bool, torch.float32, torch.float64, torch.float16]


def unfolded(value):
    """Tensors as arrays, however deep they lie."""
    if isinstance(value, Tensor):
        return value.array()
    if isinstance(value, torch.Tensor):
        return value.numpy()
    if isinstance(value, dict):
        return {key: unfolded(each) for key, each in value.items()}
    return type(value)(unfolded(each) for each in value) if isinstance(value, list | tuple) else value


def same(one, other):
    """Whether two unfolded values agree, types of arrays included."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and np.array_equal(one, other, equal_nan=True)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or one != one)


def read(path):
    with open_tensors(path) as content:
        return unfolded(content)


LEAVES = st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=4)
        | st.tuples(inner, inner)
        | st.tuples(inner, inner, inner, inner)
    ),
    max_leaves=25,
)


@settings(max_examples=200)
@given(VALUES)
def test_whatever_torch_saves_of_plain_values_comes_back(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "plain.pt"
    torch.save(value, path)
    assert same(read(path), value)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_of_every_kind_are_those_that_torch_reads(tmp_path, dtype):
    whole = (torch.arange(120) % 100).to(dtype).reshape(2, 3, 4, 5)
    value = {
        "whole": whole,
        "turned": whole.transpose(0, 3),
        "part": whole[1:, :, ::2, 1],
        "again": whole,
        "wide": whole[0, 0, 0].expand(7, 5),
        "empty": whole[:0],
        "one": whole[1, 2, 3, 4],
        "none": torch.zeros(0, dtype=dtype),
    }
    torch.save(value, tmp_path / "a.pt")
    assert same(read(tmp_path / "a.pt"), unfolded(torch.load(tmp_path / "a.pt", weights_only=True)))


def test_long_lists_and_ordered_dictionaries(tmp_path):
    value = {"many": list(range(5000)), "ordered": collections.OrderedDict(a=1, b=[2])}
    torch.save(value, tmp_path / "a.pt")
    assert read(tmp_path / "a.pt") == {"many": list(range(5000)), "ordered": {"a": 1, "b": [2]}}


def test_reading_needs_no_torch(tmp_path):
    torch.save({"a": torch.arange(3)}, tmp_path / "a.pt")
    lines = (
        "import sys; from pathlib import Path; from gatescope.cache.importers.reading.tensors import open_tensors\n"
        f"with open_tensors(Path({str(tmp_path / 'a.pt')!r})) as held: print(held['a'].array().tolist())\n"
        "print('torch' in sys.modules, 'pickle' in sys.modules and 'numpy' not in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", lines], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[0, 1, 2]", "False False"]


def archive(path, pickled, **members):
    """A file like torch's, around any pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", pickled)
        file.writestr("a/byteorder", members.pop("byteorder", b"little"))
        for name, data in members.items():
            file.writestr(f"a/data/{name.removeprefix('s')}", data)
    return path


class Calls:
    """Pickles itself as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Slots:
    """Pickles itself as an object with a state."""

    def __init__(self):
        self.a = 1


def hostile(target):
    """Pickles that run something when Python unpickles them, and pickles of other objects."""
    line = f"__import__('pathlib').Path({str(target)!r}).touch()"
    yield "call", pickle.dumps(Calls(os.system, f"touch {target}"), 2)
    yield "eval", pickle.dumps(Calls(eval, line), 2)
    yield "exec, protocol 4", pickle.dumps(Calls(exec, line), 4)
    yield "within a list", pickle.dumps([1, Calls(eval, line)], 2)
    yield "protocol 0", pickle.dumps(Calls(eval, line), 0)
    yield "inst", b"(S'" + line.encode() + b"'\nibuiltins\neval\n."
    yield "obj", b"(cbuiltins\neval\nS'" + line.encode() + b"'\no."
    yield "global alone", b"\x80\x02cbuiltins\neval\n."
    yield "dotted", b"\x80\x02ctorch\nstorage.os.system\n."
    yield "torch itself", b"\x80\x02ctorch\nload\n."
    yield "an unlisted name of torch", b"\x80\x02ctorch._utils\n_rebuild_tensor\n."
    yield "getattr", b"\x80\x02cbuiltins\ngetattr\n."
    yield "object with state", pickle.dumps(Slots(), 2)
    yield "class", pickle.dumps(Slots, 2)
    yield "set", pickle.dumps({1, 2}, 4)
    yield "bytes", pickle.dumps(b"abc", 4)
    yield "extension", b"\x80\x02\x82\x01."
    yield "build on a dictionary", b"\x80\x02}}X\x01\x00\x00\x00aK\x01sb."
    yield "stack global", b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93."
    yield "newobj", b"\x80\x02cbuiltins\nobject\n)\x81."


def test_nothing_that_python_would_call_is_called(tmp_path):
    target = tmp_path / "was_here"
    for name, pickled in hostile(target):
        with pytest.raises(TraceError, match=r"the pickle asks for|broken pickle"):
            read(archive(tmp_path / "a.pt", pickled))
        assert not target.exists(), name


def test_the_hostile_pickles_are_hostile(tmp_path):
    """Python's own unpickler runs the first few of them: the test above would see it."""
    target = tmp_path / "was_here"
    for _, pickled in list(hostile(target))[:7]:
        pickle.loads(pickled)
        assert target.exists()
        target.unlink()


@pytest.mark.parametrize("code", sorted(tensors.NAMES), ids=lambda code: tensors.NAMES[code])
def test_every_instruction_that_only_objects_need_is_refused_by_name(tmp_path, code):
    if code in tensors.INSTRUCTIONS or code == tensors.STOP:
        return
    with pytest.raises(TraceError, match=f"asks for {tensors.NAMES[code]} at byte 2"):
        read(archive(tmp_path / "a.pt", b"\x80\x02" + bytes([code]) + bytes(20)))


def test_the_instructions_are_those_that_torch_needs_and_no_more(tmp_path):
    """As written down from the format: nothing builds objects, finds extensions or makes instances."""
    known = {tensors.NAMES[code] for code in tensors.INSTRUCTIONS}
    assert known.isdisjoint({"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"})
    value = [torch.zeros(3, dtype=torch.int32), None, 1.5, True, "x", 70000, -1, 2**40, (), (1,), (1, 2, 3, 4)]
    torch.save({"a": value, "b": list(range(3))}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as file:
        used = {op.name for op, _, _ in pickletools.genops(file.read("a/data.pkl"))}
    assert used - known == {"STOP"}


TENSOR = (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nIntStorage\n"
    b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu%(count)stQ%(offset)s%(shape)s%(stride)s\x89ccollections\nOrderedDict\n)RtR."
)


def number(value):
    return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)


def numbers(*values):
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(*, count=4, offset=0, shape=(4,), stride=(1,)):
    said = {b"count": number(count), b"offset": number(offset), b"shape": numbers(*shape), b"stride": numbers(*stride)}
    return TENSOR % said


def test_the_hand_made_tensor_is_one(tmp_path):
    raw = struct.pack("<4i", 1, -2, 3, 4)
    assert read(archive(tmp_path / "a.pt", tensor(), s0=raw)).tolist() == [1, -2, 3, 4]
    big = archive(tmp_path / "b.pt", tensor(), s0=struct.pack(">4i", 1, -2, 3, 4), byteorder=b"big")
    assert read(big).tolist() == [1, -2, 3, 4]
    view = tensor(offset=3, shape=(1, 0), stride=(9, 9))
    assert read(archive(tmp_path / "a.pt", view, s0=raw)).shape == (1, 0)


@pytest.mark.parametrize(
    "odd",
    [
        {"offset": 1},
        {"offset": -1},
        {"shape": (5,)},
        {"shape": (2,), "stride": (4,)},
        {"shape": (2,), "stride": (-1,)},
        {"shape": (-1,)},
        {"shape": (2**40,), "stride": (0,)},
        {"shape": (2**20, 2**20), "stride": (0, 0)},
        {"shape": (2**62,)},
        {"shape": (2, 2)},
        {"shape": (1,) * 9, "stride": (1,) * 9},
        {"count": 5},
        {"count": 3},
        {"count": -4},
        {"count": 2**60},
        {"offset": 2**60},
    ],
    ids=str,
)
def test_views_that_reach_out_of_their_storage_are_refused(tmp_path, odd):
    with pytest.raises(TraceError):
        read(archive(tmp_path / "a.pt", tensor(**odd), s0=bytes(16)))


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b".",
        b"\x80\x02.",
        b"\x80\x02N",
        b"\x80\x02NN.",
        b"\x80\x02(.",
        b"\x80\x02t.",
        b"\x80\x02e.",
        b"\x80\x02]K\x01Ke.",
        b"\x80\x02NK\x01a.",
        b"\x80\x02}]K\x01s.",
        b"\x80\x02}(K\x01u.",
        b"\x80\x02}}K\x01s.",
        b"\x80\x02NK\x01K\x02s.",
        b"\x80\x02h\x05.",
        b"\x80\x02q\x05.",
        b"\x80\x02\x85.",
        b"\x80\x02NNR.",
        b"\x80\x02NQ.",
        b"\x80\x02(NNNNNtQ.",
        b"\x80\x02ctorch\nIntStorage\n)R.",
        b"\x80\x02X\xff\xff\xff\xffabc.",
        b"\x80\x02X\x01\x00\x00\x00\xff.",
        b"\x80\x02\x8a\xffabc.",
        b"\x80\x02Jab",
        b"\x80\x02ctorch",
        b"\x80\x02c\xff\n\xff\n.",
        b"\x80\x05N.",
    ],
)
def test_broken_pickles_are_refused_where_they_break(tmp_path, pickled):
    with pytest.raises(TraceError, match=r"pickle .*at byte|pickle asks for"):
        read(archive(tmp_path / "a.pt", pickled))


@settings(max_examples=500)
@given(st.binary(max_size=60) | st.lists(st.sampled_from(sorted(tensors.NAMES)), max_size=40).map(bytes))
def test_any_bytes_at_all_give_data_or_a_refusal(data):
    """No crash, no other error, and never anything but the values that data is made of."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("a/data.pkl", data)
    machine = tensors._Machine(data, "any", lambda _storage: np.zeros(0))
    try:
        value = machine.run()
    except TraceError:
        return
    allowed = (type(None), bool, int, float, str, list, dict, tuple, Tensor, tensors.Storage, tensors.Name, np.dtype)
    assert isinstance(value, allowed)


def test_deep_nests_and_lists_in_themselves_are_only_data(tmp_path):
    nest = archive(tmp_path / "a.pt", b"\x80\x02" + b"(" * 200_000 + b"t" * 200_000 + b".")
    with open_tensors(nest) as content:
        assert type(content) is tuple
    own = archive(tmp_path / "b.pt", b"\x80\x02]q\x00h\x00a.")
    with open_tensors(own) as content:
        assert content[0] is content
    keyed = archive(tmp_path / "c.pt", b"\x80\x02}" + b"(" * 200_000 + b"t" * 200_000 + b"Ns.")
    with pytest.raises(TraceError, match="keys"):
        read(keyed)


def test_archives_of_another_make_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"a": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(TraceError):
        read(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02N.")
        file.writestr("b/data.pkl", b"\x80\x02N.")
    with pytest.raises(TraceError, match="2 descriptions"):
        read(path)
    with pytest.raises(TraceError, match="order of bytes"):
        read(archive(path, b"\x80\x02N.", byteorder=b"middle"))
    with pytest.raises(TraceError, match="no a/data/0"):
        read(archive(path, tensor()))


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"records": [{"topk_ids_of_layer": torch.zeros(3, 100, 8, dtype=torch.int32)}]}, path)
    whole = path.read_bytes()
    for length in range(0, len(whole), len(whole) // 50):
        path.write_bytes(whole[:length])
        with pytest.raises(TraceError):
            read(path)


def test_descriptions_too_large_for_memory_are_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "MOST_INSTRUCTIONS", 1000)
    torch.save(list(range(1000)), tmp_path / "a.pt")
    with pytest.raises(TraceError, match="at most") as caught:
        read(tmp_path / "a.pt")
    assert "more often" in caught.value.do


def test_a_compressed_storage_is_read_as_its_numbers_and_refused_where_it_grows_too_large(tmp_path, monkeypatch):
    """torch reads the first wrongly (with mmap) and takes whatever memory the second asks for."""
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/data.pkl", tensor(count=2**20, shape=(2**20,)))
        file.writestr("a/data/0", bytes(2**22))
    assert not read(tmp_path / "a.pt").any()
    monkeypatch.setattr(tensors, "AT_ONCE", 2**21)
    with pytest.raises(TraceError):
        read(tmp_path / "a.pt")
