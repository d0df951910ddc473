"""Which module near the experts chose their ids, and where the score of every option stands in its answer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gatescope.routing.errors import RouterOutputError

MOST_OPTIONS = 4096  # a wider answer is a hidden state, not a score for every expert


class Scores(NamedTuple):
    """A module, one tensor of its answer, and where in the answer it stands (None: it is the answer)."""

    path: str
    router: nn.Module
    at: int | None
    tensor: Tensor


def router_of(experts_path: str, outputs: Sequence[tuple[str, nn.Module, Any]], ids_nk: Tensor) -> Scores:
    """The module that chose `ids_nk`, or that gave the scores it chose by, and where these stand in its answer.

    `outputs` are paths, modules and answers of what ran near the experts, in order. Errors: RouterOutputError.
    """
    answers = [Scores(path, module, at, tensor) for path, module, out in outputs for at, tensor in tensors(out)]
    choosers = {answer.path for answer in answers if _same(answer.tensor, ids_nk)}
    for answer in answers:
        if answer.path in choosers and _is_scores(answer.tensor, ids_nk):
            return _before_softmax(answers, answer)
    least = int(ids_nk.max()) + 1
    for answer in reversed(answers):
        scores_ne = answer.tensor
        if _is_scores(scores_ne, ids_nk) and least <= scores_ne.shape[-1] < MOST_OPTIONS and _agrees(scores_ne, ids_nk):
            return answer
    looked_at = ", ".join(f"{path} ({type(module).__name__})" for path, module, _ in outputs)
    raise RouterOutputError(
        f"{experts_path} received ids {tuple(ids_nk.shape)}, but no module near it returned them or a score per "
        f"expert; looked at {looked_at or 'nothing'}",
        expected="a router module that returns (logits, weights, ids) or logits of shape (tokens, experts)",
        do="add an entry to hooks/discovery/families.py that says where this family's scores are",
    )


def _before_softmax(answers: Sequence[Scores], found: Scores) -> Scores:
    """The module that gave the raw scores, where the router itself returned probabilities (Gemma 4)."""
    scores_ne = found.tensor.flatten(0, -2)
    if bool((scores_ne >= 0).all()) and torch.allclose(scores_ne.float().sum(-1), torch.tensor(1.0), atol=1e-2):
        for raw in answers:
            logits_ne = raw.tensor.flatten(0, -2) if raw.tensor.dim() > 1 else raw.tensor
            if logits_ne.shape == scores_ne.shape and _is_softmax(scores_ne, logits_ne):
                return raw
    return found


def _is_softmax(probability_ne: Tensor, logits_ne: Tensor) -> bool:
    return torch.allclose(logits_ne.float().softmax(-1), probability_ne.float(), atol=1e-2)


def tensors(output: Any) -> list[tuple[int | None, Tensor]]:
    """The tensors of an answer and where they stand in it; None for an answer that is one."""
    if isinstance(output, Tensor):
        return [(None, output)]
    if isinstance(output, (tuple, list)):
        return [(at, value) for at, value in enumerate(output) if isinstance(value, Tensor)]
    return []


def _same(tensor: Tensor, ids_nk: Tensor) -> bool:
    return tensor is ids_nk or (
        tensor.dtype == ids_nk.dtype and tensor.shape == ids_nk.shape and torch.equal(tensor, ids_nk)
    )


def _is_scores(tensor: Tensor, ids_nk: Tensor) -> bool:
    """Whether this has one score for every token and option: more options than slots, or as many where k is 1."""
    rows, k = ids_nk.shape
    if not tensor.is_floating_point() or tensor.dim() < 2:
        return False
    return tensor.shape[:-1].numel() == rows and tensor.shape[-1] >= k + (k > 1)


def _agrees(scores_ne: Tensor, ids_nk: Tensor) -> bool:
    """Whether the best-scored experts are the chosen ones, for nearly all rows."""
    best_nk = scores_ne.flatten(0, -2).topk(ids_nk.shape[1], dim=-1).indices.sort(-1).values
    return bool((best_nk == ids_nk.sort(-1).values).all(-1).float().mean() > 0.9)
