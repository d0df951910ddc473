"""What is said around a figure: its question, one computed sentence, and what its numbers stand on."""

from dataclasses import dataclass
from typing import Literal

BADGES: dict[str, tuple[Literal["gray", "green", "violet", "orange"], str]] = {
    "": ("gray", ""),
    "observed": ("gray", "What was counted here; no null was tried."),
    "beyond null": ("green", "More than chance alone gives, by the null named under the figure."),
    "replicated": ("violet", "Beyond chance, and again in documents it was not made from."),
    "causal": ("orange", "The model's output changes when it is taken away."),
}
"""How far a claim goes: its colour, and what the word promises."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """What is said around a figure. Plain text: nothing in it is taken for markup.

    question    the title, as a question
    takeaway    one sentence computed from the data
    population  what was counted: "N = 111,104 tokens of 552 documents"
    unit, null  of the numbers; what chance alone would give, and how it was made
    badge       one of `BADGES`
    metric      a name of the registry: its definition is shown under About
    says        further lines there: a word and its text
    """

    question: str
    takeaway: str
    population: str = ""
    unit: str = ""
    null: str = ""
    badge: str = ""
    metric: str = ""
    says: tuple[tuple[str, str], ...] = ()

    @property
    def foot(self) -> str:
        """The line under the figure."""
        return " · ".join(filter(None, (self.population, f"unit: {self.unit}" if self.unit else "", self.null)))

    @property
    def alt(self) -> str:
        """What is said to who does not see the figure."""
        return " ".join(filter(None, (self.question, self.takeaway, self.foot)))
