"""Where nothing is compared yet: what to compare with, and how routing settled during training."""

import streamlit as st

from gatescope.app.charts.page import Page
from gatescope.app.components import Pick
from gatescope.app.shell import address
from gatescope.app.shell.figure import show
from gatescope.app.shell.session import server
from gatescope.app.views.compare.training_figure import settled
from gatescope.server.server import corpus_of
from gatescope.server.settings import settings
from gatescope.server.sources import shipped_ids

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
    st.info("Nothing is compared yet. Choose B above, or begin with one of these:", icon=":material/info:")
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
    steps = steps_of(model)
    if steps:
        show(
            "How did routing settle during training?",
            lambda: settled(model, page.scope.facet, server().find_source(steps[-1])),
            on_pick=lambda pick: _take_step(steps, pick),
            on_row=lambda row: _take_step(steps, Pick(row, 0)),
        )


def _take_step(steps: list[str], pick: Pick | None) -> None:
    if pick is not None and pick.row is not None and pick.row < len(steps):
        address.change(reference=steps[pick.row])
