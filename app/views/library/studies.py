"""Studies under way: how far they are, how to stop them and go on, and the way to their results."""

from collections.abc import Sequence

import streamlit as st

from gatescope.app.shell import address
from gatescope.app.shell.messages import plain, show_error
from gatescope.app.shell.navigation import find_pages
from gatescope.app.shell.session import library, server
from gatescope.routing.errors import GatescopeError
from gatescope.server.library import Entry
from gatescope.server.settings import settings
from gatescope.server.study_progress import StudyProgress
from gatescope.server.view import ViewParts

POLL_SECONDS, WATCH_SECONDS = 1.0, 4.0
SLOW_SECONDS = 5.0
OPEN_ON = ("layers", "domains", "prompt")
BEGUN = "studies-begun"
"""In the session: ids of studies begun or gone on with here, which are shown until they are put away."""


def show_studies(visitor: str, opened: Sequence[str]) -> None:
    """Draw every study under way, whoever began it, and of this visitor's those that stopped or are just done."""
    listed = [entry for entry in library().entries(visitor, opened) if entry.order is not None]
    mine = [entry for entry in listed if entry.is_own]
    live = [entry for entry in listed if entry.state in ("waiting", "running")]
    _watch(library().under_way())
    if live:
        _progress(tuple(entry.id for entry in live))
    for entry in mine:
        if entry.state in ("stopped", "failed"):
            _unfinished(entry)
        elif entry.state == "ready" and entry.id in begun():
            _done(entry)


def begun() -> set[str]:
    """Studies that this session began."""
    ids: set[str] = st.session_state.setdefault(BEGUN, set())
    return ids


@st.fragment(run_every=WATCH_SECONDS)
def _watch(drawn: frozenset[tuple[str, bool]]) -> None:
    """Draw the page anew when a command or another server begins something, or has ended it."""
    if library().under_way() != drawn:
        st.rerun()


@st.fragment(run_every=POLL_SECONDS)
def _progress(ids: tuple[str, ...]) -> None:
    """How far studies are, until one of them is over."""
    studies = server().studies
    for id in ids:
        job, doing = studies.live(id), library().doing(id)
        if doing is None:
            st.rerun()
        order = library().order_of(id)
        with st.container(border=True):
            st.markdown(f"**{plain(order.name)}** with {plain(order.model or 'an imported trace')}")
            with st.container(horizontal=True, vertical_alignment="center"):
                before = 0 if job is None else studies.queue.position(job)
                st.progress(doing.share, text=plain(how_far(doing, before=before)))
                if job is not None:
                    st.button("Cancel", icon=":material/stop:", key=f"cancel-{id}", on_click=_cancel, args=(id,))
            if job is None and (holder := library().holder_of(id)) is not None:
                st.caption(
                    plain(f"Runs as {holder.what}, {holder.described}. Stop it there: Ctrl-C keeps what is whole.")
                )
    st.caption("You may leave this page: a study continues, and is shown here when you come back.")


def how_far(doing: StudyProgress, *, before: int) -> str:
    """Where a study is, in words.

    >>> how_far(StudyProgress(what="capturing", documents=5, of_documents=20, tokens=1200), before=0)
    'Captured 5 of 20 documents, 1,200 tokens'
    """
    if before:
        return f"Waiting for {before} other stud{'y' if before == 1 else 'ies'}"
    if doing.is_writing:
        return f"Everything is computed. Writing the {doing.what}{_for_how_long(doing)}"
    if doing.of_metrics:
        step = min(doing.metrics + 1, doing.of_metrics)
        return f"Computing {step} of {doing.of_metrics}: {doing.what}{_for_how_long(doing)}"
    if doing.what != "capturing":
        return doing.what.capitalize()
    of = f" of {doing.of_documents:,}" if doing.of_documents else ""
    said = f"Captured {doing.documents:,}{of} documents, {doing.tokens:,} tokens"
    if (left := doing.seconds_left) is None:
        return said
    return f"{said}; about {duration(left)} left" + ", then the metrics" * doing.metrics_follow


def _for_how_long(doing: StudyProgress) -> str:
    """How long a step has taken, where that is long enough to wonder."""
    return f", for {duration(doing.step_seconds)}" if doing.step_seconds >= SLOW_SECONDS else ""


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(0.2), duration(40.2), duration(300), duration(9000)
    ('1 s', '41 s', '5 min', '2.5 h')
    """
    if seconds < 90:
        return f"{int(seconds) + 1} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def open_buttons(entry: Entry, *, pages: Sequence[str] = OPEN_ON, key: str = "open") -> None:
    """Ways to the pages that show a capture; their keys begin with `key`, for it may stand on the page twice."""
    known = {page.address: page for page in find_pages()}
    for name in pages:
        if name in known:
            st.button(
                f"Open on {known[name].title}",
                icon=known[name].icon,
                key=f"{key}-{name}-{entry.id}",
                on_click=open_on,
                args=(name, entry),
            )


def open_on(page: str, entry: Entry) -> None:
    """Go to a page with this capture. For callbacks."""
    begun().discard(entry.id)
    model: ViewParts = {"model": entry.model} if entry.model in settings().offered else {}
    address.visit(page, **address.NO_PINS | {"capture": entry.id} | model)


def _unfinished(entry: Entry) -> None:
    order = entry.order
    if order is None:
        return
    with st.container(border=True):
        done = f"{entry.tokens:,} tokens of {entry.documents:,} documents are kept"
        if entry.state == "failed" and (error := order.error) is not None:
            st.markdown(f"**{plain(order.name)}** failed; {done}.")
            show_error(error)
        else:
            st.markdown(f"**{plain(order.name)}** was stopped; {done}, and it resumes from there.")
        is_for_command = bool(order.command and entry.lacks)  # its texts are where the command reads them
        if is_for_command:
            st.markdown("A command captured it, and the same command goes on with it:")
            st.code(order.command, language="bash", wrap_lines=True)
        with st.container(horizontal=True):
            label, icon = ("Retry", "refresh") if entry.state == "failed" else ("Continue", "play_arrow")
            if not is_for_command:
                st.button(
                    label, icon=f":material/{icon}:", key=f"continue-{entry.id}", on_click=go_on, args=(entry.id,)
                )
            st.button("Delete", icon=":material/delete:", key=f"drop-{entry.id}", on_click=_delete, args=(entry,))


def _done(entry: Entry) -> None:
    order = entry.order
    with st.container(border=True, key=f"done-{entry.id}"):
        st.markdown(
            f":material/check_circle: **{plain(entry.name)}** is done: {entry.tokens:,} tokens of "
            f"{entry.documents:,} documents."
        )
        if order is not None and order.imported:
            understood(order.understood, order.missing, order.left_out)
        with st.container(horizontal=True):
            open_buttons(entry)
            st.button("Put away", key=f"away-{entry.id}", on_click=begun().discard, args=(entry.id,), type="tertiary")


def understood(found: Sequence[str], missing: Sequence[str], left_out: Sequence[str]) -> None:
    """What was and was not understood of a foreign trace."""
    for title, sentences in (("Understood", found), ("Not there", missing), ("Left out", left_out)):
        for sentence in sentences:
            st.markdown(f"**{title}:** {plain(sentence)}")


def _cancel(id: str) -> None:
    server().studies.cancel(id)


def go_on(id: str) -> None:
    """Go on with a study, or analyse one that was captured. For callbacks."""
    try:
        server().studies.go_on(id)
        begun().add(id)
    except GatescopeError as error:
        say_later(error)


def _delete(entry: Entry) -> None:
    try:
        library().remove(entry)
    except GatescopeError as error:
        say_later(error)


def say_later(error: GatescopeError) -> None:
    """Keep an error of a callback for the run that it causes."""
    st.session_state["library-error"] = error


def show_said() -> None:
    """Show what a callback kept."""
    if (error := st.session_state.pop("library-error", None)) is not None:
        show_error(error)
