"""Run a model over documents and keep, per document, its loss and how often each layer chose each expert."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.balance import RouterTap
from models.corpus import Document

_BATCH_DOCUMENTS = 16


@dataclass(frozen=True)
class Measurement:
    """What one model did with a list of documents.

    Shapes      loss_nats_d, predicted_d, bytes_d (documents,); count_dle (documents, layers, experts).
    Units       loss_nats_d is the sum over a document's predicted tokens; predicted_d counts them; bytes_d is the size
                of their text. count_dle counts assignments of all tokens but padding, the first token included.
    """

    loss_nats_d: NDArray[np.float64]
    predicted_d: NDArray[np.int64]
    bytes_d: NDArray[np.int64]
    count_dle: NDArray[np.int64]

    def loss_nats(self, chosen_d: NDArray[np.bool_]) -> float:
        """Mean loss a token over the chosen documents."""
        return float(self.loss_nats_d[chosen_d].sum() / self.predicted_d[chosen_d].sum())

    def bits_per_byte(self, chosen_d: NDArray[np.bool_]) -> float:
        """Loss of the chosen documents in bits per byte of their text: comparable between tokenizers."""
        return float(self.loss_nats_d[chosen_d].sum() / np.log(2) / self.bytes_d[chosen_d].sum())


class _Batch(NamedTuple):
    index_d: list[int]
    ids_dt: Tensor
    real_dt: Tensor


def choose(documents: Iterable[Document], most: int) -> list[Document]:
    """Return the first `most` documents of every pair of domain and language, in their order."""
    taken: dict[tuple[str, str], int] = {}
    chosen = []
    for document in documents:
        key = (document.domain, document.language)
        taken[key] = taken.get(key, 0) + 1
        if taken[key] <= most:
            chosen.append(document)
    return chosen


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, length: int
) -> Measurement:
    """Measure `model` on the first `length` tokens of each text."""
    ids = [row[:length] for row in tokenizer(list(texts))["input_ids"]]
    experts, layers = model.config.num_experts, model.config.num_hidden_layers
    loss_d, count_dle = np.zeros(len(ids)), np.zeros((len(ids), layers, experts), dtype=np.int64)
    tap = RouterTap(model)
    with torch.inference_mode():
        for batch in _batches(ids, tokenizer.pad_token_id):
            tap.clear()
            logits = model(batch.ids_dt, attention_mask=batch.real_dt, use_cache=False).logits
            loss_d[batch.index_d] = _losses(logits, batch).numpy()
            count_dle[batch.index_d] = np.stack(
                [_counts(ids_tk, batch.real_dt, experts) for ids_tk in tap.ids_tk], axis=1
            )
    tap.close()
    sizes = [len(str(tokenizer.decode(row[1:])).encode()) for row in ids]
    return Measurement(loss_d, np.array([len(row) - 1 for row in ids]), np.array(sizes), count_dle)


def _batches(ids: list[list[int]], pad: int) -> Iterator[_Batch]:
    """Documents of similar length together, so that little padding is computed."""
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    for index_d in _pieces(order):
        rows = [torch.tensor(ids[index]) for index in index_d]
        ids_dt = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)
        real_dt = torch.arange(ids_dt.shape[1])[None] < torch.tensor([len(row) for row in rows])[:, None]
        yield _Batch(index_d, ids_dt, real_dt.long())


def _pieces(order: list[int]) -> Iterator[list[int]]:
    return (order[start : start + _BATCH_DOCUMENTS] for start in range(0, len(order), _BATCH_DOCUMENTS))


def _losses(logits_dtv: Tensor, batch: _Batch) -> Tensor:
    target_dt = batch.ids_dt[:, 1:]
    loss_dt = functional.cross_entropy(logits_dtv[:, :-1].float().transpose(1, 2), target_dt, reduction="none")
    return (loss_dt * batch.real_dt[:, 1:]).sum(dim=1).double()


def _counts(ids_tk: Tensor, real_dt: Tensor, experts: int) -> NDArray[np.int64]:
    """Assignments of each expert in each document of a batch, padding left out; shape [d, e]."""
    documents, length = real_dt.shape
    cell_tk = torch.arange(documents).repeat_interleave(length)[:, None] * experts + ids_tk
    cells = cell_tk[real_dt.flatten().bool()].flatten()
    return torch.bincount(cells, minlength=documents * experts).view(documents, experts).numpy()
