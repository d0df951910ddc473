"""`python -m tests.installed_tree`: the packages in one folder, as an installation has them, for checkers of files.

mypy, pyright and import-linter look for `gatescope.hooks` in a folder `gatescope/`. In a checkout `hooks/` lies beside
it (`gatescope/__init__.py` finds it there), so `.typing/gatescope/` holds links to all modules. `make check` makes it.
"""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
TREE = ROOT / ".typing" / "gatescope"
PACKAGES = (
    "routing",
    "hooks",
    "cache",
    "corpora",
    "analysis",
    "engines",
    "simulation",
    "models",
    "training",
    "studies",
    "drawing",
    "server",
    "app",
    "cli",
)


def link_modules() -> None:
    """Lay the tree out anew."""
    shutil.rmtree(TREE, ignore_errors=True)
    for folder, inside in ((ROOT / "gatescope", TREE), *((ROOT / name, TREE / name) for name in PACKAGES)):
        for path in folder.rglob("*.py*"):
            if path.suffix in (".py", ".pyi") or path.name == "py.typed":
                link = inside / path.relative_to(folder)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path)


if __name__ == "__main__":
    link_modules()
