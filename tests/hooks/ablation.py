"""What experts contribute, found by silencing them one at a time: no router, id or weight is read.

Silencing expert e changes the experts' output of token t by w_te f_e(x_t). With f_e(x_t), what the expert makes of the
token at weight 1, that gives the weight w_te, and how far from this law the change was.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

OUTWARD = ("down_proj", "down_proj_bias", "up_embed.weight", "output_linear.weight", "mlp.w2")
OUTWARD_OF_ONE = ("wo", "fc2")
EPSILON = 0.5


@dataclass(frozen=True)
class Contribution:
    """The weight each expert had for each token in one call of an experts module (or of a block without one).

    `misfit` is the largest part of a change that no weight explains, relative to the largest change; `identity_n` the
    weight with which a token's own input was passed on; `unseen_ne` marks where an expert answers a token with zero, so
    that no weight can be seen.
    """

    path: str
    dense_ne: np.ndarray
    misfit: float
    unseen_ne: np.ndarray
    identity_n: np.ndarray | None = None


def contributions(model: nn.Module, inputs: Mapping[str, Any]) -> list[Contribution]:
    """One entry for each experts module, in the order the modules run in a pass of `inputs`."""
    calls: list[tuple[str, nn.Module, tuple]] = []
    given: dict[str, Tensor] = {}
    handles = []
    for path, module in model.named_modules():
        if is_measurable(path, module):
            block_path = path.rpartition(".")[0]
            block = model.get_submodule(block_path)
            handles.append(module.register_forward_pre_hook(note(calls, path), with_kwargs=True))
            handles.append(block.register_forward_pre_hook(note_input(given, block_path), with_kwargs=True))
    run(model, inputs, handles)
    with torch.no_grad():
        return [
            contribution(path, module, args)
            if takes_choice(module, args)
            else contribution_by_input(path, module, args[0], given[path.rpartition(".")[0]])
            for path, module, args in calls
        ]


def takes_choice(module: nn.Module, args: tuple) -> bool:
    """Whether a module is told which experts to run, or chooses them itself; else it runs all on weighted inputs."""
    return len(args) > 1 or not type(module).__name__.endswith("Experts")


def is_measurable(path: str, module: nn.Module) -> bool:
    """Whether a module holds experts whose output can be told apart: most are called so, two are blocks."""
    name = type(module).__name__
    return name in ("JetMoeMoE", "DogeCDMoE") or (name.endswith("Experts") and path.endswith(".experts"))


def note(calls: list, path: str) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple, kwargs: dict) -> None:
        values = (*args, *kwargs.values())
        calls.append((path, module, tuple(v.clone() if isinstance(v, Tensor) else v for v in values)))

    return hook


def note_input(given: dict[str, Tensor], path: str) -> Callable[..., None]:
    def hook(_module: nn.Module, args: tuple, kwargs: dict) -> None:
        given[path] = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)).clone()

    return hook


def run(model: nn.Module, inputs: Mapping[str, Any], handles: list) -> None:
    """One pass, after which the hooks are gone."""
    try:
        with torch.no_grad():
            model(**inputs)
    finally:
        for handle in handles:
            handle.remove()


def contribution(path: str, experts: nn.Module, args: tuple) -> Contribution:
    """Silences each expert in turn in a call of its own."""
    alone_enh = outputs_alone(experts, args)
    whole_nh = output(experts, args)
    dense_ne, unseen_ne = np.zeros(alone_enh.shape[1::-1]), np.zeros(alone_enh.shape[1::-1], bool)
    residue, largest, explained_nh = 0.0, 0.0, np.zeros(whole_nh.shape)
    for expert, alone_nh in enumerate(alone_enh):
        with silenced(experts, expert, len(alone_enh)):
            change_nh = whole_nh - output(experts, args)
        square_n = (alone_nh**2).sum(-1)
        unseen_ne[:, expert] = square_n < 1e-12 * max(1e-30, square_n.max())
        dense_ne[:, expert] = (change_nh * alone_nh).sum(-1) / np.where(unseen_ne[:, expert], np.inf, square_n)
        residue = max(residue, np.abs(change_nh - dense_ne[:, [expert]] * alone_nh).max())
        largest = max(largest, np.abs(change_nh).max())
        explained_nh += change_nh
    identity_n = None
    if hasattr(experts, "identity_expert"):
        identity_n, left = share(whole_nh - explained_nh, flat(args[0]))
        residue = max(residue, left)
    return Contribution(path, clean(dense_ne), residue / max(largest, 1e-30), unseen_ne, identity_n)


def contribution_by_input(path: str, experts: nn.Module, weighted: Tensor, x: Tensor) -> Contribution:
    """For experts that all run, each on its own copy of the tokens times the weights.

    The weight is what a copy is of the block's input `x`; silencing shows that a copy reaches its own expert, and that
    a copy at weight 0 reaches none.
    """
    count, x_nh = experts_of(experts), flat(x)
    whole_enh = output(experts, (weighted,)).reshape(count, len(x_nh), -1)
    weighted_enh = flat(weighted).reshape(whole_enh.shape)
    dense_ne, residue = np.zeros((len(x_nh), count)), 0.0
    for expert in range(count):
        dense_ne[:, expert], left = share(weighted_enh[expert], x_nh)
        with silenced(experts, expert, count):
            change_enh = whole_enh - output(experts, (weighted,)).reshape(whole_enh.shape)
        moved_en = np.abs(change_enh).max(-1) > 0
        if (moved_en.any(-1) & (np.arange(count) != expert)).any() or (
            moved_en[expert] != (dense_ne[:, expert] != 0)
        ).any():
            raise ValueError(f"{path}: silencing expert {expert} changed another one's answer, or left its own")
        residue = max(residue, left / np.abs(x_nh).max())
    return Contribution(path, dense_ne, residue, np.zeros(dense_ne.shape, bool))


def clean(dense_ne: np.ndarray) -> np.ndarray:
    """Weights below a millionth of the largest are the noise of a subtraction: 0."""
    return np.where(np.abs(dense_ne) < 1e-6 * np.abs(dense_ne).max(), 0, dense_ne)


def share(part_nh: np.ndarray, of_nh: np.ndarray) -> tuple[np.ndarray, float]:
    """The factor c of each row for which part = c × of, and the largest remainder."""
    square_n = (of_nh**2).sum(-1)
    factor_n = (part_nh * of_nh).sum(-1) / np.where(square_n == 0, np.inf, square_n)
    return factor_n, float(np.abs(part_nh - factor_n[:, None] * of_nh).max())


def flat(tensor: Tensor) -> np.ndarray:
    return tensor.detach().reshape(-1, tensor.shape[-1]).double().numpy()


def output(experts: nn.Module, args: tuple) -> np.ndarray:
    """What the module answers, a row for each token."""
    answer = experts(*(value.clone() if isinstance(value, Tensor) else value for value in args))
    return flat(answer[0] if isinstance(answer, tuple) else answer)


@contextmanager
def silenced(experts: nn.Module, expert: int, count: int) -> Iterator[None]:
    """One expert's last linear map, and the bias behind it, set to zero for a while."""
    saved = []
    for tensor in outward(experts, expert, count):
        saved.append((tensor, tensor.clone()))
        tensor.zero_()
    try:
        yield
    finally:
        for tensor, values in saved:
            tensor.copy_(values)


def outward(experts: nn.Module, expert: int, count: int) -> list[Tensor]:
    """The parameters through which alone an expert's answer leaves it, as views that can be written."""
    if isinstance(experts, nn.ModuleDict):
        last = next(layer for name in OUTWARD_OF_ONE if (layer := getattr(experts[f"expert_{expert}"], name, None)))
        return [parameter.data for parameter in (last.weight, last.bias) if parameter is not None]
    parameters = dict(experts.named_parameters())
    found = [parameters[name].data for name in OUTWARD if name in parameters]
    if not found:
        raise LookupError(f"{type(experts).__name__} has none of {OUTWARD}")
    return [tensor.reshape(count, -1, *tensor.shape[1:])[expert] for tensor in found]


def outputs_alone(experts: nn.Module, args: tuple) -> np.ndarray:
    """(experts, tokens, hidden): what each expert makes of each token at weight 1."""
    kind = type(experts).__name__
    if isinstance(experts, nn.ModuleDict):
        names = [name for name in experts if name.startswith("expert_")]
        return np.stack([flat(experts[name](args[0])) for name in names])
    if kind == "JetMoeMoE":
        return jetmoe_alone(experts, flat_tensor(args[0]))
    if kind == "DogeCDMoE":
        return doge_alone(experts, flat_tensor(args[0]))
    x_nh, count = flat_tensor(args[0]), experts_of(experts)
    return np.stack([flat(experts(x_nh, *only(expert, count, len(x_nh), args[2]))) for expert in range(count)])


def only(expert: int, count: int, tokens: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Ids and weights that give every token one expert at weight 1, and a second one at weight 0."""
    ids_nk = torch.tensor([expert, (expert + 1) % count]).repeat(tokens, 1)
    return ids_nk, torch.tensor([1.0, 0.0], dtype=like.dtype).repeat(tokens, 1)


def experts_of(experts: nn.Module) -> int:
    """How many experts a module holds, from its parameters' shape."""
    return len(experts.down_proj) if hasattr(experts, "down_proj") else int(experts.num_experts)


def flat_tensor(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, tensor.shape[-1])


def jetmoe_alone(block: Any, x_nh: Tensor) -> np.ndarray:
    count = len(block.output_linear.weight)
    answers = []
    for expert in range(count):
        sizes = [len(x_nh) * (at == expert) for at in range(count)]
        gate, up = block.input_linear(x_nh, sizes).chunk(2, dim=-1)
        answers.append(flat(block.output_linear(block.activation(gate) * up, sizes)))
    return np.stack(answers)


def doge_alone(block: Any, x_nh: Tensor) -> np.ndarray:
    """Each expert is one row of two tables: a direction to read the token along, and one to write."""
    inner_ne = block.act_fn(x_nh @ block.down_embed.weight.T)
    return (inner_ne.T[:, :, None] * block.up_embed.weight[:, None, :]).detach().double().numpy()


def output_factor(model: nn.Module, inputs: Mapping[str, Any], experts_path: str) -> float | None:
    """What the block multiplies its experts' output by; None where its output is not that, plus something else.

    Found by making the experts' output larger in a second pass and looking at the block's.
    """
    block_path, _, name = experts_path.rpartition(".")
    if name != "experts":
        return None  # the experts are the block
    before, experts_out = block_output(model, inputs, block_path, experts_path, 1.0)
    after, _ = block_output(model, inputs, block_path, experts_path, 1.0 + EPSILON)
    if before.size != experts_out.size:
        return None
    change, whole = (after - before).reshape(-1) / EPSILON, experts_out.reshape(-1)
    factor = float(change @ whole / (whole @ whole))
    return factor if np.abs(change - factor * whole).max() < 1e-3 * np.abs(factor * whole).max() else None


def block_output(
    model: nn.Module, inputs: Mapping[str, Any], block_path: str, experts_path: str, factor: float
) -> tuple[np.ndarray, np.ndarray]:
    """The first outputs of a block and of its experts in one pass, the experts' multiplied by `factor`."""
    blocks, experts = [], []

    def enlarge(_module: nn.Module, _args: tuple, answer: Tensor) -> Tensor:
        experts.append(answer.double().numpy())
        return answer * factor

    def note_block(_module: nn.Module, _args: tuple, answer: Any) -> None:
        blocks.append((answer[0] if isinstance(answer, tuple) else answer).double().numpy())

    handles = [
        model.get_submodule(experts_path).register_forward_hook(enlarge),
        model.get_submodule(block_path).register_forward_hook(note_block),
    ]
    run(model, inputs, handles)
    return blocks[0], experts[0]
