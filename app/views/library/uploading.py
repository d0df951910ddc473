"""Files of a visitor's own as the documents of a study: which column is what, what was read, and what was not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from gatescope.app.shell.messages import plain, show_error
from gatescope.corpora.formats import Cut, format_of
from gatescope.corpora.opening import PACKED
from gatescope.routing.errors import GatescopeError
from gatescope.server.settings import settings
from gatescope.server.upload import PARTS, SUFFIXES, Limits, Look, Mapped, Texts, laid_out, look, read, safe_name
from gatescope.studies.manifest import MOST_NAMED
from gatescope.studies.plan import CHARACTERS_A_TOKEN

CUTS = {"file": "the whole file", "paragraphs": "a paragraph", "words": "200 words"}
WORDS = 200
NAMES = {"text": "Text", "domain": "Domain", "language": "Language", "id": "Id"}
NONE = ""
FAULTS_SHOWN = 20


def documents_uploaded() -> Texts | None:
    """The documents of the files that were dropped, as their columns are mapped; None until there are any."""
    files = st.file_uploader(
        "Files: JSON Lines, CSV, TSV, Parquet or plain text, also packed as .gz or .zst",
        type=[suffix.removeprefix(".") for suffix in (*SUFFIXES, *PACKED)],
        accept_multiple_files=True,
        key="study-files",
        help="They are read on this server and go nowhere else. Nothing in them is run.",
    )
    if not files:
        return None
    about = tuple(file.file_id for file in files)
    cut: Cut = _cut() if any(is_plain(file.name) for file in files) else "file"
    try:
        seen = _remembered("study-look", (about, cut), lambda: _look(files, cut))
        mapped = _mapping(seen, about)
        if not mapped["text"]:
            st.info("Choose the column that holds the texts.", icon=":material/arrow_upward:")
            return None
        guess = st.toggle("Guess the language where none is said", key="study-guess")
        key = (about, cut, tuple(sorted(mapped.items(), key=str)), guess)
        texts: Texts = _remembered("study-texts", key, lambda: _read(files, mapped, cut, guess))
    except GatescopeError as error:
        show_error(error)
        return None
    _suggest_name(files[0].name, about)
    _account(texts)
    return texts


def is_plain(name: str) -> bool:
    """Whether a file is plain text by its name.

    >>> is_plain("notes.txt.gz"), is_plain("texts.csv")
    (True, False)
    """
    found = format_of(Path(name))
    return found is not None and found.name == "text"


def contents(files: Sequence[UploadedFile]) -> list[tuple[str, bytes]]:
    """Names and bytes of files."""
    return [(file.name, file.getvalue()) for file in files]


def _suggest_name(file: str, about: tuple[str, ...]) -> None:
    if st.session_state.get("study-named-for") != about:
        st.session_state["study-named-for"] = about
        st.session_state["study-name"] = safe_name(file)[:MOST_NAMED]


def _cut() -> Cut:
    """What one document of a plain text is."""
    chosen = st.segmented_control(
        "One document of a plain text is",
        list(CUTS),
        format_func=lambda name: CUTS[name],
        default="file",
        required=True,
        key="study-cut",
    )
    return WORDS if chosen == "words" else "paragraphs" if chosen == "paragraphs" else "file"


def _look(files: Sequence[UploadedFile], cut: Cut) -> Look:
    with laid_out(contents(files)) as place:
        return look(place, cut)


def _read(files: Sequence[UploadedFile], mapped: Mapped, cut: Cut, guess: bool) -> Texts:
    chosen = settings()
    limits = Limits(chosen.max_study_documents, chosen.max_study_tokens * CHARACTERS_A_TOKEN)
    with st.spinner("Reading the files"), laid_out(contents(files)) as place:
        return read(place, mapped, limits=limits, cut=cut, guess_language=guess)


def _mapping(seen: Look, about: tuple[str, ...]) -> Mapped:
    """Which column is what, guessed by the names; the first rows below."""
    if seen.is_plain:
        return seen.guess
    if st.session_state.get("study-mapped-for") != (about, seen.columns):
        st.session_state["study-mapped-for"] = (about, seen.columns)
        for part in PARTS:
            st.session_state[f"study-column-{part}"] = seen.guess[part] or NONE
    with st.container(horizontal=True):
        for part in PARTS:
            st.selectbox(
                f"{NAMES[part]} column",
                [NONE, *seen.columns],
                key=f"study-column-{part}",
                format_func=lambda name: name or "none",
                width=220,
            )
    frame = pd.DataFrame(list(seen.rows), columns=_unique(seen.columns), dtype=str)
    st.dataframe(frame, hide_index=True, alt="The first rows of the file")
    return {part: st.session_state[f"study-column-{part}"] or None for part in PARTS}


def _unique(columns: tuple[str, ...]) -> list[str]:
    """Names of columns as a grid takes them: none twice."""
    return [name if columns.index(name) == number else f"{name} ({number})" for number, name in enumerate(columns)]


def _account(texts: Texts) -> None:
    """What was read and what was not, row by row."""
    documents = len(texts.documents)
    sentence = f"{documents:,} document{'s' * (documents != 1)} read, {texts.characters:,} characters."
    if texts.is_cut:
        sentence += (
            f" There are more: a study here takes at most {settings().max_study_documents:,} documents, the first."
        )
    st.markdown(plain(sentence))
    if texts.bad or texts.faults:
        st.warning(
            f"{texts.bad:,} row{'s were' if texts.bad != 1 else ' was'} not read and will be left out.",
            icon=":material/playlist_remove:",
        )
        frame = pd.DataFrame(texts.faults, columns=["where", "found", "expected", "what to do"])
        st.dataframe(frame.head(FAULTS_SHOWN), hide_index=True, alt="Rows that were not read, and why")


def _remembered(name: str, key: object, make: Any) -> Any:
    """What was made of these files in this session; made anew when they, or what is asked of them, are others."""
    kept = st.session_state.get(name)
    if kept is None or kept[0] != key:
        kept = (key, make())
        st.session_state[name] = kept
    return kept[1]
