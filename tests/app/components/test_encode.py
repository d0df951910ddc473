"""What reaches the browser: codes by hand calculation, sizes by count, refusals by message."""

import doctest
import json
import time
import zlib

import numpy as np
import pytest

from gatescope.drawing.heatmap import encode as encode_module
from gatescope.drawing.heatmap import scale as scale_module
from gatescope.drawing.heatmap.encode import UNDEFINED, Axis, encode, quantise
from gatescope.drawing.heatmap.overlay import Overlay
from gatescope.drawing.heatmap.scale import Scale
from gatescope.routing.errors import OptionError

MARGIN = Scale("margin", low=0.0, high=2.0, unit="logits", pool="min")
LAYER, TOKEN = Axis("layer"), Axis("token")


def decode(message: bytes) -> tuple[dict, bytes]:
    """Header and the bytes behind it, read as the format at the head of encode.py says."""
    message = zlib.decompress(message)
    size = int.from_bytes(message[:4], "little")
    return json.loads(message[4 : 4 + size].decode()), message[4 + size :]


def draw(values: np.ndarray, **options) -> tuple[dict, bytes]:
    """Encode with plain axes, then decode."""
    return decode(encode(values, options.pop("scale", MARGIN), rows=LAYER, columns=TOKEN, **options))


def test_ends_middle_and_nan_have_the_codes_of_the_format():
    assert quantise(np.array([[0.0, 2.0, 1.0, np.nan]]), MARGIN).tolist() == [[0, 254, 127, 255]]


def test_a_decoded_value_is_off_by_at_most_half_a_step():
    values = np.linspace(0, 2, 100_003, dtype=np.float32)[None]
    decoded = quantise(values, MARGIN) * (2.0 / 254)
    assert np.abs(decoded - values).max() <= 2.0 / 254 / 2 + 1e-6


def test_values_beyond_the_ends_take_the_end_and_the_header_says_so():
    header, cells = draw(np.array([[-1.0, 1.0, 3.0]]))
    assert list(cells) == [0, 127, 254]
    assert (header["scale"]["below"], header["scale"]["above"]) == (True, True)


def test_values_within_the_ends_are_not_called_beyond():
    header, _ = draw(np.array([[0.0, 2.0, np.nan]]))
    assert (header["scale"]["below"], header["scale"]["above"]) == (False, False)


def test_nan_is_never_zero_and_a_matrix_of_nan_can_be_sent():
    header, cells = draw(np.full((2, 3), np.nan))
    assert set(cells) == {UNDEFINED}
    assert (header["scale"]["below"], header["scale"]["above"]) == (False, False)


@pytest.mark.parametrize("infinity", [np.inf, -np.inf])
def test_an_infinity_is_refused_with_its_place(infinity):
    values = np.zeros((3, 4))
    values[1, 2] = infinity
    with pytest.raises(OptionError, match="1 infinite values, the first at row 1, column 2"):
        draw(values)


def test_half_precision_and_transposed_input_give_the_same_bytes_as_plain_input():
    values_tl = np.random.default_rng(0).uniform(0, 2, (50, 6)).astype(np.float16)
    _, given = draw(values_tl.T)
    _, plain = draw(np.ascontiguousarray(values_tl.T, dtype=np.float32))
    assert given == plain


def test_the_standing_test_size_stays_below_one_megabyte_and_100_ms():
    values = np.random.default_rng(0).uniform(0, 2, (8192, 96)).astype(np.float32).T
    pieces = [" token"] * 8192
    spent = []
    for _ in range(5):
        began = time.thread_time()  # of this thread alone: others may keep the machine busy
        message = encode(values, MARGIN, rows=LAYER, columns=TOKEN, pieces=pieces)
        spent.append(time.thread_time() - began)
    assert len(message) <= 1_000_000
    assert min(spent) < 0.1


def test_text_changes_and_stops_at_the_standing_size_still_stay_below_one_megabyte():
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 2, (96, 8192)).astype(np.float32)  # nothing compresses worse than noise
    overlay = Overlay(changes_rc=rng.random(values.shape) < 0.5, stops_rc=rng.random(values.shape) < 0.05)
    pieces = [f" {word:x}" for word in rng.integers(0, 2**31, 8192)]
    message = encode(values, MARGIN, rows=LAYER, columns=TOKEN, pieces=pieces, overlay=overlay)
    assert len(message) <= 1_000_000


def test_cells_labels_and_flags_lie_behind_each_other():
    labels = np.array([[3, -1], [254, 0]])
    header, body = draw(np.zeros((2, 2)), labels_rc=labels, pieces=["a", "b"], flags=[1, 4])
    assert (header["label_bytes"], header["no_label"]) == (1, 255)
    assert list(body) == [0, 0, 0, 0, 3, 255, 254, 0, 1, 4]


def test_a_label_of_255_beside_none_takes_two_bytes():
    header, body = draw(np.zeros((1, 2)), labels_rc=np.array([[255, -1]]))
    assert (header["label_bytes"], header["no_label"]) == (2, 65_535)
    assert list(body[2:]) == [255, 0, 255, 255]


def test_a_label_of_one_byte_is_never_taken_for_none():
    header, body = draw(np.zeros((1, 2)), labels_rc=np.array([[255, 0]]))
    assert (header["label_bytes"], header["no_label"]) == (1, None)
    assert list(body[2:]) == [255, 0]


def test_strengths_of_experts_are_fifteen_with_both_ends():
    values = np.linspace(0, 1, 1001, dtype=np.float32)[None]
    codes = quantise(values, Scale("share", low=0, high=1, palette="experts"))
    assert len(np.unique(codes)) == 15
    assert (codes.min(), codes.max()) == (0, 254)


def test_pool_and_null_travel_with_the_scale():
    header, _ = draw(np.zeros((1, 1)), scale=Scale("d", low=-1, high=1, null=0.0, palette="diverging", pool="far"))
    assert (header["scale"]["pool"], header["scale"]["null"], header["scale"]["palette"]) == ("far", 0.0, "diverging")


def test_hostile_and_broken_tokens_travel_unchanged():
    pieces = ["<script>", '"', "\\", "\ud800", "\u202e", "\x00"]
    header, _ = draw(np.zeros((1, 6)), pieces=pieces)
    assert header["pieces"] == pieces


def test_a_very_long_token_is_cut():
    header, _ = draw(np.zeros((1, 1)), pieces=["x" * 10_000])
    assert header["pieces"] == ["x" * 200 + "…"]


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros(3), {}, "an array of shape"),
        (np.zeros((0, 3)), {}, "an array of shape"),
        (np.zeros((1, 2)), {"pieces": ["a"]}, "1 pieces and 2 flags for 2 columns"),
        (np.zeros((1, 2)), {"pieces": ["a", "b"], "flags": [0]}, "2 pieces and 1 flags for 2 columns"),
        (np.zeros((1, 2)), {"labels_rc": np.zeros((2, 1), int)}, "cell labels of shape"),
        (np.zeros((1, 1)), {"labels_rc": np.array([[65_535]])}, "largest 65535"),
    ],
)
def test_what_does_not_fit_together_is_refused(values, options, message):
    with pytest.raises(OptionError, match=message):
        draw(values, **options)


def test_row_names_must_be_as_many_as_rows():
    with pytest.raises(OptionError, match="3 layer labels for 2"):
        encode(np.zeros((2, 3)), MARGIN, rows=Axis("layer", ["a", "b", "c"]), columns=TOKEN)


def test_a_matrix_too_large_for_a_browser_is_refused():
    with pytest.raises(OptionError, match="needs 9,000,"):
        encode(np.zeros((900, 10_000), np.float16), MARGIN, rows=LAYER, columns=TOKEN)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 1, "high": 1}, "from 1 to 1"),
        ({"low": 0, "high": np.inf}, "from 0 to inf"),
        ({"low": 0, "high": 1, "palette": "jet"}, "palette 'jet'"),
        ({"low": 0, "high": 1, "pool": "mean"}, "pool 'mean'"),
        ({"low": 0, "high": 1, "palette": "diverging"}, "null value None"),
        ({"low": 0, "high": 1, "pool": "far"}, "null value None"),
        ({"low": 0, "high": 1, "null": np.nan}, "null value nan"),
    ],
)
def test_a_scale_that_means_nothing_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        Scale("x", **options)


def test_a_scale_from_values_holds_the_finite_ones():
    scale = Scale.of(np.array([np.nan, 2.0, 5.0]), "load", unit="tokens")
    assert (scale.low, scale.high, scale.unit) == (2.0, 5.0, "tokens")


def test_a_diverging_scale_from_values_reaches_as_far_on_both_sides_of_its_null():
    scale = Scale.of(np.array([0.5, 4.0]), "ratio", null=1.0, palette="diverging")
    assert (scale.low, scale.high) == (-2.0, 4.0)


@pytest.mark.parametrize(("values", "ends"), [([3.0, 3.0], (2.5, 3.5)), ([np.nan], (0.0, 1.0))])
def test_a_scale_from_constant_or_undefined_values_can_be_drawn(values, ends):
    scale = Scale.of(np.array(values), "load")
    assert (scale.low, scale.high) == ends


@pytest.mark.parametrize("module", [encode_module, scale_module])
def test_examples_in_the_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0
