"""Blocks that hold their experts as a list of modules and pick among them, as code outside transformers does.

How such a block is read is `list_reading`'s; here the lists and their routers are found, and what the routers hand out
is held against the block's output.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gatescope.hooks.discovery.search.router_search import tensors
from gatescope.hooks.discovery.search.silencing import Block, heard_with_and_without
from gatescope.hooks.layers.list_reading import ListReading, executed, marks
from gatescope.hooks.layers.routes import NO_EXPERT
from gatescope.routing.errors import RouterOutputError

MISFIT = 1e-2  # how far the block's output may be from the sum of weighed experts, relative to it


@dataclass
class ListProbe:
    """A list of like modules that may be experts, and what it and the modules around it did in a pass."""

    path: str
    experts: tuple[nn.Module, ...]
    outputs: list[tuple[str, nn.Module, Tensor, Any]] = field(default_factory=list)
    inputs: dict[int, Tensor] = field(default_factory=dict)
    results: dict[int, Tensor] = field(default_factory=dict)
    change_nh: Tensor | None = None

    @property
    def holder_path(self) -> str:
        """Path of the block."""
        return self.path.rpartition(".")[0]

    @property
    def is_choice(self) -> bool:
        """Whether the modules ran on parts of the tokens rather than one after another on all."""
        sizes = [len(each) for each in self.inputs.values()]
        tokens = max((given.shape[:-1].numel() for _, _, given, _ in self.outputs), default=0)
        return bool(sizes) and sum(sizes) % max(tokens, 1) == 0 and sum(sizes) < tokens * len(self.experts)


def list_probes(model: nn.Module) -> Iterator[ListProbe]:
    """Every list of at least two modules of one class."""
    for path, module in model.named_modules():
        if isinstance(module, (nn.ModuleList, nn.ModuleDict)) and len(module) > 1 and "." in path:
            members = tuple(module.children())
            if len({type(member) for member in members}) == 1 and len(members) == len(module):
                yield ListProbe(path, members)


def silence_lists(model: nn.Module, probes: Sequence[ListProbe], run: Callable[[], object]) -> None:
    """What the experts of each list change of their block's output, (tokens, hidden): two passes more."""
    blocks = [Block(each.holder_path, model.get_submodule(each.holder_path), each.experts) for each in probes]
    for probe, heard in zip(probes, heard_with_and_without(blocks, run), strict=True):
        probe.change_nh = None if heard.change is None else heard.change.flatten(0, -2)


def watch_lists(model: nn.Module, probes: Sequence[ListProbe], run: Callable[[], object]) -> None:
    """Run once with temporary hooks around every list and its neighbours."""
    with ExitStack() as hooks, torch.no_grad():
        for probe in probes:
            holder = model.get_submodule(probe.holder_path)
            for number, expert in enumerate(probe.experts):
                hooks.callback(expert.register_forward_hook(_note_expert(probe, number)).remove)
            for path, module in holder.named_modules(prefix=probe.holder_path):
                if path != probe.holder_path and not f"{path}.".startswith(f"{probe.path}."):
                    hooks.callback(module.register_forward_hook(_note_answer(probe, path)).remove)
        run()


def _note_expert(probe: ListProbe, number: int) -> Callable[..., None]:
    def hook(_module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if args and isinstance(args[0], Tensor) and isinstance(output, Tensor) and args[0].numel():
            probe.inputs[number] = args[0].flatten(0, -2)
            probe.results[number] = output.flatten(0, -2)

    return hook


def _note_answer(probe: ListProbe, path: str) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not probe.inputs and args and isinstance(args[0], Tensor) and args[0].dim() > 1:
            probe.outputs.append((path, module, args[0], output))

    return hook


class Router(NamedTuple):
    """The router of a list of experts, how it is read, and what it did: its scores, and what was executed.

    `ids_nk` and `weights_nk` are measured at the experts and at the block's output; `misfit` is what they leave of it.
    """

    path: str
    module: nn.Module
    reading: ListReading
    logits_ne: Tensor
    answer: Any
    ids_nk: Tensor
    weights_nk: Tensor
    misfit: float


def router_of(probe: ListProbe) -> Router:
    """The module beside a list whose answer explains which of its experts ran, and by which weights.

    Errors: RouterOutputError where none does.
    """
    called = {number: marks(each) for number, each in probe.inputs.items()}
    for path, module, given, answer in probe.outputs:
        runs_ne = executed(given, called, len(probe.experts))
        if any(int(runs_ne[:, number].sum()) != len(each) for number, each in called.items()):
            continue  # these are not the tokens the experts were given
        reading = _reading(module, given, answer, runs_ne)
        if reading is not None:
            measured = _measured(probe, given, runs_ne)
            return Router(path, module, reading, reading.logits(module, given, answer), answer, *measured)
    raise RouterOutputError(
        f"{probe.path} holds {len(probe.experts)} experts, but no module beside it returned ids or scores that explain "
        f"which of them ran; looked at {', '.join(path for path, *_ in probe.outputs) or 'nothing'}",
        expected="a router that is given the tokens and returns ids and weights, or a score for each expert",
        do="add an entry to hooks/discovery/families.py that says how this block is read",
    )


def _reading(router: nn.Module, given: Tensor, answer: Any, runs_ne: Tensor) -> ListReading | None:
    """Where ids, weights and scores stand in an answer; None where it does not explain what ran."""
    rows, experts = runs_ne.shape
    k = int(runs_ne.sum(-1).max())
    flat = [(at, each.flatten(0, -2)) for at, each in tensors(answer) if each.dim() > 1]
    whole = [(at, each, each.is_floating_point()) for at, each in flat if len(each) == rows]
    ids_at = next((at for at, each, is_float in whole if not is_float and _names(each, runs_ne)), None)
    weights_at = next((at for at, each, is_float in whole if is_float and each.shape[1] == k < experts), None)
    scores_at = [at for at, each, is_float in whole if is_float and each.shape[1] == experts and _picks(each, runs_ne)]
    if scores_at and (ids_at is None or weights_at is None):
        return ListReading(k, None, None, scores_at[0], has_logits=True)
    weight = getattr(router, "weight", None)
    has_matrix = isinstance(weight, Tensor) and weight.shape == (experts, given.shape[-1])
    if ids_at is None or weights_at is None or not (scores_at or has_matrix):
        return None
    return ListReading(k, ids_at, weights_at, scores_at[0] if scores_at else None, has_logits=bool(scores_at))


def _names(ids_nk: Tensor, runs_ne: Tensor) -> bool:
    """Whether these are the ids of what ran."""
    if int(ids_nk.min()) < 0 or int(ids_nk.max()) >= runs_ne.shape[1]:
        return False
    return torch.equal(torch.zeros_like(runs_ne).scatter(1, ids_nk.long(), True), runs_ne)


def _picks(scores_ne: Tensor, runs_ne: Tensor) -> bool:
    """Whether the best of these scores are what ran, for nearly all tokens."""
    k = int(runs_ne.sum(-1).max())
    best_ne = torch.zeros_like(runs_ne).scatter(1, scores_ne.topk(k, dim=-1).indices, True)
    return float((best_ne == runs_ne).all(-1).float().mean()) > 0.9


def _measured(probe: ListProbe, given: Tensor, runs_ne: Tensor) -> tuple[Tensor, Tensor, float]:
    """Ids and weights of the experts in the block's output, solved for: nothing is taken from the router."""
    change_nh = probe.change_nh
    if change_nh is None or len(change_nh) != len(given.flatten(0, -2)):
        raise _no_sum(probe, "what it puts out has another shape")
    k = int(runs_ne.sum(-1).max())
    ids_nk = runs_ne.int().topk(k, dim=-1).indices
    marks_n, made_nkh = marks(given), change_nh.new_zeros(*ids_nk.shape, change_nh.shape[-1])
    for number, made in probe.results.items():
        row_m = (marks_n == marks(probe.inputs[number]).unsqueeze(1)).int().argmax(1)
        slot_m = (ids_nk[row_m] == number).int().argmax(1)
        made_nkh[row_m, slot_m] = made.float()
    solved = torch.linalg.lstsq(made_nkh.transpose(1, 2).cpu(), change_nh.unsqueeze(-1).cpu(), driver="gelsd")
    weights_nk = solved.solution[..., 0].to(change_nh.device) * runs_ne.gather(1, ids_nk)
    summed_nh = torch.einsum("nkh,nk->nh", made_nkh, weights_nk)
    misfit = float((summed_nh - change_nh).norm() / change_nh.norm())
    if not misfit < MISFIT:
        raise _no_sum(probe, f"off by {misfit:.0%}")
    return ids_nk.where(runs_ne.gather(1, ids_nk), NO_EXPERT), weights_nk, misfit


def _no_sum(probe: ListProbe, why: str) -> RouterOutputError:
    return RouterOutputError(
        f"the output of {probe.holder_path} is no sum of its experts' outputs ({why})",
        expected="a block that adds up what its experts give, each times a weight",
        do="add an entry to hooks/discovery/families.py that says how this block is read",
    )
