"""`gatescope corpus check`: what would be read, what would not, and an exit code that says whether it is refused."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gatescope.cli.main import app

CSV = "body;subject;lang\nDer Hund schläft heute im Garten.;zoo;\n;zoo;en\nshort\nabc;[law];en\n"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text(CSV)
    return path


def check(*arguments: object):
    return CliRunner().invoke(app, ["corpus", "check", *map(str, arguments)], env={"COLUMNS": "120"})


def rows(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines()]


def test_bad_rows_are_shown_and_refused(mine):
    done = check(mine, "--text", "body")
    assert done.exit_code == 1
    assert "rows       4 read, 2 kept, 2 bad" in done.stdout
    assert "columns    text = body, domain = subject, language = lang" in done.stdout
    assert "bad        1 blank text, 1 ragged row" in done.stdout
    assert f"{mine}, line 3: a blank text" in done.stdout and f"{mine}, line 4: a row of 1" in done.stdout
    assert "--bad skip" in done.stderr


def test_bad_rows_are_shown_and_left_out(mine):
    done = check(mine, "--text", "body", "--bad", "skip", "--guess-language")
    assert done.exit_code == 0
    assert "characters 3 to 33 a text, 18 on average" in done.stdout
    assert "guessed    1 of the languages" in done.stdout
    assert ["zoo", "1"] in rows(done.stdout) and ["[law]", "1"] in rows(done.stdout)
    assert ["de", "1"] in rows(done.stdout) and ["en", "1"] in rows(done.stdout)


def test_a_label_may_be_said_for_all_or_by_the_folder(tmp_path):
    (tmp_path / "law").mkdir()
    (tmp_path / "law" / "a.txt").write_text("one\n\ntwo")
    done = check(tmp_path, "--folder-is", "domain", "--language-is", "en", "--cut", "paragraphs")
    assert done.exit_code == 0
    assert ["law", "2"] in rows(done.stdout) and ["en", "2"] in rows(done.stdout)
    assert check(tmp_path, "--cut", "1", "--only", "*.txt").exit_code == 0


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ((), 1, "no column named text, content or document, only body, subject, lang"),
        (("--text", "body", "--domain", "a", "--domain-is", "b"), 2, "the domain said in 2 ways"),
        (("--text", "body", "--cut", "lines"), 2, "--cut lines"),
        (("--text", "body", "--guess-among", "en,klingon"), 2, "klingon"),
        (("--format", "xml"), 1, "a format 'xml'"),
        (("--split", "train"), 2, "hub: sources only"),
    ],
)
def test_what_cannot_be_is_said_in_three_parts(mine, options, code, said):
    done = check(mine, *options)
    assert done.exit_code == code
    assert said in done.stderr and "expected: " in done.stderr and "do: " in done.stderr


def test_many_labels_are_cut_short(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"a,label {n}\n" for n in range(40)))
    assert "and 25 other values of domain" in check(path).stdout


def test_it_runs_as_a_module_without_loading_what_it_does_not_need(mine):
    code = "import sys, runpy\nsys.argv[1:] = sys.argv[2:]\n"
    code += "try:\n    runpy.run_module('gatescope', run_name='__main__')\n"
    code += "finally:\n    print(sorted({'torch', 'datasets', 'py3langid'} & set(sys.modules)))"
    command = [sys.executable, "-c", code, "-", "corpus", "check", str(mine), "--text", "body", "--bad", "skip"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.endswith("[]\n") and "2 kept" in done.stdout
