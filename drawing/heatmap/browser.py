"""The browser's half as text, for hosts to hand over."""

from pathlib import Path

from gatescope.drawing.modules import join_modules

_HERE = Path(__file__).parent


def script(host: str) -> str:
    """The script of a host, and of all that it draws with: `streamlit`, `pin`, `feed`, `page` or `widget`."""
    return join_modules(_HERE / f"{host}.js")


def style() -> str:
    """The look of the heatmap. Colours, font and radii are the host's: variables that begin with `--st-`."""
    return (_HERE / "heatmap.css").read_text("utf-8")


def markup() -> str:
    """The elements that the script fills."""
    return (_HERE / "heatmap.html").read_text("utf-8")


def trace_style() -> str:
    """The look of a trace outside the dashboard, with light and dark colours of its own."""
    return (_HERE / "trace.css").read_text("utf-8") + style()


def trace_markup() -> str:
    """The elements of a trace outside the dashboard."""
    return (_HERE / "trace.html").read_text("utf-8").replace("<!-- heatmap -->", markup())
