"""Whether a text keeps to a few experts for a while, and what keeping only some of them in memory would take."""

from gatescope.app.charts.depth import Depth, depth
from gatescope.app.charts.page import Page
from gatescope.app.shell.figure import show
from gatescope.app.shell.layer_charts import depth_grid, has_tokens
from gatescope.app.shell.messages import show_error
from gatescope.app.shell.page import open_page
from gatescope.app.shell.tabs import show_part
from gatescope.app.views.locality.cache_plan import show_plan
from gatescope.app.views.locality.hot_set import choose_place, show_hits
from gatescope.app.views.locality.reach_figure import overlap
from gatescope.routing.errors import GatescopeError

PAGE = {
    "title": "Locality",
    "icon": ":material/memory:",
    "help": "Whether neighbouring tokens use the same experts, and what a cache of some experts would serve.",
    "order": 70,
    "group": "Measure",
}

REPEATS = (
    Depth(
        "first_choice_repeats",
        "Does the next token have the same first expert?",
        "share of neighbours",
        "of the neighbours",
        at=0,
    ),
    Depth(
        "any_choice_repeats",
        "Does it have any expert in common?",
        "share of neighbours",
        "of the neighbours",
        at=0,
    ),
)
PREFETCH = Depth(
    "transition_predictability",
    "Does a layer's choice tell the next layer's, to fetch it early?",
    "share of its entropy",
    "of the next first choice's entropy",
)


def main() -> None:
    """The page from top to bottom."""
    page = open_page("Is there a hot set of experts?", wants="corpus")
    if page is None or not has_tokens(page):
        return
    choose_place(page)
    parts = {
        "Keeping some experts": lambda: _kept(page),
        "From token to token": lambda: _reused(page),
        "Fetching ahead": lambda: show(PREFETCH.question, lambda: depth(page, PREFETCH)),
    }
    show_part(parts, key="locality-part")


def _kept(page: Page) -> None:
    show_hits(page)
    show_plan(page)


def _reused(page: Page) -> None:
    depth_grid(page, REPEATS)
    show("How far does a token's choice reach?", lambda: overlap(page))


try:
    main()
except GatescopeError as error:
    show_error(error)
