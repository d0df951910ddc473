"""Load a GGUF and run two tokens: `python -m gatescope.engines.llamacpp FILE [LIBRARY]`. See `proof`."""

import sys
from pathlib import Path

from gatescope.engines.llamacpp.header import read_header
from gatescope.engines.llamacpp.library import load_library
from gatescope.engines.llamacpp.runtime import Runtime
from gatescope.routing.errors import GatescopeError

TOKENS = 2


def main(path: str, library: str = "") -> None:
    """Try a file; exit code 1 with the reason where it is refused in words."""
    try:
        loaded = load_library(library)
        runtime = Runtime(loaded, read_header(loaded, Path(path)), attention="auto", threads=1)
        runtime.begin(TOKENS)
        runtime.decode(range(min(TOKENS, runtime.vocabulary_size)), 0)
    except GatescopeError as refusal:
        sys.exit(str(refusal))


if __name__ == "__main__":
    main(*sys.argv[1:3])
