"""Records of routers whose every number is known beforehand: even ones, one that never changes, one that follows words.

All speak of the same kind of corpus: 40 documents of a special token and 150 plain ones, the last 50 of which were
generated in every second document (or three of five). Passages are said in every language; domains are alike often in
each.
"""

from dataclasses import replace

import numpy as np

from gatescope.routing import Document, Flag, RoutingRecord
from tests.analysis.conftest import make_record

EXPERTS, K, LAYERS = 8, 2, 3
SIZES = np.arange(1, EXPERTS + 1)
DOCUMENTS, PLAIN, GENERATED = 40, 150, 50
LENGTH = 1 + PLAIN
SPECIAL = 99
PIECES = (
    *(" the", " Paris", " NATO", "\n\n", " ", "1", ",", "{"),
    *("да", "α", "漢", "か", "한", "م", "न", "א"),
)
"""One piece of every class that a token can have by itself, commonest first."""
CLASS = np.array([7, 8, 9, 2, 3, 4, 5, 6, *range(11, 19)])
"""The numbers of their classes."""
WORDS = len(PIECES)
ZIPF = 1 / np.arange(1, WORDS + 1) / (1 / np.arange(1, WORDS + 1)).sum()
SIGNS = ("1", "2", ",", ".", "{", "}", "漢", "字")
"""Two pieces of each of four classes: what is said in the four domains (or languages) of a planted router."""
SURE = (40.0, 20.0)
"""Raw scores of the two experts of a router that is sure, above 0 for all others: weights 1 and, as half float, 0."""


def documents(domains: int, languages: int) -> tuple[tuple[Document, ...], np.ndarray]:
    """The corpus, and of which documents the end was generated."""
    passages = DOCUMENTS // languages
    found, generated = [], []
    for passage in range(passages):
        for language in range(languages):
            name, tongue = f"d{passage % domains}", f"l{language}"
            found.append(Document("text", id=f"p{passage}-{tongue}", source="here", domain=name, language=tongue))
            generated.append(passage // domains % 2 == 0)
    return tuple(found), np.array(generated)


def record_of(logit_tle: np.ndarray, token_t: np.ndarray, *, domains=2, languages=2, pieces=PIECES, ids_tlk=None):
    """A record with everything that can be recorded, of a softmax router with these raw scores.

    `ids_tlk` are chosen instead of the best scores where scores are all alike.
    """
    generator = np.random.default_rng(1)
    labelled, is_generated_d = documents(domains, languages)
    position_t = np.tile(np.arange(LENGTH), DOCUMENTS)
    late_t = np.repeat(is_generated_d, LENGTH) & (position_t > PLAIN - GENERATED)
    flag_t = np.where(position_t == 0, Flag.SPECIAL, np.where(late_t, Flag.GENERATED, 0))
    order_tle = np.argsort(-logit_tle, axis=2)
    ids_tlk = order_tle[..., :K] if ids_tlk is None else ids_tlk
    share_tle = np.exp(logit_tle - logit_tle.max(axis=2, keepdims=True))
    share_tle /= share_tle.sum(axis=2, keepdims=True)
    sorted_tle = -np.sort(-logit_tle, axis=2)
    arrays = {
        "weight_tlk": np.take_along_axis(share_tle, ids_tlk, axis=2),
        "rejected_tl": order_tle[..., K].astype(np.uint8),
        "logit_tle": logit_tle,
        "margin_tl": sorted_tle[..., K - 1] - sorted_tle[..., K],
        "entropy_tl": -(share_tle * np.log(np.maximum(share_tle, 1e-300))).sum(axis=2),
        "lse_tl": np.logaddexp.reduce(logit_tle, axis=2),
    }
    halves = {
        name: array.astype(array.dtype if name == "rejected_tl" else np.float16) for name, array in arrays.items()
    }
    predicted_t = generator.permuted(token_t[token_t != SPECIAL].reshape(DOCUMENTS, -1), axis=1)
    record = make_record(
        ids_tlk,
        experts=EXPERTS,
        documents=np.repeat(np.arange(DOCUMENTS), LENGTH),
        token_t=token_t.astype(np.int32),
        position_t=position_t.astype(np.int32),
        flag_t=flag_t.astype(np.uint8),
        loss_t=generator.exponential(size=len(token_t)).astype(np.float32),
        predicted_t=np.column_stack([predicted_t[:, :1], predicted_t]).ravel().astype(np.int32),
        pieces=dict(enumerate(pieces)),
        **halves,
    )
    return replace(record, documents=labelled)


def even_record(sigma: float = 1.0, *, layers: int = LAYERS, seed: int = 0) -> RoutingRecord:
    """Raw scores drawn alike for every expert; without any spread, two experts are drawn instead."""
    generator = np.random.default_rng(seed)
    rows = DOCUMENTS * LENGTH
    token_dt = generator.choice(WORDS, size=(DOCUMENTS, LENGTH), p=ZIPF)
    token_dt[:, 0] = SPECIAL
    drawn_tle = generator.normal(size=(rows, layers, EXPERTS))
    ids_tlk = np.argsort(-drawn_tle, axis=2)[..., :K]
    return record_of(sigma * drawn_tle, token_dt.ravel(), ids_tlk=ids_tlk)


def sure_scores(first_tl: np.ndarray, second_tl: np.ndarray) -> np.ndarray:
    """Raw scores of a router that is sure of two experts."""
    logit_tle = np.zeros((*first_tl.shape, EXPERTS))
    for score, expert_tl in zip(SURE, (first_tl, second_tl), strict=True):
        np.put_along_axis(logit_tle, expert_tl[..., None], score, axis=2)
    return logit_tle


def planted_words(domains: int, languages: int) -> np.ndarray:
    """Tokens: a document says the two words of its label, each equally often, the label being that of four kinds."""
    generator = np.random.default_rng(2)
    labelled, _ = documents(domains, languages)
    label_d = np.array([int((d.domain if domains == 4 else d.language)[1]) for d in labelled])
    half_dt = generator.permuted(np.tile(np.arange(PLAIN) % 2, (DOCUMENTS, 1)), axis=1)
    return np.column_stack([np.full(DOCUMENTS, SPECIAL), 2 * label_d[:, None] + half_dt]).ravel()


def one_hot_record(domains: int = 4, languages: int = 2) -> RoutingRecord:
    """Every token of layer n goes to expert n first and n + 4 second, whatever it says."""
    token_t = planted_words(domains, languages)
    first_tl = np.tile(np.arange(LAYERS), (len(token_t), 1))
    return record_of(sure_scores(first_tl, first_tl + 4), token_t, domains=domains, languages=languages, pieces=SIGNS)


STEP = np.array([3, 6, 1, 4, 7, 2, 5, 0])
"""Which expert of the next layer follows each."""


def planted_record(domains: int = 4, languages: int = 2) -> RoutingRecord:
    """Word x goes to expert x first, and to the other word's of its label second; layers differ by `STEP`."""
    token_t = planted_words(domains, languages)
    word_t = np.where(token_t == SPECIAL, np.roll(token_t, -1), token_t)  # a document's first token is of its label too
    expert_tl = [word_t, STEP[word_t], STEP[STEP[word_t]]]
    other_tl = [word_t ^ 1, STEP[word_t ^ 1], STEP[STEP[word_t ^ 1]]]
    scores_tle = sure_scores(np.column_stack(expert_tl), np.column_stack(other_tl))
    return record_of(scores_tle, token_t, domains=domains, languages=languages, pieces=SIGNS)
