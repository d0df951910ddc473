"""Archives: out and in again, gone on with where they stopped, and nothing in them trusted."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from gatescope.cache.archive import (
    LIST,
    Contents,
    Packed,
    contents_of,
    files_below,
    is_archive,
    unpack,
    write_archive,
)
from gatescope.cache.checksum import with_checksum
from gatescope.routing.errors import CaptureDamagedError, InUseError, OptionError, StoreError, TraceError
from tests.cache.test_study import LINUX, MOUNTS, disk

ROOT = Path(__file__).parents[2]
SIZES = {"capture/capture.json": 700, "capture/blocks/00000000.routes": 5_000, "capture/blocks/00000001.routes": 512}


@pytest.fixture
def made(tmp_path) -> tuple[Path, Contents]:
    """A folder of three files, of sizes that fill blocks of a tar and that do not, and what an archive of it holds."""
    for number, (name, size) in enumerate(SIZES.items()):
        path = tmp_path / "study" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number + 1]) * size)
    files = files_below(tmp_path / "study" / "capture", prefix="capture/")
    return tmp_path / "study", Contents(kind="study", about={"name": "rivers"}, files=tuple(files))


def written(made: tuple[Path, Contents], out: Path) -> Path:
    folder, contents = made
    write_archive(out, contents, lambda name: folder / name)
    return out


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_went_in_comes_out_here_and_in_any_tar(made, tmp_path):
    out = written(made, tmp_path / "one.tar")
    assert is_archive(out) and not is_archive(made[0] / "capture/capture.json")
    assert unpack(out, tmp_path / "unpacked") == made[1] == contents_of(out)
    assert tree(tmp_path / "unpacked") == tree(made[0])
    with tarfile.open(out) as tar:
        assert [member.name for member in tar] == [LIST, *(file.name for file in made[1].files)]
        held = {member.name: tar.extractfile(member).read() for member in tar if member.name != LIST}
    assert held == tree(made[0])
    sums = {file.name: file.sha256 for file in made[1].files}
    assert sums == {name: hashlib.sha256(content).hexdigest() for name, content in held.items()}


def test_the_same_files_give_the_same_archive(made, tmp_path):
    one, other = (written(made, tmp_path / name).read_bytes() for name in ("one.tar", "other.tar"))
    assert one == other


def test_what_is_there_is_not_written_over(made, tmp_path):
    out = written(made, tmp_path / "one.tar")
    with pytest.raises(OptionError, match="is there already"):
        written(made, out)


@pytest.mark.parametrize("kept", [0, 100, 600, 1536, 2000, 4000, 8000, 9000, 10**6])
def test_an_export_that_was_interrupted_goes_on(made, tmp_path, kept):
    whole = written(made, tmp_path / "whole.tar").read_bytes()
    (tmp_path / ".one.tar.partial").write_bytes(whole[:kept])
    asked = []
    write_archive(tmp_path / "one.tar", made[1], lambda name: asked.append(name) or made[0] / name)
    assert (tmp_path / "one.tar").read_bytes() == whole
    assert not (tmp_path / ".one.tar.partial").exists()
    with tarfile.open(tmp_path / "whole.tar") as tar:
        cut = [member.name for member in tar if member.offset_data + member.size > kept]
    assert asked == ([name for name in cut if name != LIST])


def test_what_an_interrupted_export_left_is_held_to_its_checksums(made, tmp_path):
    whole = written(made, tmp_path / "whole.tar").read_bytes()
    torn = bytearray(whole[:-2000])
    torn[whole.index(b"\x02" * 512)] ^= 1
    (tmp_path / ".one.tar.partial").write_bytes(torn)
    assert written(made, tmp_path / "one.tar").read_bytes() == whole


def test_an_export_of_other_files_begins_anew(made, tmp_path):
    (tmp_path / ".one.tar.partial").write_bytes(b"something else" * 900)
    assert contents_of(written(made, tmp_path / "one.tar")) == made[1]


@pytest.mark.parametrize("content", [b"\x01" * 700, b"\x01" * 699, b"\x01" * 701])
def test_a_file_that_is_not_what_the_list_says_ends_the_export(made, tmp_path, content):
    (made[0] / "capture" / "capture.json").write_bytes(content[:-1] + b"!")
    with pytest.raises(CaptureDamagedError, match="its size or checksum does not match"):
        written(made, tmp_path / "one.tar")
    assert not (tmp_path / "one.tar").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs locks on files")
def test_two_exports_of_one_file_are_not_made_at_once(made, tmp_path):
    import fcntl

    with (tmp_path / ".one.tar.partial").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InUseError, match="is being written"):
            written(made, tmp_path / "one.tar")


@pytest.mark.parametrize("kept", [10, 600, 2000, 3500, 5000, 8000])
def test_an_archive_that_is_torn_is_refused_and_gone_on_with_when_it_is_whole(made, tmp_path, kept):
    whole = written(made, tmp_path / "whole.tar")
    torn = tmp_path / "torn.tar"
    torn.write_bytes(whole.read_bytes()[:kept])
    with pytest.raises(TraceError, match=r"ends too early|cannot be read|torn"):
        unpack(torn, tmp_path / "unpacked")
    there = {path: path.stat().st_mtime_ns for path in (tmp_path / "unpacked").rglob("*") if path.is_file()}
    assert all(path.read_bytes() == (made[0] / path.relative_to(tmp_path / "unpacked")).read_bytes() for path in there)
    unpack(whole, tmp_path / "unpacked")
    assert tree(tmp_path / "unpacked") == tree(made[0])
    assert all(path.stat().st_mtime_ns == before for path, before in there.items())


def test_a_flipped_byte_is_named_and_its_file_is_not_there(made, tmp_path):
    out = written(made, tmp_path / "one.tar")
    content = bytearray(out.read_bytes())
    content[content.index(b"\x03" * 512)] ^= 1
    out.write_bytes(content)
    with pytest.raises(TraceError, match=r"00000001.routes in .* checksum does not match"):
        unpack(out, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked" / "capture/blocks/00000001.routes").exists()
    assert not list((tmp_path / "unpacked").rglob(".*"))


def forged(path: Path, *members: tarfile.TarInfo, names: tuple[str, ...] = (), version: int = 1, size: int = 0) -> Path:
    """A tar whose list names files of no bytes (or so many as it claims), followed by these members."""
    nothing = hashlib.sha256(b"").hexdigest()
    said = {"version": version, "kind": "study", "about": {}, "files": [[name, size, nothing] for name in names]}
    spelt = json.dumps(with_checksum(said)).encode()
    with tarfile.open(path, "w") as tar:
        first = tarfile.TarInfo(LIST)
        first.size = len(spelt)
        tar.addfile(first, io.BytesIO(spelt))
        for member in members:
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, *, target: str = "", size: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, target, size
    return made


OUT = (
    "../evil",
    "/etc/evil",
    "a/../../evil",
    "..",
    "a//b",
    "a\\b",
    "C:evil",
    ".hidden",
    "a/\x00b",
    "nul\n",
    "a/b/c/d/e",
)


@pytest.mark.parametrize("name", OUT)
def test_a_name_that_leads_out_of_the_folder_is_refused_before_anything_is_written(tmp_path, name):
    path = forged(tmp_path / "evil.tar", names=(name,))
    with pytest.raises(TraceError, match="leaves the folder") as refused:
        unpack(path, tmp_path / "below" / "unpacked")
    assert repr(name) in refused.value.found
    assert sorted(each.name for each in tmp_path.iterdir()) == ["evil.tar"]


@pytest.mark.parametrize(
    ("foreign", "said"),
    [
        (member("ours", tarfile.SYMTYPE, target="/etc/passwd"), "'ours', which is a link"),
        (member("ours", tarfile.LNKTYPE, target="../secret"), "'ours', which is a link"),
        (member("ours", tarfile.CHRTYPE), "'ours', which is a device"),
        (member("ours", tarfile.BLKTYPE), "'ours', which is a device"),
        (member("ours", tarfile.FIFOTYPE), "'ours', which is a device"),
        (member("ours", tarfile.DIRTYPE), "'ours', which is no plain file"),
        (member("../ours"), "leaves the folder"),
        (member("other"), "'other' where its list names ours"),
        (member("ours", size=3), "ours of 3 bytes where its list says 0"),
    ],
)
def test_what_is_in_the_tar_and_not_in_its_list_is_refused_by_name(tmp_path, foreign, said):
    path = forged(tmp_path / "evil.tar", foreign, names=("ours",))
    with pytest.raises(TraceError, match=said):
        unpack(path, tmp_path / "unpacked")
    assert tree(tmp_path / "unpacked") == {}


def test_more_than_the_list_names_and_names_said_twice_are_refused(tmp_path):
    more = forged(tmp_path / "more.tar", member("ours"), member("more"), names=("ours",))
    with pytest.raises(TraceError, match="'more', which its list does not name"):
        unpack(more, tmp_path / "unpacked")
    twice = forged(tmp_path / "twice.tar", names=("ours", "Ours"))
    with pytest.raises(TraceError, match="names a file twice"):
        unpack(twice, tmp_path / "unpacked")


def test_an_archive_of_a_newer_version_says_so(tmp_path):
    with pytest.raises(StoreError, match="archive of version 2"):
        contents_of(forged(tmp_path / "newer.tar", version=2))


def test_an_altered_list_is_refused(made, tmp_path):
    out = written(made, tmp_path / "one.tar")
    out.write_bytes(out.read_bytes().replace(b"rivers", b"Rivers", 1))
    with pytest.raises(TraceError, match="the checksum of its list does not match"):
        contents_of(out)


def test_what_it_claims_and_the_disk_cannot_hold_is_refused_first(tmp_path):
    path = forged(tmp_path / "huge.tar", names=("ours",), size=10**18)
    with pytest.raises(StoreError, match=r"1,000,000,000,000,000,000 bytes are needed"):
        unpack(path, tmp_path / "unpacked")


def test_links_damage_and_what_is_being_written_stay_where_they_are(made):
    folder = made[0] / "capture"
    (folder / "link").symlink_to("/etc/passwd")
    (folder / ".secret.tmp").write_bytes(b"x")
    (folder / "lease.whole.000001.json").write_bytes(b"{}")
    (folder / "damaged").mkdir()
    (folder / "damaged" / "00000000.routes").write_bytes(b"x")
    assert tuple(files_below(folder, prefix="capture/")) == made[1].files


def test_memory_does_not_grow_with_the_files(tmp_path):
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(60_000_000)
    digest = hashlib.sha256(bytes(60_000_000)).hexdigest()
    contents = Contents(kind="study", about={}, files=(Packed("large", 60_000_000, digest),))
    tracemalloc.start()
    write_archive(tmp_path / "one.tar", contents, lambda _name: large)
    unpack(tmp_path / "one.tar", tmp_path / "unpacked")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000
    assert (tmp_path / "unpacked" / "large").stat().st_size == 60_000_000


FILL = """
import hashlib, sys
from pathlib import Path
from gatescope.cache.archive import *
from gatescope.routing.errors import StorageFullError
disk, source = Path(sys.argv[1]), Path(sys.argv[2])
contents = contents_of(source)
try:
    unpack(source, disk / "unpacked")
except StorageFullError as error:
    print(error.found)
print(sorted(path.name for path in (disk / "unpacked").rglob("*") if path.is_file()))
(disk / "ballast").unlink()
unpack(source, disk / "unpacked")
print(sum(path.stat().st_size for path in (disk / "unpacked").rglob("*") if path.is_file()))
"""


@LINUX
@MOUNTS
def test_a_full_disk_is_said_and_gone_on_with_when_there_is_room(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for number in range(4):
        (source / f"part{number}").write_bytes(bytes([number]) * 400_000)
    contents = Contents(kind="study", about={}, files=tuple(files_below(source, prefix="")))
    write_archive(tmp_path / "one.tar", contents, lambda name: source / name)
    prefix = disk(tmp_path / "disk", "size=3m", f'head -c 2m /dev/zero > "{tmp_path}/disk/ballast"')
    ran = subprocess.run(
        [*prefix, sys.executable, "-c", FILL, str(tmp_path / "disk"), str(tmp_path / "one.tar")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    said, there, size = ran.stdout.splitlines()
    assert "1,600,000 bytes are needed" in said and "nothing was written" in said, ran.stderr
    assert (there, size) == ("[]", "1600000")
