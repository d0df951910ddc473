"""Reading the routers of real models. The only importer of torch and transformers, beside the training recipe."""

from typing import Any

from gatescope.hooks.capture import capture, capture_batch
from gatescope.hooks.corpus import capture_corpus, find_batch_tokens, stream_corpus
from gatescope.hooks.loading import attach, load_model
from gatescope.hooks.model import LoadedModel
from gatescope.hooks.options import CaptureOptions
from gatescope.hooks.recording import Recording, record
from gatescope.hooks.selfcheck_report import Check, SelfCheckReport

__all__ = [
    "CaptureOptions",
    "Check",
    "LoadedModel",
    "Recording",
    "RoutingCallback",
    "SelfCheckReport",
    "attach",
    "capture",
    "capture_batch",
    "capture_corpus",
    "find_batch_tokens",
    "load_model",
    "record",
    "stream_corpus",
]


def __getattr__(name: str) -> Any:
    """The callback on demand: importing the trainer takes seconds."""
    if name != "RoutingCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gatescope.hooks.training import RoutingCallback

    return RoutingCallback
