"""The shapes of routers: how many layers, experts and choices, and of which groups."""

from collections.abc import Sequence
from dataclasses import dataclass

from gatescope.routing.errors import OptionError
from gatescope.routing.router import RouterRule

MOST_EXPERTS = 65_535
"""Their ids are kept in 16 bits, of which the largest number is an empty slot."""
MOST_LAYERS = 4096


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How many routed experts each MoE layer has, how many a token gets, and from how many of how many groups.

    `experts` holds one number for each layer; `first_block` is the block of the first MoE layer, behind dense ones.
    Errors: OptionError where no router has such a shape.

    >>> Geometry(name="small", experts=(8, 16), k=2).layers
    2
    """

    name: str
    experts: tuple[int, ...]
    k: int
    groups: int = 1
    groups_kept: int = 1
    first_block: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.layers <= MOST_LAYERS:
            raise _wrong(f"{self.layers:,} layers", f"1 to {MOST_LAYERS:,}", "give --layers within these")
        least, most = min(self.experts), max(self.experts)
        if least < 1 or most > MOST_EXPERTS:
            raise _wrong(f"{least if least < 1 else most:,} experts", f"1 to {MOST_EXPERTS:,}", "give --experts so")
        if not 1 <= self.k <= least:
            expected = f"1 to {least:,}, the experts of the smallest layer"
            raise _wrong(f"k = {self.k} of {least:,} experts", expected, "give --k or --experts otherwise")
        if self.groups < 1 or any(count % self.groups for count in self.experts):
            count = next((count for count in self.experts if self.groups < 1 or count % self.groups), least)
            expected = "a number of groups that divides the experts of every layer"
            raise _wrong(f"{self.groups} groups of {count:,} experts", expected, "give --groups otherwise")
        if not 1 <= self.groups_kept <= self.groups:
            found, expected = f"{self.groups_kept} of {self.groups} groups chosen", f"1 to {self.groups}"
            raise _wrong(found, expected, "give --top-groups otherwise")
        room = least // self.groups * self.groups_kept
        if self.k > room:
            found = f"k = {self.k} from {self.groups_kept} groups that hold {room:,} experts together"
            raise _wrong(found, f"at most {room:,}", "give more --top-groups, or a smaller --k")

    @property
    def layers(self) -> int:
        """Number of MoE layers."""
        return len(self.experts)

    @property
    def rules(self) -> tuple[RouterRule, ...]:
        """Each layer's rule. There are no scores, so how they would be made is unknown."""
        return tuple(
            RouterRule(
                layer=layer,
                block=self.first_block + layer,
                module=f"simulated layer {layer}",
                experts=experts,
                k=self.k,
                score="unknown",
                groups=self.groups,
                groups_kept=self.groups_kept,
                is_renormalised=True,
            )
            for layer, experts in enumerate(self.experts)
        )


def _even(
    name: str, layers: int, experts: int, k: int, *, groups: int = 1, groups_kept: int = 1, first_block: int = 0
) -> Geometry:
    sizes = (experts,) * layers
    return Geometry(name=name, experts=sizes, k=k, groups=groups, groups_kept=groups_kept, first_block=first_block)


GEOMETRIES = {
    each.name: each
    for each in (
        _even("mixtral", 32, 8, 2),
        _even("olmoe", 16, 64, 8),
        _even("qwen3-30b", 48, 128, 8),
        _even("qwen3-235b", 94, 128, 8),
        _even("gpt-oss-120b", 36, 128, 4),
        _even("deepseek-v3", 58, 256, 8, groups=8, groups_kept=4, first_block=3),
        _even("kimi-k2", 60, 384, 8, first_block=1),
        _even("k3", 60, 896, 16),
    )
}
"""The shapes of models that people run, by name: layers x experts x choices."""


def named_geometry(name: str) -> Geometry:
    """One of GEOMETRIES. Errors: OptionError.

    >>> shape = named_geometry("deepseek-v3")
    >>> shape.layers, shape.experts[0], shape.k, shape.groups, shape.groups_kept
    (58, 256, 8, 8, 4)
    """
    if name not in GEOMETRIES:
        raise _wrong(f"--like {name}", f"one of {', '.join(GEOMETRIES)}", "choose one, or give --layers --experts --k")
    return GEOMETRIES[name]


def free_geometry(
    layers: int, experts: Sequence[int], k: int, *, groups: int = 1, groups_kept: int = 1, name: str = ""
) -> Geometry:
    """A shape of one's own: one number of experts for all layers, or one for each. Errors: OptionError.

    >>> free_geometry(2, [64], 8).experts, free_geometry(0, [8, 16, 32], 2).layers
    ((64, 64), 3)
    """
    if len(experts) > 1 and layers not in (0, len(experts)):
        found = f"--layers {layers} and {len(experts)} numbers of experts"
        raise _wrong(found, "one number of experts, or one for each layer", "leave --layers out, or give as many")
    sizes = tuple(experts) if len(experts) != 1 else tuple(experts) * layers
    spelt = "-".join(dict.fromkeys(map(str, sizes)))
    name = name or f"{len(sizes)}x{spelt}x{k}"
    return Geometry(name=name, experts=sizes, k=k, groups=groups, groups_kept=groups_kept)


def _wrong(found: str, expected: str, do: str) -> OptionError:
    return OptionError(found, expected=expected, do=do)
