"""A model while it is being read: how far it is, or why it could not be."""

import streamlit as st

from gatescope.app.shell.messages import plain, show_error
from gatescope.routing.errors import explained
from gatescope.server.jobs import Phase
from gatescope.server.model_worker import ModelWorker

POLL_SECONDS = 0.4


def follow_loading(worker: ModelWorker, *, then: str = "") -> None:
    """Say that the model is being read and what comes `then`, or why it could not be."""
    if worker.loading.phase in (Phase.FAILED, Phase.CANCELLED):
        show_error(explained(worker.loading.error or RuntimeError("loading was stopped")))
        st.button("Try again", icon=":material/refresh:", on_click=worker.reload)
    elif worker.model is None:
        _loading(worker, then)


@st.fragment(run_every=POLL_SECONDS)
def _loading(worker: ModelWorker, then: str) -> None:
    if worker.loading.is_over:
        st.rerun()
    st.status(f"Reading the model {plain(worker.name)} and checking its routers.{then}", state="running")
    if worker.stage:
        st.caption(plain(worker.stage[:1].upper() + worker.stage[1:] + "."))
