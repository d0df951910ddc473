"""The sink of a capture: every layer's routing held while the model runs, handed over as arrays afterwards.

One token at a time, reducing a pass costs as much as it does for hundreds of tokens. So passes that are alike may wait,
copied, until there are many of them, and are then reduced as one.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatescope.hooks.discovery.rules import InferredRule
from gatescope.hooks.layers.routes import Routes
from gatescope.hooks.recording.reduced import Layers, Reduced, kind_of, reduce
from gatescope.routing.errors import RouterOutputError
from gatescope.routing.record import EMPTY8, empty_slot
from gatescope.routing.router import RouterRule, Stack

HELD = 1 << 21  # router scores held before they are reduced, so that long passes take no more memory than short ones
PASSES = 64  # of generation that are reduced together
Columns = dict[str, NDArray[Any]]
SCORES = ("margin_tl", "entropy_tl", "lse_tl")


def nothing() -> None:
    """Called after each layer where nobody wants to know."""


class _Held(NamedTuple):
    """One layer's routing as it was when the layer ran: a tensor written to since has another version.

    Inference tensors have no versions; of them it holds copies.
    """

    layer: int
    routes: Routes
    versions: tuple[int, ...]


class _Group(NamedTuple):
    """Layers of one kind reduced, row by row and layer by layer; `rows_n` where they saw only some of the tokens."""

    rules: tuple[RouterRule, ...]
    reduced: Reduced
    rows_n: Tensor | None
    is_changed: bool


class _Kind(NamedTuple):
    """Layers of a pass that are reduced together, and what they have in common."""

    key: Hashable
    layers: tuple[int, ...]


class _Waiting(NamedTuple):
    """A pass that is over and not yet reduced: a copy of what each kind of layers did, and where its arrays will be."""

    kinds: tuple[_Kind, ...]
    routes: tuple[Routes, ...]
    keep_n: Tensor
    columns: Columns


class RouteSink:
    """Collects one forward pass at a time; `flush` empties it. `on_layer` is called after each MoE layer.

    Up to `passes` of them are reduced together: what `flush` returned is complete after `settle`. With `scores`, the
    margin, entropy, log-sum-exp and first rejected expert are kept; with `logits`, every score. Where an intervention
    was open, what the router itself chose is kept too; `changed_by` names the interventions met. While the model runs,
    nothing waits for its device, and next to nothing is computed.
    """

    def __init__(
        self,
        learnt: Sequence[InferredRule],
        *,
        scores: bool = True,
        logits: bool = False,
        passes: int = 1,
        on_layer: Callable[[], None] = nothing,
    ) -> None:
        self._learnt, self._on_layer, self._passes = learnt, on_layer, passes
        self._waiting: list[_Waiting] = []
        self._waiting_size = 0
        self._keeps_scores, self._keeps_logits = scores, logits
        self.changed_by: tuple[str, ...] = ()
        self._kinds = _numbered([kind_of(one) for one in learnt])
        self._rules = [one.rule for one in learnt]
        self._arrays = _Arrays(self._rules, scores=scores, logits=logits)
        self.clear()

    def clear(self) -> None:
        """Forget what was not flushed."""
        self._held: list[_Held] = []
        self._held_size = 0
        self._groups: list[_Group] = []
        self._rows: dict[int, int] = {}

    def layer(self, layer: int, routes: Routes) -> None:
        """Keep one layer's routing of this pass."""
        if layer in self._rows:
            raise _uneven(self._rules[layer], "ran twice in one forward pass")
        logits_ne, ids_nk, weights_nk = routes[:3]
        is_untraced = ids_nk.is_inference() or weights_nk.is_inference() or logits_ne.is_inference()
        if is_untraced:
            routes = routes._replace(logits_ne=logits_ne.clone(), ids_nk=ids_nk.clone(), weights_nk=weights_nk.clone())
        if routes.wanted is not None:
            self.changed_by = tuple(dict.fromkeys((*self.changed_by, *routes.wanted.changed_by)))
        self._rows[layer] = ids_nk.shape[0]
        self._held.append(_Held(layer, routes, () if is_untraced else _versions(routes)))
        self._held_size += logits_ne.numel()
        if self._held_size > HELD:
            self._reduce()
        self._on_layer()

    def rows(self, stack: Stack) -> int:
        """How many rows the layers of a stack ran on since the last flush; 0 where none did."""
        return max((rows for layer, rows in self._rows.items() if self._rules[layer].stack == stack), default=0)

    def flush(self, keep_n: Tensor, stack: Stack = "decoder") -> Columns:
        """The arrays of one stack's pass for the rows in `keep_n` (bool, all rows of the batch).

        Padding is what is not kept. Layers of other stacks get empty slots, and keep what they have seen. Where passes
        are reduced together, the arrays come with `settle`.
        Errors: RouterOutputError for a layer that did not run, or whose numbers are none, named.
        """
        own = [rule for rule in self._rules if rule.stack == stack]
        missing = [rule for rule in own if rule.layer not in self._rows and not rule.empty_when]
        if missing or not own:
            raise _uneven((missing or self._rules)[0], "did not run in this forward pass")
        may_wait = self._passes > 1 and len(own) == len(self._rules) and not self._groups
        if may_wait and all(held.routes.rows_n is None and held.routes.wanted is None for held in self._held):
            return self._wait(keep_n)
        self.settle()
        self._reduce()
        own_groups = [group for group in self._groups if group.rules[0].stack == stack]
        self._groups = [group for group in self._groups if group.rules[0].stack != stack]
        for rule in own:
            self._rows.pop(rule.layer, None)
        columns = self._arrays.of(own_groups, keep_n.cpu().numpy())
        self._arrays.check(columns)
        return columns

    def settle(self) -> None:
        """Fill in the arrays of the passes that wait. Errors: RouterOutputError for numbers that are none."""
        waiting, self._waiting, self._waiting_size = self._waiting, [], 0
        if not waiting:
            return
        keep_n = torch.cat([each.keep_n for each in waiting]).cpu().numpy()
        groups = []
        for number, kind in enumerate(waiting[0].kinds):
            routes = _of_all([each.routes[number] for each in waiting], len(kind.layers))
            groups.append(self._group(kind.layers, routes))
        columns = self._arrays.of(groups, keep_n)
        bounds = np.cumsum([np.count_nonzero(each) for each in np.split(keep_n, len(waiting))])
        for each, start, end in zip(waiting, (0, *bounds), bounds, strict=False):
            each.columns.update({name: array[start:end] for name, array in columns.items()})
            self._arrays.check(each.columns)

    def _wait(self, keep_n: Tensor) -> Columns:
        """Copy what the layers of this pass did, to be reduced with the next ones; its arrays, once that is done."""
        alike = self._alike()
        for group in alike.values():
            self._check_unwritten(group)
        kinds = tuple(_Kind(key, tuple(held.layer for held in group)) for key, group in alike.items())
        if self._waiting and self._waiting[0].kinds != kinds:
            self.settle()
        copies = tuple(_one_behind_the_other([held.routes for held in group]) for group in alike.values())
        columns: Columns = {}
        self._waiting.append(_Waiting(kinds, copies, keep_n, columns))
        self._waiting_size += self._held_size
        self.clear()
        if len(self._waiting) >= self._passes or self._waiting_size > HELD:
            self.settle()
        return columns

    def _alike(self) -> dict[Hashable, list[_Held]]:
        """What is held, by what layers must have in common to be reduced together."""
        alike: dict[Hashable, list[_Held]] = {}
        for held in self._held:
            logits_ne, ids_nk, weights_nk = held.routes[:3]
            alone = None if held.routes.rows_n is None else held.layer
            dtypes = logits_ne.dtype, ids_nk.dtype, weights_nk.dtype
            is_changed = held.routes.wanted is not None
            kind = self._kinds[held.layer], logits_ne.shape, logits_ne.device, dtypes, alone, is_changed
            alike.setdefault(kind, []).append(held)
        return alike

    def _reduce(self) -> None:
        """Reduce what is held, layers that route alike together."""
        self._groups += [self._reduced(group) for group in self._alike().values()]
        self._held, self._held_size = [], 0

    def _reduced(self, group: Sequence[_Held]) -> _Group:
        self._check_unwritten(group)
        return self._group([held.layer for held in group], [held.routes for held in group])

    def _check_unwritten(self, group: Sequence[_Held]) -> None:
        for held in group:
            if held.versions and held.versions != _versions(held.routes):
                raise _uneven(self._rules[held.layer], "had its routing overwritten after its experts were called")

    def _group(self, layer_l: Sequence[int], routes: Sequence[Routes]) -> _Group:
        layers = Layers([self._learnt[layer] for layer in layer_l], routes)
        reduced = reduce(layers, scores=self._keeps_scores, logits=self._keeps_logits)
        first = routes[0]
        rules = tuple(self._rules[layer] for layer in layer_l)
        return _Group(rules, reduced, first.rows_n, first.wanted is not None)


def interventions(sink: RouteSink) -> dict[str, str]:
    """What provenance says of the interventions that were open: nothing where none was."""
    return {"intervention": "; ".join(sink.changed_by)} if sink.changed_by else {}


def alike(passes: Sequence[Columns]) -> list[Columns]:
    """Columns of passes in which an intervention was open, and of some in which none was, all with the same arrays."""
    if not any("wanted_ids_tlk" in columns for columns in passes):
        return list(passes)
    return [with_what_was_wanted(columns) for columns in passes]


def with_what_was_wanted(columns: Columns) -> Columns:
    """The columns with what the router itself chose: what ran, where nothing else is said."""
    ran = {"wanted_ids_tlk": columns["ids_tlk"].copy(), "wanted_weight_tlk": columns["weight_tlk"].copy()}
    return ran | columns


def _one_behind_the_other(layers: Sequence[Routes]) -> Routes:
    """A copy of what several layers did, with the rows of all of them."""
    return Routes(
        torch.cat([each.logits_ne for each in layers]),
        torch.cat([each.ids_nk for each in layers]),
        torch.cat([each.weights_nk for each in layers]),
    )


def _of_all(passes: Sequence[Routes], layers: int) -> list[Routes]:
    """What each layer did in all passes, one behind the other: each pass holds its layers so."""
    logits, ids, weights = (
        torch.stack(each).unflatten(1, (layers, -1)).transpose(0, 1).flatten(1, 2).unbind()
        for each in (
            [one.logits_ne for one in passes],
            [one.ids_nk for one in passes],
            [one.weights_nk for one in passes],
        )
    )
    return [Routes(*each) for each in zip(logits, ids, weights, strict=True)]


def _numbered(kinds: Sequence[object]) -> list[int]:
    """Equal kinds by equal numbers, which are compared faster."""
    numbers: dict[object, int] = {}
    return [numbers.setdefault(kind, len(numbers)) for kind in kinds]


def _versions(routes: Routes) -> tuple[int, ...]:
    """Numbers that rise when the tensors are written to."""
    return routes.logits_ne._version, routes.ids_nk._version, routes.weights_nk._version


def _uneven(rule: RouterRule, what: str) -> RouterOutputError:
    return RouterOutputError(
        f"layer {rule.layer} ({rule.module}) {what}",
        expected="every MoE layer exactly once per forward pass",
        do="switch off compilation and fused kernels; if the model was compiled before, call torch._dynamo.reset()",
    )


class _Arrays:
    """What the arrays of a pass look like, and how they are made of what groups of layers did."""

    def __init__(self, rules: Sequence[RouterRule], *, scores: bool, logits: bool) -> None:
        self._rules, self._scores, self._logits = rules, scores, logits
        self._experts, self._slots = max(rule.experts for rule in rules), max(rule.k for rule in rules)
        self._dtype = np.dtype(np.uint8 if self._experts <= int(EMPTY8) else np.uint16)
        self._empty = empty_slot(self._dtype)

    def of(self, groups: Sequence[_Group], keep_n: NDArray[np.bool_]) -> Columns:
        """The arrays of the rows kept."""
        if len(groups) == 1 and len(groups[0].rules) == len(self._rules) and groups[0].rows_n is None:
            columns = self._own(groups[0], keep_n)
        else:
            columns = self._blank(int(np.count_nonzero(keep_n)), with_wanted=any(group.is_changed for group in groups))
            for group in groups:
                self._fill(columns, group, keep_n)
        return columns

    def check(self, columns: Columns) -> None:
        """Errors: RouterOutputError for a weight of a pass that is no number."""
        for name in ("weight_tlk", "wanted_weight_tlk"):
            if name in columns:
                self._check_finite(columns[name], "combine weight")

    def _own(self, group: _Group, keep_n: NDArray[np.bool_]) -> Columns:
        """The arrays of one group's layers alone, for the rows kept of those they saw."""
        k, experts, layers = group.rules[0].k, group.rules[0].experts, len(group.rules)
        number_rc, id_rc = group.reduced.number_rc.cpu().numpy(), group.reduced.id_rc.cpu().numpy().view(np.uint16)
        number_lnc = number_rc.reshape(layers, len(keep_n), number_rc.shape[1])
        id_lnc = id_rc.reshape(layers, len(keep_n), id_rc.shape[1])
        if not keep_n.all():
            number_lnc, id_lnc = number_lnc[:, keep_n], id_lnc[:, keep_n]
        number_tlc, id_tlc = number_lnc.transpose(1, 0, 2), id_lnc.transpose(1, 0, 2)
        columns = {"ids_tlk": id_tlc[..., :k].astype(self._dtype), "weight_tlk": number_tlc[..., :k]}
        if self._scores:
            columns |= zip(SCORES, (number_tlc[..., k + column] for column in range(len(SCORES))), strict=True)
            columns["rejected_tl"] = id_tlc[..., k].astype(self._dtype)
            is_known_tl = np.isfinite(columns["margin_tl"])
            is_expert_tl = is_known_tl & (id_tlc[..., k] < experts)
            if not is_expert_tl.all():
                columns["margin_tl"][~is_known_tl] = np.nan
                columns["rejected_tl"][~is_expert_tl] = self._empty
        if group.is_changed:
            own = number_tlc[..., : number_tlc.shape[-1] - experts * self._logits]
            columns["wanted_ids_tlk"] = id_tlc[..., -k:].astype(self._dtype)
            columns["wanted_weight_tlk"] = own[..., -k:]
        if self._logits:
            columns["logit_tle"] = number_tlc[..., -experts:]
        return columns

    def _blank(self, tokens: int, *, with_wanted: bool) -> Columns:
        """Arrays of a pass in which no layer did anything."""
        shape = tokens, len(self._rules)
        columns = {
            "ids_tlk": np.full((*shape, self._slots), self._empty, self._dtype),
            "weight_tlk": np.zeros((*shape, self._slots), np.float16),
        }
        if self._scores:
            columns |= {name: np.full(shape, np.nan, np.float16) for name in SCORES}
            columns["rejected_tl"] = np.full(shape, self._empty, self._dtype)
        if self._logits:
            columns["logit_tle"] = np.full((*shape, self._experts), np.nan, np.float16)
        return with_what_was_wanted(columns) if with_wanted else columns

    def _fill(self, columns: Columns, group: _Group, keep_n: NDArray[np.bool_]) -> None:
        """Write what a group's layers did into the rows they saw; they may be narrower than others."""
        row_t: slice | NDArray[np.intp] = slice(None)
        if group.rows_n is not None:
            rows_n = group.rows_n.cpu().numpy()
            row_t = (keep_n.cumsum() - 1)[rows_n][keep_n[rows_n]]
            keep_n = keep_n[rows_n]
        at = row_t, _span([rule.layer for rule in group.rules])
        of_group = self._own(group, keep_n)
        for name, own in (with_what_was_wanted(of_group) if "wanted_ids_tlk" in columns else of_group).items():
            place = (*at, slice(own.shape[2])) if own.ndim == 3 else at
            columns[name][place] = own

    def _check_finite(self, weight_tlk: NDArray[np.floating], what: str) -> None:
        if not np.isfinite(weight_tlk).all():
            token, layer, _ = np.argwhere(~np.isfinite(weight_tlk))[0]
            raise RouterOutputError(
                f"layer {layer} ({self._rules[layer].module}) gave token {token} of this pass "
                f"a {what} that is no number",
                expected="finite router scores",
                do="run the model in bfloat16 or float32: half precision overflows beyond 65,504",
            )


def _span(layers: Sequence[int]) -> slice | list[int]:
    """Layers as a slice where they follow one another: arrays are filled faster by slices than by lists."""
    first, last = layers[0], layers[-1]
    return slice(first, last + 1) if last - first + 1 == len(layers) else list(layers)
