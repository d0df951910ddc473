"""How one layer's router scores, selects and weighs: what a reader must know to interpret its numbers."""

from dataclasses import dataclass
from typing import Literal

from routing.errors import RecordError

Score = Literal["softmax", "sigmoid", "unknown"]
Stack = Literal["decoder", "encoder", "vision"]


@dataclass(frozen=True, kw_only=True)
class RouterRule:
    """One MoE layer's routing rule, as found by its behaviour at load.

    `layer` counts MoE layers (0, 1, 2 …); `block` is the absolute index in the model, so that a model whose first
    blocks are dense has layer 0 at block 1 or 3. `experts` are the routed ones; shared experts are always on and never
    appear as routes. `score` is "unknown" when no known formula reproduces the recorded weights: ids and weights are
    then still what was executed, but the gate's entropy is absent.

    >>> RouterRule(layer=0, block=1, module="model.layers.1.mlp", experts=8, k=2, score="softmax").sentence
    'softmax over 8 experts, the best 2 kept'
    """

    layer: int
    block: int
    module: str
    experts: int
    k: int
    score: Score
    stack: Stack = "decoder"
    has_selection_bias: bool = False
    groups: int = 1
    groups_kept: int = 1
    is_renormalised: bool = False
    scale: float = 1.0
    shared_experts: int = 0
    zero_experts: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.experts:
            raise RecordError(
                f"layer {self.layer} ({self.module}) has k={self.k} of {self.experts} experts",
                expected="1 <= k <= experts",
                do="report the model's config: its router was misread",
            )

    @property
    def sentence(self) -> str:
        """The rule in words, in the order the router applies it."""
        parts = [f"{self.score} over {self.experts} experts"]
        if self.has_selection_bias:
            parts.append("a balancing bias added for the choice only")
        if self.groups > 1:
            parts.append(f"the best {self.groups_kept} of {self.groups} groups")
        parts.append(f"the best {self.k} kept")
        if self.is_renormalised:
            parts.append("their weights made to sum to 1")
        if self.scale != 1.0:
            parts.append(f"times {self.scale:g}")
        if self.shared_experts:
            parts.append(f"beside {self.shared_experts} shared expert{'s' if self.shared_experts > 1 else ''}")
        return ", ".join(parts)
