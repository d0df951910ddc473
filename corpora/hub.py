"""Data sets of the Hugging Face hub, streamed through the `datasets` library; no code of a data set is ever run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
from huggingface_hub import HfApi
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is of the library its client is built on
    GatedRepoError,
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from gatescope.corpora.columns import leaves
from gatescope.corpora.formats import Row, Table
from gatescope.corpora.place import Place
from gatescope.routing.errors import CorpusError

if TYPE_CHECKING:
    from datasets import IterableDataset

_SPLIT = "train"
_PEEKED = 100


class Dataset(NamedTuple):
    """A data set of the hub: its id, and which of its configurations, splits and revisions."""

    name: str
    config: str = ""
    split: str = ""
    revision: str = ""


def pinned(dataset: Dataset) -> Dataset:
    """The same data set at the commit its revision stands for today. Errors: CorpusError."""
    with _explained(dataset):
        sha = HfApi().dataset_info(dataset.name, revision=dataset.revision or None).sha
    return dataset._replace(revision=sha or dataset.revision)


def hub_table(dataset: Dataset) -> Table:
    """The rows of a data set, as they arrive.

    A split that is not named is "train", or the only one. A folder's path as name is read through the same library.
    Errors      CorpusError when the hub has no such data set, split or configuration, wants permission, or is offline
    """
    with _explained(dataset):
        from datasets import load_dataset  # two seconds, for those who read from the hub

        splits = load_dataset(dataset.name, dataset.config or None, revision=dataset.revision or None, streaming=True)
        stream = splits[_split(dataset, tuple(splits))]
        features = stream.features or _peeked(stream)
    place = f"hub:{dataset.name}"
    return Table(leaves(features), lambda wanted: _rows(stream, wanted, _namers(features), dataset, place))


def _split(dataset: Dataset, there: tuple[str, ...]) -> str:
    wanted = dataset.split or (there[0] if len(there) == 1 else _SPLIT)
    if wanted not in there:
        found = f"hub:{dataset.name}: no split {wanted!r}, only {', '.join(there)}"
        raise CorpusError(found, expected="a split of the data set", do=f"name one: split={there[0]!r}, --split")
    return wanted


def _peeked(stream: "IterableDataset") -> dict[str, object]:
    """The fields of the first rows, where the data set does not say them."""
    fields: dict[str, object] = {}
    for row in stream.take(_PEEKED):
        fields |= row
    return fields


def _namers(features: Mapping[str, object]) -> dict[str, Callable[[int], str | None]]:
    """For each column of numbered classes, a function from the number to the name; a missing label is -1 there."""

    def namer(names: list[str]) -> Callable[[int | None], str | None]:
        return lambda number: names[number] if number is not None and 0 <= number < len(names) else None

    classes = {column: getattr(feature, "names", None) for column, feature in features.items()}
    return {column: namer(names) for column, names in classes.items() if isinstance(names, list)}


def _rows(
    stream: "IterableDataset",
    wanted: tuple[str, ...],
    namers: Mapping[str, Callable[[int], str | None]],
    dataset: Dataset,
    place: str,
) -> Iterator[Row]:
    tops = {name if name in (stream.features or ()) else name.partition(".")[0] for name in wanted}
    if stream.features:
        stream = stream.select_columns(sorted(tops))
    with _explained(dataset):
        for number, row in enumerate(stream, 1):
            named: dict[str, Any] = {column: namers[column](row[column]) for column in namers.keys() & row.keys()}
            yield Place(place, number, "row"), row | named


@contextmanager
def _explained(dataset: Dataset) -> Iterator[None]:
    """The library's errors as CorpusError."""
    try:
        yield
    except (CorpusError, GeneratorExit):
        raise
    except Exception as error:  # the library passes on those of every format, codec and transport it knows
        raise _as_ours(dataset, _cause(error)) from error


def _cause(error: BaseException) -> BaseException:
    """The hub's own answer, where `datasets` wraps it in an error of its own."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, GatedRepoError | RepositoryNotFoundError | RevisionNotFoundError):
            return inner
        inner = inner.__cause__ or inner.__context__
    return error


def _as_ours(dataset: Dataset, error: BaseException) -> CorpusError:
    name, reason = f"hub:{dataset.name}", _first_line(error)
    if isinstance(error, GatedRepoError):
        do = "accept the terms on the data set's page, then run `hf auth login` or set HF_TOKEN"
        return CorpusError(f"{name} is behind a licence or permission", expected="an account that has access", do=do)
    if isinstance(error, RevisionNotFoundError):
        do, found = "leave revision out for main", f"{name} has no revision {dataset.revision!r}"
        return CorpusError(found, expected="a branch, tag or commit", do=do)
    if isinstance(error, RepositoryNotFoundError | HFValidationError):
        do = "check the spelling; for a private data set run `hf auth login`"
        return CorpusError(f"the hub knows no data set {dataset.name!r}", expected="hub:owner/name", do=do)
    if isinstance(error, HTTPError | ConnectionError | TimeoutError):
        do = "check the network and HF_HUB_OFFLINE; HF_ENDPOINT names another hub"
        return CorpusError(f"{name}: the hub could not be reached: {reason}", expected="a network", do=do)
    do = "see the data set's page for its configurations; save it as Parquet where it needs code of its own"
    expected = "files that the datasets library reads without running code"
    kind = "damaged" if isinstance(error, pa.ArrowException) else "cannot be read"
    return CorpusError(f"{name}: {kind}: {reason}", expected=expected, do=do)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
