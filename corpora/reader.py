"""Files in Gatescope's own form: JSON Lines of `corpora/schema.json`, one text a line.

A file is read whole or not at all: a line that cannot be read is an error, never skipped. `corpora.corpus` reads files
in the form their owner gave them.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from gatescope.corpora.formats.jsonl import json_rows
from gatescope.corpora.ids import Ids
from gatescope.corpora.line import strict_document
from gatescope.corpora.place import RowError
from gatescope.routing.record import Document


def read_jsonl(path: str | os.PathLike[str]) -> list[Document]:
    """Read a JSON Lines file in the form of `corpora/schema.json`.

    Returns     one document a line, in the file's order; at least one
    Errors      CorpusError when the file cannot be opened, is empty, holds a line that is not a labelled text, or says
                an id twice; file and line are named
    """
    return list(_documents(Path(path)))


def _documents(path: Path) -> Iterator[Document]:
    ids = Ids(sys.maxsize)
    for place, fields in json_rows(path):
        if isinstance(fields, RowError):
            raise fields
        document = strict_document(fields, place)
        ids.check(document.id, place)
        yield document
