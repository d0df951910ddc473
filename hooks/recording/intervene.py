"""Change routes while a model runs: the proof that a recorded route is the one that matters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gatescope.hooks.layers.probing import forward
from gatescope.hooks.layers.routes import Routes
from gatescope.hooks.recording.changing import Intervention
from gatescope.hooks.recording.recorder import Recorder, Sink


def run(model: Any, recorder: Recorder, intervention: Intervention, inputs: Mapping[str, Any]) -> Tensor:
    """One forward pass with an intervention in place; what the model put out, one row per token."""
    with recorder.changing(intervention):
        return forward(model, inputs)


def watched(model: Any, recorder: Recorder, sink: Sink, inputs: Mapping[str, Any]) -> Tensor:
    """One forward pass told to `sink`; what the model put out, one row per token."""
    with recorder.recording(sink):
        return forward(model, inputs)


@dataclass(frozen=True)
class Reroute:
    """Sends row `row` of layer `layer` to `expert` instead of its strongest one, and leaves the rest alone.

    Where every expert is already in use, the row's strongest weight is set to 0 instead.
    """

    layer_index: int
    row: int
    expert: int

    def change(self, layer: int, routes: Routes) -> tuple[Tensor, Tensor] | None:
        """Called by the recorder; changes one route of one layer."""
        if layer != self.layer_index:
            return None
        ids_nk, weights_nk = routes.ids_nk.clone(), routes.weights_nk.clone()
        strongest = int(weights_nk[self.row].argmax())
        if (ids_nk[self.row] == self.expert).any():
            weights_nk[self.row, strongest] = 0
        else:
            ids_nk[self.row, strongest] = self.expert
        return ids_nk, weights_nk


class Watch:
    """A sink that keeps every layer's raw routing of one pass, changing nothing."""

    def __init__(self) -> None:
        self.seen: dict[int, Routes] = {}

    def layer(self, layer: int, routes: Routes) -> None:
        """Called by the recorder; keeps the routes."""
        self.seen[layer] = routes


def unused_expert(ids_k: Tensor, experts: int) -> int:
    """The lowest expert a token does not use; 0 when it uses all."""
    free = torch.ones(experts, dtype=torch.bool)
    free[ids_k[ids_k >= 0].cpu()] = False
    return int(free.int().argmax())
