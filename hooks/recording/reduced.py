"""The routing of layers that route alike condensed to a few numbers per token, all of these layers at once.

One operation on the rows of many layers costs hardly more than on the rows of one. Nothing here waits for a GPU.
"""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from gatescope.hooks.discovery.formulas.selection import Selector
from gatescope.hooks.discovery.rules import InferredRule
from gatescope.hooks.layers.gates import entropy_and_lse
from gatescope.hooks.layers.routes import NO_EXPERT, Routes, Wanted

NAN = float("nan")


class Reduced(NamedTuple):
    """R rows of routing in two pieces, of the size they are kept in, so that they leave a device in two transfers.

    Columns of `number_rc`, half floats: the weights, decreasing; with scores the margin, the entropy (nats) and the
    log-sum-exp, NaN where not known; the router's own weights, where an intervention was open; then the logits, where
    they are kept. Columns of `id_rc`, 16-bit integers to be read as unsigned: the ids in the order of the weights,
    NO_EXPERT last; with scores the first rejected option, which means nothing where the margin is not finite; the
    router's own ids, where an intervention was open.
    """

    number_rc: Tensor
    id_rc: Tensor


class Layers(NamedTuple):
    """Several layers of one kind and what they routed, as many tokens each."""

    learnt: Sequence[InferredRule]
    routes: Sequence[Routes]


def kind_of(learnt: InferredRule) -> Hashable:
    """What layers have in common that can be reduced together, the shapes of what they routed aside."""
    rule, selector = learnt.rule, learnt.selector
    form = None if selector is None else selector.form
    return rule.stack, rule.experts, rule.k, rule.score, rule.by_token_id, bool(rule.empty_when), form


def reduce(layers: Layers, *, scores: bool, logits: bool) -> Reduced:
    """Sort the slots by weight; with `scores`, also margin and first rejected expert, gate entropy and lse."""
    rule = layers.learnt[0].rule
    wanted = [one.wanted for one in layers.routes if one.wanted is not None]
    ids_rk, weights_rk = _ranked(layers.routes, may_repeat=rule.by_token_id or bool(wanted))
    own_rk, own_weights_rk = _ranked(wanted, may_repeat=rule.by_token_id) if wanted else (ids_rk, weights_rk)
    numbers, ids = [weights_rk], [ids_rk]
    logits_re = torch.cat([one.logits_ne for one in layers.routes]) if scores or logits else weights_rk
    if scores:
        margin_r1, rejected_r1 = _margin(layers, logits_re.float(), own_rk)
        entropy_r1, lse_r1 = entropy_and_lse(logits_re.float(), rule.score)
        numbers += [torch.full_like(lse_r1, NAN) if one is None else one for one in (margin_r1, entropy_r1, lse_r1)]
        ids.append(rejected_r1)
    if wanted:
        numbers.append(own_weights_rk)
        ids.append(own_rk)
    if logits:
        numbers.append(logits_re[:, : rule.experts])
    if len(numbers) == 1:
        return Reduced(weights_rk.half(), ids_rk.short())
    return Reduced(torch.cat(numbers, 1).half(), torch.cat(ids, 1).short())


def _ranked(routes: Sequence[Routes] | Sequence[Wanted], *, may_repeat: bool) -> tuple[Tensor, Tensor]:
    """Ids and weights of all layers by decreasing weight; each expert once, where a token may have one twice."""
    ids_rk = torch.cat([one.ids_nk for one in routes]).long()
    weights_rk = torch.cat([one.weights_nk for one in routes])
    if may_repeat:
        return merged(ids_rk, weights_rk.float())
    if ids_rk.shape[1] == 1:
        return ids_rk, weights_rk
    weights_rk, order_rk = weights_rk.sort(dim=-1, descending=True, stable=True)
    return ids_rk.gather(1, order_rk), weights_rk


def _margin(layers: Layers, logits_re: Tensor, ids_rk: Tensor) -> tuple[Tensor | None, Tensor]:
    """How far the last chosen stands above the best rejected option, and which that is; None where no rule is known."""
    selector = _selector(layers)
    if selector is None:
        return None, ids_rk[:, :1]
    selection_re = selector(logits_re)
    chosen_rk = _chosen(selection_re, ids_rk, may_be_empty=bool(layers.learnt[0].rule.empty_when))
    last_r1 = selection_re.gather(1, chosen_rk).amin(-1, keepdim=True)
    best_r1, rejected_r1 = selection_re.scatter(1, chosen_rk, -torch.inf).max(-1, keepdim=True)
    return last_r1 - best_r1, rejected_r1


def _selector(layers: Layers) -> Selector | None:
    """The layers' common selector, each row with the bias of its own layer."""
    first = layers.learnt[0].selector
    if first is None or first.bias_e is None or len(layers.learnt) == 1:
        return first
    selectors = [one.selector for one in layers.learnt]
    bias_le = torch.stack([one.bias_e for one in selectors if one is not None and one.bias_e is not None])
    return replace(first, bias_e=bias_le.repeat_interleave(len(layers.routes[0].ids_nk), 0))


def _chosen(selection_re: Tensor, ids_rk: Tensor, *, may_be_empty: bool) -> Tensor:
    """What the router chose, also where it was not executed (an expert that was full, an option that is none)."""
    if not may_be_empty:
        return ids_rk
    return selection_re.topk(ids_rk.shape[1], -1).indices


def merged(ids_rk: Tensor, weights_rk: Tensor) -> tuple[Tensor, Tensor]:
    """The same routes with an expert that a token has twice in one slot, its weights added; empty slots last.

    >>> ids, weights = merged(torch.tensor([[3, 1, 3]]), torch.tensor([[0.5, 0.3, 0.2]]))
    >>> ids.tolist(), [round(weight, 3) for weight in weights[0].tolist()]
    ([[3, 1, -1]], [0.7, 0.3, 0.0])
    >>> merged(torch.tensor([[-1, 2, 4]]), torch.tensor([[0.0, 0.0, -0.5]]))
    (tensor([[ 2,  4, -1]]), tensor([[ 0.0000, -0.5000,  0.0000]]))
    """
    same_rkk = ids_rk.unsqueeze(1) == ids_rk.unsqueeze(2)
    summed_rk = (same_rkk * weights_rk.unsqueeze(1)).sum(-1)
    is_empty_rk = torch.tril(same_rkk, diagonal=-1).any(-1) | (ids_rk == NO_EXPERT)
    ranked_rk, order_rk = summed_rk.masked_fill(is_empty_rk, -torch.inf).sort(dim=-1, descending=True, stable=True)
    is_empty_rk = is_empty_rk.gather(1, order_rk)
    return ids_rk.gather(1, order_rk).masked_fill(is_empty_rk, NO_EXPERT), ranked_rk.masked_fill(is_empty_rk, 0)
