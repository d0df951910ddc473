"""The servers of the browser tests: one shows what a fresh clone shows, one has a tiny random model."""

import pytest

from tests.app.browser.harness import People, address, browser, serving  # noqa: F401  # fixtures


@pytest.fixture(scope="session")
def bundled(tmp_path_factory):
    """A dashboard as a fresh clone starts it: the bundled models, nothing captured."""
    with serving(tmp_path_factory.mktemp("bundled")) as url:
        yield url


@pytest.fixture
def visit(browser, bundled):  # noqa: F811
    """Opens a page of the bundled models as a new person; at the end none has seen an error or called another host."""
    people = People(browser, bundled)
    yield people
    people.leave()
