"""A model's weights by what they are for: how many there are, and how many of them work on one token."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Numbers of weights, by kind. `routed` and `shared` are in the MoE layers; `rest` is everything else.

    active_routed   of the routed ones, those of the k experts that one token gets, summed over layers
    bytes_by_dtype  what all of them take in memory, by number format

    >>> counts = Parameters(routed=800, shared=50, router=10, rest=140, active_routed=100)
    >>> counts.total, counts.active, counts.active_share
    (1000, 300, 0.3)
    """

    routed: int
    shared: int
    router: int
    rest: int
    active_routed: int
    bytes_by_dtype: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All weights."""
        return self.routed + self.shared + self.router + self.rest

    @property
    def active(self) -> int:
        """Weights that work on one token: all but the experts that it does not get."""
        return self.total - self.routed + self.active_routed

    @property
    def active_share(self) -> float:
        """Active weights over all."""
        return self.active / self.total if self.total else float("nan")

    @property
    def size_bytes(self) -> int:
        """What all weights take in memory."""
        return sum(self.bytes_by_dtype.values())
