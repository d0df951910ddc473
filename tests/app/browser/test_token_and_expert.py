"""From a token to its expert and back to a text, with the mouse; what was pinned goes along."""

import re

import pytest

from tests.app.browser.harness import errors, settled

pytestmark = pytest.mark.browser


def test_a_chip_leads_to_its_expert_and_a_context_to_the_text(visit):
    page = visit("token?c=welcome.sift-softmax&t=20")
    settled(page)
    page.get_by_role("heading", name=re.compile("^Token 20 ")).wait_for()
    chip = page.locator("a.chip").first
    expert = chip.locator("b").inner_text()
    chip.click()
    page.get_by_role("heading", name=f"Expert {expert} of layer 0", exact=True).wait_for()
    assert re.search(rf"expert\?.*l=0&e={expert}$", page.url)
    page.get_by_text("Show in its text").first.click()
    page.get_by_test_id("matrix").wait_for()
    assert "c=welcome.sift-softmax" in page.url and "t=" in page.url
    assert errors(page) == []


def test_a_token_that_routes_alike_is_pinned_by_a_click(visit):
    page = visit("token?c=welcome.sift-softmax&t=20")
    settled(page)
    link = page.locator(".gs-rows a.pick").first
    token = re.search(r"t=(\d+)", link.get_attribute("href"))[1]
    link.click()
    page.get_by_role("heading", name=re.compile(f"^Token {token} ")).wait_for()
    assert f"t={token}" in page.url
    assert errors(page) == []
