"""The gates a router may have: what it makes of its raw scores before it weighs the experts."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from gatescope.routing.router import Score

GATES: dict[Score, Callable[[Tensor], Tensor]] = {
    "softmax": lambda logits_ne: logits_ne.softmax(-1),
    "sigmoid": lambda logits_ne: logits_ne.sigmoid(),
    "sqrtsoftplus": lambda logits_ne: softplus(logits_ne).sqrt(),
}
"""Score of every option from the raw logits, (N, options) each."""


def gate(logits_ne: Tensor, score: Score) -> Tensor:
    """The gate's score of every option; softmax stands in for gates that have no score of each expert by itself."""
    return GATES.get(score, GATES["softmax"])(logits_ne)


def entropy_and_lse(logits_ne: Tensor, score: Score) -> tuple[Tensor | None, Tensor]:
    """Entropy in nats of the gate over all options, its scores first made to sum to 1, and the logits' log-sum-exp.

    Shapes (N, 1). The entropy of an unknown gate is None. The largest share of a softmax is exp(largest logit -
    log-sum-exp) and at least 1 / options, so the log-sum-exp follows from it without loss.
    """
    share_ne = logits_ne.softmax(-1)
    lse_n1 = logits_ne.amax(-1, keepdim=True) - share_ne.amax(-1, keepdim=True).log()
    if score == "unknown":
        return None, lse_n1
    if score not in ("softmax", "sparsemixer"):
        share_ne = gate(logits_ne, score)
        share_ne = share_ne / share_ne.sum(-1, keepdim=True)
    return torch.special.entr(share_ne).sum(-1, keepdim=True), lse_n1
