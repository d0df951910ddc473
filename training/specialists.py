"""The experts that lean most towards one label: chosen on one half of the documents, measured on the other."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SMALLEST_LOAD = 0.25
"""An expert with less than this share of the mean load is not named: its lift is noise."""


class Specialist(NamedTuple):
    """A label and its expert: `share` of its assignments come from the label, `base` of all; `lift` = share / base."""

    label: str
    layer: int
    expert: int
    lift: float
    share: float
    base: float


def specialists(count_dle: NDArray[np.int64], labels: Sequence[str]) -> list[Specialist]:
    """Return for each label its expert of largest lift.

    Shapes      count_dle (documents, layers, experts) assignments; one label a document. Documents of a label go
                to the two halves in turn; labels with fewer than two documents are left out.
    Units       Lift 1: the expert sees the label as often as any other does. Shares from 0 to 1.
    Not this    A test: the largest of many is named. Its lift is measured on documents it was not named by.
    """
    label_d = np.array(labels)
    half_d = np.zeros(len(labels), dtype=int)
    for label in set(labels):
        half_d[label_d == label] = np.arange((label_d == label).sum()) % 2
    found = []
    for label in sorted(label for label in set(labels) if (label_d == label).sum() > 1):
        chosen_le = _lift(count_dle[half_d == 0], label_d[half_d == 0] == label)
        layer, expert = np.unravel_index(np.nanargmax(chosen_le), chosen_le.shape)
        rest_dl = count_dle[half_d == 1][:, layer]
        is_label_d = label_d[half_d == 1] == label
        share = rest_dl[is_label_d, expert].sum() / max(1, rest_dl[:, expert].sum())
        base = rest_dl[is_label_d].sum() / rest_dl.sum()
        found.append(Specialist(label, int(layer), int(expert), float(share / base), float(share), float(base)))
    return found


def _lift(count_dle: NDArray[np.int64], is_label_d: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Lift of every expert for one label, shape [l, e]; NaN where the expert is hardly used."""
    total_le = count_dle.sum(axis=0)
    label_le = count_dle[is_label_d].sum(axis=0)
    base_l = label_le.sum(axis=1, keepdims=True) / total_le.sum(axis=1, keepdims=True)
    is_used_le = total_le >= _SMALLEST_LOAD * total_le.mean(axis=1, keepdims=True)
    lift_le = np.full(total_le.shape, np.nan)
    np.divide(label_le, total_le * base_l, out=lift_le, where=is_used_le & (base_l > 0))
    return lift_le
