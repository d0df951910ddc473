"""Simulated routes as records: any documents of a simulation, the same however many are drawn together."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.routing.record import SIMULATION, Provenance, RoutingRecord
from gatescope.simulation.draw import Tables, draw_routes
from gatescope.simulation.effects import Effects
from gatescope.simulation.geometry import Geometry
from gatescope.simulation.numbers import drawn, fractions
from gatescope.simulation.planted import Planted
from gatescope.simulation.texts import Texts, piece_of

WEIGHTS = 4096
"""Vectors of weights; each token and layer has one of them."""
BLOCK_TOKENS = 40_000
VERSION = 1
"""Goes up when the same seed would give other routes."""


class Sourced(NamedTuple):
    """A record, and what filled each slot: numbers of `effects.SOURCES`, shaped as `ids_tlk`."""

    record: RoutingRecord
    source_tlk: NDArray[np.uint8]


class Simulation:
    """Routes of a shape with planted effects; everything follows from the arguments, whatever is drawn first.

    >>> from gatescope.simulation import Effects, Geometry, Texts
    >>> shape = Geometry(name="small", experts=(8, 8), k=2)
    >>> made = Simulation(shape, Texts(tokens=1000, documents=10), Effects(), seed=1)
    >>> made.record(0, 10).tokens, made.record(3, 4).documents[0].domain
    (1000, 'fiction')
    """

    def __init__(self, geometry: Geometry, texts: Texts, effects: Effects | None = None, *, seed: int = 0) -> None:
        self.geometry, self.texts, self.effects, self.seed = geometry, texts, effects or Effects(), seed
        self.planted = Planted(geometry, self.effects, texts, seed)

    @property
    def recipe(self) -> dict[str, Any]:
        """All that decides the routes, in words and numbers that JSON can hold."""
        return {
            "simulated": VERSION,
            "seed": self.seed,
            "geometry": json.loads(json.dumps(asdict(self.geometry))),
            "texts": asdict(self.texts),
            "effects": asdict(self.effects),
        }

    @cached_property
    def provenance(self) -> Provenance:
        """That no model made these routes; the fingerprint is of the recipe, but for the number of tokens."""
        described = self.recipe
        described["texts"] = {
            name: value for name, value in described["texts"].items() if name not in ("tokens", "documents")
        }
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
        return Provenance(
            model=f"simulated {self.geometry.name}",
            fingerprint=f"simulated-{digest[:16]}",
            dtype="none",
            device="none",
            engine=SIMULATION,
        )

    def blocks(self, most: int = BLOCK_TOKENS) -> Iterator[range]:
        """Documents by number, some `most` tokens of them together, one or more."""
        step = 4096
        first, tokens = 0, 0
        for chunk in range(0, self.texts.documents, step):
            last = min(chunk + step, self.texts.documents)
            for number, size in enumerate(np.diff(self.texts.starts(self.seed, chunk, last)).tolist(), chunk):
                if tokens and tokens + size > most:
                    yield range(first, number)
                    first, tokens = number, 0
                tokens += size
        yield range(first, self.texts.documents)

    def record(self, first: int, last: int) -> RoutingRecord:
        """The routes of documents `first` to before `last`."""
        return self.sourced(first, last).record

    def sourced(self, first: int, last: int) -> Sourced:
        """The same, and what filled each slot."""
        token_t, start_d = self.texts.words(self.seed, first, last)
        shape = (len(token_t), self.geometry.layers, self.geometry.k)
        ids_tlk = np.empty(shape, np.uint8 if max(self.geometry.experts) <= 255 else np.uint16)
        source_tlk, weights_tl = np.empty(shape, np.uint8), np.empty(shape[:2], np.uint16)
        domain_d, language_d = (
            np.array(each) for each in zip(*map(self.texts.labels, range(first, last)), strict=True)
        )
        draw_routes(
            self._tables,
            self.geometry.groups_kept,
            drawn(self.seed, "routes", last - first, first),
            start_d,
            domain_d,
            language_d,
            token_t,
            ids_tlk,
            source_tlk,
            weights_tl,
        )
        length_d = np.diff(start_d)
        document_t = np.repeat(np.arange(last - first, dtype=np.int32), length_d)
        record = RoutingRecord(
            ids_tlk=ids_tlk,
            weight_tlk=self._weight_nk[weights_tl],
            token_t=token_t,
            document_t=document_t,
            position_t=(np.arange(len(token_t)) - start_d[document_t]).astype(np.int32),
            flag_t=np.zeros(len(token_t), np.uint8),
            documents=tuple(
                self.texts.document(number, token_t[start_d[number - first] : start_d[number - first + 1]])
                for number in range(first, last)
            ),
            layers=self.geometry.rules,
            provenance=self.provenance,
            pieces={token: piece_of(token) for token in np.unique(token_t).tolist()},
        )
        return Sourced(record, source_tlk)

    @cached_property
    def _weight_nk(self) -> NDArray[np.float16]:
        """Vectors of weights: a stick broken at random (flat Dirichlet), the longest first; (WEIGHTS, k)."""
        k = self.geometry.k
        piece_nk = -np.log1p(-fractions(self.seed, "weights", WEIGHTS * k)).reshape(WEIGHTS, k)
        piece_nk = -np.sort(-piece_nk, axis=1)
        half_nk: NDArray[np.float16] = (piece_nk / piece_nk.sum(axis=1, keepdims=True)).astype(np.float16)
        return half_nk

    @cached_property
    def _tables(self) -> Tables:
        planted, experts_l = self.planted, np.array(self.geometry.experts, np.int64)
        return Tables(
            experts_l=experts_l,
            group_size_l=experts_l // self.geometry.groups,
            source_s=self.effects.table(),
            share_le=planted.loads.share_le,
            threshold_le=planted.loads.threshold_le,
            other_le=planted.loads.other_le,
            kind_v=planted.kind_v,
            words_lcx=planted.words_lcx,
            domains_lgx=planted.domains_lgx,
            languages_lgx=planted.languages_lgx,
            partner_le=planted.partner_le,
            successor_le=planted.successor_le,
        )
