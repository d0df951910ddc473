"""A record small enough to check by hand."""

import numpy as np

from gatescope.routing import Document, Flag, Provenance, RouterRule, RoutingRecord


def build_record(pieces: list[str] | None = None, *, layers: int = 2, experts: int = 4, k: int = 2, **arrays):
    """A record of `len(pieces)` tokens; expert e, e+1 … in turn; `arrays` replace or (None) remove what it holds."""
    pieces = ["a", "b", "c"] if pieces is None else pieces
    tokens = len(pieces)
    first_tl = (np.arange(tokens)[:, None] + np.arange(layers)[None]) % experts
    ids_tlk = ((first_tl[..., None] + np.arange(k)) % experts).astype(np.uint8)
    given = {
        "ids_tlk": ids_tlk,
        "weight_tlk": np.broadcast_to(np.linspace(0.75, 0.25, k), ids_tlk.shape).astype(np.float16),
        "rejected_tl": ((first_tl + k) % experts).astype(np.uint8),
        "margin_tl": np.full((tokens, layers), 0.5, np.float16),
        "entropy_tl": np.full((tokens, layers), np.log(2), np.float16),
        "loss_t": np.append(np.arange(tokens - 1), np.nan).astype(np.float32),
        "predicted_t": np.zeros(tokens, np.int32),
        "token_t": np.arange(tokens, dtype=np.int32),
        "document_t": np.zeros(tokens, np.int32),
        "position_t": np.arange(tokens, dtype=np.int32),
        "flag_t": np.array([Flag.SPECIAL] + [0] * (tokens - 2) + [Flag.GENERATED], np.uint8)[:tokens],
    }
    given["documents"] = (Document("".join(pieces)),)
    return RoutingRecord(
        **(given | arrays),
        layers=tuple(
            RouterRule(layer=n, block=n + 1, module=f"blocks.{n + 1}.mlp", experts=experts, k=k, score="softmax")
            for n in range(layers)
        ),
        provenance=Provenance(model="small", fingerprint="0f" * 8, dtype="float32", device="cpu"),
        pieces=dict(enumerate(pieces)),
    )
