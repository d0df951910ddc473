"""Each family's routing formula in numpy, from what its router is given: its input, its parameters, the configuration.

None calls the model's own routing code; what the papers leave open (the order of steps, what wins in a group that is
ruled out) is as transformers has it. So they tell whether a recording is right; `ablation` tells if transformers is.
Shapes: n tokens, e experts, k chosen ones, h hidden size.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.hooks.gates import (
    SCORES,
    Groups,
    Routed,
    best_of_group,
    best_pair_of_group,
    first_within_capacity,
    gated,
    gelu,
    joint_with_shared,
    looked_up,
    normed,
    product_keys,
    sigmoid,
    softmax,
    softmax_of_best,
    sparse_mixer,
    two_within_capacity,
)

ROUTER = re.compile(r"(Router|TopKGating|MoEV1Gate|DogeCDMoE)$")
PROJECTIONS = ("classifier", "gate", "wg", "layer", "proj")
BIASES = ("e_score_correction_bias", "expert_bias", "balancing_biases")
CHOSEN = ("num_experts_per_tok", "moe_topk", "moe_top_k", "top_k_experts")


@dataclass(frozen=True)
class Layer:
    """The expected routing of one MoE layer in one forward pass.

    `dense_ne` is what multiplies each expert in the block's output; `after` is the part of it that is applied after the
    experts. `rows_n` are the rows of the flattened batch that the layer saw (None: all). With `may_repeat` a token may
    name one expert twice.
    """

    router_path: str
    experts_path: str
    logits_ne: np.ndarray
    dense_ne: np.ndarray
    margin_n: np.ndarray
    after: float = 1.0
    rows_n: np.ndarray | None = None
    may_repeat: bool = False


@dataclass(frozen=True)
class Call:
    """One call of a router: what it was given, the block that holds it and the configuration of that block."""

    path: str
    router: nn.Module
    block: nn.Module
    config: Any
    args: tuple[Any, ...]

    @property
    def x_bsh(self) -> np.ndarray:
        return array(self.args[0])

    @property
    def z_ne(self) -> np.ndarray:
        """The router's linear map of its input."""
        return self.project(self.x_bsh.reshape(-1, self.x_bsh.shape[-1]))

    def project(self, x: np.ndarray) -> np.ndarray:
        owners = [self.router, *(getattr(self.router, name, None) for name in PROJECTIONS)]
        owner = next(owner for owner in owners if isinstance(getattr(owner, "weight", None), Tensor))
        bias = getattr(owner, "bias", None)
        return x @ array(owner.weight).T + (0.0 if bias is None else array(bias))

    @property
    def k(self) -> int:
        k = next(getattr(self.config, name) for name in CHOSEN if hasattr(self.config, name))
        return int(k if isinstance(k, int) else k[layer_number(self.path)])

    @property
    def bias_e(self) -> np.ndarray:
        """The balancing bias, which lies on the router, in its statistics or on the block."""
        owners = (self.router, getattr(self.router, "moe_statics", None), self.block)
        found = (getattr(owner, name, None) for owner in owners for name in BIASES)
        return array(next(bias for bias in found if isinstance(bias, Tensor))).reshape(-1)


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().cpu().numpy()


def layer_number(path: str) -> int:
    return int(re.search(r"\.(\d+)\.", path)[1])


def order(call: Call, norm: str | float | None) -> float | None:
    """The order of the norm that makes the weights comparable; a name is looked up, true meaning 1 and false none."""
    value = getattr(call.config, norm) if isinstance(norm, str) else norm
    return None if value is None or value is False else float(value)


def plain(
    call: Call,
    score: Callable[[np.ndarray], np.ndarray] | str,
    *,
    norm: str | float | None = 1,
    scale: str | None = None,
    biased: bool = False,
    groups: Callable[[np.ndarray], np.ndarray] | None = None,
    others: float = -np.inf,
    by_logit: bool = False,
    least: str | None = None,
    bend: Callable[[Call, np.ndarray], np.ndarray] | None = None,
) -> Routed:
    """`gated`, with what the configuration says; names are its fields, and `bend` reshapes the logits first."""
    config = call.config
    limit = None
    if groups is not None and getattr(config, "n_group", None):
        limit = Groups(config.n_group, config.topk_group, groups, others)
    return gated(
        call.z_ne if bend is None else bend(call, call.z_ne),
        call.k,
        SCORES[getattr(config, score)] if isinstance(score, str) else score,
        bias_e=call.bias_e if biased else 0.0,
        by_logit=by_logit,
        groups=limit,
        norm=order(call, norm),
        least=getattr(config, least) if least else 0.0,
        scale=getattr(config, scale) if scale else 1.0,
    )


def deepseek_v2(call: Call) -> Routed:
    groups = best_of_group if call.config.topk_method == "group_limited_greedy" else None
    return plain(call, softmax, norm=None, scale="routed_scaling_factor", groups=groups, others=0.0)


def deepseek_v4(call: Call) -> Routed:
    """A table of the vocabulary names the experts in hash layers, the scores in the others."""
    if not hasattr(call.router, "tid2eid"):
        return plain(call, "scoring_func", biased=True, scale="routed_scaling_factor")
    ids_nk = call.router.tid2eid.numpy()[call.args[1].reshape(-1).numpy()]
    return looked_up(call.z_ne, ids_nk, SCORES[call.config.scoring_func], call.config.routed_scaling_factor)


def softcapped(call: Call, z_ne: np.ndarray) -> np.ndarray:
    cap = call.config.moe_router_logit_softcapping
    return np.tanh(z_ne / cap) * cap if cap > 0 else z_ne


def multiplied(call: Call, z_ne: np.ndarray) -> np.ndarray:
    return z_ne * call.config.output_multiplier


def lfm2(call: Call) -> Routed:
    biased = call.config.use_expert_bias
    return plain(call, sigmoid, norm="norm_topk_prob", scale="routed_scaling_factor", biased=biased)


def gemma4(call: Call) -> Routed:
    """Logits of the normed input; renormalised weights times a learnt scale of each expert."""
    x_bsh = normed(call.x_bsh, call.config.rms_norm_eps) * array(call.router.scale) / math.sqrt(call.x_bsh.shape[-1])
    z_ne = call.project(x_bsh.reshape(-1, x_bsh.shape[-1]))
    return gated(z_ne, call.k, softmax, scale=array(call.router.per_expert_scale))


def divided_by_k(call: Call) -> Routed:
    """Weights a k-th as large as a softmax, made up for after the experts."""
    routed = softmax_of_best(call.z_ne, call.k)
    return routed._replace(dense_ne=routed.dense_ne / call.k)


def inkling(call: Call) -> Routed:
    scale = call.config.route_scale * array(call.router.global_scale).item()
    return joint_with_shared(call.z_ne, call.k, call.config.n_shared_experts, call.bias_e, scale)


def switch(call: Call) -> Routed:
    return first_within_capacity(call.project(call.x_bsh), call.config.expert_capacity)


def nllb(call: Call) -> Routed:
    config, z_ne = call.config, call.z_ne
    if config.second_expert_policy != "all":
        raise ValueError(f"second_expert_policy {config.second_expert_policy!r} draws at random")
    share = config.moe_eval_capacity_token_fraction
    real_n = np.ones(len(z_ne), bool)
    if len(call.args) > 1 and call.args[1] is not None and not config.router_ignore_padding_tokens:
        real_n = attended(call.args[1])
    return two_within_capacity(
        z_ne,
        math.ceil(share * len(z_ne)) if share > 0 else 2 * math.ceil(len(z_ne) / z_ne.shape[1]),
        real_n=real_n,
        norm_first=config.normalize_router_prob_before_dropping,
        by_importance=config.batch_prioritized_routing,
    )


def attended(mask: Tensor) -> np.ndarray:
    """Which tokens an attention mask (batch, 1, queries, keys) lets be seen: true ones, or those with 0 added."""
    last = mask[:, :, -1, :].reshape(-1)
    return (last if last.dtype == torch.bool else last == 0).numpy()


def zaya(call: Call) -> Routed:
    """A small network decides, which also sees what the previous layer's one saw; its last class skips the layer."""
    router = call.router
    x_bsr = linear(router.down_proj, call.x_bsh)
    before = call.args[1] if len(call.args) > 1 else None
    if before is not None and hasattr(router, "router_states_scale"):
        x_bsr = x_bsr + array(before) * array(router.router_states_scale)
    net = router.router_mlp
    x_nr = x_bsr.reshape(-1, x_bsr.shape[-1])
    x_nr = normed(x_nr, call.config.rms_norm_eps) * array(net.norm.weight)
    z_nc = linear(net.out_proj, gelu(linear(net.fc2, gelu(linear(net.fc1, x_nr)))))
    routed = gated(z_nc, call.k, softmax, bias_e=call.bias_e, norm=None)
    return routed._replace(dense_ne=routed.dense_ne[:, :-1])


def linear(module: Any, x: np.ndarray) -> np.ndarray:
    return x @ array(module.weight).T + (0.0 if module.bias is None else array(module.bias))


def doge(call: Call) -> Routed:
    x_nh = call.x_bsh.reshape(-1, call.x_bsh.shape[-1])
    return product_keys(linear(call.router.router_gate, x_nh), call.k)


Formula = Callable[[Call], Routed]
v3 = partial(
    plain, score=sigmoid, biased=True, norm="norm_topk_prob", scale="routed_scaling_factor", groups=best_pair_of_group
)
biased = partial(plain, score=sigmoid, biased=True)


def table(rows: Mapping[str, Formula]) -> dict[str, Formula]:
    return {name: formula for names, formula in rows.items() for name in names.split()}


FORMULAS = table(
    {
        "mixtral minimax qwen3_5_moe qwen3_vl_moe hunyuan_v1_moe": partial(plain, score=softmax),
        "qwen2_moe qwen3_moe qwen3_next qwen3_omni_moe qwen3_omni_moe_talker qwen4_exp olmoe flex_olmo mellum": partial(
            plain, score=softmax, norm="norm_topk_prob"
        ),
        "jamba": partial(plain, score=softmax, norm=None),
        "dbrx": partial(plain, score=softmax, norm="moe_normalize_expert_weights"),
        "flint": partial(plain, score=sigmoid, norm="norm_topk_prob"),
        "deepseek_v2 deepseek_ocr2 unlimited_ocr": deepseek_v2,
        "deepseek_v3 deepseek_v32 axk1 bailing_hybrid dots1 dots3_note exaone_moe glm4_moe glm4_moe_lite glm4v_moe "
        "glm5_next glm_moe_dsa hy_v4 kimi_linear mimo_v2_flash nemotron_h solar_open": v3,
        "axk2": partial(v3, others=0.0),
        "beam": partial(v3, scale=None),
        "mistral4": partial(v3, score=softmax, biased=False, others=0.0),
        "mistral_large4": partial(v3, score=softmax, biased=False, others=0.0, norm=1),
        "minimax_m2 minimax_m3_vl step3p7": biased,
        "afmoe": partial(biased, scale="route_scale"),
        "hy_v3 dots3_note_vision": partial(biased, scale="router_scaling_factor"),
        "laguna": partial(biased, bend=softcapped),
        "muse_spark": partial(biased, bend=multiplied, scale="routed_scaling_factor"),
        "inkling2": partial(plain, score="scoring_func", biased=True, scale="routed_scaling_factor"),
        "kolibri1": partial(biased, by_logit=True, norm="norm_topk_prob"),
        "ernie4_5_moe ernie4_5_vl_moe": partial(plain, score=softmax, biased=True, least="moe_norm_min"),
        "longcat_flash": partial(plain, score=softmax, biased=True, norm=None, scale="routed_scaling_factor"),
        "cohere2_moe_sigmoid": partial(plain, score=sigmoid, by_logit=True, norm="norm_topk_prob"),
        "llama4": partial(plain, score=sigmoid, by_logit=True, norm=None),
        "cohere2_moe aria gpt_oss granitemoe granitemoe_swa granitemoeshared granitemoehybrid jetmoe": lambda call: (
            softmax_of_best(call.z_ne, call.k)
        ),
        "openai_privacy_filter": divided_by_k,
        "lfm2_moe": lfm2,
        "deepseek_v4": deepseek_v4,
        "gemma4 diffusion_gemma": gemma4,
        "inkling": inkling,
        "phimoe": lambda call: sparse_mixer(call.z_ne, call.config.router_jitter_noise),
        "switch_transformers": switch,
        "nllb_moe": nllb,
        "zaya": zaya,
        "doge": doge,
    }
)
"""How each family routes."""


def halved(config: Any) -> float:
    """Routed and shared experts are averaged, if there are shared ones and the configuration says so."""
    averaged = config.num_shared_experts > 0 and config.shared_expert_combination_strategy == "average"
    return 0.5 if averaged else 1.0


AFTER: dict[str, Callable[[Any], float]] = {
    "beam": lambda config: config.routed_scaling_factor,
    "minimax_m3_vl": lambda config: config.routed_scaling_factor,
    "laguna": lambda config: config.moe_routed_scaling_factor,
    "step3p7": lambda config: config.moe_router_scaling_factor,
    "openai_privacy_filter": lambda config: config.num_experts_per_tok,
    "cohere2_moe": halved,
    "cohere2_moe_sigmoid": halved,
}
"""What multiplies the experts' output in the block, after the experts."""


def expected(name: str, model: nn.Module, inputs: Mapping[str, Any]) -> list[Layer]:
    """The routing of every MoE layer in one pass of `inputs`, in the order the routers are called."""
    formula, after = FORMULAS[name], AFTER.get(name, lambda _config: 1.0)
    layers = []
    with watched(model) as calls, torch.no_grad():
        model(**inputs)
    for call, rows_n in calls:
        routed = formula(call)
        factor = float(after(call.config))
        layers.append(
            Layer(
                router_path=call.path + (".router_gate" if hasattr(call.router, "router_gate") else ""),
                experts_path=experts_path(model, call.path),
                logits_ne=routed.logits_ne,
                dense_ne=routed.dense_ne * factor,
                margin_n=routed.margin_n,
                after=factor,
                rows_n=rows_n,
                may_repeat=hasattr(call.router, "tid2eid"),
            )
        )
    return layers


@contextmanager
def watched(model: nn.Module) -> Iterator[list[tuple[Call, np.ndarray | None]]]:
    """Notes every call of a router while it is open, and which rows of the batch that router was given."""
    calls: list[tuple[Call, np.ndarray | None]] = []
    rows: dict[str, np.ndarray] = {}
    handles = []
    for path, module in model.named_modules():
        if ROUTER.search(type(module).__name__):
            handles.append(module.register_forward_pre_hook(noter(model, path, calls, rows), with_kwargs=True))
        elif hasattr(module, "text_moe"):
            handles.append(module.register_forward_pre_hook(divider(path, rows), with_kwargs=True))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def noter(model: nn.Module, path: str, calls: list, rows: dict[str, np.ndarray]) -> Callable[..., None]:
    block_path = path.rpartition(".")[0]
    block = model.get_submodule(block_path)

    def hook(router: nn.Module, args: tuple, kwargs: dict) -> None:
        given = tuple(value.clone() if isinstance(value, Tensor) else value for value in (*args, *kwargs.values()))
        calls.append((Call(path, router, block, config_of(model, path), given), rows.get(block_path)))

    return hook


def divider(path: str, rows: dict[str, np.ndarray]) -> Callable[..., None]:
    """Notes which tokens of a block are text and which are not: each kind has its own router and experts."""

    def hook(_block: nn.Module, args: tuple, kwargs: dict) -> None:
        kinds = (*args, *kwargs.values())[1:2]
        tokens = args[0].shape[0] * args[0].shape[1]
        seen_n = kinds[0].bool().reshape(-1).numpy() if kinds and kinds[0] is not None else np.zeros(tokens, bool)
        rows[f"{path}.text_moe"], rows[f"{path}.vision_moe"] = np.flatnonzero(~seen_n), np.flatnonzero(seen_n)

    return hook


def config_of(model: nn.Module, path: str) -> Any:
    """The part of a model's configuration that describes the block at `path`."""
    config: Any = model.config
    config = getattr(config, "text_config", config)
    return getattr(config, "ffn_config", None) or config.per_layer_config[layer_number(path)]


def experts_path(model: nn.Module, router_path: str) -> str:
    """Path of the experts beside a router, or of the block where they have no module of their own."""
    block_path = router_path.rpartition(".")[0]
    experts = getattr(model.get_submodule(block_path), "experts", None)
    if hasattr(model.get_submodule(router_path), "router_gate"):
        return router_path
    return f"{block_path}.experts" if isinstance(experts, nn.Module) else block_path
