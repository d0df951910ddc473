"""Where nothing is compared yet: what to compare with, and how routing settled during training."""

from functools import partial

import numpy as np
import streamlit as st

from gatescope.analysis.comparison.saturation import saturation
from gatescope.analysis.tally.prefixes import first_of_prefix
from gatescope.app.components import Pick, matrix
from gatescope.app.shell import address
from gatescope.app.shell.figure import answering, chart, figure
from gatescope.app.shell.page import Page
from gatescope.app.shell.session import server
from gatescope.app.views.compare.relation_figure import left_out
from gatescope.app.views.compare.training_figure import (
    NOTHING,
    Settling,
    settling,
    settling_frame,
    settling_plot,
    settling_scale,
    settling_words,
)
from gatescope.models.bundled_captures import history
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names
from gatescope.server.measures import Reading, note
from gatescope.server.memo_cache import MemoCache
from gatescope.server.server import corpus_of
from gatescope.server.settings import settings
from gatescope.server.sources import Scope, facet_mask, shipped_ids

_histories = MemoCache()
IMPORTS = (
    "from gatescope.analysis.tally.prefixes import first_of_prefix",
    "from gatescope.analysis.comparison.saturation import saturation",
    "from gatescope.models.bundled_captures import history",
)
EARLY = 3
"""Which step of a training is offered first: early, but not untrained."""


def steps_of(model: str) -> list[str]:
    """The captures over a bundled model's training, in order."""
    return [id for id in shipped_ids(model) if id.startswith("step")]


def model_of(id: str) -> str:
    """The bundled model that a shipped capture is of; nothing for any other."""
    return id.partition(".")[2]


def choose(page: Page) -> None:
    """Three ways to a capture B, each one press."""
    st.info("Nothing is compared yet. Choose B in the side column, or begin with one of these:", icon=":material/info:")
    mine = model_of(page.source.id) or page.view.model
    with st.container(horizontal=True):
        if (other := _other_model(mine)) is not None:
            _offer(
                f"Another model: {model_of(other)}", other, "What two models share, whatever they call their experts."
            )
        if steps := steps_of(mine):
            early = steps[min(EARLY, len(steps) - 1)]
            step = early.partition(".")[0].removeprefix("step")
            _offer(f"An earlier moment: step {int(step):,}", early, "The same tokens, before most of the training.")
        st.button(
            "Another text",
            on_click=_second_text,
            args=(page,),
            help="Run a text of your own, then come back here: what you look at now is kept as B.",
            key="compare-text",
        )


def _other_model(mine: str) -> str | None:
    others = [corpus_of(model) for model in settings().offered if model != mine]
    return next((id for id in others if id is not None), None)


def _offer(label: str, id: str, says: str) -> None:
    st.button(label, on_click=address.change, kwargs={"reference": id}, help=says, key=f"compare-{id}")


def _second_text(page: Page) -> None:
    """Go to the box for a text; what is looked at stays as B, of a corpus the model's example."""
    welcome = f"welcome.{page.view.model}"
    kept = page.source.id if page.source.kind == "text" or welcome not in shipped_ids(page.view.model) else welcome
    address.visit("prompt", **address.NO_PINS | {"reference": kept, "capture": None})


def show_settling(page: Page, *, model: str) -> None:
    """The training of a bundled model, step by step."""
    question = "How did routing settle during training?"
    if not steps_of(model):
        return
    with answering(question):
        facet = page.scope.facet
        found, tokens, documents, repeated = _histories.get((model, facet), partial(_settled, model, facet))
        last = server().find_source(steps_of(model)[-1])
        note(Reading(source=last, scope=Scope(facet=facet), code=_python(model), imports=IMPORTS))
        population = f"N = {tokens:,} tokens of {documents:,} documents of the probe set, all of them"
        population += left_out(repeated)
        words = settling_words(found, model=model, population=population)
        with figure(words, key="settling", of=last, frame=lambda: settling_frame(found), is_chart=True):
            chart(settling_plot(found), words, key="settling-chart")
            matrix(
                found.share_sl,
                rows=[f"{step:,}" for step in found.steps],
                columns=list(found.names),
                row_noun="step",
                column_noun="layer",
                scale=settling_scale(),
                pinned=None,
                key="settling-matrix",
                description=words.takeaway,
                on_pick=partial(_take_step, steps_of(model)),
                on_row=lambda row: _take_step(steps_of(model), Pick(row, 0)),
            )
            st.caption("Click a step to compare with it.")


def _python(model: str) -> str:
    return f"""moments = history("{model}")
rows_t = is_counted_t & first_of_prefix(record)
found = saturation([moment.record.take(rows_t) for moment in moments])"""


def _settled(model: str, facet: str) -> tuple[Settling, int, int, int]:
    moments = history(model)
    rows_t = facet_mask(moments[-1].record, facet)
    if not rows_t.any():
        raise OptionError(
            "no token of that kind", expected="tokens that were read", do="let the text's own tokens count"
        )
    fresh_t = rows_t & first_of_prefix(moments[-1].record)
    repeated = int(np.count_nonzero(rows_t) - np.count_nonzero(fresh_t))
    records = [moment.record.take(fresh_t) for moment in moments]
    names = layer_names(records[-1].layers)
    steps, tokens = [moment.step for moment in moments], [moment.tokens for moment in moments]
    found = settling(steps, tokens, saturation(records), names)
    if (found.null_sl[-1] >= 1 - NOTHING).all():
        raise OptionError(
            "tokens that all go to the same experts",
            expected="tokens that the final model tells apart",
            do="let the text's own tokens count",
        )
    return found, records[-1].tokens, len(records[-1].documents), repeated


def _take_step(steps: list[str], pick: Pick | None) -> None:
    if pick is not None and pick.row is not None and pick.row < len(steps):
        address.change(reference=steps[pick.row])
