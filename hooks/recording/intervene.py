"""Change routes while a model runs: the proof that a recorded route is the one that matters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gatescope.hooks.layers.probing import forward
from gatescope.hooks.layers.routes import NO_EXPERT, Routes
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
        return _sent(routes, self.row, self.expert) if layer == self.layer_index else None


class RerouteText:
    """Sends one token of one text of a batch to an expert that it does not use, in one layer.

    Texts of `length` tokens stand one behind the other. The token is the one nearest the middle that has a token before
    it and that the layer gave an expert; `place` is where it stands in its text, None until one was changed.
    """

    def __init__(self, layer_index: int, *, text: int, length: int, experts: int) -> None:
        self.layer_index, self.text, self.length, self.experts = layer_index, text, length, experts
        self.place: int | None = None

    def change(self, layer: int, routes: Routes) -> tuple[Tensor, Tensor] | None:
        """Called by the recorder; changes one route of one layer."""
        if layer != self.layer_index:
            return None
        ids_nk = routes.ids_nk
        rows_n = torch.arange(len(ids_nk), device=ids_nk.device) if routes.rows_n is None else routes.rows_n
        is_mine_n = (rows_n // self.length == self.text) & (rows_n % self.length > 0)
        rows = (is_mine_n & (ids_nk[:, 0] != NO_EXPERT)).nonzero()[:, 0]
        if not len(rows):
            return None
        row = int(rows[len(rows) // 2])
        self.place = int(rows_n[row]) % self.length
        return _sent(routes, row, unused_expert(ids_nk[row], self.experts))


def _sent(routes: Routes, row: int, expert: int) -> tuple[Tensor, Tensor]:
    """Routes with a row's strongest expert replaced; its weight set to 0 where every expert is in use."""
    ids_nk, weights_nk = routes.ids_nk.clone(), routes.weights_nk.clone()
    strongest = int(weights_nk[row].argmax())
    if (ids_nk[row] == expert).any():
        weights_nk[row, strongest] = 0
    else:
        ids_nk[row, strongest] = expert
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
