"""A study before it begins: which documents, what it will take, whether this server lets it, and its id."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatescope.cache.keys import capture_id
from gatescope.routing.errors import GatescopeError, OptionError
from gatescope.routing.record import Document
from gatescope.server.settings import Settings
from gatescope.server.study_blocks import block_characters, plan_for
from gatescope.studies.blocks import digest_of
from gatescope.studies.estimate import Length, Speed
from gatescope.studies.manifest import Order, Record, clean_name, now

if TYPE_CHECKING:  # torch takes seconds to import
    from gatescope.hooks import LoadedModel

RESULTS_BYTES = 10_000_000
"""Room that the results of a study take beside its routes, about."""
UNKNOWN_SPEED_CHARACTERS = 8_192


@dataclass(frozen=True)
class Request:
    """What a visitor asks to be studied."""

    name: str
    model: str
    documents: tuple[Document, ...]
    record: Record
    long: str
    owner: str


@dataclass(frozen=True)
class Estimate:
    """What a request takes; without `speed`, time and room are not known."""

    documents: int
    characters: int
    length: Length
    speed: Speed | None

    @property
    def seconds(self) -> float | None:
        """Of the model's time."""
        return None if self.speed is None else self.speed.seconds(self.length.tokens)

    @property
    def size_bytes(self) -> int | None:
        """On the disk, results included."""
        if self.speed is None:
            return None
        return self.speed.size_bytes(self.length.tokens, self.block_characters) + RESULTS_BYTES

    @property
    def block_characters(self) -> int:
        """Characters of a block that takes the model some two seconds."""
        if self.speed is None:
            return UNKNOWN_SPEED_CHARACTERS
        return block_characters(self.speed.tokens_a_second * self.speed.characters_a_token)


def part_of(
    documents: Iterable[Document], *, domains: Collection[str] = (), languages: Collection[str] = (), each: int = 0
) -> tuple[Document, ...]:
    """Some of the documents: of these domains and languages (none named: all), the first `each` of every pair.

    >>> texts = [Document(str(n), domain=d, language="en") for n, d in enumerate(["law", "code", "law", "law"])]
    >>> [document.text for document in part_of(texts, domains=["law"], each=2)]
    ['0', '2']
    """
    seen: Counter[tuple[str, str]] = Counter()
    kept = []
    for document in documents:
        if (domains and document.domain not in domains) or (languages and document.language not in languages):
            continue
        label = document.domain, document.language
        seen[label] += 1
        if not each or seen[label] <= each:
            kept.append(document)
    return tuple(kept)


def refusal(estimate: Estimate, settings: Settings, *, room: int | None) -> GatescopeError | None:
    """Why this server does not take a study; None where it does. `room` is what the quota leaves, None: no quota."""
    if not estimate.documents:
        return OptionError("no documents", expected="at least one", do="choose or upload some")
    if estimate.documents > settings.max_study_documents:
        return OptionError(
            f"{estimate.documents:,} documents",
            expected=f"at most {settings.max_study_documents:,} in a study here",
            do="choose fewer, or capture them on the command line: gatescope capture",
        )
    if estimate.length.tokens > settings.max_study_tokens:
        return OptionError(
            f"about {estimate.length.tokens:,} tokens",
            expected=f"at most {settings.max_study_tokens:,} in a study here",
            do="choose fewer or shorter documents, or capture them on the command line: gatescope capture",
        )
    if room is not None and (estimate.size_bytes or 0) > room:
        return OptionError(
            f"about {estimate.size_bytes:,} bytes",
            expected=f"at most {room:,}, what the quota leaves",
            do="delete studies or captures, or record less",
        )
    return None


def order_for(request: Request, estimate: Estimate, model: "LoadedModel", *, secret: bytes) -> Order:
    """The order of a request; the same request of the same visitor is the same study."""
    return Order(
        id=study_id(request, model, secret=secret),
        name=clean_name(request.name) or "a corpus",
        model=request.model,
        record=request.record,
        long="skip" if request.long == "skip" else "split",
        owner=request.owner,
        documents=estimate.documents,
        characters=estimate.characters,
        tokens=estimate.length.tokens,
        block_characters=estimate.block_characters,
        created=now(),
    )


def study_id(request: Request, model: "LoadedModel", *, secret: bytes) -> str:
    """Of the weights and what they run on, the documents, and what is recorded. Two visitors never share a study."""
    made = model.provenance(plan_for(request.record, request.long).options.as_dict())
    ran_on = {"device": made.device, "dtype": made.dtype, "experts": made.experts_implementation, **made.versions}
    how = {"study": 1, "record": request.record, "long": request.long, "owner": request.owner}
    text = digest_of(request.documents)
    return capture_id(fingerprint=made.fingerprint, text=text, options={**made.options, **ran_on, **how}, secret=secret)


def estimated(documents: Sequence[Document], length: Length, speed: Speed | None) -> Estimate:
    """What documents take."""
    return Estimate(len(documents), sum(len(document.text) for document in documents), length, speed)
