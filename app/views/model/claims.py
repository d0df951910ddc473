"""What is popularly said of such models, checked on the one that is looked at."""

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from gatescope.analysis.claims.claims import MORE, NEEDED, check_claims
from gatescope.analysis.labels.composition import composition
from gatescope.analysis.labels.profiles import OTHER
from gatescope.analysis.labels.verdict import Evidence, Left, Verdict, left_of, left_of_columns
from gatescope.analysis.registry import Result
from gatescope.analysis.tally.tally import label_numbers
from gatescope.app.components.links import linked
from gatescope.app.shell import address
from gatescope.app.shell.figure import Words, answering, figure
from gatescope.app.shell.navigation import find_pages
from gatescope.app.shell.session import server
from gatescope.app.views.model.claims_figure import claims_frame, claims_list, claims_takeaway
from gatescope.models import BUNDLED_MODELS
from gatescope.routing.errors import CaptureNotFoundError, OptionError
from gatescope.routing.record import Flag, RoutingRecord
from gatescope.routing.router import RouterRule
from gatescope.server.measures import LIVE_RESAMPLES, Reading, measure, note, own_tokens, table
from gatescope.server.memo_cache import MemoCache
from gatescope.server.server import corpus_of
from gatescope.server.settings import settings
from gatescope.server.sources import WHOLE, Source
from gatescope.server.view import View

if TYPE_CHECKING:  # torch takes seconds to import
    from gatescope.hooks import LoadedModel
    from gatescope.routing.parameters import Parameters

QUESTION = "What is said of such models, and does it hold of this one?"
QUICK_TOKENS = 5_000
"""Tokens up to which claims are checked without being asked for, where nothing was analysed before."""

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
    "from gatescope.hooks.weights_count import count_weights",
    "from gatescope.models import BUNDLED_MODELS",
)
"""What the Python of the verdicts needs."""

_left = MemoCache()


def show_claims(view: View, model: "LoadedModel") -> None:
    """Draw every claim with its verdict, from a corpus that this model read."""
    with answering(QUESTION):
        source = corpus_for(view, model)
        if source is not None and not _is_wanted(source):
            return
        known = evidence(source, model.layers, _weights(model))
        verdicts = check_claims(known)
        if source is not None:
            code = _verdicts_python(known, view.model)
            note(Reading(source=source, scope=WHOLE, code=code, imports=IMPORTS))
        words = Words(
            question=QUESTION,
            takeaway=claims_takeaway(verdicts),
            population=_population(source, verdicts),
            null="dotted: what chance, or an even router, gives",
            badge="observed",
            says=(
                ("What counts", "A claim holds where at least half of the layers bear it out, unless it says more."),
            ),
        )
        titles = {page.address: page.title for page in find_pages()}
        bare = _bare_python(view.model) if source is None else ""
        with figure(words, key="claims", of=source, code=bare, frame=lambda: claims_frame(verdicts)):
            linked(
                claims_list(verdicts, lambda verdict: _why(verdict, source, titles)),
                key="claims-list",
                on_follow=address.visit_link,
            )
            if source is None:
                st.button("Study a corpus with this model", on_click=address.visit, args=("library",))


def corpus_for(view: View, model: "LoadedModel") -> Source | None:
    """The corpus looked at, where this model read it, else the one that ships with the model; None without any.

    Routes that an intervention changed say nothing of the model.
    """
    fingerprint = model.provenance().fingerprint
    for id in filter(None, (view.capture, corpus_of(view.model))):
        try:
            source = server().find_source(id)
        except CaptureNotFoundError:
            continue
        made = source.record.provenance
        if source.kind == "corpus" and made.fingerprint == fingerprint and not made.intervention:
            return source
    return None


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
    said = "".join(f", {option}={value!r}" for option, value in chosen.items() if value not in ("", "auto"))
    return f"load_model({source}{said})"


def _is_wanted(source: Source) -> bool:
    """Whether to check now: at once where it is quick, else when the reader asks."""
    if source.analysis is not None or source.record.tokens <= QUICK_TOKENS:
        return True
    key = f"claims-of-{source.id}"
    if not st.session_state.get(key):
        st.subheader(QUESTION, anchor=False)
        st.button(f"Check it on {source.record.tokens:,} tokens", on_click=_want, args=(key,))
    return bool(st.session_state.get(key))


def _want(key: str) -> None:
    st.session_state[key] = True


def _weights(model: "LoadedModel") -> "Parameters":
    from gatescope.hooks.weights_count import count_weights  # torch is imported by now: the model is loaded

    return count_weights(model)


def _population(source: Source | None, verdicts: tuple[Verdict, ...]) -> str:
    if source is None:
        return "no corpus was read by this model yet"
    most = max(verdicts, key=lambda verdict: verdict.tokens)
    return f"{source.name}: N = {most.tokens:,} tokens of {most.documents:,} documents"


def _why(verdict: Verdict, source: Source | None, titles: dict[str, str]) -> tuple[str, str] | None:
    """Address and name of the page that shows why; none where there is nothing to show."""
    if source is None or verdict.page not in titles or verdict.page == "model" or verdict.holds == "does not apply":
        return None
    by = "language" if verdict.name == "language" else "domain"
    parts = address.NO_PINS | {"capture": source.id, "facet": "own", "by": by}
    return address.link(verdict.page, **parts), titles[verdict.page]
