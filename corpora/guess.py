"""Which language a text is in, guessed from its bytes by py3langid; nothing is downloaded."""

from collections.abc import Callable, Collection

from gatescope.routing.errors import OptionError

LOOKED_AT = 1000
"""Characters of a text that are looked at: the first ones. More costs time and decides nothing."""
SURE = 0.5
"""The least probability, by py3langid's own reckoning, of a guess that is kept."""

_NO_LANGUAGE = ("und", "zxx")  # ISO 639: undetermined, and no linguistic content


def guesser(among: Collection[str] = ()) -> Callable[[str], str]:
    """A function from a text to the ISO 639 code of its language, "" where it is too short or too mixed to say.

    among       the languages it may be, where that is known; else all of py3langid's
    Errors      OptionError when a code is unknown
    """
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # a second and 120 MB, for those who guess

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=SURE)
    unknown = sorted(set(among) - set(identifier.labels))
    if unknown or isinstance(among, str):
        found = f"the language {', '.join(unknown) or among!r}"
        raise OptionError(found, expected=f"codes out of {' '.join(identifier.labels)}", do="check the codes")
    identifier.set_languages(among or None)

    def guess(text: str) -> str:
        language = identifier.classify(text[:LOOKED_AT])[0]
        return "" if language in _NO_LANGUAGE else language

    return guess
