"""A text tokenised for one model, and checked to fit it."""

from gatescope.hooks.loading.model import LoadedModel
from gatescope.hooks.text.tokens import Prompt
from gatescope.routing.errors import OptionError, PromptError


def encode(model: LoadedModel, text: str | Prompt, *, chat: bool, new_tokens: int) -> Prompt:
    """Tokenise one text, unless that was done, and check that it fits the model. Errors: PromptError, OptionError."""
    if isinstance(text, Prompt):
        _check_length(model, text, new_tokens)
        return text
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
    prompt = model.tokenise(text, chat=chat)
    _check_length(model, prompt, new_tokens)
    return prompt


def _check_length(model: LoadedModel, prompt: Prompt, new_tokens: int) -> None:
    limit = model.max_tokens
    if len(prompt.ids) + new_tokens > limit:
        raise PromptError(
            f"{len(prompt.ids)} prompt tokens and {new_tokens} new ones",
            expected=f"at most {limit} together, the length {model.name} was made for",
            do=f"shorten the prompt by {len(prompt.ids) + new_tokens - limit} tokens, or generate fewer",
        )
