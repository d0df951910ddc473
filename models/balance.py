"""Losses that keep every expert of every layer in use, and the figures that say whether they are.

The balancing loss is taken layer by layer: summed over layers first, two layers that collapse onto different experts
would look perfectly balanced. The load it balances is a running mean over batches, so one batch of one language may use
few experts.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class RouterTap:
    """Keeps the router logits and the chosen experts of the latest forward pass, one entry a layer."""

    def __init__(self, model: nn.Module) -> None:
        self.logit_te: list[Tensor] = []
        self.ids_tk: list[Tensor] = []
        gates = [module for name, module in model.named_modules() if name.endswith("mlp.gate")]
        self._handles = [gate.register_forward_hook(self._keep) for gate in gates]

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        self.logit_te.append(output[0])
        self.ids_tk.append(output[2])

    def clear(self) -> None:
        """Forget the latest forward pass; call before each one."""
        self.logit_te.clear()
        self.ids_tk.clear()

    def close(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()


class RouterLosses(NamedTuple):
    """Two scalars, means over layers: `balance` is 1 at perfect balance; `z` is the mean squared log-sum-exp."""

    balance: Tensor
    z: Tensor


def batch_load(tap: RouterTap, experts: int) -> Tensor:
    """Return the share of assignments of each expert in the latest pass, shape [l, e]; rows sum to 1."""
    count_le = torch.stack([torch.bincount(ids.flatten(), minlength=experts) for ids in tap.ids_tk])
    return count_le / count_le.sum(dim=1, keepdim=True)


def router_losses(tap: RouterTap, load_le: Tensor) -> RouterLosses:
    """Return the balancing loss against the running load `load_le`, and the z-loss, of the latest pass."""
    balance, z = [], []
    for logit_te, load_e in zip(tap.logit_te, load_le, strict=True):
        logit_te = logit_te.float()
        share_e = logit_te.softmax(dim=-1).mean(dim=0)
        balance.append(len(load_e) * (load_e.detach() * share_e).sum())
        z.append(logit_te.logsumexp(dim=-1).square().mean())
    return RouterLosses(torch.stack(balance).mean(), torch.stack(z).mean())


class LoadFigures(NamedTuple):
    """Per layer: coefficient of variation, largest load over the mean less 1, and experts below 1% of the mean."""

    variation_l: list[float]
    violation_l: list[float]
    dead_l: list[int]


def load_figures(load_le: Tensor) -> LoadFigures:
    """Return how even the load is: (0, 0, 0) for an even one."""
    relative_le = load_le.double() / load_le.double().mean(dim=1, keepdim=True)
    return LoadFigures(
        relative_le.std(dim=1, correction=0).tolist(),
        (relative_le.amax(dim=1) - 1).tolist(),
        (relative_le < 0.01).sum(dim=1).tolist(),
    )
