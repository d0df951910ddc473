"""Where to begin, how to read what is shown, and what every number means."""

import streamlit as st

from gatescope import __version__
from gatescope.app.components.links import linked
from gatescope.app.shell import address
from gatescope.app.shell.figure import show
from gatescope.app.shell.messages import plain, show_error, show_notices
from gatescope.app.shell.navigation import find_pages
from gatescope.app.shell.session import server
from gatescope.app.shell.tour import questions, replay, stops, toured
from gatescope.app.views.guide.texts_figure import GRAMMAR, glossary, keys_list, measures
from gatescope.routing.errors import GatescopeError

PAGE = {
    "title": "Guide",
    "icon": ":material/menu_book:",
    "help": "Three questions to begin with, the keys, what every measure and mechanism means, how to cite and export.",
    "order": 120,
    "group": "Keep",
}

PRIVACY = (
    "A text is read by the model on this server and kept among this server's captures. It goes nowhere else: no text "
    "is sent to another machine, and the browser asks none but this server.",
    "Text is never part of an address. Who has the link to a capture, and may use this server, sees its text.",
    "What is kept can be removed in the Library. A corpus studied with counts alone leaves neither text nor tokens.",
)

EXPORT = (
    "Save, at every figure: its numbers as CSV and Parquet, the figure as PNG and SVG, and Python that gives the same "
    "numbers.",
    "The Prompt page gives a whole capture as a table; the Library gives captures and studies as files that open on "
    "another server.",
    "On a command line, `gatescope analyze` writes every measure of a corpus as tables and one report.",
    "The folder `docs` tells the rest: `dashboard.md`, `metrics.md`, `recording.md`, `families.md`, `guarantees.md`.",
)


def main() -> None:
    """The page from top to bottom."""
    st.title("Where do I begin, and how do I read this?")
    view = address.current()
    show_notices(view.problems)
    model, titles = toured(view.model), {page.address: page.title for page in find_pages()}
    ways = {page: address.link(page) for page in titles}
    _tour(model)
    _reading()
    _mechanisms(model, titles, ways)
    _keeping()
    _metrics(titles, ways)


def _tour(model: str) -> None:
    st.header("Three questions to begin with", divider=False)
    linked(questions(stops(model)), key="guide-tour", on_follow=address.visit_link)
    st.button("Replay the tour", icon=":material/replay:", on_click=replay, key="tour-replay")


def _reading() -> None:
    st.header("How to read a page", divider=False)
    st.markdown("\n".join(f"- {plain(line)}" for line in GRAMMAR))
    st.subheader("Keys in a matrix")
    st.html(keys_list())


def _mechanisms(model: str, titles: dict[str, str], ways: dict[str, str]) -> None:
    st.header("What the words mean, and where to see it", divider=False)
    layers = server().find_source(f"welcome.{model}").record.layers
    linked(glossary(ways, titles, layers, model), key="guide-words", on_follow=address.visit_link)


def _metrics(titles: dict[str, str], ways: dict[str, str]) -> None:
    search = st.text_input(
        "Search the measures",
        key="guide-search",
        max_chars=80,
        placeholder="A word: entropy, cache, Shannon, language …",
        persist_state="session",
    )
    show("What is measured?", lambda: measures(search, ways, titles))


def _keeping() -> None:
    st.header("Privacy", divider=False)
    st.markdown("\n".join(f"- {line}" for line in PRIVACY))
    st.header("Taking it along, and citing it", divider=False)
    st.markdown("\n".join(f"- {line}" for line in EXPORT))
    st.markdown(
        "Cite the software with its version; a figure with its address, the model and its fingerprint (Model page), N, "
        "and the measure by its name; the measure's method by the source that stands beside it above."
    )
    cited = f"@software{{gatescope, title = {{Gatescope}}, version = {{{__version__}}}}}"
    st.code(cited, language="bibtex", wrap_lines=True)


try:
    main()
except GatescopeError as error:
    show_error(error)
