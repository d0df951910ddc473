"""What this server holds, studies of corpora, imports, and whether there is enough to go by."""

import streamlit as st

from gatescope.app.shell import address, captures_bar
from gatescope.app.shell.messages import show_error, show_notices
from gatescope.app.shell.session import visitor
from gatescope.app.shell.tabs import choose_part
from gatescope.app.views.library.importing import show_import
from gatescope.app.views.library.listing import show_list
from gatescope.app.views.library.sample_size import show_enough
from gatescope.app.views.library.studies import show_said, show_studies
from gatescope.app.views.library.study import show_form
from gatescope.routing.errors import GatescopeError

PAGE = {
    "title": "Library",
    "icon": ":material/library_books:",
    "help": "Captures and studies of this server: open, name, share, delete, download, import, and study a corpus.",
    "order": 100,
    "group": "Keep",
}
PARTS = {
    "captures": "Captures",
    "study": "Study a corpus",
    "import": "Import",
    "enough": "Enough data?",
}


def main() -> None:
    """The page from top to bottom."""
    st.title("Which recordings are here, and are they large enough?")
    view = address.current()
    show_notices(view.problems)
    who = visitor()
    opened = tuple(dict.fromkeys((*filter(None, (view.capture, view.reference)), *captures_bar.seen())))
    show_said()
    show_studies(who, opened)
    match choose_part(list(PARTS), key="library-part", format_func=lambda part: PARTS[part]):
        case "study":
            show_form(view, who)
        case "import":
            show_import(who)
        case "enough":
            show_enough(view)
        case _:
            show_list(view, who, opened)


try:
    main()
except GatescopeError as error:
    show_error(error)
