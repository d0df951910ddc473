"""One expert: how busy it is, which words and texts it takes, and which experts stand around it."""

from app.figures.expert import GLANCE
from app.sections import expert_texts, expert_work
from app.sections.expert_choice import choose, glance
from app.sections.figure import answering
from app.sections.knock_out import knock_out
from app.sections.looking import open_page
from app.sections.messages import show_error
from routing.errors import GatescopeError

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
        expert_texts.words(page, chosen)
        expert_texts.places(page, chosen)
        expert_work.work(page, chosen)
        expert_work.around(page, chosen)
        knock_out(page, chosen)


try:
    main()
except GatescopeError as error:
    show_error(error)
