"""The same text gives the same routing, in whatever way the model is run; or the way is refused, never left empty."""

import contextlib

import numpy as np
import pytest
import torch
from accelerate import cpu_offload, disk_offload
from peft import LoraConfig, PromptTuningConfig, TaskType, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, CompileConfig, QuantoConfig

from gatescope.hooks import attach, record
from gatescope.routing.errors import RouterOutputError
from gatescope.routing.record import Flag

WAYS = ["mixtral", "deepseek_v3", "gpt_oss"]
TEXTS = [[7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17], [40, 41, 42, 43], [99, 98, 97, 96, 95, 94, 93, 92]]
PAD = 258
NEAR = {torch.float32: 1e-4, torch.bfloat16: 0.06, torch.float16: 0.01}  # a margin that rounding may overturn
HALF = 2e-3  # weights are kept as float16; they reach 2.5


@pytest.fixture(params=WAYS)
def family(request):
    return request.param


@pytest.fixture
def model(make_tiny, family):
    return make_tiny(family)


@pytest.fixture
def plain(make_tiny, family):
    """The routing of each text alone, in plain passes of a model that nothing was done to."""
    return plainly(make_tiny(family))


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def plainly(model, texts=TEXTS):
    with record(model) as recording, torch.no_grad():
        for text in texts:
            model(torch.tensor([text]))
    return recording.record()


def document(routing, number):
    return routing.take(routing.document_t == number)


def batch(texts=TEXTS, side="right"):
    """Ids and mask, padded to one length."""
    length = max(map(len, texts))
    padded = [
        [PAD] * (length - len(text)) + text if side == "left" else text + [PAD] * (length - len(text)) for text in texts
    ]
    ids = torch.tensor(padded)
    return {"input_ids": ids, "attention_mask": (ids != PAD).long()}


def alike(found, wanted, near=NEAR[torch.float32]):
    """The same experts by the same weights; another set only where its last two candidates were almost tied."""
    np.testing.assert_array_equal(found.token_t, wanted.token_t)
    differs_tl = (np.sort(found.ids_tlk, -1) != np.sort(wanted.ids_tlk, -1)).any(-1)
    assert (wanted.margin_tl[differs_tl] <= near).all()
    assert differs_tl.mean() <= (0.01 if near < 1e-3 else 0.1)
    differs_t = np.maximum.accumulate(differs_tl.any(-1))  # what comes behind such a token has read other outputs
    gap_tlk = np.abs(found.weight_tlk.astype(float) - wanted.weight_tlk.astype(float))
    assert gap_tlk[~differs_t].max(initial=0.0) <= max(HALF, near)


def test_a_changed_route_would_be_seen(plain):
    changed = plain.ids_tlk.copy()
    changed[3, 1, 0] = next(expert for expert in range(8) if expert not in changed[3, 1])
    from dataclasses import replace

    with pytest.raises(AssertionError):
        alike(replace(plain, ids_tlk=changed), plain)
    with pytest.raises(AssertionError):
        alike(replace(plain, weight_tlk=(plain.weight_tlk * np.float16(0.9))), plain)


@pytest.mark.parametrize("implementation", ["eager", "batched_mm", "grouped_mm"])
def test_experts_implementations(model, plain, implementation):
    model.set_experts_implementation(implementation)
    routing = plainly(model)
    assert routing.provenance.experts_implementation == implementation
    alike(routing, plain)


@pytest.mark.parametrize("dtype", list(NEAR), ids=str)
def test_number_formats(model, tokenizer, dtype):
    """What each model does in its own format: the self-check on it, and the very arguments of its experts."""
    model = model.to(dtype)
    assert attach(model, tokenizer, name="any").selfcheck.passed
    seen = {}
    handles = [
        site.experts.register_forward_pre_hook(lambda _, args, layer=site.layer: seen.update({layer: args[1:3]}))
        for site in attach(model, tokenizer, name="any").sites
    ]
    routing = plainly(model, TEXTS[:1])
    for handle in handles:
        handle.remove()
    assert routing.provenance.dtype == str(dtype).removeprefix("torch.")
    for layer, (ids, weights) in seen.items():
        weights, order = weights.float().sort(dim=-1, descending=True, stable=True)
        np.testing.assert_array_equal(routing.ids_tlk[:, layer, : ids.shape[1]], ids.gather(1, order))
        np.testing.assert_allclose(routing.weight_tlk[:, layer, : ids.shape[1]], weights.detach(), rtol=1e-3)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_a_token_at_a_time(model, plain, cache):
    """Each text again: its first two tokens at once, then the rest through a cache."""
    with record(model) as recording:
        for text in TEXTS:
            force = _ForcedText(text)
            model.generate(
                torch.tensor([text[:2]]),
                max_new_tokens=len(text) - 1,
                logits_processor=[force],
                cache_implementation=cache,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=PAD,
            )
    routing = recording.record()
    alike(routing, plain)
    assert (routing.flag_t == Flag.GENERATED).sum() == sum(len(text) - 2 for text in TEXTS)


class _ForcedText:
    """Makes a model generate a given text."""

    def __init__(self, text):
        self.text = [*text, 0]

    def __call__(self, ids, scores):
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self.text[ids.shape[1]]] = 0
        return forced


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(model, plain, side):
    with record(model) as recording, torch.no_grad():
        model(**batch(side=side))
    alike(recording.record(), plain)


def test_padding_that_was_routed_is_not_in_the_record(model):
    with record(model) as recording, torch.no_grad():
        model(**batch())
    assert PAD not in recording.record().token_t
    with record(model) as recording, torch.no_grad():
        model(batch()["input_ids"])
    assert (recording.record().token_t == PAD).sum() == 10, "without a mask, they are tokens like any other"


@pytest.mark.parametrize(
    "family", ["mixtral", "deepseek_v3"], indirect=True
)  # gpt_oss lets packed texts see each other
def test_packing(model, plain):
    packed = [token for text in TEXTS for token in text]
    positions = [place for text in TEXTS for place in range(len(text))]
    with record(model) as recording, torch.no_grad():
        model(torch.tensor([packed]), position_ids=torch.tensor([positions]), use_cache=False)
    alike(recording.record(), plain)


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_batches(model, plain, rows):
    texts = [TEXTS[row % 3] for row in range(rows)]
    with record(model) as recording, torch.no_grad():
        model(**batch(texts))
    routing = recording.record()
    assert len(routing.documents) == rows
    for row in range(rows):
        alike(document(routing, row), document(plain, row % 3))


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_training_step_with_checkpointing(model, plain, reentrant):
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    model.train()
    for module in model.modules():
        if hasattr(module, "jitter_noise"):
            module.jitter_noise = 0.0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with record(model) as recording:
        for _ in range(2):
            inputs = batch()
            model(**inputs, labels=inputs["input_ids"], use_cache=False).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    routing = recording.record()
    assert recording.passes == 2
    for number in range(6):
        alike(document(routing, number), document(plain, number % 3))


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("wraps", [True, False], ids=["wrapped", "in place"])
def test_compiled_inside_the_recording_or_not_yet_run(make_tiny, wraps):
    plain = plainly(make_tiny("mixtral", num_hidden_layers=2), TEXTS[:2])
    model = make_tiny("mixtral", num_hidden_layers=2)
    if wraps:
        model = torch.compile(model, backend="eager")
    else:
        model.compile(backend="eager")
    alike(plainly(model, TEXTS[:2]), plain)


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_by_inductor(make_tiny):
    plain = plainly(make_tiny("mixtral", num_hidden_layers=1), TEXTS[:1])
    with _quietly():
        routing = plainly(torch.compile(make_tiny("mixtral", num_hidden_layers=1)), TEXTS[:1])
    alike(routing, plain)


@contextlib.contextmanager
def _quietly():
    """The compiler warns of its own imports."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_and_run_before_the_recording_is_refused_not_empty(make_tiny):
    model = torch.compile(make_tiny("mixtral", num_hidden_layers=1), backend="eager")
    ids = torch.tensor(TEXTS[:1])
    with torch.no_grad():
        model(ids)
    with (
        pytest.raises(RouterOutputError, match=r"none of 1 MoE layers? reported") as caught,
        record(model),
        torch.no_grad(),
    ):
        model(ids)
    assert "torch._dynamo.reset()" in caught.value.do
    torch._dynamo.reset()
    alike(plainly(model, TEXTS[:1]), plainly(make_tiny("mixtral", num_hidden_layers=1), TEXTS[:1]))


@pytest.mark.usefixtures("fresh_compiler")
def test_a_full_graph_is_refused_by_the_compiler_with_the_reason(make_tiny):
    model = torch.compile(make_tiny("mixtral"), backend="eager", fullgraph=True)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="compile with fullgraph=False"), record(model):
        model(torch.tensor(TEXTS[:1]))


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
def test_generation_compiled_by_transformers(make_tiny):
    model = make_tiny("mixtral")
    compiling = CompileConfig(backend="eager", fullgraph=False, mode=None)
    compiling._compile_all_devices = True
    options = {"max_new_tokens": 5, "cache_implementation": "static", "eos_token_id": None, "pad_token_id": PAD}
    with record(model) as recording:
        returned = model.generate(torch.tensor(TEXTS[:1]), compile_config=compiling, **options)
    assert recording.passes == 5
    alike(recording.record(), plainly(make_tiny("mixtral"), returned[:, :-1].tolist()))


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
def test_generation_compiled_before_the_recording_is_refused(make_tiny):
    model = make_tiny("mixtral")
    compiling = CompileConfig(backend="eager", fullgraph=False, mode=None)
    compiling._compile_all_devices = True
    options = {"max_new_tokens": 5, "cache_implementation": "static", "eos_token_id": None, "pad_token_id": PAD}
    model.generate(torch.tensor(TEXTS[:1]), compile_config=compiling, **options)
    with pytest.raises(RouterOutputError, match="MoE layers reported") as caught, record(model):
        model.generate(torch.tensor(TEXTS[:1]), compile_config=compiling, **options)
    assert "disable_compile=True" in caught.value.do
    with record(model) as recording:
        model.generate(torch.tensor(TEXTS[:1]), disable_compile=True, **options)
    assert recording.passes == 5


@pytest.mark.parametrize("way", ["cpu", "disk", "map"])
def test_weights_kept_elsewhere(model, plain, tmp_path, way):
    if way == "cpu":
        cpu_offload(model, execution_device=torch.device("cpu"), offload_buffers=True)
    elif way == "disk":
        disk_offload(model, str(tmp_path), execution_device=torch.device("cpu"), offload_buffers=True)
    else:
        model.save_pretrained(tmp_path / "model")
        parts = ["model.embed_tokens", "model.layers.0", "model.layers.2", "model.norm", "model.rotary_emb", "lm_head"]
        places = dict.fromkeys(parts, "cpu") | {"model.layers.1": "disk"}
        model = AutoModelForCausalLM.from_pretrained(
            tmp_path / "model", device_map=places, offload_folder=tmp_path / "elsewhere"
        )
    routing = plainly(model)
    assert any(each.is_meta for each in model.parameters())
    assert routing.provenance.device == "cpu"
    alike(routing, plain)
    np.testing.assert_array_equal(routing.margin_tl, plain.margin_tl)


def test_weights_in_eight_bits(make_tiny, tokenizer, tmp_path):
    """Quantised attention changes what routers are given: the record is what this model did, not what another would."""
    make_tiny("mixtral").save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=QuantoConfig(weights="int8"))
    assert type(model.model.layers[0].self_attn.q_proj).__name__ == "QLinear"
    assert attach(model, tokenizer, name="int8").selfcheck.passed
    alike(plainly(model), plainly(make_tiny("mixtral")), near=0.05)


LORA = {
    "attention": {"target_modules": ["q_proj", "v_proj"]},
    "experts": {
        "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
        "target_modules": ["q_proj"],
    },
}


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
@pytest.mark.parametrize("where", sorted(LORA))
def test_adapters(make_tiny, where):
    plain = plainly(make_tiny("qwen3_moe"))
    model = get_peft_model(make_tiny("qwen3_moe"), LoraConfig(r=2, **LORA[where])).eval()
    alike(plainly(model), plain)
    ids = torch.tensor(TEXTS[:1])
    with record(model) as recording:
        model(input_ids=ids, labels=ids).loss.backward()
        returned = model.generate(input_ids=ids, max_new_tokens=4, num_beams=2, pad_token_id=PAD, eos_token_id=None)
    routing = recording.record()
    alike(document(routing, 0), document(plain, 0))
    alike(document(routing, 1), plainly(make_tiny("qwen3_moe"), returned[:, :-1].tolist()))
    assert routing.layers[0].module == "model.layers.0.mlp"


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_virtual_tokens_are_rows_without_an_id(make_tiny):
    model = get_peft_model(
        make_tiny("qwen3_moe"), PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=4)
    ).eval()
    inputs = batch()
    with record(model) as recording, torch.no_grad():
        model(**inputs)
    routing = recording.record()
    assert [document(routing, number).tokens for number in range(3)] == [4 + len(text) for text in TEXTS]
    assert set(routing.token_t.tolist()) == {-1}


@pytest.mark.parametrize("name", ["Mxfp4GptOssMLP", "MegaBlocksMoeMLP"])
def test_kernels_past_the_modules_are_refused_by_name(make_tiny, name):
    model = make_tiny("gpt_oss")
    kernel = type(name, (nn.Module,), {"forward": lambda _self, hidden: (hidden, None)})()
    model.model.layers[1].mlp = kernel
    with pytest.raises(RouterOutputError, match=f"model.layers.1.mlp runs {name}"), record(model):
        model(torch.tensor(TEXTS[:1]))


def test_a_kernel_put_in_place_during_the_recording_is_an_error(make_tiny):
    model = make_tiny("gpt_oss")
    with pytest.raises(RouterOutputError, match=r"layer 1 .*did not run"), record(model):
        model.model.layers[1].mlp.forward = lambda hidden, *_args: (hidden, None)
        model(torch.tensor(TEXTS[:1]))
