"""A language model whose code is not part of transformers, with four ways to write an MoE block that papers' code has.

`style`: "scores" (a linear router, a loop over a list of experts), "gate" (a gate module that returns ids and weights,
tokens sorted by expert, a shared expert, a factor after the experts), "names" (an experts module that is called with
weights and ids under names of its own), "dense" (experts mixed without any choice).
"""

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput


class ForeignConfig(PretrainedConfig):
    model_type = "foreign_moe"

    def __init__(
        self, style="scores", vocab_size=259, hidden_size=32, experts=8, chosen=2, layers=3, scale=1.0, **kwargs
    ):
        super().__init__(**kwargs)
        self.style, self.vocab_size, self.hidden_size = style, vocab_size, hidden_size
        self.experts, self.chosen, self.layers, self.scale = experts, chosen, layers, scale


class Expert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.up, self.down = nn.Linear(config.hidden_size, 24), nn.Linear(24, config.hidden_size)

    def forward(self, x):
        return self.down(nn.functional.silu(self.up(x)))


class ScoresBlock(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.router = nn.Linear(config.hidden_size, config.experts, bias=False)
        self.bank = nn.ModuleList(Expert(config) for _ in range(config.experts))
        self.chosen = config.chosen

    def forward(self, x_bsh):
        x = x_bsh.flatten(0, -2)
        weights, ids = self.router(x).softmax(-1, dtype=torch.float).topk(self.chosen, -1)
        weights = (weights / weights.sum(-1, keepdim=True)).to(x.dtype)
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.bank):
            token, slot = torch.where(ids == number)
            out.index_add_(0, token, expert(x[None, token])[0] * weights[token, slot, None])
        return out.view_as(x_bsh), weights


class Gate(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.experts, config.hidden_size))
        self.correction_bias = nn.Parameter(torch.zeros(config.experts))
        self.chosen = config.chosen

    def forward(self, x_bsh):
        scores = nn.functional.linear(x_bsh.flatten(0, -2), self.weight).sigmoid()
        ids = (scores + self.correction_bias).topk(self.chosen, -1, sorted=False).indices
        weights = scores.gather(1, ids)
        return ids, weights / weights.sum(-1, keepdim=True), None


class GateBlock(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate, self.shared_experts = Gate(config), Expert(config)
        self.experts = nn.ModuleList(Expert(config) for _ in range(config.experts))
        self.scale = config.scale

    def forward(self, x_bsh):
        ids, weights, _ = self.gate(x_bsh)
        x = x_bsh.flatten(0, -2)
        order = ids.flatten().argsort()
        sizes = ids.flatten().bincount(minlength=len(self.experts)).tolist()
        parts = x[order // ids.shape[1]].split(sizes)
        made = torch.cat([expert(part) for expert, part in zip(self.experts, parts, strict=True) if len(part)])
        back = torch.empty_like(made).index_copy(0, order, made).view(*ids.shape, -1)
        routed = (back * weights.unsqueeze(-1)).sum(1) * self.scale
        return (routed + self.shared_experts(x)).view_as(x_bsh)


class Bank(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.up = nn.Parameter(torch.empty(config.experts, config.hidden_size, 24))
        self.down = nn.Parameter(torch.empty(config.experts, 24, config.hidden_size))

    def forward(self, x, _all_weights, best_weights, best_experts):
        made = torch.einsum("nh,nkhi->nki", x, self.up[best_experts]).relu()
        return torch.einsum("nki,nkih,nk->nh", made, self.down[best_experts], best_weights)


class NamesBlock(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.scorer, self.bank = nn.Linear(config.hidden_size, config.experts, bias=False), Bank(config)
        self.chosen = config.chosen

    def forward(self, x_bsh):
        x = x_bsh.flatten(0, -2)
        shares = self.scorer(x).softmax(-1)
        best = shares.topk(self.chosen, -1)
        return self.bank(x, shares, best.values, best.indices).view_as(x_bsh)


class DenseBlock(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.bank = nn.ModuleList(Expert(config) for _ in range(2))

    def forward(self, x):
        return sum(expert(x) for expert in self.bank)


BLOCKS = {"scores": ScoresBlock, "gate": GateBlock, "names": NamesBlock, "dense": DenseBlock}


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.mix, self.moe = nn.Linear(config.hidden_size, config.hidden_size), BLOCKS[config.style](config)
        self.norm = nn.LayerNorm(config.hidden_size)

    def forward(self, x):
        seen = torch.arange(1, x.shape[1] + 1, device=x.device)[:, None].to(x.dtype)
        x = x + self.mix(x.cumsum(1) / seen)
        made = self.moe(self.norm(x))
        return x + (made[0] if isinstance(made, tuple) else made)


class ForeignForCausalLM(PreTrainedModel):
    config_class = ForeignConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    def get_output_embeddings(self):
        return self.head

    # A causal language model is called with these names.
    def forward(self, input_ids, attention_mask=None, position_ids=None, past_key_values=None, use_cache=None):  # noqa: ARG002
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x)
        return CausalLMOutput(logits=self.head(x))
