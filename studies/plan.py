"""How a corpus is captured: what two runs must have in common to be one study."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from gatescope.routing.errors import OptionError
from gatescope.routing.record import Document
from gatescope.studies.blocks import MOST_CHARACTERS

if TYPE_CHECKING:  # torch takes seconds to import
    from gatescope.hooks import CaptureOptions, LoadedModel

Detail = Literal["counts", "ids", "weights"]
Long = Literal["split", "skip", "stop"]
DETAILS: dict[Detail, str] = {
    "counts": "tallies alone: no text, no token of any text",
    "ids": "the experts of every token",
    "weights": "those, their weights, and what follows from the router's scores",
}
SCORED = ("weight_tlk", "rejected_tl", "margin_tl", "entropy_tl", "lse_tl")
LEAST_TOKENS = 16
"""Room for text that a model must have beside the tokens it is to generate."""
TRIED = 256
"""Documents with which the size of a batch is found."""
CHARACTERS_A_TOKEN = 16
"""A text of more characters a token than this is not looked at whole: no tokenizer comes near on what people write."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a corpus is captured; everything here is part of the recipe that a study goes on with.

    detail          what is kept of every token; `scores`: share of the documents of which all router scores are kept
    long            a text beyond the model's length: cut at white space, left out and named, or the end of the run
    batch_tokens    places in a batch, padding included
    longest         characters of a text beyond which it is cut unseen, so that no block outgrows memory; 0: no limit
    """

    options: "CaptureOptions"
    detail: Detail = "weights"
    scores: float = 0.0
    long: Long = "split"
    batch_tokens: int = 1024
    longest: int = 0

    def __post_init__(self) -> None:
        if self.detail not in DETAILS:
            raise OptionError(f"detail {self.detail!r}", expected=f"one of {', '.join(DETAILS)}", do="choose one")
        if self.long not in ("split", "skip", "stop"):
            raise OptionError(f"long {self.long!r}", expected="split, skip or stop", do="choose one")
        if not 0 <= self.scores <= 1:
            raise OptionError(f"scores of {self.scores} of the documents", expected="0 to 1", do="give a share")
        if self.scores and self.detail == "counts":
            found = f"scores of {self.scores} of the documents, with counts alone"
            raise OptionError(found, expected="no scores where no token may be kept", do="leave one of the two out")

    def recipe(self, model: "LoadedModel", corpus: str) -> dict[str, Any]:
        """What two runs must have in common to be one study. Errors: OptionError for a plan that no text fits."""
        most_tokens(model, self)
        made = asdict(model.provenance(self.options.as_dict()))
        del made["device"], made["threads"]
        own = ("detail", "scores", "long", "batch_tokens", "longest")
        return {"corpus": corpus, **made, **{name: getattr(self, name) for name in own}}


def most_tokens(model: "LoadedModel", plan: Plan) -> int:
    """Tokens of the longest text that is captured whole. Errors: OptionError where hardly any would be."""
    most = model.max_tokens - plan.options.max_new_tokens
    if most < LEAST_TOKENS:
        raise OptionError(
            f"{plan.options.max_new_tokens:,} tokens to generate with {model.name}, which takes {model.max_tokens:,}",
            expected=f"room for {LEAST_TOKENS} tokens of text",
            do="generate fewer",
        )
    return most


def batch_tokens_for(model: "LoadedModel", documents: Sequence[Document]) -> int:
    """Places in a batch, as `hooks.find_batch_tokens` finds them with the first of these texts that fit."""
    from gatescope.hooks import find_batch_tokens  # torch takes seconds to import

    most = CHARACTERS_A_TOKEN * model.max_tokens
    few = [each for each in documents if each.text.strip() and len(each.text) <= most][:64]
    fits = [each for each in few if model.count_tokens(each.text) <= model.max_tokens]
    return find_batch_tokens(model, fits) if fits else 1024


def fitted(model: "LoadedModel", plan: Plan, first: Sequence[Document]) -> Plan:
    """A plan as it fits the model, tried with some documents: places in a batch, unless it says them, and lengths."""
    batch_tokens = plan.batch_tokens or batch_tokens_for(model, first)
    return replace(plan, batch_tokens=batch_tokens, longest=longest_text(model, plan.long))


def longest_text(model: "LoadedModel", long: Long) -> int:
    """Characters of the longest text that is looked at whole, for a plan: far more than any that fits."""
    return max(MOST_CHARACTERS, CHARACTERS_A_TOKEN * model.max_tokens) if long == "split" else 0
