"""Every page as it first stands: no error, nothing cut off, nothing that bars a reader, nothing sent elsewhere."""

import pytest

from tests.app.browser.harness import PATHS, errors, overflow, settled, violations

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("width", [1400, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PATHS)
def test_a_page_stands_without_error_cut_or_barrier(visit, name, scheme, width):
    page = visit(PATHS[name], width=width, scheme=scheme)
    settled(page)
    assert page.locator("h1").count() == 1
    assert errors(page) == []
    assert overflow(page) <= 0
    found = violations(page)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", PATHS)
def test_a_page_can_be_read_at_twice_its_size(visit, name):
    page = visit(PATHS[name], width=700, height=500, device_scale_factor=2)  # 1400 pixels at 200 %
    settled(page)
    assert errors(page) == []
    assert overflow(page) <= 0
