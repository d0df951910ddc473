"""What was analysed is read as it was written, or not at all, and the reader is told to analyse again."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gatescope.analysis.tally.files import to_bytes
from gatescope.cache.sums import NAME as SUMS
from gatescope.cli.main import app
from gatescope.models import BUNDLED_MODELS
from gatescope.models.bundled_captures import load_probe_capture
from gatescope.routing.errors import StoreError
from gatescope.server.measures import measure, table, tally_of
from gatescope.server.sources import ANALYSED, CAPTURED, WHOLE, read_shipped, read_study
from gatescope.studies.results import read_results, read_table, read_tally
from tests.records import build_record
from tests.small_studies import analyze, captured

READERS: dict[str, Callable[[Path], object]] = {
    "results.npz": lambda out: read_results(out / "results.npz"),
    "tally.npz": lambda out: to_bytes(read_tally(out / "tally.npz")),
    "tables/relative_load.parquet": lambda out: read_table(out, "relative_load"),
}


@pytest.fixture(scope="module")
def analysed(tmp_path_factory) -> Path:
    """An analysed study of three blocks, which no test touches."""
    folder = tmp_path_factory.mktemp("analysed")
    ran = analyze(captured(folder / "captured", build_record), folder / "out")
    assert ran.exit_code == 0, ran.output
    return folder / "out"


@pytest.fixture
def out(analysed, tmp_path) -> Path:
    """A copy of it to damage."""
    return shutil.copytree(analysed, tmp_path / "out")


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 1
    path.write_bytes(content)


def swap(path: Path) -> None:
    """Something whole in its place, that is not what was written."""
    other = path.with_name("results.npz" if path.name == "tally.npz" else "tally.npz")
    shutil.copy(other if other.exists() else path.parents[1] / "tally.npz", path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "first byte": lambda path: flip(path, 0),
    "a byte in the middle": lambda path: flip(path, path.stat().st_size // 2),
    "last byte": lambda path: flip(path, -1),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "gone": Path.unlink,
    "appended to": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "swapped": swap,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", READERS)
def test_damage_is_found_and_the_cure_is_named(out, name, damage):
    READERS[name](out)
    damage(out / name)
    with pytest.raises(StoreError) as caught:
        READERS[name](out)
    assert "analyse the study again" in caught.value.do and Path(name).name in caught.value.found
    checked = CliRunner().invoke(app, ["cache", "verify", str(out)])
    assert checked.exit_code == 1 and f"{out}/{name}: " in checked.output and ", 1 not intact" in checked.output


@pytest.mark.parametrize(
    "damage",
    [lambda path: os.truncate(path, 0), lambda path: os.truncate(path, 99), lambda path: path.write_bytes(b"\xff")],
)
def test_damaged_checksums_are_damage_too(out, damage):
    damage(out / SUMS)
    for name, read in READERS.items():
        with pytest.raises(StoreError, match=r"SHA256SUMS|checksum does not match"):
            read(out), name
    assert CliRunner().invoke(app, ["cache", "verify", str(out)]).exit_code == 1


@pytest.mark.parametrize("name", ["results.npz", "tally.npz"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive", b"\x80\x04."])
def test_a_folder_without_checksums_is_read_and_torn_files_in_it_are_explained(out, name, content):
    (out / SUMS).unlink()
    READERS[name](out)
    (out / name).write_bytes(content)
    with pytest.raises(StoreError, match="cannot be read"):
        READERS[name](out)


def test_a_page_does_not_compute_otherwise_what_was_analysed_and_is_damaged(out, analysed, tmp_path):
    """Without its results a study would be measured by its first tokens alone."""
    place = tmp_path / "studies" / ("c" * 16)
    shutil.copytree(analysed.parent / "captured", place / CAPTURED)
    shutil.copytree(out, place / ANALYSED)
    for name in READERS:
        (place / ANALYSED / name).unlink()
    source = read_study(place.name, place)
    for asked in (
        lambda: measure(source, "relative_load"),
        lambda: tally_of(source, "relative_load", WHOLE),
        lambda: table(source, "relative_load"),
    ):
        with pytest.raises(StoreError, match="cannot be read"):
            asked()


def test_what_ships_with_the_models_is_checked_when_it_is_read(tmp_path, monkeypatch):
    name = "sift-softmax"
    assert measure(read_shipped(f"probe.{name}"), "relative_load").documents > 0
    copied = tmp_path / name
    shutil.copytree(BUNDLED_MODELS[name] / "captures", copied / "captures")
    monkeypatch.setitem(BUNDLED_MODELS, name, copied)
    load_probe_capture(name)
    flip(copied / "captures" / "probe.gsr", -1000)  # among the texts, which have no checksum of their own
    with pytest.raises(StoreError, match=r"probe\.gsr has .* whose checksum does not match"):
        load_probe_capture(name)
