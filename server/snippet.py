"""Python that repeats a figure's numbers, written from what was read while the figure was computed.

    snippet(noted())

One block for each source and scope: how to get at its routes, then every measure with the tokens, the label and the
resamples that the page took. What a study's files hold is read from them: its routes may be too many to be at hand.
Two captures side by side have a block of their own: the tokens that both hold, then what is computed of them.
"""

import json
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from gatescope.server.document_ranges import runs
from gatescope.server.measures import LIVE_RESAMPLES, Paired, Reading
from gatescope.server.sources import TOKEN_ROLES, Scope, Source, label_of
from gatescope.studies.results import NAME as RESULTS
from gatescope.studies.results import TALLY

CUT = "# the first documents of the study: the page has no more of its routes at hand"


class Stored(NamedTuple):
    """How often labels and documents were drawn when a study was analysed, and from which seed."""

    resamples: int
    seed: int


def snippet(readings: Sequence[Reading]) -> str:
    """The Python of all that was read; empty where nothing was."""
    imports: set[str] = set()
    named: set[str] = set()
    blocks = []
    in_order = sorted(readings, key=_place(readings))
    for (source, paired), own in groupby(in_order, key=lambda reading: (reading.source, reading.paired)):
        found = list(own)
        lines = _of_source(source, found, imports, named) if paired is None else _of_pair(paired, found, imports)
        blocks.append("\n".join(lines))
    return "\n".join((*sorted(imports), "", "\n\n".join(blocks))) if blocks else ""


def _place(readings: Sequence[Reading]) -> Callable[[Reading], tuple[int, int, bool, int]]:
    """Readings of one source, B and scope together, in the order in which they were first met."""
    sources = list(dict.fromkeys(id(reading.source) for reading in readings))
    others = list(dict.fromkeys(reading.paired for reading in readings))
    scopes = list(dict.fromkeys(reading.scope for reading in readings))
    return lambda reading: (
        sources.index(id(reading.source)),
        others.index(reading.paired),
        not reading.is_stored,
        scopes.index(reading.scope),
    )


def _of_source(source: Source, readings: Sequence[Reading], imports: set[str], named: set[str]) -> list[str]:
    lines = []
    kept = [reading for reading in readings if reading.is_stored and (source.is_study or reading.code)]
    if kept:
        lines += _of_files(source, kept, imports, named)
    others = [reading for reading in readings if reading not in kept]
    for scope, own in groupby(others, key=lambda reading: reading.scope):
        lines += _of_scope(source, scope, list(own), imports, named)
    return lines


def _of_files(source: Source, readings: Sequence[Reading], imports: set[str], named: set[str]) -> list[str]:
    """What was computed before, read from the files it is kept in."""
    lines = [f"analysed = {_folder(source, imports)}"]
    if any(reading.metric for reading in readings):
        imports.add("from gatescope.studies.results import read_results")
        lines.append(f'results = read_results(analysed / "{RESULTS}")')
    for reading in readings:
        imports.update(reading.imports)
        name = _name(reading, named) if reading.metric else ""
        lines.append(f'{name} = results["{reading.metric}", "{reading.by}"]' if name else reading.code)
        lines += _then(reading, name, imports)
    return lines


def _then(reading: Reading, name: str, imports: set[str]) -> list[str]:
    """What the figure makes of a result."""
    if "np." in reading.then:
        imports.add("import numpy as np")
    return [reading.then.replace("{}", name)] if reading.then else []


def _folder(source: Source, imports: set[str]) -> str:
    """Where the results of a source are kept."""
    _, _, model = source.id.partition(".")
    if model:
        imports.add("from gatescope.models.bundled_captures import folder_of")
        return f'folder_of("{model}") / "probe"'
    imports.add("from gatescope.server.places import place_of")
    return f"place_of({_study(source, imports)}).analysed"


def _study(source: Source, imports: set[str]) -> str:
    """Where a study stands, whichever workspace that is."""
    imports.add("from gatescope.server.settings import settings")
    imports.add("from gatescope.server.places import find_named")
    return f'find_named(settings().workspace, "{source.id}")'


def _of_scope(
    source: Source, scope: Scope, readings: Sequence[Reading], imports: set[str], named: set[str]
) -> list[str]:
    is_file = source.is_study and scope.is_whole and source.counts is not None
    called = "\n".join(reading.code for reading in readings)
    is_counted = any(reading.metric or "(counts" in reading.code for reading in readings)
    lines = _record(source, scope, imports) if "record" in called or not is_file else []
    if "is_counted_t" in called:
        imports.update(("import numpy as np", "from gatescope.analysis.tally.tally import TokenRole, token_roles"))
        lines.append(f"is_counted_t = np.isin(token_roles(record), [{facet_names(scope)}])")
    if is_counted:
        lines.append(_counts(source, imports, is_file=is_file))
    if any(reading.metric for reading in readings):
        imports.update(
            ("from gatescope.analysis.metrics import METRICS", "from gatescope.analysis.registry import MetricOptions")
        )
    for reading in readings:
        imports.update(reading.imports)
        if reading.metric:
            name = _name(reading, named)
            lines.append(f'{name} = METRICS["{reading.metric}"](counts, {_ask(reading, imports)})')
            lines += _then(reading, name, imports)
        else:
            lines.append(reading.code)
    return lines


def _of_pair(paired: Paired, readings: Sequence[Reading], imports: set[str]) -> list[str]:
    """Two captures, token under token."""
    source = readings[0].source
    lines = [f"record = {_whole(source, imports)}", *([CUT] if source.is_cut else [])]
    is_same = paired.source.id == source.id
    lines += ["other = record"] if is_same else [f"other = {_whole(paired.source, imports)}"]
    lines += [CUT] if paired.source.is_cut and not is_same else []
    for scope, own in groupby(readings, key=lambda reading: reading.scope):
        calls = list(own)
        if paired.document is not None:
            lines += _of_two_documents(scope, paired.document, calls, imports)
        else:
            lines += _of_same_tokens(source, scope, imports)
        for reading in calls:
            imports.update(reading.imports)
            lines.append(reading.code)
    return lines


def _of_two_documents(scope: Scope, number: int, calls: Sequence[Reading], imports: set[str]) -> list[str]:
    """One document of each capture; `is_counted_t` says which tokens of A's count, where it is asked for."""
    lines = [
        f"first = record.of_documents({list(scope.documents or (0,))})",
        f"second = other.of_documents([{number}])",
    ]
    if any("is_counted_t" in reading.code for reading in calls):
        lines += _counted_of_first(scope, imports)
    return lines


def _of_same_tokens(source: Source, scope: Scope, imports: set[str]) -> list[str]:
    """The tokens of a scope in all documents that two captures share; a beginning that comes again counts once."""
    imports.update(
        (
            "from gatescope.analysis.comparison.compare import paired, same_documents",
            "from gatescope.analysis.tally.prefixes import first_of_prefix",
        )
    )
    lines = ["pairs = same_documents(record, other)"]
    if scope.documents is not None:
        lines.append(f"chosen = {_documents(source, scope.documents)}")
        lines.append("pairs = tuple(pair for pair in pairs if pair[0] in chosen)")
    return [
        *lines,
        "first, second = paired(record, other, pairs)",
        *_counted_of_first(scope, imports),
        "is_counted_t &= first_of_prefix(first)",
        "first, second = first.take(is_counted_t), second.take(is_counted_t)",
    ]


def _counted_of_first(scope: Scope, imports: set[str]) -> list[str]:
    imports.update(("import numpy as np", "from gatescope.analysis.tally.tally import TokenRole, token_roles"))
    lines = [f"is_counted_t = np.isin(token_roles(first), [{facet_names(scope)}])"]
    if (span := scope.span) is not None:
        lines.append(f"is_counted_t &= (first.position_t >= {span.first}) & (first.position_t <= {span.last})")
    return lines


def _record(source: Source, scope: Scope, imports: set[str]) -> list[str]:
    """The routes of a scope."""
    lines = [f"record = {_whole(source, imports)}", *([CUT] if source.is_cut else [])]
    if scope.documents is not None:
        lines.append(f"record = record.of_documents({_documents(source, scope.documents)})")
    if scope.span is not None:
        lines.append(f"record = record.take(slice({scope.span.first}, {scope.span.last + 1}))")
    return lines


def _whole(source: Source, imports: set[str]) -> str:
    what, _, model = source.id.partition(".")
    if model and what in ("probe", "welcome"):
        imports.add(
            "from gatescope.models.bundled_captures import load_probe_capture"
            if what == "probe"
            else "from gatescope.models.bundled_captures import load_welcome_capture"
        )
        return f'{"load_probe_capture" if what == "probe" else "load_welcome_capture"}("{model}")'
    if model:
        imports.add("from gatescope.models.bundled_captures import history")
        step = int(what.removeprefix("step"))
        return f'next(moment.record for moment in history("{model}") if moment.step == {step})'
    if source.is_study:
        imports.add("from gatescope.server.sources import read_study")
        return f'read_study("{source.id}", {_study(source, imports)}).record'
    imports.add("from gatescope.server.settings import settings")
    if source.is_elsewhere:
        imports.add("from gatescope.server.places import capture_file")
        imports.add("from gatescope.server.sources import read_capture")
        return f'read_capture("{source.id}", capture_file(settings().workspace, "{source.id}")).record'
    imports.add("from gatescope.cache.store import Store")
    return f'Store(settings().workspace).get("{source.id}")  # GATESCOPE_WORKSPACE names the folder'


def _documents(source: Source, numbers: tuple[int, ...]) -> str:
    """Documents by a label, where they are all that bear it; else by number."""
    if (found := label_of(source, numbers)) is not None:
        by, label = found
        return f"[at for at, each in enumerate(record.documents) if each.{by} == {label!r}]"
    if list(numbers) != sorted(numbers):
        return str(list(numbers))
    parts = (str(a) if a == b else f"*range({a}, {b + 1})" for a, b in runs(numbers))
    return f"[{', '.join(parts)}]"


def _counts(source: Source, imports: set[str], *, is_file: bool) -> str:
    if is_file:
        imports.add("from gatescope.studies.results import read_tally")
        return f'counts = read_tally({_folder(source, imports)} / "{TALLY}")'
    imports.add("from gatescope.analysis.counting import tally")
    return "counts = tally(record)"


def _ask(reading: Reading, imports: set[str]) -> str:
    drawn = stored(reading.source) if reading.is_stored else Stored(LIVE_RESAMPLES, 0)
    parts = [f"resamples={drawn.resamples}", f"seed={drawn.seed}"]
    if reading.scope.facet != "own":
        imports.add("from gatescope.analysis.tally.tally import TokenRole")
        parts.insert(0, f"facets=({facet_names(reading.scope)},)")
    if reading.by:
        parts.insert(0, f'by="{reading.by}"')
    return f"MetricOptions({', '.join(parts)})"


def facet_names(scope: Scope) -> str:
    """The facets of a scope, as Python names them."""
    return ", ".join(f"TokenRole.{facet.name}" for facet in TOKEN_ROLES[scope.facet])


def stored(source: Source) -> Stored:
    """What a study was analysed with, as its `study.json` says."""
    file = None if source.analysis is None else source.analysis / "study.json"
    asked = json.loads(file.read_text("utf-8"))["asked"] if file is not None and file.exists() else {}
    return Stored(int(asked.get("resamples", 1000)), int(asked.get("seed", 0)))


def _name(reading: Reading, named: set[str]) -> str:
    """A variable for a result: the metric's name, and what tells it from another of that name."""
    start = f"{reading.metric}_by_{reading.by}" if reading.by else reading.metric
    name, number = start, 1
    while name in named:
        number += 1
        name = f"{start}_{number}"
    named.add(name)
    return name
