"""Proves at load that what is recorded is what was executed, on the model itself and with figures."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatescope.hooks.discovery.formulas.weighing import tolerance
from gatescope.hooks.discovery.rules import InferredRule
from gatescope.hooks.layers.probing import forward
from gatescope.hooks.layers.routes import NO_EXPERT, Routes
from gatescope.hooks.loading.routers import Routers, same_routes
from gatescope.hooks.loading.selfcheck_report import Check, SelfCheckReport
from gatescope.hooks.recording.intervene import Reroute, RerouteText, Watch, run, unused_expert, watched

LEAK = 0.01  # how much of the change at a token may show before it (rounding of regrouped rows)
LEAST_TOKENS = 6  # of a text in which something has a past that must not move


def check(routers: Routers) -> SelfCheckReport:
    """Run every claim on the probing pass. A failed claim is reported, never hidden."""
    checks = (_routers(routers), *_formulas(routers), _repeats(routers), _causes(routers))
    return SelfCheckReport(checks, tuple(_notes(routers)))


def _notes(routers: Routers) -> Iterator[str]:
    """What a reader must know beside the checks: known faults of a family, experts that text does not reach."""
    yield from dict.fromkeys(site.note for site in routers.sites if site.note)
    if routers.unreached:
        yield (
            f"{len(routers.unreached)} experts modules were not reached by the probing pass and are not recorded, "
            f"the first is {routers.unreached[0]}"
        )


def _routers(routers: Routers) -> Check:
    """Every MoE layer reported once, in shape and in range."""
    good = [_well_formed(learnt, routers.watch.seen[learnt.rule.layer]) for learnt in routers.learnt]
    tokens = max(len(routes.ids_nk) for routes in routers.watch.seen.values())
    kinds = sorted({f"{rule.k} of {rule.experts}" for rule in routers.layers})
    return Check(
        "routers",
        all(good),
        f"{sum(good)} of {len(good)} MoE layers gave each of {tokens} tokens its experts ({', '.join(kinds)})",
    )


def _well_formed(learnt: InferredRule, routes: Routes) -> bool:
    rule, (logits_ne, ids_nk, weights_nk) = learnt.rule, routes[:3]
    in_range = bool(((ids_nk >= NO_EXPERT) & (ids_nk < rule.experts)).all())
    sorted_nk = ids_nk.sort(-1).values
    twice = bool(((sorted_nk.diff(dim=-1) == 0) & (sorted_nk[:, 1:] != NO_EXPERT)).any())
    whole = bool(rule.empty_when) or bool((ids_nk != NO_EXPERT).all())
    shapes = len(logits_ne) == len(ids_nk) and ids_nk.shape == weights_nk.shape
    return in_range and whole and (rule.by_token_id or not twice) and shapes and bool(weights_nk.isfinite().all())


def _formulas(routers: Routers) -> Iterator[Check]:
    """The learnt rule recomputes the executed weights and choices."""
    worst = max(routers.learnt, key=lambda one: one.weight_error)
    allowed = tolerance(routers.watch.seen[worst.rule.layer].weights_nk)
    yield Check(
        "weights",
        worst.weight_error <= allowed,
        f"{worst.rule.sentence}: recomputed within {worst.weight_error:.1e} (allowed {allowed:.0e}), "
        f"worst in layer {worst.rule.layer}",
    )
    least = min(routers.learnt, key=lambda one: one.ids_agree)
    yield Check(
        "choice",
        all(one.selector is not None or one.rule.by_token_id for one in routers.learnt),
        f"the rule picks the executed experts for {least.ids_agree:.1%} of tokens or more (layer {least.rule.layer})",
    )


def _repeats(routers: Routers) -> Check:
    """Two passes over the same tokens gave the same routing; a third is made where the first was not read."""
    first = dict(enumerate(routers.first))
    if not first:
        second = Watch()
        watched(routers.model, routers.recorder, second, routers.inputs)
        first = second.seen
    same = [same_routes(first[layer], routes) for layer, routes in routers.watch.seen.items()]
    return Check("repeatable", all(same), f"a second run gave the same routing in {sum(same)} of {len(same)} layers")


class _Effects(NamedTuple):
    """How far the output moved where a token was sent elsewhere, and at most before it, as a share of that."""

    moved: float
    leak: float

    @property
    def is_causal(self) -> bool:
        """Whether it moved there, and nothing before it."""
        return self.moved > 0 and self.leak <= LEAK


def _causes(routers: Routers) -> Check:
    """Changing one recorded route changes the output there, and, in a causal model, nothing before it."""
    layers = sorted({0, len(routers.learnt) // 2, len(routers.learnt) - 1})
    if all(site.experts_list for site in routers.sites):
        return Check("causal", True, f"{routers.sites[0].note} This holds for all {len(routers.sites)} layers.")
    effects = _together(routers, layers)
    if effects is None or not effects.is_causal:
        effects = _one_by_one(routers, layers)
    return Check(
        "causal",
        effects.is_causal,
        f"sending a token elsewhere in layers {', '.join(map(str, layers))} moved the output by at least "
        f"{effects.moved:.1e}, and the tokens before it by at most {effects.leak:.1e} of that",
    )


def _together(routers: Routers, layers: Sequence[int]) -> _Effects | None:
    """All layers in one pass over short texts that are alike: in each but the first, one thing is changed.

    In the last it is a token: what stands before it must not move, else the model reads in both directions. None where
    it does, where the model reads more than tokens, and for layers that are not the decoder's.
    """
    texts, name = len(layers) + 2, _name(routers.inputs)
    inputs = _short_texts(routers.inputs, texts)
    if inputs is None or any(routers.layers[layer].stack != "decoder" for layer in layers):
        return None
    length = inputs[name].shape[-1]
    place = length // 2
    last_s = inputs[name][-1]
    last_s[place] = next((token for token in last_s if token != last_s[place]), last_s[place])
    changes = [
        RerouteText(layer, text=text, length=length, experts=routers.layers[layer].experts)
        for text, layer in enumerate(layers, 1)
    ]
    with ExitStack() as open_:
        for change in changes:
            open_.enter_context(routers.recorder.changing(change))
        output_nv = forward(routers.model, inputs)
    if len(output_nv) != texts * length:
        return None
    shift_bs = _far(output_nv.view(texts, length, -1), output_nv[:length])
    if float(shift_bs[-1, :place].max()) > LEAK * float(shift_bs[-1, place]):
        return None
    moved, leaks = [], []
    for change in changes:
        if change.place is None:
            return None
        moved.append(float(shift_bs[change.text, change.place]))
        leaks.append(float(shift_bs[change.text, : change.place].max()) / max(moved[-1], 1e-30))
    return _Effects(min(moved), max(leaks))


def _short_texts(inputs: Mapping[str, Any], texts: int) -> dict[str, Tensor] | None:
    """The beginning of one text, so often that no more tokens run than before; None where inputs are no tokens."""
    values = list(inputs.values())
    if not all(torch.is_tensor(value) and not value.is_floating_point() and value.dim() == 2 for value in values):
        return None
    shapes = {tuple(value.shape) for value in values}
    (rows, tokens), *others = shapes
    length = tokens // texts
    if others or rows != 1 or length < LEAST_TOKENS:
        return None
    return {name: value[:, :length].repeat(texts, 1) for name, value in inputs.items()}


def _one_by_one(routers: Routers, layers: Sequence[int]) -> _Effects:
    """A pass for each layer, of the tokens as they were, and one for each token whose past is looked at."""
    changes, leaks = [], [0.0]
    looks_back = cache(partial(_is_causal, routers))
    for layer in layers:
        row, place = _row(routers, layer)
        routes = routers.watch.seen[layer]
        elsewhere = Reroute(layer, row, unused_expert(routes.ids_nk[row], routers.layers[layer].experts))
        shift_n = _shift(routers, run(routers.model, routers.recorder, elsewhere, routers.inputs))
        changes.append(float(shift_n.max() if place is None else shift_n[place]))
        if place and looks_back(place):
            leaks.append(float(_before(routers, shift_n, place).max()) / max(changes[-1], 1e-30))
    return _Effects(min(changes), max(leaks))


def _row(routers: Routers, layer: int) -> tuple[int, int | None]:
    """A token near the middle that the layer gave an expert, and its place in the output (None: another stack's)."""
    routes = routers.watch.seen[layer]
    used = (routes.ids_nk[:, 0] != NO_EXPERT).nonzero()[:, 0]
    row = int(used[len(used) // 2]) if len(used) else 0
    if routers.layers[layer].stack != "decoder" or len(routers.output_nv) < len(routes.ids_nk):
        return row, None
    return row, row if routes.rows_n is None else int(routes.rows_n[row])


def _shift(routers: Routers, output_nv: Tensor) -> Tensor:
    """How far each row of the output moved from the probing pass."""
    return _far(output_nv, routers.output_nv)


def _far(output_nv: Tensor, other_nv: Tensor) -> Tensor:
    """The largest difference in each row."""
    return (output_nv - other_nv).abs().nan_to_num(0.0).amax(-1)


def _before(routers: Routers, shift_n: Tensor, place: int) -> Tensor:
    """The rows of the same sequence before one; itself alone where it is the first."""
    length = routers.inputs[_name(routers.inputs)].shape[-1]
    start = place - place % length
    return shift_n[start : max(place, start + 1)]


def _name(inputs: Mapping[str, Any]) -> str:
    """The input whose tokens the rows of the output are."""
    return "decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"


def _is_causal(routers: Routers, place: int) -> bool:
    """Whether a changed token leaves the output before it alone: not so in models that read in both directions."""
    reads_more = any(torch.is_tensor(value) and value.is_floating_point() for value in routers.inputs.values())
    name = _name(routers.inputs)
    if reads_more or name not in routers.inputs or place % routers.inputs[name].shape[-1] == 0:
        return False
    changed_bs = routers.inputs[name].clone()
    changed_bs.view(-1)[place] = changed_bs.view(-1)[place - 1]
    shift_n = _shift(routers, forward(routers.model, dict(routers.inputs) | {name: changed_bs}))
    return float(_before(routers, shift_n, place).max()) <= LEAK * float(shift_n[place])
