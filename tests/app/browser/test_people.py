"""Two people at once, on a server for several: what one asks, waits for, pins or cancels is never seen by the other."""

import re

import pytest

from tests.app.browser.harness import PATHS, People, ask, at_rest, download, go_to, run, serving, settled, text_of

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]  # each walks through every page, twice

SECRET_ONE, SECRET_TWO = "zanzibarian marmalade", "quixotic lighthouses"


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """A dashboard of the bundled models that several people use, where a pass may be long enough to be watched."""
    settings = {"GATESCOPE_MAX_NEW_TOKENS": "1900", "GATESCOPE_LIBRARY_LISTS": "shared"}
    with serving(tmp_path_factory.mktemp("patient"), **settings) as url:
        yield url


@pytest.fixture
def visit(browser, patient):
    people = People(browser, patient)
    yield people
    people.leave()


def heard(page, words: str) -> bool:
    """Whether the server told this browser these words."""
    return any(words.encode() in (frame if isinstance(frame, bytes) else frame.encode()) for frame in page.received)


def begin_a_long_pass(page, text: str) -> None:
    page.get_by_text("of 2,048 tokens").wait_for()
    page.get_by_role("button", name="Options").click()
    page.get_by_role("spinbutton", name="Tokens to generate").fill("1900")
    page.get_by_role("spinbutton", name="Tokens to generate").press("Enter")
    page.keyboard.press("Escape")
    ask(page, text)
    page.get_by_text("Writing token").wait_for()


def test_two_texts_at_once_stay_with_their_readers(visit):
    one, two = visit(), visit()
    for page in (one, two):
        settled(page)
    ask(one, SECRET_ONE)
    ask(two, SECRET_TWO)
    for page, own, other in ((one, SECRET_ONE, SECRET_TWO), (two, SECRET_TWO, SECRET_ONE)):
        page.wait_for_url(re.compile(r"c=[a-z2-7]{16}"))
        at_rest(page)
        assert text_of(download(page, "Trace (CSV)")) == own
        for name in PATHS:
            go_to(page, name)
        assert heard(page, own), "the words would be seen if they came"
        assert not heard(page, other)


def test_a_pass_is_waited_for_and_cancelled_by_its_reader_alone(visit):
    one, two = visit(), visit()
    capture = run(two, SECRET_TWO)
    begin_a_long_pass(one, SECRET_ONE + " and so on " * 20)
    two.received.clear()
    for name in ("layers", "library", "prompt"):  # few, so that the pass outlasts them
        go_to(two, name)
        assert two.get_by_role("button", name="Cancel").count() == 0
        assert f"c={capture}" in two.url
    assert one.get_by_text("Writing token").is_visible(), "it must still have been under way"
    one.get_by_role("button", name="Cancel").click()
    one.get_by_text("Cancelled. Writing token").wait_for()
    go_to(two, "layers")
    for words in (SECRET_ONE, "Writing token", "Cancelled", "Waiting,"):
        assert not heard(two, words), words


def test_who_waits_behind_another_can_leave_without_ending_the_others_pass(visit):
    one, two = visit(), visit()
    settled(two)
    begin_a_long_pass(one, SECRET_ONE + " once more " * 20)
    ask(two, SECRET_TWO + " waits")
    two.get_by_text("Waiting, 1 before you").wait_for()
    two.get_by_role("button", name="Cancel").click()
    two.get_by_text("Cancelled.").wait_for()
    assert one.get_by_text("Writing token").is_visible()
    assert not heard(one, "Waiting,") and not heard(one, "Cancelled")
    one.get_by_role("button", name="Cancel").click()
    one.get_by_text("Cancelled. Writing token").wait_for()
    assert not heard(two, "Writing token")


def test_two_readers_of_one_capture_pin_each_their_own(visit):
    one = visit()
    capture = run(one, "The same words for both of them.")
    two = visit(f"?c={capture}")
    settled(two)
    for page, token in ((one, 2), (two, 5)):
        page.get_by_test_id("tokens").locator(".token").nth(token).click()
        page.wait_for_url(re.compile(rf"[?&]t={token}(&|$)"))
    for page, token in ((one, 2), (two, 5)):
        settled(page)
        assert f"t={token}" in page.url
        assert re.fullmatch(rf"\d*,{token}", page.get_by_test_id("heatmap").get_attribute("data-pin"))
        for name in PATHS:
            go_to(page, name)
            assert f"t={token}" in page.url, name


def test_the_tokens_are_counted_while_the_text_is_typed(visit):
    page = visit()
    at_rest(page)
    box = page.get_by_role("textbox", name="Your text")
    counts = []
    for words in ("one", " two three four five six seven"):
        box.press_sequentially(words)
        page.wait_for_timeout(400)
        settled(page)
        counts.append(page.get_by_text(re.compile(r"^[\d,]+ of [\d,]+ tokens$")).inner_text())
    first, second = (int(said.split()[0].replace(",", "")) for said in counts)
    assert 0 < first < second
