"""Records to analyse: small ones made by hand, and routes recorded from a real model where they are at hand."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from gatescope.routing import Document, Provenance, RouterRule, RoutingRecord

REALDATA = Path(__file__).parents[2].parent / "shared" / "realdata"


def make_record(
    ids_tlk: Sequence | np.ndarray,
    *,
    experts: int | Sequence[int],
    documents: Sequence[int] | None = None,
    kind: type = np.uint8,
    **arrays: np.ndarray,
) -> RoutingRecord:
    """A record from its ids (the highest id is the empty slot) and whatever else the test is about."""
    ids_tlk = np.asarray(ids_tlk, dtype=kind)
    tokens, layers, slots = ids_tlk.shape
    experts_l = [experts] * layers if isinstance(experts, int) else list(experts)
    document_t = np.zeros(tokens, np.int32) if documents is None else np.asarray(documents, np.int32)
    filled_l = [int((ids_tlk[:, n] != np.iinfo(kind).max).sum(axis=1).max(initial=1)) for n in range(layers)]
    k_l = [slots if max(filled_l) < slots or n == int(np.argmax(filled_l)) else filled_l[n] for n in range(layers)]
    fields = {
        "weight_tlk": None,
        "token_t": np.arange(tokens, dtype=np.int32),
        "position_t": np.arange(tokens, dtype=np.int32),
        "flag_t": np.zeros(tokens, np.uint8),
    }
    return RoutingRecord(
        ids_tlk=ids_tlk,
        document_t=document_t,
        documents=tuple(Document(f"text {n}") for n in range(int(document_t.max(initial=0)) + 1)),
        layers=tuple(
            RouterRule(layer=n, block=n, module=f"blocks.{n}.router", experts=experts_l[n], k=k_l[n], score="softmax")
            for n in range(layers)
        ),
        provenance=Provenance(model="by hand", fingerprint="0", dtype="float32", device="cpu"),
        **(fields | arrays),
    )


@pytest.fixture(scope="session")
def records() -> Callable[..., RoutingRecord]:
    """The maker of small records."""
    return make_record


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of recorded routes, or a skip that says where it is looked for."""
    if not (REALDATA / "expected.json").exists():
        pytest.skip(f"recorded routes of real models are not at hand: put them into {REALDATA.parent}")
    return REALDATA


@pytest.fixture(scope="session")
def gptoss(realdata: Path) -> RoutingRecord:
    """GPT-OSS-20B: 215,438 generated tokens of 703 examples, 24 layers, top-4 of 32."""
    routes = np.load(realdata / "gptoss20b" / "gptoss20b_routes.npz")
    offsets_d = routes["offsets"]
    lengths_d = np.diff(offsets_d)
    tokens = int(offsets_d[-1])
    rows_t = np.arange(tokens, dtype=np.int32)
    return make_record(
        routes["expert_ids"],
        experts=32,
        documents=np.repeat(np.arange(len(lengths_d)), lengths_d),
        weight_tlk=routes["expert_probs"],
        position_t=rows_t - np.repeat(offsets_d[:-1], lengths_d).astype(np.int32),
        token_t=rows_t,
    )
