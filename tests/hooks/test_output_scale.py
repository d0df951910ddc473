"""The scale behind the experts is measured without running any module more often than a pass of the model does."""

from collections import Counter
from types import MethodType

import pytest
import torch
from torch import nn

from gatescope.hooks import record
from gatescope.hooks.discovery.find import find_sites
from gatescope.hooks.discovery.search.silencing import Block, heard_with_and_without
from gatescope.hooks.layers.probing import forward, probe_inputs
from tests.hooks.test_foreign import foreign
from tests.hooks.zoo import specimen

IDS_BS = torch.arange(20, 32)[None]


def calls_of(model, run):
    """How often the `forward` of each module is called, whoever calls it."""
    counted = Counter()
    for path, module in model.named_modules():

        def counting(*args, path=path, own=module.forward, **kwargs):
            counted[path] += 1
            return own(*args, **kwargs)

        module.forward = counting
    run()
    for module in model.modules():
        del module.forward
    return counted


FAMILIES = ["mixtral", "beam", "cohere2_moe", "gemma4", "diffusion_gemma", "ernie4_5_vl_moe", "gate"]


@pytest.mark.parametrize("name", FAMILIES)
def test_no_module_runs_more_often_than_in_passes_of_the_model(name):
    if name == "gate":
        model, inputs = foreign(name), {"input_ids": IDS_BS}
    else:
        model, inputs = specimen(name).model, specimen(name).inputs
    passes = []

    def run():
        passes.append(1)
        return forward(model, inputs)

    once = calls_of(model, lambda: forward(model, inputs))
    found = calls_of(model, lambda: find_sites(model, run))
    assert found == Counter({path: count * len(passes) for path, count in once.items()})


class Once(nn.Module):
    """Keeps what it has seen, as a cache of keys and values does; a second time in a pass is an error."""

    def __init__(self):
        super().__init__()
        self.past, self.called = [], 0

    def forward(self, hidden):
        if self.called:
            raise AssertionError("run twice in one pass")
        self.called += 1
        self.past.append(hidden)
        return self.past[-1] * 0.1


def test_a_block_that_remembers_is_measured_all_the_same(make_tiny):
    model = make_tiny("mixtral")
    for layer in model.model.layers:
        block = layer.mlp
        block.once, block.after = Once(), 0.5

        def remembering(self, hidden):
            _, weights, ids = self.gate(hidden.flatten(0, 1))
            given = self.experts(hidden.flatten(0, 1), ids, weights).view_as(hidden)
            return self.once(hidden) + self.after * given

        block.forward = MethodType(remembering, block)

    def renewed(_module, _args, _kwargs):
        for layer in model.model.layers:
            layer.mlp.once.called = 0

    model.register_forward_pre_hook(renewed, with_kwargs=True)
    inputs = probe_inputs(model)
    sites = find_sites(model, lambda: forward(model, inputs)).sites
    assert [site.output_scale for site in sites] == [0.5] * 3


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("padded", [0, 3])
def test_a_denoiser_that_reads_its_prompt_from_a_cache_is_recorded(attention, padded):
    model = specimen("diffusion_gemma").model
    model.set_attn_implementation(attention)
    mask_bs = torch.ones_like(IDS_BS)
    mask_bs[:, :padded] = 0
    inputs = {"input_ids": IDS_BS, "attention_mask": mask_bs, "decoder_input_ids": torch.arange(40, 47)[None]}
    with record(model, inputs=inputs) as recording:
        model(**inputs)
    routing = recording.record()
    assert routing.token_t[routing.document_t == 0].tolist()[-7:] == list(range(40, 47))
    assert {rule.stack for rule in routing.layers} == {"encoder", "decoder"}


def test_every_block_gets_the_same_input_both_times_also_where_one_holds_another():
    """Two blocks in a row inside a third: each output is the input and its expert's, the expert doubling."""

    class Adding(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.seen = inner, []

        def forward(self, hidden):
            self.seen.append(hidden.clone())
            return hidden + self.inner(hidden)

    class Twice(nn.Module):
        def forward(self, hidden):
            return 2 * hidden

    first, second = Adding(Twice()), Adding(Twice())
    outer = Adding(nn.Sequential(first, second))
    blocks = [
        Block("outer", outer, (second.inner,)),
        Block("outer.inner.0", first, (first.inner,)),
        Block("outer.inner.1", second, (second.inner,)),
    ]
    start = torch.ones(1, 2)
    of_outer, of_first, of_second = heard_with_and_without(blocks, lambda: outer(start))
    assert of_first.change.tolist() == [[2, 2]]
    assert of_second.change.tolist() == of_outer.change.tolist() == [[6, 6]]
    assert all(torch.equal(each, torch.full((1, 2), 3.0)) for each in second.seen) and len(second.seen) == 3
