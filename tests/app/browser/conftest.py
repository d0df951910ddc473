"""The servers of the browser tests: one shows what a fresh clone shows, one has a tiny random model."""

import pytest

from gatescope.cache.store import Store
from tests.app.browser.harness import People, address, serving  # noqa: F401  # a fixture


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Where the server of the bundled models keeps what it has, and its log."""
    return tmp_path_factory.mktemp("bundled")


@pytest.fixture(scope="session")
def bundled(folder):
    """A dashboard as a fresh clone starts it: the bundled models, nothing captured."""
    with serving(folder) as url:
        yield url


@pytest.fixture(scope="session")
def store(folder, bundled):  # noqa: ARG001 - the server makes the folder
    """The captures of that server, as another process sees them."""
    return Store(folder / "captures")


@pytest.fixture
def visit(browser, bundled):
    """Opens a page of the bundled models as a new person; at the end none has seen an error or called another host."""
    people = People(browser, bundled)
    yield people
    people.leave()
