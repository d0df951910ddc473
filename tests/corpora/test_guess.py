"""Guessed languages: right on the probe, marked as guessed, left out where there is nothing to go by."""

import pytest

from gatescope.corpora import languages, open_corpus
from gatescope.corpora.guess import guesser
from gatescope.routing.errors import OptionError


@pytest.fixture(scope="module")
def guess():
    return guesser()


def test_every_passage_of_the_probe_is_guessed_right(guess):
    wrong = {document.id: guess(document.text) for document in languages()}
    assert {id: said for id, said in wrong.items() if said != id.rpartition("-")[2]} == {}


@pytest.mark.parametrize("text", ["12345", "?!", "a", "\U0001f600", "SELECT 1", "Haus"])
def test_too_little_to_go_by_is_not_guessed(guess, text):
    assert guess(text) == ""


def test_a_guess_may_be_kept_among_some_languages():
    hard = "El gato duerme en la casa del vecino."
    assert guesser(["es", "en"])(hard) == "es"
    assert guesser(["de", "fr"])(hard) in ("de", "fr", "")


@pytest.mark.parametrize("among", [["en", "klingon"], "en"])
def test_unknown_codes_are_refused(among):
    with pytest.raises(OptionError, match="check the codes"):
        guesser(among)


def test_only_a_language_that_is_not_said_is_guessed_and_it_is_marked(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("text,lang\nDer Hund schläft heute im Garten.,\nDer Hund schläft heute im Garten.,gsw\n12,\n")
    corpus = open_corpus(path, guess_language=True)
    assert [(one.language, one.language_guessed) for one in corpus] == [("de", True), ("gsw", False), ("", False)]
    assert corpus.report.guessed == 1
    assert dict(corpus.report.languages) == {"de": 1, "gsw": 1, "": 1}
    assert [one.language for one in open_corpus(path)] == ["", "gsw", ""]
