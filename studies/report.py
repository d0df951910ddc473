"""A study as one page of HTML that needs nothing but itself: what was measured, on what, with figures.

Figures, the library that draws them and the words of experts are packed into one script of the page, which is a tenth
of their size; each figure is drawn when it comes into sight.
"""

import base64
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from gatescope.analysis.labels.common_support import CommonSupport
from gatescope.analysis.labels.profiles import OTHER
from gatescope.analysis.registry import AXES, METRICS, Result
from gatescope.routing.groups import layer_names
from gatescope.routing.record import Provenance
from gatescope.studies.compute import Study, Supported
from gatescope.studies.wholeness import part_of

STYLE = """
:root { color-scheme: light dark; --ink: #1a1f2b; --soft: #5b6472; --line: #d5d9e0; --page: #fff; --mark: #fff6dd; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaee; --soft: #a3abb8; --line: #343b47; --page: #0e1117; --mark: #33290f; } }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1rem 4rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; } h2 { margin-top: 2.6rem; font-size: 1.25rem; } p.soft, td.soft, small { color: var(--soft); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; } .scroll { overflow-x: auto; }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.contents { columns: 17rem; column-gap: 2rem; font-size: .9rem; padding-left: 1.1rem; }
.contents li { break-inside: avoid; overflow-wrap: anywhere; } a { color: inherit; }
.figure { height: 380px; }
.warning { background: var(--mark); padding: .5rem .8rem; border-radius: .4rem; margin: .4rem 0; }
"""
CONFIG = {"displaylogo": False, "responsive": True}
INK = "#7f8794"
COLOURS = ["#3b6fb6", "#c8643c", "#3d8f6b", "#8a5aa8", "#b08a1e", "#b0476f", "#4a9fb0", "#7a7f3a"]
MOST_LINES = 16
ENOUGH = 0.1
"""Share of a label's assignments that shared words must cover before the page speaks of them."""


LOADER = """
(async () => {
  const packed = document.getElementById("packed").textContent.trim();
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const page = JSON.parse(await new Response(plain).text());
  const library = document.createElement("script");
  library.textContent = page.library;
  document.head.append(library);
  const draw = (place) => {
    sight.unobserve(place);
    const { data, layout } = page.figures[Number(place.dataset.figure)];
    Plotly.newPlot(place, data, { ...layout, template: page.template }, page.config);
  };
  const sight = new IntersectionObserver(
    (seen) => seen.filter((each) => each.isIntersecting).forEach((each) => draw(each.target)),
    { rootMargin: "600px" },
  );
  const places = [...document.querySelectorAll("[data-figure]")];
  places.forEach((place) => sight.observe(place));
  addEventListener("beforeprint", () => places.filter((place) => !place.childElementCount).forEach(draw));
  for (const part of document.querySelectorAll("[data-words]"))
    part.addEventListener("toggle", () => {
      const table = part.querySelector("table");
      if (part.open && !table.rows.length) table.innerHTML = page.words[Number(part.dataset.words)];
    });
})();
"""


class _Packed:
    """What a page shows when it is looked at: figures, and the words of layers as rows of a table."""

    def __init__(self) -> None:
        self.figures: list[Mapping[str, Any]] = []
        self.words: list[str] = []

    def script(self) -> str:
        """All of it, with the library that draws, as text that a browser unpacks."""
        content = {
            "library": get_plotlyjs(),
            "template": plotly.io.templates[plotly.io.templates.default].to_plotly_json(),
            "config": CONFIG,
            "figures": self.figures,
            "words": self.words,
        }
        packed = gzip.compress(json.dumps(content).encode(), compresslevel=6, mtime=0)
        return f'<script id="packed" type="application/gzip">{base64.b64encode(packed).decode()}</script>'


def report(study: Study, about: Mapping[str, Any]) -> str:
    """The whole page."""
    packed = _Packed()
    body = [
        _head(about),
        _warned(study),
        _composition(study),
        _contents(study),
        _near(study, packed),
        *_figures(study, packed),
        _words(study, packed),
        _skipped(about),
    ]
    title = f"{about['model']} on {about['corpus']}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
        f"<noscript><p class=warning>The figures of this page need JavaScript.</p></noscript>{''.join(body)}"
        f"{packed.script()}<script>{LOADER}</script></body></html>"
    )


def _head(about: Mapping[str, Any]) -> str:
    made, tokens = about["provenance"], about["tokens"]
    changed, is_simulated = Provenance(**made).intervention, Provenance(**made).is_simulated
    labels = "; ".join(_counted(name, counts) for name, counts in about["labels"].items())
    facts = {
        **({"preset": about["preset"]} if about["preset"] else {}),
        "model": f"{made['model']} · {made['fingerprint']} · {made['dtype']} · {made['device']}",
        **({"simulated": "no model made these routes: they were drawn at random"} if is_simulated else {}),
        **({"intervention": f"the routes are not the model's own: {changed}"} if changed else {}),
        "corpus": f"{about['corpus']}: {about['documents']:,} documents, {sum(tokens.values()):,} tokens "
        f"({tokens['prompt']:,} prompt, {tokens['generated']:,} generated, {tokens['format']:,} special or template)",
        "labels": labels,
        "asked": f"{about['asked']['resamples']:,} resamples of documents, seed {about['asked']['seed']}",
        "versions": ", ".join(f"{name} {version}" for name, version in made["versions"].items()),
    }
    rows = "".join(f"<tr><th>{name}</th><td>{escape(text)}</td></tr>" for name, text in facts.items())
    return f"<h1>How {escape(about['model'])} routes {escape(about['corpus'])}</h1><table>{rows}</table>"


def _counted(name: str, counts: dict[str, int]) -> str:
    """Labels and how many documents have each."""
    content = ", ".join(f"{label or 'not content'}: {n:,}" for label, n in counts.items())
    return f"{len(counts)} {name}{'s' * (len(counts) != 1)} ({content})"


def _warned(study: Study) -> str:
    if not (study.warnings or study.lacks):
        return ""
    shown = f'<div class="warning">{escape(part_of(study.lacks))}</div>' if study.lacks else ""
    shown += "".join(
        f'<div class="warning">{escape(each.sentence)} <small>{escape(each.do)}</small></div>'
        for each in study.warnings
    )
    return f"<h2>Before you read on</h2>{shown}"


def _figures(study: Study, packed: _Packed) -> Iterator[str]:
    for (name, by), result in study.results.items():
        metric = METRICS[name]
        zero = np.where(np.isfinite(result.value), 0.0, np.nan)
        figure = _figure(study, metric.axes, replace(result, null=zero) if metric.is_excess else result)
        title = _title(name, by)
        null = f" Held against: {metric.null}." if metric.null else ""
        unit = "" if metric.unit == "1" else f" In {metric.unit}."
        content = f"{metric.meaning}{unit}{null} N = {result.tokens:,} tokens, {result.documents:,} documents."
        warned = "".join(f'<div class="warning">{escape(text)}</div>' for text in result.warnings)
        drawn = (
            "<p class=soft>Too many places to draw: see its table.</p>" if figure is None else _drawn(figure, packed)
        )
        source = f"<small>{escape(metric.source)}</small>"
        yield f'<h2 id="{name}-{by}">{escape(title)}</h2><p class=soft>{escape(content)}</p>{warned}{drawn}{source}'


def _title(name: str, by: str) -> str:
    return f"{METRICS[name].title}{f', by {by}' if by else ''}"


def _contents(study: Study) -> str:
    """Links to every figure."""
    links = "".join(f'<li><a href="#{name}-{by}">{escape(_title(name, by))}</a></li>' for name, by in study.results)
    return f"<h2>Figures</h2><ul class=contents>{links}</ul>"


def _drawn(figure: go.Figure, packed: _Packed) -> str:
    """A place for a figure, which is packed without its template."""
    figure.update_layout(
        height=380,
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": INK},
        colorway=COLOURS,
    )
    figure.update_xaxes(gridcolor="rgba(127,135,148,.2)", zeroline=False)
    figure.update_yaxes(gridcolor="rgba(127,135,148,.2)", zeroline=False)
    shown = json.loads(figure.to_json())
    shown["layout"].pop("template", None)
    packed.figures.append(shown)
    return f'<div class=figure data-figure="{len(packed.figures) - 1}"></div>'


def _figure(study: Study, axes: str, result: Result) -> go.Figure | None:
    """Lines over layers or over the other axis, or a map of layers and experts; None for more than two axes."""
    names = layer_names(study.tally.layers)
    if axes == "l":
        return _lines(names[: len(result.value)], {"": result.value}, result)
    if axes == "le":
        return go.Figure(
            go.Heatmap(z=_small(result.value), y=names, colorscale="Viridis", hoverongaps=False)
        ).update_layout(xaxis_title="expert", yaxis_title="layer")
    if len(axes) == 2 and axes[0] == "l":
        labels = result.labels.get(axes[1]) or (result.groups if axes[1] in "gh" else ())
        if axes[1] in "gc" and labels:
            values = {str(labels[at]): result.value[:, at] for at in range(min(len(labels), MOST_LINES))}
            return _lines(names, values, None)
        places = [str(label) for label in labels] or [str(at) for at in range(result.value.shape[1])]
        lines = {f"layer {names[at]}": result.value[at] for at in range(min(len(names), MOST_LINES))}
        return _lines(places, lines, None).update_layout(xaxis_title=AXES[axes[1]])
    return None


def _small(value: NDArray[np.float64]) -> NDArray[np.float32]:
    """Numbers as exact as a picture shows them."""
    return np.asarray(value, np.float32)


def _lines(places: list[str], values: dict[str, NDArray[np.float64]], result: Result | None) -> go.Figure:
    """One line for each name; with a result, its interval as a band and its null as a dotted line."""
    figure = go.Figure()
    if result is not None and result.low is not None and result.high is not None:
        figure.add_scatter(
            x=places, y=_small(result.high), mode="lines", line_width=0, showlegend=False, hoverinfo="skip"
        )
        figure.add_scatter(
            x=places,
            y=_small(result.low),
            mode="lines",
            fill="tonexty",
            line_width=0,
            name="95 % interval",
            fillcolor="rgba(59,111,182,.25)",
        )
    for name, value in values.items():
        figure.add_scatter(x=places, y=_small(value), mode="lines+markers", name=name or "value")
    if result is not None and result.null is not None:
        null = np.broadcast_to(result.null, result.value.shape)
        figure.add_scatter(x=places, y=_small(null), name="chance", line={"dash": "dot", "color": INK})
    return figure.update_layout(xaxis_title="layer", xaxis_type="category")


def _composition(study: Study) -> str:
    """What the words alone explain, layer by layer."""
    parts = []
    for by, (tokens, layers) in study.composition.items():
        rows = "".join(
            f"<tr><td>{number}</td><td>{layer.label.excess_bits:.3f}</td><td>{layer.label.p_value:.4f}</td>"
            f"<td>{layer.words.excess_bits:.3f}</td><td>{layer.share_excess:.0%}</td>"
            f"<td>{layer.given_words.excess_bits:.3f}</td><td>{layer.covered:.0%}</td></tr>"
            for number, layer in enumerate(layers)
        )
        heads = "layer", "bits", "p", "by words", "share", "at the same word", "covered"
        parts.append(
            f"<h2>Is it the {by}, or its words?</h2><p class=soft>Bits that experts tell about the {by} beyond labels "
            f"shuffled among documents of one {OTHER[by]}; what the words alone would tell; and what is left at the "
            f"same word, over the covered share of the assignments. N = {tokens:,} tokens.</p><div class=scroll><table>"
            f"<tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>{rows}</table></div>"
            f"<p>{escape(_supported(by, study.common_support[by]))}</p>"
        )
    return "".join(parts)


def _supported(by: str, found: Supported) -> str:
    """What is left under one mix of words: of all labels together where they share enough words, and of every two."""
    text = f"All {len(found.names)} {by}s share too few words to be compared under one mix of them."
    together = [layer for layer in found.layers if layer.least_covered >= ENOUGH]
    if together:
        text = f"Given one mix of the words that all {len(found.names)} {by}s share, {_left(together)}."
    pairs = [[layer for layer in pair.layers if layer.least_covered >= ENOUGH] for pair in found.pairs]
    if any(pairs):
        some = f"{sum(map(bool, pairs))} of {len(pairs)} pairs share enough"
        text += f" Two {by}s at a time ({some}), {_left([layer for layers in pairs for layer in layers])}."
    return f"{text} Enough is {ENOUGH:.0%} of the assignments of each."


def _left(known: list[CommonSupport]) -> str:
    """How much words cover and what is left, averaged over layers, and over pairs of labels."""
    covered = float(np.mean([each.covered for each in known]))
    raw, left = (
        float(np.mean([getattr(each, name).excess_bits for each in known])) for name in ("raw", "standardised")
    )
    found = sum(each.standardised.p_value <= 0.05 for each in known)
    return (
        f"{left:.3f} of {raw:.3f} bits beyond chance are left on average, over {covered:.0%} of the assignments; "
        f"p is at most 0.05 in {found} of {len(known)} cases, by chance in about {0.05 * len(known):.1f}"
    )


def _near(study: Study, packed: _Packed) -> str:
    """Documents on a plane by their routing, and whose neighbours bear their label."""
    if study.near is None:
        return ""
    figure = go.Figure()
    rows_of = study.near.purities.query("of == 'documents'") if len(study.near.purities) else study.near.purities
    by = max(rows_of.to_dict("records"), key=lambda row: row["value"] - row["null"], default={"label": "domain"})[
        "label"
    ]
    for label, own in study.near.places.groupby(by):
        figure.add_scatter(x=own["first"], y=own["second"], mode="markers", name=str(label) or "not said", opacity=0.75)
    rows = "".join(
        f"<tr><td>{row['of']}</td><td>{row['layer']}</td><td>{row['label']}</td><td>{row['value']:.0%}</td>"
        f"<td>{row['null']:.0%}</td><td>{row['p']:.3f}</td></tr>"
        for row in study.near.purities.to_dict("records")
    )
    heads = "".join(f"<th>{head}</th>" for head in ("of", "layer", "label", "the same", "by chance", "p"))
    return (
        f"<h2>Who is near whom</h2><p class=soft>Documents by how they spread over the experts of all layers, along "
        f"the two directions in which they differ most. Below, how many of the ten nearest neighbours from other "
        f"documents bear the same label: read domain, language and word beside each other.</p>{_drawn(figure, packed)}"
        f"<div class=scroll><table><tr>{heads}</tr>{rows}</table></div>"
    )


def _words(study: Study, packed: _Packed) -> str:
    """The words of every expert, layer by layer, folded up."""
    parts = []
    for name, experts in zip(layer_names(study.tally.layers), study.words, strict=False):
        rows = "".join(
            f"<tr><td>{expert}</td><td>{' · '.join(_shown(word.piece) for word in words)}</td></tr>"
            for expert, words in enumerate(experts)
            if words
        )
        packed.words.append(rows)
        numbered = f"data-words={len(packed.words) - 1}"
        parts.append(f"<details {numbered}><summary>Layer {escape(name)}</summary><table></table></details>")
    content = "The words most characteristic of each expert, by shrunken log-odds; not what the expert is for."
    return f"<h2>Words of the experts</h2><p class=soft>{content}</p>{''.join(parts)}" if parts else ""


def _shown(piece: str) -> str:
    """A token so that spaces and breaks are seen."""
    return f"<code><bdi>{escape(piece.replace(' ', '␣').replace(chr(10), '↵'))}</bdi></code>"


def _skipped(about: Mapping[str, Any]) -> str:
    if not about["skipped"]:
        return ""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(reason)}</td></tr>" for name, reason in about["skipped"].items()
    )
    return f"<h2>Not computed</h2><table>{rows}</table>"
