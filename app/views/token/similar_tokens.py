"""The tokens that route like the pinned one, in the scope of a page: other words, and the same word elsewhere."""

from collections.abc import Callable

from gatescope.app.charts.figure import Figure
from gatescope.app.charts.page import Page
from gatescope.app.charts.places import place_of
from gatescope.app.charts.similarity import NEAR, SAME
from gatescope.app.shell.figure import show
from gatescope.app.shell.links import linker
from gatescope.app.shell.session import server
from gatescope.app.views.token.similar_tokens_figure import near, same
from gatescope.routing.record import RoutingRecord
from gatescope.server.server import corpus_of
from gatescope.server.sources import Scope, Source, select_routes


def show_alike(page: Page, record: RoutingRecord, number: int, token: int) -> None:
    """Draw both figures for a token of a document; `record` is that document, `number` its number."""
    show(NEAR, lambda: near(page, record, number, token, _href(page.source, page.scope)))

    def make() -> Figure:
        elsewhere = _corpus(page)
        href = _href(page.source, page.scope) if elsewhere is None else _href(elsewhere, Scope())
        return same(page, record, number, token, elsewhere, href)

    show(SAME, make)


def _corpus(page: Page) -> Source | None:
    """The corpus of the same model, where only one text is looked at: words come again there."""
    if page.source.kind != "text" or (id := corpus_of(page.view.model)) is None:
        return None
    corpus = server().find_source(id)
    is_same = corpus.record.provenance.fingerprint == page.source.record.provenance.fingerprint
    return corpus if is_same else None


def _href(source: Source, scope: Scope) -> Callable[[int], str]:
    to_token, pool = linker("token"), select_routes(source, scope)

    def href(row: int) -> str:
        document, token = place_of(pool, scope, row)
        return to_token(capture=source.id, document=document or None, token=token)

    return href
