"""The grid of experts on the Prompt page: hover lights, click lights tokens, Enter opens, play advances."""

import re

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="install playwright to drive a browser").expect
from tests.app.browser.harness import ask, errors, overflow, run, settled, violations  # noqa: E402

pytestmark = pytest.mark.browser


def opened(visit, path: str = "", **options):
    """The Prompt page with its grid drawn."""
    page = visit(path, **options)
    page.locator('[data-testid="heatmap"][data-grid]').wait_for()
    settled(page)
    return page


def root(page):
    return page.get_by_test_id("heatmap")


def expert_point(page, layer: int, expert: int) -> tuple[float, float]:
    """Where an expert of the grid is on screen."""
    page.get_by_test_id("grid").scroll_into_view_if_needed()
    layers, experts = map(int, root(page).get_attribute("data-grid").split("x"))
    x, y, width, height = map(float, root(page).get_attribute("data-grid-plot").split())
    box = page.get_by_test_id("grid-cells").bounding_box()
    return box["x"] + x + (expert + 0.5) / experts * width, box["y"] + y + (layer + 0.5) / layers * height


def test_the_first_sight_shows_the_experts_of_the_pinned_token(visit):
    page = opened(visit, height=1000)
    assert root(page).get_attribute("data-grid") == "6x32"
    title = page.get_by_test_id("grid-title")
    expect(title).to_contain_text("Experts that ran for token")
    assert page.get_by_test_id("grid-cells").bounding_box()["y"] < 1000 - 150
    expect(page.get_by_test_id("grid-readout")).to_contain_text("24 experts ran in 6 layers")


def test_pointing_at_a_token_lights_its_experts_at_once_and_sends_nothing(visit):
    page = opened(visit)
    page.sent.clear()
    page.received.clear()
    spent = root(page).evaluate(
        """async (root) => {
            const spent = [];
            for (const token of root.querySelectorAll("[data-column]")) {
                const began = performance.now();
                token.dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
                spent.push(performance.now() - began);
                if (root.dataset.lit !== token.dataset.column) return [Infinity];
                await new Promise(requestAnimationFrame);
            }
            return spent.sort((a, b) => a - b);
        }"""
    )
    assert spent[len(spent) // 2] < 16
    page.wait_for_timeout(500)
    assert (page.sent, page.received) == ([], [])


def test_the_grid_names_the_experts_that_the_card_names(visit):
    page = opened(visit, "?t=3&l=2")
    page.locator(".gs-card").wait_for()
    said = page.get_by_test_id("grid-readout").inner_text()
    named = re.findall(r"(\d+) \(", said.split("layer 2:")[1])
    assert named == page.locator(".gs-card .here .expert:not(.rejected) a").all_inner_texts()


def test_without_a_pin_the_grid_shows_how_often_each_expert_ran(visit):
    page = opened(visit)
    page.get_by_test_id("matrix").focus()
    page.keyboard.press("Escape")
    settled(page)
    expect(page.get_by_test_id("grid-title")).to_contain_text("How often each expert ran")
    expect(page.get_by_test_id("experts")).to_contain_text("an even share, 4 of 32 = 12.5 % of tokens")
    page.mouse.move(*expert_point(page, 5, 31))
    expect(page.get_by_test_id("grid-readout")).to_contain_text(
        re.compile(r"layer 5 · expert 31 · ran for \d+ of \d+ tokens, \d\.\d times an even share")
    )


def test_a_click_lights_the_tokens_of_an_expert_and_enter_opens_its_page(visit):
    page = opened(visit)
    page.mouse.click(*expert_point(page, 5, 31))
    page.wait_for_url(re.compile(r"[?&]e=31"))
    settled(page)
    assert "l=5" in page.url
    said = page.get_by_test_id("grid-readout").inner_text()
    took = int(re.search(r"ran for (\d+) of|took (\d+)", said).group(0).split()[-1 if "took" in said else 2])
    assert page.locator(".token.took").count() == took > 0
    page.mouse.move(0, 0)
    page.reload()
    page.locator('[data-testid="heatmap"][data-grid]').wait_for()
    expect(page.locator(".token.took")).to_have_count(took)
    page.get_by_test_id("grid").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/expert\?.*e=31"))


def test_escape_lets_go_of_the_expert_first_and_of_the_pin_then(visit):
    page = opened(visit, "?t=3&l=2&e=4")
    assert root(page).get_attribute("data-chosen") == "2,4"
    page.get_by_test_id("grid").focus()
    page.keyboard.press("Escape")
    settled(page)
    assert "e=" not in page.url
    assert "t=3" in page.url
    assert page.locator(".token.took").count() == 0
    page.keyboard.press("Escape")
    settled(page)
    assert "t=" not in page.url


def test_the_keyboard_alone_reaches_an_expert_and_is_told_of_it(visit):
    page = opened(visit)
    page.get_by_test_id("grid").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    readout = page.get_by_test_id("grid-readout")
    expect(readout).to_contain_text("layer 1 · expert 1")
    assert readout.get_attribute("aria-live") == "polite"
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"[?&]e=1\b"))
    settled(page)
    assert page.get_by_test_id("grid").evaluate("(e) => e.getRootNode().activeElement === e")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/expert\?"))


def test_play_steps_through_text_and_grid_and_ends_at_the_last_token(visit):
    page = opened(visit, "?t=30&l=2")
    last = page.locator("[data-column]").count() - 1
    page.get_by_test_id("pace").fill("7")
    page.get_by_test_id("play").click()
    expect(page.get_by_test_id("play")).to_contain_text("Pause")
    expect(root(page)).to_have_attribute("data-lit", str(last))
    expect(page.get_by_test_id("play")).to_contain_text("Play")
    assert page.locator(".token.hovered").get_attribute("data-column") == str(last)


def test_the_space_bar_plays_and_pauses(visit):
    page = opened(visit, "?t=0&l=2")
    page.get_by_test_id("matrix").focus()
    page.keyboard.press(" ")
    expect(root(page)).to_have_attribute("data-playing", "true")
    page.keyboard.press(" ")
    expect(root(page)).to_have_attribute("data-playing", "false")
    assert "t=0" in page.url


def test_who_asked_for_less_motion_goes_one_token_at_a_time(visit):
    page = opened(visit, "?t=3&l=2", reduced_motion="reduce")
    expect(page.get_by_test_id("play")).to_contain_text("Next token")
    page.get_by_test_id("play").click()
    assert root(page).get_attribute("data-lit") == "4"
    page.wait_for_timeout(700)
    assert root(page).get_attribute("data-lit") == "4"
    assert page.get_by_test_id("pace").is_hidden()


def test_a_tap_pins_a_token_and_another_chooses_an_expert(visit):
    page = opened(visit, width=390, height=1400, has_touch=True)
    page.locator("[data-column]").nth(5).tap()
    page.wait_for_url(re.compile(r"[?&]t=5\b"))
    settled(page)
    page.touchscreen.tap(*expert_point(page, 3, 14))
    page.wait_for_url(re.compile(r"[?&]e=14\b"))
    settled(page)
    page.get_by_test_id("open-expert").tap()
    page.wait_for_url(re.compile(r"/expert\?.*e=14"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 390])
def test_the_chosen_expert_bars_nobody_and_cuts_nothing(visit, scheme, width):
    page = opened(visit, "?t=3&l=2&e=4", scheme=scheme, width=width)
    assert errors(page) == []
    assert overflow(page) <= 0
    found = violations(page)
    assert not found, "\n".join(found)


def test_an_old_link_that_names_a_quantity_shows_it(visit):
    page = opened(visit, "?view=margin&t=3&l=2")
    page.get_by_text("The last expert chosen beat the next by").wait_for()
    expect(page.get_by_test_id("grid-title")).to_contain_text("token 3")


def test_a_changed_word_shows_which_tokens_went_elsewhere(visit):
    page = opened(visit)
    first = run(page, "The cat sat on the mat, and the dog sat on the cat.")
    page.get_by_role("textbox", name="Your text").fill("The owl sat on the mat, and the dog sat on the cat.")
    page.get_by_role("textbox", name="Your text").press("Tab")
    settled(page)
    page.get_by_role("button", name="Run and compare").click()
    page.wait_for_url(re.compile(f"vs={first}"))
    settled(page)
    page.get_by_text("What did the change do to the routes?").wait_for()
    change = page.locator(".gs-change")
    assert change.locator("del").count() > 0 < change.locator("ins").count()
    moved = change.locator("section").nth(1).locator("mark")
    assert moved.count() == change.locator("section").nth(0).locator("mark").count() > 0
    assert not violations(page)
    page.get_by_role("button", name="Compare them in full").click()
    page.wait_for_url(re.compile(rf"/compare\?.*vs={first}"))


def test_tokens_are_seen_as_they_are_written_and_kept_when_it_is_stopped(visit):
    page = opened(visit)
    page.get_by_role("button", name="Options").click()
    page.get_by_role("spinbutton", name="Tokens to generate").fill("256")
    page.get_by_role("spinbutton", name="Tokens to generate").press("Enter")
    page.keyboard.press("Escape")
    ask(page, "Once upon a time there was a mill by the river.")
    page.get_by_role("button", name="Stop, and keep what was written").wait_for()
    page.wait_for_function(
        """() => [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')]
            .some((host) => host.shadowRoot?.querySelectorAll('.token.generated[data-column]').length > 3)"""
    )
    page.get_by_role("button", name="Stop, and keep what was written").click()
    page.wait_for_url(re.compile(r"[?&]c=[a-z2-7]{16}&t="))
    settled(page)
    written = page.locator(".token.generated[data-column]").count()
    assert 3 < written < 256
    page.get_by_text(f"generated {written})").wait_for()


def test_a_reload_in_the_middle_of_a_text_goes_on_with_it_and_keeps_what_was_typed(visit):
    page = visit()
    settled(page)
    page.get_by_role("button", name="Options").click()
    page.get_by_role("spinbutton", name="Tokens to generate").fill("256")
    page.get_by_role("spinbutton", name="Tokens to generate").press("Enter")
    page.keyboard.press("Escape")
    ask(page, "The reload came in the middle")
    page.wait_for_function("() => /c=[a-z2-7]{16}/.test(location.search)")
    page.reload()
    page.get_by_test_id("tokens").filter(has_text="reload").wait_for()
    assert page.get_by_role("textbox", name="Your text").input_value() == "The reload came in the middle"
    page.wait_for_function("() => /t=\\d+/.test(location.search)")
    settled(page)
    assert errors(page) == []
