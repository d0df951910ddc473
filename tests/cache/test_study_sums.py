"""What was added up over blocks is kept for exactly those blocks, as they are."""

import pytest

from gatescope.cache.block import Block
from gatescope.cache.study import StudyFolder

KIND = "counts"


@pytest.fixture
def study(tmp_path) -> StudyFolder:
    """Two blocks, with a sum kept of both."""
    folder = StudyFolder.create(tmp_path / "study", {"corpus": "made"})
    blocks = [write(folder, number, bytes([number])) for number in (0, 1)]
    folder.keep_sum(blocks, KIND, b"both")
    return folder


def write(folder: StudyFolder, number: int, content: bytes) -> Block:
    return folder.write(Block(number=number, documents=1, tokens=1, digest="d"), {KIND: content, "routes": b"r"})


def test_a_sum_is_found_whatever_the_order_of_its_blocks(study):
    blocks = list(study.finished().values())
    assert study.kept_sum(blocks, KIND) == study.kept_sum(blocks[::-1], KIND) == b"both"


def test_it_is_not_that_of_fewer_blocks_of_more_or_of_one_that_was_written_anew(study):
    first, second = study.finished().values()
    assert study.kept_sum([first], KIND) is None
    assert study.kept_sum([first, second, write(study, 2, b"c")], KIND) is None
    assert study.kept_sum([first, write(study, 1, b"other")], KIND) is None
    assert study.kept_sum([first, second], "routes") is None


def test_an_altered_sum_is_not_read(study):
    (path,) = study.folder.glob("counts-*")
    path.write_bytes(b"both?")
    assert study.kept_sum(study.finished().values(), KIND) is None


def test_a_new_sum_takes_the_place_of_the_old_one(study):
    blocks = [*study.finished().values(), write(study, 2, b"c")]
    study.keep_sum(blocks, KIND, b"three")
    (path,) = study.folder.glob("counts-*")
    assert path.read_bytes() == study.kept_sum(blocks, KIND) == b"three"
    assert StudyFolder.create(study.folder, {"corpus": "made"}).troubles() == [], "a sum is no stranger to a study"
