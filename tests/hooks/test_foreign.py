"""Models with code of their own: blocks that no family of transformers has are read by what they do."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from gatescope.hooks import attach, capture, load_model
from gatescope.hooks.layers.probing import forward
from gatescope.hooks.loading.routers import read_routers
from gatescope.hooks.recording.intervene import Watch
from gatescope.routing.errors import DenseModelError, ModelNotFoundError
from tests.hooks.foreign.modeling_foreign import ForeignConfig, ForeignForCausalLM

TEXT = "Code that nobody here has seen."
CODE = Path(__file__).parent / "foreign" / "modeling_foreign.py"


def foreign(style, **options):
    """A random model whose router decides."""
    torch.manual_seed(0)
    model = ForeignForCausalLM(ForeignConfig(style=style, **options)).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(torch.randn_like(value) * (0.3 if value.dim() < 2 or "router" in name else 0.2))
            if "gate.weight" in name or "router.weight" in name or "scorer.weight" in name:
                value.mul_(1.5)
    return model


def by_hand(model, ids_bs):
    """Dense weights of every layer, (layers, tokens, experts), from the block's definition in float64."""
    model, found = model.double(), []

    def note(module, args):
        x = args[0].detach().flatten(0, -2)
        style, chosen = model.config.style, model.config.chosen
        weight = {"scores": "router.weight", "gate": "gate.weight", "names": "scorer.weight"}[style]
        z = x @ module.get_parameter(weight).T
        scores = z.sigmoid() if style == "gate" else z.softmax(-1)
        bias = module.gate.correction_bias if style == "gate" else 0
        kept = torch.zeros_like(scores).scatter(1, (scores + bias).topk(chosen).indices, 1.0)
        dense = scores * kept
        found.append((dense if style == "names" else dense / dense.sum(-1, keepdim=True)) * model.config.scale)

    handles = [layer.moe.register_forward_pre_hook(note) for layer in model.layers]
    with torch.no_grad():
        model(ids_bs)
    for handle in handles:
        handle.remove()
    model.float()
    return torch.stack(found).detach().numpy()


def dense(record, layer, experts):
    found = np.zeros((record.tokens, experts))
    for token, slot in np.argwhere(record.ids_tlk[:, layer] != record.empty):
        found[token, record.ids_tlk[token, layer, slot]] = record.weight_tlk[token, layer, slot]
    return found


@pytest.mark.parametrize(("style", "scale"), [("scores", 1.0), ("gate", 1.0), ("gate", 2.5), ("names", 1.0)])
def test_a_block_nobody_has_seen_is_read_as_it_executes(style, scale, tokenizer):
    model = foreign(style, scale=scale)
    loaded = attach(model, tokenizer, name=style)
    assert [check.name for check in loaded.selfcheck.checks if not check.passed] == []
    record = capture(loaded, TEXT)
    loaded.routers.close()
    truth = by_hand(model, torch.tensor([tokenizer(TEXT)["input_ids"]]))
    for rule in loaded.layers:
        assert (rule.experts, rule.k, rule.score) == (8, 2, "sigmoid" if style == "gate" else "softmax")
        assert rule.shared_experts == (style == "gate")
        assert (rule.is_renormalised, round(rule.scale, 3)) == (style != "names", scale)
        found = dense(record, rule.layer, rule.experts)
        np.testing.assert_array_equal(found != 0, truth[rule.layer] != 0)
        np.testing.assert_allclose(found, truth[rule.layer], rtol=2e-3)


def test_equal_texts_in_one_batch_are_told_apart(tokenizer):
    model = foreign("scores")
    routers, watch = read_routers(model), Watch()
    ids_bs = torch.tensor([tokenizer(TEXT)["input_ids"]] * 3)
    with routers.recorder.recording(watch):
        forward(model, {"input_ids": ids_bs})
    routers.close()
    for routes in watch.seen.values():
        first, second, third = routes.ids_nk.chunk(3)
        assert (routes.ids_nk >= 0).all() and torch.equal(first, second) and torch.equal(first, third)


def test_a_block_that_forces_an_expert_is_recorded_so_whatever_its_router_says(tokenizer):
    model = foreign("scores")
    loaded = attach(model, tokenizer, name="scores")
    block = model.layers[1].moe

    def forced(x_bsh):
        block.router(x_bsh.flatten(0, -2))
        return block.bank[5](x_bsh.flatten(0, -2)).view_as(x_bsh), None

    block.forward = forced
    record = capture(loaded, TEXT)
    assert (record.ids_tlk[:, 1, 0] == 5).all() and (record.ids_tlk[:, 1, 1:] == record.empty).all()


def test_experts_that_all_run_on_every_token_are_no_choice():
    with pytest.raises(DenseModelError, match="dense: no router found"):
        read_routers(foreign("dense"))


def test_code_beside_the_weights_runs_only_when_it_is_asked_to(tmp_path, tokenizer):
    model = foreign("gate")
    model.config.auto_map = {
        "AutoConfig": "modeling_foreign.ForeignConfig",
        "AutoModelForCausalLM": "modeling_foreign.ForeignForCausalLM",
    }
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    shutil.copy(CODE, tmp_path)
    with pytest.raises(ModelNotFoundError, match="trust_remote_code"):
        load_model(tmp_path)
    loaded = load_model(tmp_path, trust_remote_code=True)
    assert loaded.selfcheck.passed and type(loaded.model).__name__ == "ForeignForCausalLM"
    assert loaded.selfcheck.notes and "seen at each expert" in loaded.selfcheck.notes[0]
