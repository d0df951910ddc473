"""Documents by their domain or language, and the tables of what the words alone explain of their routing."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.analysis.labels.common_support import common_support
from gatescope.analysis.labels.composition import composition
from gatescope.analysis.labels.profiles import OTHER
from gatescope.analysis.tally.tally import label_numbers
from gatescope.app.charts.page import Page
from gatescope.app.views.domains.groups_figure import PLURALS, composition_frame
from gatescope.routing.errors import OptionError
from gatescope.routing.record import RoutingRecord
from gatescope.server.measures import LIVE_RESAMPLES, Reading, note, table
from gatescope.server.memo_cache import MemoCache
from gatescope.server.sources import WHOLE, role_mask, select_routes

LIVE_CHOICES = 4_000_000
"""Choices of experts up to which the words' part is computed without asking: some seconds."""

Make = Callable[[RoutingRecord, str, list[str]], pd.DataFrame]

_tables = MemoCache()
"""Tables made here, by source, what they are, label and scope."""


@dataclass(frozen=True, kw_only=True)
class Groups:
    """What is compared: a page's documents by their domain or language, and one layer that is looked at.

    is_asked    whether the reader wants the words' part though it takes long
    """

    page: Page
    by: str
    layer: int
    is_asked: bool = False

    @property
    def names(self) -> list[str]:
        """Names of the layers."""
        return self.page.layers


def split_table(groups: Groups) -> pd.DataFrame | None:
    """What the words alone explain, by layer; None where it would take long and nobody asked for it yet.

    Errors: OptionError as `analysis.composition`.
    """
    return _made(groups, "composition", _composed)


def support_table(groups: Groups) -> pd.DataFrame | None:
    """What is told under one mix of words; None as `split_table`."""
    return _made(groups, "common_support", _supported)


def _made(groups: Groups, name: str, make: Make) -> pd.DataFrame | None:
    page = groups.page
    if page.scope == WHOLE and (before := table(page.source, f"{name}.{groups.by}")) is not None:
        return before
    record = select_routes(page.source, page.scope)
    if record.ids_tlk.size > LIVE_CHOICES and not groups.is_asked:
        return None
    note(_call_of(page, name, groups.by))
    key = (*page.source.key, name, groups.by, page.scope)
    return _tables.get(key, lambda: make(record.take(role_mask(record, page.scope.facet)), groups.by, groups.names))


def _call_of(page: Page, name: str, by: str) -> Reading:
    """How a table that is made here can be had without the page."""
    code = (
        "own = record.take(is_counted_t)\n"
        "label_d, strata_d = (\n"
        f'    label_numbers([getattr(each, by) for each in own.documents])[0] for by in ("{by}", "{OTHER[by]}")\n'
        ")\n"
        f"{name}_by_{by} = {name}(\n"
        "    own.ids_tlk, own.token_t, own.document_t, label_d, strata_d=strata_d, "
        f"permutations={LIVE_RESAMPLES}\n)"
    )
    imports = (
        f"from gatescope.analysis.labels.{name} import {name}",
        "from gatescope.analysis.tally.tally import label_numbers",
    )
    return Reading(source=page.source, scope=page.scope, code=code, imports=imports)


def _labels(own: RoutingRecord, by: str) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Number of each document's label, and of the other label, which labels are shuffled within."""
    labels_d, names = label_numbers([getattr(document, by) for document in own.documents])
    if len(names) < 2:
        raise OptionError(f"{len(names)} {PLURALS[by]}", expected="two", do="choose more documents")
    strata_d, _ = label_numbers([getattr(document, OTHER[by]) for document in own.documents])
    return labels_d, strata_d


def _composed(own: RoutingRecord, by: str, names: list[str]) -> pd.DataFrame:
    labels_d, strata_d = _labels(own, by)
    arrays = own.ids_tlk, own.token_t, own.document_t, labels_d
    found = composition(*arrays, strata_d=strata_d, permutations=LIVE_RESAMPLES)
    return composition_frame(found, names)


def _supported(own: RoutingRecord, by: str, names: list[str]) -> pd.DataFrame:
    labels_d, strata_d = _labels(own, by)
    arrays = own.ids_tlk, own.token_t, own.document_t, labels_d
    found = common_support(*arrays, strata_d=strata_d, permutations=LIVE_RESAMPLES)
    rows = []
    for number, layer in enumerate(found):
        parts = {key: value for key, value in layer._asdict().items() if not hasattr(value, "_asdict")}
        for part in ("raw", "standardised"):
            parts |= {f"{part}_{key}": value for key, value in getattr(layer, part)._asdict().items()}
        rows.append(
            {"layer": number, "layer_name": names[number], "group": "", "other_group": "", "q": np.nan, **parts}
        )
    return pd.DataFrame(rows)
