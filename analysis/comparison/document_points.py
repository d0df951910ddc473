"""Documents as points that keep their numbers: how each spreads over the experts, from a record.

`analysis.projection.unit_points` reads the same from a tally, whose units no longer say which document they are.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.comparison.projection import MOST_POINTS, Points
from gatescope.analysis.registry import BOTH
from gatescope.analysis.statistics.load import count_by
from gatescope.analysis.tally.tally import TokenRole, label_numbers, token_roles
from gatescope.routing import RoutingRecord
from gatescope.routing.errors import OptionError


def document_points(
    record: RoutingRecord,
    *,
    layer: int | None = None,
    facets: Sequence[TokenRole] = BOTH,
    most: int = 2000,
    seed: int = 0,
) -> Points:
    """Documents by how they spread over the experts, of one layer or of all; `row_n` are their numbers.

    Units       Squared distance is the mean over layers of twice the squared Hellinger distance: 0 where two use all
                experts in the same shares, 2 where they share none.
    Undefined   A document without assignments is left out, with a warning; so are those beyond `most`, by `seed`.
    Not this    Distances free of length: a short document is far from all others by chance alone. See `size_told`.
    Source      Square roots of shares, Hellinger 1909; Legendre and Gallagher 2001 for ordination.
    """
    count_dle = _counts(record, facets)
    if layer is not None:
        if not 0 <= layer < len(record.layers):
            raise OptionError(
                f"layer {layer}", expected=f"0 to {len(record.layers) - 1}", do="choose a layer of the model"
            )
        count_dle = count_dle[:, [layer]]
    slots_d = count_dle.sum(axis=(1, 2))
    row_n, warnings = _chosen(slots_d, most, seed)
    chosen_nle = count_dle[row_n]
    share_nle = chosen_nle / np.maximum(chosen_nle.sum(axis=2, keepdims=True), 1)
    root_nx = np.sqrt(share_nle).reshape(len(row_n), int(np.prod(chosen_nle.shape[1:])))
    labels, names = {}, {}
    for what in ("domain", "language"):
        label_d, names[what] = label_numbers([getattr(document, what) for document in record.documents])
        labels[what] = label_d[row_n]
    return Points(
        product_nn=root_nx @ root_nx.T / count_dle.shape[1],
        row_n=row_n,
        document_n=row_n,
        slots_n=slots_d[row_n],
        labels=labels,
        names=names,
        warnings=warnings,
    )


def _counts(record: RoutingRecord, facets: Sequence[TokenRole]) -> NDArray[np.int64]:
    """Assignments of each document's tokens of some facets."""
    rows_t = np.isin(token_roles(record), [int(facet) for facet in facets])
    return count_by(record.ids_tlk[rows_t], record.document_t[rows_t], len(record.documents), record.experts)


def _chosen(slots_d: NDArray[np.int64], most: int, seed: int) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """Numbers of the documents to lay out, in order, and what is to be said of the others."""
    if not 1 <= most <= MOST_POINTS:
        raise OptionError(f"at most {most} points", expected=f"1 to {MOST_POINTS}", do="lay out a sample")
    row_n = np.flatnonzero(slots_d)
    left_out = len(slots_d) - len(row_n)
    warnings = (f"{left_out:,} documents without assignments are left out.",) if left_out else ()
    if len(row_n) > most:
        warnings = (*warnings, f"A random {most:,} of {len(row_n):,} documents are laid out.")
        row_n = np.sort(np.random.default_rng(seed).choice(row_n, most, replace=False))
    return row_n, warnings
