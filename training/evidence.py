"""What a capture of labelled documents shows of a model: loss by label, load, and what its experts tell of the labels.

Every function takes a record whose documents carry a domain and a language; all figures are plain numbers, for JSON.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.labels.composition import composition
from gatescope.analysis.labels.words import token_information
from gatescope.analysis.statistics.information import ExcessInformation, excess_information
from gatescope.analysis.statistics.load import counts_by_document, expert_counts
from gatescope.routing.record import Document, RoutingRecord
from gatescope.training.balance import load_figures
from gatescope.training.specialists import specialists

_SMALLEST_GROUP = 5
"""A label with fewer documents gets no loss of its own."""
WORD_PERMUTATIONS = 2
"""By how much permutations are fewer where every one of them counts every token again."""

Figures = dict[str, Any]


Label = Callable[[Document], str]


class Question(NamedTuple):
    """What may be asked of experts: the label they may tell, what is known beforehand, and of which documents."""

    label: Label
    given: Label | None = None
    only: Callable[[Document], bool] | None = None


def domain(document: Document) -> str:
    """The domain of a document."""
    return document.domain


def language(document: Document) -> str:
    """The language of a document."""
    return document.language


def passage(document: Document) -> str:
    """The passage of the probe set that a document says in one of its languages."""
    return document.id.removesuffix(f"-{document.language}")


def is_passage(document: Document) -> bool:
    """Whether a document of the probe set is a passage: its id ends in its language."""
    return document.id.endswith(f"-{document.language}")


QUESTIONS: dict[str, Question] = {
    "domain": Question(domain),
    "language": Question(language),
    "domain given language": Question(domain, given=language),
    "language given domain": Question(language, given=domain),
    "domain in English": Question(domain, only=lambda document: document.language == "en"),
}
"""What is asked of documents that differ in both. Given: labels are shuffled only among documents that share the other
label, so that a domain cannot profit from its language, nor a language from its domain."""

PROBE_QUESTIONS: dict[str, Question] = {
    "domain, among English texts": Question(domain, only=lambda document: not is_passage(document)),
    "language, given the passage": Question(language, given=passage, only=is_passage),
}
"""What is asked of the probe set: texts of one language and of every domain, and passages said in every language."""


def evidence(record: RoutingRecord, questions: dict[str, Question], *, permutations: int) -> Figures:
    """The figures that need no more than which document a token is in."""
    return {
        "loss": losses(record),
        "information": information(record, questions, permutations=permutations),
        "load": load(record),
        "specialists": differences(record),
    }


def losses(record: RoutingRecord) -> Figures:
    """Mean loss over all documents, per domain, per language and per pair of them, in nats a token."""
    domains, languages = labels(record, "domain"), labels(record, "language")
    pairs = [f"{domain} / {language}" for domain, language in zip(domains, languages, strict=True)]
    nats_d, predicted_d = _loss_sums(record)
    size = sum(len(document.text.encode()) for document in record.documents)
    return {
        "nats": float(nats_d.sum() / predicted_d.sum()),
        "bits_per_byte": float(nats_d.sum() / np.log(2) / size),
        "tokens": int(predicted_d.sum()),
        "domain": _by_label(nats_d, predicted_d, domains),
        "language": _by_label(nats_d, predicted_d, languages),
        "pair": _by_label(nats_d, predicted_d, pairs),
    }


def labels(record: RoutingRecord, field: str) -> list[str]:
    """The label of each document: its `domain` or its `language`."""
    return [getattr(document, field) for document in record.documents]


def _loss_sums(record: RoutingRecord) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Per document, the sum of the losses in nats and the number of predicted tokens."""
    if record.loss_t is None:
        raise ValueError("a record without losses")
    known_t, size = np.isfinite(record.loss_t), len(record.documents)
    nats_d = np.bincount(record.document_t[known_t], weights=record.loss_t[known_t], minlength=size)
    return nats_d.astype(np.float64), np.bincount(record.document_t[known_t], minlength=size).astype(np.int64)


def _by_label(nats_d: NDArray[np.float64], predicted_d: NDArray[np.int64], names: Sequence[str]) -> Figures:
    name_d = np.array(names)
    return {
        name: {
            "documents": int((name_d == name).sum()),
            "tokens": int(predicted_d[name_d == name].sum()),
            "nats": float(nats_d[name_d == name].sum() / predicted_d[name_d == name].sum()),
        }
        for name in sorted(set(names))
        if (name_d == name).sum() >= _SMALLEST_GROUP
    }


def _codes(names: Sequence[str]) -> NDArray[np.int64]:
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


def information(record: RoutingRecord, questions: dict[str, Question], *, permutations: int) -> Figures:
    """Bits that experts tell about each question's label, per layer, against labels shuffled among other documents."""
    count_dle = counts_by_document(record).filled(0)
    return {
        name: [layer._asdict() for layer in _answer(record.documents, count_dle, question, permutations)]
        for name, question in questions.items()
    }


def _answer(
    documents: Sequence[Document], count_dle: NDArray[np.int64], question: Question, permutations: int
) -> tuple[ExcessInformation, ...]:
    asked_d = np.array([question.only is None or question.only(document) for document in documents])
    asked = [document for document, is_asked in zip(documents, asked_d, strict=True) if is_asked]
    strata_d = _codes(list(map(question.given, asked))) if question.given else None
    label_d = _codes(list(map(question.label, asked)))
    return excess_information(count_dle[asked_d], label_d, permutations=permutations, seed=0, strata_d=strata_d)


def words(record: RoutingRecord, *, permutations: int) -> Figures:
    """What experts tell of the token itself, and how much of what they tell of a label the tokens alone explain.

    Every permutation counts every token again, so `WORD_PERMUTATIONS` times fewer of them are taken.
    """
    permutations = max(1, permutations // WORD_PERMUTATIONS)
    ask = partial(composition, record.ids_tlk, record.token_t, record.document_t, permutations=permutations, seed=0)
    return {
        "token": [
            layer._asdict()
            for layer in token_information(
                record.ids_tlk, record.token_t, record.document_t, permutations=permutations, seed=0
            )
        ],
        **{field: [_flat(layer) for layer in ask(_codes(labels(record, field)))] for field in ("domain", "language")},
    }


def _flat(layer: Any) -> Figures:
    """A named tuple, and the named tuples in it, as dictionaries."""
    return {key: _flat(value) if hasattr(value, "_asdict") else value for key, value in layer._asdict().items()}


def load(record: RoutingRecord) -> dict[str, list[float]]:
    """How evenly each layer used its experts over all documents."""
    return load_figures(expert_counts(record))._asdict()


def differences(record: RoutingRecord) -> dict[str, list[Figures]]:
    """For each domain and each language the expert that leans most towards it."""
    count_dle = counts_by_document(record).filled(0)
    return {
        field: [found._asdict() for found in specialists(count_dle, labels(record, field))]
        for field in ("domain", "language")
    }
