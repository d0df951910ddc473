"""One expert: how busy it is, which words and texts it takes, and which experts stand around it."""

from gatescope.app.charts.figure import Figure
from gatescope.app.shell.figure import show
from gatescope.app.shell.messages import show_error
from gatescope.app.shell.page import open_page
from gatescope.app.views.expert.ablation import knock_out
from gatescope.app.views.expert.choice import choose
from gatescope.app.views.expert.profile import around, work
from gatescope.app.views.expert.profile_figure import GLANCE, chosen_of, glance
from gatescope.app.views.expert.texts import show_places, show_words
from gatescope.routing.errors import GatescopeError

PAGE = {
    "title": "Expert",
    "icon": ":material/person_search:",
    "help": "One expert: its load, its words and texts, what it is used for, and the experts around it.",
    "order": 30,
    "group": "Look",
}


def main() -> None:
    """The page from top to bottom."""
    page = open_page("What does this expert take?", wants="corpus")
    if page is None:
        return

    def make() -> Figure:
        chosen = chosen_of(page)
        choose(page, chosen)
        return glance(page, chosen)

    if show(GLANCE, make) is None:
        return
    chosen = chosen_of(page)
    show_words(page, chosen)
    show_places(page, chosen)
    work(page, chosen)
    around(page, chosen)
    knock_out(page, chosen)


try:
    main()
except GatescopeError as error:
    show_error(error)
