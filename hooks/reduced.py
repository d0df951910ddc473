"""One layer's scores of one pass condensed to a few numbers per token, as it happens."""

from typing import NamedTuple

import torch
from torch import Tensor

from hooks.gates import entropy
from hooks.routes import NO_EXPERT, Routes
from hooks.rules import Learnt


class Reduced(NamedTuple):
    """One layer's routing of N tokens: slots by decreasing weight, empty ones last; what is not known is None."""

    ids_nk: Tensor
    weights_nk: Tensor
    rejected_n: Tensor | None = None
    margin_n: Tensor | None = None
    entropy_n: Tensor | None = None
    lse_n: Tensor | None = None


def reduce(learnt: Learnt, routes: Routes, *, scores: bool) -> Reduced:
    """Sort the slots by weight; with `scores`, also margin and first rejected expert, gate entropy (nats) and lse."""
    weights_nk, order_nk = _ranked(routes)
    ids_nk = routes.ids_nk.long().gather(1, order_nk)
    if learnt.rule.by_token_id:
        ids_nk, weights_nk = merged(ids_nk, weights_nk)
    if not scores:
        return Reduced(ids_nk, weights_nk)
    logits_ne = routes.logits_ne.float()
    lse_n = logits_ne.logsumexp(-1)
    entropy_n = entropy(logits_ne, lse_n, learnt.rule.score)
    if learnt.selector is None:
        return Reduced(ids_nk, weights_nk, entropy_n=entropy_n, lse_n=lse_n)
    selection_ne = learnt.selector(logits_ne)
    chosen_nk = _chosen(selection_ne, ids_nk, may_be_empty=bool(learnt.rule.empty_when))
    last_n = selection_ne.gather(1, chosen_nk).amin(-1)
    best_n, rejected_n = selection_ne.scatter(1, chosen_nk, -torch.inf).max(-1)
    return Reduced(ids_nk, weights_nk, rejected_n, last_n - best_n, entropy_n, lse_n)


def _ranked(routes: Routes) -> tuple[Tensor, Tensor]:
    weights_nk = routes.weights_nk.float()
    if weights_nk.shape[1] == 1:
        return weights_nk, torch.zeros_like(routes.ids_nk, dtype=torch.long)
    return weights_nk.sort(dim=-1, descending=True, stable=True)


def _chosen(selection_ne: Tensor, ids_nk: Tensor, *, may_be_empty: bool) -> Tensor:
    """What the router chose, also where it was not executed (an expert that was full, an option that is none)."""
    if not may_be_empty:
        return ids_nk
    return selection_ne.topk(ids_nk.shape[1], -1).indices


def merged(ids_nk: Tensor, weights_nk: Tensor) -> tuple[Tensor, Tensor]:
    """The same routes with an expert that a token has twice in one slot, its weights added; the freed slot empty.

    >>> ids, weights = merged(torch.tensor([[3, 1, 3]]), torch.tensor([[0.5, 0.3, 0.2]]))
    >>> ids.tolist(), [round(weight, 3) for weight in weights[0].tolist()]
    ([[3, 1, -1]], [0.7, 0.3, 0.0])
    """
    same_nkk = ids_nk.unsqueeze(1) == ids_nk.unsqueeze(2)
    summed_nk = (same_nkk * weights_nk.unsqueeze(1)).sum(-1)
    earlier_nk = torch.tril(same_nkk, diagonal=-1).any(-1)
    weights_nk, order_nk = summed_nk.masked_fill(earlier_nk, 0).sort(dim=-1, descending=True, stable=True)
    return ids_nk.masked_fill(earlier_nk, NO_EXPERT).gather(1, order_nk), weights_nk
