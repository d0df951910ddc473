"""The docs say what is true: families, settings, commands and errors that they name exist, and none is missing."""

import re
from pathlib import Path

import pytest

from gatescope.app.reference import CATALOGUE, DASHBOARD, with_metrics, with_pages, with_settings
from gatescope.server.settings import Settings
from gatescope.server.view import Span, View

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_settings_in_the_readme_are_the_settings():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_settings(text) == text, "run `make docs`"
    assert [name for name in Settings.model_fields if f"GATESCOPE_{name.upper()}" not in text] == []
    assert all(field.description for field in Settings.model_fields.values())


def test_the_catalogue_of_metrics_is_the_registry():
    text = CATALOGUE.read_text(encoding="utf-8")
    assert with_metrics(text) == text, "run `make docs`"


def test_a_readme_without_the_marks_is_refused():
    with pytest.raises(ValueError, match="lacks the lines"):
        with_settings("no table here")


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    paths = re.findall(r"`((?:app|analysis|cache|corpora|docs|hooks|models|routing|tests)/[\w./-]+)`", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing + [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_make_targets_exist(page):
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make (\w+)`", page.read_text(encoding="utf-8"))) <= targets


def test_the_pages_in_the_guide_to_the_dashboard_are_the_pages():
    text = DASHBOARD.read_text(encoding="utf-8")
    assert with_pages(text) == text, "run `make docs`"


def test_the_address_in_the_guide_to_the_dashboard_names_every_parameter():
    view = View(
        quantity="entropy",
        model="m",
        capture="c",
        reference="b",
        document=1,
        token=1,
        layer=1,
        expert=1,
        span=Span(1, 2),
        facet="prompt",
        slice="domain:code",
        by="language",
    )
    text = DASHBOARD.read_text(encoding="utf-8").partition("## The address")[2].partition("## ")[0]
    names = view.params(default=View(quantity="margin", model="other"))
    assert len(names) == 12
    assert [name for name in names if f"`{name}`" not in text] == []
