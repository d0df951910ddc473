"""The published routes of GPT-OSS-20B: a few examples written by hand in both forms, and the data set itself."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from gatescope.cache.importers import gptoss_routes, read_trace
from gatescope.cache.importers.importer import Given
from gatescope.cache.importers.reading import rows
from gatescope.routing import Flag
from gatescope.routing.errors import TraceError
from gatescope.routing.joined import joined

REAL = Path(__file__).parents[4] / "shared" / "realdata" / "gptoss20b"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the data set's folder is not beside this checkout")
TEXTS = [["<|channel|>", "We", " think", "."], ["No", "."], ["We", " are", " here"]]
FIRST = [191, 80, 7]


def a_row(example, token):
    """Ids and weights of 24 layers: each layer's four experts lie side by side."""
    ids = [[(example + token + layer + slot) % 32 for slot in range(4)] for layer in range(24)]
    return ids, [[0.5, 0.25, 0.125, 0.125]] * 24


def the_rows():
    """Example, place among its rows, and the row, for every row of the examples."""
    return [(n, at, *a_row(n, at)) for n, texts in enumerate(TEXTS) for at in range(len(texts) - 1)]


def arrays_form(folder, **changes):
    """The examples as arrays."""
    folder.mkdir(exist_ok=True)
    every = the_rows()
    arrays = {
        "expert_ids": np.array([ids for _, _, ids, _ in every], np.uint8),
        "expert_probs": np.array([weights for _, _, _, weights in every], np.float16),
        "offsets": np.cumsum([0] + [len(texts) - 1 for texts in TEXTS]),
    }
    np.savez_compressed(folder / "gptoss20b_routes.npz", **(arrays | changes))
    about = [
        {"path": f"data/mmlu/law/{n}_examples.json", "dataset": "mmlu", "category": "law", "first_token": first}
        for n, first in enumerate(FIRST)
    ]
    (folder / "examples.json").write_text(json.dumps(about))
    with gzip.open(folder / "generated_tokens.json.gz", "wt") as stream:
        json.dump(TEXTS, stream)
    return folder


def one_example(n):
    """An example as published: indented, its routes last."""
    routes = [
        {
            f"token_{FIRST[n] + at}": {
                f"layer_{layer}": {"selected_experts": ids[layer], "selected_probs": weights[layer]}
                for layer in range(24)
            }
        }
        for example, at, ids, weights in the_rows()
        if example == n
    ]
    head = {
        "row_index": n,
        "dataset": "mmlu",
        "category": "law",
        "finished_successfully": True,
        "has_repetition": False,
    }
    texts = ["<|start|>"] * FIRST[n] + TEXTS[n]
    return head | {"original_prompt": "?", "full_text": texts, "generated_only": TEXTS[n], "router_data": routes}


def published_form(folder):
    """The examples as the files that are published."""
    for n in range(len(TEXTS)):
        path = folder / "data" / "mmlu" / "law" / f"{n}_examples.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(one_example(n), indent=2))
    (folder / "data" / "mmlu" / "law" / "0.json").write_text("{}")
    return folder


@pytest.fixture(params=[arrays_form, published_form])
def folder(request, tmp_path):
    return request.param(tmp_path / "routes")


def test_both_forms_are_the_same_trace(folder, imported):
    got = imported(folder)
    record = got.record
    assert got.report.format == "gptoss_routes"
    assert record.ids_tlk.tolist() == [ids for _, _, ids, _ in the_rows()]
    assert record.weight_tlk.tolist() == [weights for _, _, _, weights in the_rows()]
    assert record.position_t.tolist() == [191, 192, 193, 80, 7, 8] and record.document_t.tolist() == [0, 0, 0, 1, 2, 2]
    assert (record.flag_t == Flag.GENERATED).all()
    said = [record.piece(token) for token in record.token_t]
    assert said == ["<|channel|>", "We", " think", "No", "We", " are"], "the last token of an answer has no row"
    assert record.token_t[1] == record.token_t[4], "one number for one text"
    first = record.documents[0]
    assert (first.text, first.source, first.domain) == ("<|channel|>We think.", "mmlu", "law")
    assert first.id == "mmlu/law/0_examples.json"
    assert (got.report.documents, got.report.tokens) == (3, 6)
    assert any("prompts" in line for line in got.report.missing)


def test_the_model_is_known(folder, imported, rules):
    record = imported(folder).record
    assert {(rule.experts, rule.k, rule.score, rule.is_renormalised) for rule in record.layers} == {
        (32, 4, "softmax", True)
    }
    assert [rule.block for rule in record.layers] == list(range(24))
    assert record.provenance.model == "gpt-oss-20b" and record.provenance.engine == "transformers"
    ours = rules(*range(24), experts=32, k=4)
    assert imported(folder, layers=ours, fingerprint="ab").record.layers == ours
    for other, found in ((rules(*range(12), experts=32, k=4), "24 MoE"), (rules(*range(24), experts=64, k=4), "32")):
        with pytest.raises(TraceError, match=found):
            imported(folder, layers=other)


def test_records_of_any_size_are_the_same_trace(folder, imported, monkeypatch):
    monkeypatch.setattr(rows, "CELLS", 24 * 4 * 4)
    records = imported(folder).records
    assert [record.tokens for record in records] == [4, 2]
    assert joined(records).ids_tlk.tolist() == [ids for _, _, ids, _ in the_rows()]


def test_an_answer_whose_texts_do_not_fit_keeps_its_routes_without_them(tmp_path, imported):
    folder = arrays_form(tmp_path)
    with gzip.open(folder / "generated_tokens.json.gz", "wt") as stream:
        json.dump([TEXTS[0][:3], *TEXTS[1:]], stream)
    got = imported(folder)
    assert got.record.token_t[:3].tolist() == [-1, -1, -1] and got.record.tokens == 6
    ((reason, places),) = got.report.where.items()
    assert "texts" in reason and places == ["mmlu/law/0_examples.json: 3 texts for 3 rows"]


def test_a_token_without_all_of_its_layers_is_counted(tmp_path, imported):
    path = tmp_path / "0_examples.json"
    example = one_example(0)
    del example["router_data"][1]["token_192"]["layer_5"]
    path.write_text(json.dumps(example))
    with pytest.raises(TraceError, match=f"{path}, token_192"):
        imported(path)
    got = imported(path, on_fault="skip")
    assert got.record.position_t.tolist() == [191, 193] and got.record.token_t.tolist() == [-1, -1]
    assert got.report.left_out["a token without routes of every layer"] == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda e: e.update(router_data={}),
        lambda e: e.update(router_data=[1]),
        lambda e: e.update(generated_only="text"),
        lambda e: e.update(generated_only=[1]),
    ],
)
def test_examples_of_another_form_are_refused(tmp_path, imported, spoil):
    example = one_example(0)
    spoil(example)
    (tmp_path / "a_examples.json").write_text(json.dumps(example))
    with pytest.raises(TraceError, match="a_examples"):
        imported(tmp_path)


@pytest.mark.parametrize("layer", [{}, {"selected_experts": [1, 2, 3, 4]}, {"selected_experts": "1234"}, [], None, 3])
def test_layers_of_another_form_are_counted(tmp_path, imported, layer):
    example = one_example(0)
    example["router_data"][0]["token_191"]["layer_0"] = layer
    (tmp_path / "a_examples.json").write_text(json.dumps(example))
    assert imported(tmp_path, on_fault="skip").record.tokens == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"expert_ids": np.zeros((6, 23, 4), np.uint8)},
        {"expert_ids": np.zeros((6, 24, 4), np.float32)},
        {"expert_probs": np.zeros((5, 24, 4), np.float16)},
        {"offsets": np.array([0, 3, 4])},
        {"offsets": np.array([0, 3, 4, 7])},
        {"offsets": np.array([0, 4, 3, 6])},
        {"offsets": np.array(["0", "3", "4", "6"])},
        {"offsets": np.array(6)},
    ],
)
def test_arrays_of_another_form_are_refused(tmp_path, imported, changes):
    with pytest.raises(TraceError, match="gptoss20b_routes"):
        imported(arrays_form(tmp_path, **changes))


def test_an_expert_beyond_the_32_is_named_with_its_answer(tmp_path, imported):
    ids = np.array([ids for _, _, ids, _ in the_rows()], np.uint8)
    ids[3, 7, 2] = 32
    folder = arrays_form(tmp_path, expert_ids=ids)
    with pytest.raises(TraceError, match=r"mmlu/law/1_examples.json, token 80: an id that is no expert"):
        imported(folder)
    assert imported(folder, on_fault="skip").report.tokens == 5


@pytest.mark.parametrize("name", ["examples.json", "generated_tokens.json.gz"])
@pytest.mark.parametrize("data", [b"", b"[", b"[1]", b"{}", b"[" * 100_000])
def test_torn_companions_are_refused(tmp_path, imported, name, data):
    folder = arrays_form(tmp_path)
    (folder / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.raises(TraceError, match=name.partition(".")[0]):
        imported(folder)


@pytest.fixture(scope="module")
def data_set():
    """Everything that comes out of the data set's folder, read once."""
    records, report = read_trace(REAL, Given())
    whole = joined(list(records))
    return whole, report


@pytest.mark.slow
@real
def test_the_whole_data_set_is_read_bit_for_bit(data_set):
    """Against the arrays loaded whole, with numpy alone."""
    whole, report = data_set
    with np.load(REAL / "gptoss20b_routes.npz") as arrays:
        ids, probs, offsets = (arrays[name] for name in ("expert_ids", "expert_probs", "offsets"))
    assert (report.tokens, report.documents) == (215_438, 703) == (len(ids), len(offsets) - 1)
    assert np.array_equal(whole.ids_tlk, ids) and np.array_equal(whole.weight_tlk, probs)
    assert np.array_equal(np.bincount(whole.document_t), np.diff(offsets))
    examples = json.loads((REAL / "examples.json").read_text())
    assert [(each.source, each.domain) for each in whole.documents] == [
        (each["dataset"], each["category"]) for each in examples
    ]
    assert report.left_out.total() == 2, "two answers came back as another number of tokens when tokenised anew"


@pytest.mark.slow
@real
def test_an_example_as_it_stands_in_the_published_file(data_set):
    """The first two tokens of gpqa_diamond/Astrophysics/True_False_examples.json, read off that file."""
    whole, _ = data_set
    (number,) = (n for n, each in enumerate(whole.documents) if each.id.startswith("gpqa_diamond/Astrophysics/True_F"))
    rows_t = np.flatnonzero(whole.document_t == number)[:2]
    assert whole.position_t[rows_t].tolist() == [191, 192]
    assert whole.ids_tlk[rows_t[0], [0, 1, 2]].tolist() == [[31, 21, 22, 6], [18, 29, 12, 27], [29, 8, 4, 31]]
    assert whole.ids_tlk[rows_t[1], [0, 23]].tolist() == [[4, 5, 3, 9], [16, 23, 20, 28]]
    assert whole.weight_tlk[rows_t[0], 0].tolist() == [0.51953125, 0.1767578125, 0.1591796875, 0.14453125]
    assert [whole.piece(token) for token in whole.token_t[rows_t]] == ["<|channel|>", "analysis"]


@real
def test_figures_that_were_worked_out_of_the_data_set_elsewhere(data_set):
    """Beside the data set: shares of neighbours with the same first choice, and the entropy of the load."""
    whole, _ = data_set
    wanted = json.loads((REAL.parent / "expected.json").read_text())["gptoss20b"]
    is_next_t = np.diff(whole.document_t) == 0
    for at, layer in enumerate((0, 11, 23)):
        first_t = whole.ids_tlk[:, layer, 0]
        share = 100 * (first_t[1:] == first_t[:-1])[is_next_t].mean()
        assert round(share, 2) == wanted["consecutive_same_first_choice_pct_L0_11_23"][at]
        load_e = np.bincount(whole.ids_tlk[:, layer].ravel(), minlength=32) / (4 * whole.tokens)
        entropy = -(load_e * np.log(load_e)).sum() / np.log(32)
        assert round(entropy, 4) == wanted["normalised_load_entropy_L0_11_23"][at]


@real
def test_a_row_belongs_to_the_token_beside_it(data_set):
    """In the first layer one text mostly has one first choice: most of all if texts are neither early nor late."""
    whole, _ = data_set

    def share(shift):
        row_t = np.arange(2, whole.tokens - 2)
        row_t = row_t[
            (whole.document_t[row_t] == whole.document_t[row_t + shift]) & (whole.token_t[row_t + shift] >= 0)
        ]
        count = np.zeros((whole.token_t.max() + 1, 32), int)
        np.add.at(count, (whole.token_t[row_t + shift], whole.ids_tlk[row_t, 0, 0]), 1)
        return count.max(axis=1).sum() / count.sum()

    assert share(0) > 0.85 > 0.52 > max(share(shift) for shift in (-2, -1, 1, 2))


@pytest.mark.slow
@real
def test_the_whole_data_set_takes_a_bounded_part_of_memory(process_memory):
    """62 MB of arrays and 12 MB of texts, of which one record's part is in memory at a time."""
    lines = f"""
from gatescope.cache.importers import read_trace
records, report = read_trace({str(REAL)!r})
print(max(record.tokens for record in records))
"""
    said, peak = process_memory(lines)
    assert int(said) <= 43_690 and peak < 260


def test_a_folder_of_something_else_is_not_taken(tmp_path):
    assert not gptoss_routes.detect(tmp_path)
    (tmp_path / "my_examples.json").write_text('{"row_index": 1}')
    assert not gptoss_routes.detect(tmp_path) and not gptoss_routes.detect(tmp_path / "my_examples.json")
    with pytest.raises(TraceError, match="no known format"):
        read_trace(tmp_path)
