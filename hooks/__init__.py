"""Reading the routers of real models. The only importer of torch and transformers, beside the training recipe."""

from hooks.capture import capture, capture_batch
from hooks.corpus import capture_corpus
from hooks.loading import attach, load_model
from hooks.model import LoadedModel
from hooks.options import CaptureOptions
from hooks.selfcheck_report import Check, SelfCheckReport

__all__ = [
    "CaptureOptions",
    "Check",
    "LoadedModel",
    "SelfCheckReport",
    "attach",
    "capture",
    "capture_batch",
    "capture_corpus",
    "load_model",
]
