"""`gatescope analyze`: from a corpus file to tables, a page and a tally, all saying what they speak of."""

import base64
import gzip
import json
import re

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from gatescope.analysis.counting import tally
from gatescope.analysis.metrics import METRICS
from gatescope.analysis.registry import Result
from gatescope.analysis.tally.files import from_bytes
from gatescope.cli.main import app
from gatescope.corpora import open_corpus
from gatescope.routing.errors import CaptureCancelledError, StoreError
from gatescope.studies.compute import Chosen, computed
from gatescope.studies.results import read_results
from gatescope.studies.tables import result_frame

TEXTS = [("law", "The court finds the defendant liable."), ("code", "for i in range(10): print(i)")]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Twelve short documents of two domains and two languages, as a file."""
    path = tmp_path_factory.mktemp("corpus") / "texts.jsonl"
    rows = [
        {"text": f"{text} Number {n}.", "domain": domain, "language": ["en", "de"][n % 2], "id": f"{domain}-{n}"}
        for n in range(6)
        for domain, text in TEXTS
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def analyze(corpus, out, model, *more):
    return CliRunner().invoke(app, ["analyze", str(corpus), "--out", str(out), "--model", str(model), *more])


@pytest.fixture(scope="module")
def made(corpus, tiny_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "study"
    ran = analyze(corpus, out, tiny_model, "--resamples", "20")
    assert ran.exit_code == 0, ran.output
    return out, ran.output


def test_everything_is_written_and_says_what_it_speaks_of(made):
    out, said = made
    about = json.loads((out / "study.json").read_text())
    assert about["documents"] == 12 and f"{sum(about['tokens'].values()):,} tokens" in said
    assert about["labels"] == {"domain": {"code": 6, "law": 6}, "language": {"de": 6, "en": 6}}
    computed = {name.partition(".")[0] for name in (*about["metrics"], *about["skipped"])}
    assert set(METRICS) <= computed
    for name, metric in about["metrics"].items():
        assert metric["documents"] == 12 and metric["tokens"] > 0, name
        assert metric["title"] and metric["meaning"] and metric["unit"] and metric["source"], name


def test_tables_have_documented_columns_alike_in_both_formats(made):
    out, _ = made
    columns = json.loads((out / "study.json").read_text())["columns"]
    known = {*columns, *(f"other_{name}" for name in columns)}
    tables = sorted((out / "tables").glob("*.csv"))
    assert len(tables) > 20
    for path in tables:
        whole = pd.read_parquet(path.with_suffix(".parquet"))
        if not path.name.startswith("composition"):
            assert set(whole.columns) <= known, path.name
            if len(whole) and "value" in whole:
                read = pd.read_csv(path, keep_default_na=False, na_values=[""])
                np.testing.assert_allclose(read["value"], whole["value"])


def test_relative_load_is_what_the_tally_says(made):
    out, _ = made
    counts = from_bytes((out / "tally.npz").read_bytes()).table("assignments")[:, :2].sum(axis=(0, 1))
    table = pd.read_csv(out / "tables" / "relative_load.csv")
    for layer, own in table.groupby("layer"):
        expected = counts[layer] * counts.shape[1] / counts[layer].sum()
        np.testing.assert_allclose(own.sort_values("expert")["value"], expected)


def test_results_read_back_give_the_tables_again(made):
    out, _ = made
    found = read_results(out / "results.npz")
    about = json.loads((out / "study.json").read_text())
    assert {f"{name}.{by}" if by else name for name, by in found} == set(about["metrics"])
    for (name, by), result in found.items():
        assert result.value.ndim == len(METRICS[name].axes) and result.documents == 12
        table = pd.read_parquet(out / "tables" / f"{name}{'.' + by if by else ''}.parquet")
        known = result.value[np.isfinite(result.value)]
        np.testing.assert_allclose(np.sort(known), np.sort(table["value"]))
    share = found["token_share_of_group", "domain"]
    assert share.groups == ("code", "law") and share.low is not None and (share.low <= share.high).all()
    with pytest.raises(StoreError, match="cannot be read"):
        read_results(out / "study.json")


def test_the_page_needs_nothing_but_itself(made):
    page = (made[0] / "report.html").read_text(encoding="utf-8")
    own = re.sub(r'<script id="packed".*?</script>', "", page, flags=re.DOTALL)
    assert len(own) < 200_000
    assert "src=" not in own and "<link" not in own and "Relative load" in own and "12 documents" in own
    assert "Is it the domain, or its words?" in own
    assert "All 2 domains share too few words" in own


def test_figures_and_words_of_the_page_are_packed_in_it(made):
    page = (made[0] / "report.html").read_text(encoding="utf-8")
    places = [int(number) for number in re.findall(r'data-figure="(\d+)"', page)]
    packed = re.search(r'<script id="packed"[^>]*>([^<]*)</script>', page)[1]
    shown = json.loads(gzip.decompress(base64.b64decode(packed)))
    assert places == list(range(len(shown["figures"]))) and len(places) > 40
    assert "Plotly" in shown["library"] and shown["template"]["layout"]
    assert all(figure["data"] and "template" not in figure["layout"] for figure in shown["figures"])
    assert page.count("data-words=") == len(shown["words"]) > 0
    assert all(rows.startswith("<tr><td>") for rows in shown["words"])
    assert len(page) < 5_000_000


def test_with_counts_only_nothing_holds_text(corpus, tiny_model, tmp_path):
    out = tmp_path / "study"
    ran = analyze(corpus, out, tiny_model, "--resamples", "2", "--counts-only")
    assert ran.exit_code == 0, ran.output
    for path in (path for path in out.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert not any(word in content for word in (b"defendant", b"liable", b"law-3")), path.name


def test_single_metrics_and_labels_may_be_chosen(corpus, tiny_model, tmp_path):
    ran = analyze(corpus, tmp_path / "s", tiny_model, "--metrics", "relative_load", "--limit", "3", "--by", "domain")
    assert ran.exit_code == 0, ran.output
    assert [path.stem for path in (tmp_path / "s" / "tables").glob("*.csv")] == ["relative_load"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--metrics", "relativ_load"), "the metrics relativ_load"),
        (("--by", "colour"), "by colour"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(corpus, tiny_model, tmp_path, more, says):
    ran = analyze(corpus, tmp_path / "s", tiny_model, *more)
    assert ran.exit_code == 2 and says in ran.output and not (tmp_path / "s").exists()


def test_a_folder_of_other_files_is_left_alone(corpus, tiny_model, tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    ran = analyze(corpus, tmp_path, tiny_model, "--metrics", "relative_load")
    assert ran.exit_code == 2 and "holds other files" in ran.output
    assert (tmp_path / "mine.txt").read_text() == "keep me"


def test_every_step_is_told_as_it_begins_and_can_be_the_last(corpus, tiny_model):
    from gatescope.hooks import capture_corpus, load_model

    record = capture_corpus(load_model(tiny_model), list(open_corpus(corpus)))
    whole, chosen, told = tally(record), Chosen(resamples=2), []
    computed(whole, record, chosen, on_progress=lambda *step: told.append(step))
    *steps, end = told
    assert [done for _, done, _ in steps] == list(range(len(steps)))
    assert {total for *_, total in told} == {len(steps)}
    assert end[:2] == ("computed", len(steps))
    assert [what for what, *_ in steps][-3 - len(record.layers) : -1 - len(record.layers)] == [
        "Every two languages with the same words equally often", "All languages with the same words equally often",
    ]  # fmt: skip

    def cancel(what, _done, _total):
        if what.startswith("All domains"):
            raise CaptureCancelledError("cancelled", expected="", do="")

    with pytest.raises(CaptureCancelledError):
        computed(whole, record, chosen, on_progress=cancel)


def test_one_document_and_no_labels_give_results_or_reasons(tiny_model, tmp_path):
    alone = tmp_path / "one.txt"
    alone.write_text("A single text, about nothing in particular.", encoding="utf-8")
    ran = analyze(alone, tmp_path / "study", tiny_model, "--resamples", "20")
    assert ran.exit_code == 0, ran.output
    about = json.loads((tmp_path / "study" / "study.json").read_text())
    assert (
        about["documents"] == 1 and about["skipped"]["composition.domain"] == "0 domains among 1 documents; needs two"
    )


def test_words_of_experts_are_told_unless_only_counts_may_be(made, corpus, tiny_model, tmp_path):
    words = pd.read_parquet(made[0] / "tables" / "expert_words.parquet")
    assert set(words["layer"]) == {0, 1} and (words["here"] <= words["tokens"]).all() and (words["z"] > 0).all()
    assert all(json.loads(token) is not None for token in words["token"])
    assert "Words of the experts" in (made[0] / "report.html").read_text(encoding="utf-8")
    out = tmp_path / "study"
    assert analyze(corpus, out, tiny_model, "--resamples", "2", "--counts-only").exit_code == 0
    assert not (out / "tables" / "expert_words.csv").exists()
    assert "Words of the experts" not in (out / "report.html").read_text(encoding="utf-8")


def test_who_is_near_whom_is_told_beside_chance(made):
    near = pd.read_parquet(made[0] / "tables" / "nearest_neighbours.parquet")
    assert {"documents", "tokens"} == set(near["of"]) and {"domain", "language", "token"} == set(near["label"])
    assert near["value"].between(0, 1).all() and near["p"].between(0, 1).all()
    places = pd.read_parquet(made[0] / "tables" / "document_places.parquet")
    assert len(places) == 12 and places["documents"].sum() == 12
    assert "Who is near whom" in (made[0] / "report.html").read_text(encoding="utf-8")


def test_few_texts_share_too_few_words_to_be_compared_under_one_mix_which_is_said(made):
    for by in ("domain", "language"):
        table = pd.read_parquet(made[0] / "tables" / f"common_support.{by}.parquet")
        assert list(table["layer"]) == [0, 1] and set(table["group"]) == {""} and table["q"].isna().all()
        assert set(table["reason"]) == {"no word has 10 tokens under each of 2 labels"}
        assert table["standardised_observed_bits"].isna().all() and (table["ids"] == 0).all()
        assert np.isfinite(table["overall_observed_bits"]).all()


def test_what_is_left_under_one_mix_of_words_is_told_of_all_labels_and_of_every_two(tiny_model, tmp_path):
    """Two domains that share a sentence ten times over, and one of digits, which shares nothing with them."""
    path = tmp_path / "texts.jsonl"
    texts = {"code": "01010101", "law": "The court finds", "more law": "The court finds the defendant"}
    rows = [
        {"text": text, "domain": domain, "language": ["en", "de"][n % 2]}
        for n in range(10)
        for domain, text in texts.items()
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    ran = analyze(path, tmp_path / "study", tiny_model, "--resamples", "20")
    assert ran.exit_code == 0, ran.output
    table = pd.read_parquet(tmp_path / "study" / "tables" / "common_support.domain.parquet")
    pairs = table[table["layer"] == 0].set_index(["group", "other_group"])
    assert list(pairs.index) == [("", ""), ("code", "law"), ("code", "more law"), ("law", "more law")]
    assert list(pairs["reason"] == "") == [False, False, False, True] and list(pairs["q"].isna()) == [True] * 3 + [
        False
    ]
    shared = pairs.loc[("law", "more law")]
    assert shared["covered"] > 0.5 and shared["ids"] > 1 and 1 / 21 <= shared["standardised_p_value"] <= 1
    page = (tmp_path / "study" / "report.html").read_text(encoding="utf-8")
    assert "All 3 domains share too few words" in page and "(1 of 3 pairs share enough)" in page
    assert "Given one mix of the words that all 2 languages share" in page


def test_the_preset_of_a_paper_gives_its_equation_and_the_released_count_and_says_which_is_which(
    corpus, tiny_model, tmp_path
):
    out = tmp_path / "study"
    ran = analyze(corpus, out, tiny_model, "--preset", "olmoe", "--resamples", "5")
    assert ran.exit_code == 0, ran.output
    right = pd.read_parquet(out / "tables" / "coactivation_share.parquet")
    released = pd.read_parquet(out / "tables" / "coactivation_as_released.parquet")
    both = right.merge(released, on=["layer", "expert", "other_expert"])
    both = both[both["expert"] != both["other_expert"]]
    np.testing.assert_allclose(both["value_x"], both["value_y"], atol=1e-9)  # with k = 2 every pair is a neighbour
    assert "which is not equation 6" in json.loads((out / "study.json").read_text())["preset"]
    assert analyze(corpus, tmp_path / "x", tiny_model, "--preset", "olmo").exit_code == 2


def test_chance_that_is_taken_off_already_is_not_in_the_column_of_what_values_are_held_to(make_record):
    rules, found = make_record().layers, Result(value=np.array([0.2, 0.3]), null=np.array([0.1, 0.1]))
    assert result_frame(rules, "mutual_information", found)["taken_off"].tolist() == [0.1, 0.1]
    assert "null" not in result_frame(rules, "mutual_information", found)
    assert result_frame(rules, "load_gini", found)["null"].tolist() == [0.1, 0.1]


def test_a_text_that_is_too_long_is_cut_and_named_and_nothing_is_left_beside_the_output(tiny_model, tmp_path):
    rows = [{"text": "word " * 1500, "id": "long one"}, {"text": "A short one.", "id": "short"}]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    ran = analyze(tmp_path / "texts.jsonl", tmp_path / "out" / "study", tiny_model, "--resamples", "0")
    assert ran.exit_code == 0, ran.output
    assert re.search(r"long one: captured in \d+ parts", ran.output)
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["study"]


def test_a_study_and_its_texts_give_the_same_numbers(made, corpus, tiny_model, tmp_path):
    out, _ = made
    captured = CliRunner().invoke(
        app, ["capture", str(corpus), "--out", str(tmp_path / "captured"), "--model", str(tiny_model)]
    )
    assert captured.exit_code == 0, captured.output
    ran = analyze(tmp_path / "captured", tmp_path / "again", tiny_model, "--resamples", "20")
    assert ran.exit_code == 0, ran.output
    one, two = (
        {file.name: file.read_bytes() for file in (each / "tables").iterdir()} for each in (out, tmp_path / "again")
    )
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []
