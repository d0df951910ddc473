"""Reading the routers of real models. The only importer of torch and transformers, beside the training recipe."""

from typing import Any

from hooks.capture import capture, capture_batch
from hooks.corpus import capture_corpus, find_batch_tokens, stream_corpus
from hooks.loading import attach, load_model
from hooks.model import LoadedModel
from hooks.options import CaptureOptions
from hooks.recording import Recording, record
from hooks.selfcheck_report import Check, SelfCheckReport

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
    from hooks.training import RoutingCallback

    return RoutingCallback
