"""The guide, the tour and the claims under the mouse: a link keeps the session and leads to the state that it names."""

import re

import pytest

from tests.app.browser.harness import errors, go_to, settled

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
