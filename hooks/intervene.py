"""Change routes while a model runs: the proof that a recorded route is the one that matters."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hooks.recorder import Recorder, Sink


def run(model: Any, recorder: Recorder, sink: Sink, ids_bs: Tensor) -> Tensor:
    """One forward pass over a single text with `sink` in place; the output logits, shape (tokens, vocabulary)."""
    with torch.no_grad(), recorder.recording(sink):
        return model(input_ids=ids_bs, use_cache=False).logits[0].float()


@dataclass(frozen=True)
class Reroute:
    """A sink that sends row `row` of layer `layer` to `expert` instead of its strongest one, and leaves the rest alone.

    Where every expert is already in use, the row's strongest weight is set to 0 instead.
    """

    layer_index: int
    row: int
    expert: int

    def layer(self, layer: int, logits_ne: Tensor, ids_nk: Tensor, weights_nk: Tensor) -> tuple[Tensor, Tensor] | None:
        """Called by the recorder; changes one route of one layer."""
        if layer != self.layer_index:
            return None
        ids_nk, weights_nk = ids_nk.clone(), weights_nk.clone()
        strongest = int(weights_nk[self.row].argmax())
        if (ids_nk[self.row] == self.expert).any():
            weights_nk[self.row, strongest] = 0
        else:
            ids_nk[self.row, strongest] = self.expert
        return ids_nk, weights_nk


class Watch:
    """A sink that keeps every layer's raw routing of one pass, changing nothing."""

    def __init__(self) -> None:
        self.seen: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def layer(self, layer: int, logits_ne: Tensor, ids_nk: Tensor, weights_nk: Tensor) -> None:
        """Called by the recorder; keeps logits, ids and weights."""
        self.seen[layer] = (logits_ne.detach(), ids_nk.detach(), weights_nk.detach())


def unused_expert(ids_k: Tensor, experts: int) -> int:
    """The lowest expert a token does not use; 0 when it uses all."""
    free = torch.ones(experts, dtype=torch.bool)
    free[ids_k.cpu()] = False
    return int(free.int().argmax())
