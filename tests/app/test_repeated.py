"""What a figure hands out as Python gives the figure's numbers, to the digit, whatever tokens count on its page."""

import dataclasses
import re
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from gatescope.routing import Flag
from gatescope.studies.export import TRACE_COLUMNS
from tests.app.figures_shown import EVERY_VISIT, KEYS, LACKS, QUICK, SCOPES, VISITS, corpus, figures_server

DIGITS = 1e-9
WHERE = {"layer", "block", "expert", "other", "next_layer", "next_expert", "document", "token", "position", "kept"}
WHERE |= {
    "experts",
    "paths",
    "through",
    "distance",
    "positions",
    "window",
    "rank",
    "bin",
    "other_expert",
    "even_router",
    "tenth",
    "depth",
    "token_a",
    "token_b",
    "block",
    "slot",
}
"""Columns that say what a row is about."""

COUNTS = ("layer", "expert", "tokens", "assignment_share", "uniform_share")
NORMAL_95 = 1.96


def deviation(made: dict[str, object], part: str, by: str) -> np.ndarray:
    """Standard deviation of what shuffled labels tell: the excess over how many deviations it is."""
    table = made.get(f"composition_{by}")
    if table is not None:
        return (table[f"{part}_excess_bits"] / table[f"{part}_z"]).to_numpy()
    layers = [getattr(each, part) for each in made[f"composition_by_{by}"]]
    return np.array([each.excess_bits / each.z for each in layers])


def by_of(made: dict[str, object]) -> str:
    return "language" if any(name.endswith("language") for name in made) else "domain"


def pairs_mean(made: dict[str, object], metric: str, what: str) -> np.ndarray:
    """The mean over the pairs of groups that were tested, by layer."""
    found = made[f"{metric}_by_{by_of(made)}"]
    below = np.tril_indices(len(found.groups), -1)
    value_lx, null_lx = found.value[:, *below], found.null[:, *below]
    known_lx = np.isfinite(value_lx) & np.isfinite(null_lx)
    return np.nanmean(np.where(known_lx, value_lx if what == "value" else null_lx, np.nan), axis=1)


def of_pairs(what: str):
    def mean(_frame: pd.DataFrame, made: dict[str, object]) -> np.ndarray:
        metric = "language_divergence" if "language_divergence_by_language" in made else "profile_divergence"
        return pairs_mean(made, metric, what)

    return mean


def specialized_share(_frame: pd.DataFrame, made: dict[str, object]) -> np.ndarray:
    """Of each layer and group, the share of the experts that were tested whose q is small."""
    q_gle = made[f"usage_difference_by_{by_of(made)}"].q
    with np.errstate(invalid="ignore"):
        share_lg = ((q_gle <= 0.05).sum(axis=2) / np.isfinite(q_gle).sum(axis=2)).T
    return share_lg[np.isfinite(share_lg)]


def share_of_experts(frame: pd.DataFrame, made: dict[str, object]) -> np.ndarray:
    if "exclusive_experts_by_language" not in made:
        return specialized_share(frame, made)
    value_gl = made["exclusive_experts_by_language"].value
    return value_gl[np.isfinite(value_gl)]


def around(part: str, sign: int):
    column = "chance_bits" if part == "label" else "same_word_chance_bits"

    def end(frame: pd.DataFrame, made: dict[str, object]) -> np.ndarray:
        spread_l = deviation(made, part, by_of(made))  # of A alone, whose rows come first
        return frame[column] + sign * NORMAL_95 * np.append(spread_l, np.full(len(frame) - len(spread_l), np.nan))

    return end


def corrected(frame: pd.DataFrame, _made: dict[str, object]) -> np.ndarray:
    """Benjamini and Hochberg's correction, as SciPy has it."""
    p_l = frame["same_word_p"].to_numpy(np.float64)
    q_l = np.full(len(p_l), np.nan)
    q_l[np.isfinite(p_l)] = false_discovery_control(p_l[np.isfinite(p_l)])
    return q_l


def runs(end: str, side: int):
    """Where each run of an alignment begins ("start") or ends ("stop"), in A (1) or in B (2)."""
    return lambda _frame, made: [getattr(step[side], end) for step in made["found"].steps]


def by_capture(name: str):
    """A column over its greatest value in the same capture."""
    return lambda frame, _: frame[name] / frame.groupby("capture")[name].transform("max")


def of_verdicts(name: str):
    """A number of each row behind the verdicts; none of a verdict without rows."""
    return lambda _frame, made: [
        getattr(row, name, np.nan) for verdict in made["verdicts"] for row in verdict.rows or (None,)
    ]


def drawn(frame: pd.DataFrame, made: dict[str, object]) -> np.ndarray:
    """What the picture of a prompt shows by layer and token: the first experts, or (by default) margins."""
    record = made["record"]
    is_expert = frame["value"].dtype.kind in "iu"
    return (record.ids_tlk[:, :, 0] if is_expert else record.margin_tl.astype(np.float32)).T.ravel()


def of_claims(name: str):
    """A number of each verdict, on each of its rows."""
    return lambda _frame, made: [
        getattr(verdict, name) for verdict in made["verdicts"] for _ in verdict.rows or (None,)
    ]


def words_alone(frame: pd.DataFrame, made: dict[str, object]) -> np.ndarray:
    """Bits by the words alone; where routes of a part of a study are at hand, their share of the bits of the whole."""
    by = by_of(made)
    if f"composition_{by}" in made:
        return frame["beyond_chance_bits"] * made[f"composition_{by}"]["share_excess"]
    layers = made[f"composition_by_{by}"]
    if "counts" in made and made["counts"].documents > len(made["record"].documents):
        return frame["beyond_chance_bits"] * [each.share_excess for each in layers]
    return np.array([each.words.excess_bits for each in layers])


DERIVED = {
    ("transition_information", "null"): lambda frame, _names: (
        0 * frame["transition_information"]
    ),  # chance is taken off
    "words_alone_bits": words_alone,
    "bits": lambda frame, _: frame["beyond_chance_bits"] + frame["chance_bits"],
    "beyond_words_bits": lambda frame, _: frame["beyond_chance_bits"] - frame["words_alone_bits"],
    "words_share": lambda frame, _: frame["words_alone_bits"] / frame["beyond_chance_bits"],
    "times_chance": lambda frame, _: frame["share"] / frame["by_chance"],
    "chance_low": around("label", -1),
    "chance_high": around("label", 1),
    "same_word_chance_low": around("given_words", -1),
    "same_word_chance_high": around("given_words", 1),
    "mean_distance": of_pairs("value"),
    "mean_chance": of_pairs("null"),
    "share_of_experts": share_of_experts,
    "same_word_q": corrected,
    ("shape", "share_of_experts"): by_capture("experts"),
    ("diff", "start_a"): runs("start", 1),
    ("diff", "end_a"): runs("stop", 1),
    ("diff", "start_b"): runs("start", 2),
    ("diff", "end_b"): runs("stop", 2),
    ("pair", "overlap"): lambda _, made: made["share_tl"].T.ravel(),
    ("pair", "noise"): lambda _, made: ((made["share_tl"] >= 1) | made["near_tl"]).T.ravel(),
    **{("trace", name): lambda _, made, name=name: made["trace"][name] for name in TRACE_COLUMNS},
    **{("counts", name): lambda _, made, name=name: made["counts"][name] for name in COUNTS},
    **{("claims", name): of_verdicts(name) for name in ("layer", "value", "low", "high", "null", "q")},
    **{("claims", name): of_claims(name) for name in ("tokens", "documents")},
    ("shared", "bits"): lambda _, made: made["shared"].bits_lm.ravel(),
    ("picture", "value"): drawn,
}
"""Columns that follow from others of the table, or from what the snippet gives, by a formula written here anew; some of
one figure alone, whose key stands before theirs."""

BEYOND = {"plan"}
"""Figures some of whose numbers no call gives, as they say themselves: bytes are of a size that the reader chooses."""

RECORDED = {
    "token_id": lambda record: record.token_t,
    "weight": lambda record: record.weight_tlk,
    "length": lambda record: np.bincount(record.document_t),
}
"""Columns that are the record's own."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with figures_server(tmp_path_factory.mktemp("captures")) as open_page:
        yield open_page


@cache
def run(code: str) -> dict[str, object]:
    """What a snippet makes."""
    made: dict[str, object] = {}
    exec(compile(code, "snippet", "exec"), made)
    del made["__builtins__"]
    return made


def numbers_of(value: object) -> list[np.ndarray]:
    """Every number in what a snippet made."""
    if isinstance(value, np.ndarray):
        return [value.ravel().astype(np.float64)] if value.dtype.kind in "fiub" else []
    if isinstance(value, bool | int | float | np.number):
        return [np.array([value], np.float64)]
    if isinstance(value, str):
        return [np.array([float(value)])] if value.isdecimal() else []
    if isinstance(value, pd.DataFrame):
        return [part for name in value for part in numbers_of(value[name].to_numpy())]
    if dataclasses.is_dataclass(value) and type(value).__name__ not in ("type", "RoutingRecord"):
        return [part for each in dataclasses.fields(value) for part in numbers_of(getattr(value, each.name))]
    if isinstance(value, dict):
        return [part for each in value.values() for part in numbers_of(each)]
    if isinstance(value, tuple | list):
        return [part for each in value for part in numbers_of(each)]
    return []


@cache
def known(code: str) -> np.ndarray:
    """The finite numbers that a snippet gives, in order."""
    made = {name: value for name, value in run(code).items() if type(value).__name__ not in ("RoutingRecord", "Tally")}
    parts = numbers_of(made) + [mean for each in made.values() for mean in means_of(each)]
    every = np.unique(np.concatenate(parts)) if parts else np.zeros(0)
    return every[np.isfinite(every)]


def means_of(value: object) -> list[np.ndarray]:
    """The means over layers of a result, where it has another axis too."""
    if type(value).__name__ != "Result" or value.value.ndim != 2:
        return []
    every = [each for each in (value.value, value.null) if each is not None]
    with np.errstate(invalid="ignore"):
        return [each.mean(axis=0) for each in every]


def strangers(key: str, frame: pd.DataFrame, code: str) -> dict[str, float]:
    """Numbers of a figure's table that are not among those known, one for each column."""
    found = {}
    for name in frame.columns:
        derived = DERIVED.get((key, name), DERIVED.get(name))
        if frame[name].dtype.kind not in ("fiub" if derived else "fiu") or (name in WHERE and not derived):
            continue
        value_n = frame[name].to_numpy(np.float64, na_value=np.nan)
        if derived is not None:
            again_n = np.asarray(derived(frame, run(code)), np.float64)
            odd = (
                np.ones(len(value_n), bool)
                if len(again_n) != len(value_n)
                else ~np.isclose(value_n, again_n, rtol=DIGITS, atol=1e-15, equal_nan=True)
            )
        elif name in RECORDED and "record" in run(code):
            odd = ~np.isin(value_n, RECORDED[name](run(code)["record"]).astype(np.float64))
        else:
            odd = ~is_among(value_n, known(code))
        if name == "hits":
            odd &= ~np.isclose(value_n, frame["kept"] / frame["kept"].max())  # an even router: C of E
        odd &= np.isfinite(value_n)
        if odd.any():
            found[name] = float(value_n[odd][0])
    return found


def is_among(value_n: np.ndarray, known_n: np.ndarray) -> np.ndarray:
    at = np.searchsorted(known_n, value_n)
    near = [known_n[np.clip(at + step, 0, len(known_n) - 1)] for step in (-1, 0)] if len(known_n) else [np.nan]
    return np.any([np.isclose(value_n, each, rtol=DIGITS, atol=1e-15) for each in near], axis=0)


EVERY_SCOPE = [pytest.param(scope, marks=[] if scope in QUICK else pytest.mark.slow, id=scope) for scope in SCOPES]


@pytest.mark.parametrize("scope", EVERY_SCOPE)
@pytest.mark.parametrize("visit", EVERY_VISIT)
def test_a_snippet_gives_the_numbers_of_its_figure(opened, visit, scope):
    page, own, state = VISITS[visit]
    view, figures = opened(page, SCOPES[scope] | own, state)
    assert [each.value for each in view.code if each.language == "python"] == [
        each.code for each in figures if each.code
    ]
    assert {each.key for each in figures} >= KEYS.get(visit, set()) or scope in LACKS.get(visit, ())
    wrong = {}
    for each in figures:
        assert not re.search(r"\bnan\b", each.takeaway), each.takeaway
        if each.code and each.frame is not None and page != "guide":
            odd = strangers(each.key, each.frame(), each.code)
            if odd and each.key not in BEYOND:
                wrong[each.key] = odd
            assert not each.beyond or each.key in BEYOND
        assert each.code or page == "guide", each.key
    assert not wrong


def test_a_study_of_which_a_part_is_at_hand_says_how_many_tokens_its_figures_count(opened):
    view, _ = opened("layers", SCOPES["study"], {})
    record = corpus()
    own = np.count_nonzero((record.flag_t & (Flag.SPECIAL | Flag.TEMPLATE)) == 0)
    said = f"N = {own:,} tokens of {len(record.documents)} documents"
    assert any(said in each.value.replace("\\", "") for each in view.caption)
    view, _ = opened("layers", SCOPES["slice of a study"], {})
    assert any("the first of a larger study" in each.value for each in view.caption)
