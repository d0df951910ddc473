"""What blocks put out with their experts and without: two passes of the whole model, each module run as often as ever.

The first pass, in which everything runs as it is, may be one that is made anyhow: `listen` only notes. A block may hold
what must not run twice in a pass (attention that writes to a cache, a counter). So nothing is run by itself: in the
second pass the experts of all blocks are silenced, and each block then hands on what it had put out in the first, so
that every block gets the same input both times.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Block(NamedTuple):
    """A module, where it is, and the experts inside it."""

    path: str
    holder: nn.Module
    experts: tuple[nn.Module, ...]


@dataclass
class Heard:
    """What a block's experts gave, and what it put out with them and without, call by call."""

    given: list[Tensor] = field(default_factory=list)
    loud: list[Any] = field(default_factory=list)
    silent: list[Any] = field(default_factory=list)

    @property
    def change(self) -> Tensor | None:
        """What the experts change of the hidden states in the first call, in float32; None where it cannot be told."""
        loud, silent = (first_tensor(each[0]) if each else None for each in (self.loud, self.silent))
        if loud is None or silent is None or loud.shape != silent.shape:
            return None
        return loud.float() - silent.float()


def heard_with_and_without(blocks: Sequence[Block], run: Callable[[], object]) -> list[Heard]:
    """Every block in a pass as it is, and in one with its experts silenced; `run` makes one pass."""
    if not blocks:
        return []
    with ExitStack() as hooks, torch.no_grad():
        heard = [Heard(*(listen(each, hooks) for each in (block.experts, (block.holder,)))) for block in blocks]
        run()
    silence(blocks, heard, run, run)
    return heard


def listen(modules: Sequence[nn.Module], hooks: ExitStack) -> list[Any]:
    """What these modules put out, call by call, until `hooks` is closed."""
    kept: list[Any] = []
    for module in modules:
        hooks.callback(module.register_forward_hook(_note(kept)).remove)
    return kept


def silence(
    blocks: Sequence[Block], heard: Sequence[Heard], first: Callable[[], object], run: Callable[[], object]
) -> None:
    """Let `heard` hear every block without its experts: one pass by `first`, one more by `run` for blocks in blocks."""
    for turn, numbers in enumerate(_apart(blocks) or [[]]):
        with ExitStack() as hooks, torch.no_grad():
            for number in numbers:
                hooks.callback(blocks[number].holder.register_forward_hook(_hand_on(heard[number])).remove)
                for expert in blocks[number].experts:
                    hooks.callback(expert.register_forward_hook(_silence).remove)
            (run if turn else first)()


def first_tensor(output: Any) -> Tensor | None:
    """The tensor of a block's output that holds hidden states."""
    first = output[0] if isinstance(output, (tuple, list)) and output else output
    return first if isinstance(first, Tensor) else None


def _apart(blocks: Sequence[Block]) -> list[list[int]]:
    """The blocks by number, in as few groups as there must be for none to lie inside another of its group."""
    groups: list[list[int]] = []
    for number, block in enumerate(blocks):
        fitting = (group for group in groups if not any(_overlap(block, blocks[other]) for other in group))
        group = next(fitting, None)
        if group is None:
            groups.append([number])
        else:
            group.append(number)
    return groups


def _overlap(one: Block, other: Block) -> bool:
    shorter, longer = sorted((one.path, other.path), key=len)
    return one.holder is other.holder or not shorter or f"{longer}.".startswith(f"{shorter}.")


def _note(kept: list[Any]) -> Callable[..., None]:
    def hook(_module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
        kept.append(_copied(output))

    return hook


def _silence(_module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> Any:
    return torch.zeros_like(output) if isinstance(output, Tensor) else output


def _hand_on(heard: Heard) -> Callable[..., Any]:
    """Keep what a silenced block puts out, and put out instead what it did in the first pass."""

    def hook(_module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> Any:
        call = len(heard.silent)
        heard.silent.append(_copied(output))
        return _replaced(output, heard.loud[call]) if call < len(heard.loud) else output

    return hook


def _copied(value: Any) -> Any:
    """The same with tensors of its own: what follows may write into those of the pass."""
    if isinstance(value, Tensor):
        return value.clone()
    return _like(value, [_copied(each) for each in value]) if isinstance(value, (tuple, list)) else value


def _replaced(value: Any, other: Any) -> Any:
    """A value with the tensors of another of its form; whatever else there is (a cache) stays."""
    if isinstance(value, Tensor) and isinstance(other, Tensor):
        return other.clone()
    if isinstance(value, (tuple, list)) and isinstance(other, (tuple, list)) and len(value) == len(other):
        return _like(value, [_replaced(one, two) for one, two in zip(value, other, strict=True)])
    return value


def _like(value: Any, items: list[Any]) -> Any:
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
