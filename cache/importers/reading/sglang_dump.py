"""Dumps of SGLang's expert distribution recorder, opened: their ranks, their layers, and their passes one by one."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.cache.importers.importer import Given, Report
from gatescope.cache.importers.reading.layers import Seen
from gatescope.cache.importers.reading.rows import ABSENT
from gatescope.cache.importers.reading.sequences import Pass
from gatescope.cache.importers.reading.tensors import Tensor, open_tensors
from gatescope.routing.errors import TraceError

EXTEND, DECODE, MIXED, IDLE = 1, 2, 3, 4  # SGLang's ForwardMode; above: speculative and other modes
NAMED = re.compile(r"expert_distribution_recorder_(\d+(?:\.\d+)?)(?:_(\d+))?\.pt")
NO_EXPERT = ABSENT - 1  # a physical expert that the map does not have


class Dump:
    """The dumps of one recording: their ranks, their map, and which of their layers have experts."""

    def __init__(self, files: Sequence[Path], given: Given, report: Report) -> None:
        self.files, self.given, self.report = files, given, report
        self.ranks: dict[Path, int] = {}
        self.blocks: list[int] = []
        self.experts = self.k = self.layers = 0
        for file in files:
            with open_tensors(file) as content:
                self._learn(file, content)
        if not self.blocks:
            raise _nothing(f"{files[0]}: no pass with a token that was routed")

    @property
    def width(self) -> int:
        """Numbers that are kept for a token until its sequence is over."""
        return len(self.blocks) * 8

    @property
    def seen(self) -> Seen:
        """The layers as the dumps show them."""
        return Seen(count=len(self.blocks), slots=self.k, blocks=self.blocks, experts=[self.experts] * len(self.blocks))

    def passes(self, rank: int) -> Iterator[Pass]:
        """The passes of a rank that hold tokens, over all of its files."""
        for file in self.files:
            if self.ranks[file] != rank:
                continue
            with open_tensors(file) as content:
                map_lp = _map(file, content)
                for number, record in enumerate(content["records"]):
                    run = self._pass(f"{file}, pass {record.get('forward_pass_id', number)}", record, map_lp)
                    if run is not None:
                        yield run

    def copies(self) -> dict[int, int]:
        """For each rank that saw the very tokens of a lower one, that one: every pass that both hold is the same.

        Errors      TraceError where two ranks ran the same tokens and say different experts
        """
        marks = {rank: dict(self._marks(rank)) for rank in sorted(set(self.ranks.values()))}
        found: dict[int, int] = {}
        for rank, own in marks.items():
            for lower in (each for each in marks if each < rank and each not in found):
                shared = [key for key in own if key in marks[lower]]
                if 2 * len(shared) > len(own) and all(own[key][0] == marks[lower][key][0] for key in shared):
                    _check_same(rank, lower, [key for key in shared if own[key] != marks[lower][key]])
                    for key in own.keys() - marks[lower].keys():
                        reason = "a pass that the rank with the same tokens does not hold"
                        self.report.leave_out(reason, f"rank {rank}, pass {key[0]}")
                    found[rank] = lower
                    break
        return found

    def _marks(self, rank: int) -> Iterator[tuple[tuple[int, str], tuple[bytes, bytes]]]:
        """For each pass short digests of what went in and of what was chosen."""
        for file in (each for each in self.files if self.ranks[each] == rank):
            with open_tensors(file) as content:
                for record in content["records"]:
                    tokens = _whole(record.get("input_ids"), file)
                    if len(tokens):
                        into = hashlib.blake2b(tokens.tobytes(), digest_size=16)
                        into.update(_whole(record.get("positions"), file).tobytes())
                        out = hashlib.blake2b(_ids(record, file).tobytes(), digest_size=16)
                        key = int(record.get("forward_pass_id", -1)), str(record.get("gatherer_key"))
                        yield key, (into.digest(), out.digest())

    def _learn(self, file: Path, content: Any) -> None:
        """Which rank a dump is of, and its layers out of the first pass that routed a token."""
        records = _records(file, content)
        map_lp = _map(file, content)
        name = NAMED.fullmatch(file.name)
        self.ranks[file] = int(records[0].get("rank", 0)) if records else int((name and name[2]) or 0)
        experts = int(map_lp.max()) + 1
        if self.layers and (experts, map_lp.shape[0]) != (self.experts, self.layers):
            raise _nothing(f"{file}: {map_lp.shape[0]} layers of {experts} experts, unlike {self.files[0]}")
        self.experts, self.layers = experts, map_lp.shape[0]
        for record in records if not self.blocks else ():
            ids_lnk = _ids(record, file)
            if (ids_lnk != ABSENT).any():
                self.blocks = self._blocks(ids_lnk)
                self.k = int((ids_lnk != ABSENT).sum(2).max())
                return

    def _blocks(self, ids_lnk: NDArray[np.integer]) -> list[int]:
        """The layers with experts: as given, otherwise those that routed a token."""
        if self.given.layers:
            return [rule.block for rule in self.given.layers]
        return np.flatnonzero((ids_lnk != ABSENT).any((1, 2))).tolist()

    def _pass(self, name: str, record: Mapping[str, Any], map_lp: NDArray[np.int64]) -> Pass | None:
        """One pass, with the ids of the model's own experts; None where it holds no tokens or is not to be used."""
        token_n, position_n = (_whole(record.get(what), name) for what in ("input_ids", "positions"))
        ids_lnk = _ids(record, name)
        mode, lengths = record.get("forward_mode"), record.get("extend_seq_lens")
        if not len(token_n) or mode == IDLE:
            return None
        if mode not in (EXTEND, DECODE, MIXED):
            self.report.fault(self.given, f"a pass of mode {mode}", name, expected="prompts and single steps")
            return None
        lengths = [1] * len(token_n) if mode == DECODE else _whole(lengths, name).tolist()
        fits = len(token_n) == len(position_n) == ids_lnk.shape[1] == sum(lengths) and min(lengths) >= 0
        if not fits or len(ids_lnk) != self.layers:
            raise _nothing(f"{name}: {len(token_n)} tokens, {len(position_n)} positions, ids {ids_lnk.shape}")
        others = np.setdiff1d(np.arange(self.layers), self.blocks)
        if max(self.blocks) >= self.layers or (ids_lnk[others] != ABSENT).any():
            raise _nothing(f"{name}: routes in layers {_routed(ids_lnk)}, experts in {self.blocks}")
        return Pass(
            name=name,
            ids_nlk=_logical(ids_lnk[self.blocks], map_lp[self.blocks]),
            token_n=token_n,
            position_n=position_n,
            lengths=lengths,
            step=mode == DECODE,
            mixed=mode == MIXED,
        )


def _records(file: Path, content: Any) -> Sequence[Mapping[str, Any]]:
    """The passes of a dump. TraceError, with what can be had, where it holds counts only."""
    if isinstance(content, dict) and "logical_count" in content:
        count = content["logical_count"]
        shape = count.shape if isinstance(count, Tensor) else ()
        told = f"over {shape[0]:,} steps, {shape[1]} layers and {shape[2]} experts" if len(shape) == 3 else ""
        raise _counts_only(f"{file}: a dump of mode stat, which holds how often each expert was chosen {told}".rstrip())
    records = content.get("records") if isinstance(content, dict) else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise _nothing(f"{file}: no list of passes")
    if any("topk_ids_of_layer" not in record for record in records):
        raise _counts_only(f"{file}: a dump of mode per_pass, which holds how often each expert was chosen in a pass")
    return records


def _map(file: Path, content: Any) -> NDArray[np.int64]:
    """The model's expert behind each physical one, layer by layer. TraceError where the dump does not say."""
    held = content.get("last_physical_to_logical_map") if isinstance(content, dict) else None
    if not isinstance(held, Tensor):
        raise TraceError(
            f"{file}: no last_physical_to_logical_map, and the ids may be those of physical experts",
            expected="the map that the recorder writes beside the passes",
            do="dump again with the server's own recorder; nothing can be said of a physical expert alone",
        )
    map_lp = held.array().astype(np.int64)
    whole = map_lp.ndim == 2 and map_lp.size and map_lp.min() >= 0 and map_lp.max() < map_lp.shape[1]
    if not whole or any(len(np.unique(row)) != map_lp.max() + 1 for row in map_lp):
        raise _nothing(f"{file}: a map of shape {map_lp.shape} that does not hold every expert in every layer")
    return map_lp


def _logical(ids_lnk: NDArray[np.integer], map_lp: NDArray[np.int64]) -> NDArray[np.signedinteger]:
    """Tokens first, ids of the model's own experts; NO_EXPERT where the map has none of that number."""
    is_known = (ids_lnk >= 0) & (ids_lnk < map_lp.shape[1])
    layer = np.arange(len(ids_lnk))[:, None, None]
    logical_lnk = np.where(is_known, map_lp[layer, np.where(is_known, ids_lnk, 0)], NO_EXPERT)
    logical_lnk[ids_lnk == ABSENT] = ABSENT
    narrow = np.int16 if map_lp.max() < 2**15 else np.int32
    return np.ascontiguousarray(logical_lnk.transpose(1, 0, 2), narrow)


def _ids(record: Mapping[str, Any], where: Path | str) -> NDArray[np.signedinteger]:
    """Physical ids of a pass, by layer, token and slot."""
    held = record["topk_ids_of_layer"]
    ids_lnk: NDArray[Any] = held.array() if isinstance(held, Tensor) else np.zeros(())
    if ids_lnk.ndim != 3 or ids_lnk.dtype.kind != "i":
        raise _nothing(f"{where}: topk_ids_of_layer {ids_lnk.dtype} of shape {ids_lnk.shape}")
    return ids_lnk


def _whole(values: Any, where: Path | str) -> NDArray[np.int64]:
    """A list of whole numbers."""
    if not isinstance(values, list) or not all(type(value) is int and -(2**62) < value < 2**62 for value in values):
        raise _nothing(f"{where}: tokens, positions or lengths that are no whole numbers")
    return np.array(values, np.int64)


def _routed(ids_lnk: NDArray[np.integer]) -> list[int]:
    return np.flatnonzero((ids_lnk != ABSENT).any((1, 2))).tolist()


def _check_same(rank: int, lower: int, differing: Sequence[tuple[int, str]]) -> None:
    if differing:
        raise TraceError(
            f"ranks {lower} and {rank} ran the same tokens in pass {differing[0][0]} and say different experts",
            expected="the same ids on every rank that sees the same tokens",
            do="import the dump of one rank alone, after finding out which is right",
        )


def _counts_only(found: str) -> TraceError:
    return TraceError(
        found,
        expected="routes of single tokens: counts tell the load of experts, but no token, document or weight",
        do="record again with --expert-distribution-recorder-mode per_token",
    )


def _nothing(found: str) -> TraceError:
    return TraceError(found, expected="a dump of mode per_token as SGLang writes it", do="dump again")
