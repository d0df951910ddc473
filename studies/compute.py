"""From documents and a model to results: capture, tally and compute, one batch at a time."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from gatescope.analysis.labels.common_support import CommonSupport, PairSupport, common_support, support_of_pairs
from gatescope.analysis.labels.composition import Composition, composition
from gatescope.analysis.labels.profiles import OTHER
from gatescope.analysis.labels.vocabulary import Word, token_table
from gatescope.analysis.metrics import METRICS
from gatescope.analysis.quality.data_warnings import DataWarning, lint
from gatescope.analysis.registry import Metric, MetricOptions, Result, current_name
from gatescope.analysis.tally.tally import Tally, label_numbers
from gatescope.cache.study import StudyFolder
from gatescope.routing.errors import GatescopeError, OptionError
from gatescope.routing.record import Flag, RoutingRecord
from gatescope.studies.adding_up import first_routes, whole_tally
from gatescope.studies.neighbours import Near, near
from gatescope.studies.presets import Preset, preset

if TYPE_CHECKING:  # torch takes seconds to import
    pass

Progress = Callable[[str, int, int], None]
KEPT_TOKENS = 200_000
"""Tokens of raw routing kept beside the tally, for what needs every token (composition); documents in order."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What a study computes: metrics by name (none: all), by which labels, and how often labels are shuffled.

    Without `words`, nothing that names a token is made.
    """

    metrics: tuple[str, ...] = ()
    preset: str = ""
    words: bool = True
    by: tuple[str, ...] = ("domain", "language")
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.metrics if current_name(name) not in METRICS]
        if unknown:
            raise OptionError(
                f"the metrics {', '.join(unknown)}", expected=f"some of {', '.join(METRICS)}", do="choose among those"
            )
        if not set(self.by) <= {"domain", "language"}:
            raise OptionError(f"by {', '.join(self.by)}", expected="domain, language or both", do="choose among those")


class Supported(NamedTuple):
    """What experts tell of a label under one mix of words, layer by layer: of all labels together, and of every two."""

    names: tuple[str, ...]
    layers: tuple[CommonSupport, ...]
    pairs: tuple[PairSupport, ...]


@dataclass(frozen=True, kw_only=True)
class Study:
    """Results by metric and label (empty for metrics that compare no groups), and what could not be computed, with why.

    `composition` holds, by label, of how many tokens it speaks, and layer by layer how much of what experts tell of the
    label the words alone explain; `common_support`, by label, what they tell under one mix of words. `warnings` are
    known artefacts found in what was recorded. `words` are, by layer and expert, the words most clearly its own; `more`
    are tables of a preset; `near` says who is near whom by routing. `lacks` says what a study that is not whole lacks.
    """

    tally: Tally
    chosen: Chosen
    results: dict[tuple[str, str], Result] = field(default_factory=dict)
    composition: dict[str, tuple[int, tuple[Composition, ...]]] = field(default_factory=dict)
    common_support: dict[str, Supported] = field(default_factory=dict)
    skipped: dict[tuple[str, str], str] = field(default_factory=dict)
    warnings: tuple[DataWarning, ...] = ()
    words: tuple[tuple[tuple[Word, ...], ...], ...] = ()
    more: dict[str, pd.DataFrame] = field(default_factory=dict)
    near: Near | None = None
    lacks: tuple[str, ...] = ()

    @property
    def labels(self) -> dict[str, Counter[str]]:
        """How many documents have each domain and each language."""
        found: dict[str, Counter[str]] = {"domain": Counter(), "language": Counter()}
        for unit in self.tally.units:
            found["domain"][unit.domain] += unit.documents
            found["language"][unit.language] += unit.documents
        return found


def study_of_folder(
    folder: StudyFolder,
    chosen: Chosen,
    *,
    partial: bool = False,
    on_progress: Progress = lambda _what, _done, _total: None,
) -> Study:
    """Everything chosen of a captured corpus; if `partial`, of its blocks that are whole, saying what it lacks.

    Errors: StoreError for a study that is not whole; CaptureDamagedError; OptionError for a folder of none.
    """
    lacks = tuple(folder.lacking()) if partial else ()
    whole = whole_tally(folder, lambda done, total: on_progress("adding up", done, total), partial=partial)
    found = computed(whole, first_routes(folder, KEPT_TOKENS), chosen, on_progress=on_progress)
    return replace(found, lacks=lacks)


def computed(whole: Tally, record: RoutingRecord | None, chosen: Chosen, *, on_progress: Progress) -> Study:
    """Every chosen metric of a tally; `record` is the raw routing that was kept, if any was."""
    plan = preset(chosen.preset) if chosen.preset else Preset(chosen.metrics, "", {})
    names = tuple(map(current_name, plan.metrics)) or tuple(METRICS)
    jobs = [(METRICS[name], by) for name in names for by in _labels_of(METRICS[name], chosen)]
    found = Study(tally=whole, chosen=chosen)
    steps = _Steps(len(jobs) + (0 if record is None or plan.metrics else _steps_of_tokens(record, chosen)), on_progress)
    for metric, by in jobs:
        steps.begin(metric.title)
        try:
            found.results[metric.name, by] = metric(
                whole, MetricOptions(by=by, resamples=chosen.resamples, seed=chosen.seed)
            )
        except GatescopeError as reason:
            found.skipped[metric.name, by] = f"{reason.found}; needs {reason.expected}"
    whole_results = {name: result for (name, _), result in found.results.items()}
    found = replace(found, warnings=lint(whole, whole_results, record))
    if record is None:
        found.skipped["composition", ""] = "counts alone were kept; needs the routes of tokens"
    else:
        found = _of_tokens(found, record.take((record.flag_t & (Flag.SPECIAL | Flag.TEMPLATE)) == 0), plan, steps)
    on_progress("computed", steps.total, steps.total)
    return found


class _Steps:
    """What is computed one after another, told as it begins; whoever is told may end it there."""

    def __init__(self, total: int, on_progress: Progress) -> None:
        self.total, self._done, self._tell = total, 0, on_progress

    def begin(self, what: str) -> None:
        self._tell(what, self._done, self.total)
        self._done += 1


def _steps_of_tokens(record: RoutingRecord, chosen: Chosen) -> int:
    """How many steps `_of_tokens` has for a study without a preset."""
    return 3 * len(chosen.by) + (len(record.layers) if chosen.words else 0) + 1


def _of_tokens(found: Study, own: RoutingRecord, plan: Preset, steps: _Steps) -> Study:
    """What needs the routes themselves: composition, words of experts, neighbours, and the tables of a preset."""
    if plan.metrics:
        return replace(found, more={name: make(own) for name, make in plan.tables.items()})
    for by in found.chosen.by:
        _compose(found, own, by, steps)
    words = []
    for rule in own.layers if found.chosen.words else ():
        steps.begin(f"Words of the experts of layer {rule.layer}")
        words.append(token_table(own, rule.layer))
    steps.begin("Which documents are near each other")
    return replace(found, words=tuple(words), near=near(found.tally, own, seed=found.chosen.seed))


def _labels_of(metric: Metric, chosen: Chosen) -> tuple[str, ...]:
    """What a metric is asked by: each chosen label it knows, or nothing."""
    return tuple(by for by in metric.by if not by or by in chosen.by) if metric.by else ("",)


def _compose(found: Study, own: RoutingRecord, by: str, steps: _Steps) -> None:
    """How much of what experts tell of a label the words explain; chance is taken within the other label."""
    labels_d, names = label_numbers([getattr(document, by) for document in own.documents])
    if len(names) < 2:
        found.skipped["composition", by] = f"{len(names)} {by}s among {len(own.documents)} documents; needs two"
        return
    other_d, _ = label_numbers([getattr(document, OTHER[by]) for document in own.documents])
    settings: dict[str, Any] = {
        "strata_d": other_d,
        "permutations": max(found.chosen.resamples, 1),
        "seed": found.chosen.seed,
    }
    arrays = own.ids_tlk, own.token_t, own.document_t, labels_d
    steps.begin(f"Composition against context, by {by}")
    layers = composition(*arrays, **settings)
    found.composition[by] = int(np.count_nonzero(labels_d[own.document_t] >= 0)), layers
    steps.begin(f"Every two {by}s with the same words equally often")
    pairs = support_of_pairs(*arrays, **settings) if len(names) > 2 else ()
    steps.begin(f"All {by}s with the same words equally often")
    found.common_support[by] = Supported(names, common_support(*arrays, **settings), pairs)
