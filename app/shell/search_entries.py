"""What the search finds: pages, captures, measures, views of the heatmap, and words of the field."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from gatescope.analysis.metrics import METRICS
from gatescope.app.charts.glossary import MECHANISMS, TOPICS, topic_of
from gatescope.app.shell.navigation import PageFile
from gatescope.drawing.token_heatmap import explain, view_title, views
from gatescope.server.view import ViewParts


class Entry(NamedTuple):
    """One thing that can be found.

    label   what is searched and shown: its name, then its kind
    page    the address of the page that shows it
    parts   what is looked at there
    says    what it means, for a word, a measure or a view
    """

    label: str
    page: str
    parts: ViewParts
    says: str = ""


def entries(pages: Sequence[PageFile], captures: Mapping[str, str]) -> list[Entry]:
    """Everything that can be found, in the order it is listed; `captures` are names by id."""
    return [*_pages(pages), *_captures(captures), *_words(), *_views(), *_measures()]


def _pages(pages: Sequence[PageFile]) -> Iterator[Entry]:
    for page in pages:
        yield Entry(f"{page.title} · page · {page.help}", page.address, {})


def _captures(captures: Mapping[str, str]) -> Iterator[Entry]:
    for id, name in captures.items():
        parts: ViewParts = {"capture": id}
        yield Entry(f"{name} · capture", "prompt", parts)


def _words() -> Iterator[Entry]:
    for each in MECHANISMS:
        yield Entry(f"{each.name} · what it means", each.pages[0], {}, each.says)


def _views() -> Iterator[Entry]:
    for view in views():
        parts: ViewParts = {"quantity": view}
        yield Entry(f"{view_title(view)} · view of the heatmap", "prompt", parts, explain(view).says)


def _measures() -> Iterator[Entry]:
    for metric in METRICS.values():
        yield Entry(f"{metric.title} · measure · {metric.name}", TOPICS[topic_of(metric)], {}, metric.meaning)
