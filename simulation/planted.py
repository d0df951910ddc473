"""What was planted, by layer and expert: the tables that routes are drawn from, and the truth as it is written down."""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from gatescope.simulation.effects import STEPS, Effects
from gatescope.simulation.geometry import Geometry
from gatescope.simulation.numbers import aliases, drawn, shuffled
from gatescope.simulation.texts import BITS, Texts, piece_of

NOBODY = -1
KINDS = 256
"""Kinds of words: the words of one kind are preferred by the same experts."""
TRUTH_VERSION = 1


class Loads(NamedTuple):
    """Each expert's share of a layer under `load`, and the tables to draw by it: all (layers, experts)."""

    share_le: NDArray[np.float64]
    threshold_le: NDArray[np.uint32]
    other_le: NDArray[np.uint32]


class Planted:
    """Everything that is planted for a seed; each table is made when it is first asked for.

    Layers may be of different sizes; places beyond a layer's own experts hold share 0 and NOBODY.
    """

    def __init__(self, geometry: Geometry, effects: Effects, texts: Texts, seed: int) -> None:
        self.geometry, self.effects, self.texts, self.seed = geometry, effects, texts, seed
        self.preferring = max(geometry.k, min(geometry.experts) // 16)
        """How many experts of a layer prefer one kind of word, one domain, one language."""

    @cached_property
    def loads(self) -> Loads:
        """Shares are the quantiles of a log-normal distribution, in a random order."""
        share_le = np.zeros((self.geometry.layers, max(self.geometry.experts)))
        threshold_le, other_le = np.zeros(share_le.shape, np.uint32), np.zeros(share_le.shape, np.uint32)
        for layer, experts in enumerate(self.geometry.experts):
            order_e = shuffled(self.seed, f"loads of layer {layer}", experts)
            normal_e = ndtri((order_e + 0.5) / experts)
            spread = normal_e.std()
            share_e = np.exp(normal_e * (self.effects.skew / spread)) if spread else np.ones(experts)
            share_le[layer, :experts] = share_e / share_e.sum()
            threshold_le[layer, :experts], other_le[layer, :experts] = aliases(share_e, BITS)
        return Loads(share_le, threshold_le, other_le)

    @cached_property
    def kind_v(self) -> NDArray[np.int64]:
        """The kind of each word, (vocabulary,)."""
        return (drawn(self.seed, "kinds of words", self.texts.vocabulary) % np.uint64(KINDS)).astype(np.int64)

    @cached_property
    def words_lcx(self) -> NDArray[np.int64]:
        """The experts that prefer a kind of word: (layers, kinds, preferring)."""
        return self._preferring("words", KINDS)

    @cached_property
    def domains_lgx(self) -> NDArray[np.int64]:
        """The experts that prefer a domain: (layers, domains, preferring)."""
        return self._preferring("domains", self.texts.domains)

    @cached_property
    def languages_lgx(self) -> NDArray[np.int64]:
        """The experts that prefer a language: (layers, languages, preferring)."""
        return self._preferring("languages", self.texts.languages)

    @cached_property
    def partner_le(self) -> NDArray[np.int64]:
        """Each expert's partner, in its own group; NOBODY for one that is left over."""
        partner_le = np.full((self.geometry.layers, max(self.geometry.experts)), NOBODY, np.int64)
        for layer, experts in enumerate(self.geometry.experts):
            order_e = _by_group(shuffled(self.seed, f"pairs of layer {layer}", experts), self.geometry.groups)
            for own_e in np.split(order_e, self.geometry.groups):
                one_p, other_p = own_e[: len(own_e) // 2 * 2].reshape(-1, 2).T
                partner_le[layer, one_p], partner_le[layer, other_p] = other_p, one_p
        return partner_le

    @cached_property
    def successor_le(self) -> NDArray[np.int64]:
        """The expert that follows each expert of the layer before, as even as sizes allow; NOBODY for layer 0."""
        sizes = self.geometry.experts
        successor_le = np.full((len(sizes), max(sizes)), NOBODY, np.int64)
        for layer in range(1, len(sizes)):
            order_e = shuffled(self.seed, f"successors in layer {layer}", max(sizes[layer], sizes[layer - 1]))
            successor_le[layer, : sizes[layer - 1]] = order_e[: sizes[layer - 1]] % sizes[layer]
        return successor_le

    def truth(self) -> dict[str, Any]:
        """All of it in words and numbers that JSON can hold."""
        geometry, texts = self.geometry, self.texts
        layers = [
            {
                "layer": layer,
                "experts": experts,
                "load": [round(share, 9) for share in self.loads.share_le[layer, :experts].tolist()],
                "words": self.words_lcx[layer].tolist(),
                "domains": dict(zip(texts.domain_names, self.domains_lgx[layer].tolist(), strict=True)),
                "languages": dict(zip(texts.language_names, self.languages_lgx[layer].tolist(), strict=True)),
                "pairs": [[e, p] for e, p in enumerate(self.partner_le[layer, :experts].tolist()) if p > e],
                "successors": self.successor_le[layer, : geometry.experts[layer - 1]].tolist() if layer else [],
            }
            for layer, experts in enumerate(geometry.experts)
        ]
        return {
            "version": TRUTH_VERSION,
            "says": "What was planted in simulated routes. No model made them.",
            "meaning": MEANING,
            "seed": self.seed,
            "geometry": {
                "name": geometry.name,
                "layers": geometry.layers,
                "experts": list(geometry.experts),
                "k": geometry.k,
                "groups": geometry.groups,
                "groups_kept": geometry.groups_kept,
            },
            "effects": {**self.effects.shares, "skew": self.effects.skew},
            "texts": {
                "tokens": texts.tokens,
                "documents": texts.documents,
                "domains": list(texts.domain_names),
                "languages": list(texts.language_names),
                "vocabulary": texts.vocabulary,
                "words_of_a_list": texts.ranks,
                "common": round(texts.common * STEPS) / STEPS,
                "topical": round(texts.topical * STEPS) / STEPS,
            },
            "kind_of_word": self.kind_v.tolist(),
            "pieces": [piece_of(token) for token in range(texts.vocabulary)],
            "layers": layers,
        }

    def _preferring(self, what: str, count: int) -> NDArray[np.int64]:
        """Experts for each of so many things, such that no expert of a layer is taken much more often than another."""
        size, groups = self.preferring, self.geometry.groups
        found_lgx = np.empty((self.geometry.layers, count, size), np.int64)
        for layer, experts in enumerate(self.geometry.experts):
            each = experts // size
            decks = [
                _by_group(shuffled(self.seed, f"{what} of layer {layer}, deck {deck}", experts), groups)
                for deck in range(-(-count // each))
            ]
            shuffled_gx = np.concatenate([deck_e[: each * size] for deck_e in decks]).reshape(-1, size)
            found_lgx[layer] = shuffled_gx[:count]
        return found_lgx


MEANING = {
    "effects": "the share of the slots of every token and layer that each source fills; what cannot be filled so (no "
    "token before, no layer before, no partner yet, all taken already, too many groups) falls to load. skew: standard "
    "deviation of the natural logarithm of the load",
    "layers[].load": "each expert's share of what load fills",
    "layers[].words": "for each kind of word the experts that prefer it; kind_of_word has the kind of each token id",
    "layers[].domains, languages": "the experts that prefer each, whatever the word",
    "layers[].pairs": "experts that are each other's partner",
    "layers[].successors": "for each expert of the layer before the one that follows it",
    "simulated": "ids of experts and tokens, places in documents, texts and labels. Weights too, but they say "
    "nothing: shares of 1 cut at random, whatever the expert and the token. No scores, so no margins, entropies or "
    "logits; no model, so no losses or predictions",
}


def _by_group(order_e: NDArray[np.intp], groups: int) -> NDArray[np.intp]:
    """The same order, but the experts of one group one after another, groups in the order of their first."""
    if groups == 1:
        return order_e
    group_e = order_e // (len(order_e) // groups)
    _, first_g = np.unique(group_e, return_index=True)
    return order_e[np.lexsort((np.arange(len(order_e)), first_g[group_e]))]
