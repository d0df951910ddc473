"""The parts of the README that are written from the code: `python -m app.reference` (or `make docs`) writes them."""

from pathlib import Path

from pydantic.fields import FieldInfo

from app.settings import Settings

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- settings: written by make docs -->\n", "<!-- end of settings -->\n"


def settings_table() -> str:
    """Every setting as a row of a Markdown table: environment variable, default, meaning."""
    rows = [f"| `GATESCOPE_{name.upper()}` | {_default(field)} | {_words(field)} |" for name, field in _fields()]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows]) + "\n"


def with_settings(text: str) -> str:
    """A README's text with the table of settings as it is now. Errors: ValueError where the marks are missing."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"README.md lacks the lines {BEGIN.strip()!r} and {END.strip()!r}")
    return before + BEGIN + settings_table() + END + after


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
