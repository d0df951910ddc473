"""The list of captures and what can be done with those chosen: open, compare, name, share, download, delete."""

from collections.abc import Sequence
from hashlib import sha256

import streamlit as st

from gatescope.app.shell import address
from gatescope.app.shell.messages import plain
from gatescope.app.shell.navigation import find_pages
from gatescope.app.shell.session import library, server
from gatescope.app.views.library.studies import go_on, open_buttons, open_on, say_later, understood
from gatescope.routing.errors import GatescopeError
from gatescope.server import import_export
from gatescope.server.library import KINDS, Entry, Usage, frame_of
from gatescope.server.metadata import MOST_NOTES
from gatescope.server.settings import settings
from gatescope.server.view import View

COLUMNS = ("name", "kind", "model", "tokens", "documents", "when", "bytes", "recorded", "tags")
ROW_PIXELS, MOST_PIXELS = 35, 480


def show_list(view: View, visitor: str, opened: Sequence[str]) -> None:
    """Draw the list, its filter, and what can be done with what is chosen."""
    listed = library().entries(visitor, opened)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(
            "Filter", key="library-filter", placeholder="name, model, tag, kind …", persist_state="session", width=380
        )
        _quota(library().usage())
    shown = [entry for entry in listed if entry.matches(words or "")]
    if not shown:
        st.info("No matches.", icon=":material/search_off:")
        return
    chosen = _table(shown)
    if not chosen:
        chosen = [entry for entry in shown if entry.id == view.capture]
    if not chosen:
        st.caption("Choose rows to open, compare, name, download or delete them.")
    elif len(chosen) == 1:
        _one(chosen[0], visitor)
    else:
        _several(chosen)


def quota_words(usage: Usage) -> str:
    """What is used of what there may be.

    >>> quota_words(Usage(1_500_000, 500_000, 10_000_000))
    '2 MB of 10 MB used: captures 1.5 MB, studies 0.5 MB'
    """
    most = "" if usage.most is None else f" of {size_words(usage.most)}"
    parts = f"captures {size_words(usage.captures)}, studies {size_words(usage.studies)}"
    beside = f"; made by commands {size_words(usage.commanded)}, not counted" if usage.commanded else ""
    return f"{size_words(usage.total)}{most} used: {parts}{beside}"


def size_words(size: int) -> str:
    """Bytes as people read them.

    >>> size_words(2_000_000_000), size_words(1_500_000), size_words(900)
    ('2 GB', '1.5 MB', '900 B')
    """
    for unit, worth in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= worth or (unit == "MB" and size >= 10**5):
            return f"{size / worth:.1f}".removesuffix(".0") + f" {unit}"
    return f"{size} B"


def _quota(usage: Usage) -> None:
    if usage.most is None:
        st.caption(plain(quota_words(usage)))
        return
    st.progress(min(usage.total / usage.most, 1.0), text=plain(quota_words(usage)), width=420)


def _table(shown: Sequence[Entry]) -> list[Entry]:
    """The grid; the rows that are chosen in it. Its key is of its rows: a choice never slips to another row."""
    frame = frame_of(shown)
    frame["when"] = [f"{entry.when.astimezone():%Y-%m-%d %H:%M}" if entry.when else "" for entry in shown]
    key = sha256(" ".join(entry.id for entry in shown).encode()).hexdigest()[:12]
    event = st.dataframe(
        frame.loc[:, list(COLUMNS)],
        key=f"library-{key}",
        on_select="rerun",
        selection_mode="multi-row",
        hide_index=True,
        height=min(MOST_PIXELS, ROW_PIXELS * (len(frame) + 1) + 3),
        column_config={
            "name": st.column_config.TextColumn("name", width=330),
            "tokens": st.column_config.NumberColumn("tokens", format="localized"),
            "documents": st.column_config.NumberColumn("documents", format="localized"),
            "bytes": st.column_config.NumberColumn("size", format="bytes"),
            "when": st.column_config.TextColumn("made", width=130),
        },
        alt=f"{len(frame):,} captures and studies",
    )
    return [shown[row] for row in event["selection"]["rows"] if row < len(shown)]


def _one(entry: Entry, visitor: str) -> None:
    with st.container(border=True):
        st.markdown(f"**{plain(entry.name)}** · {plain(KINDS[entry.kind])} · {plain(entry.id)}")
        if entry.problem:
            st.warning(plain(entry.problem), icon=":material/broken_image:")
        if entry.note:
            st.warning(plain(entry.note), icon=":material/lock:")
        if entry.lacks and entry.state == "ready":
            st.warning(plain(f"It is not whole: {entry.lacks}."), icon=":material/broken_image:")
        if entry.where:
            st.caption(plain(f"Lies at {entry.where}. Deleting it here leaves it there."))
        if entry.notes:
            st.text(entry.notes)
        can_open = entry.state == "ready" and not entry.problem
        with st.container(horizontal=True):
            if can_analyse(entry):
                st.button(
                    "Analyse",
                    type="primary",
                    icon=":material/query_stats:",
                    key=f"analyse-{entry.id}",
                    on_click=go_on,
                    args=(entry.id,),
                    help="Compute every metric of it, in the background. Until then pages compute what they need.",
                )
            if can_open and entry.kind != "workspace":
                open_buttons(entry, pages=("prompt", "layers", "domains"), key="list")
                _compare(entry)
                st.download_button(
                    "Download .gsr",
                    data=lambda: import_export.file_of(server().find_source(entry.id)),
                    file_name=import_export.file_name(entry),
                    mime="application/octet-stream",
                    icon=":material/download:",
                    on_click="ignore",
                    key=f"gsr-{entry.id}",
                )
            if entry.is_analysed:
                st.download_button(
                    "Report",
                    data=lambda: library().report(entry.id),
                    file_name=f"{entry.id}-report.html",
                    mime="text/html",
                    icon=":material/description:",
                    on_click="ignore",
                    key=f"report-{entry.id}",
                )
            if entry.kind != "shipped" and entry.state not in ("running", "waiting"):
                _naming(entry, visitor)
                if entry.is_own:
                    _deleting([entry])
        if entry.is_own and settings().library_lists == "shared":
            _sharing(entry, visitor)
        if entry.order is not None and entry.order.imported:
            with st.expander("What was and was not understood of this trace"):
                understood(entry.order.understood, entry.order.missing, entry.order.left_out)


def can_analyse(entry: Entry) -> bool:
    """Whether a study was captured and not analysed, and whoever looks may have that done."""
    is_captured = entry.kind in ("study", "import") and entry.order is not None and entry.tokens > 0
    return is_captured and entry.state == "ready" and entry.is_own and not entry.is_analysed


def _compare(entry: Entry) -> None:
    page = "compare" if any(each.address == "compare" for each in find_pages()) else "layers"
    st.button(
        "Compare as A", icon=":material/compare_arrows:", key=f"a-{entry.id}", on_click=open_on, args=(page, entry)
    )
    st.button(
        "Compare as B",
        icon=":material/compare_arrows:",
        key=f"b-{entry.id}",
        on_click=address.visit,
        args=(page,),
        kwargs={"reference": entry.id},
    )


def _several(chosen: Sequence[Entry]) -> None:
    with st.container(border=True):
        st.markdown(f"**{len(chosen):,} chosen**, {size_words(sum(entry.size_bytes for entry in chosen))}")
        ready = [entry for entry in chosen if entry.state == "ready" and not entry.problem]
        own = [entry for entry in chosen if entry.is_own and entry.state not in ("running", "waiting")]
        own = [entry for entry in own if entry.kind != "shipped"]
        with st.container(horizontal=True):
            if sum(entry.size_bytes for entry in ready) > import_export.MOST_SET_BYTES:
                st.caption(f"Too much for one archive: at most {size_words(import_export.MOST_SET_BYTES)}.")
            elif ready:
                st.download_button(
                    "Download as ZIP",
                    data=lambda: import_export.archive(ready, server().find_source),
                    file_name="gatescope-captures.zip",
                    mime="application/zip",
                    icon=":material/folder_zip:",
                    on_click="ignore",
                    key="library-zip",
                    help="Each as .gsr, and as CSV: the routes of short captures, the counts of long ones.",
                )
            if own:
                _deleting(own)


def _naming(entry: Entry, visitor: str) -> None:
    with st.popover("Name, tags, notes", icon=":material/edit:", key=f"naming-{entry.id}"):
        name = st.text_input("Name", value=entry.name, max_chars=80, key=f"name-{entry.id}")
        tags = st.text_input(
            "Tags, with commas between", value=", ".join(entry.tags), max_chars=300, key=f"tags-{entry.id}"
        )
        notes = st.text_area("Notes", value=entry.notes, max_chars=MOST_NOTES, key=f"notes-{entry.id}")
        st.button("Save", key=f"save-name-{entry.id}", on_click=_rename, args=(entry, visitor, name, tags, notes))


def _sharing(entry: Entry, visitor: str) -> None:
    st.toggle(
        "Shared: everybody who uses this server finds it in the Library",
        value=entry.is_shared,
        key=f"shared-{entry.id}",
        on_change=_share,
        args=(entry, visitor),
    )


def _deleting(entries: Sequence[Entry]) -> None:
    what = "it" if len(entries) == 1 else f"{len(entries):,}"
    with st.popover("Delete", icon=":material/delete:", key=f"deleting-{entries[0].id}"):
        names = "  \n".join(plain(entry.name) for entry in entries[:10])
        st.markdown(f"Delete for good?  \n{names}")
        st.button(
            f"Yes, delete {what}", type="primary", key=f"delete-{entries[0].id}", on_click=_delete, args=(entries,)
        )


def _rename(entry: Entry, visitor: str, name: str, tags: str, notes: str) -> None:
    try:
        library().rename(entry, visitor, name=name, tags=tags, notes=notes)
    except GatescopeError as error:
        say_later(error)


def _share(entry: Entry, visitor: str) -> None:
    try:
        library().share(entry, visitor, is_shared=bool(st.session_state[f"shared-{entry.id}"]))
    except GatescopeError as error:
        say_later(error)


def _delete(entries: Sequence[Entry]) -> None:
    """Remove them, here and from what this session remembers; an address that names one is changed."""
    view = address.current()
    for entry in entries:
        try:
            library().remove(entry)
        except GatescopeError as error:
            say_later(error)
            continue
        st.session_state.get("seen", {}).pop(entry.id, None)
        if view.capture == entry.id:
            address.change(**address.NO_PINS | {"capture": None})
        if view.reference == entry.id:
            address.change(reference=None)
