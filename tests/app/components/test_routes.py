"""The message with the experts of each token: its bytes, its windows, its size; and the colours of experts."""

import json
import zlib

import numpy as np
import pytest

from gatescope.drawing.heatmap.hues import HUES
from gatescope.drawing.heatmap.routes import WINDOW_BYTES, encode_routes, took, window_first
from gatescope.routing import Document, Provenance, RouterRule, RoutingRecord

MADE = Provenance(model="m", fingerprint="f", dtype="float32", device="cpu")


def record_of(ids_tlk: np.ndarray, weight_tlk: np.ndarray | None, *, experts: int) -> RoutingRecord:
    tokens, layers, k = ids_tlk.shape
    rules = (
        RouterRule(layer=layer, block=layer, module="mlp", experts=experts, k=k, score="softmax", shared_experts=1)
        for layer in range(layers)
    )
    columns = {name: np.zeros(tokens, np.int32) for name in ("token_t", "document_t")}
    return RoutingRecord(
        ids_tlk=ids_tlk,
        weight_tlk=weight_tlk,
        position_t=np.arange(tokens, dtype=np.int32),
        flag_t=np.zeros(tokens, np.uint8),
        documents=(Document("text"),),
        layers=tuple(rules),
        provenance=MADE,
        **columns,
    )


def drawn_at_random(tokens: int, layers: int, experts: int, k: int) -> RoutingRecord:
    rng = np.random.default_rng(0)
    ids_tlk = rng.random((tokens, layers, experts), np.float32).argpartition(k, axis=2)[..., :k]
    weight_tlk = -np.sort(-rng.dirichlet(np.ones(k), (tokens, layers)), axis=2).astype(np.float16)
    return record_of(ids_tlk.astype(np.uint8 if experts < 256 else np.uint16), weight_tlk, experts=experts)


def read(message: bytes) -> tuple[dict, bytes]:
    raw = zlib.decompress(message)
    length = int.from_bytes(raw[:4], "little")
    assert length % 4 == 0
    return json.loads(raw[4 : 4 + length]), raw[4 + length :]


def test_counts_ids_and_shares_lie_behind_each_other():
    ids_tlk = np.array([[[0, 2]], [[2, 255]], [[255, 255]]], np.uint8)
    weight_tlk = np.array([[[0.6, 0.2]], [[0.5, 0.0]], [[0, 0]]], np.float16)
    header, body = read(encode_routes(record_of(ids_tlk, weight_tlk, experts=3), "here"))
    assert {name: header[name] for name in ("channel", "tokens", "slots", "first", "end", "empty")} == {
        "channel": "here",
        "tokens": 3,
        "slots": 2,
        "first": 0,
        "end": 3,
        "empty": 255,
    }
    assert header["layers"] == [{"experts": 3, "k": 2, "groups": 1, "kept": 1, "shared": 1, "idle": 0}]
    assert np.frombuffer(body[:16], "<u4").tolist() == [1, 0, 2, 2]  # experts 0, 1, 2; tokens that had any
    assert list(body[16:22]) == [0, 2, 2, 255, 255, 255]
    assert list(body[22:]) == [191, 64, 255, 0, 0, 0]  # 3/4, 1/4, all


def test_without_weights_no_shares_are_sent():
    header, body = read(encode_routes(record_of(np.array([[[1, 0]]], np.uint8), None, experts=2), "c"))
    assert header["has_weights"] is False
    assert len(body) == 4 * 3 + 2


def test_ids_of_256_experts_take_one_byte_unless_a_slot_is_empty():
    full = np.array([[[255, 0]], [[1, 2]]], np.uint16)
    header, body = read(encode_routes(record_of(full, None, experts=256), "c"))
    assert (header["id_bytes"], header["empty"]) == (1, None)
    assert list(body[-4:]) == [255, 0, 1, 2]
    full = np.array([[[255, 0]], [[1, 65_535]]], np.uint16)
    header, body = read(encode_routes(record_of(full, None, experts=256), "c"))
    assert (header["id_bytes"], header["empty"]) == (2, 65_535)
    assert np.frombuffer(body[-8:], "<u2").tolist() == [255, 0, 1, 65_535]


@pytest.fixture(scope="module")
def large() -> RoutingRecord:
    return drawn_at_random(700, 58, 256, 8)


def test_a_large_text_is_sent_in_windows_that_hold_every_token_once(large):
    firsts = sorted({window_first(large, token) for token in range(large.tokens)})
    ids = []
    for first in firsts:
        header, body = read(encode_routes(large, "c", first))
        assert header["first"] == first
        size = (header["end"] - first) * 58 * 8
        ids.append(np.frombuffer(body[4 * 58 * 257 : 4 * 58 * 257 + size], "u1").reshape(-1, 58, 8))
    assert len(firsts) > 5
    np.testing.assert_array_equal(np.concatenate(ids), large.ids_tlk)


def test_a_window_is_small_whatever_the_text(large):
    assert len(encode_routes(large, "c", 400)) < 1.3 * WINDOW_BYTES


@pytest.mark.parametrize("token", [-1, 700, 10**9])
def test_a_token_that_is_not_there_counts_as_the_first(large, token):
    assert window_first(large, token) == 0


def test_the_tokens_an_expert_took():
    ids_tlk = np.array([[[0, 2], [1, 0]], [[2, 1], [0, 1]], [[1, 0], [2, 0]]], np.uint8)
    assert took(record_of(ids_tlk, None, experts=3), 0, 0).tolist() == [True, False, True]
    assert took(record_of(ids_tlk, None, experts=3), 1, 2).tolist() == [False, False, True]


SIGHTS = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""How each kind of vision mixes linear red, green and blue (Machado, Oliveira and Fernandes 2009, severity 1)."""


def lab(linear_n3: np.ndarray) -> np.ndarray:
    """CIELAB of linear sRGB under D65."""
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
    xyz = linear_n3 @ np.array(to_xyz).T / [0.95047, 1, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("sight", SIGHTS)
def test_colours_of_neighbouring_experts_differ_for_every_kind_of_vision(sight):
    """CIE76, which needs no library: 10 is seen at a glance."""
    srgb = np.array([[int(hue[at : at + 2], 16) / 255 for at in (1, 3, 5)] for hue in HUES])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = lab(np.clip(linear @ np.array(SIGHTS[sight]).T, 0, 1))
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=2) + 999 * np.eye(len(HUES))
    neighbours = np.linalg.norm(seen - np.roll(seen, 1, axis=0), axis=1)
    assert apart.min() > 10
    assert neighbours.min() > 20
