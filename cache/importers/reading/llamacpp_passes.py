"""What traces of llama.cpp have in common: in a pass, one tensor of chosen experts for each layer."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(kw_only=True)
class Chosen:
    """The experts that one layer chose in one pass.

    `count` is how many tokens the layer ran, `shown` which of them are in the trace, in the order of `ids_nk`.
    """

    block: int
    count: int
    shown: NDArray[np.intp]
    ids_nk: NDArray[np.int64]
    place: str
    weight_nk: NDArray[np.float64] | None = None


@dataclass(kw_only=True)
class LayerPass:
    """One pass over all layers: the experts of each layer, and token ids where they are known.

    `count` is how many tokens were run (the last layer may have run fewer), `complaint` why none of them can be read,
    and `told` that those which are not shown were counted already.
    """

    layers: Sequence[Chosen]
    count: int
    place: str
    token_n: Sequence[int] = field(default_factory=list)
    complaint: str = ""
    told: bool = False

    @property
    def blocks(self) -> list[int]:
        """The layers, as the model numbers its blocks."""
        return [layer.block for layer in self.layers]
