"""A text while it is written: its tokens and their experts as they come, and Stop."""

import streamlit as st

from gatescope.app.components import Expert, Grid, Pick, encode_routes, token_matrix
from gatescope.drawing.token_heatmap import TOP_EXPERT, row_names, token_figure, token_flags, token_pieces
from gatescope.routing.record import RoutingRecord
from gatescope.server.capture_work import CaptureWork
from gatescope.server.jobs import Job
from gatescope.server.sources import Source

LIVE_SECONDS = 0.15
"""How often a page looks at what was written."""

MOST = 512
"""Tokens that are shown while more are written, the last ones: all of them are once it is over."""


def written_so_far(job: Job[Source]) -> CaptureWork | None:
    """The work of a job that writes tokens, once there is something to see."""
    work = job.work
    return work if isinstance(work, CaptureWork) and work.so_far is not None else None


def show_live(work: CaptureWork, key: str) -> None:
    """Draw what was written so far, the newest token's experts lit."""
    if work.so_far is None:
        return
    st.button(
        "Stop, and keep what was written",
        icon=":material/stop_circle:",
        on_click=work.stop,
        key="stop",
        disabled=work.stopped.is_set(),
    )
    record = work.so_far.take(slice(max(0, work.so_far.tokens - MOST), None))
    figure = token_figure(record, TOP_EXPERT)
    token_matrix(
        figure.values_lt,
        pieces=token_pieces(record),
        flags=token_flags(record),
        rows=row_names(record),
        scale=figure.scale,
        labels_rc=figure.expert_lt,
        pinned=None,
        description=figure.sentence,
        follows=True,
        grid=_grid(record),
        key=key,
    )


def _grid(record: RoutingRecord) -> Grid:
    def nothing(_: Expert | Pick | None) -> None:
        """What is still being written can be looked at, and nothing of it be chosen."""

    return Grid(
        read=lambda channel, token: encode_routes(record, channel, token),
        experts=record.experts,
        chosen=None,
        took_t=None,
        on_choose=nothing,
        on_open=nothing,
    )
