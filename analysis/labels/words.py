"""How many bits an expert's choice tells about the token's own id, and the tokens put in order of their ids."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.information import ExcessInformation, against_null
from gatescope.analysis.statistics.jit import jit
from gatescope.routing import empty_slot
from gatescope.routing.errors import OptionError

_TABLE = 1 << 16


class ById(NamedTuple):
    """Tokens sorted by id, within an id by document.

    ids_lpk     (layers, places, slots) experts as recorded, the highest value of the type for an empty slot
    row_p       which token of the input stands at each place
    document_p  its document, numbered anew in the order of `met_d`
    start_x     where each id's run begins, and the end: (ids + 1,)
    met_d       the documents that have a token, as the input numbers them
    experts     one more than the highest expert that occurs
    """

    ids_lpk: NDArray[np.unsignedinteger]
    row_p: NDArray[np.int64]
    document_p: NDArray[np.int64]
    start_x: NDArray[np.int64]
    met_d: NDArray[np.integer]
    experts: int


def token_information(
    ids_tlk: NDArray[np.unsignedinteger],
    token_t: NDArray[np.integer],
    document_t: NDArray[np.integer],
    *,
    permutations: int = 1000,
    seed: int = 0,
) -> tuple[ExcessInformation, ...]:
    """Bits that experts tell about the id of the token they work on, against routes shuffled within each document.

    A shuffle gives every token the whole route (all layers, all slots) of a random token of its own document. Each
    document keeps its words and its experts, so what a topic or a language shares between the two stays in the null:
    the excess is what the word tells beyond what its document tells. Labels shuffled among documents would leave word
    and route together, and are no null for this.

    Shapes      ids_tlk (tokens, layers, slots) as in a record; token_t and document_t (tokens,). One result per layer.
    Units       Bits. 0: the word says nothing of the expert; the entropy of the ids: the expert gives the word away.
                `label_entropy_bits` is that of the id, `documents` those with an assignment at the layer.
    Undefined   NaN where a layer has no assignments; z is NaN where every shuffle gives the same value, as where
                every document repeats one word.
    Not this    The plug-in value `observed_bits`: with text of finite length most ids are rare, and an id seen once
                seems to determine its experts. Chance gives the null mean; where words do decide, it is more than the
                bias of the observed value, so that the excess errs low. Nor is it free of position: routes and
                repeated words that cluster within a document are torn apart by a shuffle, and count as information.
    Source      Shannon 1948; shuffles within a document as the null of what is inside a document; p as in
                `excess_information`.

    Two words that go to an expert each: 1 bit. Of the 6 ways to shuffle two routes to four tokens, 2 separate as well.

    >>> ids_tlk = np.array([[[0]], [[0]], [[1]], [[1]]], np.uint8)
    >>> layer = token_information(ids_tlk, np.array([7, 7, 5, 5]), np.zeros(4, int), permutations=999)[0]
    >>> layer.observed_bits, layer.label_entropy_bits, layer.documents, layer.assignments
    (1.0, 1.0, 1, 4)
    >>> abs(layer.null_mean_bits - 1 / 3) < 0.05, abs(layer.p_value - 1 / 3) < 0.05
    (True, True)
    """
    check_flat(ids_tlk, token_t, document_t, permutations)
    table = by_id(ids_tlk, token_t, document_t)
    ids_ltk, n_log_n = np.ascontiguousarray(ids_tlk.swapaxes(0, 1)), n_log_n_table(ids_tlk)
    rows_bp = _rows(document_t, table.row_p, permutations, np.random.default_rng(seed))
    sums_blc = np.zeros((permutations + 1, len(ids_ltk), 2))
    for row_p, sums_lc in zip(rows_bp, sums_blc, strict=True):
        _joint(ids_ltk, row_p, table.start_x, table.experts, n_log_n, sums_lc)
    return tuple(_layer(table, layer, sums_blc[:, layer]) for layer in range(len(ids_ltk)))


def by_id(ids_tlk: NDArray[np.unsignedinteger], token_t: NDArray[np.integer], document_t: NDArray[np.integer]) -> ById:
    """The tokens in order of their ids, so that one pass meets all tokens of an id together.

    >>> ids_tlk = np.array([[[0]], [[2]], [[1]]], np.uint8)
    >>> table = by_id(ids_tlk, np.array([9, 4, 9]), np.array([3, 3, 5]))
    >>> table.row_p.tolist(), table.start_x.tolist(), table.document_p.tolist(), table.met_d.tolist(), table.experts
    ([1, 0, 2], [0, 1, 3], [0, 0, 1], [3, 5], 3)
    """
    row_p = np.lexsort((document_t, token_t))
    sorted_p = np.asarray(token_t)[row_p]
    starts = np.flatnonzero(np.diff(sorted_p, prepend=sorted_p[:1] - 1))
    met_d, document_p = np.unique(np.asarray(document_t)[row_p], return_inverse=True)
    taken = ids_tlk[ids_tlk != empty_slot(ids_tlk.dtype)]
    return ById(
        ids_lpk=np.ascontiguousarray(ids_tlk[row_p].swapaxes(0, 1)),
        row_p=row_p,
        document_p=document_p,
        start_x=np.append(starts, len(row_p)),
        met_d=met_d,
        experts=int(taken.max(initial=0)) + 1,
    )


def n_log_n_table(ids_tlk: NDArray[np.unsignedinteger]) -> NDArray[np.float64]:
    """n log2 n of every count that a layer can reach, up to a size that stays in the processor's cache."""
    counts = np.arange(min(ids_tlk.shape[0] * ids_tlk.shape[2] + 2, _TABLE), dtype=np.float64)
    return counts * np.log2(np.maximum(counts, 1.0))


@jit
def n_log_n_of(count: int, n_log_n: NDArray[np.float64]) -> float:  # pragma: no cover
    """One value of n log2 n, from the table where it reaches."""
    found: float = n_log_n[count] if count < len(n_log_n) else count * np.log2(count)
    return found


def check_flat(
    ids_tlk: NDArray[np.unsignedinteger],
    token_t: NDArray[np.integer],
    document_t: NDArray[np.integer],
    permutations: int,
) -> None:
    """Whether flat arrays describe the same tokens, or an OptionError that says which does not."""
    if ids_tlk.ndim != 3 or not np.issubdtype(ids_tlk.dtype, np.unsignedinteger):
        raise bad(f"ids of shape {ids_tlk.shape} and type {ids_tlk.dtype}", "unsigned (tokens, layers, slots)")
    if np.shape(token_t) != ids_tlk.shape[:1] or np.shape(document_t) != ids_tlk.shape[:1]:
        found = f"{np.shape(token_t)} token ids and {np.shape(document_t)} documents for {len(ids_tlk)} tokens"
        raise bad(found, "one token id and one document per token")
    if permutations < 1:
        raise bad(f"{permutations} permutations", "at least 1")


def bad(found: str, expected: str) -> OptionError:
    """The error of arrays that do not fit together."""
    return OptionError(found, expected=expected, do="pass the arrays of one record, and a label for each document")


def _rows(
    document_t: NDArray[np.integer], row_p: NDArray[np.integer], shuffles: int, generator: np.random.Generator
) -> Iterator[NDArray[np.integer]]:
    """Whose route stands at each place: every token's own first, then shuffled within documents."""
    yield row_p
    _, number_t = np.unique(document_t, return_inverse=True)
    place_t, shuffled_t = np.argsort(number_t, kind="stable"), np.empty_like(row_p)
    for _ in range(shuffles):
        shuffled_t[place_t] = np.argsort(number_t + generator.random(len(number_t)))
        yield shuffled_t[row_p]


def _layer(table: ById, layer: int, sums_bc: NDArray[np.float64]) -> ExcessInformation:
    """One layer's result from its sums of n log2 n: id and expert, id alone; the own routes first."""
    filled_p = table.ids_lpk[layer] < table.experts
    expert_e = np.bincount(table.ids_lpk[layer][filled_p], minlength=1).astype(np.float64)
    total = expert_e.sum()
    alone = (expert_e * np.log2(np.maximum(expert_e, 1.0))).sum()
    whole = total * np.log2(total) if total else np.nan
    bits_b = np.maximum((sums_bc[:, 0] - sums_bc[:, 1] + whole - alone) / max(total, 1.0), 0.0)
    return against_null(
        float(bits_b[0]),
        bits_b[1:],
        label_entropy_bits=float((whole - sums_bc[0, 1]) / max(total, 1.0)),
        documents=len(np.unique(table.document_p[filled_p.any(axis=1)])),
        assignments=int(total),
    )


@jit
def _joint(
    ids_ltk: NDArray[np.unsignedinteger],
    row_p: NDArray[np.integer],
    start_x: NDArray[np.integer],
    experts: int,
    n_log_n: NDArray[np.float64],
    sums_lc: NDArray[np.float64],
) -> None:  # pragma: no cover
    """Sums of n log2 n over (id, expert) and over ids, per layer; counts return to 0 after each id."""
    layers, _, slots = ids_ltk.shape
    count_e = np.zeros(experts, np.int64)
    for layer in range(layers):
        for run in range(len(start_x) - 1):
            filled = 0
            for place in range(start_x[run], start_x[run + 1]):
                for slot in range(slots):
                    expert = ids_ltk[layer, row_p[place], slot]
                    if expert < experts:
                        count_e[expert] += 1
                        filled += 1
            sums_lc[layer, 1] += n_log_n_of(filled, n_log_n)
            for place in range(start_x[run], start_x[run + 1]):
                for slot in range(slots):
                    expert = ids_ltk[layer, row_p[place], slot]
                    if expert < experts:
                        sums_lc[layer, 0] += n_log_n_of(count_e[expert], n_log_n)
                        count_e[expert] = 0
