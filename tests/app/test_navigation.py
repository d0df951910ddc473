"""Pages are files: the navigation reads their literal and runs none of them."""

import pytest

from gatescope.app.shell.navigation import find_pages, read_page
from gatescope.routing.errors import OptionError

GOOD = 'PAGE = {"title": "T", "icon": ":material/x:", "help": "H.", "order": %d, "group": "G"}\nraise SystemExit\n'


def test_pages_come_in_their_order_and_are_not_run(tmp_path):
    for name, order in (("b", 1), ("a", 2), ("c", 0)):
        (tmp_path / f"{name}.py").write_text(GOOD % order)
    (tmp_path / "__init__.py").write_text("")
    assert [page.path.stem for page in find_pages(tmp_path)] == ["c", "b", "a"]


def test_the_dashboard_starts_on_the_prompt():
    assert find_pages()[0].path.name == "prompt.py"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PAGE = dict(title='T')",
        "PAGE = {'title': 'T'}",
        "PAGE = {'title': 1, 'icon': '', 'help': '', 'order': 1}",
        "PAGE = {'title': 'T', 'icon': '', 'help': '', 'order': 1, 'group': 'G', 'more': 2}",
        "PAGE = ['T']",
    ],
)
def test_a_page_without_a_readable_literal_is_named(tmp_path, text):
    path = tmp_path / "page.py"
    path.write_text(text)
    with pytest.raises(OptionError, match=r"page\.py"):
        read_page(path)
