"""Import by drop: captures of our own, and routes that other engines recorded."""

from pathlib import Path

import streamlit as st

from gatescope.app.shell import address
from gatescope.app.shell.messages import plain, show_error
from gatescope.app.shell.session import server
from gatescope.app.views.library.studies import begun, say_later, understood
from gatescope.app.views.library.uploading import contents
from gatescope.cache.importers import Given
from gatescope.routing.errors import GatescopeError, OptionError
from gatescope.server import import_export
from gatescope.server.entering import open_path
from gatescope.server.settings import model_source, settings
from gatescope.server.torch_import import import_hooks

UNKNOWN = "not one of these"
ANY = ""


def show_import(visitor: str) -> None:
    """Draw the form, and what became of the last import."""
    st.subheader("Import routes", anchor=False)
    names = import_export.formats()
    st.markdown(
        "Drop captures that were downloaded here or elsewhere (`.gsr`), or a trace that another engine recorded: "
        + "; ".join(plain(title) for name, title in names.items() if name != "gsr")
        + ". Several files that are not `.gsr` are read as one trace."
    )
    files = st.file_uploader("Captures and traces", accept_multiple_files=True, key="import-files")
    with st.expander("What the trace does not say"):
        with st.container(horizontal=True):
            st.selectbox("Made with the model", [UNKNOWN, *settings().offered], key="import-model", width=300)
            st.number_input("Experts of a layer (0: not known)", 0, 100_000, 0, key="import-experts", width=240)
            st.number_input("Experts of a token (0: not known)", 0, 1000, 0, key="import-slots", width=240)
        st.selectbox(
            "Format",
            [ANY, *(name for name in names if name != "gsr")],
            format_func=lambda name: names.get(name, "detect automatically"),
            key="import-format",
        )
    if files and st.button("Import", type="primary", icon=":material/upload:", key="import-go"):
        st.session_state["imported"] = ()
        _import(contents(files), visitor)
    for taken in st.session_state.get("imported", ()):
        _taken(taken)
    if settings().open_paths:
        _opening()


def _opening() -> None:
    """What lies on the server's disk, where whoever runs it allows that."""
    st.subheader("Open what lies on the server", anchor=False)
    st.markdown(
        "A capture, a folder of a study or of results, or another workspace, by its path on the server's disk. Nothing "
        "is copied, and nothing there is changed."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input("Path", key="open-path", placeholder="/data/routes", width=520)
        st.text_input("Name (empty: as it is called there)", key="open-name", max_chars=80, width=300)
        st.button("Open", icon=":material/folder_open:", key="open-go", on_click=_open)


def _open() -> None:
    """Put what lies at the path into the Library. For callbacks."""
    state = st.session_state
    try:
        if not (asked := str(state["open-path"]).strip()):
            raise OptionError("no path", expected="a path on the server's disk", do="type one")
        id = open_path(settings().workspace, Path(asked), name=state["open-name"])
    except GatescopeError as error:
        say_later(error)
        return
    state["seen"] = {id: Path(asked).name} | state.get("seen", {})
    state["open-path"] = state["open-name"] = ""
    st.toast("Opened. It stands in the list of captures.", icon=":material/check_circle:")


def _import(files: list[import_export.File], visitor: str) -> None:
    state = st.session_state
    try:
        with st.spinner("Reading"):
            taken = import_export.take_in(server(), files, _given(), visitor=visitor, format=state["import-format"])
    except GatescopeError as error:
        show_error(error)
        return
    state["imported"] = tuple(taken)
    begun().update(each.id for each in taken)
    st.session_state["seen"] = {each.id: "imported" for each in taken} | st.session_state.get("seen", {})
    if any(each.documents > 1 or each.format != "gsr" for each in taken):
        st.rerun()  # studies under way are shown above


def _given() -> Given:
    """What the visitor knows beside the trace. Errors: as `hooks.outline.outline`."""
    state = st.session_state
    model, experts, slots = state["import-model"], int(state["import-experts"] or 0), int(state["import-slots"] or 0)
    if model == UNKNOWN:
        return Given(experts=experts, k=slots, on_fault="skip")
    import_hooks()
    from gatescope.hooks.loading.outline import outline

    layers = outline(model_source(model), revision=settings().revision)
    return Given(layers=layers, model=model, experts=experts, k=slots, on_fault="skip")


def _taken(taken: import_export.ImportResult) -> None:
    with st.container(border=True, key=f"taken-{taken.id}"):
        st.markdown(
            f":material/check_circle: Read as {plain(taken.format)}: {taken.tokens:,} tokens of "
            f"{taken.documents:,} document{'s' * (taken.documents != 1)}."
        )
        understood(taken.understood, taken.missing, taken.left_out)
        st.button(
            "Open on Prompt",
            key=f"open-taken-{taken.id}",
            on_click=address.visit,
            args=("prompt",),
            kwargs={**address.NO_PINS, "capture": taken.id},
        )
