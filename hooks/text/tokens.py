"""A text as a tokenizer reads it: its token ids, and which of them the chat template added."""

from dataclasses import dataclass
from typing import Any

from gatescope.hooks.text.chat import as_turn

PLACE = "the-text-stands-here"  # rendered in the text's stead, to find where a chat template puts it


@dataclass(frozen=True)
class Prompt:
    """One text and its token ids; `is_template` marks those that the chat template added around it."""

    text: str
    ids: tuple[int, ...]
    is_template: tuple[bool, ...]


def tokenise(tokenizer: Any, text: str, *, chat: bool) -> Prompt:
    """Token ids of a text, with the special tokens the tokenizer adds, or inside its chat template."""
    if not chat:
        ids = tokenizer(text, verbose=False)["input_ids"]
        return Prompt(text, tuple(ids), (False,) * len(ids))
    rendered = as_turn(tokenizer, text)
    encoded = tokenizer(rendered, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast, verbose=False)
    ids = tuple(encoded["input_ids"])
    start = len(as_turn(tokenizer, PLACE).partition(PLACE)[0])
    inside = next((own for own in (text, text.strip()) if rendered.startswith(own, start)), None)
    if inside is None or not tokenizer.is_fast:
        return Prompt(text, ids, (False,) * len(ids))
    end = start + len(inside)
    return Prompt(text, ids, tuple(not (low < end and high > start) for low, high in encoded["offset_mapping"]))
