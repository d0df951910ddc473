"""The choice of a model: what is on offer, what is loaded, and how to offer one's own."""

from collections.abc import Callable

import streamlit as st

from gatescope.app.shell import address
from gatescope.app.shell.messages import plain
from gatescope.app.shell.session import server
from gatescope.server.jobs import Phase
from gatescope.server.model_worker import ModelWorker
from gatescope.server.settings import settings

STATES = {
    Phase.WAITING: "loading",
    Phase.RUNNING: "loading",
    Phase.FAILED: "not loaded: it failed",
    Phase.CANCELLED: "not loaded",
    Phase.DONE: "loaded",
}


def choose_model(worker: ModelWorker, on_change: Callable[[ModelWorker], None]) -> None:
    """Draw the choice; `on_change` is given the model that is left, and finds the chosen one in the state's "model"."""
    offered, loading = settings().offered, server().loading()
    st.session_state["model"] = address.current().model
    st.selectbox(
        "Model",
        offered,
        key="model",
        label_visibility="collapsed",
        width=260,
        format_func=lambda name: f"{name} · {STATES[loading[name]] if name in loading else 'not loaded'}",
        on_change=on_change,
        args=(worker,),
    )
    with st.popover("Add a model", icon=":material/add:", type="tertiary"):
        st.markdown(plain("Stop the server and start it again with your model: a hub id, or a folder that holds one."))
        st.code(command(settings().models), language="bash", wrap_lines=True)
        st.caption(
            "Its size, the memory it takes and the time are told before it is loaded; the first text waits for it."
        )


def command(models: tuple[str, ...]) -> str:
    """What starts the server with one more model.

    >>> command(("sift-softmax",))
    'GATESCOPE_MODELS="sift-softmax,allenai/OLMoE-1B-7B-0924" gatescope serve'
    """
    return f'GATESCOPE_MODELS="{",".join((*models, EXAMPLE))}" gatescope serve'


EXAMPLE = "allenai/OLMoE-1B-7B-0924"
