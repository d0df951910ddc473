"""Popular claims, what they are judged by, and the verdicts as HTML and as a table. Every text in it is escaped."""

from collections import Counter
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gatescope.analysis.claims.claims import MORE, NEEDED, check_claims
from gatescope.analysis.labels.composition import composition
from gatescope.analysis.labels.profiles import OTHER
from gatescope.analysis.labels.verdict import Evidence, Holds, Left, Verdict, left_of, left_of_columns
from gatescope.analysis.registry import Result
from gatescope.analysis.tally.tally import label_numbers
from gatescope.app.charts.figure import Figure, Html
from gatescope.models import BUNDLED_MODELS
from gatescope.routing.errors import OptionError
from gatescope.routing.record import Flag, RoutingRecord
from gatescope.routing.router import RouterRule
from gatescope.server.measures import LIVE_RESAMPLES, Reading, measure, note, own_tokens, table
from gatescope.server.memo_cache import MemoCache
from gatescope.server.settings import settings
from gatescope.server.sources import WHOLE, Source

if TYPE_CHECKING:  # torch takes seconds to import
    from gatescope.routing.parameters import Parameters

OWN = "own = record.take((record.flag_t & (Flag.SPECIAL | Flag.TEMPLATE)) == 0)"
COMPUTED = (
    "from gatescope.analysis.labels.composition import composition",
    "from gatescope.analysis.tally.tally import label_numbers",
    "from gatescope.analysis.labels.verdict import left_of",
)
IMPORTS = (
    "from gatescope.analysis.claims.claims import check_claims",
    "from gatescope.analysis.labels.verdict import Evidence",
    "from gatescope.hooks import load_model",
    "from gatescope.hooks.loading.weights_count import count_weights",
    "from gatescope.models import BUNDLED_MODELS",
)
"""What the Python of the verdicts needs."""

_left = MemoCache()

MARKS: dict[Holds, tuple[str, str]] = {
    "holds": ("✓", "yes"),
    "does not hold": ("✗", "no"),
    "not enough data": ("?", "open"),
    "does not apply": ("–", "none"),
}
"""Sign and style of each verdict; the word stands beside the sign."""

STYLE = """<style>
.claims { --faint: color-mix(in srgb, currentColor 16%, transparent); list-style: none; margin: 0; padding: 0;
  font: 400 .9375rem/1.5 var(--st-font); color: var(--st-text-color); }
.claims > li { display: grid; grid-template-columns: 10rem minmax(0, 1fr); gap: 0 1rem; margin: 0;
  padding: .7rem 0 .75rem; border-top: 1px solid var(--faint); }
.claims > li:first-child { border-top: 0; }
.claims p { margin: 0 0 .15rem; text-wrap: pretty; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.claims .said { font-weight: 600; }
.claims .chip { justify-self: start; align-self: start; border: 1.5px solid; border-radius: 1rem; padding: 0 .6rem;
  font-size: .8125rem; line-height: 1.5rem; white-space: nowrap; }
.claims .chip b { margin-right: .3rem; }
.claims .chip.yes { font-weight: 600; }
.claims .chip.open, .claims .chip.none { border-style: dashed; }
.claims .null::before { content: ""; display: inline-block; width: 1.2rem; border-top: 2px dotted;
  margin: 0 .4rem .25em 0; }
.claims .more { display: flex; flex-wrap: wrap; gap: 0 1.4rem; }
.claims details { font-size: .875rem; margin-top: .1rem; }
.claims summary { cursor: pointer; min-height: 24px; }
.claims summary:focus-visible { outline: 3px solid; outline-offset: 1px; }
.claims a { display: inline-block; min-height: 24px; }
@media (max-width: 640px) { .claims > li { grid-template-columns: minmax(0, 1fr); gap: .3rem; } }
</style>"""


def claims_list(verdicts: Sequence[Verdict], link: Callable[[Verdict], tuple[str, str] | None]) -> str:
    """Every claim with its verdict; `link` gives the address and the name of the page that shows why."""
    return f'{STYLE}<ul class="claims">{"".join(_item(verdict, link(verdict)) for verdict in verdicts)}</ul>'


def claims_takeaway(verdicts: Sequence[Verdict]) -> str:
    """How many hold, in a sentence.

    >>> claims_takeaway([])
    'Nothing was checked.'
    """
    number = Counter[str](verdict.holds for verdict in verdicts)
    sentence = [
        f"{number[holds]} {one if number[holds] == 1 else several}"
        for holds, one, several in (
            ("holds", "holds of this one", "hold of this one"),
            ("does not hold", "does not", "do not"),
            ("not enough data", "cannot be told yet", "cannot be told yet"),
            ("does not apply", "does not apply to it", "do not apply to it"),
        )
        if number[holds]
    ]
    return f"Of {number.total()} common claims, {', '.join(sentence)}." if sentence else "Nothing was checked."


def claims_frame(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Every number behind the verdicts, one a row; a verdict without numbers has one row. Layer -1: the whole model."""
    rows = []
    for verdict in verdicts:
        about = {"claim": verdict.claim, "verdict": verdict.holds, "tokens": verdict.tokens}
        about |= {"documents": verdict.documents}
        rows += [about | row._asdict() for row in verdict.rows] or [about]
    columns = ["claim", "verdict", "measure", "layer", "value", "low", "high", "null", "q", "tokens", "documents"]
    frame = pd.DataFrame(rows).reindex(columns=columns)
    return frame.astype({"layer": "Int64", "claim": "category", "verdict": "category", "measure": "category"})


def _item(verdict: Verdict, link: tuple[str, str] | None) -> str:
    sign, style = MARKS[verdict.holds]
    chip = f'<span class="chip {style}"><b aria-hidden="true">{sign}</b>{verdict.holds}</span>'
    null = f'<p class="null">{escape(verdict.null)}</p>' if verdict.null else ""
    why = f'<a href="{escape(link[0])}">See why: {escape(link[1])}</a>' if link else ""
    bar = f"<details><summary>When would it hold?</summary><p>{escape(verdict.bar)}</p></details>"
    sentence = f'<p class="said">{escape(verdict.claim)}</p><p>{escape(verdict.figure)}</p>'
    return f'<li>{chip}<div>{sentence}{null}<div class="more">{why}{bar}</div></div></li>'


def claims(
    source: Source | None, known: Evidence, model: str, why: Callable[[Verdict], tuple[str, str] | None]
) -> Figure:
    """Every claim with its verdict, from `known`; `why` is the address and the name of the page that shows why."""
    verdicts = check_claims(known)
    if source is not None:
        note(Reading(source=source, scope=WHOLE, code=_verdicts_python(known, model), imports=IMPORTS))
    return Figure(
        key="claims",
        takeaway=claims_takeaway(verdicts),
        population=_population(source, verdicts),
        null="dotted: what chance, or an even router, gives",
        badge="observed",
        says=(("What counts", "A claim holds where at least half of the layers bear it out, unless it says more."),),
        body=(Html(claims_list(verdicts, why), "claims-list"),),
        frame=lambda: claims_frame(verdicts),
        of=source,
        code=_bare_python(model) if source is None else "",
    )


def evidence(source: Source | None, layers: tuple[RouterRule, ...], parameters: "Parameters | None") -> Evidence:
    """All that the claims are judged by; what a capture does not hold is left out."""
    if source is None:
        return Evidence(layers=layers, tokens=0, documents=0, parameters=parameters)
    left = {by: found for by in OTHER if (found := _left_of(source, by)) is not None}
    return Evidence(
        layers=source.record.layers,
        tokens=own_tokens(source),
        documents=len(source.record.documents),
        results=_results(source),
        left=left,
        parameters=parameters,
    )


def _results(source: Source) -> dict[tuple[str, str], Result]:
    found = {}
    for name, by in (*NEEDED, *MORE):
        try:
            found[name, by] = measure(source, name, by=by)
        except OptionError:  # the verdict says what is missing
            continue
    return found


def _left_of(source: Source, by: str) -> Left | None:
    """What experts tell at the same word: as it was analysed, else computed now; None without two labels."""
    if (analysed := table(source, f"composition.{by}")) is not None:
        code = f"left_of_columns(lambda name: composition_{by}[name].to_numpy(np.float64))"
        _note_left(
            source, by, code, "import numpy as np", "from gatescope.analysis.labels.verdict import left_of_columns"
        )
        return left_of_columns(lambda name: analysed[name].to_numpy(np.float64))
    found = _left.get((*source.key, by), lambda: _computed(source.record, by))
    if found is not None:
        note(Reading(source=source, scope=WHOLE, code=OWN, imports=("from gatescope.routing import Flag",)))
        _note_left(source, by, _computed_python(by), *COMPUTED)
    return found


def _computed(record: RoutingRecord, by: str) -> Left | None:
    own = record.take((record.flag_t & (Flag.SPECIAL | Flag.TEMPLATE)) == 0)
    (label_d, names), (strata_d, _) = (
        label_numbers([getattr(document, label) for document in own.documents]) for label in (by, OTHER[by])
    )
    if len(names) < 2:
        return None
    arrays = own.ids_tlk, own.token_t, own.document_t, label_d
    return left_of(composition(*arrays, permutations=LIVE_RESAMPLES, strata_d=strata_d))


def _note_left(source: Source, by: str, code: str, *imports: str) -> None:
    note(Reading(source=source, scope=WHOLE, code=f"left_{by} = {code}", imports=imports))


def _computed_python(by: str) -> str:
    """What `_computed` does, of `record`."""
    return f"""left_of(
    composition(
        own.ids_tlk, own.token_t, own.document_t,
        label_numbers([document.{by} for document in own.documents])[0],
        permutations={LIVE_RESAMPLES},
        strata_d=label_numbers([document.{OTHER[by]} for document in own.documents])[0],
    )
)"""


def _verdicts_python(found: Evidence, model: str) -> str:
    """The verdicts, of results under the names that a snippet gives them."""
    results = "".join(f'    ("{name}", "{by}"): {name}{f"_by_{by}" if by else ""},\n' for name, by in found.results)
    left = ", ".join(f'"{by}": left_{by}' for by in found.left)
    return f"""weights = {_weights_python(model)}
results = {{
{results}}}
verdicts = check_claims(Evidence(
    layers=record.layers, tokens=int(is_counted_t.sum()), documents=len(record.documents),
    results=results, left={{{left}}}, parameters=weights,
))"""


def _bare_python(model: str) -> str:
    """The verdicts on a model that read no corpus."""
    lines = (
        *IMPORTS,
        "",
        f"model = {_loaded_python(model)}",
        "weights = count_weights(model)",
        "verdicts = check_claims(Evidence(layers=model.layers, tokens=0, documents=0, parameters=weights))",
    )
    return "\n".join(lines)


def _weights_python(model: str) -> str:
    return f"count_weights({_loaded_python(model)})"


def _loaded_python(model: str) -> str:
    """How the model is loaded, with what the settings ask for."""
    source = f'BUNDLED_MODELS["{model}"]' if model in BUNDLED_MODELS else repr(model)
    chosen = {option: getattr(settings(), option) for option in ("revision", "device", "dtype")}
    sentence = "".join(f", {option}={value!r}" for option, value in chosen.items() if value not in ("", "auto"))
    return f"load_model({source}{sentence})"


def _population(source: Source | None, verdicts: tuple[Verdict, ...]) -> str:
    if source is None:
        return "no corpus was read by this model yet"
    most = max(verdicts, key=lambda verdict: verdict.tokens)
    return f"{source.name}: N = {most.tokens:,} tokens of {most.documents:,} documents"
