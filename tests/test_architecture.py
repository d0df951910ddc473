"""The house rules that a reader may rely on: imports point one way, and nothing hides."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "routing": set(),
    "hooks": {"routing"},
    "cache": {"routing"},
    "corpora": {"routing"},
    "analysis": {"routing"},
    "engines": {"routing", "cache"},
    "models": {"routing", "hooks", "cache", "corpora", "analysis"},
    "app": {"routing", "hooks", "cache", "corpora", "analysis", "engines", "models"},
}
ONLY_IN = {"torch": {"hooks", "models"}, "transformers": {"hooks", "models"}, "streamlit": {"app"}}
HARD_LIMIT = 400
FILES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))


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
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_point_one_way(path):
    package = path.relative_to(ROOT).parts[0]
    found = set(imported(ast.parse(path.read_text(encoding="utf-8"))))
    assert (found & set(MAY_IMPORT)) - {package} <= MAY_IMPORT[package]
    assert {library for library in found & set(ONLY_IN) if package not in ONLY_IN[library]} == set()


def test_a_wrong_arrow_would_be_seen():
    tree = ast.parse("def f():\n    from app.state import read\n    import torch.nn as nn")
    assert set(imported(tree)) == {"app", "torch"}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_files_stay_readable_and_documented(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= HARD_LIMIT
    assert ast.get_docstring(ast.parse(text)) or not text.strip(), "a module says what it is for"


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
    import routing.errors as errors

    drawn = {word for word in errors.__doc__.split() if word.endswith("Error")}
    exist = {item for item, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert drawn == exist


def test_every_library_in_use_is_pinned():
    pins = set(re.findall(r"^([\w-]+)==[\w.]+$", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    pinned = {name.lower().replace("_", "-") for name in pins}
    used = {word for path in FILES for word in imported(ast.parse(path.read_text(encoding="utf-8")))}
    foreign = used - set(sys.stdlib_module_names) - set(MAY_IMPORT)
    owners = packages_distributions()
    assert {word for word in foreign if owners[word][0].lower().replace("_", "-") not in pinned} == set()


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
