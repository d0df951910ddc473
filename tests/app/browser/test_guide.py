"""The guide, the tour and the claims under the mouse: a link keeps the session and leads to the state that it names."""

import re

import pytest

from tests.app.browser.harness import PAGES, errors, go_to, settled

pytestmark = pytest.mark.browser


def test_a_question_of_the_tour_leads_to_its_expert(visit):
    page = visit("guide")
    settled(page)
    page.get_by_role("link", name="Which expert likes numbers?").click()
    page.wait_for_url(re.compile(r"/expert\?.*l=\d+&e=\d+"))
    settled(page)
    assert errors(page) == []


def test_the_tour_is_hidden_and_replayed(visit):
    page = visit("")
    settled(page)
    question = page.get_by_role("link", name="Does code route differently?")
    question.wait_for()
    page.get_by_role("button", name="Hide").click()
    question.wait_for(state="detached")
    go_to(page, "guide")
    page.get_by_role("button", name="Replay the tour").click()
    page.get_by_role("heading", name="What did the model do with my text?").wait_for()
    question.wait_for()


def test_a_measure_is_searched_and_unfolded(visit):
    page = visit("guide")
    settled(page)
    page.get_by_label("Search the measures").fill("belady")
    page.get_by_label("Search the measures").press("Enter")
    page.get_by_text("measures fit").first.wait_for()
    page.locator("summary", has_text="Cache hits, best possible").click()
    page.get_by_text("Belady 1966, by stack distances").wait_for()


def test_a_claim_leads_to_the_page_that_shows_why(visit):
    page = visit("model")
    page.get_by_text("Experts are specialists by language.").wait_for()
    settled(page)
    link = page.get_by_role("listitem").filter(has_text="specialists by language").get_by_role("link")
    link.click()
    page.wait_for_url(re.compile(r"/domains\?.*by=language"))
    settled(page)
    assert errors(page) == []


def test_ctrl_k_finds_a_page_and_explains_a_word_without_the_mouse(visit):
    page = visit("layers")
    settled(page)
    page.keyboard.press("Control+k")
    page.wait_for_function(
        "() => document.activeElement?.closest('[role=dialog]') && document.activeElement.tagName === 'INPUT'"
    )
    page.keyboard.type("group-limited")
    page.get_by_role("option", name="Group-limited routing · what it means").wait_for()
    page.keyboard.press("Enter")
    page.get_by_text("Experts stand in groups, often one a machine.").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    page.keyboard.press("Control+k")
    page.wait_for_function(
        "() => document.activeElement?.closest('[role=dialog]') && document.activeElement.tagName === 'INPUT'"
    )
    page.keyboard.type("pairs · page")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/pairs"))
    settled(page)
    assert errors(page) == []


@pytest.mark.parametrize("width", [1300, 390])
def test_every_page_is_one_click_away_and_the_one_shown_is_marked(visit, width):
    page = visit("domains", width=width)
    settled(page)
    if width < 640:
        page.get_by_test_id("stExpandSidebarButton").click()
    links = page.get_by_test_id("stSidebarNavLink")
    assert links.count() == len(PAGES)
    assert all(each.is_visible() for each in links.all())
    marked = page.locator("[data-testid=stSidebarNavLink][aria-current=page]")
    assert marked.count() == 1 and marked.get_by_text("Domains").is_visible()
