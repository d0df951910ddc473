"""Tell whether a paragraph is really in the language it is filed under: translations keep English paragraphs."""

import re

_SCRIPTS = {
    "ar": re.compile(r"[\u0600-\u06ff]"),
    "el": re.compile(r"[\u0370-\u03ff\u1f00-\u1fff]"),
    "he": re.compile(r"[\u0590-\u05ff]"),
    "hi": re.compile(r"[\u0900-\u097f]"),
    "ja": re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]"),
    "ko": re.compile(r"[\uac00-\ud7a3]"),
    "ru": re.compile(r"[\u0400-\u04ff]"),
    "th": re.compile(r"[\u0e00-\u0e7f]"),
    "zh": re.compile(r"[\u4e00-\u9fff]"),
}
_KANA = re.compile(r"[\u3040-\u30ff]")
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"[^\W\d_]+")
_STOP_WORDS = {
    language: frozenset(words.split())
    for language, words in {
        "de": "der die das und ist nicht ein eine zu den mit von sie auf für wird im dem werden des sich als",
        "en": "the of and to is in that a for this it with be are as you on or can not by from if will an",
        "es": "el la los las de que y en un una es se no por con para del al su si lo como puede más",
        "fr": "le la les des de et est un une dans que qui pour en au du par sur ne pas se ce vous sont il",
    }.items()
}
_SMALLEST_SHARE = 0.3


def is_in_language(paragraph: str, language: str) -> bool:
    """True if `paragraph` may be kept under `language`.

    Other scripts: at least 0.3 of its letters belong to the script. Latin scripts: it has no more English than own
    function words. Programming and formal languages, and English itself, are always kept.
    """
    if language in _SCRIPTS:
        letters = len(_LETTER.findall(paragraph))
        return letters > 0 and len(_SCRIPTS[language].findall(paragraph)) >= _SMALLEST_SHARE * letters
    if language in _STOP_WORDS and language != "en":
        words = [word.lower() for word in _WORD.findall(paragraph)]
        own, english = (sum(word in _STOP_WORDS[name] for word in words) for name in (language, "en"))
        return english <= own
    return True


def keep_translated(page: str, language: str) -> str:
    """Return `page` without the paragraphs that are not in `language`; empty if nothing worth keeping is left."""
    kept = "\n".join(line for line in page.split("\n") if is_in_language(line, language))
    return "" if language == "ja" and not _KANA.search(kept) else kept
