"""The Library in a browser: a row is chosen and opened, a study goes on without its visitor, and is no one else's."""

import pytest

from tests.app.browser.harness import People, serving, settled, violations

pytestmark = pytest.mark.browser

TEXTS = b"body,label\nThe judge read the law aloud.,law\nfor i in range(3): print(i),code\n"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A dashboard that lists to each visitor what is shared or their own."""
    with serving(tmp_path_factory.mktemp("shared"), GATESCOPE_LIBRARY_LISTS="shared") as url:
        yield url


@pytest.fixture
def meet(browser, shared):
    people = People(browser, shared)
    yield people
    people.leave()


def choose_row(page, row: int) -> None:
    """Tick a row of the list, where a hand would: the grid is one canvas."""
    grid = page.get_by_test_id("stDataFrame").first
    grid.scroll_into_view_if_needed()
    box = grid.bounding_box()
    page.mouse.click(box["x"] + 16, box["y"] + 35 * (row + 1) + 17)


def test_a_row_is_chosen_and_opened_on_another_page(visit):
    page = visit("library", width=1400)
    settled(page)
    page.get_by_role("textbox", name="Filter").fill("probe set sigmoid")
    page.keyboard.press("Enter")
    settled(page)
    choose_row(page, 0)
    page.get_by_role("button", name="Open on Layers").click()
    page.wait_for_url("**/layers?*")
    assert "c=probe.sift-sigmoid" in page.url
    page.get_by_role("heading", name="How is the work spread, layer by layer?").wait_for()


@pytest.mark.parametrize("part", ["Study a corpus", "Import", "Enough data?"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_part_of_the_page_bars_a_reader(visit, part, scheme):
    page = visit("library", width=360, scheme=scheme)
    settled(page)
    page.get_by_role("radio", name=part).click()
    settled(page)
    assert violations(page) == []


def test_a_study_goes_on_without_its_visitor_and_is_no_one_elses(meet):
    ann = meet("library", width=1400)
    settled(ann)
    ann.get_by_role("radio", name="Study a corpus").click()
    ann.get_by_role("radio", name="Your own files").click()
    ann.locator("input[type=file]").first.set_input_files(
        {"name": "Ann's <b>texts</b>.csv", "mimeType": "text/csv", "buffer": TEXTS}
    )
    ann.get_by_role("combobox", name="Text column").click()
    ann.get_by_role("option", name="body").click()
    ann.get_by_role("textbox", name="Name of the study").fill("Ann's two texts")
    ann.keyboard.press("Enter")
    ann.get_by_role("button", name="Start the study").click()
    ann.get_by_text("Ann's two texts").first.wait_for()
    ann.get_by_role("button", name="Cancel").or_(ann.get_by_text("is done:")).first.wait_for()
    context = ann.context
    ann.close()

    bob = meet("library", width=1400)
    settled(bob)
    bob.get_by_role("textbox", name="Filter").fill("two texts")
    bob.keyboard.press("Enter")
    bob.get_by_text("No matches.").wait_for()
    assert bob.get_by_text("Ann's two texts").count() == 0

    back = meet.open(context, "library")
    settled(back)
    back.get_by_role("textbox", name="Filter").fill("two texts")
    back.keyboard.press("Enter")
    settled(back)
    assert back.get_by_text("No matches.").count() == 0
    assert back.get_by_test_id("stDataFrame").count() == 1
