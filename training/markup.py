"""Turn HTML, Mallard pages and roff manual pages into plain paragraphs, one a line."""

import html
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

_SKIPPED = frozenset("script style head nav header footer aside noscript button svg".split())
_BLOCKS = frozenset(
    "p div li ul ol dl dt dd h1 h2 h3 h4 h5 h6 pre table tr td th br section article blockquote title".split()
)
_VOID = frozenset("meta link img br hr input base".split())


class _TextParser(HTMLParser):
    """Collects text, breaking lines at block elements and leaving out navigation."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._skipped: list[str] = []
        self._preformatted = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _VOID:
            self.pieces.append("\n" if tag == "br" else " ")
            return
        if self._skipped or tag in _SKIPPED or "docnav" in (dict(attrs).get("class") or ""):
            self._skipped.append(tag)
            return
        self._preformatted += tag == "pre"
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if self._skipped:
            if tag == self._skipped[-1]:
                self._skipped.pop()
            return
        self._preformatted -= tag == "pre" and self._preformatted > 0
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.pieces.append(data if self._preformatted else re.sub(r"\s+", " ", data))


def squeeze(text: str) -> str:
    """Return `text` with runs of blanks inside lines made one, and empty lines removed."""
    lines = (re.sub(r"[ \t\u00a0]+", " ", line).strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def text_of_html(source: str) -> str:
    """Return the readable text of an HTML page, one block a line."""
    parser = _TextParser()
    parser.feed(source)
    parser.close()
    return squeeze("".join(parser.pieces))


_PAGE_SKIPPED = frozenset("info links media".split())
_PAGE_BLOCKS = frozenset("p title cell".split())


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _page_blocks(element: ElementTree.Element) -> list[str]:
    if not isinstance(element.tag, str) or _local(element.tag) in _PAGE_SKIPPED:
        return []
    if _local(element.tag) in _PAGE_BLOCKS:
        return [" ".join("".join(element.itertext()).split())]
    return [block for child in element for block in _page_blocks(child)]


def text_of_mallard(source: str) -> str:
    """Return the titles and paragraphs of a Mallard help page, one a line."""
    return squeeze("\n".join(_page_blocks(ElementTree.fromstring(source))))


_ROFF_GLYPHS = {"\\-": "-", "\\&": "", "\\e": "\\", "\\ ": " ", "\\~": " ", "\\|": "", "\\:": "", "\\%": "", "\\c": ""}
_ROFF_SPECIAL = {
    "aq": "'",
    "dq": '"',
    "lq": "“",
    "rq": "”",
    "oq": "‘",
    "cq": "’",
    "bu": "•",
    "em": "—",
    "en": "–",
    "co": "©",
    "ha": "^",
    "ti": "~",
}
_ROFF_BREAKS = frozenset("PP P LP TP IP HP br sp RS RE SH SS nf fi EX EE".split())
_ROFF_FONTS = frozenset("B I R BR BI RB RI IB IR SM SB SH SS IP UR MT UE ME".split())


def _inline(line: str) -> str:
    line = re.sub(r"\\[fF](\[[^\]]*\]|\(..|.)", "", line)
    line = re.sub(r"\\[sk](\[[^\]]*\]|[-+]?\d|.)", "", line)
    line = re.sub(r"\\[hvwm](\[[^\]]*\]|'[^']*')", "", line)
    line = re.sub(r"\\(?:\((..)|\[([^\]]*)\])", lambda m: _ROFF_SPECIAL.get(m[1] or m[2], ""), line)
    line = re.sub(r"\\\*(\[[^\]]*\]|\(..|.)", "", line)
    return re.sub(r"\\[-&e ~|:%c]", lambda m: _ROFF_GLYPHS[m[0]], line)


def _macro(line: str) -> str:
    """The text a macro line contributes: a line break, its arguments, or nothing."""
    name, _, rest = line[1:].strip().partition(" ")
    words = [a or b for a, b in re.findall(r'"([^"]*)"|(\S+)', rest)] if name in _ROFF_FONTS else []
    words = words[:1] if name == "IP" else words
    joint = "" if name in {"BR", "BI", "RB", "RI", "IB", "IR"} else " "
    after = "\n" if name in {"SH", "SS"} else " "
    return ("\n" if name in _ROFF_BREAKS else "") + _inline(joint.join(words)) + after


def text_of_roff(source: str) -> str:
    """Return the text of a manual page written with the `man` macros, one paragraph a line."""
    pieces: list[str] = []
    for line in source.split("\n"):
        if line.startswith((".", "'")):
            pieces.append("" if line[1:3] == '\\"' else _macro(line))
        elif line:
            pieces.append(_inline(line) + " ")
        else:
            pieces.append("\n")
    return squeeze(html.unescape("".join(pieces)))
