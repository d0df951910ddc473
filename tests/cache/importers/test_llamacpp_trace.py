"""Traces of llama.cpp, written by functions that do what its two tools do, from rankings that are known."""

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gatescope.cache.importers import read_trace
from gatescope.cache.importers.importer import Given
from gatescope.cache.importers.reading import rows
from gatescope.routing import Flag
from gatescope.routing.errors import TraceError
from gatescope.routing.joined import joined

EXPERTS, K = 8, 2
BLOCKS = (1, 2, 4)


def ranking(token, block):
    """All experts of a layer, best first, for one token: the first two are its choice."""
    return random.Random(1000 * token + block).sample(range(EXPERTS), EXPERTS)


def passes_of(*counts):
    """Token numbers of each pass."""
    ends = np.cumsum(counts).tolist()
    return [list(range(end - count, end)) for end, count in zip(ends, counts, strict=True)]


def moe_trace(path, passes, *, stride=True, pruned=True):
    """What the example writes. Without the stride it reads a pass's rankings from the first number on."""
    lines = []
    for tokens in passes:
        for block in BLOCKS:
            ran = tokens[-1:] if pruned and block == BLOCKS[-1] else tokens
            ranked = [ranking(token, block) for token in ran]
            if stride:
                chosen = [expert for each in ranked for expert in each[:K]]
            else:
                chosen = [expert for each in ranked for expert in each][: len(ran) * K]
            lines += [f"{block},{expert}\n" for expert in chosen]
    path.write_text("".join(lines))
    return path


def side(items, write, gap):
    """Items of one side as the tool prints them: the first and last three where there are more than six."""
    if len(items) > 6:
        return [*map(write, items[:3]), gap, *map(write, items[-3:])]
    return list(map(write, items))


def printed(name, block, kind, sides, array, indent=4, prefix="common_debug_cb_eval"):
    """One tensor of three sides, as `common_debug_print_tensor` prints it. `array` is in the order of the brackets."""
    step = " " * indent

    def row(values):
        shown = side(list(values), lambda value: f"{value:12.4f}", "   ...")
        return f"{step * 3}[" + ", ".join(shown) + "  ],"

    def block_of(part):
        return "\n".join([f"{step * 2}[", *side(list(part), row, f"{step * 3}..., "), f"{step * 2}],"])

    full = f"{name}-{block}"
    head = f"{prefix}: {full:>24} = ({kind})       VIEW(ffn_moe_argsort-{block}{{8, 2, 1, 1}}, }}) = {{{sides}}}"
    body = side(list(array), block_of, f"{step * 2}..., ")
    return "\n".join([head, f"{step}[", *body, f"{step}]", f"{step}sum = {np.sum(array):f}"])


def weights_of(token, block):
    """Weights of the two chosen, not in their order."""
    return [0.25, 0.5 + (token + block) % 3 / 8]


def eval_callback(path, passes, *, tokens=(), k=K, with_weights=True, **form):
    """What the tool prints, between tensors of no interest."""
    out = ["llama_model_loader: something", f"number of input tokens = {len(tokens)}", *(f"  {id}" for id in tokens)]
    for pass_tokens in passes:
        for block in BLOCKS:
            ran = pass_tokens[-1:] if block == BLOCKS[-1] else pass_tokens
            ids = [ranking(token, block)[:k] for token in ran]
            out.append(
                printed("ffn_moe_logits", block, "f32", f"8, {len(ran)}, 1, 1", [np.ones((len(ran), 8))], **form)
            )
            out.append(printed("ffn_moe_topk", block, "i32", f"{k}, {len(ran)}, 1, 1", [ids], **form))
            if with_weights:
                raw = [[[0.125]] * k for _ in ran]
                out.append(printed("ffn_moe_weights", block, "f32", f"1, {k}, {len(ran)}, 1", raw, **form))
                sums = [[[1.0] for _ in ran]]
                out.append(printed("ffn_moe_weights_sum", block, "f32", f"1, {len(ran)}, 1, 1", sums, **form))
                norm = [[weights_of(token, block)[:k] for token in ran]]
                out.append(printed("ffn_moe_weights_norm", block, "f32", f"{k}, {len(ran)}, 1, 1", norm, **form))
            out.append(printed("ffn_moe_weights_norm-1 (view)", block, "f32", "1, 1, 1, 1", [[[9.0]]], **form))
    path.write_text("\n".join(out) + "\n")
    return path


def wanted(tokens, passes):
    """Experts of the tokens as they ran: of the last layer only for the last one of a pass."""
    last = {each[-1] for each in passes}
    skipped = [255] * K
    return [
        [ranking(token, block)[:K] if block != BLOCKS[-1] or token in last else skipped for block in BLOCKS]
        for token in tokens
    ]


KNOWN = {"experts": EXPERTS, "k": K}


def test_a_prompt_and_its_continuation(tmp_path, imported):
    passes = passes_of(5, 1, 1)
    got = imported(moe_trace(tmp_path / "moe_trace.csv", passes), **KNOWN)
    record = got.record
    assert record.ids_tlk.tolist() == wanted(range(7), passes)
    assert record.position_t.tolist() == list(range(7)) and record.token_t.tolist() == [-1] * 7
    assert record.flag_t.tolist() == [0] * 5 + [Flag.GENERATED] * 2
    assert [rule.block for rule in record.layers] == [1, 2, 4]
    assert "skipped" in record.layers[-1].empty_when and not record.layers[0].empty_when
    assert record.weight_tlk is None and record.provenance.engine == "llama.cpp"
    assert (got.report.tokens, got.report.documents, got.report.left_out) == (7, 1, {})
    assert any("weights" in line for line in got.report.missing)


def test_a_prompt_in_several_passes_and_without_a_skipped_layer(tmp_path, imported, rules):
    passes = passes_of(6, 6, 3, 1)
    path = moe_trace(tmp_path / "a.csv", passes, pruned=False)
    record = imported(path, layers=rules(*BLOCKS)).record
    assert record.ids_tlk.tolist() == [[ranking(token, block)[:K] for block in BLOCKS] for token in range(16)]
    assert record.flag_t.tolist() == [0] * 15 + [Flag.GENERATED]
    assert [rule.module for rule in record.layers] == [rule.module for rule in rules(*BLOCKS)]


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.booleans())
def test_a_trace_that_was_read_past_its_choices_never_gives_a_wrong_expert(tmp_path, counts, stride):
    """Whatever the tool did, what is kept is what ran; what is not kept is counted."""
    passes = passes_of(*counts)
    path = moe_trace(tmp_path / "a.csv", passes, stride=stride)
    records, report = read_trace(path, Given(**KNOWN, on_fault="skip"))
    kept = [row for record in records for row in zip(record.position_t.tolist(), record.ids_tlk.tolist(), strict=True)]
    assert [ids for _, ids in kept] == wanted([position for position, _ in kept], passes)
    assert len(kept) + report.left_out.total() == sum(counts)
    alone = {tokens[0] for tokens in passes if len(tokens) == 1}
    assert alone <= {position for position, _ in kept}, "a token that ran alone is always written right"
    if stride and all(count > 4 for count in counts):
        assert len(kept) == sum(counts), "with more than as many lines as experts, a choice shows itself"


def test_a_trace_that_was_read_past_its_choices_is_told(tmp_path, imported):
    path = moe_trace(tmp_path / "a.csv", passes_of(9, 1), stride=False)
    with pytest.raises(TraceError, match=r"lines 1 to 38, token 3: .*ranks all experts"):
        imported(path, **KNOWN)
    got = imported(path, **KNOWN, on_fault="skip")
    assert got.record.position_t.tolist() == [0, 1, 2, 9], "tokens whose ranking was written far enough"
    assert sum(got.report.left_out.values()) == 6


def test_a_ranking_that_was_written_in_part_is_no_choice(tmp_path, imported):
    """Three tokens with three of five experts: nine numbers are one ranking and four fifths of the next."""
    rankings = {0: [4, 2, 0, 1, 3, 1, 0, 4, 2], 1: [0, 1, 2, 3, 4, 3, 4, 1, 0]}
    path = tmp_path / "a.csv"
    path.write_text("".join(f"{block},{expert}\n" for block, ranked in rankings.items() for expert in ranked))
    got = imported(path, experts=5, k=3, on_fault="skip")
    assert got.record.ids_tlk.tolist() == [[[4, 2, 0], [0, 1, 2]], [[1, 0, 4], [3, 4, 1]]]
    four = tmp_path / "b.csv"
    four.write_text(path.read_text().replace("1,0\n", "", 1).replace("0,0\n", "", 1))
    with pytest.raises(TraceError, match="parts of tokens"):
        imported(four, experts=5, k=3)
    seven = {0: [4, 2, 0, 1, 3, 6, 5, 2], 1: [0, 1, 2, 3, 4, 6, 5, 3]}
    path.write_text("".join(f"{block},{expert}\n" for block, ranked in seven.items() for expert in ranked))
    got = imported(path, experts=7, k=2, on_fault="skip")
    assert got.record.ids_tlk.tolist() == [[[4, 2], [0, 1]]] and got.report.left_out.total() == 3


def test_a_trace_needs_the_number_of_experts_and_of_choices(tmp_path, imported, rules):
    path = moe_trace(tmp_path / "a.csv", passes_of(5, 1))
    for known in ({}, {"experts": 8}, {"k": 2}):
        with pytest.raises(TraceError, match="how many experts"):
            imported(path, **known)
    with pytest.raises(TraceError, match="3 MoE layers"):
        imported(path, layers=rules(1, 2))
    with pytest.raises(TraceError, match="block = 4"):
        imported(path, layers=rules(1, 2, 3))


def test_one_layer_alone_is_refused(tmp_path, imported, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("0,1\n0,2\n" * 5)
    with pytest.raises(TraceError, match="layer 0 alone"):
        imported(path, **KNOWN)
    monkeypatch.setattr("gatescope.cache.importers.reading.llamacpp_csv.CELLS", 6)
    with pytest.raises(TraceError, match="line 7: more than 6 lines of one layer"):
        imported(path, **KNOWN)


def spoilt(path, at, line):
    """One line of a good trace replaced; nothing: taken away."""
    lines = moe_trace(path, passes_of(1, 1, 1)).read_text().splitlines(keepends=True)
    lines[at : at + 1] = [line] if line is not None else []
    path.write_text("".join(lines))
    return path


@pytest.mark.parametrize(
    ("at", "line", "found", "kept"),
    [
        (7, "x,y\n", "line 8: a line that is no layer", [0, 2]),
        (7, "1,-3\n", "line 8: a line that is no layer", [0, 2]),
        (7, "1;3\n", "line 8: a line that is no layer", [0, 2]),
        (7, "1,3,4\n", "line 8: a line that is no layer", [0, 2]),
        (7, None, "lines 7 to 11: a pass with parts of tokens", [0, 2]),
        (7, "1,8\n", "line 7, token 0 of its pass: an id that is no expert", [0, 2]),
        (7, "2,3\n", "lines 7 to 12: a pass with parts of tokens", [0, 2]),
        (17, "4,3", "line 18: a line that is no layer", [0, 1]),
    ],
)
def test_lines_that_cannot_be_read_are_stopped_at_or_counted(tmp_path, imported, at, line, found, kept):
    path = spoilt(tmp_path / "a.csv", at, line)
    with pytest.raises(TraceError, match=found):
        imported(path, **KNOWN)
    got = imported(path, **KNOWN, on_fault="skip")
    assert got.record.position_t.tolist() == kept and got.report.left_out
    assert all(place.startswith(str(path)) for places in got.report.where.values() for place in places)


def test_a_pass_over_other_layers_is_counted_and_its_tokens_keep_their_places(tmp_path, imported):
    lines = moe_trace(tmp_path / "a.csv", passes_of(1, 1, 1)).read_text().splitlines(keepends=True)
    (tmp_path / "a.csv").write_text("".join(lines[:8] + lines[10:]))
    with pytest.raises(TraceError, match=r"line 7: a pass over layers \[1, 4\] in place of \[1, 2, 4\]"):
        imported(tmp_path / "a.csv", **KNOWN)
    got = imported(tmp_path / "a.csv", **KNOWN, on_fault="skip")
    assert got.record.position_t.tolist() == [0, 2]


def test_a_headline_and_windows_line_ends_are_read(tmp_path, imported):
    path = moe_trace(tmp_path / "a.csv", passes_of(1, 1))
    text = path.read_text()
    path.write_bytes(("layer,expert\n" + text).replace("\n", "\r\n").encode())
    assert imported(path, **KNOWN).record.ids_tlk.tolist() == wanted(range(2), passes_of(1, 1))


@pytest.mark.parametrize("form", [{}, {"indent": 37, "prefix": "ggml_debug"}])
def test_printed_tensors_of_a_short_prompt(tmp_path, imported, form):
    passes = passes_of(6, 1)
    path = eval_callback(tmp_path / "debug.log", passes, tokens=[11, 12, 13, 14, 15, 16], **form)
    got = imported(path, experts=EXPERTS)
    record = got.record
    expected, weights = [], []
    for token, layers in enumerate(wanted(range(7), passes)):
        light = [weights_of(token, block) for block in BLOCKS]
        expected.append([ids[::-1] if ids[0] != 255 else ids for ids in layers])
        weights.append([pair[::-1] if ids[0] != 255 else [0, 0] for pair, ids in zip(light, layers, strict=True)])
    assert record.ids_tlk.tolist() == expected, "by weight, which is not the order of the choice"
    assert record.weight_tlk.tolist() == weights, "those of the last tensor of weights"
    assert record.token_t.tolist() == [11, 12, 13, 14, 15, 16, -1]
    assert record.flag_t.tolist() == [0] * 6 + [Flag.GENERATED]
    assert got.report.left_out == {} and any("four digits" in line for line in got.report.missing)


def test_tokens_that_were_printed_as_dots_are_counted(tmp_path, imported):
    passes = passes_of(10)
    got = imported(eval_callback(tmp_path / "a.log", passes, tokens=range(10)), experts=EXPERTS)
    assert got.record.position_t.tolist() == [0, 1, 2, 7, 8, 9] == got.record.token_t.tolist()
    found = [sorted(each) for layers in got.record.ids_tlk[:, :2].tolist() for each in layers]
    assert found == [sorted(each) for layers in wanted([0, 1, 2, 7, 8, 9], passes) for each in layers[:2]]
    assert got.report.left_out == {"a token that is not written in every layer": 4}
    assert got.record.ids_tlk[:, 2].max(axis=1).tolist() == [255] * 5 + [max(ranking(9, 4)[:K])]


def test_experts_that_were_printed_as_dots_make_a_trace_worthless(tmp_path, imported):
    path = eval_callback(tmp_path / "a.log", passes_of(3), k=7, with_weights=False)
    with pytest.raises(TraceError, match="7 experts for each token, of which the tool prints six") as caught:
        imported(path, experts=EXPERTS, on_fault="skip")
    assert "moe-trace" in caught.value.do


def test_six_experts_are_all_printed(tmp_path, imported):
    record = imported(eval_callback(tmp_path / "a.log", passes_of(3), k=6, with_weights=False), experts=EXPERTS).record
    assert record.ids_tlk[0, 0].tolist() == ranking(0, 1)[:6] and record.weight_tlk is None


def test_printed_tensors_without_the_number_of_experts_are_refused(tmp_path, imported, rules):
    path = eval_callback(tmp_path / "a.log", passes_of(2))
    with pytest.raises(TraceError, match="how many experts"):
        imported(path)
    with pytest.raises(TraceError, match="2 experts for each token"):
        imported(path, layers=rules(*BLOCKS, k=3))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("= {2, 2, 1, 1}", "= {2, 3, 1, 1}"),
        ("= {2, 2, 1, 1}", "= {3, 2, 1, 1}"),
        ("= {2, 2, 1, 1}", "= {2, 2, 1, 2}"),
        ("= {2, 2, 1, 1}", "= {2, 999999999, 1, 1}"),
        (".0000,", ".5000,"),
        (".0000,", "nan,"),
        (".0000,", "inf,"),
        (".0000,", "9e9,"),
        ("0000,", "zero,"),
        ("    [\n", ""),
        ("            [", "            ["),
    ],
)
def test_printed_tensors_that_are_not_whole_never_give_wrong_routes(tmp_path, imported, old, new):
    """The first layer of the second pass is spoilt; the first and third pass stay."""
    path = eval_callback(tmp_path / "a.log", passes_of(1, 2, 1), with_weights=False)
    text = path.read_text()
    at = text.index("ffn_moe_topk-1", text.index("ffn_moe_topk-4"))
    path.write_text(text[:at] + text[at:].replace(old, new, 1))
    got = imported(path, experts=EXPERTS, on_fault="skip")
    flat = [
        row for record in got.records for row in zip(record.position_t.tolist(), record.ids_tlk.tolist(), strict=True)
    ]
    assert flat[0] == (0, wanted([0], passes_of(1, 2, 1))[0])
    assert bool(got.report.left_out) == (old != new)
    for position, ids in flat:
        right = wanted([position], passes_of(1, 2, 1))[0]
        assert ids == right or got.report.left_out, "places may shift where a pass was lost, experts never"


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.integers(1, 40))
@example(1813, 25)  # what is left of a matrix holds a list where another number stands
def test_a_log_with_lines_lost_gives_routes_that_were_printed_or_none(tmp_path, seed, lost):
    path = eval_callback(tmp_path / "a.log", passes_of(3, 1, 1))
    chance, lines = random.Random(seed), path.read_text().splitlines(keepends=True)
    for _ in range(lost):
        del lines[chance.randrange(len(lines))]
    path.write_text("".join(lines))
    try:
        records, _ = read_trace(path, Given(experts=EXPERTS, on_fault="skip"), format="llamacpp_trace")
        kept = list(records)
    except TraceError:
        return
    chosen = {(at, tuple(sorted(ranking(token, block)[:K]))) for token in range(5) for at, block in enumerate(BLOCKS)}
    for record in kept:
        blocks = [rule.block for rule in record.layers]
        for row in record.ids_tlk:
            for at, ids in enumerate(row.tolist()):
                assert ids == [255] * K or (BLOCKS.index(blocks[at]), tuple(sorted(ids))) in chosen


def test_records_of_any_size_are_the_same_trace(tmp_path, imported, monkeypatch):
    passes = passes_of(*[1] * 9)
    path = moe_trace(tmp_path / "a.csv", passes)
    monkeypatch.setattr(rows, "CELLS", 3 * 2 * 4)
    got = imported(path, **KNOWN)
    assert [record.tokens for record in got.records] == [4, 4, 1] and got.report.documents == 1
    assert joined(got.records).ids_tlk.tolist() == wanted(range(9), passes)


def test_nothing_at_all_is_said(tmp_path, imported):
    (tmp_path / "a.csv").write_text("layer,expert\n")
    with pytest.raises(TraceError, match="no known format"):
        imported(tmp_path / "a.csv", **KNOWN)
    with pytest.raises(TraceError, match="no pass"):
        imported(tmp_path / "a.csv", **KNOWN, format="llamacpp_trace")
    (tmp_path / "b.csv").write_text("0,1,x\n1,2,y\n")
    with pytest.raises(TraceError, match="no known format"):
        imported(tmp_path / "b.csv", **KNOWN)
