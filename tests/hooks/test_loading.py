"""Loading: what works, and every way a model can fail to be there, be whole, fit or have a router."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from gatescope.hooks import CaptureOptions, attach, capture, load_model
from gatescope.hooks.loading.weights import check_memory, check_weights, fingerprint, resolve
from gatescope.routing.errors import (
    DenseModelError,
    ModelAccessError,
    ModelMemoryError,
    ModelNotFoundError,
    OptionError,
    WeightsError,
)
from tests.hooks.zoo import specimen
from tests.hub import environment, serving

ROOT = Path(__file__).parents[2]
ALICE = ROOT.parent / "shared" / "realdata" / "alice_glm4moe" / "hf_glm4moe_top2"


@pytest.fixture
def copy(folder, tmp_path):
    """A model folder that may be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_a_saved_folder_loads_checks_itself_and_captures(folder):
    loaded = load_model(folder, device="cpu")
    assert loaded.selfcheck.passed
    assert (loaded.name, loaded.dtype, loaded.device, loaded.max_tokens) == ("tiny-qwen3-moe", "float32", "cpu", 128)
    assert loaded.count_tokens("four") == 5
    record = capture(loaded, "four")
    assert record.provenance.fingerprint == loaded.fingerprint
    assert record.provenance.versions["transformers"] == transformers.__version__


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_passes_the_self_check(folder, dtype):
    loaded = load_model(folder, device="cpu", dtype=dtype)
    assert loaded.dtype == dtype
    assert loaded.selfcheck.passed, loaded.selfcheck


@pytest.mark.skipif(
    not ALICE.is_dir(), reason="the trained GLM-4-MoE sample is not beside the project (../shared/realdata)"
)
def test_a_trained_sigmoid_router_with_a_selection_bias_is_read():
    loaded = load_model(ALICE, device="cpu")
    rule = loaded.layers[0]
    assert (rule.score, rule.has_selection_bias, rule.shared_experts) == ("sigmoid", True, 1)
    record = capture(loaded, "Alice was beginning to get very tired", CaptureOptions(logits=True))
    assert record.tokens == 37
    score_tlk = np.take_along_axis(1 / (1 + np.exp(-record.logit_tle.astype(float))), record.ids_tlk.astype(int), 2)
    np.testing.assert_allclose(record.weight_tlk, score_tlk, atol=2e-3)
    assert np.median(record.loss_t[:-1]) < 0.01, "it has learnt this sentence by heart"


def test_the_fingerprint_changes_with_one_weight(copy):
    files = check_weights(copy).paths
    before = fingerprint(copy, files)
    with files[0].open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([last[0] ^ 1]))
    assert fingerprint(copy, files) != before


def test_a_truncated_weights_file_is_named(copy):
    file = copy / "model.safetensors"
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size - 100)
    with pytest.raises(WeightsError, match=r"model\.safetensors is damaged"):
        load_model(copy)


def test_a_weights_file_of_noise_is_named(copy):
    (copy / "model.safetensors").write_bytes(b"not a tensor in sight" * 50)
    with pytest.raises(WeightsError, match="is not readable"):
        load_model(copy)


def test_pickled_weights_are_never_read(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="is a pickle, which is never read"):
        load_model(copy)


def test_a_missing_shard_is_named(copy):
    (copy / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}})
    )
    with pytest.raises(WeightsError, match=r"lacks model-00002\.safetensors"):
        load_model(copy)


def test_weights_that_do_not_fit_the_config_are_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))
    with pytest.raises(WeightsError, match="do not load"):
        load_model(copy)


@pytest.mark.parametrize(
    "change", [{"num_hidden_layers": 5}, *({"num_experts": n, "num_local_experts": n} for n in (4, 16))]
)
def test_a_config_that_asks_for_other_layers_or_experts_than_the_weights_hold_is_refused(copy, change):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(WeightsError, match=r"no weights for|do not load"):
        load_model(copy)


@pytest.mark.parametrize("name", ["switch_transformers", "qwen3_vl_moe", "openai_privacy_filter", "nllb_moe", "llama4"])
def test_a_saved_model_is_loaded_by_the_class_that_wrote_it(name, tmp_path, tokenizer):
    model = specimen(name).model
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert type(loaded.model) is type(model)
    record = capture(loaded, "some text")
    assert record.tokens >= loaded.count_tokens("some text")


def test_a_model_spread_over_devices_records_what_it_records_on_one(folder):
    spread, whole = (load_model(folder, device=device) for device in ("spread", "cpu"))
    assert spread.selfcheck.passed
    one, other = (capture(model, "some text", CaptureOptions(max_new_tokens=3)) for model in (spread, whole))
    np.testing.assert_array_equal(one.ids_tlk, other.ids_tlk)
    np.testing.assert_array_equal(one.weight_tlk, other.weight_tlk)


def test_a_folder_that_is_no_model_says_what_it_holds(tmp_path):
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(ModelNotFoundError, match=r"no config\.json \(it holds holiday\.jpg\)"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./nor-here", "a b c"])
def test_a_name_that_is_nothing_is_refused_without_a_network(name):
    with pytest.raises(ModelNotFoundError):
        load_model(name)


def test_an_unknown_model_type_is_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "martian"}))
    with pytest.raises(ModelNotFoundError, match="martian"):
        load_model(copy)


def test_weights_larger_than_memory_are_refused_before_they_are_read(copy):
    # a sparse file: four terabytes by its header, a few bytes on disk
    header = json.dumps({"w": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    with (copy / "model.safetensors").open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(8 + len(header) + 4 * 10**12)
    with pytest.raises(ModelMemoryError, match=r"needs 3725\.3 GiB"):
        load_model(copy, dtype="float32", device="cpu")


def test_memory_that_suffices_passes():
    check_memory(1, torch.device("cpu"), "tiny")


def test_a_dense_model_is_told_so_with_what_was_looked_for(tokenizer):
    config = transformers.LlamaConfig(
        vocab_size=259, hidden_size=32, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4
    )
    with pytest.raises(DenseModelError, match="dense: no router found in llama") as caught:
        attach(transformers.AutoModelForCausalLM.from_config(config), tokenizer, name="llama")
    assert "num_experts" in caught.value.expected


@pytest.mark.parametrize("options", [{"device": "tpu"}, {"dtype": "int3"}])
def test_unknown_devices_and_dtypes_are_refused(folder, options):
    with pytest.raises(OptionError, match="expected: one of"):
        load_model(folder, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is present; this checks the answer without one")
def test_a_missing_gpu_is_said(folder):
    with pytest.raises(OptionError, match="does not see"):
        load_model(folder, device="cuda")


def resolve_in_process(endpoint, home, *names):
    """What `resolve` says of each name in a new process: huggingface_hub reads its settings at import."""
    code = (
        "import sys\nfrom gatescope.hooks.loading.weights import resolve\n"
        "from gatescope.routing.errors import GatescopeError\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n        print(resolve(name))\n"
        "    except GatescopeError as e:\n        print(type(e).__name__, e.found, '|', e.expected, '|', e.do)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *names],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(endpoint, home),
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_hub_id_is_downloaded_or_what_stands_in_the_way_is_said(folder, tmp_path):
    with serving(folder) as address:
        known, gated, unknown = resolve_in_process(address, tmp_path, "here/tiny", "gated/model", "nobody/nothing")
    assert "name='here/tiny'" in known and "c0ffee" in known
    assert gated.startswith(ModelAccessError.__name__) and "hf auth login" in gated
    assert unknown.startswith(ModelNotFoundError.__name__) and "knows no model 'nobody/nothing'" in unknown


def load_in_process(endpoint, home, name):
    """The stages of loading a hub's model in a new process, and the error that ends them."""
    code = (
        "import sys\nfrom gatescope.hooks import load_model\nfrom gatescope.routing.errors import GatescopeError\n"
        "try:\n    load_model(sys.argv[1], on_stage=print)\n"
        "except GatescopeError as e:\n    print(type(e).__name__, e.found)\n"
    )
    settings = environment(endpoint, home)
    done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, cwd=ROOT, env=settings)
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_hub_model_says_its_size_before_a_weight_is_downloaded_and_too_large_a_one_is_refused(folder, tmp_path):
    weights = check_weights(folder).parameters
    with serving(folder) as address:
        stages = load_in_process(address, tmp_path / "home", "here/tiny")
    assert f"downloading here/tiny: {weights / 1e9:.2f} billion weights" in stages[1]
    assert "checking the files of here/tiny" in stages[2]
    large = tmp_path / "large"
    large.mkdir()
    transformers.DeepseekV3Config(architectures=["DeepseekV3ForCausalLM"], dtype="bfloat16").save_pretrained(large)
    with serving(large) as address:
        *_, said = load_in_process(address, tmp_path / "other", "here/tiny")
    assert re.match(r"ModelMemoryError here/tiny needs 12\d\d\.\d GiB for its weights", said)


@pytest.mark.slow
def test_without_a_network_the_hub_is_said_to_be_out_of_reach(tmp_path):
    (said,) = resolve_in_process("http://127.0.0.1:9", tmp_path, "some/model")
    assert said.startswith(ModelNotFoundError.__name__) and "could not be reached" in said


def test_a_folder_is_resolved_without_asking_anyone(folder):
    assert resolve(str(folder)).path == folder
