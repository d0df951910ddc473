"""The house rules that a reader may rely on, beside the contracts of imports in `.importlinter`."""

import ast
import importlib
import re
import sys
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.installed_tree import PACKAGES

ROOT = Path(__file__).parents[1]
HARD_LIMIT = 400
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imported(tree):
    """Top-level names of everything a module imports, at whatever depth in its code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def name(path):
    return str(path.relative_to(ROOT))


def test_every_package_has_files_to_walk():
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(PACKAGES)


def test_the_contracts_of_imports_speak_of_every_package():
    contracts = ConfigParser()
    contracts.read(ROOT / ".importlinter")
    layers = set(contracts["importlinter:contract:packages"]["layers"].split()) - {"|", ":"}
    assert layers == {f"gatescope.{package}" for package in PACKAGES}


def test_imports_by_name_are_few_and_known():
    """The contracts do not see them: folders that import all their files, and an extra library."""
    found = {name(path) for path in FILES if "import_module(" in path.read_text(encoding="utf-8")}
    folders = {f"{folder}/__init__.py" for folder in ("analysis/metrics", "cache/importers", "corpora/formats")}
    assert found == folders | {"studies/ray_cluster.py", "drawing/notebook.py"}


def test_the_list_of_statistics_is_read_only_where_it_is_full():
    """It fills as the files of metrics are imported, which `counting` does and `tally` alone does not."""
    own = {name(path) for path in FILES if re.search(r"\bSTATISTICS\b", path.read_text(encoding="utf-8"))}
    assert own == {f"analysis/{file}.py" for file in ("tally/tally", "counting", "registry")}


def test_files_stay_readable_and_documented():
    faults = []
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > HARD_LIMIT:
            faults.append(f"{name(path)} has more than {HARD_LIMIT} lines")
        if text.strip() and not ast.get_docstring(ast.parse(text)):
            faults.append(f"{name(path)} does not say what it is for")
    assert faults == []


def test_public_functions_are_typed_and_documented():
    faults = []
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                if not ast.get_docstring(node):
                    faults.append(f"{name(path)}:{node.lineno} {node.name} has no docstring")
                if isinstance(node, ast.FunctionDef) and node.returns is None:
                    faults.append(f"{name(path)}:{node.lineno} {node.name} has no return type")
    assert faults == []


def test_errors_in_the_tree_are_the_errors_that_exist():
    import gatescope.routing.errors as errors

    drawn = {word for word in errors.__doc__.split() if word.endswith("Error")}
    exist = {item for item, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert drawn == exist


def test_every_library_in_use_is_pinned():
    pins = set(re.findall(r"^([\w-]+)==[\w.]+$", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    pinned = {name.lower().replace("_", "-") for name in pins}
    used = {word for path in FILES for word in imported(ast.parse(path.read_text(encoding="utf-8")))}
    foreign = used - set(sys.stdlib_module_names) - {"gatescope"}
    owners = packages_distributions()
    assert {word for word in foreign if owners[word][0].lower().replace("_", "-") not in pinned} == set()


def test_our_own_modules_are_imported_under_one_name():
    """Two names for one module would register its metrics twice, and a user's own `models` would be taken for ours."""
    faults = []
    for folder in (*PACKAGES, "gatescope", "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            bare = set(imported(ast.parse(path.read_text(encoding="utf-8")))) & set(PACKAGES)
            faults += [f"{name(path)} imports {package} without gatescope" for package in bare]
    assert faults == []


def test_pure_figures_do_not_use_streamlit():
    """The contracts of imports say it of `app/charts`; in a page's folder these files stand beside others that do.

    Nor do they use what is built on it: they are made of a page's captures alone, and `shell` draws what they return.
    """
    figures = sorted((ROOT / "app" / "views").rglob("*_figure.py"))
    assert figures
    drawing = re.compile(r"^\s*(from|import) (streamlit|gatescope\.app\.shell)\b", re.MULTILINE)
    assert [name(path) for path in figures if drawing.search(path.read_text(encoding="utf-8"))] == []


def test_caches_are_never_keyed_by_arrays():
    """st.cache_data hashes large arrays by sample: cached functions take ids and scalars only."""
    faults = []
    for path in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and any("cache_" in ast.unparse(mark) for mark in node.decorator_list):
                for argument in node.args.args:
                    kind = ast.unparse(argument.annotation) if argument.annotation else ""
                    if not argument.arg.startswith("_") and kind not in ("str", "int", "float", "bool"):
                        faults.append(f"{name(path)}: {node.name}({argument.arg}: {kind or 'untyped'})")
    assert faults == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py")))
def test_a_benchmark_imports_what_there_is(name):
    """Nothing else runs them between two releases."""
    importlib.import_module(f"benchmarks.{name}")
