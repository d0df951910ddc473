"""Where one MoE layer of a model is: its router, its experts, and how its choice is read between them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from gatescope.hooks.layers.list_reading import ListReading
from gatescope.hooks.layers.readings import AnswerReading, Reading
from gatescope.routing.router import Stack

Rows = Callable[[tuple[Any, ...]], dict[str, Tensor] | None]


@dataclass(frozen=True)
class Divider:
    """A block that gives each of its MoE layers only some of the tokens: `rows` tells which, by the `child`'s name."""

    module: nn.Module
    rows: Rows
    child: str


@dataclass(frozen=True, kw_only=True)
class Site:
    """One MoE layer of a model.

    `block` is its absolute index, `holder` the innermost module around router and experts. `experts` is the module
    whose call carries the choice, or None where the router's answer does or each expert is a module of `experts_list`;
    `logits_at` says where in that answer the
    score of every option stands (None: the answer is that tensor). `options` counts them: the experts, and one more
    where "none" can be chosen. `output_scale` is a factor that the block applies after its experts. `note` is what a
    reader of this layer must know.
    """

    layer: int
    block: int
    stack: Stack
    holder_path: str
    holder: nn.Module
    router_path: str
    router: nn.Module
    reading: Reading | AnswerReading | ListReading
    options: int
    k: int
    experts_path: str = ""
    experts: nn.Module | None = None
    logits_at: int | None = None
    output_scale: float = 1.0
    divider: Divider | None = None
    experts_list: tuple[nn.Module, ...] = ()
    note: str = ""

    @property
    def name(self) -> str:
        """How a message names this layer."""
        return f"layer {self.layer} ({self.holder_path})"


def block_of(path: str) -> int:
    """The absolute block index in a module path: its first number.

    >>> block_of("model.layers.12.mlp.experts")
    12
    """
    found = re.search(r"(?:^|\.)(\d+)(?:\.|$)", path)
    return int(found.group(1)) if found else 0


def stack_of(path: str) -> Stack:
    """Which stack of the model a module path lies in.

    >>> stack_of("model.encoder.block.1.layer.1.mlp.experts"), stack_of("model.visual.blocks.3.mlp.experts")
    ('encoder', 'vision')
    """
    words = path.lower()
    if "visual" in words or "vision" in words:
        return "vision"
    for stack in ("audio", "talker", "encoder"):
        if stack in words:
            return stack
    return "decoder"
