"""The map of documents or tokens: points on a plane under one colouring, and what their neighbours have in common."""

from collections import Counter
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.analysis.comparison.projection import Layout, Points, Purity
from gatescope.app.charts.figure import Chart, Figure
from gatescope.app.charts.plots import NULL, A, plot
from gatescope.routing.record import RoutingRecord

HUES = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#882255", "#999933")
SYMBOLS = ("circle", "diamond", "square", "cross", "triangle-up", "x", "star", "triangle-down")
MOST_NAMED = 16
"""Labels that get a hue and a shape of their own: eight hues, each with two shapes. The rest are "other"."""

OTHER, NO_LABEL = "other", "not said"
AMOUNTS = {"length": "tokens of the document", "position": "position in the document"}
COLOURS = {
    "documents": ("domain", "language", "length"),
    "tokens": ("token", "domain", "language", "position"),
}
"""What points may be coloured by; for tokens the word comes first, for it explains most and is easily overlooked."""

SAID = {"token": "token id", "domain": "domain", "language": "language", "length": "length", "position": "position"}
PIECE_SHOWN = 24
FAINT = 0.15


@dataclass(frozen=True, eq=False)
class Places:
    """Points laid out, and what is known of each.

    frame        a row for each point: `document` and `token` number it within the source, `first` and `second` place it
    layout       the plane
    purities     how often neighbours bear the same label, by what the label tells
    warnings     what was left out
    """

    kind: str
    frame: pd.DataFrame
    layout: Layout
    purities: dict[str, Purity]
    warnings: tuple[str, ...]


def document_frame(record: RoutingRecord, points: Points, layout: Layout) -> pd.DataFrame:
    """A row for each document that is laid out."""
    length_d = np.bincount(record.document_t, minlength=len(record.documents))
    rows = [record.documents[number] for number in points.row_n]
    return pd.DataFrame(
        {
            "document": points.row_n.astype(np.int64),
            "name": [row.id or f"document {number}" for row, number in zip(rows, points.row_n, strict=True)],
            "domain": [row.domain or NO_LABEL for row in rows],
            "language": [row.language or NO_LABEL for row in rows],
            "length": length_d[points.row_n],
            "first": layout.place_nc[:, 0],
            "second": layout.place_nc[:, 1],
        }
    )


def token_frame(
    record: RoutingRecord, points: Points, layout: Layout, numbers: tuple[int, ...] | None, start: int
) -> pd.DataFrame:
    """A row for each token that is laid out.

    `numbers`: what the record's documents are called in their source, where it is a part of it; `start`: where its
    tokens begin in their document.
    """
    document_n = record.document_t[points.row_n]
    first_d = np.searchsorted(record.document_t, np.arange(len(record.documents)))
    rows = [record.documents[number] for number in document_n]
    return pd.DataFrame(
        {
            "document": document_n if numbers is None else np.array(numbers)[document_n],
            "token": points.row_n - first_d[document_n] + start,
            "piece": [record.piece(token) for token in record.token_t[points.row_n]],
            "token_id": record.token_t[points.row_n],
            "domain": [row.domain or NO_LABEL for row in rows],
            "language": [row.language or NO_LABEL for row in rows],
            "position": record.position_t[points.row_n],
            "first": layout.place_nc[:, 0],
            "second": layout.place_nc[:, 1],
        }
    )


def labels_of(frame: pd.DataFrame, by: str) -> NDArray[np.object_]:
    """Which label each point is drawn under: the most frequent ones, then "other"."""
    if by == "token":
        pairs = zip(frame["piece"], frame["token_id"], strict=True)
        label_n = np.array([f"{shown_piece(piece)} · {token}" for piece, token in pairs], object)
    else:
        label_n = frame[by].to_numpy(object)
    ranked = sorted(Counter(label_n).items(), key=lambda item: (-item[1], item[0]))
    named = {name for name, _ in ranked[:MOST_NAMED]}
    return np.array([name if name in named else OTHER for name in label_n], object)


def shown_piece(piece: str) -> str:
    """A token's text on one line, its white space as signs."""
    text = piece.replace(" ", "·").replace("\n", "⏎").replace("\t", "⇥") or "∅"
    text = "".join(mark if mark.isprintable() else f"‹{ord(mark):04X}›" for mark in text)
    return text if len(text) <= PIECE_SHOWN else text[: PIECE_SHOWN - 1] + "…"


def matching(frame: pd.DataFrame, texts: list[str], sought: str) -> NDArray[np.bool_]:
    """Which points hold what is sought: in their text, their name or a label; none for nothing."""
    wanted = sought.strip().casefold()
    if not wanted:
        return np.zeros(len(frame), bool)
    labels = frame[["domain", "language", "name" if "name" in frame else "piece"]].agg(" ".join, axis=1)
    return np.array(
        [wanted in f"{words} {text}".casefold() for words, text in zip(labels, texts, strict=True)], dtype=bool
    )


def scatter(
    places: Places,
    by: str,
    *,
    inside_n: NDArray[np.bool_],
    found_n: NDArray[np.bool_],
    pinned: int | None,
    mouse: str = "pan",
) -> go.Figure:
    """The plane under one colouring; points that do not count are faint, those that were sought have a ring.

    `mouse`: what a drag does, "pan", "lasso" or "select".
    """
    names = ("first component", "second component") if np.isfinite(places.layout.share_c[0]) else ("", "")
    shown = plot(_axis(names[0], places.layout.share_c[0]), _axis(names[1], places.layout.share_c[1]), height=560)
    shown.update_layout(hovermode="closest", dragmode=mouse, legend={"itemsizing": "constant"})
    shown.update_xaxes(showticklabels=False)
    shown.update_yaxes(showticklabels=False)
    if by in AMOUNTS:
        _amounts(shown, places, by, inside_n)
    else:
        _labels(shown, places, by, inside_n)
    _rings(shown, places, found_n, pinned)
    return shown


def _axis(name: str, share: float) -> str:
    return f"{name} ({share:.0%} of the variance)" if name and np.isfinite(share) else name


def _hover(frame: pd.DataFrame) -> list[str]:
    """What is said of each point; foreign text is no markup."""
    if "piece" in frame:
        heads = [
            f"<b>{escape(shown_piece(piece), quote=False)}</b><br>token {token} of document {document}"
            for piece, token, document in zip(frame["piece"], frame["token"], frame["document"], strict=True)
        ]
    else:
        heads = [
            f"<b>{escape(name, quote=False)}</b><br>document {document}, {length:,} tokens"
            for name, document, length in zip(frame["name"], frame["document"], frame["length"], strict=True)
        ]
    return [
        f"{head}<br>{escape(domain)}, {escape(language)}"
        for head, domain, language in zip(heads, frame["domain"], frame["language"], strict=True)
    ]


def _points(shown: go.Figure, frame: pd.DataFrame, rows: NDArray[np.intp], name: str, **marker: object) -> None:
    own = frame.iloc[rows]
    shown.add_scatter(
        x=own["first"].to_numpy(np.float32),
        y=own["second"].to_numpy(np.float32),
        mode="markers",
        name=escape(name, quote=False),
        customdata=rows.astype(np.int32)[:, None],
        hovertext=_hover(own),
        hoverinfo="text",
        marker={"size": 8, "line": {"width": 0.6, "color": "#808080"}, **marker},
    )


def _labels(shown: go.Figure, places: Places, by: str, inside_n: NDArray[np.bool_]) -> None:
    """One set of points for each label, with a hue and a shape that no other has."""
    label_n = labels_of(places.frame, by)
    names = sorted(set(label_n) - {OTHER}) + ([OTHER] if (label_n == OTHER).any() else [])
    for at, name in enumerate(names):
        rows = np.flatnonzero(label_n == name)
        opacity = np.where(inside_n[rows], 0.9, FAINT).astype(np.float32)
        hue, symbol = (NULL, "circle") if name == OTHER else (HUES[at % 8], SYMBOLS[(at + 3 * (at // 8)) % 8])
        size = 4 if name == OTHER else 8
        _points(shown, places.frame, rows, name, color=hue, symbol=symbol, opacity=opacity, size=size)


def _amounts(shown: go.Figure, places: Places, by: str, inside_n: NDArray[np.bool_]) -> None:
    """All points under one scale of brightness."""
    value_n = places.frame[by].to_numpy(np.float32)
    shown.update_layout(showlegend=False)
    bar = {"title": {"text": AMOUNTS[by], "side": "right"}, "thickness": 12}
    opacity = np.where(inside_n, 0.9, FAINT).astype(np.float32)
    look = {"color": value_n, "colorscale": "Cividis", "colorbar": bar, "opacity": opacity}
    _points(shown, places.frame, np.arange(len(value_n)), SAID[by], **look)


def _rings(shown: go.Figure, places: Places, found_n: NDArray[np.bool_], pinned: int | None) -> None:
    """Open circles around what was sought, and a larger one around what is pinned."""
    ringed = [("found", np.flatnonzero(found_n), 15)]
    ringed += [] if pinned is None else [("pinned", np.array([pinned]), 21)]
    for name, rows, size in ringed:
        if len(rows):
            own = places.frame.iloc[rows]
            shown.add_scatter(
                x=own["first"].to_numpy(np.float32),
                y=own["second"].to_numpy(np.float32),
                mode="markers",
                name=name,
                hoverinfo="skip",
                marker={"size": size, "symbol": "circle-open", "color": "#808080", "line": {"width": 2.5}},
            )


def map_words(places: Places, *, plane: str, layer: str, population: str, shown: int, found: int | None) -> Figure:
    """What is said around the map."""
    layout, what = places.layout, places.kind
    of = f"{shown:,} {what} by the experts they use{layer}"
    if np.isfinite(layout.share_c[0]):
        held = f"the plane holds {layout.share_c.sum():.0%} of how they differ"
    else:
        held = "who is near whom is kept, distances are not"
    size = ""
    if what == "documents" and np.isfinite(layout.size_told):
        size = f"; where a document lies tells {max(layout.size_told, 0):.0%} of how long it is"
    sought = "" if found is None else f" {found:,} hold what is sought."
    return Figure(
        key="map",
        takeaway=f"{of}: {held}{size}.{sought}",
        population=population,
        null="a plane shows clusters in noise too: believe the neighbours below, counted before points were laid out",
        badge="observed",
        says=(
            ("Distance", _DISTANCE[what]),
            ("Plane", plane),
            ("Left out", " ".join(places.warnings)),
            ("Not this", "a map of meaning: texts of one language share words, and words decide routes"),
        ),
    )


_DISTANCE = {
    "documents": "twice the squared Hellinger distance of two documents' shares over experts, the mean over layers",
    "tokens": "2 less twice the cosine of two tokens' sets of experts, the mean over layers",
}


def purity_frame(places: Places) -> pd.DataFrame:
    """How often neighbours bear the same label: a row for each kind of label."""
    return pd.DataFrame(
        [
            {
                "label": SAID[by],
                "share": found.value,
                "chance": found.chance,
                "greatest": found.greatest,
                "p": found.p_value,
                "points": found.points,
                "documents": found.documents,
            }
            for by, found in places.purities.items()
        ],
        columns=["label", "share", "chance", "greatest", "p", "points", "documents"],
    )


def purity_figure(places: Places, *, population: str) -> Figure:
    """What is said around the neighbours. Holds at least one purity."""
    parts = [
        f"{found.value:.0%} bear its own {SAID[by]} (chance {_percent(found.chance)}, at most {found.greatest:.0%})"
        for by, found in places.purities.items()
    ]
    beyond = all(found.p_value <= 0.05 for found in places.purities.values())
    one = places.kind.removesuffix("s")
    points = max(found.points for found in places.purities.values())
    return Figure(
        key="map-purity",
        takeaway=f"Of a {one}'s 10 nearest by routing, in other documents, {'; '.join(parts)}.",
        population=population if points == len(places.frame) else f"{population}; {points:,} {places.kind} drawn",
        unit="share of the nearest neighbours",
        null="chance: the mean over 200 shuffles of the labels among documents (of words: within each document)",
        badge="beyond null" if beyond else "observed",
        says=(
            ("Neighbours", "counted in the original space of all experts, never on the plane"),
            (
                "Not this",
                "a proof that experts know domains: what the same words explain, the label explains too. Read the "
                "token id, the language and the domain beside each other, each against its own chance",
            ),
        ),
        body=(Chart(purity_plot(places)),),
        frame=lambda: purity_frame(places),
    )


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def purity_plot(places: Places) -> go.Figure:
    """Each kind of label: what is, what chance gives, and what could be at most."""
    frame = purity_frame(places)
    shown = plot("", "share of neighbours", height=260)
    shown.update_yaxes(range=[0, 1.04], tickformat=".0%")
    marks = (
        ("neighbours", "share", {"color": A, "size": 12, "symbol": "circle"}),
        ("chance", "chance", {"color": NULL, "size": 12, "symbol": "line-ew", "line": {"width": 3, "color": NULL}}),
        ("at most", "greatest", {"color": NULL, "size": 9, "symbol": "triangle-down-open"}),
    )
    for name, column, marker in marks:
        shown.add_scatter(
            x=frame["label"], y=frame[column].to_numpy(np.float32), name=name, mode="markers", marker=marker
        )
    return shown
