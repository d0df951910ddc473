"""Data sets of a hub, asked over real HTTP through the real library; and folders through the same library."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gatescope.corpora.hub import Dataset, hub_table
from gatescope.routing.errors import CorpusError
from tests.hub import COMMIT, environment, serving

ROOT = Path(__file__).parents[2]
READ = """
import json, sys
from gatescope.corpora import Columns, open_corpus
from gatescope.routing.errors import GatescopeError
for source, options in json.loads(sys.argv[1]):
    columns = Columns(**options.pop("columns", {}))
    try:
        corpus = open_corpus(source, columns=columns, **options)
        documents = [vars(document) for document in corpus]
        print(json.dumps({"documents": documents, "bad": corpus.report.bad}))
    except GatescopeError as error:
        print(json.dumps({"error": [type(error).__name__, error.found, error.do]}))
"""
GOOD = {
    "train": ("hub:here/tiny", {"bad": "skip"}),
    "test": ("hub:here/tiny", {"split": "test", "revision": "main"}),
    "notes": ("hub:here/tiny", {"config": "notes", "columns": {"language": "meta.lang"}}),
}
BAD = {
    "unknown": ("hub:nobody/nothing", {}, "knows no data set 'nobody/nothing'", "check the spelling"),
    "no id": ("hub:a b c", {}, "knows no data set 'a b c'", "check the spelling"),
    "gated": ("hub:gated/data", {}, "behind a licence", "hf auth login"),
    "revision": ("hub:here/tiny", {"revision": "v9"}, "no revision 'v9'", "leave revision out"),
    "split": ("hub:here/tiny", {"split": "trian"}, "no split 'trian', only train, test", "split='train'"),
    "configuration": ("hub:here/tiny", {"config": "german"}, "german", "configurations"),
    "column": ("hub:here/tiny", {"columns": {"text": "body"}}, "no column 'body', only text, label", "given as text"),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Two splits of a configuration in Parquet, another with nested columns; classes are numbered."""
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "data").mkdir()
    write_classes(folder / "data" / "train-00000-of-00002.parquet", ["one", "two"], [0, 1])
    write_classes(folder / "data" / "train-00001-of-00002.parquet", ["three", " "], [-1, 0])
    write_classes(folder / "data" / "test-00000-of-00001.parquet", ["four"], [1])
    (folder / "notes").mkdir()
    pq.write_table(pa.Table.from_pylist([{"text": "note", "meta": {"lang": "en"}}]), folder / "notes" / "n.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  default: true\n  data_files:\n"
        '  - split: train\n    path: "data/train*"\n  - split: test\n    path: "data/test*"\n'
        '- config_name: notes\n  data_files: "notes/*"\n---\n'
    )
    return folder


def write_classes(path: Path, texts: list[str], labels: list[int]) -> None:
    """A file as the library writes it: the names of the classes stand in the metadata."""
    features = {
        "text": {"dtype": "string", "_type": "Value"},
        "label": {"names": ["law", "zoo"], "_type": "ClassLabel"},
    }
    table = pa.table({"text": texts, "label": pa.array(labels, pa.int64())})
    about = json.dumps({"info": {"features": features}})
    pq.write_table(table.replace_schema_metadata({"huggingface": about}), path)


def read(asked: list, endpoint: str, home: Path, **variables: str) -> list[dict]:
    """`open_corpus` in a new process: the hub's client reads its settings once, at import."""
    fast = {"USE_TORCH": "0"}  # the library would import torch to share a number with workers that it has not
    done = subprocess.run(
        [sys.executable, "-c", READ, json.dumps(asked)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(endpoint, home) | fast | variables,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def said(dataset, tmp_path_factory) -> dict[str, dict]:
    """What each of `GOOD` and `BAD` came to, asked of one hub by one process; and what was kept on disk."""
    home = tmp_path_factory.mktemp("home")
    asked = {name: [source, options] for name, (source, options, *_) in (GOOD | BAD).items()}
    with serving(dataset) as address:
        answers = read(list(asked.values()), address, home)
    return dict(zip(asked, answers, strict=True)) | {"kept": sorted(home.rglob("*.parquet"))}


def test_a_data_set_is_streamed_with_its_commit_and_the_names_of_its_classes(said):
    documents = said["train"]["documents"]
    labelled = [(one["text"], one["domain"]) for one in documents]
    assert labelled == [("one", "law"), ("two", "zoo"), ("three", "")]
    assert {one["source"] for one in documents} == {f"hub:here/tiny@{COMMIT}"}
    assert [one["id"] for one in documents] == ["here/tiny:1", "here/tiny:2", "here/tiny:3"]
    assert said["train"]["bad"] == {"blank text": 1}
    assert said["kept"] == [], "nothing is downloaded to be kept"


def test_split_configuration_and_revision_are_taken_as_said(said):
    (four,), (note,) = said["test"]["documents"], said["notes"]["documents"]
    assert (four["text"], four["source"]) == ("four", f"hub:here/tiny@{COMMIT}/test")
    assert (note["text"], note["language"], note["source"]) == ("note", "en", f"hub:here/tiny@{COMMIT}/notes")


@pytest.mark.parametrize("name", BAD)
def test_what_the_hub_does_not_have_is_said(said, name):
    kind, found, do = said[name]["error"]
    assert kind == CorpusError.__name__
    assert BAD[name][2] in found and BAD[name][3] in do


@pytest.mark.parametrize("variables", [{}, {"HF_HUB_OFFLINE": "1"}], ids=["no network", "offline"])
def test_a_hub_out_of_reach_is_said(tmp_path, variables):
    ((kind, found, do),) = (one["error"] for one in read([GOOD["test"]], "http://127.0.0.1:9", tmp_path, **variables))
    assert kind == CorpusError.__name__
    assert "could not be reached" in found and "HF_HUB_OFFLINE" in do


def test_a_folder_reads_through_the_same_library(dataset, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    table = hub_table(Dataset(str(dataset)))
    assert table.columns == ("text", "label")
    rows = [(place.line, fields) for place, fields in table.rows(("text", "label"))]
    assert rows[:2] == [(1, {"text": "one", "label": "law"}), (2, {"text": "two", "label": "zoo"})]


def test_columns_that_the_data_set_does_not_say_are_those_of_its_first_rows(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    folder = tmp_path / "lines"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"text": "note", "meta": {"lang": "en"}}\n')
    table = hub_table(Dataset(str(folder)))
    assert table.columns == ("text", "meta.lang")
    assert [fields for _, fields in table.rows(table.columns)] == [{"text": "note", "meta": {"lang": "en"}}]


def test_a_data_set_that_is_code_is_refused_and_not_run(tmp_path):
    folder = tmp_path / "scripted"
    folder.mkdir()
    (folder / "scripted.py").write_text("import pathlib\npathlib.Path(__file__).with_name('was_run').touch()\n")
    with pytest.raises(CorpusError, match="Parquet"):
        hub_table(Dataset(str(folder)))
    assert not (folder / "was_run").exists()


def test_a_file_damaged_at_the_hub_is_refused(tmp_path):
    pq.write_table(pa.table({"text": ["one"] * 99}), tmp_path / "train.parquet")
    whole = (tmp_path / "train.parquet").read_bytes()
    (tmp_path / "train.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorpusError):
        list(hub_table(Dataset(str(tmp_path))).rows(("text",)))
