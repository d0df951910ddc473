"""`gatescope import` into a folder again: the same trace goes on, another one is refused."""

from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from gatescope.cache.study import StudyFolder
from gatescope.cli.main import app
from gatescope.studies import importing


def save(path: Path, tokens: int, *, seed: int = 0) -> Path:
    """A trace of two documents, one layer, two of eight experts."""
    ids = np.random.default_rng(seed).permuted(np.tile(np.arange(8), (tokens, 1)), axis=1)[:, None, :2]
    np.savez(path, ids=ids, layer_experts=8, document=(np.arange(tokens) >= tokens // 2).astype(int))
    return path


def imported(trace: Path, out: Path, *more: str):
    return CliRunner().invoke(app, ["import", str(trace), "--out", str(out), *more])


def test_a_trace_that_changed_is_refused_and_the_study_stays_as_it_was(tmp_path):
    trace, out = save(tmp_path / "trace.npz", 40), tmp_path / "study"
    assert imported(trace, out).exit_code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert StudyFolder.open(out).lacking() == []
    for tokens, seed in ((20, 0), (40, 1), (60, 0)):
        save(trace, tokens, seed=seed)
        ran = imported(trace, out)
        assert ran.exit_code == 2 and "made otherwise: trace_sha256 was" in ran.output, ran.output
        assert "name another --out" in ran.output
        assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert imported(save(trace, 40), out).exit_code == 0  # np.savez writes the same bytes for the same arrays
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_study_is_not_gone_on_with_as_if_it_had_been_read_otherwise(tmp_path):
    trace, out = save(tmp_path / "trace.npz", 8), tmp_path / "study"
    assert imported(trace, out).exit_code == 0
    ran = imported(trace, out, "--bad", "skip")
    assert ran.exit_code == 2 and "bad was 'stop' and is 'skip'" in ran.output


def test_a_file_of_a_folder_is_part_of_what_a_trace_is(tmp_path):
    folder = tmp_path / "trace"
    folder.mkdir()
    first = save(folder / "a.npz", 8)
    alone = importing.digest_of(folder)
    second = save(folder / "b.npz", 8)
    both = importing.digest_of(folder)
    second.rename(folder / "c.npz")
    assert len({alone, both, importing.digest_of(folder), importing.digest_of(first)}) == 4


def test_a_trace_that_changes_while_it_is_read_leaves_no_whole_study(tmp_path, monkeypatch):
    trace, out = save(tmp_path / "trace.npz", 8), tmp_path / "study"
    read = importing.write_records

    def changing(records, folder, **more):
        def changed():
            yield from records
            with trace.open("ab") as file:
                file.write(b"more")

        read(changed(), folder, **more)

    monkeypatch.setattr(importing, "write_records", changing)
    ran = imported(trace, out)
    assert ran.exit_code == 1 and "changed while it was read" in ran.output
    assert "its capture has not come to its end" in StudyFolder.open(out).lacking()[0]
