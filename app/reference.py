"""The parts of the docs that are written from the code; `make docs` writes them."""

from pathlib import Path

from pydantic.fields import FieldInfo

from gatescope.analysis.metrics import METRICS
from gatescope.analysis.registry import AXES, Metric
from gatescope.app.shell.navigation import find_pages
from gatescope.server.settings import Settings

ROOT = Path(__file__).parents[1]
README, CATALOGUE, DASHBOARD = ROOT / "README.md", ROOT / "docs" / "metrics.md", ROOT / "docs" / "dashboard.md"
BEGIN, END = "<!-- settings: written by make docs -->\n", "<!-- end of settings -->\n"
PAGES_BEGIN, PAGES_END = "<!-- pages: written by make docs -->\n", "<!-- end of pages -->\n"
METRICS_BEGIN, METRICS_END = "<!-- metrics: written by make docs -->\n", "<!-- end of metrics -->\n"


def settings_table() -> str:
    """Every setting as a row of a Markdown table: environment variable, default, meaning."""
    rows = [f"| `GATESCOPE_{name.upper()}` | {_default(field)} | {_words(field)} |" for name, field in _fields()]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows]) + "\n"


def with_settings(text: str) -> str:
    """A README's text with the table of settings as it is now. Errors: ValueError where the marks are missing."""
    return _between(text, BEGIN, END, settings_table())


def with_metrics(text: str) -> str:
    """The catalogue's text with every metric as it is declared now. Errors: ValueError where the marks are missing."""
    return _between(text, METRICS_BEGIN, METRICS_END, metrics_list())


def with_pages(text: str) -> str:
    """A text with every page of the dashboard as its file says. Errors: ValueError where the marks are missing."""
    return _between(text, PAGES_BEGIN, PAGES_END, pages_table())


def pages_table() -> str:
    """Every page as a row of a Markdown table: where it is found in the navigation and by its address, and what for."""
    pages = find_pages()
    first = pages[0]
    rows = [
        f"| {page.group} | **{page.title}** | `/{'' if page is first else page.address}` | {page.help} |"
        for page in pages
    ]
    return "\n".join(["| group | page | address | what it answers |", "|---|---|---|---|", *rows]) + "\n"


def metrics_list() -> str:
    """Every metric by topic, the file it is declared in."""
    topics: dict[str, list[Metric]] = {}
    for metric in METRICS.values():
        topics.setdefault(metric.compute.__module__.rpartition(".")[2], []).append(metric)
    return "\n".join(f"## {topic.capitalize()}\n\n{_rows(found)}" for topic, found in sorted(topics.items()))


def _rows(metrics: list[Metric]) -> str:
    names = "| metric | what it says | unit, range | for each | chance, an even router | source |\n"
    return names + "|---|---|---|---|---|---|\n" + "".join(_row(metric) for metric in metrics)


def _row(metric: Metric) -> str:
    least, greatest = (f"{end:g}" if end is not None else "…" for end in metric.range)
    places = " × ".join(AXES[letter] for letter in metric.axes) or "the whole"
    by = f"; by {' or '.join(name for name in metric.by if name)}" if any(metric.by) else ""
    chance = "; ".join(part for part in (metric.null, metric.uniform and f"even: {metric.uniform}") if part)
    unit = f"{metric.unit}, {least} to {greatest}"
    cells = f"`{metric.name}`", f"**{metric.title}.** {metric.meaning}", unit, places + by, chance, metric.source
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _between(text: str, begin: str, end: str, made: str) -> str:
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the page lacks the lines {begin.strip()!r} and {end.strip()!r}")
    return before + begin + made + end + after


def _fields() -> list[tuple[str, FieldInfo]]:
    return list(Settings.model_fields.items())


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "`~/.cache/gatescope`"
    return f"`{field.default}`" if field.default not in ("", ()) else ""


def _words(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


if __name__ == "__main__":
    README.write_text(with_settings(README.read_text("utf-8")), "utf-8")
    DASHBOARD.write_text(with_pages(DASHBOARD.read_text("utf-8")), "utf-8")
    CATALOGUE.write_text(with_metrics(CATALOGUE.read_text("utf-8")), "utf-8")
