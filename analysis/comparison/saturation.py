"""How far two captures of the same tokens chose the same experts: over training, between number formats or engines."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.jit import jit
from gatescope.analysis.statistics.load import expert_counts
from gatescope.analysis.tally.prefixes import without_repeats
from gatescope.routing import RoutingRecord
from gatescope.routing.errors import OptionError

_CHUNK_CELLS = 4_000_000


class Agreement(NamedTuple):
    """One layer's agreement of two captures.

    share         mean share of a token's experts that both captures chose
    low, high     95 % interval of the share over documents drawn anew; NaN for fewer than two documents
    same_set      share of tokens whose experts are all the same; 1 minus it is the rate of mismatched routes
    uniform       k/E, the share that two perfectly even routers have by chance
    load_matched  the share that chance gives with the loads that the two captures have
    documents     documents with a compared token
    tokens        tokens compared: those with an expert in either capture
    """

    share: float
    low: float
    high: float
    same_set: float
    uniform: float
    load_matched: float
    documents: int
    tokens: int


def saturation(
    captures: Sequence[RoutingRecord], *, resamples: int = 1000, seed: int = 0
) -> tuple[tuple[Agreement, ...], ...]:
    """How much of the final routing each checkpoint of a training run already has: every capture against the last.

    Shapes      Captures of the same tokens, in order, to (captures, layers). The last row is the last capture against
                itself, 1 everywhere: a curve that does not reach it was not taken to the end.
    Units       See `top_k_agreement`.
    Undefined   See `top_k_agreement`.
    Not this    The share of training that is done. Nor free of noise: one checkpoint in two number formats or engines
                is below 1 too, and that is the ceiling a checkpoint can be asked to reach.
    Source      OLMoE (arXiv 2409.02060), equation 5: router saturation.

    >>> from gatescope.routing import *
    >>> rule = RouterRule(layer=0, block=0, module="mlp", experts=4, k=2, score="softmax")
    >>> def record(*routes):
    ...     return RoutingRecord(ids_tlk=np.array(routes, np.uint8)[:, None], weight_tlk=None,
    ...         token_t=np.array([5, 6], np.int32), document_t=np.zeros(2, np.int32),
    ...         position_t=np.arange(2, dtype=np.int32), flag_t=np.zeros(2, np.uint8), documents=(Document("a"),),
    ...         layers=(rule,), provenance=Provenance(model="m", fingerprint="f", dtype="float32", device="cpu"))
    >>> early, late, last = record([0, 1], [0, 1]), record([3, 1], [2, 0]), record([1, 3], [2, 3])
    >>> [layers[0].share for layers in saturation([early, late, last])]
    [0.25, 0.75, 1.0]
    """
    if not captures:
        raise OptionError("no capture", expected="captures in order of training", do="pass at least one record")
    return tuple(agreement(capture, captures[-1], resamples=resamples, seed=seed) for capture in captures)


def agreement(
    first: RoutingRecord,
    second: RoutingRecord,
    *,
    chosen_d: NDArray[np.bool_] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[Agreement, ...]:
    """Mean share of a token's experts that two captures of the same tokens have in common, layer by layer.

    Shapes      Two records of the same tokens and layers; `chosen_d` one boolean per document, all of them if absent.
                One result per layer.
    Units       1, from 0 to 1; `uniform` and `load_matched` are what chance gives. Order and weights do not matter.
    Undefined   NaN in a layer where no token has an expert; the interval for fewer than two documents.
    Not this    A token counts by the larger of its two sets: k where no slot is empty, as in the source; where slots
                are, a capture still agrees with itself. A token without experts in both captures is left out, and so is
                one whose whole past an earlier of the documents chosen had too (`analysis.prefixes`).
                `uniform` is no null for a router limited to groups of experts, which agrees more often by chance.
    Source      OLMoE (arXiv 2409.02060), equation 5; percentile bootstrap of documents.

    A token with one expert of two in common, one with both.

    >>> from gatescope.routing import *
    >>> rule = RouterRule(layer=0, block=0, module="mlp", experts=8, k=2, score="softmax")
    >>> def record(*routes):
    ...     return RoutingRecord(ids_tlk=np.array(routes, np.uint8)[:, None], weight_tlk=None,
    ...         token_t=np.array([5, 6], np.int32), document_t=np.zeros(2, np.int32),
    ...         position_t=np.arange(2, dtype=np.int32), flag_t=np.zeros(2, np.uint8), documents=(Document("a"),),
    ...         layers=(rule,), provenance=Provenance(model="m", fingerprint="f", dtype="float32", device="cpu"))
    >>> layer = agreement(record([0, 1], [2, 3]), record([7, 1], [3, 2]))[0]
    >>> layer.share, layer.same_set, layer.uniform, layer.load_matched, layer.documents, layer.tokens
    (0.75, 0.5, 0.25, 0.375, 1, 2)
    """
    _check_alike(first, second)
    chosen_d = _chosen(first, chosen_d)
    if resamples < 1:
        raise OptionError(f"{resamples} resamples", expected="at least 1", do="ask for more, 1000 for a figure")
    if not chosen_d.all():
        rows_t = chosen_d[first.document_t]
        first, second = first.take(rows_t), second.take(rows_t)
    first, second = without_repeats(first, second)
    sums_dlc = np.zeros((len(first.documents), len(first.layers), 3))
    _compare(first.ids_tlk, second.ids_tlk, first.document_t, first.experts, sums_dlc)
    sums_dlc = sums_dlc[chosen_d]
    load_l = _load_matched(first, second, sums_dlc[:, :, 2].sum(axis=0))
    generators = [np.random.default_rng([seed, layer]) for layer in range(len(first.layers))]
    return tuple(
        _layer(sums_dlc[:, layer], rule.k / rule.experts, float(load_l[layer]), resamples, generators[layer])
        for layer, rule in enumerate(first.layers)
    )


def agreement_by_label(
    first: RoutingRecord,
    second: RoutingRecord,
    labels_d: NDArray[np.integer],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[int, tuple[Agreement, ...]]:
    """`top_k_agreement` of each label's documents on their own.

    Shapes      labels_d (documents,), negative for a document without a label. A result per label that occurs, each a
                result per layer.
    Units       See `top_k_agreement`.
    Not this    Terms of the whole: labels weigh in it by their tokens.
    Source      OLMoE (arXiv 2409.02060), equation 5.
    """
    labels_d = np.asarray(labels_d)
    return {
        int(label): agreement(first, second, chosen_d=labels_d == label, resamples=resamples, seed=seed)
        for label in np.unique(labels_d[labels_d >= 0])
    }


@jit
def _compare(
    first_tlk: NDArray[np.unsignedinteger],
    second_tlk: NDArray[np.unsignedinteger],
    document_t: NDArray[np.integer],
    experts: int,
    sums_dlc: NDArray[np.float64],
) -> None:  # pragma: no cover
    """Per document and layer: shares in common, equal sets, and tokens compared."""
    tokens, layers, slots = first_tlk.shape
    for token in range(tokens):
        for layer in range(layers):
            one, two, common = 0, 0, 0
            for slot in range(slots):
                expert = first_tlk[token, layer, slot]
                one += expert < experts
                two += second_tlk[token, layer, slot] < experts
                for other in range(slots if expert < experts else 0):
                    common += second_tlk[token, layer, other] == expert
            if max(one, two):
                sums_c = sums_dlc[document_t[token], layer]
                sums_c[0] += common / max(one, two)
                sums_c[1] += common == max(one, two)
                sums_c[2] += 1


def _layer(
    sums_dc: NDArray[np.float64], uniform: float, load: float, resamples: int, generator: np.random.Generator
) -> Agreement:
    """One layer's result from its documents' sums."""
    sums_dc = sums_dc[sums_dc[:, 2] > 0]
    common, same, tokens = sums_dc.sum(axis=0)
    nan = float("nan")
    low, high = _interval(sums_dc, resamples, generator) if len(sums_dc) > 1 else (nan, nan)
    return Agreement(
        share=float(common / tokens) if tokens else nan,
        low=low,
        high=high,
        same_set=float(same / tokens) if tokens else nan,
        uniform=uniform,
        load_matched=load,
        documents=len(sums_dc),
        tokens=int(tokens),
    )


def _interval(sums_dc: NDArray[np.float64], resamples: int, generator: np.random.Generator) -> tuple[float, float]:
    """Percentiles of the share over documents drawn with replacement, a bounded number of draws at a time."""
    documents = len(sums_dc)
    step, share_b = max(1, _CHUNK_CELLS // documents), np.empty(resamples)
    for start in range(0, resamples, step):
        drawn = min(step, resamples - start)
        times_bd = generator.multinomial(documents, np.full(documents, 1 / documents), size=drawn)
        common_b, _, tokens_b = (times_bd @ sums_dc).T
        share_b[start : start + drawn] = common_b / tokens_b
    low, high = np.percentile(share_b, [2.5, 97.5])
    return float(low), float(high)


def _load_matched(first: RoutingRecord, second: RoutingRecord, tokens_l: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected overlap over k of two independent routes with the two captures' shares of tokens."""
    one_le = np.ma.filled(expert_counts(first), 0)
    two_le = np.ma.filled(expert_counts(second), 0)
    k_l = np.array([rule.k for rule in first.layers])
    out_l = np.full(len(k_l), np.nan)
    np.divide((one_le * two_le).sum(axis=1), k_l * tokens_l**2, out=out_l, where=tokens_l > 0)
    return out_l


def _check_alike(first: RoutingRecord, second: RoutingRecord) -> None:
    """Whether two captures are of the same tokens through layers of the same shape."""
    if first.tokens != second.tokens:
        raise _unlike(f"{first.tokens} and {second.tokens} tokens")
    if len(first.documents) != len(second.documents):
        raise _unlike(f"{len(first.documents)} and {len(second.documents)} documents")
    for name in ("token_t", "document_t"):
        one_t, two_t = getattr(first, name), getattr(second, name)
        if (one_t != two_t).any():
            place = int(np.argmax(one_t != two_t))
            raise _unlike(f"{name} {one_t[place]} and {two_t[place]} at token {place}")
    if len(first.layers) != len(second.layers):
        raise _unlike(f"{len(first.layers)} and {len(second.layers)} layers")
    for one, two in zip(first.layers, second.layers, strict=True):
        if (one.experts, one.k) != (two.experts, two.k):
            found = f"{one.k} of {one.experts} and {two.k} of {two.experts} experts in layer {one.layer}"
            raise _unlike(found)


def _unlike(found: str) -> OptionError:
    return OptionError(
        found,
        expected="the same tokens, documents and layers in both captures",
        do="capture the same texts with the same tokenizer, through checkpoints of one architecture",
    )


def _chosen(record: RoutingRecord, chosen_d: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """One boolean per document."""
    if chosen_d is None:
        return np.ones(len(record.documents), dtype=bool)
    chosen_d = np.asarray(chosen_d)
    if chosen_d.shape != (len(record.documents),) or chosen_d.dtype != bool:
        found = f"{chosen_d.dtype} choice of shape {chosen_d.shape} for {len(record.documents)} documents"
        raise OptionError(found, expected="one boolean per document", do="pass a choice over `record.documents`")
    return chosen_d
