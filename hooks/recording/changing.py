"""Interventions at work: one layer's routes after every change, and what its experts are then called with."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from gatescope.hooks.layers.list_reading import ListReading
from gatescope.hooks.layers.readings import Reading
from gatescope.hooks.layers.routes import NO_EXPERT, Routes, Wanted
from gatescope.hooks.layers.site import Site
from gatescope.routing.errors import OptionError

Changed = tuple[Tensor, Tensor]
LONGEST_NAME = 200


class Intervention(Protocol):
    """Changes one MoE layer's routing before its experts run."""

    def change(self, layer: int, routes: Routes) -> Changed | None:
        """Called once per MoE layer and forward pass, with what the interventions before it left.

        (ids, weights) returned, of the shapes they came in, replace the routes; NO_EXPERT drops a slot. Any other id
        that the layer has no expert for is refused before the experts run, and so is a weight that is no finite number.
        """


def changed(interventions: Sequence[Intervention], names: tuple[str, ...], site: Site, routes: Routes) -> Routes:
    """The routes after every intervention in turn, and beside them what the router itself chose.

    Errors: OptionError for routes of another shape, experts that do not exist, weights that are not finite, or a change
    that this layer cannot be made to execute.
    """
    routes = routes._replace(wanted=Wanted(routes.ids_nk.clone(), routes.weights_nk.clone(), names))
    has_changed = False
    for intervention in interventions:
        answer = intervention.change(site.layer, routes)
        if answer is not None:
            routes, has_changed = _replaced(site, routes, intervention, *answer), True
    if has_changed and not site.reading.takes_weights:
        return _with_own_weights(site, routes)
    return routes


def to_execute(routes: Routes, wanted: Wanted, scale: float) -> Changed:
    """What the experts are called with: a dropped slot keeps the router's expert, whose output then counts for nothing.

    No implementation of the experts takes an id that means none: some raise, others compute something else.
    """
    ids_nk = routes.ids_nk.where(routes.ids_nk != NO_EXPERT, wanted.ids_nk)
    return ids_nk, (routes.weights_nk / scale).to(routes.weights_nk.dtype)


def _replaced(site: Site, routes: Routes, intervention: Intervention, ids_nk: Tensor, weights_nk: Tensor) -> Routes:
    shapes = tuple(ids_nk.shape), tuple(weights_nk.shape)
    if shapes != (tuple(routes.ids_nk.shape),) * 2:
        raise OptionError(
            f"{name_of(intervention)} handed back ids {shapes[0]} and weights {shapes[1]} for {site.name}",
            expected=f"both {tuple(routes.ids_nk.shape)}, as they came",
            do="leave the slots where they are: NO_EXPERT drops one",
        )
    if isinstance(site.reading, ListReading):
        raise OptionError(
            f"{name_of(intervention)} changes the routes of {site.name}, which calls its experts one by one",
            expected="a router or an experts module that hands ids and weights on",
            do="load the model with its experts in one module, or do without the intervention",
        )
    if ids_nk.is_floating_point() or ids_nk.dtype == torch.bool:
        raise OptionError(
            f"{name_of(intervention)} handed back ids of type {ids_nk.dtype} for {site.name}",
            expected=f"whole numbers, {routes.ids_nk.dtype} as they came",
            do="hand back the numbers of experts, not scores or a mask",
        )
    ids_nk = ids_nk.to(routes.ids_nk.dtype)
    weights_nk = weights_nk.to(routes.weights_nk.dtype).masked_fill(ids_nk == NO_EXPERT, 0)
    _check_values(site, routes, intervention, ids_nk, weights_nk)
    return routes._replace(ids_nk=ids_nk, weights_nk=weights_nk)


def _check_values(site: Site, routes: Routes, intervention: Intervention, ids_nk: Tensor, weights_nk: Tensor) -> None:
    """Only what the intervention put there is in question; the device is asked once, and again only to name the fault.

    Some implementations of the experts leave out ids that do not exist, some compute others, some crash the device.
    """
    experts = site.options - site.reading.skips
    is_expert_nk = (ids_nk == NO_EXPERT) | ((ids_nk >= 0) & (ids_nk < experts))
    bad_id_nk = ~is_expert_nk & (ids_nk != routes.ids_nk)
    bad_weight_nk = ~weights_nk.isfinite() & routes.weights_nk.isfinite()
    if not (bad_id_nk | bad_weight_nk).any():
        return
    row, slot = (int(at) for at in (bad_id_nk | bad_weight_nk).nonzero()[0])
    where = f"in row {row}, slot {slot} of {site.name}"
    if bad_id_nk[row, slot]:
        raise OptionError(
            f"{name_of(intervention)} handed back expert {int(ids_nk[row, slot])} {where}",
            expected=f"0 to {experts - 1}, the layer's experts, or NO_EXPERT ({NO_EXPERT}) for an empty slot",
            do="hand back experts of this layer alone; layers of one model may have different numbers of them",
        )
    raise OptionError(
        f"{name_of(intervention)} handed back the weight {float(weights_nk[row, slot])} {where}",
        expected=f"a finite number that {weights_nk.dtype} holds",
        do="look for a division by 0 or an overflow in the intervention; a weight of 0 or NO_EXPERT drops a slot",
    )


def _with_own_weights(site: Site, routes: Routes) -> Routes:
    """The routes of a block that makes its weights itself, from the scores of the experts it is sent to."""
    wanted, reading = routes.wanted, site.reading
    has_own = wanted is not None and torch.equal(routes.weights_nk, wanted.weights_nk)
    if not has_own or not isinstance(reading, Reading):
        raise OptionError(
            f"other weights, or an empty slot, for {site.name}, which makes its weights itself",
            expected="other ids alone, with the weights as they came",
            do="send the tokens to other experts instead",
        )
    ids_nk, weights_nk = reading.ids((routes.ids_nk,), routes.logits_ne)
    return routes._replace(ids_nk=ids_nk, weights_nk=weights_nk)


def name_of(intervention: Intervention) -> str:
    """What a record says was done: its own representation, where it has a short one."""
    kind = type(intervention)
    name = kind.__name__ if kind.__repr__ is object.__repr__ else repr(intervention)
    return name if len(name) <= LONGEST_NAME else kind.__name__
