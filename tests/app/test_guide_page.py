"""The Guide page: it opens for any view, searches, and starts the tour again."""

import pytest
from streamlit.testing.v1 import AppTest

from gatescope import __version__
from gatescope.app.shell.session import FRAME
from gatescope.app.shell.tour import DISMISSED


def opened(**params: str) -> AppTest:
    page = AppTest.from_file(FRAME, default_timeout=240).run()
    page.switch_page("../pages/guide.py")
    for name, value in params.items():
        page.query_params[name] = value
    page.run()
    assert not page.exception and not page.error
    return page


def said(page: AppTest) -> str:
    shown = [*page.title, *page.header, *page.subheader, *page.markdown, *page.caption]
    return "\n".join(str(one.value) for one in shown).replace("\\", "")


@pytest.mark.parametrize("params", [{}, {"m": "sift-sigmoid"}, {"c": "aaaaaaaaaaaaaaaa", "s": "domain:code", "l": "3"}])
def test_the_guide_opens_for_any_view(params):
    page = opened(**params)
    assert page.title[0].value == "Where do I begin, and how do I read this?"
    assert "Privacy" in said(page) and any(__version__ in each.value for each in page.code)


def test_measures_are_searched():
    page = opened()
    every = next(line for line in said(page).splitlines() if "measures" in line)
    page.text_input(key="guide-search").input("gini").run()
    assert not page.exception
    found = next(line for line in said(page).splitlines() if "measures fit" in line)
    assert int(found.split()[0]) < int(every.split()[0])
    page.text_input(key="guide-search").input("zebra <b>").run()
    assert not page.exception and "0 of" in said(page)


def test_the_tour_is_replayed_on_the_first_page():
    page = opened()
    page.session_state[DISMISSED] = True
    page.button(key="tour-replay").click().run()
    assert not page.exception
    assert page.session_state[DISMISSED] is False
    assert page.title[0].value == "What did the model do with my text?"
