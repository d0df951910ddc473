"""Proves at load that what is recorded is what was executed, on the model itself and with figures."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from hooks.intervene import Reroute, Watch, run, unused_expert
from hooks.model import LoadedModel
from hooks.rules import Learnt, tolerance
from hooks.selfcheck_report import Check, SelfCheckReport

PROBE_TOKENS = 48
PROBE_SEED = 20260101
LEAK = 0.01  # how much of the change at a token may show before it (rounding of regrouped rows)


def probe_ids(vocabulary: int, special: Sequence[int], device: torch.device) -> Tensor:
    """A fixed row of random ordinary token ids, shape (1, PROBE_TOKENS)."""
    generator = torch.Generator().manual_seed(PROBE_SEED)
    ids = torch.randint(0, vocabulary, (1, PROBE_TOKENS), generator=generator)
    taken = torch.isin(ids, torch.tensor(sorted(special), dtype=ids.dtype))
    return ids.masked_fill(taken, _ordinary(vocabulary, special)).to(device)


def _ordinary(vocabulary: int, special: Sequence[int]) -> int:
    return next((token for token in range(vocabulary) if token not in set(special)), 0)


def check(model: LoadedModel, ids_bs: Tensor, first: Watch, logits_tv: Tensor) -> SelfCheckReport:
    """Run every claim on one probing text. A failed claim is reported, never hidden.

    `first` and `logits_tv` are what the pass that the rules were learnt from showed.
    """
    second = Watch()
    run(model.model, model.recorder, second, ids_bs)
    checks = [_routers(model, first), *_formulas(model.learnt, first), _repeats(first, second)]
    return SelfCheckReport((*checks, *_causes(model, ids_bs, first, logits_tv)))


def _routers(model: LoadedModel, watch: Watch) -> Check:
    """Every MoE layer reported once, in shape and in range."""
    good = [
        learnt.rule.layer in watch.seen and _well_formed(learnt, watch.seen[learnt.rule.layer], PROBE_TOKENS)
        for learnt in model.learnt
    ]
    kinds = sorted({f"{learnt.rule.k} of {learnt.rule.experts}" for learnt in model.learnt})
    return Check(
        "routers",
        all(good),
        f"{sum(good)} of {len(good)} MoE layers gave each of {PROBE_TOKENS} tokens its experts ({', '.join(kinds)})",
    )


def _well_formed(learnt: Learnt, seen: tuple[Tensor, Tensor, Tensor], tokens: int) -> bool:
    logits_ne, ids_nk, weights_nk = seen
    rule = learnt.rule
    in_range = bool(((ids_nk >= 0) & (ids_nk < rule.experts)).all())
    distinct = bool((ids_nk.sort(-1).values.diff(dim=-1) != 0).all())
    shapes = logits_ne.shape == (tokens, rule.experts) and ids_nk.shape == weights_nk.shape == (tokens, rule.k)
    return in_range and distinct and shapes and bool(weights_nk.isfinite().all())


def _formulas(learnt: Sequence[Learnt], watch: Watch) -> Iterator[Check]:
    """The learnt rule recomputes the executed weights and choices."""
    worst = max(learnt, key=lambda one: one.weight_error)
    allowed = tolerance(watch.seen[worst.rule.layer][2])
    yield Check(
        "weights",
        worst.weight_error <= allowed,
        f"{worst.rule.sentence}: recomputed within {worst.weight_error:.1e} (allowed {allowed:.0e}), "
        f"worst in layer {worst.rule.layer}",
    )
    least = min(learnt, key=lambda one: one.ids_agree)
    yield Check(
        "choice",
        least.selector is not None,
        f"the rule picks the executed experts for {least.ids_agree:.1%} of tokens or more (layer {least.rule.layer})",
    )


def _repeats(first: Watch, second: Watch) -> Check:
    same = [
        all(torch.equal(one, two) for one, two in zip(first.seen[layer], second.seen[layer], strict=True))
        for layer in first.seen
    ]
    return Check("repeatable", all(same), f"a second run gave the same routing in {sum(same)} of {len(same)} layers")


def _causes(model: LoadedModel, ids_bs: Tensor, watch: Watch, logits_tv: Tensor) -> Iterator[Check]:
    """Changing one recorded route changes the output there, and nothing before it."""
    row = ids_bs.shape[1] // 2
    layers = sorted({0, len(model.learnt) // 2, len(model.learnt) - 1})
    changes, leaks = [], []
    for layer in layers:
        rule = model.learnt[layer].rule
        sink = Reroute(layer, row, unused_expert(watch.seen[layer][1][row], rule.experts))
        changed_tv = run(model.model, model.recorder, sink, ids_bs)
        shift_t = (changed_tv - logits_tv).abs().amax(-1)
        changes.append(float(shift_t[row]))
        leaks.append(float(shift_t[:row].max()))
    moved = min(changes) > 0 and all(leak <= LEAK * change for leak, change in zip(leaks, changes, strict=True))
    yield Check(
        "causal",
        moved,
        f"sending token {row} elsewhere in layers {', '.join(map(str, layers))} moved its output logits by at least "
        f"{min(changes):.1e} and those before it by at most {max(leaks):.1e}",
    )
