"""How the choice of a block is read that calls its experts one by one, out of a list of modules.

No module is called with ids there, so what was executed is seen at the experts themselves: each is called with the
tokens sent to it, and these are known again by their numbers. Weights are those the router hands out, or follow from
its scores by a formula.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gatescope.hooks.layers.gates import gate
from gatescope.hooks.layers.routes import NO_EXPERT, Routes
from gatescope.routing.router import Score

MARKS = 64  # coordinates by which a token's hidden state is known again


class Weighed(NamedTuple):
    """How weights follow from scores: a gate, renormalised over the executed experts or not, times a scale."""

    score: Score
    is_renormalised: bool
    scale: float


@dataclass(frozen=True)
class ListReading:
    """A router beside a list of experts. Where in its answer the parts stand; None where they are not in it.

    Without `logits_at`, scores are the router's weight times its input; without `ids_at` and `weights_at`, weights
    follow by `weighed`.
    """

    k: int
    ids_at: int | None
    weights_at: int | None
    logits_at: int | None
    has_logits: bool
    weighed: Weighed | None = None
    empty_when: str = "where fewer experts ran"
    weighs_input: bool = False
    skips: bool = False
    takes_weights: bool = False

    def logits(self, router: nn.Module, given: Tensor, answer: Any) -> Tensor:
        """The router's score of every expert."""
        if self.has_logits:
            return part(answer, self.logits_at).flatten(0, -2)
        weight: Any = router.weight  # a matrix, as was seen when it was read
        return nn.functional.linear(given.flatten(0, -2).to(weight.dtype), weight)

    def routes(self, router: nn.Module, given: Tensor, answer: Any, called: Mapping[int, Tensor]) -> Routes:
        """What the experts in `called` (the tokens each was given) executed, and by which weights."""
        logits_ne = self.logits(router, given, answer)
        runs_ne = executed(given, called, logits_ne.shape[-1])
        weights_ne = self._weights(logits_ne, answer, runs_ne)
        best_nk = weights_ne.masked_fill(~runs_ne, -torch.inf).topk(self.k, dim=-1).indices
        runs_nk = runs_ne.gather(1, best_nk)
        return Routes(logits_ne, best_nk.where(runs_nk, NO_EXPERT), weights_ne.gather(1, best_nk) * runs_nk)

    def _weights(self, logits_ne: Tensor, answer: Any, runs_ne: Tensor) -> Tensor:
        if self.weighed is None:
            ids_nk, weights_nk = (part(answer, at).flatten(0, -2) for at in (self.ids_at, self.weights_at))
            return torch.zeros_like(logits_ne, dtype=weights_nk.dtype).scatter(1, ids_nk.long(), weights_nk)
        shares_ne = gate(logits_ne.float(), self.weighed.score) * runs_ne
        if self.weighed.is_renormalised:
            shares_ne = shares_ne / shares_ne.sum(-1, keepdim=True).clamp(min=1e-30)
        return shares_ne * self.weighed.scale


def part(answer: Any, at: int | None) -> Tensor:
    """One tensor of an answer; the answer itself where it is one."""
    tensor: Tensor = answer if at is None else answer[at]
    return tensor


def marks(hidden: Tensor) -> Tensor:
    """A number for each token, the same for hidden states that are equal bit for bit; shape (tokens,)."""
    hidden = hidden.detach().flatten(0, -2)
    step = max(1, hidden.shape[-1] // MARKS)
    bits = hidden[:, ::step].contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[hidden.element_size()])
    factors = torch.arange(1, bits.shape[-1] + 1, device=bits.device).mul_(0x9E3779B97F4A7C1 >> 4) | 1
    return (bits.long() * factors).sum(-1)


def executed(given: Tensor, called: Mapping[int, Tensor], experts: int) -> Tensor:
    """Which experts ran for which tokens, (N, experts) bool; `called` holds the marks of each expert's tokens."""
    marks_n = marks(given)
    runs_ne = torch.zeros(len(marks_n), experts, dtype=torch.bool, device=marks_n.device)
    for expert, marks_m in called.items():
        runs_ne[:, expert] = torch.isin(marks_n, marks_m)
    return runs_ne
