"""Files and libraries that cannot be read are refused in words, and never end the process."""

import ctypes
import ctypes.util
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM, Qwen3Config, Qwen3ForCausalLM

from gatescope.routing.errors import (
    DenseModelError,
    ModelError,
    ModelMemoryError,
    ModelNotFoundError,
    OptionError,
    PromptError,
    RouterOutputError,
    WeightsError,
)

pytestmark = pytest.mark.skipif(
    not (find_spec("xllamacpp") and find_spec("gguf")), reason="needs xllamacpp and gguf (requirements-dev.txt)"
)
if find_spec("gguf"):
    import gguf

    from benchmarks.gguf_files import write_gguf
    from gatescope.engines.llamacpp import capture_gguf, open_gguf, stream_gguf
    from gatescope.engines.llamacpp import library as libraries
    from gatescope.engines.llamacpp.header import free_memory
    from gatescope.engines.llamacpp.structures import ContextParams, padded

ROOT = Path(__file__).parents[2]
SIZE = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MixtralForCausalLM(MixtralConfig(**SIZE, num_local_experts=8, num_experts_per_tok=2)).eval()


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    return write_gguf(model, tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def opened(path):
    with open_gguf(path, threads=1, proof=False) as it:
        yield it


def test_no_such_file(tmp_path):
    with pytest.raises(ModelNotFoundError, match="is not there"):
        open_gguf(tmp_path / "none.gguf")
    with pytest.raises(ModelNotFoundError, match="is a folder"):
        open_gguf(tmp_path)


def test_what_is_no_gguf(tmp_path):
    for content in (b"", b"GGU", b"PK\x03\x04 something else", (ROOT / "README.md").read_bytes()):
        file = tmp_path / "other.gguf"
        file.write_bytes(content)
        with pytest.raises(WeightsError, match=re.escape(f"begins with {content[:4]!r}")):
            open_gguf(file)


def test_a_file_that_breaks_off_is_told_wherever_it_breaks(path, tmp_path):
    whole = path.read_bytes()
    for length in (4, 20, 100, 1000, len(whole) // 2, len(whole) - 1):
        file = tmp_path / "torn.gguf"
        file.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"cannot be read|its header speaks of"):
            open_gguf(file)


def test_a_dense_model(tmp_path):
    file = write_gguf(Qwen3ForCausalLM(Qwen3Config(**SIZE, head_dim=8)), tmp_path / "dense.gguf")
    with pytest.raises(DenseModelError, match=r"qwen3\.expert_count=0"):
        open_gguf(file)


def test_an_architecture_whose_graph_names_no_chosen_experts(tmp_path):
    """A dense graph in a file that claims experts."""
    dense = Qwen3ForCausalLM(Qwen3Config(**SIZE, head_dim=8))
    dense.config.num_experts, dense.config.num_experts_per_tok = 8, 2
    file = write_gguf(dense, tmp_path / "claims.gguf")
    with pytest.raises(RouterOutputError, match="qwen3 never names its chosen experts"):
        open_gguf(file)


def test_an_architecture_that_llama_cpp_does_not_know(model, tmp_path):
    file = write_gguf(model, tmp_path / "unknown.gguf")
    file.write_bytes(file.read_bytes().replace(b"llama", b"lxama"))
    with pytest.raises(ModelError, match="unknown model architecture: 'lxama'"):
        open_gguf(file)


def test_a_file_without_one_of_its_tensors(path, tmp_path):
    file = tmp_path / "renamed.gguf"
    file.write_bytes(path.read_bytes().replace(b"blk.1.ffn_gate_inp", b"blk.1.ffn_gate_xxx"))
    with pytest.raises(ModelError, match=r"blk\.1\.ffn_gate_inp\.weight"):
        open_gguf(file)


def test_an_encoder(model, tmp_path):
    reader = gguf.GGUFReader(write_gguf(model, tmp_path / "model.gguf"))
    writer = gguf.GGUFWriter(tmp_path / "encoder.gguf", "llama")
    writer.add_expert_count(8)
    writer.add_causal_attention(False)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match="is an encoder"):
        open_gguf(tmp_path / "encoder.gguf")


def test_a_file_that_ends_the_process_that_loads_it(tmp_path):
    """More experts used than there are: llama.cpp aborts."""
    config = MixtralConfig(**SIZE, num_local_experts=4, num_experts_per_tok=2)
    contradiction = MixtralForCausalLM(config)
    contradiction.config.num_experts_per_tok = 9
    file = write_gguf(contradiction, tmp_path / "contradiction.gguf")
    with pytest.raises(WeightsError, match=r"does not survive .* \(signal 6\).*n_expert_used"):
        open_gguf(file)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="free memory is read on Linux alone")
def test_weights_larger_than_the_free_memory(tmp_path):
    """A sparse file that is as long as its header says."""
    rows = free_memory() // (4 * 2**20) + 2**10
    writer = gguf.GGUFWriter(tmp_path / "huge.gguf", "llama")
    writer.add_expert_count(8)
    writer.add_tensor_info("token_embd.weight", (rows, 2**20), np.dtype(np.float32), 4 * rows * 2**20)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with (tmp_path / "huge.gguf").open("r+b") as file:
        file.truncate(4 * rows * 2**20 + 2**20)
    with pytest.raises(ModelMemoryError, match=r"huge has \d+\.\d GiB of weights; \d+\.\d GiB are free"):
        open_gguf(tmp_path / "huge.gguf")


def test_keys_and_values_larger_than_the_memory(tmp_path):
    """1 MiB for each of a million tokens."""
    wide = {"num_attention_heads": 64, "num_key_value_heads": 64, "head_dim": 256, "max_position_embeddings": 2**20}
    deep = {"hidden_size": 8, "num_hidden_layers": 16, "num_local_experts": 4, "num_experts_per_tok": 2}
    model = MixtralForCausalLM(MixtralConfig(**(SIZE | wide | deep)))
    with open_gguf(write_gguf(model, tmp_path / "wide.gguf"), threads=1, proof=False) as opened:
        with pytest.raises(ModelMemoryError, match="made no context for 1048576 tokens"):
            capture_gguf(opened, [1] * 2**20)
        assert capture_gguf(opened, [1, 2, 3]).tokens == 3, "a shorter text is still read"


def test_a_model_in_parts_is_the_model(path, tmp_path):
    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(tmp_path / "parts.gguf", "llama", split_max_tensors=8)
    for name, value in stated(reader).items():
        if name.startswith(("llama.", "tokenizer.", "general.file_type")):
            (writer.add_string if isinstance(value, str) else number_writer(writer, value))(name, value)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data))
    writer.write_header_to_file(tmp_path / "parts.gguf")
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    parts = sorted(tmp_path.glob("parts-*.gguf"))
    assert len(parts) > 2
    with open_gguf(parts[0], threads=1) as split, open_gguf(path, threads=1, proof=False) as whole:
        np.testing.assert_array_equal(capture_gguf(split, [5, 6, 7]).ids_tlk, capture_gguf(whole, [5, 6, 7]).ids_tlk)
        assert split.header.size_bytes >= whole.header.size_bytes
    with pytest.raises(WeightsError, match="is part 2 of"):
        open_gguf(parts[1])
    parts[1].unlink()
    with pytest.raises(WeightsError, match=parts[1].name):
        open_gguf(parts[0])


def stated(reader):
    """Names and values of a file, texts in arrays left out."""
    return {name: field.contents() for name, field in reader.fields.items() if len(field.types) == 1}


def number_writer(writer, value):
    return writer.add_float32 if isinstance(value, float) else writer.add_uint32


def test_text_for_a_file_without_a_vocabulary(opened):
    with pytest.raises(PromptError, match="a text for a file without a vocabulary"):
        capture_gguf(opened, "Where does this go?")


def test_documents_that_cannot_be_read(opened):
    cases = {
        "no documents": [],
        "document 0 is blank": "  \n",
        "document 1 has no tokens": [[1, 2], []],
        "document 0 has the token id 99": [98, 99],
        "document 0 has the token id -1": [-1, 5],
        "document 0: 65 tokens and 0 new ones": [1] * 65,
    }
    for message, documents in cases.items():
        with pytest.raises(PromptError, match=message):
            capture_gguf(opened, documents)
    with pytest.raises(PromptError, match="document 0: 60 tokens and 5 new ones"):
        capture_gguf(opened, [1] * 60, max_new_tokens=5)
    assert capture_gguf(opened, [1] * 60, max_new_tokens=4).tokens == 64


def test_a_stream_refuses_before_anything_runs(opened):
    with pytest.raises(PromptError, match="document 1"):
        stream_gguf(opened, [[1, 2], [1] * 65])


def test_options_out_of_range(opened, path):
    with pytest.raises(OptionError, match="max_new_tokens is -1"):
        capture_gguf(opened, [1, 2], max_new_tokens=-1)
    with pytest.raises(OptionError, match="attention 'fast'"):
        open_gguf(path, attention="fast")
    with pytest.raises(OptionError, match="-1 threads"):
        open_gguf(path, threads=-1)


def test_a_closed_model_says_so(path):
    with open_gguf(path, threads=1, proof=False) as it:
        assert it.layers[0].experts == 8
    for use in (lambda: capture_gguf(it, [1, 2]), lambda: it.begin(1), lambda: it.parameters):
        with pytest.raises(ModelError, match="was closed"):
            use()


def test_a_library_that_is_another_one(path):
    other = ctypes.util.find_library("m")
    with pytest.raises(ModelError, match=r"does not load|lacks \d+ functions, the first is llama_version"):
        open_gguf(path, library=Path("/lib") / str(other))
    spec = find_spec("_ctypes")
    with pytest.raises(ModelError, match=r"lacks \d+ functions, the first is llama_version"):
        open_gguf(path, library=spec.origin)


def test_a_library_with_another_layout_is_refused_before_it_is_used(monkeypatch):
    """Read through the layout of an older version, which had one field less, the defaults are not where they belong."""
    installed = libraries.load_library()
    older = tuple(field for field in ContextParams._fields_ if field[0] != "n_outputs_max_per_seq")
    shifted = type("Older", (ctypes.Structure,), {"_fields_": older})
    fewer = {name: value for name, value in libraries.DEFAULTS[ContextParams].items() if hasattr(shifted, name)}
    monkeypatch.setitem(libraries.FUNCTIONS, "llama_context_default_params", (padded(shifted), ()))
    monkeypatch.setitem(libraries.DEFAULTS, ContextParams, fewer)
    with pytest.raises(ModelError, match=r"has \w+=\S+ by default where \S+ was expected") as refusal:
        libraries.Library(installed.path, {})
    assert refusal.value.do == f"pip install xllamacpp=={libraries.TESTED}"


def test_without_the_package_the_error_says_how_to_get_it(path, tmp_path):
    """In an environment that has everything but xllamacpp."""
    for entry in Path(np.__file__).parents[1].iterdir():
        if not entry.name.startswith("xllamacpp"):
            (tmp_path / entry.name).symlink_to(entry)
    code = "import sys; from gatescope.engines.llamacpp import open_gguf; open_gguf(sys.argv[1])"
    tried = subprocess.run(
        [sys.executable, "-S", "-c", code, path],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "gatescope.routing.errors.ModelError" in tried.stderr
    assert f"do: pip install xllamacpp=={libraries.TESTED}" in tried.stderr


def test_the_version_in_the_error_is_the_one_that_is_tested():
    pins = (ROOT / "requirements-dev.txt").read_text().splitlines()
    assert libraries.INSTALL.removeprefix("pip install ") in pins
