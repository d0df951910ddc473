"""What keeps every expert of every layer in use while training, and the figures that say whether they are.

Two ways are here, as the models that made them known do it: a loss that pulls the router towards even load, and a bias
on the selection alone that is moved, outside the gradient, against the load (Wang et al. 2024, arXiv 2408.15664).

The load that is balanced is a running mean over batches, so one batch of one language may use few experts. The
auxiliary loss is taken layer by layer: summed over layers first, two layers that collapse onto different experts would
look perfectly balanced.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from gatescope.analysis.statistics.load import load_cv, max_violation

_DEAD_SHARE = 0.01
"""An expert with less than this share of the mean load is dead."""


class RouterTap:
    """Keeps the router logits and the chosen experts of the latest forward pass, one entry a routed layer."""

    def __init__(self, gates: Sequence[nn.Module]) -> None:
        self.gates = list(gates)
        self.logit_te: list[Tensor] = []
        self.ids_tk: list[Tensor] = []
        self._handles = [gate.register_forward_hook(self._keep) for gate in self.gates]

    def _keep(self, _module: nn.Module, _inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        self.logit_te.append(output[0])
        self.ids_tk.append(output[2])

    @property
    def experts(self) -> int:
        """Routed experts of a layer."""
        return self.gates[0].get_parameter("weight").shape[0]

    def clear(self) -> None:
        """Forget the latest forward pass; call before each one."""
        self.logit_te.clear()
        self.ids_tk.clear()

    def close(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()


class Balancer(Protocol):
    """One way to keep the experts in use, driven by the running load `load_le`, whose rows sum to 1."""

    def loss(self, tap: RouterTap, load_le: Tensor) -> Tensor:
        """What is added to the training loss for the latest pass; a scalar."""

    def adjust(self, tap: RouterTap, load_le: Tensor, pace: float) -> None:
        """What is changed in the routers after a step; `pace` falls from 1 as the run ends."""


@dataclass(frozen=True)
class AuxiliaryLoss:
    """A loss against uneven load, and a z-loss that keeps logits small; both as weights a layer."""

    weight: float = 0.015
    z_weight: float = 2e-4

    def loss(self, tap: RouterTap, load_le: Tensor) -> Tensor:
        """`weight` times the imbalance plus `z_weight` times the z-loss, summed over layers."""
        losses = router_losses(tap, load_le)
        return len(load_le) * (self.weight * losses.balance + self.z_weight * losses.z)

    def adjust(self, tap: RouterTap, load_le: Tensor, pace: float) -> None:
        """Nothing: the loss did it."""


@dataclass(frozen=True)
class SelectionBias:
    """A bias on the selection of each expert, moved by `rate` a step up where its load is low and down where high."""

    rate: float = 1e-2

    def loss(self, _tap: RouterTap, load_le: Tensor) -> Tensor:
        """Zero: nothing disturbs the gradient of the language model."""
        return load_le.new_zeros(())

    def adjust(self, tap: RouterTap, load_le: Tensor, pace: float) -> None:
        """Move the bias of every expert one step against its load; the steps shrink with `pace`."""
        with torch.no_grad():
            for gate, load_e in zip(tap.gates, load_le, strict=True):
                bias = gate.get_buffer("e_score_correction_bias")
                bias += self.rate * pace * torch.sign(load_e.mean() - load_e)


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


def load_figures(load_le: ArrayLike) -> LoadFigures:
    """Return how even the load is, in counts or in shares: (0, 0, 0) for an even one."""
    load_le = np.ma.masked_array(load_le, dtype=np.float64)
    dead_le = load_le < _DEAD_SHARE * load_le.mean(axis=1, keepdims=True)
    return LoadFigures(load_cv(load_le).tolist(), max_violation(load_le).tolist(), dead_le.sum(axis=1).tolist())
