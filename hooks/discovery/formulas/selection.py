"""How a router picks: the rules worth trying on a layer, and how well each reproduces what was executed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from accelerate.utils import align_module_device
from torch import Tensor, nn

from gatescope.hooks.layers.gates import gate
from gatescope.hooks.layers.routes import NO_EXPERT, Routes
from gatescope.hooks.layers.site import Site
from gatescope.routing.router import Score

BIAS_NAME = re.compile(r"(correction|score|expert|routing|balanc)\w*bias")


@dataclass(frozen=True)
class Selector:
    """How one layer's router turns raw logits into the scores it takes the best of.

    `bias_e` is added for the choice only: to the gate's scores, or, `on_logits`, before the gate. With groups, only the
    experts of the best groups may be chosen; a group counts by the sum of its best two (`pair_groups`) or by its best
    one, and the scores of the others become `ruled_out`.
    """

    score: Score
    bias_e: Tensor | None = None
    on_logits: bool = False
    groups: int = 1
    groups_kept: int = 1
    pair_groups: bool = False
    ruled_out: float = -torch.inf

    @property
    def form(self) -> tuple["Selector", bool]:
        """The rule without the numbers of its bias, and whether it has none: equal where two layers choose alike."""
        return replace(self, bias_e=None), self.bias_e is None

    def __call__(self, logits_ne: Tensor) -> Tensor:
        """Selection scores, in units of the logits where nothing is added to the gate's scores."""
        scores_ne = logits_ne
        if self.pair_groups or (self.bias_e is not None and not self.on_logits):
            scores_ne = gate(logits_ne, self.score)
        if self.bias_e is not None:
            scores_ne = scores_ne + self.bias_e.to(logits_ne)
        return scores_ne if self.groups == 1 else self._limited(scores_ne)

    def _limited(self, scores_ne: Tensor) -> Tensor:
        grouped_ngm: Tensor = scores_ne.unflatten(-1, (self.groups, -1))
        group_ng = grouped_ngm.topk(2, -1).values.sum(-1) if self.pair_groups else grouped_ngm.amax(-1)
        kept_ng = torch.zeros_like(group_ng).scatter(1, group_ng.topk(self.groups_kept, -1).indices, 1.0).bool()
        return grouped_ngm.masked_fill(~kept_ng.unsqueeze(-1), self.ruled_out).flatten(-2)


def candidates(site: Site, score: Score) -> Iterator[Selector]:
    """Every selection rule worth trying on this layer, the most specific first."""
    bias_e = selection_bias(site)
    groups, kept = group_limit(site)
    if groups > 1 and site.options % groups == 0:
        for ruled_out in (-torch.inf, 0.0):
            for pair_groups in (True, False):
                yield Selector(
                    score,
                    bias_e,
                    groups=groups,
                    groups_kept=kept,
                    pair_groups=pair_groups,
                    ruled_out=ruled_out,
                )
    if bias_e is not None:
        yield Selector(score, bias_e)
        yield Selector(score, bias_e, on_logits=True)
    yield Selector(score)


def top_k_agreement(selection_ne: Tensor, routes: Routes) -> float:
    """Share of tokens whose executed set is the best k of these selection scores; tokens with empty slots left out."""
    ids_nk = routes.ids_nk
    whole_n = (ids_nk != NO_EXPERT).all(-1)
    if not whole_n.any():
        return 0.0
    best_nk = selection_ne.topk(ids_nk.shape[1], -1).indices.sort(-1).values
    return float((best_nk == ids_nk.long().sort(-1).values).all(-1)[whole_n].float().mean())


def selection_bias(site: Site) -> Tensor | None:
    """The balancing bias, a vector of one number per option called a score or correction bias, if the layer has one."""
    for owner in (site.router, site.holder):
        for name, value in [*owner.named_buffers(), *owner.named_parameters()]:
            if BIAS_NAME.search(name) and value.numel() == site.options == value.shape[-1]:
                return _loaded(owner, name, value).detach().flatten()
    return None


def _loaded(owner: nn.Module, name: str, value: Tensor) -> Tensor:
    """The value itself, where accelerate keeps it elsewhere until the module runs."""
    if value.device.type != "meta":
        return value
    path, _, own_name = name.rpartition(".")
    module = owner.get_submodule(path)
    with align_module_device(module):
        held: Tensor = getattr(module, own_name)
        return held.detach().clone()


def group_limit(site: Site) -> tuple[int, int]:
    """(groups, groups kept) of a group-limited router; (1, 1) when it has none."""
    for owner in (site.router, site.holder, getattr(site.holder, "config", None)):
        groups = getattr(owner, "num_group", None) or getattr(owner, "n_group", None)
        kept = getattr(owner, "topk_group", None)
        if groups and kept and groups > 1:
            return int(groups), int(kept)
    return 1, 1


def token_table(site: Site, routes: Routes, token_n: Tensor | None) -> bool:
    """Whether the choice is a table look-up by token id: the router holds a table, and it gives the executed ids."""
    if token_n is None or len(token_n) != len(routes.ids_nk):
        return False
    tables = [*site.router.named_buffers(), *site.router.named_parameters()]
    return any(_holds(table, routes.ids_nk, token_n) for _, table in tables)


def _holds(table: Tensor, ids_nk: Tensor, token_n: Tensor) -> bool:
    is_table = not table.is_floating_point() and table.dim() == 2 and table.shape[1] == ids_nk.shape[1]
    return is_table and len(table) > int(token_n.max()) and bool((table[token_n.to(table.device)] == ids_nk).all())
