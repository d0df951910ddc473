"""Experts modules with names nobody has seen: known by what they are called with in a pass."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from gatescope.hooks.layers.readings import Call, Reading

MOST_SLOTS = 64


class PlacedReading(Reading):
    """Experts called with ids and weights somewhere among their arguments, hidden states included."""

    leading = 0

    def __init__(self, ids_at: int, weights_at: int) -> None:
        self.ids_at, self.weights_at = ids_at, weights_at

    def ids(self, call: Call, _logits_ne: Tensor) -> tuple[Tensor, Tensor]:
        """Both from their places."""
        return call[self.ids_at].flatten(0, -2), call[self.weights_at].flatten(0, -2)

    def call(self, call: Call, ids_nk: Tensor, weights_nk: Tensor) -> Call:
        """Both put in their places."""
        changed = list(call)
        changed[self.ids_at] = ids_nk.view_as(call[self.ids_at])
        changed[self.weights_at] = weights_nk.view_as(call[self.weights_at])
        return tuple(changed)


def called_with_routes(model: nn.Module, run: Callable[[], object]) -> list[tuple[str, PlacedReading]]:
    """Path and reading of every module that is called with hidden states, ids and weights; the outermost of each."""
    found: dict[str, PlacedReading] = {}
    with ExitStack() as hooks, torch.no_grad():
        for path, module in model.named_modules():
            if path:
                hooks.callback(module.register_forward_pre_hook(_note(path, found), with_kwargs=True).remove)
        run()
    return [(path, reading) for path, reading in found.items() if not _has_outer(path, found)]


def _note(path: str, found: dict[str, PlacedReading]) -> Callable[..., None]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        values = (*args, *kwargs.values())
        reading = _placed(values)
        if reading is not None:
            found.setdefault(path, reading)

    return hook


def _placed(values: tuple[Any, ...]) -> PlacedReading | None:
    """Where ids and weights stand among the arguments: integers and numbers of one shape, a row for each token."""
    shapes = [tuple(value.shape) if isinstance(value, Tensor) else () for value in values]
    for ids_at, value in enumerate(values):
        if not shapes[ids_at] or value.is_floating_point() or value.dtype == torch.bool or value.dim() < 2:
            continue
        rows, k = value.shape[:-1].numel(), value.shape[-1]
        floats = [at for at, shape in enumerate(shapes) if shape and values[at].is_floating_point()]
        weights_at = next((at for at in floats if shapes[at] == shapes[ids_at]), None)
        has_hidden = any(
            len(shapes[at]) > 1 and values[at].shape[:-1].numel() == rows for at in floats if at != weights_at
        )
        if weights_at is not None and has_hidden and k <= MOST_SLOTS:
            return PlacedReading(ids_at, weights_at)
    return None


def _has_outer(path: str, found: dict[str, PlacedReading]) -> bool:
    return any(path.startswith(f"{other}.") for other in found)
