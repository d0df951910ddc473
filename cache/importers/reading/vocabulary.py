"""Numbers for things that a trace only names: texts of tokens whose ids it does not hold, names of documents."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Vocabulary:
    """Numbers by order of appearance, the same for the same text all over a trace.

    >>> words = Vocabulary()
    >>> words.numbers([" the", " cat", " the"]).tolist(), words.texts
    ([0, 1, 0], {0: ' the', 1: ' cat'})
    """

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self._number: dict[str, int] = {}

    def numbers(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The number of each text; new ones are numbered on."""
        number = self._number
        found = [number.setdefault(text, len(number)) for text in texts]
        for text, at in list(number.items())[len(self.texts) :]:
            self.texts[at] = text
        return np.array(found, np.int64)
