"""A corpus through anything that gives records: llama.cpp, or a server that runs already."""

from collections.abc import Callable, Iterable, Sequence

from gatescope.cache.study import StudyFolder
from gatescope.routing.errors import PromptError
from gatescope.routing.joined import joined
from gatescope.routing.record import Document, RoutingRecord
from gatescope.studies.blocks import Seen, Share, Texts, cut, name_of
from gatescope.studies.packing import Skipped
from gatescope.studies.plan import Plan
from gatescope.studies.run_blocks import Progress, one_by_one, run_blocks

Route = Callable[[Sequence[Document]], Sequence[RoutingRecord]]
"""Records of documents, in their order; a document that is refused has none, or raises PromptError."""


def capture_through(
    route: Route,
    documents: Iterable[Document],
    folder: StudyFolder,
    plan: Plan,
    *,
    share: Share,
    skip: bool,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> Progress:
    """As `capture_study`, through anything that gives records: every block that is this share's and not yet whole."""
    seen = Seen()
    strategy = one_by_one(
        lambda texts: _routed(route, texts, skip=skip),
        folder,
        plan,
    )
    return run_blocks(cut(documents, seen), folder, strategy, seen=seen, share=share, on_progress=on_progress)


def _routed(route: Route, texts: Texts, *, skip: bool) -> tuple[RoutingRecord | None, Skipped]:
    """A block's routing, and which of its documents were refused. Errors: PromptError, unless those are skipped."""
    refused: list[tuple[str, str]] = []
    try:
        records = list(route(texts.documents))
    except PromptError:
        if not skip:
            raise
        records = []
        for document in texts.documents:
            try:
                records += route([document])
            except PromptError as reason:
                refused.append((name_of(document), f"{reason.found}; needs {reason.expected}"))
    has = {document.id for record in records for document in record.documents}
    told = {name for name, _ in refused}
    refused += [
        (name_of(each), "refused by the server") for each in texts.documents
        if each.id not in has and name_of(each) not in told
    ]  # fmt: skip
    return joined(records) if records else None, Skipped(tuple(refused))
