"""How a study of the server is cut: blocks of about the same time, so that a prompt waits for one at most."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from gatescope.routing.record import Document
from gatescope.studies.blocks import Seen, Texts, cut
from gatescope.studies.manifest import Record, StudyManifest
from gatescope.studies.plan import CHARACTERS_A_TOKEN, TRIED, Plan, batch_tokens_for

if TYPE_CHECKING:  # torch takes seconds to import
    from gatescope.hooks import LoadedModel

BLOCK_SECONDS = 2.0
"""How long a block may take the model: so long a prompt waits for a study at most."""
LEAST_CHARACTERS, MOST_CHARACTERS = 2_000, 1 << 17


def plan_of(order: StudyManifest) -> Plan:
    """How an order is captured."""
    return plan_for(order.record, order.long, batch_tokens=order.batch_tokens or 1024, longest=order.longest)


def plan_for(record: Record, long: str, *, batch_tokens: int = 1024, longest: int = 0) -> Plan:
    """How texts are captured that are to be recorded so."""
    from gatescope.hooks import CaptureOptions

    return Plan(
        options=CaptureOptions(logits=record == "scores"),
        detail="ids" if record == "ids" else "weights",
        long="skip" if long == "skip" else "split",
        batch_tokens=batch_tokens,
        longest=longest,
    )


def fitted(model: "LoadedModel", documents: Sequence[Document]) -> tuple[int, int]:
    """Places in a batch of such texts, and characters beyond which a text is a block by itself."""
    return batch_tokens_for(model, documents[:TRIED]), CHARACTERS_A_TOKEN * model.max_tokens


def blocks(documents: Sequence[Document], characters: int, longest: int) -> Iterator[Texts]:
    """Blocks of about so many characters, always at the same places; a longer text is a block by itself."""
    groups = chain.from_iterable(cut(group, Seen(), longest) for group in _groups(documents, characters))
    for number, texts in enumerate(groups):
        yield texts._replace(number=number)


def _groups(documents: Sequence[Document], characters: int) -> Iterator[list[Document]]:
    held, size = list[Document](), 0
    for document in documents:
        if held and size + len(document.text) > characters:
            yield held
            held, size = [], 0
        held.append(document)
        size += len(document.text)
    if held:
        yield held


def block_characters(characters_a_second: float) -> int:
    """Characters of a block that takes the model about BLOCK_SECONDS.

    >>> block_characters(5_000.0), block_characters(10.0)
    (10000, 2000)
    """
    return int(min(max(BLOCK_SECONDS * characters_a_second, LEAST_CHARACTERS), MOST_CHARACTERS))
