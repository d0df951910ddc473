"""What a model does with a token, and the proof that its recording is true."""

import streamlit as st

from gatescope.app.shell import address
from gatescope.app.shell.loading import follow_loading
from gatescope.app.shell.messages import show_error, show_notices
from gatescope.app.shell.model_choice import choose_model
from gatescope.app.shell.session import server
from gatescope.app.views.model.claims import show_claims
from gatescope.app.views.model.report import show_report, show_trust
from gatescope.app.views.prompt.ask import leave
from gatescope.routing.errors import GatescopeError
from gatescope.server.model_worker import ModelWorker

PAGE = {
    "title": "Model",
    "icon": ":material/account_tree:",
    "help": "How the model routes a token, layer by layer, and whether its recording is proven.",
    "order": 110,
    "group": "Keep",
}


def main() -> None:
    """The page from top to bottom."""
    st.title("What does this model do with a token, and can I trust the recording?")
    view = address.current()
    worker = server().worker(view.model)
    show_notices(view.problems)
    with st.container(horizontal=True, vertical_alignment="center"):
        choose_model(worker, _take_model)
    follow_loading(worker)
    if worker.model is not None:
        show_trust(worker.model.selfcheck)
        show_claims(view, worker.model)
        show_report(worker.model, worker)
    elif not worker.loading.is_over:
        st.skeleton(height=420)


def _take_model(left: ModelWorker) -> None:
    """Another model; what was asked of the one before, and what was looked at, is not of this one."""
    leave(left)
    address.change(model=st.session_state["model"], capture=None, token=None, layer=None)


try:
    main()
except GatescopeError as error:
    show_error(error)
