"""The sink of a capture: every layer's routing reduced as it happens, handed over as arrays after each forward pass."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from hooks.reduced import Reduced, reduce
from hooks.routes import NO_EXPERT, Routes
from hooks.rules import Learnt
from routing.errors import RouterOutputError
from routing.record import EMPTY8, empty_slot
from routing.router import Stack

NAN = float("nan")


def nothing() -> None:
    """Called after each layer where nobody wants to know."""


class RouteSink:
    """Collects one forward pass at a time; `flush` empties it. `on_layer` is called after each MoE layer.

    With `scores`, margin, entropy, log-sum-exp and the first rejected expert are kept; with `logits`, every score.
    """

    def __init__(
        self,
        learnt: Sequence[Learnt],
        *,
        scores: bool = True,
        logits: bool = False,
        on_layer: Callable[[], None] = nothing,
    ) -> None:
        self._learnt, self._on_layer = learnt, on_layer
        self._keeps_scores, self._keeps_logits = scores, logits
        self._reduced: dict[int, Reduced] = {}
        self._logits: dict[int, Tensor] = {}
        self._rows: dict[int, Tensor | None] = {}

    def layer(self, layer: int, routes: Routes) -> None:
        """Reduce one layer's routing of this pass."""
        if layer in self._reduced:
            raise _uneven(self._learnt[layer], "ran twice in one forward pass")
        self._reduced[layer] = reduce(self._learnt[layer], routes, scores=self._keeps_scores)
        self._rows[layer] = routes.rows_n
        if self._keeps_logits:
            self._logits[layer] = routes.logits_ne[:, : self._learnt[layer].rule.experts].half()
        self._on_layer()

    def rows(self, stack: Stack) -> int:
        """How many rows the layers of a stack ran on since the last flush; 0 where none did."""
        sizes = [
            len(self._reduced[one.rule.layer].ids_nk) for one in self._of(stack) if one.rule.layer in self._reduced
        ]
        return max(sizes, default=0)

    def clear(self) -> None:
        """Forget what was not flushed."""
        self._reduced, self._logits, self._rows = {}, {}, {}

    def flush(self, keep_n: Tensor, stack: Stack = "decoder") -> dict[str, NDArray]:
        """The arrays of one stack's pass for the rows in `keep_n` (bool, all rows of the batch).

        Padding is what is not kept. Layers of other stacks get empty slots, and keep what they have seen.
        Errors: RouterOutputError for a layer that did not run, or whose numbers are none, named.
        """
        own = self._of(stack)
        missing = [one for one in own if one.rule.layer not in self._reduced and not one.rule.empty_when]
        if missing or not own:
            raise _uneven((missing or self._learnt)[0], "did not run in this forward pass")
        arrays = _Arrays(self._learnt, keep_n, {one.rule.layer: self._take(one, keep_n) for one in own})
        columns = arrays.routes() | (arrays.scores() if self._keeps_scores else {})
        if self._keeps_logits:
            columns["logit_tle"] = arrays.logits({one.rule.layer: self._take_logits(one, keep_n) for one in own})
        return columns

    def _of(self, stack: Stack) -> list[Learnt]:
        return [learnt for learnt in self._learnt if learnt.rule.stack == stack]

    def _take(self, learnt: Learnt, keep_n: Tensor) -> Reduced:
        """A layer's pass over all rows: those it did not see are empty."""
        layer = learnt.rule.layer
        reduced, rows_n = self._reduced.pop(layer, None), self._rows.get(layer)
        if reduced is None:
            none = torch.empty(0, dtype=torch.long)
            reduced, rows_n = Reduced(none.reshape(0, learnt.rule.k), none.reshape(0, learnt.rule.k).float()), none
        if rows_n is None:
            return reduced
        size = len(keep_n)
        return Reduced(
            _spread(reduced.ids_nk, rows_n, size, NO_EXPERT),
            _spread(reduced.weights_nk, rows_n, size, 0.0),
            *(None if one_n is None else _spread(one_n, rows_n, size, NAN) for one_n in reduced[2:]),
        )

    def _take_logits(self, learnt: Learnt, keep_n: Tensor) -> Tensor:
        logits_ne, rows_n = self._logits.pop(learnt.rule.layer, None), self._rows.get(learnt.rule.layer)
        if logits_ne is None:
            return torch.full((len(keep_n), learnt.rule.experts), NAN)
        return logits_ne if rows_n is None else _spread(logits_ne, rows_n, len(keep_n), NAN)


def _spread(values: Tensor, rows_n: Tensor, size: int, fill: float) -> Tensor:
    """`values` at their rows among `size`, `fill` elsewhere."""
    shape = (size, *values.shape[1:])
    whole = torch.full(shape, fill, dtype=values.dtype if values.is_floating_point() or fill == fill else torch.float)
    return whole.to(values.device).index_copy(0, rows_n.to(values.device), values.to(whole.dtype))


def _uneven(learnt: Learnt, what: str) -> RouterOutputError:
    return RouterOutputError(
        f"layer {learnt.rule.layer} ({learnt.rule.module}) {what}",
        expected="every MoE layer exactly once per forward pass",
        do="switch off compilation and fused kernels; if the model was compiled before, call torch._dynamo.reset()",
    )


class _Arrays:
    """The arrays of one pass, made from some layers' reduced routing; the other layers stay blank."""

    def __init__(self, learnt: Sequence[Learnt], keep_n: Tensor, passed: dict[int, Reduced]) -> None:
        self._rules = [each.rule for each in learnt]
        self._keep_n, self._passed = keep_n, passed
        self._dtype = np.uint8 if max(rule.experts for rule in self._rules) <= int(EMPTY8) else np.uint16

    def routes(self) -> dict[str, NDArray]:
        """ids_tlk and weight_tlk."""
        slots = max(rule.k for rule in self._rules)
        ids_tlk = self._stack({layer: one.ids_nk for layer, one in self._passed.items()}, slots, NO_EXPERT)
        weight_tlk = self._stack({layer: one.weights_nk for layer, one in self._passed.items()}, slots, 0.0)
        self._check_finite(weight_tlk, "combine weight")
        return {
            "ids_tlk": ids_tlk.where(ids_tlk >= 0, empty_slot(self._dtype)).numpy().astype(self._dtype),
            "weight_tlk": weight_tlk.half().numpy(),
        }

    def scores(self) -> dict[str, NDArray]:
        """Margin, entropy, log-sum-exp and first rejected expert; NaN and empty where there is none."""
        margin_tl, entropy_tl, lse_tl, rejected_tl = (
            self._column(name) for name in ("margin_n", "entropy_n", "lse_n", "rejected_n")
        )
        experts_l = torch.tensor([rule.experts for rule in self._rules])
        is_known_tl = margin_tl.isfinite()
        is_expert_tl = is_known_tl & (rejected_tl.nan_to_num(0.0) < experts_l)
        return {
            "margin_tl": margin_tl.where(is_known_tl, NAN).half().numpy(),
            "entropy_tl": entropy_tl.half().numpy(),
            "lse_tl": lse_tl.half().numpy(),
            "rejected_tl": rejected_tl.where(is_expert_tl, empty_slot(self._dtype)).numpy().astype(self._dtype),
        }

    def logits(self, logits: dict[int, Tensor]) -> NDArray:
        """logit_tle."""
        return self._stack(logits, max(rule.experts for rule in self._rules), NAN).numpy()

    def _stack(self, layers: dict[int, Tensor], width: int, fill: float) -> Tensor:
        """(rows kept, layers, width) on the CPU; narrower layers filled up, blank layers filled."""
        device = self._keep_n.device
        wide = [pad(each.to(device), (0, width - each.shape[1]), value=fill) for each in layers.values()]
        own = torch.stack(wide, dim=1)[self._keep_n].cpu()
        if len(layers) == len(self._rules):
            return own
        whole = torch.full((len(own), len(self._rules), width), fill, dtype=own.dtype)
        whole[:, list(layers)] = own
        return whole

    def _column(self, name: str) -> Tensor:
        """(rows kept, layers) of one number per token, NaN where a layer has none."""
        columns = {}
        for layer, one in self._passed.items():
            value_n = getattr(one, name)
            blank = value_n is None
            columns[layer] = torch.full((len(self._keep_n), 1), NAN) if blank else value_n.float().unsqueeze(-1)
        return self._stack(columns, 1, NAN)[..., 0]

    def _check_finite(self, weight_tlk: Tensor, what: str) -> None:
        bad = (~weight_tlk.isfinite()).nonzero()
        if len(bad):
            token, layer = int(bad[0, 0]), int(bad[0, 1])
            raise RouterOutputError(
                f"layer {layer} ({self._rules[layer].module}) gave token {token} of this pass "
                f"a {what} that is no number",
                expected="finite router scores",
                do="run the model in bfloat16 or float32: half precision overflows beyond 65,504",
            )
