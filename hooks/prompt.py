"""A text as the model will read it: its token ids, and which of them the chat template added."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatescope.hooks.chat import as_turn
from gatescope.routing.errors import OptionError, PromptError

if TYPE_CHECKING:  # the model counts the tokens of a prompt, so it imports this file
    from gatescope.hooks.model import LoadedModel

PLACE = "the-text-stands-here"  # rendered in the text's stead, to find where a chat template puts it


@dataclass(frozen=True)
class Prompt:
    """Token ids of one text; `is_template` marks those that the chat template added around it."""

    ids: tuple[int, ...]
    is_template: tuple[bool, ...]


def encode(model: "LoadedModel", text: str, *, chat: bool, new_tokens: int) -> Prompt:
    """Tokenise one text and check that it fits the model. Errors: PromptError, OptionError."""
    if not isinstance(text, str):
        raise PromptError(f"a prompt of type {type(text).__name__}", expected="text", do="pass a string")
    if not text.strip():
        raise PromptError(
            f"an empty prompt ({len(text)} characters, all blank)",
            expected="at least one visible character",
            do="type or paste a text, or choose an example",
        )
    if chat and not model.has_chat_template:
        raise OptionError(f"{model.name} has no chat template", expected="a tokenizer with one", do="turn chat off")
    prompt = tokenise(model.tokenizer, text, chat=chat)
    _check_length(model, prompt, new_tokens)
    return prompt


def _check_length(model: "LoadedModel", prompt: Prompt, new_tokens: int) -> None:
    limit = model.max_tokens
    if len(prompt.ids) + new_tokens > limit:
        raise PromptError(
            f"{len(prompt.ids)} prompt tokens and {new_tokens} new ones",
            expected=f"at most {limit} together, the length {model.name} was made for",
            do=f"shorten the prompt by {len(prompt.ids) + new_tokens - limit} tokens, or generate fewer",
        )


def tokenise(tokenizer: Any, text: str, *, chat: bool) -> Prompt:
    """Token ids of a text, with the special tokens the tokenizer adds, or inside its chat template."""
    if not chat:
        ids = tokenizer(text, verbose=False)["input_ids"]
        return Prompt(tuple(ids), (False,) * len(ids))
    rendered = as_turn(tokenizer, text)
    encoded = tokenizer(rendered, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast, verbose=False)
    ids = tuple(encoded["input_ids"])
    start = len(as_turn(tokenizer, PLACE).partition(PLACE)[0])
    inside = next((own for own in (text, text.strip()) if rendered.startswith(own, start)), None)
    if inside is None or not tokenizer.is_fast:
        return Prompt(ids, (False,) * len(ids))
    end = start + len(inside)
    return Prompt(ids, tuple(not (low < end and high > start) for low, high in encoded["offset_mapping"]))
