"""Part of a capture without the rest: some layers, some columns, some rows, straight from the file.

    with PartialRecord("captures/abcdefghij234567.gsr") as partial:
        partial.ids(layers=[0, 5])          # (tokens, 2, slots)
        partial.column("margin")            # (tokens, layers)
        for rows in partial.row_groups():   # the same, for some 131,072 tokens at a time
            rows.weights(layers=[3])

The file is mapped into memory and only what is asked for is touched. So its checksum, of everything, is not
checked, and neither are the rules of a record; the checksum of each page that is read is, in files that have them.
`verify` checks everything. A file may be removed or replaced while it is read; one cut short in place ends the process,
so captures are never changed in place.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gatescope.cache.file_checksum import CHECKSUM_BYTES, MAGIC, complaint
from gatescope.cache.schema import (
    About,
    Texts,
    column_names,
    decode,
    encode,
    open_parquet,
    read_about,
    read_array,
    read_texts,
)
from gatescope.routing import Document, Provenance, RouterRule, RoutingRecord
from gatescope.routing.errors import CaptureDamagedError, OptionError, RecordError, StoreError
from gatescope.routing.files import no_file

_UNREADABLE = (pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError)


class Rows:
    """Some rows of a capture: all of a file's, or those of one row group. Arrays come as in a `RoutingRecord`."""

    def __init__(self, file: pq.ParquetFile, about: About, groups: Sequence[int]) -> None:
        self._file, self._about, self._groups = file, about, list(groups)

    @property
    def tokens(self) -> int:
        """Number of rows."""
        return sum(self._file.metadata.row_group(group).num_rows for group in self._groups)

    @property
    def columns(self) -> tuple[str, ...]:
        """What `column` can be asked for."""
        return tuple(name.rsplit("_", 1)[0] for name in self._about.arrays if len(name.rsplit("_", 1)[1]) < 3)

    def ids(self, layers: Sequence[int] | None = None) -> NDArray[np.unsignedinteger]:
        """The experts of these layers in the order asked for, of all by default: (tokens, layers, slots)."""
        return self._layered("ids_tlk", layers)

    def weights(self, layers: Sequence[int] | None = None) -> NDArray[np.float16]:
        """Their weights: (tokens, layers, slots). Errors: OptionError where none were recorded."""
        return self._layered("weight_tlk", layers)

    def logits(self, layers: Sequence[int] | None = None) -> NDArray[np.float16]:
        """The router scores: (tokens, layers, experts). Errors: OptionError where none were recorded."""
        return self._layered("logit_tle", layers)

    def column(self, name: str) -> NDArray[Any]:
        """One of `columns`: (tokens,), or (tokens, layers). Errors: OptionError for another name."""
        for array in self._about.arrays:
            if array.rsplit("_", 1)[0] == name and name in self.columns:
                return self._array(array, None)
        raise _no(f"column {name!r}", f"one of {', '.join(self.columns)}")

    def _layered(self, name: str, layers: Sequence[int] | None) -> NDArray[Any]:
        every = range(len(self._about.layers))
        for layer in layers or ():
            if layer not in every:
                raise _no(f"layer {layer!r}", f"0 to {len(every) - 1}")
        if name not in self._about.arrays:
            recorded = ", ".join(self._about.arrays)
            raise _no(f"{name} of a capture that holds {recorded}", "an array that was recorded")
        return self._array(name, every if layers is None else [int(layer) for layer in layers])

    def _array(self, name: str, layers: Sequence[int] | None) -> NDArray[Any]:
        wanted = column_names(name, layers or ())
        try:
            table = self._file.read_row_groups(self._groups, columns=wanted)
            return read_array(table, name, np.dtype(self._about.arrays[name]), self._about.sizes, layers)
        except _UNREADABLE as error:
            raise _damaged(f"{', '.join(wanted)} cannot be read: {error}") from error


class PartialRecord(Rows):
    """All rows of one file: a stored capture, a shard of a study, or what `cache.schema.encode` gave.

    Errors: FileNotFoundError; StoreError where the file cannot be read, is no capture, or is of a newer version.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if reason := no_file(self.path):
            raise _no_capture(self.path, f"it is {reason}")
        try:
            self._map = pa.memory_map(str(self.path))
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise _no_capture(self.path, error) from error
        try:
            self._data = self._map.read_buffer()
            self.is_sealed = self._data.size >= CHECKSUM_BYTES and self._data.slice(0, len(MAGIC)).to_pybytes() == MAGIC
            body = self._data.slice(CHECKSUM_BYTES) if self.is_sealed else self._data
            file, about = _opened(body)
        except (*_UNREADABLE, RecordError) as error:
            self._map.close()
            raise _no_capture(self.path, error) from error
        except BaseException:
            self._map.close()
            raise
        super().__init__(file, about, range(file.num_row_groups))

    @property
    def layers(self) -> tuple[RouterRule, ...]:
        """The rule of each layer."""
        return self._about.layers

    @property
    def documents(self) -> tuple[Document, ...]:
        """The texts; `column("document")` numbers them."""
        return self._texts.documents

    @property
    def provenance(self) -> Provenance:
        """What the capture was made with."""
        return self._about.provenance

    @property
    def pieces(self) -> dict[int, str]:
        """The text of each token id that occurs."""
        return dict(self._texts.pieces)

    @property
    def slots(self) -> int:
        """Most experts any layer gives a token."""
        return self._about.slots

    @property
    def has_weights(self) -> bool:
        """Whether weights were recorded."""
        return "weight_tlk" in self._about.arrays

    def row_groups(self) -> Iterator[Rows]:
        """The rows as they lie in the file, some at a time."""
        for group in self._groups:
            yield Rows(self._file, self._about, [group])

    def check_seal(self) -> None:
        """Read every byte. Errors: CaptureDamagedError where they are not those that were written under this name.

        A file without a checksum, such as a shard, has nothing to hold them against.
        """
        wrong = complaint(self.path.stem, memoryview(self._data)) if self.is_sealed else None
        if wrong is not None:
            raise _damaged(f"{self.path}: {wrong}")

    def verify(self) -> RoutingRecord:
        """The whole record, after every check there is. Errors: CaptureDamagedError."""
        self.check_seal()
        return self.decoded()

    def decoded(self) -> RoutingRecord:
        """The whole record of a file under whatever name, checked page by page. Errors: CaptureDamagedError."""
        try:
            return decode(self._data.slice(CHECKSUM_BYTES) if self.is_sealed else self._data, checks_pages=True)
        except (*_UNREADABLE, RecordError) as error:
            raise _damaged(f"{self.path} is not a capture: {error}") from error

    @cached_property
    def _texts(self) -> Texts:
        """Unpacked when they are first asked for."""
        try:
            return read_texts(self._file)
        except _UNREADABLE as error:
            raise _damaged(f"the texts of {self.path} cannot be read: {error}") from error

    def close(self) -> None:
        """Let go of the file; arrays that were read stay."""
        self._file.close()
        self._map.close()

    def __enter__(self) -> "PartialRecord":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _opened(body: pa.Buffer) -> tuple[pq.ParquetFile, About]:
    """The file and what it says; one with columns of an older version is made anew in memory first."""
    file = open_parquet(body, checks_pages=True)
    about = read_about(file)
    if not about.has_columns_of_now:
        file = open_parquet(encode(decode(body)), checks_pages=True)
        about = read_about(file)
    return file, about


def _no(found: str, expected: str) -> OptionError:
    return OptionError(found, expected=expected, do="ask for what the capture holds")


def _no_capture(path: Path, error: Exception | str) -> StoreError:
    return StoreError(
        f"{path} cannot be read as a capture: {error}", expected="a whole capture", do="check the path and the file"
    )


def _damaged(found: str) -> CaptureDamagedError:
    return CaptureDamagedError(found, expected="the bytes that were written", do="capture again, or restore the file")
