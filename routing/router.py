"""How one layer's router scores, selects and weighs: what a reader must know to interpret its numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from gatescope.routing.errors import RecordError

Score = Literal["softmax", "sigmoid", "sqrtsoftplus", "sparsemixer", "unknown"]
Stack = Literal["decoder", "encoder", "vision", "audio", "talker"]
SPOKEN: dict[Score, str] = {"sqrtsoftplus": "square root of softplus", "sparsemixer": "SparseMixer"}


@dataclass(frozen=True, kw_only=True)
class RouterRule:
    """One MoE layer's routing rule, as found by its behaviour at load.

    `layer` counts MoE layers (0, 1, 2 …); `block` is the absolute index in the model, so that a model whose first
    blocks are dense has layer 0 at block 1 or 3. `experts` are the routed ones; shared experts are always on and never
    appear as routes. `score` is "unknown" when no known formula reproduces the recorded weights: ids and weights are
    then still what was executed, but the gate's entropy is absent.

    Of the `experts`, the last `zero_experts` hand the token on unchanged. `by_token_id` means that a fixed table of the
    token id picks the experts and the scores only weigh them. `has_expert_scales`: each expert's weight is multiplied
    by a learnt factor of its own. `shares_norm`: the shared experts are weighed in the same sum, so the recorded
    weights add up to less. `weighs_input`: the weight multiplies the expert's input, not its output. `empty_when` says
    when a slot stays empty ("where an expert was full"); where it says nothing, none does.

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
    by_token_id: bool = False
    has_expert_scales: bool = False
    shares_norm: bool = False
    weighs_input: bool = False
    empty_when: str = ""

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
        return ", ".join((*self._choice(), *self._weights(), *self._beside()))

    def _choice(self) -> Iterator[str]:
        yield f"{SPOKEN.get(self.score, self.score)} over {self.experts} experts"
        if self.zero_experts:
            yield f"{self.zero_experts} of which pass the token on unchanged"
        if self.has_selection_bias:
            yield "a balancing bias added for the choice only"
        if self.groups > 1:
            yield f"the best {self.groups_kept} of {self.groups} groups"
        if self.by_token_id:
            yield f"{self.k} picked by a table of token ids"
        else:
            yield "the best one kept" if self.k == 1 else f"the best {self.k} kept"

    def _weights(self) -> Iterator[str]:
        if self.shares_norm:
            yield "their weights made to sum to 1 together with the shared experts'"
        elif self.is_renormalised:
            yield "their weights made to sum to 1"
        if self.has_expert_scales:
            yield "times a factor of each expert's own"
        if self.scale != 1.0:
            yield f"times {self.scale:g}"
        if self.weighs_input:
            yield "the weight multiplying the expert's input"

    def _beside(self) -> Iterator[str]:
        if self.shared_experts:
            yield f"beside {self.shared_experts} shared expert{'s' if self.shared_experts > 1 else ''}"
        if self.empty_when:
            yield f"a slot left empty {self.empty_when}"
