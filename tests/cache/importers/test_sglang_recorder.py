"""Dumps of SGLang's recorder, built with torch itself by a small server of our own, whose every route is known."""

import random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatescope.cache.importers import read_trace
from gatescope.cache.importers.reading import rows, sequences
from gatescope.routing import Flag
from gatescope.routing.errors import TraceError
from gatescope.routing.joined import joined
from tests.cache.importers.sglang_server import (
    DENSE,
    EXPERTS,
    LAYERS,
    K,
    Request,
    Server,
    dump,
    identity,
    one_pass,
    requests_of,
    route,
    shuffled,
)  # fmt: skip


def documents_of(records):
    """(token, position, flag) of every document, by its name; a document cut in two comes together again."""
    found = {}
    for record in records:
        for at in range(record.tokens):
            name = record.documents[record.document_t[at]].id
            found.setdefault(name, []).append(
                (int(record.token_t[at]), int(record.position_t[at]), int(record.flag_t[at]))
            )
    return found


def check_routes(records):
    """Every kept route is the one that the model takes."""
    moe = [layer for layer in range(LAYERS) if layer not in DENSE]
    for record in records:
        assert [rule.block for rule in record.layers] == moe
        for at in range(record.tokens):
            token, position = int(record.token_t[at]), int(record.position_t[at])
            assert record.ids_tlk[at].tolist() == [route(token, position, layer) for layer in moe]


def test_two_prompts_and_their_answers(tmp_path, imported):
    """Three passes written down by hand: both prompts, a step of both, a step of the second."""
    passes = [
        one_pass(7, [[(5, 0), (6, 1)], [(9, 0)]], 1, identity()),
        one_pass(8, [[(50, 2)], [(90, 1)]], 2, identity()),
        one_pass(9, [[(91, 2)]], 2, identity()),
    ]
    got = imported(dump(tmp_path / "expert_distribution_recorder_1.5_0.pt", passes))
    assert documents_of(got.records) == {
        "rank 0, sequence 0": [(5, 0, 0), (6, 1, 0), (50, 2, Flag.GENERATED)],
        "rank 0, sequence 1": [(9, 0, 0), (90, 1, Flag.GENERATED), (91, 2, Flag.GENERATED)],
    }
    check_routes(got.records)
    record = got.record
    assert record.weight_tlk is None and record.provenance.engine == "sglang"
    assert {(rule.experts, rule.k, rule.score) for rule in record.layers} == {(EXPERTS, K, "unknown")}
    assert (got.report.documents, got.report.tokens) == (2, 6)
    assert any("weights" in line for line in got.report.missing)
    assert any("cached" in line for line in got.report.missing)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**9), st.booleans(), st.booleans(), st.sampled_from([4, 9, 1000]))
def test_no_document_ever_mixes_two_texts_and_no_token_is_lost(tmp_path, seed, mixed, cached, budget):
    chance = random.Random(seed)
    requests = requests_of(chance, chance.randint(1, 8), cached=cached)
    map_lp = shuffled(seed % 100) if seed % 2 else identity(seed % 3)
    passes = Server(budget, mixed).run(requests, chance)
    path = dump(tmp_path / "a.pt", [one_pass(n, *run, map_lp) for n, run in enumerate(passes)], map_lp)
    records, report = read_trace(path)
    records = list(records)
    check_routes(records)
    found = documents_of(records)
    for rows_of in found.values():
        assert len({token // 1000 for token, _, _ in rows_of}) == 1, "one text"
        assert [token % 1000 for token, _, _ in rows_of] == [position for _, position, _ in rows_of]
    every = sorted(cell for rows_of in found.values() for cell in rows_of)
    wanted = sorted(
        (token, at, Flag.GENERATED if at >= request.prompt else 0)
        for request in requests
        for at, token in enumerate(request.tokens)
        if at >= request.cached
    )
    assert [cell[:2] for cell in every] == [cell[:2] for cell in wanted]
    assert report.tokens == len(wanted) and not report.left_out
    flags = sum(one[2] != other[2] for one, other in zip(every, wanted, strict=True))
    assert flags == 0 or mixed, "in a mixed pass, a single token may be the end of a prompt"


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**9))
def test_texts_of_different_lengths_come_back_whole(tmp_path, seed):
    """Where no two texts ever wait at the same position, every document is one text from its beginning to its end."""
    chance = random.Random(seed)
    requests = [
        Request([1000 * n + at for at in range(40 * n + chance.randint(21, 30))], 40 * n + chance.randint(1, 20))
        for n in range(4)
    ]
    passes = Server(10**6, False).run(requests, chance)
    path = dump(tmp_path / "a.pt", [one_pass(n, *run, identity()) for n, run in enumerate(passes)])
    records, report = read_trace(path)
    found = documents_of(records)
    assert sorted(tuple(token for token, _, _ in rows_of) for rows_of in found.values()) == sorted(
        tuple(request.tokens) for request in requests
    )
    assert report.documents == 4


def test_a_long_prompt_cut_by_the_server_is_a_document_for_each_part(tmp_path, imported):
    """Nothing tells it from other texts whose beginning was cached."""
    cells = [(token, token) for token in range(20)]
    passes = [one_pass(n, [cells[at : at + 8]], 1, identity()) for n, at in enumerate((0, 8, 16))]
    passes.append(one_pass(3, [[(99, 20)]], 2, identity()))
    got = imported(dump(tmp_path / "a.pt", passes))
    assert got.record.document_t.tolist() == [0] * 8 + [1] * 8 + [2] * 5
    assert got.record.token_t.tolist() == [*range(20), 99]
    assert any("2 of them begun behind position 0" in line for line in got.report.understood)


def test_a_text_whose_beginning_was_cached_begins_behind_it(tmp_path, imported):
    passes = [one_pass(0, [[(5, 0), (6, 1), (7, 2)]], 1, identity()), one_pass(1, [[(8, 64), (9, 65)]], 1, identity())]
    got = imported(dump(tmp_path / "a.pt", passes))
    assert got.record.position_t.tolist() == [0, 1, 2, 64, 65] and got.report.documents == 2
    assert any("1 of them begun behind position 0" in line for line in got.report.understood)


def test_what_could_belong_to_two_texts_is_left_on_its_own(tmp_path, imported):
    """Two prompts of two tokens, and a step of only one of them: whose it is, the dump does not say."""
    passes = [
        one_pass(0, [[(5, 0), (6, 1)], [(7, 0), (8, 1)]], 1, identity()),
        one_pass(1, [[(9, 2)]], 2, identity()),
        one_pass(2, [[(10, 3)]], 2, identity()),
    ]
    got = imported(dump(tmp_path / "a.pt", passes))
    tokens = [[token for token, _, _ in rows_of] for rows_of in documents_of(got.records).values()]
    assert sorted(tokens) == [[5, 6], [7, 8], [9, 10]]
    assert any("1 tokens that could belong" in line for line in got.report.understood)


def test_a_text_that_is_over_waits_no_longer(tmp_path, imported):
    """The first ends after its prompt. When the second comes to where that ended, there is no doubt whose it is."""
    passes = [
        one_pass(0, [[(5, 0), (6, 1)], [(7, 0)]], 1, identity()),
        one_pass(1, [[(8, 1)]], 2, identity()),
        one_pass(2, [[(9, 2)]], 2, identity()),
    ]
    got = imported(dump(tmp_path / "a.pt", passes))
    tokens = [[token for token, _, _ in rows_of] for rows_of in documents_of(got.records).values()]
    assert sorted(tokens) == [[5, 6], [7, 8, 9]]


def test_physical_experts_are_mapped_layer_by_layer(tmp_path, imported):
    map_lp = shuffled(3)
    assert (map_lp != identity(4)).any()
    passes = [one_pass(0, [[(token, token) for token in range(50)]], 1, map_lp)]
    got = imported(dump(tmp_path / "a.pt", passes, map_lp))
    check_routes(got.records)
    assert got.record.experts == EXPERTS


def test_ids_without_a_map_are_refused(tmp_path, imported):
    path = tmp_path / "a.pt"
    for held in ({}, {"last_physical_to_logical_map": None}):
        torch.save({"records": [one_pass(0, [[(1, 0)]], 1, identity())]} | held, path)
        with pytest.raises(TraceError, match="physical") as caught:
            imported(path)
        assert "map" in caught.value.expected


@pytest.mark.parametrize(
    "map_lp",
    [
        np.zeros((LAYERS, EXPERTS), np.int64) - 1,
        np.full((LAYERS, EXPERTS), 3),
        np.tile([0, 1, 2, 3, 4, 5, 6, 9], (LAYERS, 1)),
        np.arange(EXPERTS),
        np.zeros((0, 0), np.int64),
    ],
)
def test_a_map_that_loses_experts_is_refused(tmp_path, imported, map_lp):
    path = tmp_path / "a.pt"
    passes = [one_pass(0, [[(1, 0)]], 1, identity())]
    torch.save({"records": passes, "last_physical_to_logical_map": torch.from_numpy(map_lp)}, path)
    with pytest.raises(TraceError, match="map"):
        imported(path)


def test_a_map_that_changed_while_recording_shows_as_one_expert_twice(tmp_path, imported):
    """Two places of one expert in one token: by that map, no router does so."""
    record = one_pass(0, [[(1, 0), (2, 1)]], 1, identity(2))
    record["topk_ids_of_layer"][1, 0, :3] = torch.tensor([0, EXPERTS, 4])
    path = dump(tmp_path / "a.pt", [record], identity(2))
    with pytest.raises(TraceError, match=r"pass 0, token 0: one expert twice"):
        imported(path)
    assert imported(path, on_fault="skip").record.token_t.tolist() == [2]


@pytest.mark.parametrize("wrong", [EXPERTS, 300, -2, 2**31 - 1])
def test_an_id_beyond_the_map_is_no_expert(tmp_path, imported, wrong):
    """Fused shared experts are numbered behind the others: they are not taken for one of them."""
    record = one_pass(4, [[(1, 0), (2, 1), (3, 2)]], 1, identity())
    record["topk_ids_of_layer"][3, 1, 2] = wrong
    path = dump(tmp_path / "a.pt", [record])
    with pytest.raises(TraceError, match=r"a.pt, pass 4, token 1: an id that is no expert"):
        imported(path)
    got = imported(path, on_fault="skip")
    assert got.record.token_t.tolist() == [1, 3]
    assert got.report.where["an id that is no expert of its layer"] == [f"{path}, pass 4, token 1"]


def test_counts_alone_are_refused_with_what_to_do(tmp_path, imported):
    counts = torch.ones(1000, 61, 256, dtype=torch.int32)
    stat = {"rank": 0, "logical_count": counts, "average_utilization_rate_over_window": None}
    torch.save(stat, tmp_path / "expert_distribution_recorder_1700000000.25.pt")
    torch.save(
        {
            "records": [
                {"forward_pass_id": 1, "rank": 0, "gatherer_key": "primary", "global_physical_count": counts[0]}
            ],
            "last_physical_to_logical_map": torch.zeros(61, 256, dtype=torch.int64),
        },
        tmp_path / "per_pass.pt",
    )
    for name, mode in (("expert_distribution_recorder_1700000000.25.pt", "stat"), ("per_pass.pt", "per_pass")):
        with pytest.raises(TraceError, match=f"mode {mode}") as caught:
            imported(tmp_path / name)
        assert "per_token" in caught.value.do and "counts" in caught.value.expected
    with pytest.raises(TraceError, match="1,000 steps, 61 layers and 256 experts"):
        imported(tmp_path / "expert_distribution_recorder_1700000000.25.pt")


def test_ranks_that_saw_the_same_tokens_count_once(tmp_path, imported):
    """Tensor parallel: every rank holds all tokens. One of them stopped a pass later."""
    segments = [[[(5, 0), (6, 1)]], [[(7, 2)]], [[(8, 3)]]]
    for rank, count in ((0, 2), (1, 2), (2, 3)):
        passes = [one_pass(n, run, 2 if n else 1, identity(), rank) for n, run in enumerate(segments[:count])]
        dump(tmp_path / f"expert_distribution_recorder_{10 - rank}.5_{rank}.pt", passes)
    got = imported(tmp_path)
    assert got.record.token_t.tolist() == [5, 6, 7]
    assert sum("same tokens as rank 0" in line for line in got.report.understood) == 2
    assert got.report.left_out == {"a pass that the rank with the same tokens does not hold": 1}
    assert got.record.provenance.options["files"] == 3


def test_ranks_with_tokens_of_their_own_are_all_read(tmp_path, imported):
    """Data parallel: the passes have the same numbers and other tokens; one rank was idle for a while."""
    other = [one_pass(0, [[(9, 0)]], 1, identity(), 1), one_pass(1, [], 4, identity(), 1)]
    dump(tmp_path / "expert_distribution_recorder_3_1.pt", other)
    mine = [one_pass(0, [[(5, 0), (6, 1)]], 1, identity()), one_pass(1, [[(7, 2)]], 2, identity())]
    dump(tmp_path / "expert_distribution_recorder_2_0.pt", mine)
    found = documents_of(imported(tmp_path).records)
    assert {name: [token for token, _, _ in rows_of] for name, rows_of in found.items()} == {
        "rank 0, sequence 0": [5, 6, 7],
        "rank 1, sequence 0": [9],
    }


def test_ranks_that_disagree_are_refused(tmp_path, imported):
    for rank in (0, 1):
        record = one_pass(3, [[(5, 0), (6, 1)]], 1, identity(), rank)
        record["topk_ids_of_layer"][1, 0, 0] = 2 + rank
        dump(tmp_path / f"expert_distribution_recorder_1_{rank}.pt", [record])
    with pytest.raises(TraceError, match="ranks 0 and 1 ran the same tokens in pass 3"):
        imported(tmp_path)


def test_a_second_dump_of_a_rank_goes_on_where_the_first_ended(tmp_path, imported):
    dump(tmp_path / "expert_distribution_recorder_9.5_0.pt", [one_pass(0, [[(5, 0)]], 1, identity())])
    dump(tmp_path / "expert_distribution_recorder_10.5_0.pt", [one_pass(1, [[(6, 1)]], 2, identity())])
    assert documents_of(imported(tmp_path).records) == {"rank 0, sequence 0": [(5, 0, 0), (6, 1, Flag.GENERATED)]}


def test_a_dump_of_another_model_is_refused(tmp_path, imported, rules):
    path = dump(tmp_path / "a.pt", [one_pass(0, [[(1, 0), (2, 1)]], 1, identity())])
    ours = rules(1, 3, 4, experts=EXPERTS, k=K)
    assert imported(path, layers=ours).record.layers == ours
    for other, found in (
        (rules(1, 3, 4, experts=16, k=K), "experts = 8"),
        (rules(1, 3, 4, experts=EXPERTS, k=4), "3 experts for each token"),
        (rules(3, 4, experts=EXPERTS, k=K), r"routes in layers \[1, 3, 4\]"),
        (rules(1, 3, 9, experts=EXPERTS, k=K), "routes in layers"),
    ):
        with pytest.raises(TraceError, match=found):
            imported(path, layers=other)


def test_a_layer_that_routed_nothing_at_first_is_not_taken_for_dense_silently(tmp_path, imported):
    first = one_pass(0, [[(1, 0)]], 1, identity())
    first["topk_ids_of_layer"][4] = -1
    path = dump(tmp_path / "a.pt", [first, one_pass(1, [[(2, 0)]], 1, identity())])
    with pytest.raises(TraceError, match=r"pass 1: routes in layers \[1, 3, 4\], experts in \[1, 3\]"):
        imported(path)


def test_guesses_of_a_draft_are_not_taken_for_text(tmp_path, imported):
    passes = [one_pass(0, [[(1, 0)]], 1, identity()), one_pass(1, [[(2, 1), (3, 2)]], 5, identity())]
    path = dump(tmp_path / "a.pt", passes)
    with pytest.raises(TraceError, match="pass 1: a pass of mode 5"):
        imported(path)
    got = imported(path, on_fault="skip")
    assert got.record.token_t.tolist() == [1] and got.report.left_out == {"a pass of mode 5": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"input_ids": [1]},
        {"positions": [0, 1, 2]},
        {"positions": [0, 1.5]},
        {"positions": None},
        {"extend_seq_lens": [3]},
        {"extend_seq_lens": [3, -1]},
        {"extend_seq_lens": None},
        {"topk_ids_of_layer": [[1]]},
        {"topk_ids_of_layer": torch.zeros(LAYERS, 2, dtype=torch.int32)},
        {"topk_ids_of_layer": torch.zeros(LAYERS, 2, 8)},
        {"topk_ids_of_layer": torch.zeros(LAYERS + 1, 2, 8, dtype=torch.int32)},
        {"topk_ids_of_layer": torch.zeros(LAYERS, 3, 8, dtype=torch.int32)},
        {"input_ids": [True, 2]},
        {"input_ids": [2**70, 2]},
    ],
)
def test_passes_that_do_not_fit_together_are_named(tmp_path, imported, change):
    path = dump(tmp_path / "a.pt", [one_pass(0, [[(1, 0), (2, 1)]], 1, identity()) | change])
    with pytest.raises(TraceError, match=r"a\.pt"):
        imported(path)


def test_a_dump_without_tokens_says_so(tmp_path, imported):
    for passes in ([], [one_pass(0, [], 4, identity())]):
        with pytest.raises(TraceError, match="no pass with a token"):
            imported(dump(tmp_path / "a.pt", passes))


def test_records_stay_small_and_long_texts_are_cut(tmp_path, imported, monkeypatch):
    monkeypatch.setattr(rows, "CELLS", 3 * 8 * 5)
    passes = [one_pass(0, [[(token, token) for token in range(12)], [(50, 0)]], 1, identity())]
    got = imported(dump(tmp_path / "a.pt", passes))
    assert [record.tokens for record in got.records] == [5, 5, 2, 1]
    assert joined(got.records).token_t.tolist() == [*range(12), 50]
    assert (got.report.documents, got.report.tokens) == (2, 13)
    check_routes(got.records)


def test_no_more_is_held_than_told():
    """A server that only reads prompts never says that one is over: the oldest is let go."""

    def prompt(number):
        return sequences.Pass(
            name=str(number),
            ids_nlk=np.zeros((10, 1, 1), np.int32),
            token_n=np.arange(10),
            position_n=np.arange(10),
            lengths=[10],
            step=False,
        )

    held = sequences.Sequences(35)
    over = [each.number for number in range(9) for each in held.add(prompt(number))]
    assert over == [0, 1, 2, 3, 4, 5] and held.held == 30
    assert [each.number for each in held.rest()] == [6, 7, 8] and held.held == 0
