"""What a model's layers are called, and those that follow one rule told together."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from gatescope.routing.router import RouterRule


class LayerGroup(NamedTuple):
    """The layers that follow one rule; `module` is the path of their experts, * where the paths have a number."""

    rules: tuple[RouterRule, ...]
    module: str

    @property
    def rule(self) -> RouterRule:
        """The first layer's, which stands for all of them."""
        return self.rules[0]

    @property
    def layers(self) -> list[int]:
        """Numbers of the MoE layers."""
        return [rule.layer for rule in self.rules]

    @property
    def blocks(self) -> list[int]:
        """Numbers of the blocks they are in."""
        return sorted({rule.block for rule in self.rules})


def layer_groups(rules: Sequence[RouterRule]) -> list[LayerGroup]:
    """The layers by what their rules say, in the order of each group's first layer."""
    groups: dict[tuple[str, str, str], list[RouterRule]] = {}
    for rule in rules:
        module = re.sub(r"(?<![^.])\d+(?![^.])", "*", rule.module)
        groups.setdefault((rule.stack, module, rule.sentence), []).append(rule)
    return [LayerGroup(tuple(alike), module) for (_, module, _), alike in groups.items()]


def span(numbers: Sequence[int]) -> str:
    """Rising numbers, as short as they can be said.

    >>> span([0, 1, 2, 5]), span([1, 3, 5, 7])
    ('0–2, 5', '1, 3 … 7')
    """
    steps = {second - first for first, second in pairwise(numbers)}
    if len(numbers) > 3 and len(steps) == 1 and steps != {1}:
        return f"{numbers[0]}, {numbers[1]} … {numbers[-1]}"
    runs: list[list[int]] = []
    for number in numbers:
        if not runs or number != runs[-1][-1] + 1:
            runs.append([])
        runs[-1].append(number)
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def layer_names(rules: Sequence[RouterRule]) -> list[str]:
    """Each layer's number, and in brackets what else it takes to know it by: its stack, its block, its part of a block.

    >>> from dataclasses import replace
    >>> rule = RouterRule(layer=0, block=1, module="model.layers.1.mlp", experts=8, k=2, score="softmax")
    >>> layer_names([rule])
    ['0 (block 1)']
    >>> text, vision = (replace(rule, module=f"model.layers.1.mlp.{name}_moe") for name in ("text", "vision"))
    >>> layer_names([text, replace(vision, layer=1)])
    ['0 (block 1, mlp.text_moe)', '1 (block 1, mlp.vision_moe)']
    """
    has_stacks = len({rule.stack for rule in rules}) > 1
    has_blocks = any(rule.block != rule.layer for rule in rules)
    held = Counter((rule.stack, rule.block) for rule in rules)
    names = []
    for rule in rules:
        part = f".{rule.module}".partition(f".{rule.block}.")[2]
        told = [rule.stack] * has_stacks + [f"block {rule.block}"] * has_blocks
        told += [part] * (held[rule.stack, rule.block] > 1)
        names.append(f"{rule.layer} ({', '.join(told)})" if told else str(rule.layer))
    return names
