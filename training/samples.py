"""What a model writes: continuations of held-out documents, one for each language and one for each domain."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from gatescope.hooks import LoadedModel
from gatescope.routing.record import Document

_BEGIN_TOKENS = 24
_NEW_TOKENS = 40


class Sample(NamedTuple):
    """A label, the beginning of a held-out document that carries it, and what the model wrote after it."""

    label: str
    begin: str
    written: str


def samples(model: LoadedModel, documents: Sequence[Document]) -> list[Sample]:
    """The first document of each language and of each domain, continued at temperature 0.7 within the best 90%."""
    firsts: dict[str, Document] = {}
    for document in documents:
        firsts.setdefault(document.language, document)
    for document in documents:
        firsts.setdefault(document.domain, document)
    return [Sample(label, *_continued(model, document.text)) for label, document in firsts.items()]


def _continued(model: LoadedModel, text: str) -> tuple[str, str]:
    ids = model.tokenizer(text)["input_ids"][:_BEGIN_TOKENS]
    torch.manual_seed(0)
    with torch.inference_mode():
        made = model.model.generate(
            torch.tensor([ids]), max_new_tokens=_NEW_TOKENS, do_sample=True, temperature=0.7, top_p=0.9
        )
    return (
        model.tokenizer.decode(ids, skip_special_tokens=True),
        model.tokenizer.decode(made[0, len(ids) :], skip_special_tokens=True),
    )
