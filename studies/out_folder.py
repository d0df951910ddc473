"""The folder that a study's results are written into: looked at before the work, and complete or as it was afterwards.

What is written comes together beside it, in `.study-XXXX`, held by a lock as long as its writer lives; what a writer
that was killed left behind goes when the next one comes.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from gatescope.cache.temporary import sweep_folders, working_folder
from gatescope.routing.errors import OptionError, StorageFullError, StoreError
from gatescope.studies.results import is_analysed

PREFIX, NEW, OLD = ".study-", "new", "old"


def check_out(out: Path) -> None:
    """Look, before anything is computed, whether results can be written there.

    Errors: OptionError where it holds something else, StoreError where this user may not write.
    """
    with _explained(out):
        _check_replaceable(out)
        place = next(each for each in (out.absolute().parent, *out.absolute().parents) if each.exists())
        with TemporaryDirectory(prefix=PREFIX, dir=place):
            pass


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A new folder that takes the place of `out` once everything is in it; an older study is replaced.

    Errors: as `check_out`; StorageFullError.
    """
    with _explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        clean(out.parent)
        with working_folder(out.parent, prefix=PREFIX, name=out.name) as made:
            partial = made / NEW
            partial.mkdir()
            yield partial
            _check_replaceable(out)
            if out.exists():
                out.rename(made / OLD)
            partial.rename(out)


def clean(folder: Path) -> None:
    """Remove what writers that were killed left behind in a folder; what stood at its end takes its place first."""
    sweep_folders(folder, prefix=PREFIX, finish=lambda left, name: _put_back(left, folder / Path(name).name))


def _put_back(left: Path, out: Path) -> None:
    """Finish what was killed between its last two steps: the older study was moved away, the new one is complete."""
    if (left / NEW).exists() and (left / OLD).exists() and not out.exists():
        (left / NEW).rename(out)


def _check_replaceable(out: Path) -> None:
    if not out.exists():
        return
    expected, do = "a new folder, an empty one, or an older study", "name another --out"
    if not out.is_dir():
        raise OptionError(f"{out} is a file", expected=expected, do=do)
    if not is_analysed(out) and not (out / "study.json").exists() and any(out.iterdir()):
        raise OptionError(f"{out} holds other files", expected=expected, do=do)
    if not out.name or os.path.ismount(out):
        raise OptionError(f"{out} cannot be replaced as a whole", expected=expected, do="name a folder in it")


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = StorageFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
        raise kind(
            f"{out}: {error.strerror or error}", expected="a folder with room to write into", do="choose another --out"
        ) from None
