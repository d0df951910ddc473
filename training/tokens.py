"""The corpus as token ids: one stream per source and language, and seeded batches drawn from the streams."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from gatescope.training.corpus import Document

_DOCUMENT_STARTS_SHARE = 0.4
"""Share of training windows that begin at the first token of a document, as every prompt will."""


@dataclass(frozen=True)
class Stream:
    """All training tokens of one source in one language; `start_d` holds where each document begins."""

    token_t: NDArray[np.uint16]
    start_d: NDArray[np.int64]


def encode_streams(documents: Iterable[Document], tokenizer: PreTrainedTokenizerFast) -> dict[str, Stream]:
    """Encode documents as `<|bos|> text <|eos|>` and join those of the same source and language."""
    texts: dict[str, list[str]] = {}
    for document in documents:
        texts.setdefault(f"{document.source}/{document.language}", []).append(document.text)
    return {name: _stream(group, tokenizer) for name, group in texts.items()}


def _stream(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> Stream:
    pieces = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(texts)["input_ids"]]
    start_d = np.cumsum([0] + [len(piece) for piece in pieces[:-1]])
    return Stream(np.concatenate([np.asarray(piece, dtype=np.uint16) for piece in pieces]), start_d)


def save_streams(streams: Mapping[str, Stream], path: Path) -> None:
    """Write the streams to one file, atomically."""
    arrays: dict[str, Any] = {f"token {name}": stream.token_t for name, stream in streams.items()}
    arrays |= {f"start {name}": stream.start_d for name, stream in streams.items()}
    scratch = path.with_suffix(".part.npz")
    np.savez(scratch, **arrays)
    scratch.replace(path)


def load_streams(path: Path) -> dict[str, Stream]:
    """Read the streams that `save_streams` wrote."""
    with np.load(path) as arrays:
        names = [key.removeprefix("token ") for key in arrays if key.startswith("token ")]
        return {name: Stream(arrays[f"token {name}"], arrays[f"start {name}"]) for name in names}


class Sampler:
    """Draws batch number `step` from the streams; the same seed and step give the same batch, whatever came before."""

    def __init__(self, streams: Mapping[str, Stream], seed: int) -> None:
        self._streams = list(streams.values())
        size_d = np.array([len(stream.token_t) for stream in self._streams], dtype=float) ** 0.5
        self._share_d = size_d / size_d.sum()
        self._seed = seed

    def batch(self, step: int, rows: int, length: int) -> NDArray[np.int64]:
        """Return token ids of shape [rows, length + 1]; a source is drawn by the square root of its size."""
        draw = np.random.default_rng((self._seed, step))
        chosen = draw.choice(len(self._streams), size=rows, p=self._share_d)
        return np.stack([_window(self._streams[index], length + 1, draw) for index in chosen])


def _window(stream: Stream, length: int, draw: np.random.Generator) -> NDArray[np.int64]:
    last = len(stream.token_t) - length
    if last <= 0:
        return np.resize(stream.token_t, length).astype(np.int64)
    start = int(draw.integers(last + 1))
    if draw.random() < _DOCUMENT_STARTS_SHARE:
        start = min(int(stream.start_d[np.searchsorted(stream.start_d, start, side="right") - 1]), last)
    return stream.token_t[start : start + length].astype(np.int64)
