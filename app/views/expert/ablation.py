"""Taking an expert away from the loaded model: asked for with a button, run in the model's queue, with Cancel."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import streamlit as st

from gatescope.analysis.comparison.ablation import Loss, as_busy, rises
from gatescope.app.charts.figure import Figure
from gatescope.app.charts.page import Page
from gatescope.app.shell.figure import show
from gatescope.app.shell.messages import plain, show_error
from gatescope.app.shell.session import server, watcher
from gatescope.app.views.expert.ablation_figure import QUESTION, ablation_figure
from gatescope.app.views.expert.profile_figure import Chosen
from gatescope.routing.errors import GatescopeError, ModelError, OptionError, explained
from gatescope.routing.record import RoutingRecord
from gatescope.server.jobs import Job, Phase, Tick
from gatescope.server.model_worker import ModelWorker
from gatescope.server.sources import select_routes

TEXTS = 12
POLL_SECONDS = 0.5
JOBS = "knock-out-jobs"


class Lost(NamedTuple):
    """What a knock-out found, the expert first, and on how much text."""

    losses: list[Loss]
    documents: int
    tokens: int


def knock_out(page: Page, chosen: Chosen) -> None:
    """The button, how far it is, and what came of it."""
    show(QUESTION, lambda: _result(page, chosen))


def _result(page: Page, chosen: Chosen) -> Figure | None:
    texts = _texts(select_routes(page.source, page.scope))
    job = st.session_state.setdefault(JOBS, {}).get(_key(page, chosen))
    if job is None or job.phase is Phase.CANCELLED:
        _offer(page, chosen, texts, was_stopped=job is not None)
    elif not job.is_over:
        _progress(server().worker(page.view.model), job)
    elif job.error is not None:
        show_error(explained(job.error))
        _offer(page, chosen, texts)
    elif job.result is not None:
        return ablation_figure(*job.result)
    return None


def _offer(page: Page, chosen: Chosen, texts: list[str], *, was_stopped: bool = False) -> None:
    st.subheader(QUESTION, anchor=False)
    lead = "It was stopped. " if was_stopped else ""
    st.caption(
        f"{lead}The model reads {len(texts)} texts of this capture again, as it is, without this expert, and without "
        "each of four that are as busy. So few texts show large effects only: how many this one would need is said "
        "with the result. It waits its turn behind other work of the model."
    )
    st.button("Take it away", icon=":material/science:", on_click=_ask, args=(page, chosen, texts), key="knock-out")


def _ask(page: Page, chosen: Chosen, texts: list[str]) -> None:
    load_e = page.measure("relative_load").value[chosen.layer]
    experts = [chosen.expert, *as_busy(load_e, chosen.expert)]
    try:
        worker = server().worker(page.view.model)
        key = _key(page, chosen)
        work = _work(worker, page.source.record.provenance.fingerprint, texts, chosen.layer, experts)
        st.session_state[JOBS][key] = worker.queue.submit(key, work, watcher=watcher())
    except GatescopeError as error:
        show_error(error)


def _work(
    worker: ModelWorker, fingerprint: str, texts: list[str], layer: int, experts: list[int]
) -> Callable[[Tick], Lost]:
    def work(tick: Tick) -> Lost:
        from gatescope.hooks.interventions.ablation import losses_without

        model = worker.model
        if model is None:
            raise ModelError(f"{worker.name} is not loaded", expected="a loaded model", do="read why on the Model page")
        if model.fingerprint != fingerprint:
            raise OptionError(
                f"the weights of {worker.name} are not those of this capture",
                expected="the model that made it",
                do="choose its model on the Prompt page, or a capture of this one",
            )
        loss_xd, tokens_d = losses_without(model, texts, layer, experts, on_progress=tick)
        return Lost(rises(loss_xd, tokens_d, experts), len(texts), int(tokens_d.sum()))

    return work


@st.fragment(run_every=POLL_SECONDS)
def _progress(worker: ModelWorker, job: Job[Lost]) -> None:
    if job.is_over:
        st.rerun()
    st.subheader(QUESTION, anchor=False)
    before, (done, total) = worker.queue.position(job), job.progress
    lead = f"Waiting, {before} before you" if before else f"Pass {done} of {total}" if total else "Starting"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(done / max(total, 1), text=plain(lead))
        st.button("Cancel", icon=":material/stop:", on_click=_leave, args=(worker, job), key="knock-out-cancel")


def _leave(worker: ModelWorker, job: Job[Lost]) -> None:
    worker.queue.leave(job, watcher())


def _key(page: Page, chosen: Chosen) -> str:
    return f"without {' '.join(page.source.key)} {page.scope} {chosen.layer}.{chosen.expert}"


def _texts(record: RoutingRecord) -> list[str]:
    """Texts of documents drawn at random, always the same ones. Errors: OptionError where there are none."""
    known = [number for number, document in enumerate(record.documents) if document.text.strip()]
    if not known:
        raise OptionError("no texts in this capture", expected="the texts it was made of", do="choose another capture")
    drawn = np.random.default_rng(0).choice(known, size=min(TEXTS, len(known)), replace=False)
    return [record.documents[number].text for number in sorted(drawn.tolist())]
