"""The pages of the dashboard, read from the files in `app/pages`: a page is one script with a `PAGE` literal.

    PAGE = {"title": "Prompt", "icon": ":material/short_text:", "help": "One sentence.", "order": 10, "group": "Look"}

The literal is read, not run, so that building the navigation never executes a page. The page with the lowest `order` is
the one at the bare address; every other file's name is its address. Pages of one `group` stand together.
"""

import ast
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route

from gatescope.routing.errors import OptionError

PAGES = Path(__file__).parents[1] / "pages"
_KINDS: dict[str, type] = {"title": str, "icon": str, "help": str, "order": int, "group": str}


@dataclass(frozen=True, kw_only=True)
class PageFile:
    """One page: its script and what the navigation says about it."""

    path: Path
    title: str
    icon: str
    help: str
    order: int
    group: str

    @property
    def address(self) -> str:
        """Where the page is found, after the server's own address."""
        return self.path.stem


def find_pages(folder: Path = PAGES) -> list[PageFile]:
    """All pages of a folder, in the order of the navigation.

    Errors   OptionError when a file has no `PAGE` literal, or one with a key missing, unknown or of the wrong kind
    """
    return list(_found(tuple(sorted(folder.glob("*.py")))))


@lru_cache(maxsize=8)
def _found(paths: tuple[Path, ...]) -> tuple[PageFile, ...]:
    """Read once: the navigation is asked for by every link."""
    pages = [read_page(path) for path in paths if path.name != "__init__.py"]
    return tuple(sorted(pages, key=lambda page: (page.order, page.path.name)))


def first_page_route(base: str = "") -> Route:
    """The way from the first page's own name to the bare address, where Streamlit shows it, with the rest of a link.

    `base` is the path below which the server lies.
    """

    def go(request: Request) -> RedirectResponse:
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"./{query}")

    inner = base.strip("/")
    return Route(f"{f'/{inner}' if inner else ''}/{find_pages()[0].address}", go)


def read_page(path: Path) -> PageFile:
    """The page in a file, from its `PAGE` literal."""
    for node in ast.parse(path.read_text("utf-8"), str(path)).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["PAGE"]:
            return PageFile(path=path, **_checked(path, node.value))
    raise _unreadable(path, "no PAGE literal")


def _checked(path: Path, node: ast.expr) -> dict[str, Any]:
    try:
        found = ast.literal_eval(node)
    except ValueError:
        raise _unreadable(path, "a PAGE that is not a literal") from None
    page: dict[str, Any] = found if isinstance(found, dict) else {}
    if {name: type(value) for name, value in page.items()} != _KINDS:
        raise _unreadable(path, f"PAGE = {found!r}")
    return page


def _unreadable(path: Path, found: str) -> OptionError:
    wanted = ", ".join(f"{name} ({kind.__name__})" for name, kind in _KINDS.items())
    return OptionError(
        f"{path}: {found}", expected=f"PAGE = {{...}} with {wanted}", do="write it at the head of the file"
    )
