"""Simulated routes as a study, or as a file to import, with the truth of what was planted beside them."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gatescope.cache.study import StudyFolder
from gatescope.cache.temporary import whole_file, working_folder, write_whole
from gatescope.routing.errors import OptionError, StorageFullError, StoreError
from gatescope.routing.record import RoutingRecord
from gatescope.simulation.routes import BLOCK_TOKENS, Simulation
from gatescope.simulation.texts import piece_of
from gatescope.studies.packing import write_counted

TRUTH = "truth.json"

Told = Callable[[int, int], None]


def write_study(
    simulation: Simulation,
    out: Path,
    *,
    block_tokens: int = BLOCK_TOKENS,
    on_progress: Told = lambda _tokens, _total: None,
) -> StudyFolder:
    """The routes as blocks of a study, counted. Blocks that are whole are not drawn again.

    `on_progress` hears of tokens that are there, and of all. Errors: OptionError where the folder holds something else;
    StoreError, StorageFullError.
    """
    recipe = simulation.recipe | {"corpus": "simulated texts", "model": simulation.provenance.model}
    folder = StudyFolder.create(out, recipe | {"detail": "weights", "block_tokens": block_tokens})
    _write_truth(simulation, out / TRUTH)
    number = tokens = 0
    for number, documents in enumerate(simulation.blocks(block_tokens), 1):
        block = folder.block(number - 1)
        if block is None:
            record = simulation.record(documents.start, documents.stop)
            block = write_counted(number - 1, record, folder, read=len(documents))
        tokens += block.tokens
        on_progress(tokens, simulation.texts.tokens)
    folder.end(number)
    return folder


def write_npz(simulation: Simulation, out: Path, *, on_progress: Told = lambda _tokens, _total: None) -> None:
    """The routes as one file in the plain form, which `gatescope import` reads; it appears whole or not at all.

    Errors: OptionError where something is there already; StoreError, StorageFullError.
    """
    if out.exists():
        raise OptionError(f"{out} is there already", expected="a new file", do="name another --out, or remove it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with working_folder(out.parent, prefix=".simulate-", name=out.name) as made:
            columns = _Columns(made, simulation.texts.vocabulary)
            for documents in simulation.blocks():
                columns.add(simulation.record(documents.start, documents.stop), documents.start)
                on_progress(columns.tokens, simulation.texts.tokens)
            with whole_file(out) as stream:
                columns.write(stream, simulation)
        _write_truth(simulation, out.with_name(f"{out.name}.{TRUTH}"))
    except OSError as error:
        kind = StorageFullError if error.errno in (28, 122) else StoreError
        raise kind(
            f"{out}: {error.strerror or error}", expected="a folder with room to write into", do="choose another --out"
        ) from error


class _Columns:
    """Arrays of a file while they come in parts: each in a file of its own, for an archive takes one at a time."""

    def __init__(self, folder: Path, vocabulary: int) -> None:
        self._folder, self.tokens = folder, 0
        self._piece_v = np.array([piece_of(token) for token in range(vocabulary)])
        self._kinds: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self._labels: dict[str, list[str]] = {"id": [], "domain": [], "language": []}

    def add(self, record: RoutingRecord, first: int) -> None:
        """The tokens of one more block, whose first document has this number."""
        parts: dict[str, Any] = {"ids": record.ids_tlk, "weights": record.weight_tlk, "token": record.token_t}
        parts |= {"document": record.document_t + np.int32(first), "position": record.position_t}
        parts["piece"] = self._piece_v[record.token_t]
        for name, part in parts.items():
            self._kinds[name] = part.dtype, part.shape[1:]
            with (self._folder / name).open("ab") as file:
                file.write(np.ascontiguousarray(part).view(np.uint8).data)
        for document in record.documents:
            for name, texts in self._labels.items():
                texts.append(getattr(document, name))
        self.tokens += record.tokens

    def write(self, stream: IO[bytes], simulation: Simulation) -> None:
        """All of them as an archive, with what is known of layers and documents."""
        with zipfile.ZipFile(stream, "w", allowZip64=True) as archive:
            for name, (dtype, shape) in self._kinds.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    _write_header(member, dtype, (self.tokens, *shape))
                    with (self._folder / name).open("rb") as file:
                        while part := file.read(1 << 20):
                            member.write(part)
            for name, value in self._said(simulation).items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, value, allow_pickle=False)

    def _said(self, simulation: Simulation) -> dict[str, NDArray[Any]]:
        rules, made = simulation.geometry.rules, simulation.provenance
        header = {f"document_{name}": np.array(texts) for name, texts in self._labels.items()}
        header["layer_experts"] = np.array([rule.experts for rule in rules])
        header["layer_block"] = np.array([rule.block for rule in rules])
        header["layer_groups"] = np.array(simulation.geometry.groups)
        header["layer_groups_kept"] = np.array(simulation.geometry.groups_kept)
        header["layer_is_renormalised"] = np.array(True)
        return header | {name: np.array(getattr(made, name)) for name in ("model", "fingerprint", "engine", "dtype")}


def _write_header(member: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(member, header)


def _write_truth(simulation: Simulation, path: Path) -> None:
    try:
        write_whole(path, json.dumps(simulation.planted.truth(), separators=(",", ":")).encode())
    except OSError as error:
        raise StoreError(
            f"{path}: {error.strerror or error}", expected="a folder with room to write into", do="choose another --out"
        ) from error
