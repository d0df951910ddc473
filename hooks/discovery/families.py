"""The few families whose routing does not pass the common way: one entry each, with the reason.

A family whose experts are called with hidden states, ids and weights, beside a router that returned those ids, needs
no entry: `find` reads it by what its modules do. An entry names the class of the MoE block (or of what stands for
it), and where in that block the choice can be read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gatescope.hooks.layers import readings


@dataclass(frozen=True, kw_only=True)
class Family:
    """How one class of MoE block is read. Paths are relative to the block.

    `router` answers with the scores, which stand at `logits_at` of its answer (None: the answer is the scores).
    `experts` is the module whose call is read; None where the router's answer holds everything. `note` says what a
    reader must know when the block does not do what its router says.
    """

    reason: str
    reading: readings.Reading | readings.AnswerReading
    router: str
    experts: str | None = "experts"
    logits_at: int | None = None
    note: str = ""


FAMILIES: dict[str, Family] = {
    "DogeCDMoE": Family(
        reason="experts are rows of an embedding, found by product keys inside the block",
        reading=readings.ProductKeyReading(),
        router="router_gate",
        experts="down_embed",
        note="transformers splits the scores of a batch across its tokens: token n of N is routed by the scores of "
        "tokens n/2 and (N+n)/2, unless it runs alone",
    ),
    "JetMoeMoA": Family(
        reason="attention heads are the experts; tokens reach them sorted by expert",
        reading=readings.SortedReading(),
        router="router",
        experts=None,
    ),
    "JetMoeMoE": Family(
        reason="tokens reach the experts sorted by expert",
        reading=readings.SortedReading(),
        router="router",
        experts=None,
    ),
    "Llama4TextMoe": Family(
        reason="every expert runs, on inputs that are 0 where it was not chosen",
        reading=readings.InputWeightReading(),
        router="router",
        experts=None,
    ),
    "NllbMoeSparseMLP": Family(
        reason="the choice is a mask of first choices and a row of weights over all experts",
        reading=readings.DenseReading(k=2),
        router="router",
        logits_at=2,
        note="transformers 5.23 reads that mask as ids: expert 1 computes every first choice and expert 0 every "
        "second, whatever the router said; recorded is what the router said",
    ),
    "SwitchTransformersSparseMLP": Family(
        reason="the choice is a one-hot mask, empty where the expert was full",
        reading=readings.OneHotReading(),
        router="router",
        logits_at=2,
    ),
    "ZayaSparseMoeBlock": Family(
        reason="the router has one option more than there are experts, which skips the layer",
        reading=readings.SkipReading(),
        router="gate",
        logits_at=0,
    ),
}


def _by_modality(call: tuple[Any, ...]) -> dict[str, Tensor] | None:
    """Rows of text and of image tokens; None where the block was told of no images."""
    if len(call) < 2 or call[1] is None or not call[1].any():
        return None
    is_image_n = call[1].bool().flatten()
    return {"text_moe": (~is_image_n).nonzero()[:, 0], "vision_moe": is_image_n.nonzero()[:, 0]}


DIVIDED: dict[str, Callable[[tuple[Any, ...]], dict[str, Tensor] | None]] = {"Ernie4_5_VLMoeMoeBlock": _by_modality}
"""Blocks that share the tokens out among several MoE layers: rows by child, from the block's arguments."""

BYPASSES: dict[str, str] = {
    "Mxfp4GptOssMLP": "native MXFP4 kernels; load it with Mxfp4Config(dequantize=True)",
    "MegaBlocksMoeMLP": "the MegaBlocks kernel; load it with use_kernels=False",
}
"""Modules that compute a whole MoE block in one kernel, past router and experts: refused, with what to do instead."""
