"""How a layer's choice is passed between its modules, and read off there: the common way, and those of few families.

The common way is a router that returns (logits, weights, ids), in whatever order, and experts that are called with
hidden states, ids and weights. A `Reading` turns what passes there into ids and weights, and changed ones back.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from gatescope.hooks.layers.routes import NO_EXPERT, Routes

Call = tuple[Any, ...]  # the arguments of an experts module after the hidden states


class Reading:
    """The common way: experts called with ids and weights, both of shape (N, k)."""

    empty_when = ""  # why a slot may stay empty, in words that follow "empty"
    weighs_input = False  # whether the weight is a factor of the expert's input rather than of its output
    skips = False  # whether the last option of the router means no expert
    takes_weights = True  # whether the experts are given their weights from outside, so that others can be given
    leading = 1  # arguments of the experts before the choice: the hidden states

    def logits(self, answer: Any, at: int | None) -> Tensor:
        """The router's score of every option, (N, options), from what the router returned."""
        scores: Tensor = answer if at is None else answer[at]
        return scores.flatten(0, -2)

    def ids(self, call: Call, _logits_ne: Tensor) -> tuple[Tensor, Tensor]:
        """Executed ids and weights, (N, k) each."""
        return call[0], call[1]

    def call(self, call: Call, ids_nk: Tensor, weights_nk: Tensor) -> Call:
        """The arguments that make the experts execute other ids and weights."""
        return (ids_nk, weights_nk, *call[2:])


class AnswerReading:
    """The base of families whose router's answer alone holds the choice: no experts module is called with it."""

    empty_when = ""
    weighs_input = False
    skips = False
    takes_weights = True

    def routes(self, router: nn.Module, answer: Any) -> Routes:
        """Everything the router decided."""
        raise NotImplementedError

    def answer(self, answer: Any, ids_nk: Tensor, weights_nk: Tensor) -> Any:
        """What the router would have returned for other ids and weights."""
        raise NotImplementedError


class OneHotReading(Reading):
    """Experts called with a one-hot mask (N, 1, E), all zero where the token found its expert full (Switch)."""

    empty_when = "where an expert was full"

    def ids(self, call: Call, _logits_ne: Tensor) -> tuple[Tensor, Tensor]:
        """The one expert of each token, NO_EXPERT where the mask is empty."""
        mask_ne = call[0].flatten(0, -2)
        kept_n1 = mask_ne.any(-1, keepdim=True)
        ids_n1 = mask_ne.argmax(-1, keepdim=True).where(kept_n1, NO_EXPERT)
        return ids_n1, call[1].reshape(-1, 1) * kept_n1

    def call(self, call: Call, ids_nk: Tensor, weights_nk: Tensor) -> Call:
        """Masks again."""
        return (_mask(ids_nk, call[0].shape[-1]).view_as(call[0]).to(call[0]), weights_nk.view_as(call[1]), *call[2:])


class DenseReading(Reading):
    """Experts called with a mask of the first choices and with weights of all experts, (N, E) each (NLLB)."""

    empty_when = "where an expert was full, or the token is padding"

    def __init__(self, k: int) -> None:
        self.k = k

    def ids(self, call: Call, _logits_ne: Tensor) -> tuple[Tensor, Tensor]:
        """The k experts whose weight is not 0."""
        weights_nk, ids_nk = call[1].topk(self.k, dim=-1)
        return ids_nk.where(weights_nk > 0, NO_EXPERT), weights_nk

    def call(self, call: Call, ids_nk: Tensor, weights_nk: Tensor) -> Call:
        """Mask and dense weights again; the first choice is the heavier one."""
        experts = call[1].shape[-1]
        dense_ne = (_mask(ids_nk, experts, summed=False) * weights_nk.unsqueeze(-1)).sum(1)
        first_n1 = ids_nk.gather(1, weights_nk.argmax(-1, keepdim=True))
        return (_mask(first_n1, experts).to(call[0]), dense_ne.to(call[1]), *call[2:])


class SkipReading(Reading):
    """One option more than there are experts means "none"; its id is then written as 0 and its weight as 0 (Zaya)."""

    empty_when = "where the router chose to skip the layer"
    skips = True

    def ids(self, call: Call, _logits_ne: Tensor) -> tuple[Tensor, Tensor]:
        """NO_EXPERT where nothing was executed."""
        return call[0].where(call[1] != 0, NO_EXPERT), call[1]

    def call(self, call: Call, ids_nk: Tensor, weights_nk: Tensor) -> Call:
        """Id 0 with weight 0 for no expert."""
        return (ids_nk.clamp(min=0), weights_nk.masked_fill(ids_nk < 0, 0), *call[2:])


class ProductKeyReading(Reading):
    """Experts are rows of an embedding, found by the sum of two keys' scores (Doge)."""

    leading = 0
    takes_weights = False

    def logits(self, answer: Any, _at: int | None) -> Tensor:
        """The sum of both keys' scores for each of keys × keys experts."""
        first_nk, second_nk = answer.reshape(2, answer.shape[:-1].numel(), -1)
        sum_nkk: Tensor = first_nk.unsqueeze(-1) + second_nk.unsqueeze(-2)
        return sum_nkk.flatten(-2)

    def ids(self, call: Call, logits_ne: Tensor) -> tuple[Tensor, Tensor]:
        """The rows looked up, weighed by a softmax over their scores."""
        return call[0], logits_ne.gather(1, call[0]).softmax(-1)

    def call(self, call: Call, ids_nk: Tensor, _weights_nk: Tensor) -> Call:
        """Other rows; the weights are made inside the block and stay."""
        return (ids_nk, *call[1:])


class InputWeightReading(AnswerReading):
    """Every expert runs on every token, its input times a score that is 0 where it was not chosen (Llama 4)."""

    weighs_input = True

    def routes(self, router: nn.Module, answer: Any) -> Routes:
        """The experts whose score is not 0."""
        scores_ne, logits_ne = answer
        k: Any = router.top_k
        ids_nk = scores_ne.topk(int(k), dim=-1).indices
        return Routes(logits_ne, ids_nk, scores_ne.gather(1, ids_nk))

    def answer(self, answer: Any, ids_nk: Tensor, weights_nk: Tensor) -> Any:
        """Scores with other experts let through."""
        return torch.zeros_like(answer[0]).scatter_add(1, ids_nk, weights_nk), answer[1]


class SortedReading(AnswerReading):
    """The router hands out tokens already sorted by expert: (order, tokens, weights, tokens of each expert, logits)."""

    def routes(self, _router: nn.Module, answer: Any) -> Routes:
        """Back in the order of the tokens."""
        order_a, _, weights_a, sizes, logits_ne = answer
        sizes_e = torch.as_tensor(sizes, device=order_a.device)
        experts_a = torch.arange(len(sizes_e), device=order_a.device).repeat_interleave(sizes_e)
        ids_a = torch.empty_like(order_a).scatter(0, order_a, experts_a)
        weights_nk = torch.empty_like(weights_a).scatter(0, order_a, weights_a).view(len(logits_ne), -1)
        return Routes(logits_ne, ids_a.view(len(logits_ne), -1), weights_nk)

    def answer(self, answer: Any, ids_nk: Tensor, weights_nk: Tensor) -> Any:
        """Sorted again by the new experts."""
        sizes = torch.bincount(ids_nk.flatten(), minlength=answer[4].shape[-1]).tolist()
        order_a = ids_nk.flatten().sort(stable=True).indices
        return order_a, order_a // ids_nk.shape[1], weights_nk.flatten()[order_a], sizes, answer[4]


def _mask(ids_nk: Tensor, experts: int, *, summed: bool = True) -> Tensor:
    """Ones where an expert is chosen: (N, E), or (N, k, E) slot by slot."""
    mask_nke = one_hot(ids_nk.clamp(min=0), experts) * (ids_nk >= 0).unsqueeze(-1)
    return mask_nke.sum(1) if summed else mask_nke
