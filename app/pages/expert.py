"""One expert: how busy it is, which words and texts it takes, and which experts stand around it."""

from gatescope.app.shell.figure import answering
from gatescope.app.shell.messages import show_error
from gatescope.app.shell.page import open_page
from gatescope.app.views.expert import profile as work
from gatescope.app.views.expert import texts
from gatescope.app.views.expert.ablation import knock_out
from gatescope.app.views.expert.choice import choose, glance
from gatescope.app.views.expert.profile_figure import GLANCE
from gatescope.routing.errors import GatescopeError

PAGE = {
    "title": "Expert",
    "icon": ":material/person_search:",
    "help": "One expert: its load, its words and texts, what it leans to, and the experts around it.",
    "order": 30,
    "group": "Look",
}


def main() -> None:
    """The page from top to bottom."""
    page = open_page("What does this expert take?", wants="corpus")
    if page is None:
        return
    with answering(GLANCE):
        chosen = choose(page)
        glance(page, chosen)
        texts.words(page, chosen)
        texts.places(page, chosen)
        work.work(page, chosen)
        work.around(page, chosen)
        knock_out(page, chosen)


try:
    main()
except GatescopeError as error:
    show_error(error)
