"""What may be asked of a capture beyond the prompt's own routing."""

from dataclasses import asdict, dataclass

from gatescope.routing.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class CaptureOptions:
    """What to record beyond the prompt's own routing.

    `max_new_tokens` continues the text, greedily or sampled (`temperature`, `top_p`, `seed`). `chat` wraps the text in
    the tokenizer's chat template as one user turn. `scores` keeps what follows from the router's scores (margin,
    entropy, log-sum-exp, first rejected expert) beside ids and weights; `logits` keeps all scores, many times larger.
    Errors: OptionError for a value out of range.
    """

    max_new_tokens: int = 0
    sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    chat: bool = False
    logits: bool = False
    scores: bool = True

    def __post_init__(self) -> None:
        _check_range("max_new_tokens", self.max_new_tokens, 0, 100_000)
        _check_range("temperature", self.temperature, 0.01, 100.0)
        _check_range("top_p", self.top_p, 0.001, 1.0)

    def as_dict(self) -> dict[str, int | float | bool]:
        """Field names and values: part of a capture's identity. Keeping the scores, as captures do, goes unsaid."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("scores", True)}


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise OptionError(f"{name} is {value}", expected=f"{low:g} … {high:g}", do=f"choose {name} within that range")
