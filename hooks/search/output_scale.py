"""The factor that a block applies after its experts, measured: what is recorded as a weight must contain it."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from hooks.readings import Reading
from hooks.site import Site

MISFIT = 0.05  # share of the change that one factor may leave unexplained; a normalised output leaves far more
NEAR_ONE = 0.01


def output_scales(sites: Sequence[Site], run: Callable[[], object]) -> list[float]:
    """For each layer, s in `block output = s × experts output + what does not depend on the experts`.

    Each block is run twice more on its own input, once with its experts silenced. 1 where the change of the output is
    no multiple of what the experts gave (it passes a norm or a projection), or where no experts module gives anything.
    """
    scales = [1.0] * len(sites)
    with ExitStack() as hooks, torch.no_grad():
        for site in sites:
            if site.experts is not None and isinstance(site.reading, Reading) and site.reading.leading:
                hook = _measure(site, site.experts, scales)
                hooks.callback(site.holder.register_forward_pre_hook(hook, with_kwargs=True).remove)
        run()
    return scales


def _measure(
    site: Site, experts: nn.Module, scales: list[float]
) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
    def hook(holder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given: list[Tensor] = []

        def silence(_module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            given.append(output)
            return torch.zeros_like(output)

        loud = holder.forward(*_copied(args), **kwargs)
        handle = experts.register_forward_hook(silence)
        try:
            silent = holder.forward(*_copied(args), **kwargs)
        finally:
            handle.remove()
        if given:
            scales[site.layer] = _stated(holder, _factor(given[0], loud, silent))

    return hook


def _copied(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.clone() if isinstance(value, Tensor) else value for value in args)


def _factor(given: Tensor, loud: Any, silent: Any) -> float:
    """The s that makes s × given the difference of two outputs, 1 where none does."""
    with_experts, without = _first(loud), _first(silent)
    if with_experts is None or without is None or with_experts.numel() != given.numel():
        return 1.0
    change, gave = (with_experts.float() - without.float()).flatten(), given.float().flatten()
    factor = float(change @ gave / (gave @ gave).clamp(min=1e-30))
    misfit = float((change - factor * gave).norm() / change.norm().clamp(min=1e-30))
    return 1.0 if misfit > MISFIT or abs(factor - 1) < NEAR_ONE else factor


def _stated(holder: nn.Module, factor: float) -> float:
    """The number that the block itself holds, where rounding alone could make the difference."""
    held = [value for value in vars(holder).values() if isinstance(value, (int, float)) and value]
    return next((float(value) for value in [*held, 0.5] if abs(factor / value - 1) < NEAR_ONE), factor)


def _first(output: Any) -> Tensor | None:
    """The tensor of a block's output that holds hidden states."""
    first = output[0] if isinstance(output, (tuple, list)) and output else output
    return first if isinstance(first, Tensor) else None
