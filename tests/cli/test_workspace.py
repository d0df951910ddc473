"""What commands make stands in the Library: captured, imported, simulated, analysed, opened, exported."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gatescope.cache.lease import current
from gatescope.cache.workspace import STUDIES
from gatescope.cli.main import app
from gatescope.cli.output import name_of
from gatescope.server.library import Entry, Library
from gatescope.server.presence import Presence
from gatescope.server.server import Server
from gatescope.server.settings import load_settings

ROOT = Path(__file__).parents[2]
SHAPE = ["simulate", "--layers", "2", "--experts", "8", "--k", "2", "--vocabulary", "200", "--documents", "8"]
QUICK = ["--metrics", "relative_load", "--resamples", "2"]
PATIENCE = 120


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GATESCOPE_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("GATESCOPE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "workspace"


def run(*words: object, code: int = 0):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done


def listed() -> dict[str, Entry]:
    server = Server(load_settings())
    try:
        return {entry.name: entry for entry in Library(server).entries("", ()) if entry.kind != "shipped"}
    finally:
        server.close()


def test_simulated_routes_land_under_their_name_and_are_analysed_by_it(workspace):
    said = run(*SHAPE, "--tokens", "2e3", "--name", "rivers").output
    entry = listed()["rivers"]
    assert (entry.tokens, entry.documents, entry.state, entry.is_analysed) == (2000, 8, "ready", False)
    assert f"rivers ({entry.id})" in said and f"gatescope serve --workspace {workspace}" in said
    presence = Presence(workspace, "http://localhost:8777")
    said = run("analyze", "rivers", *QUICK).output
    presence.close()
    assert f"http://localhost:8777/layers?c={entry.id}" in said
    assert listed()["rivers"].is_analysed
    assert (workspace / STUDIES / entry.id / "analysis" / "report.html").is_file()


def test_without_a_name_it_is_called_after_what_was_given(tmp_path):
    run(*SHAPE, "--tokens", "1e3")
    np.savez(tmp_path / "trace.npz", ids=np.zeros((4, 1, 1), np.int64), layer_experts=np.array([2]))
    run("import", tmp_path / "trace.npz")
    assert set(listed()) == {"simulated-2x8x2-0", "trace"}
    entry = listed()["trace"]
    assert (entry.kind, entry.tokens) == ("import", 4) and entry.order.understood
    assert [name_of(text) for text in ("texts/law.jsonl", "Qwen/Qwen1.5-MoE-A2.7B")] == [
        "law.jsonl",
        "Qwen1.5-MoE-A2.7B",
    ]


def test_out_is_as_it_was_and_stands_in_the_library_only_under_a_name(tmp_path, workspace):
    run(*SHAPE, "--tokens", "1e3", "--out", tmp_path / "routes")
    run("analyze", tmp_path / "routes", "--out", tmp_path / "results", *QUICK)
    assert not workspace.exists()
    run(*SHAPE, "--tokens", "1e3", "--out", tmp_path / "routes", "--name", "rivers")
    assert listed()["rivers"].where == str(tmp_path / "routes")


def test_a_folder_elsewhere_is_analysed_into_the_library(tmp_path):
    run(*SHAPE, "--tokens", "1e3", "--out", tmp_path / "routes")
    before = {path: path.read_bytes() for path in (tmp_path / "routes").rglob("*") if path.is_file()}
    run("analyze", tmp_path / "routes", *QUICK)
    entry = listed()["routes"]
    assert entry.is_analysed and entry.where == str(tmp_path / "routes")
    assert {path: path.read_bytes() for path in (tmp_path / "routes").rglob("*") if path.is_file()} == before
    run("cache", "verify", load_settings().workspace)


def test_texts_are_captured_and_analysed_as_one_study(tmp_path, tiny_model):
    texts = [{"text": f"the river and the law {n}", "domain": "law" if n % 2 else "river"} for n in range(6)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    run("analyze", tmp_path / "texts.jsonl", "--model", tiny_model, "--name", "rivers", *QUICK)
    entry = listed()["rivers"]
    assert (entry.documents, entry.is_analysed, entry.lacks) == (6, True, "")
    again = run(
        "capture", tmp_path / "texts.jsonl", "--model", tiny_model, "--name", "rivers", "--detail", "ids", code=2
    )
    assert "holds a study made otherwise" in again.output and "--name" in again.output


@pytest.mark.slow
def test_a_capture_is_seen_while_it_runs_in_another_process_and_stopped_when_that_dies(workspace, tmp_path):
    asked = [*SHAPE, "--tokens", "3e6", "--documents", "6000", "--name", "long"]
    command = [sys.executable, "-m", "gatescope", *asked]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE
        while not (listed().get("long") and listed()["long"].state == "running" and listed()["long"].tokens):
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.05)
        refused = run(*asked, code=1).output
        assert f"long is in use: process {process.pid}" in refused and "gatescope simulate" in refused
        assert f"process {process.pid}" in run("export", "long", "--out", tmp_path / "one.tar", code=1).output
    finally:
        process.kill()
        process.wait()
    entry = listed()["long"]
    assert entry.state == "stopped" and "not come to its end" in entry.lacks
    assert "--name long" in entry.order.command and entry.order.command.startswith("cd ")
    assert current(workspace / STUDIES / entry.id) is None


def test_a_study_goes_out_as_one_file_and_comes_in_elsewhere(tmp_path, workspace, monkeypatch):
    run(*SHAPE, "--tokens", "2e3", "--name", "rivers")
    run("analyze", "rivers", *QUICK)
    assert "rivers" in run("export", "rivers", "--out", tmp_path / "rivers.tar").output
    assert "is there already" in run("export", "rivers", "--out", tmp_path / "rivers.tar", code=2).output
    monkeypatch.setenv("GATESCOPE_WORKSPACE", str(tmp_path / "other"))
    run("import", tmp_path / "rivers.tar")
    entry = listed()["rivers"]
    assert (entry.tokens, entry.is_analysed, entry.problem, entry.lacks) == (2000, True, "", "")
    assert "it was unpacked here before" in run("open", tmp_path / "rivers.tar").output
    run("import", tmp_path / "rivers.tar", "--out", tmp_path / "folder")
    run("open", tmp_path / "folder", "--name", "again")
    assert listed()["again"].tokens == 2000
    assert "rivers (" in run("open", "rivers").output
    assert "nothing called 'lakes'" in run("open", "lakes", code=2).output
    run("open", workspace)
    assert "workspace workspace" in listed()


def test_an_evil_archive_is_refused_by_the_command(tmp_path):
    from tests.cache.test_archive import forged

    path = forged(tmp_path / "evil.tar", names=("../../evil",))
    said = run("import", path, code=1).output
    assert "'../../evil'" in said and "leaves the folder" in said
    assert listed() == {}
