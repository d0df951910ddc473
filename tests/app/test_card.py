"""The pinned token's card: every number from the record, every text escaped."""

import re
from dataclasses import replace

import numpy as np
import pytest

from gatescope.app.charts.card import card, visible
from gatescope.routing import Flag


def plain(html: str) -> str:
    """The words of a card, its style and tags taken away."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.S)))


@pytest.mark.parametrize(
    ("piece", "shown"),
    [
        ("cat", "cat"),
        (" cat", "<i>·</i>cat"),
        ("\n\n", "<i>⏎⏎</i>"),
        ("", "<i>∅</i>"),
        ("\x00", "<i>␀</i>"),
        ("\u200b", "<i>‹200B›</i>"),
        ("\u202e", "<i>‹202E›</i>"),
        ("\ud800", "<i>‹D800›</i>"),
        ("<b>&\"'", "&lt;b&gt;&amp;&quot;&#x27;"),
        ("שלום", "שלום"),
    ],
)
def test_white_space_and_hidden_characters_are_signs_and_markup_is_text(piece, shown):
    assert visible(piece) == shown


def test_the_card_says_what_the_token_is_and_what_came_next(make_record):
    record = make_record(pieces=["<s>", " cat", " sat"], loss_t=np.array([1.5, 2.25, np.nan], np.float32))
    words = plain(card(record, 1, None))
    assert "1 of 0 … 2" in words
    assert "Kind prompt" in words
    assert "Expected next &lt;s&gt;" in words
    assert "· sat (loss 2.25 nats)" in words


def test_the_last_token_has_nothing_after_it(make_record):
    assert "nothing, the text ends" in plain(card(make_record(), 2, None))


def test_every_layer_lists_its_experts_by_weight_and_the_first_rejected(make_record):
    words = plain(card(make_record(layers=2, experts=4, k=2), 0, None))
    assert "0 0 0.75 1 0.25 2 runner-up by 0.5" in words
    assert "1 1 0.75 2 0.25 3 runner-up by 0.5" in words


def test_the_pinned_layer_comes_first_and_is_marked_in_the_table(make_record):
    shown = card(make_record(), 0, 1)
    assert '<tr class="pinned"><th scope="row">1</th>' in shown
    assert shown.index("Layer 1 (block 2)") < shown.index("<table>")


def test_a_dropped_token_says_so(make_record):
    ids_tlk = np.array([[[255, 255]], [[0, 1]], [[0, 1]]], np.uint8)
    weight_tlk = np.array([[[0, 0]], [[0.5, 0.5]], [[0.5, 0.5]]], np.float16)
    dropped = make_record(layers=1, ids_tlk=ids_tlk, weight_tlk=weight_tlk)
    assert "the token was dropped" in card(dropped, 0, 0)
    full = replace(dropped.layers[0], empty_when="where an expert was full")
    assert "none: a slot stays empty where an expert was full" in card(replace(dropped, layers=(full,)), 0, 0)
    encoder = replace(full, stack="encoder")
    assert "does not pass this layer of the encoder" in card(replace(dropped, layers=(encoder,)), 0, 0)


def test_what_was_not_recorded_is_left_out(make_record):
    bare = make_record(weight_tlk=None, rejected_tl=None, margin_tl=None, loss_t=None, predicted_t=None)
    words = plain(card(bare, 0, None))
    assert "runner-up by" not in words
    assert "Expected next" not in words
    assert "nan" not in words


def test_flags_are_words(make_record):
    flag_t = np.array([Flag.SPECIAL | Flag.TEMPLATE, Flag.GENERATED, 0], np.uint8)
    record = make_record(flag_t=flag_t)
    kinds = [re.search(r"Kind (.*?) Expected", plain(card(record, token, None)))[1] for token in range(3)]
    assert kinds == ["special, chat template", "generated", "prompt"]


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", "</p><img src=x onerror=alert(1)>", '"><svg onload=x>']
)
def test_no_text_becomes_markup(make_record, hostile):
    shown = card(make_record(pieces=[hostile, hostile, hostile]), 0, 0)
    assert not re.search(r"<(script|img|svg)", shown)
