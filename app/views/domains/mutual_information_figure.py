"""What experts tell of a document's domain or language, over shuffled labels, and beyond the words themselves."""

import numpy as np
import pandas as pd

from gatescope.analysis.labels.profiles import OTHER
from gatescope.app.charts.figure import Chart, Figure
from gatescope.app.charts.page import measure_reference, population
from gatescope.app.views.domains.groups_figure import (
    deviation,
    information_frame,
    information_plot,
    information_takeaway,
    is_significant,
    is_split_sure,
    split_frame,
    split_notes,
    split_plot,
    split_population,
    split_takeaway,
)
from gatescope.app.views.domains.word_tables import Groups, split_table
from gatescope.routing.errors import OptionError


def told(groups: Groups) -> Figure:
    """What experts tell of the group, over shuffled labels."""
    page, by = groups.page, groups.by
    found = page.measure("mutual_information", by=by)
    if not np.isfinite(found.value).any():
        raise OptionError("no layer has assignments", expected="tokens that count", do="choose other tokens")
    other = measure_reference(page, "mutual_information", by=by)
    beside = None if other is None else other[1]
    spread_l = deviation(_known_split(groups))
    null = f"dotted: labels shuffled among documents of one {OTHER[by]}, mean"
    return Figure(
        key="told",
        takeaway=information_takeaway(found, groups.names, by),
        population=population(page),
        unit="bits of one choice",
        null=null if spread_l is None else f"{null} and 95 of 100 shuffles",
        badge="beyond null" if is_significant(found) else "observed",
        metric="mutual_information",
        body=(Chart(information_plot(found, groups.names, spread_l, beside)),),
        frame=lambda: information_frame(found, groups.names, spread_l, beside),
        notes=found.warnings,
    )


def _known_split(groups: Groups) -> pd.DataFrame | None:
    try:
        return split_table(groups)
    except OptionError:
        return None


def split(groups: Groups, table: pd.DataFrame) -> Figure:
    """The same bits as two parts: by the words alone, and beyond them; `table` is `split_table`'s."""
    page, by = groups.page, groups.by
    is_part = page.source.is_cut and page.scope.is_whole and page.source.counts is not None
    shown = split_frame(table, page.if_known("mutual_information", by=by), is_part=is_part)
    return Figure(
        key="split",
        takeaway=split_takeaway(shown, by),
        population=split_population(table, page.population) if is_part else page.population,
        unit="bits of one choice, beyond chance",
        null=f"at the same word: what is peculiar to each document of one {OTHER[by]}, its sign flipped; largest p "
        f"{np.nanmax(table['given_words_p_value'].fillna(1)):.2g}",
        badge="beyond null" if is_split_sure(shown) else "observed",
        says=split_notes(shown, by),
        body=(Chart(split_plot(shown)),),
        frame=lambda: shown,
    )
