"""`gatescope`: three files or none, an error in three parts, and help at once."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from gatescope import __version__
from gatescope.cache.store import Store
from gatescope.cli.main import app
from gatescope.cli.trace import Traced, _write
from gatescope.studies.export import read_trace_csv

TEXT = "The cat sat. =1+1\nNA"


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("GATESCOPE_CACHE_DIR", str(tmp_path / "cache"))


def trace(*arguments: object, text: str | None = TEXT):
    prompt = () if text is None else ("--prompt", text)
    return CliRunner().invoke(app, ["trace", *map(str, arguments), *prompt])


def files_below(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_version_is_that_of_the_project():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"gatescope {__version__}\n"


def test_help_does_not_wait_for_torch():
    code = "import sys\nfrom typer.testing import CliRunner\nfrom gatescope.cli.main import app\n"
    code += "assert CliRunner().invoke(app, ['trace', '--help']).exit_code == 0\n"
    code += "assert not {'torch', 'transformers', 'streamlit'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)


def test_a_trace_writes_the_tables_and_the_capture(tiny_model, tmp_path):
    out = tmp_path / "out"
    done = trace("--model", tiny_model, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert files_below(out) == sorted(["trace.csv", "counts.csv", f"{summary['capture']}.gsr"])
    record = Store(out).get(summary["capture"])
    assert record.documents[0].text == TEXT
    frame = read_trace_csv(out / "trace.csv")
    assert len(frame) == record.tokens * 2 * 2
    first = frame.drop_duplicates("position")
    assert "".join(first.loc[~first["is_special"], "token"]) == TEXT
    counts = pd.read_csv(out / "counts.csv")
    assert counts.groupby("layer")["tokens"].sum().tolist() == [2 * record.tokens] * 2


def test_the_summary_is_readable_without_json(tiny_model, tmp_path):
    done = trace("--model", tiny_model, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "2 MoE layers" in done.stdout
    assert str(tmp_path / "out" / "trace.csv") in done.stdout


def test_new_tokens_are_written_and_flagged(tiny_model, tmp_path):
    done = trace("--model", tiny_model, "--out", tmp_path, "--new-tokens", 3, "--sample", "--seed", 4)
    assert done.exit_code == 0, done.output
    first = read_trace_csv(tmp_path / "trace.csv").drop_duplicates("position")
    assert first["is_generated"].sum() in (2, 3)  # the last token chosen is not always run


def test_the_text_comes_from_a_file_or_from_stdin(tiny_model, tmp_path):
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbf" + "naïve\r\n".encode())
    one = trace("--model", tiny_model, "--out", tmp_path / "a", "--prompt-file", tmp_path / "text", "--json", text=None)
    two = CliRunner().invoke(
        app,
        ["trace", "--model", str(tiny_model), "--out", str(tmp_path / "b"), "--prompt-file", "-", "--json"],
        input="naïve\r\n".encode(),
    )
    assert (one.exit_code, two.exit_code) == (0, 0), one.output + two.output
    assert json.loads(one.stdout)["capture"] == json.loads(two.stdout)["capture"]


@pytest.mark.parametrize(
    ("arguments", "text", "code"),
    [
        ((), None, 2),
        (("--prompt-file", "x"), "both", 2),
        (("--new-tokens", -1), TEXT, 2),
        (("--temperature", 0), TEXT, 2),
        (("--device", "abacus"), TEXT, 2),
        (("--prompt-file", "no-such-file"), None, 1),
        ((), "  \n ", 1),
        (("--model", "./no/such/folder"), TEXT, 1),
    ],
)
def test_a_mistake_is_explained_and_leaves_nothing_behind(tiny_model, tmp_path, arguments, text, code):
    out = tmp_path / "out"
    done = trace("--model", tiny_model, "--out", out, *arguments, text=text)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    assert not out.exists()


def test_an_error_as_json_has_its_three_parts(tiny_model, tmp_path):
    done = trace("--model", tiny_model, "--out", tmp_path / "out", "--json", text=" ")
    assert json.loads(done.stdout)["error"].keys() == {"found", "expected", "do", "kind"}


def test_bytes_that_are_not_utf8_are_named_with_their_place(tiny_model, tmp_path):
    (tmp_path / "text").write_bytes(b"abc\xff")
    done = trace(
        "--model", tiny_model, "--out", tmp_path / "out", "--prompt-file", tmp_path / "text", "--json", text=None
    )
    assert "byte 3 is 0xff" in json.loads(done.stdout)["error"]["found"]


def test_a_failure_while_writing_leaves_the_earlier_files_as_they_were(tiny_model, tmp_path, monkeypatch):
    (tmp_path / "trace.csv").write_text("earlier")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gatescope.studies.export.write_csv", full)
    done = trace("--model", tiny_model, "--out", tmp_path)
    assert done.exit_code == 1
    assert "No space left" in done.stderr
    assert (tmp_path / "trace.csv").read_text() == "earlier"
    assert [name for name in files_below(tmp_path) if "partial" in name or "counts" in name] == []


TRACER = """
import sys
from pathlib import Path
import gatescope.studies.export
from gatescope.cli.trace import Traced, _write
from tests.records import build_record
gatescope.studies.export.expert_load_frame = lambda _record: (print("writing", flush=True), sys.stdin.read())
_write(Traced("abcdefghijklmnop", build_record(), None), Path(sys.argv[1]))
"""


def tracing(out):
    """A process in the middle of writing a trace."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    root = Path(__file__).parents[2]
    started = subprocess.Popen([sys.executable, "-c", TRACER, str(out)], cwd=root, **pipes)
    assert started.stdout.readline() == "writing\n"
    return started


@pytest.mark.slow
def test_what_a_killed_trace_left_goes_at_the_next_one_and_a_living_one_keeps_its_own(make_record, tmp_path):
    with tracing(tmp_path) as killed, tracing(tmp_path) as living:
        killed.kill()
        killed.wait()
        assert len(list(tmp_path.glob(".partial-*"))) == 2
        files = _write(Traced("bcdefghijklmnopq", make_record(), None), tmp_path)
        assert len(list(tmp_path.glob(".partial-*"))) == 1
        living.kill()
        living.wait()
    _write(Traced("bcdefghijklmnopq", make_record(), None), tmp_path)
    assert files_below(tmp_path) == sorted(path.name for path in files.values())


def test_what_an_earlier_version_left_without_a_lock_goes_by_its_age(make_record, tmp_path):
    old, young = tmp_path / ".partial-old", tmp_path / ".partial-new"
    for folder in (old, young):
        folder.mkdir()
        (folder / "trace.csv").write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    _write(Traced("bcdefghijklmnopq", make_record(), None), tmp_path)
    assert not old.exists() and young.exists()


def test_a_text_is_not_read_from_a_device_that_never_ends(tmp_path):
    ran = CliRunner().invoke(app, ["trace", "--prompt-file", "/dev/zero", "--out", str(tmp_path / "out")])
    assert ran.exit_code == 1 and "/dev/zero is a device" in ran.output and "--prompt-file -" in ran.output


def test_a_trace_is_also_one_html_file_with_its_text_or_without(tiny_model, tmp_path):
    page = tmp_path / "trace.html"
    done = trace("--model", tiny_model, "--out", tmp_path / "out", "--html", page, "--json", text="quokka quokka")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["files"]["html"] == str(page)
    assert "checks passed when the model was loaded" in page.read_text("utf-8")
    assert "contained in this file" in page.read_text("utf-8")
    again = ("--model", tiny_model, "--out", tmp_path / "out", "--html", page, "--no-text")
    assert trace(*again, text="quokka quokka").exit_code == 0
    assert "not contained: places stand for the tokens" in page.read_text("utf-8")


def test_no_text_without_a_file_and_a_file_that_cannot_be_written_are_refused(tiny_model, tmp_path):
    assert "--no-text" in trace("--out", tmp_path / "out", "--no-text").output
    nowhere = tmp_path / "none" / "trace.html"
    done = trace("--model", tiny_model, "--out", tmp_path / "out", "--html", nowhere)
    assert done.exit_code == 1
    assert "choose another --html" in done.output
