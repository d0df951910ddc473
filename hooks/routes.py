"""The sink of a capture: every layer's routing reduced as it happens, handed over as arrays after each forward pass."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from hooks.rules import Learnt, Reduced, reduce
from routing.errors import RouterOutputError
from routing.record import EMPTY8, empty_slot


class RouteSink:
    """Collects one forward pass at a time; `flush` empties it. `on_layer` is called after each MoE layer."""

    def __init__(self, learnt: Sequence[Learnt], *, keeps_logits: bool, on_layer: Callable[[], None]) -> None:
        self._learnt, self._keeps_logits, self._on_layer = learnt, keeps_logits, on_layer
        self._reduced: dict[int, Reduced] = {}
        self._logits: dict[int, Tensor] = {}

    def layer(self, layer: int, logits_ne: Tensor, ids_nk: Tensor, weights_nk: Tensor) -> None:
        """Reduce one layer's routing of this pass."""
        if layer in self._reduced:
            raise _uneven(self._learnt[layer], "ran twice in one forward pass")
        self._reduced[layer] = reduce(self._learnt[layer].selector, logits_ne, ids_nk, weights_nk)
        if self._keeps_logits:
            self._logits[layer] = logits_ne.half()
        self._on_layer()

    def flush(self, keep_n: Tensor) -> dict[str, NDArray]:
        """The pass's arrays for the rows in `keep_n` (bool, all rows of the batch); padding is what is not kept."""
        missing = [learnt for learnt in self._learnt if learnt.rule.layer not in self._reduced]
        if missing:
            raise _uneven(missing[0], "did not run in this forward pass")
        passed = [self._reduced[layer] for layer in range(len(self._learnt))]
        arrays = _arrays(passed, self._learnt, keep_n)
        if self._keeps_logits:
            width = max(learnt.rule.experts for learnt in self._learnt)
            logits = [self._logits[layer] for layer in range(len(self._learnt))]
            arrays["logit_tle"] = _stack(logits, width, float("nan"), keep_n).numpy()
        self._reduced, self._logits = {}, {}
        return arrays


def _uneven(learnt: Learnt, what: str) -> RouterOutputError:
    return RouterOutputError(
        f"layer {learnt.rule.layer} ({learnt.rule.module}) {what}",
        expected="every MoE layer exactly once per forward pass",
        do="switch off gradient checkpointing, compilation and fused kernels",
    )


def _arrays(passed: Sequence[Reduced], learnt: Sequence[Learnt], keep_n: Tensor) -> dict[str, NDArray]:
    slots = max(each.rule.k for each in learnt)
    dtype = np.uint8 if max(each.rule.experts for each in learnt) <= int(EMPTY8) else np.uint16
    empty = empty_slot(dtype)
    arrays = {
        "ids_tlk": _stack([each.ids_nk for each in passed], slots, empty, keep_n).numpy().astype(dtype),
        "weight_tlk": _stack([each.weights_nk for each in passed], slots, 0.0, keep_n).half().numpy(),
        "lse_tl": _column([each.lse_n for each in passed], keep_n).half().numpy(),
    }
    if any(each.selector is not None for each in learnt):
        arrays |= _scores(passed, keep_n, dtype)
    return arrays


def _scores(passed: Sequence[Reduced], keep_n: Tensor, dtype: type) -> dict[str, NDArray]:
    """Margin, entropy, first rejected expert; NaN and empty where the rule is unknown or no expert is left over."""
    blank_n = torch.full_like(passed[0].lse_n, float("nan"))
    margin_tl = _column([blank_n if each.margin_n is None else each.margin_n for each in passed], keep_n)
    entropy_tl = _column([blank_n if each.entropy_n is None else each.entropy_n for each in passed], keep_n)
    rejected = [blank_n.nan_to_num(0).long() if each.rejected_n is None else each.rejected_n for each in passed]
    known_tl = margin_tl.isfinite()
    rejected_tl = _column(rejected, keep_n).where(known_tl, torch.tensor(empty_slot(dtype)))
    return {
        "margin_tl": margin_tl.where(known_tl, torch.tensor(float("nan"))).half().numpy(),
        "entropy_tl": entropy_tl.half().numpy(),
        "rejected_tl": rejected_tl.numpy().astype(dtype),
    }


def _stack(layers: Sequence[Tensor], width: int, fill: float, keep_n: Tensor) -> Tensor:
    """(rows kept, layers, width) on the CPU; narrower layers filled up."""
    device = layers[0].device
    wide = [pad(each.to(device), (0, width - each.shape[1]), value=fill) for each in layers]
    return torch.stack(wide, dim=1)[keep_n.to(device)].cpu()


def _column(layers: Sequence[Tensor], keep_n: Tensor) -> Tensor:
    """(rows kept, layers) on the CPU."""
    device = layers[0].device
    return torch.stack([each.to(device) for each in layers], dim=1)[keep_n.to(device)].cpu()
