"""What kind of text a token is (line break, digits, a capitalised word, a script), and experts by that."""

import re
import unicodedata

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency

from gatescope.analysis.statistics.information import mutual_information_bits
from gatescope.analysis.statistics.load import narrow_count_by
from gatescope.analysis.tally.tally import Reading, TokenRole, statistic

CLASSES = (
    "no known text",
    "part of a character",
    "line break or indent",
    "space",
    "digits",
    "punctuation",
    "code symbols",
    "word in lower case",
    "capitalised word",
    "word in capitals",
    "inside a word",
    "Cyrillic",
    "Greek",
    "Han",
    "Kana",
    "Hangul",
    "Arabic",
    "Devanagari",
    "another script",
)
UNKNOWN = 0
_SCRIPTS = {
    "CYRILLIC": "Cyrillic",
    "GREEK": "Greek",
    "CJK": "Han",
    "HIRAGANA": "Kana",
    "KATAKANA": "Kana",
    "HANGUL": "Hangul",
    "ARABIC": "Arabic",
    "DEVANAGARI": "Devanagari",
}
_BYTES = re.compile(r"<[89A-F][0-9A-F](?: [89A-F][0-9A-F])*>")
"""How a capture writes bytes that are no character by themselves."""

_CODE = set("{}[]<>=+*\\|&^$#@~`_")


def class_of(piece: str, *, follows_letter: bool = False) -> str:
    """The class of a token's text; `follows_letter` when the text before it ends in a letter, so that a word goes on.

    A token of several kinds is of the first that it has: letters, then digits, then signs. Letters are told by the
    first of them.

    >>> [class_of(piece) for piece in (" the", "Paris", "NATO", "\\n    ", "42", ",", "});", "это", "�", "漢字")]
    ... # doctest: +NORMALIZE_WHITESPACE
    ['word in lower case', 'capitalised word', 'word in capitals', 'line break or indent', 'digits', 'punctuation',
     'code symbols', 'Cyrillic', 'part of a character', 'Han']
    >>> class_of("ation", follows_letter=True), class_of(" nation", follows_letter=True), class_of("")
    ('inside a word', 'word in lower case', 'no known text')
    >>> class_of("<E4 B8>"), class_of("<42>")
    ('part of a character', 'digits')
    """
    if not piece:
        return "no known text"
    if "\N{REPLACEMENT CHARACTER}" in piece or _BYTES.fullmatch(piece):
        return "part of a character"
    letters = [sign for sign in piece if sign.isalpha()]
    if letters:
        return _of_letters(piece, letters, follows_letter)
    if any(sign.isnumeric() for sign in piece):
        return "digits"
    if piece.isspace():
        return "line break or indent" if "\n" in piece or "\t" in piece or len(piece) > 1 else "space"
    return "code symbols" if _CODE & set(piece) else "punctuation"


@statistic(per="facet", axes="gcle")
def class_assignments(reading: Reading) -> NDArray[np.unsignedinteger]:
    """Slots that each expert filled, by class of the token's text."""
    record, classes = reading.record, len(CLASSES)
    place_t = reading.group_t.astype(np.int64) * classes + class_t(reading)
    count_xle = narrow_count_by(record.ids_tlk, place_t, len(reading.groups) * classes, record.experts)
    return count_xle.reshape(len(reading.groups), classes, *count_xle.shape[1:])


@statistic(per="facet", axes="gc")
def class_tokens(reading: Reading) -> NDArray[np.int64]:
    """Tokens of each class of text."""
    table_gc = np.zeros((len(reading.groups), len(CLASSES)), np.int64)
    np.add.at(table_gc, (reading.group_t, class_t(reading)), 1)
    return table_gc


def class_t(reading: Reading) -> NDArray[np.int64]:
    """Class of each token, by its own text and the end of the text before it in the document."""
    if "class_t" in reading.memo:
        known_t: NDArray[np.int64] = reading.memo["class_t"]
        return known_t
    record = reading.record
    token_x, place_t = np.unique(record.token_t, return_inverse=True)
    pieces = [record.pieces.get(int(token), "") for token in token_x]
    number = {name: at for at, name in enumerate(CLASSES)}
    both_xs = np.array([[number[class_of(piece, follows_letter=f)] for f in (False, True)] for piece in pieces])
    ends_x = np.array([piece[-1:].isalpha() for piece in pieces], bool)
    follows_t = np.zeros(record.tokens, np.int64)
    side_t = record.document_t.astype(np.int64) * 2 + (reading.facet_t == TokenRole.ENCODER)
    follows_t[1:] = ends_x[place_t[:-1]] & (side_t[1:] == side_t[:-1])
    found_t: NDArray[np.int64] = both_xs.reshape(-1, 2)[place_t, follows_t].astype(np.int64)
    reading.memo["class_t"] = found_t
    return found_t


def class_bits(count_lce: NDArray[np.integer]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Plug-in information of class and expert, and what so many assignments show of it by chance, in bits.

    Shapes      (..., classes, experts) to (...), twice.
    Undefined   NaN where there are no counts.
    Not this    Corrected for documents, in which tokens are alike: the bias is that of independent assignments.
    Source      Miller 1955: cells less rows less columns plus one, over twice the number.

    >>> bits, bias = class_bits(np.array([[8, 0], [0, 8]]))
    >>> float(bits), float((bias * np.log(2)).round(5))
    (1.0, 0.03125)
    """
    count_lce = np.asarray(count_lce)
    total = count_lce.sum(axis=(-1, -2))
    rows = np.count_nonzero(count_lce.sum(axis=-1), axis=-1)
    columns = np.count_nonzero(count_lce.sum(axis=-2), axis=-1)
    bias = np.full(total.shape, np.nan)
    np.divide((rows - 1) * (columns - 1), 2 * np.log(2) * total, out=bias, where=total > 0)
    return mutual_information_bits(count_lce), bias


def cramers_v(count_ce: NDArray[np.integer]) -> float:
    """Association of class and expert, 0 to 1, corrected for chance (Cramér's V).

    Undefined   NaN without counts; 0 where all are of one class or expert.
    Source      Bergsma 2013: φ² less its expectation, over its largest value less that of the table's size.

    >>> cramers_v(np.array([[50, 0], [0, 50]])), cramers_v(np.array([[5, 5], [5, 5]]))
    (1.0, 0.0)
    """
    count_ce = count_ce[count_ce.sum(axis=1) > 0][:, count_ce.sum(axis=0) > 0]
    total = int(count_ce.sum())
    if not total:
        return float("nan")
    rows, columns = count_ce.shape
    if min(rows, columns) < 2 or total < 2:
        return 0.0
    phi2 = chi2_contingency(count_ce, correction=False).statistic / total
    corrected = max(0.0, phi2 - (rows - 1) * (columns - 1) / (total - 1))
    sides = [size - (size - 1) ** 2 / (total - 1) for size in (rows, columns)]
    room = min(sides) - 1
    return float(min(1.0, np.sqrt(corrected / room))) if room > 0 else 0.0


def _of_letters(piece: str, letters: list[str], follows_letter: bool) -> str:
    name = unicodedata.name(letters[0], "").partition(" ")[0]
    if name not in ("LATIN", "FULLWIDTH"):
        return _SCRIPTS.get(name, "another script")
    if follows_letter and piece[0].isalpha():
        return "inside a word"
    if len(letters) > 1 and all(letter.isupper() for letter in letters):
        return "word in capitals"
    return "capitalised word" if letters[0].isupper() else "word in lower case"
