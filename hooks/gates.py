"""The gates a router may have: what it makes of its raw scores before it weighs the experts."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from routing.router import Score

GATES: dict[Score, Callable[[Tensor], Tensor]] = {
    "softmax": lambda logits_ne: logits_ne.softmax(-1),
    "sigmoid": lambda logits_ne: logits_ne.sigmoid(),
    "sqrtsoftplus": lambda logits_ne: softplus(logits_ne).sqrt(),
}
"""Score of every option from the raw logits, (N, options) each."""


def gate(logits_ne: Tensor, score: Score) -> Tensor:
    """The gate's score of every option; softmax stands in for gates that have no score of each expert by itself."""
    return GATES.get(score, GATES["softmax"])(logits_ne)


def entropy(logits_ne: Tensor, lse_n: Tensor, score: Score) -> Tensor | None:
    """Entropy in nats of the gate over all options, its scores first made to sum to 1; None for an unknown gate."""
    if score == "unknown":
        return None
    if score in ("softmax", "sparsemixer"):
        log_ne = logits_ne - lse_n.unsqueeze(-1)
        return -(log_ne.exp() * log_ne).nan_to_num(0.0).sum(-1)
    share_ne = gate(logits_ne, score)
    return torch.special.entr(share_ne / share_ne.sum(-1, keepdim=True)).sum(-1)
