"""Whether a study is all of its corpus: numbers of a part of it are never given for those of the whole unsaid."""

from collections.abc import Sequence

from gatescope.cache.study import StudyFolder
from gatescope.routing.errors import StoreError

MOST_NAMED = 5
"""Faults that are named; of more, only their number."""

AGAIN = {"imported": "import the trace", "simulated": "run the simulation"}
"""By an entry of the recipe, what makes the missing blocks; a capture has neither."""


def check_whole(folder: StudyFolder, *, name: str = "", do: str = "") -> None:
    """Errors: StoreError where a study lacks blocks of its corpus, or is still being captured.

    `name` is how the study is called where its folder is nobody's business, `do` what can be done about it there.
    """
    if not (lacks := folder.lacking()):
        return
    recipe = folder.recipe()
    again = next((words for key, words in AGAIN.items() if key in recipe), "run the capture")
    raise StoreError(
        f"the study {name or folder.folder} is not whole: {shortly(lacks)}",
        expected="every block of its corpus, as it was written",
        do=do
        or f"{again} again with the same options, which fills the gaps; "
        "or, to have the numbers of those blocks alone that are whole: analyze --partial",
    )


def shortly(lacks: Sequence[str]) -> str:
    """The first few of many faults, and how many more there are."""
    more = [f"and {len(lacks) - MOST_NAMED:,} more"] if len(lacks) > MOST_NAMED else []
    return "; ".join([*lacks[:MOST_NAMED], *more])


def part_of(lacks: Sequence[str]) -> str:
    """The sentence that stands over the numbers of a study that is not whole.

    >>> part_of(["block 3 is not there"])
    'These numbers are of a part of the corpus only: block 3 is not there.'
    """
    return f"These numbers are of a part of the corpus only: {shortly(lacks)}."
