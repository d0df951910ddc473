"""Gatescope: where a Mixture-of-Experts model sends each token.

    from gatescope import record                    # around your own code: hooks on, routing recorded as executed
    from gatescope import load_model, capture       # a model by name, folder or hub id, and one text through it
    from gatescope import METRICS, tally            # what routing says, with nulls and intervals

These names are the public interface (docs/api.md); everything else may change from one version to the next.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatescope.analysis.counting import tally
    from gatescope.analysis.metrics import METRICS
    from gatescope.analysis.registry import MetricOptions, Result
    from gatescope.analysis.tally.tally import Tally
    from gatescope.cache.store import Store
    from gatescope.corpora import open_corpus, probe
    from gatescope.drawing.notebook import show
    from gatescope.drawing.one_file import to_html
    from gatescope.hooks import (
        CaptureOptions,
        LoadedModel,
        Recording,
        RoutingCallback,
        attach,
        capture,
        capture_corpus,
        load_model,
        record,
    )
    from gatescope.routing import Document, Flag, RouterRule, RoutingRecord
    from gatescope.routing.errors import GatescopeError

__version__ = "0.1.0"

_HERE = Path(__file__).parent
if not (_HERE / "hooks").is_dir():  # a checkout: the packages lie beside this folder, an installation has them in it
    __path__.append(str(_HERE.parent))

_HOMES = {
    "gatescope.hooks": (
        "CaptureOptions", "LoadedModel", "Recording", "RoutingCallback", "attach", "capture", "capture_corpus",
        "load_model", "record",
    ),
    "gatescope.drawing.one_file": ("to_html",),
    "gatescope.drawing.notebook": ("show",),
    "gatescope.routing": ("Document", "Flag", "RouterRule", "RoutingRecord"),
    "gatescope.routing.errors": ("GatescopeError",),
    "gatescope.analysis.metrics": ("METRICS",),
    "gatescope.analysis.registry": ("MetricOptions", "Result"),
    "gatescope.analysis.tally.tally": ("Tally",),
    "gatescope.analysis.counting": ("tally",),
    "gatescope.cache.store": ("Store",),
    "gatescope.corpora": ("open_corpus", "probe"),
}  # fmt: skip
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "METRICS",
    "CaptureOptions",
    "Document",
    "Flag",
    "GatescopeError",
    "LoadedModel",
    "MetricOptions",
    "Recording",
    "Result",
    "RouterRule",
    "RoutingCallback",
    "RoutingRecord",
    "Store",
    "Tally",
    "__version__",
    "attach",
    "capture",
    "capture_corpus",
    "load_model",
    "open_corpus",
    "probe",
    "record",
    "show",
    "tally",
    "to_html",
]


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
