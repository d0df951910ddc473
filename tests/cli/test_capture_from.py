"""Studies through llama.cpp, through a server, and out of traces: the same folder, the same routes as by hooks."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gatescope.cache.study import COUNTS, ROUTES, StudyFolder
from gatescope.cli.main import app
from gatescope.hooks import capture_corpus, load_model
from gatescope.models import BUNDLED_MODEL
from gatescope.routing.record import Document
from tests.engines.standin import Manners, serving

TEXTS = ["The court held that the contract was void.", "def area(r): return 3.14 * r * r", "Le chat dort sur le lit."]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    rows = [{"text": text, "id": f"id-{n}", "domain": "a" if n % 2 else "b"} for n, text in enumerate(TEXTS)]
    path = tmp_path_factory.mktemp("corpus") / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def by_hooks():
    documents = [Document(text, id=f"id-{n}") for n, text in enumerate(TEXTS)]
    return capture_corpus(load_model(BUNDLED_MODEL), documents)


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == code, result.output
    return result.output


def routes_of(out):
    folder = StudyFolder.open(out)
    (block,) = folder.finished().values()
    assert COUNTS in block.parts
    return folder.routes(block)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_a_study_through_a_server_has_the_routes_that_hooks_see(engine, corpus, by_hooks, tmp_path):
    with serving(Manners(engine=engine)) as address:
        run("capture-from", address, corpus, "--model", BUNDLED_MODEL, "--out", tmp_path / "study")
        again = run("capture-from", address, corpus, "--model", BUNDLED_MODEL, "--out", tmp_path / "study")
    found = routes_of(tmp_path / "study")
    np.testing.assert_array_equal(np.sort(found.ids_tlk), np.sort(by_hooks.ids_tlk))
    assert [document.domain for document in found.documents] == ["b", "a", "b"]
    assert found.weight_tlk is None and "1 blocks were there already" in again


@pytest.mark.skipif(not (find_spec("xllamacpp") and find_spec("gguf")), reason="needs xllamacpp and gguf")
def test_a_study_through_llama_cpp_has_nearly_the_routes_that_hooks_see(corpus, by_hooks, tmp_path):
    from benchmarks.gguf_files import write_gguf

    model = load_model(BUNDLED_MODEL)
    file = write_gguf(model.model, tmp_path / "model.gguf", tokenizer=model.tokenizer)
    run("capture-from", file, corpus, "--out", tmp_path / "study")
    found = routes_of(tmp_path / "study")
    np.testing.assert_array_equal(found.token_t, by_hooks.token_t)
    assert (np.sort(found.ids_tlk) == np.sort(by_hooks.ids_tlk)).mean() > 0.99  # all but near-ties
    assert found.weight_tlk is not None and found.provenance.engine.startswith("llama.cpp")
    run("analyze", tmp_path / "study", "--out", tmp_path / "results", "--metrics", "load_cv", "--resamples", "20")
    assert "model" in json.loads((tmp_path / "results" / "study.json").read_text())


def test_what_is_missing_is_asked_for(corpus, tmp_path):
    with serving(Manners(engine="vllm")) as address:
        output = run("capture-from", address, corpus, "--out", tmp_path / "study", code=2)
    assert "--model" in output and "config.json" in output
    output = run("capture-from", tmp_path / "none.gguf", corpus, "--out", tmp_path / "other", code=1)
    assert "none.gguf" in output


def test_refused_texts_end_the_run_or_are_named(corpus, tmp_path):
    rows = corpus.read_text() + json.dumps({"text": "word " * 4000, "id": "long"}) + "\n"
    longer = tmp_path / "longer.jsonl"
    longer.write_text(rows)
    with serving(Manners(engine="vllm")) as address:
        asked = ("capture-from", address, longer, "--model", BUNDLED_MODEL, "--out", tmp_path / "study")
        run(*asked, code=1)
        output = run(*asked, "--bad", "skip")
    assert "left out longer.jsonl: long" in output and "41 tokens" in output


def test_a_trace_becomes_a_study_that_can_be_analysed(by_hooks, tmp_path):
    trace = tmp_path / "trace.npz"
    np.savez(trace, ids=by_hooks.ids_tlk, layer_experts=by_hooks.experts, document=by_hooks.document_t)
    output = run("import", trace, "--out", tmp_path / "study")
    assert "3 documents" in output and "missing" in output
    np.testing.assert_array_equal(routes_of(tmp_path / "study").ids_tlk, by_hooks.ids_tlk)
    run("analyze", tmp_path / "study", "--out", tmp_path / "results", "--metrics", "load_cv", "--resamples", "20")
    assert (tmp_path / "results" / "tables" / "load_cv.csv").exists()
    broken = tmp_path / "broken.npz"
    broken.write_bytes(trace.read_bytes()[:200])
    run("import", broken, "--out", tmp_path / "none", code=1)
    assert ROUTES == "routes" and not (tmp_path / "none" / "blocks").exists()
