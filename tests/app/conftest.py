"""Simulated pages, and the browser of all tests that drive one."""

import sys
from pathlib import Path

import pytest

from gatescope import hooks  # noqa: F401  # before a server's thread does: torch and transformers stand no company at their import
from gatescope.app.shell.session import FRAME
from tests.app.browser.harness import browser  # noqa: F401  # a fixture

sys.path.append(str(Path(FRAME).parent))
"""Streamlit puts the folder of a simulated page's script first in this list and takes it out again at every run, unless
it is there: an import, or a search for a library's version, that a thread is at meanwhile would miss one entry."""


@pytest.fixture(autouse=True)
def own_main():
    """A simulated run of a page takes the place of the main program, which processes started later would run again."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main
