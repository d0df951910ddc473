"""Reading the routers of real models. The only importer of torch and transformers, beside the training recipe."""

from typing import Any

from gatescope.hooks.capturing.capture import capture, capture_batch
from gatescope.hooks.capturing.corpus import capture_corpus, find_batch_tokens, stream_corpus
from gatescope.hooks.capturing.live import Live
from gatescope.hooks.capturing.options import CaptureOptions
from gatescope.hooks.live.recording import Recording, record
from gatescope.hooks.loading.load import attach, load_model
from gatescope.hooks.loading.model import LoadedModel
from gatescope.hooks.loading.selfcheck_report import Check, SelfCheckReport
from gatescope.hooks.text.tokens import Prompt

__all__ = [
    "CaptureOptions",
    "Check",
    "Live",
    "LoadedModel",
    "Prompt",
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
    from gatescope.hooks.live.training import RoutingCallback

    return RoutingCallback
