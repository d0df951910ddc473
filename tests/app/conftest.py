"""Records small enough to check by hand, and the browser of all tests that drive one."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gatescope import hooks  # noqa: F401  # before a server's thread does: torch and transformers stand no company at their import
from gatescope.app.shell.session import FRAME
from gatescope.routing import Document, Flag, Provenance, RouterRule, RoutingRecord
from tests.app.browser.harness import browser  # noqa: F401  # a fixture

sys.path.append(str(Path(FRAME).parent))
"""Streamlit puts the folder of a simulated page's script first in this list and takes it out again at every run, unless
it is there: an import, or a search for a library's version, that a thread is at meanwhile would miss one entry."""


@pytest.fixture(autouse=True)
def own_main():
    """A simulated run of a page takes the place of the main program, which processes started later would run again."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture
def make_record() -> Callable[..., RoutingRecord]:
    return build_record


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


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A folder with a random MoE model (2 layers, 8 experts, 2 a token) and a tokenizer of the probe set's words."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import OlmoeConfig, OlmoeForCausalLM, PreTrainedTokenizerFast

    from gatescope.corpora.bundled import probe

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    core.train_from_iterator((document.text for document in probe()), trainer)
    core.post_processor = processors.TemplateProcessing(single="<|end|> $A", special_tokens=[("<|end|>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<|end|>", eos_token="<|end|>")
    sizes = {"hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 2, "max_position_embeddings": 512}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "num_experts": 8, "num_experts_per_tok": 2}
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    torch.manual_seed(0)
    model = OlmoeForCausalLM(OlmoeConfig(vocab_size=len(tokenizer), **sizes, **heads, **special))
    with torch.no_grad():
        for block in model.model.layers:
            block.mlp.gate.weight.mul_(50)  # routers that decide
    folder = tmp_path_factory.mktemp("tiny")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
