"""The settings the dashboard starts with, and the caches it keeps."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text("utf-8"))
SOURCES = sorted((ROOT / "app").rglob("*.py"))


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("server", "address", "127.0.0.1"),
        ("server", "enableXsrfProtection", True),
        ("server", "enableCORS", True),
        ("server", "enableAgentApi", False),
        ("browser", "gatherUsageStats", False),
        ("browser", "serverAddress", "localhost"),
        ("client", "showErrorDetails", "type"),
        ("runner", "magicEnabled", False),
    ],
)
def test_the_dashboard_is_safe_as_it_comes(section, name, value):
    assert CONFIG[section][name] == value


def test_other_host_names_are_refused():
    assert CONFIG["server"]["allowedHosts"]
    assert "*" not in CONFIG["server"]["allowedHosts"]


def test_every_setting_is_one_streamlit_knows():
    from streamlit import config

    known = config.get_config_options()
    named = [
        f"{section}.{name}" for section, names in CONFIG.items() for name in names if not isinstance(names[name], dict)
    ]
    assert [name for name in named if name not in known] == []


def _caches(path: Path):
    """Functions of a file with a Streamlit cache, and the cache's call."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        for mark in getattr(node, "decorator_list", ()):
            if "st.cache_" in ast.unparse(mark):
                yield node, mark


def test_every_cache_is_bounded_and_keyed_by_names():
    found = [(path.name, node, mark) for path in SOURCES for node, mark in _caches(path)]
    assert found
    for name, node, mark in found:
        assert "max_entries" in ast.unparse(mark), f"{name}: {node.name} may grow without end"
        kinds = {ast.unparse(argument.annotation) for argument in node.args.args if argument.annotation}
        assert kinds <= {"str", "int"}, f"{name}: {node.name} is keyed by {kinds}"


@pytest.mark.parametrize("word", ["unsafe_allow_html", "unsafe_allow_javascript", "trust_remote_code=True", "pickle"])
def test_nothing_unsafe_is_asked_for(word):
    asked = [str(path) for path in SOURCES if word in path.read_text("utf-8").replace("allow_pickle=False", "")]
    assert asked == []
