"""Where the points of the map lie: laid out once for everybody, and kept."""

import numpy as np

from gatescope.analysis.comparison.document_points import document_points
from gatescope.analysis.comparison.projection import Layout, Points, neighbourhood, principal, purity, token_points
from gatescope.app.views.map.points_figure import Places, document_frame, token_frame
from gatescope.routing.errors import OptionError
from gatescope.routing.record import RoutingRecord
from gatescope.server.measures import Reading, note
from gatescope.server.memo_cache import MemoCache
from gatescope.server.snippet import facet_names
from gatescope.server.sources import TOKEN_ROLES, Scope, Source, select_routes

TOKENS_DRAWN = 2_000
FEWEST = 3
NEIGHBOURS, LEAST_DISTANCE, SEED = 15, 0.1, 0
PLANES = {
    "PCA": "principal components: the two directions along which points differ most",
    "UMAP": f"UMAP with {NEIGHBOURS} neighbours, least distance {LEAST_DISTANCE}, seed {SEED}, begun from the "
    "principal components, on one thread: the same each time. Sizes of clusters and gaps between them mean nothing",
}

_places = MemoCache()


def places_of(source: Source, kind: str, plane: str, scope: Scope, layer: int | None) -> Places:
    """The map of a source: of all its documents, or of tokens drawn from a scope.

    Errors: OptionError for fewer than three points.
    """
    scope = Scope(facet=scope.facet) if kind == "documents" else scope
    note(_call_of(source, kind, plane, scope, layer))
    return _places.get((*source.key, kind, plane, scope, layer), lambda: _laid_out(source, kind, plane, scope, layer))


def purities_within(source: Source, scope: Scope, layer: int | None) -> Places:
    """The same of the documents of a scope alone, for their neighbours among each other."""
    note(_call_of(source, "documents", "PCA", scope, layer))
    return _places.get((*source.key, "within", scope, layer), lambda: _within(source, scope, layer))


def _call_of(source: Source, kind: str, plane: str, scope: Scope, layer: int | None) -> Reading:
    """How the points can be had without the page."""
    made = "document_points" if kind == "documents" else "token_points"
    laid = "principal(points)"
    if plane != "PCA":
        laid = f"neighbourhood(points, neighbours={NEIGHBOURS}, least_distance={LEAST_DISTANCE}, seed={SEED})"
    code = (
        f"points = {made}(record, layer={layer}, facets=({facet_names(scope)},), seed={SEED})\n"
        f"layout = {laid}\n"
        f"purities = {{by: purity(points, by, seed={SEED}) for by in points.labels}}"
    )
    home = "document_points" if kind == "documents" else "projection"
    imports = (
        f"from gatescope.analysis.comparison.{home} import {made}",
        "from gatescope.analysis.comparison.projection import neighbourhood, principal, purity",
        "from gatescope.analysis.tally.tally import TokenRole",
    )
    return Reading(source=source, scope=scope, code=code, imports=imports)


def _within(source: Source, scope: Scope, layer: int | None) -> Places:
    record = select_routes(source, scope)
    points = document_points(record, layer=layer, facets=TOKEN_ROLES[scope.facet])
    return _found("documents", record, points, principal(points), None, 0)


def _laid_out(source: Source, kind: str, plane: str, scope: Scope, layer: int | None) -> Places:
    record = select_routes(source, scope)
    if kind == "documents":
        points = document_points(record, layer=layer, facets=TOKEN_ROLES[scope.facet], seed=SEED)
    else:
        points = token_points(record, layer=layer, facets=TOKEN_ROLES[scope.facet], most=TOKENS_DRAWN, seed=SEED)
    if len(points) < FEWEST:
        raise OptionError(
            f"{len(points)} {kind} to lay out",
            expected=f"{FEWEST} and more",
            do="let other tokens or more documents count, in the sidebar",
        )
    start = scope.span.first if scope.span else 0
    return _found(kind, record, points, _layout(points, plane), scope.documents, start)


def _layout(points: Points, plane: str) -> Layout:
    if plane == "PCA":
        return principal(points)
    return neighbourhood(points, neighbours=NEIGHBOURS, least_distance=LEAST_DISTANCE, seed=SEED)


def _found(
    kind: str, record: RoutingRecord, points: Points, layout: Layout, numbers: tuple[int, ...] | None, start: int
) -> Places:
    by_label = {by: purity(points, by, seed=SEED) for by in ("token", "domain", "language") if by in points.labels}
    told = {by: found for by, found in by_label.items() if np.isfinite(found.value) and found.labels > 1}
    if kind == "documents":
        frame = document_frame(record, points, layout)
    else:
        frame = token_frame(record, points, layout, numbers, start)
    return Places(kind, frame, layout, told, points.warnings)
