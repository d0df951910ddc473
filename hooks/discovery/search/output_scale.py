"""The factor that a block applies after its experts, measured: what is recorded as a weight must contain it."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from gatescope.hooks.discovery.search.silencing import Block, Heard, silence
from gatescope.hooks.layers.readings import Reading
from gatescope.hooks.layers.site import Site

MISFIT = 0.05  # share of the change that one factor may leave unexplained; a normalised output leaves far more
NEAR_ONE = 0.01


def output_scales(
    sites: Sequence[Site], heard: Sequence[Heard], again: Callable[[], object], run: Callable[[], object]
) -> list[float]:
    """For each layer, s in `block output = s × experts output + what does not depend on the experts`.

    `heard` is, for each layer, what its block and its experts put out in a pass of the model as it is. The model runs
    once more with its experts silenced, by `again`; where MoE blocks lie inside others, then by `run`. 1 where the
    change of the output is no multiple of what the experts gave (it passes a norm or a projection), or where no experts
    module gives anything.
    """
    scales = [1.0] * len(sites)
    blocks = {
        site.layer: Block(site.holder_path, site.holder, (site.experts,))
        for site in sites
        if site.experts is not None and isinstance(site.reading, Reading) and site.reading.leading
    }
    silence(list(blocks.values()), [heard[layer] for layer in blocks], again, run)
    for layer, block in blocks.items():
        scales[layer] = _stated(block.holder, _factor(heard[layer]))
    return scales


def _factor(heard: Heard) -> float:
    """The s that makes s × given the difference of two outputs, 1 where none does."""
    given: Tensor | None = heard.given[0] if heard.given else None
    change = heard.change
    if not isinstance(given, Tensor) or change is None or change.numel() != given.numel():
        return 1.0
    change, gave = change.flatten(), given.float().flatten()
    factor = float(change @ gave / (gave @ gave).clamp(min=1e-30))
    misfit = float((change - factor * gave).norm() / change.norm().clamp(min=1e-30))
    return 1.0 if misfit > MISFIT or abs(factor - 1) < NEAR_ONE else factor


def _stated(holder: nn.Module, factor: float) -> float:
    """The number that the block itself holds, where rounding alone could make the difference."""
    held = [value for value in vars(holder).values() if isinstance(value, (int, float)) and value]
    return next((float(value) for value in [*held, 0.5] if abs(factor / value - 1) < NEAR_ONE), factor)
