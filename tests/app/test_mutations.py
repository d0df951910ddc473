"""Whatever happens to a file that the project wrote: a clear error, the same to the bit, or a fault that is told.

Never another number unsaid, never an exception of another kind.
"""

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gatescope.analysis.tally.files import to_bytes
from gatescope.cache.partial import PartialRecord
from gatescope.cache.schema import encode
from gatescope.cache.store import Store
from gatescope.cache.study import COUNTS, StudyFolder
from gatescope.cache.sums import write_sums
from gatescope.hooks.loading.config_limits import check_config
from gatescope.hooks.loading.weights import FINGERPRINT, check_fingerprint, check_weights, fingerprint, resolve
from gatescope.routing import Document
from gatescope.routing.errors import GatescopeError
from gatescope.server.metadata import FOLDER as LABELS
from gatescope.server.metadata import MetadataStore
from gatescope.server.sources import ANALYSED, CAPTURED, read_study
from gatescope.server.verifying import check_in_folder, verified
from gatescope.studies import results
from gatescope.studies.adding_up import whole_tally
from gatescope.studies.manifest import (
    ORDER,
    TEXTS,
    StudyManifest,
    read_manifest,
    read_texts,
    write_manifest,
    write_texts,
)
from tests.app.mutations import mutations_of
from tests.records import build_record
from tests.small_studies import analyze, captured

ID, STUDY = "firstcaptureaaaa", "studyaaaaaaaaaaa"
TABLE = "relative_load"


class Read(NamedTuple):
    """What a reader got: a digest of it, and what it says is wrong with it."""

    digest: str
    notice: str = ""


Reader = Callable[[Path], Read]


def _digest(content: bytes | memoryview | str) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def _page(place: Path) -> Read:
    source = read_study(STUDY, place)
    said = f"{_digest(encode(source.record))} {source.name} {source.is_cut} {source.analysis is not None}"
    return Read(said, source.notice)


def _shard(place: Path, name: str) -> Read:
    check_in_folder(place / name)
    with PartialRecord(place / name) as partial:
        return Read(_digest(encode(partial.verify())))


def _table(place: Path) -> Read:
    table = results.read_table(place / ANALYSED, TABLE)
    return Read("none" if table is None else _digest(table.to_csv()))


def _results(place: Path) -> Read:
    found = results.read_results(place / ANALYSED / results.NAME)
    return Read(_digest(results.to_bytes(found)))


def _model(place: Path) -> Read:
    resolve(str(place))
    check_config(place)
    files = check_weights(place)
    found = fingerprint(place, files.paths)
    check_fingerprint(place, found)
    return Read(f"{found} {files.parameters}")


READERS: dict[str, dict[str, Reader]] = {
    "store": {
        "capture": lambda place: Read(_digest(encode(Store(place).get(ID)))),
        "labels": lambda place: Read(repr(MetadataStore(place).of(ID))),
    },
    "study": {
        "page": _page,
        "tally of its blocks": lambda place: Read(_digest(to_bytes(whole_tally(StudyFolder.open(place / CAPTURED))))),
        "recipe": lambda place: Read(repr(StudyFolder.open(place / CAPTURED).recipe())),
        "shard": lambda place: _shard(place, f"{CAPTURED}/blocks/00000001.routes"),
        "results": _results,
        "tally": lambda place: Read(_digest(to_bytes(results.read_tally(place / ANALYSED / results.TALLY)))),
        "table": _table,
        "what it lacked": lambda place: Read(repr(results.lacked(place / ANALYSED))),
        "order": lambda place: Read(repr(read_manifest(place))),
        "texts": lambda place: Read(repr(read_texts(place))),
    },
    "shipped": {"capture": lambda place: _shard(place, "probe.gsr")},
    "model": {"model": _model},
}
UNREAD = ("report.html", ".csv", "secret", ".lock")
"""Files that nothing reads back."""
ORDER_OF_HARM = ("SILENT", "told by cache verify", "gone", "said on the page", "a clear error", "the same to the bit")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Everything that is written and read again, each part in a folder."""
    whole = tmp_path_factory.mktemp("world")
    store = Store(whole / "store")
    for id, pieces in ((ID, ["a", "b", "c"]), ("secondcaptureaaa", ["d"] * 6)):
        store.put(id, build_record(pieces))
        MetadataStore(store.folder).call(id, "ann", name=f"of {id}", tags="law, code")
        MetadataStore(store.folder).share(id, "ann", is_shared=True)
    place = whole / "study" / STUDY
    study = captured(place / CAPTURED, build_record)
    study.keep_sum(study.finished().values(), COUNTS, to_bytes(whole_tally(study)))
    ran = analyze(study, place / ANALYSED)
    assert ran.exit_code == 0, ran.output
    write_manifest(place, StudyManifest(id=STUDY, name="mine", model="small", documents=6, tokens=13, state="done"))
    write_texts(place, [Document(f"text {n}", domain="law") for n in range(6)])
    other = captured(whole / "study" / "otheraaaaaaaaaaa" / CAPTURED, build_record, blocks=2)
    assert other.lacking() == []
    shipped = whole / "shipped"
    shipped.mkdir()
    (shipped / "probe.gsr").write_bytes(encode(build_record()))
    (shipped / "welcome.gsr").write_bytes(encode(replace(build_record(["x"] * 5), documents=(Document("x"),))))
    write_sums(shipped)
    _write_model(whole / "model")
    return whole


def _write_model(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "olmoe", "num_hidden_layers": 2, "num_experts": 4}')
    (folder / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0, "b": 1}}}')
    save_file({"weight": torch.arange(64.0), "bias": torch.ones(3)}, folder / "model.safetensors")
    made = fingerprint(folder, check_weights(folder).paths)
    (folder / FINGERPRINT).write_text(made + "\n")


def _place(part: Path) -> Path:
    """Where a part's readers look."""
    return part / STUDY if part.name == "study" else part


def _files(part: Path) -> list[Path]:
    """The files of a part that something reads, those of the second study left out."""
    return sorted(
        path for path in _place(part).rglob("*") if path.is_file() and not path.name.endswith(UNREAD)
        and path.parent.name != "used" and "secondcapture" not in path.name and path.name != "welcome.gsr"
    )  # fmt: skip


def _cases(world: Path) -> list[tuple[str, Path, str]]:
    """Every part, file of it, and mutation that fits the file."""
    return [
        (part, path.relative_to(world / part), kind)
        for part in READERS
        for path in _files(world / part)
        for kind in mutations_of(path)
    ]


def _outcome(read: Reader, place: Path, before: Read) -> str:
    """What a reader made of a changed part: an error, the same, or something else. Errors: any other exception."""
    try:
        found = read(place)
    except GatescopeError as error:
        assert error.found and error.expected and error.do
        return "a clear error"
    if found == before:
        return "the same to the bit"
    return "said on the page" if found.notice else "another"


def _tried(world: Path, tmp_path: Path, case: tuple[str, Path, str], seed: int, before: dict[str, Read]) -> str:
    """The worst that a reader made of one mutation."""
    outcomes = set()
    copy = _changed(world, tmp_path / "first", case, seed)
    for reader, read in READERS[case[0]].items():
        outcome = _outcome(read, _place(copy), before[reader])
        if outcome == "a clear error":  # it may have set aside what is damaged
            copy = _changed(world, tmp_path / reader, case, seed)
        if outcome == "another":
            outcome = _told(_place(_changed(world, tmp_path / f"{reader}-verify", case, seed)), case, reader)
        outcomes.add(outcome)
    return min(outcomes, key=ORDER_OF_HARM.index)


def _changed(world: Path, tmp_path: Path, case: tuple[str, Path, str], seed: int) -> Path:
    """A copy of a part with one file changed."""
    part, name, kind = case
    copy = tmp_path / part
    shutil.copytree(world / part, copy)
    others = [path for path in copy.rglob("*") if path.is_file()]
    mutations_of(name)[kind](copy / name, others, np.random.default_rng(seed))
    return copy


def _told(place: Path, case: tuple[str, Path, str], reader: str) -> str:
    """How something else that was read is told of."""
    if any(wrong for _, wrong in verified([place])):
        return "told by cache verify"
    is_label = reader == "labels" and case[2] == "removed"  # nobody knows that a capture was called something
    return "gone" if is_label else "SILENT"


def _counted(world: Path, tmp_path: Path, cases: list[tuple[str, Path, str]], first: int) -> Counter[str]:
    """How many of some mutations came to what."""
    outcomes: Counter[str] = Counter()
    before = {
        part: {reader: read(_place(world / part)) for reader, read in readers.items()}
        for part, readers in READERS.items()
    }
    for number, case in enumerate(cases):
        try:
            outcome = _tried(world, tmp_path / str(number), case, first + number, before[case[0]])
        except Exception as error:
            raise AssertionError(f"{case}, seed {first + number}: {type(error).__name__}: {error}") from error
        assert outcome != "SILENT", (case, first + number)
        outcomes[outcome] += 1
        shutil.rmtree(tmp_path / str(number))
    return outcomes


def test_a_sample_of_mutations_is_never_read_unsaid(world, tmp_path):
    cases = _cases(world)
    chosen = np.random.default_rng(1).choice(len(cases), 24, replace=False)
    outcomes = _counted(world, tmp_path, [cases[at] for at in chosen], 1000)
    assert outcomes.total() == 24


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_mutation_of_any_file_is_read_unsaid(world, tmp_path):
    cases = _cases(world)
    kinds = {path.suffix or path.name.partition("-")[0] for _, path, _ in cases}
    assert {".gsr", ".routes", ".counts", ".json", ".npz", ".parquet", ".gz", ".safetensors"} <= kinds
    assert {path.name for _, path, _ in cases} >= {"capture.json", "end.json", "SHA256SUMS", ORDER, TEXTS, FINGERPRINT}
    assert any(path.parts[0] == LABELS for _, path, _ in cases)
    outcomes = Counter[str]()
    for round_ in range(2):
        outcomes += _counted(world, tmp_path, cases, 10_000 * (round_ + 1))
    print(dict(outcomes))
    assert outcomes.total() >= 500
