"""The map as a figure, and how often neighbours bear the same label."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.app.charts.figure import Chart, Figure, Text
from gatescope.app.charts.page import Page
from gatescope.app.views.map.points_figure import (
    Places,
    map_words,
    matching,
    purity_figure,
    scatter,
)
from gatescope.app.views.map.projections import PLANES, places_of, purities_within
from gatescope.routing.errors import OptionError

MICE = {"Points": "pan", "Lasso": "lasso", "Box": "select"}
"""What the mouse does, as the reader calls it and as Plotly does: a click is heard only while a drag draws nothing."""


class Asked(NamedTuple):
    """What the reader wants to see."""

    kind: str
    plane: str
    by: str
    sought: str
    mouse: str


def laid_out(page: Page, asked: Asked) -> Places:
    """The points and where they lie."""
    return places_of(page.source, asked.kind, asked.plane, page.scope, page.view.layer)


def sought(page: Page, places: Places, asked: Asked) -> NDArray[np.bool_]:
    """Which points have what is sought."""
    return matching(places.frame, _texts(page, places), asked.sought)


def chart_key(page: Page, asked: Asked) -> str:
    """The key of the chart's widget: what was drawn around in one map means nothing in another."""
    return f"map-chart-{page.source.id}-{asked.kind}"


def plane(page: Page, places: Places, asked: Asked) -> Figure:
    """The points on their plane."""
    found_n, inside_n = sought(page, places, asked), _inside(page, places)
    pinned = _pinned_row(page, places)
    drawn = scatter(places, asked.by, inside_n=inside_n, found_n=found_n, pinned=pinned, mouse=MICE[asked.mouse])
    sentence = map_words(
        places,
        plane=PLANES[asked.plane],
        layer=_layer(page),
        population=_population(page, asked),
        shown=len(places.frame),
        found=int(found_n.sum()) if asked.sought.strip() else None,
    )
    return replace(
        sentence,
        body=(Chart(drawn, ("points", "box", "lasso"), chart_key(page, asked)), Text(_how(asked))),
        frame=lambda: places.frame.assign(counts=inside_n, found=found_n),
    )


def neighbours(page: Page, asked: Asked) -> Figure:
    """How often neighbours bear the same label, of the documents that count."""
    places = _neighbours(page, asked)
    if not places.purities:
        raise OptionError(
            f"{len(places.frame):,} {asked.kind} without two different labels, or of one document only",
            expected="labelled documents, several of them: a neighbour of the same document does not count",
            do="choose a labelled corpus, or let more documents count",
        )
    return purity_figure(places, population=page.population)


def _neighbours(page: Page, asked: Asked) -> Places:
    if asked.kind == "documents" and not page.scope.is_whole:
        return purities_within(page.source, page.scope, page.view.layer)
    return places_of(page.source, asked.kind, "PCA", page.scope, page.view.layer)


def _layer(page: Page) -> str:
    """Of one layer, where one is pinned."""
    layer = page.view.layer
    return "" if layer is None else f" in layer {page.layers[layer]}, which is pinned"


def _population(page: Page, asked: Asked) -> str:
    if asked.kind == "documents" and not page.scope.is_whole:
        return f"{page.population}, drawn in full; the others are faint"
    return page.population


def _inside(page: Page, places: Places) -> NDArray[np.bool_]:
    """Which points are of documents that count."""
    if page.scope.documents is None:
        return np.ones(len(places.frame), bool)
    return np.isin(places.frame["document"], page.scope.documents)


def _texts(page: Page, places: Places) -> list[str]:
    """What the search reads besides labels: whole documents, but of a token only itself."""
    if places.kind == "tokens":
        return [""] * len(places.frame)
    documents = page.source.record.documents
    return [documents[number].text for number in places.frame["document"]]


def _pinned_row(page: Page, places: Places) -> int | None:
    view = page.view
    if view.document is None or (places.kind == "tokens" and view.token is None):
        return None
    is_it = places.frame["document"] == view.document
    if places.kind == "tokens":
        is_it &= places.frame["token"] == view.token
    rows = np.flatnonzero(is_it)
    return int(rows[0]) if len(rows) else None


def _how(asked: Asked) -> str:
    which = "those documents" if asked.kind == "documents" else "the documents of those tokens"
    return (
        f"Click a point to pin it. With Lasso or Box, draw around points, and only {which} count, on every page. "
        "The table below does the same without a mouse."
    )
