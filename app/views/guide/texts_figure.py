"""What the guide tells: mechanisms and where to see them, keys, and every metric of the registry. Texts of our own."""

from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd

from gatescope.analysis.registry import AXES, METRICS, Metric
from gatescope.app.charts.figure import Figure, Html
from gatescope.app.charts.glossary import MECHANISMS, TOPICS, topic_of
from gatescope.routing.router import RouterRule

Ways = Mapping[str, str]
"""The address of each page by its name."""

CODE = "from gatescope.analysis.metrics import METRICS\n\nmeasures = list(METRICS.values())"

GRAMMAR = (
    "Pointing previews and asks the server for nothing; a click or Enter pins; Esc releases.",
    "What is pinned (document, token, layer, expert, a range) stands in the address, goes along to every page, and "
    "comes back with the browser's Back. The address is a link to what you see.",
    "A is the capture shown, blue and solid; B the one it is compared with, orange and dashed; dotted grey is chance.",
    "Under every figure stands how many tokens it speaks of, the unit, and what chance alone gives. A badge says how "
    "far a claim goes: observed, beyond null, replicated or causal.",
    "A range of tokens, some documents or one kind of token (sidebar) narrow every number on every page.",
    "Hatched is unknown, never zero. × is a dead expert, ● a hot one.",
    "On the Prompt page, layers by experts stand beside the text: pointing at a token lights the experts that ran for "
    "it, a click on an expert lights the tokens it took, and Play steps through the text.",
)

KEYS = (
    ("← → ↑ ↓", "move the cursor"),
    ("Home, End", "to the first, the last column"),
    ("Enter", "pin the cell"),
    ("Esc", "release the expert, then the range, then the pin"),
    (". ,", "to the next, the previous token at which this layer's first expert changes"),
    ("n N", "to the next, the previous close call"),
    (
        "Shift + click, Shift + Enter",
        "a range, from the pin to here: every number on every page is then of this range",
    ),
    ("+ - 0", "zoom in, out, show all (or Ctrl and the wheel)"),
    ("f", "zoom to the pinned cell"),
    ("l", "to the Layers page, at this row"),
    ("p", "save as a picture"),
    ("Space", "on the Prompt page: play the text, or pause"),
    ("[ ]", "slower, faster"),
    ("On the experts: Enter", "light the tokens an expert took; once more: open its page"),
    ("?", "list the keys"),
    ("Ctrl + Enter", "in the text box: run"),
)

STYLE = """<style>
.guide { --faint: color-mix(in srgb, currentColor 16%, transparent); font: 400 .9375rem/1.5 var(--st-font);
  color: var(--st-text-color); }
.guide dl { margin: 0; padding: 0; } .guide p { margin: 0 0 .2rem; text-wrap: pretty; overflow-wrap: anywhere; }
.guide dl.words > div { padding: .5rem 0 .55rem; border-top: 1px solid var(--faint); }
.guide dl.words > div:first-child { border-top: 0; }
.guide dt { font-weight: 600; margin: 0; } .guide dd { margin: 0; overflow-wrap: anywhere; }
.guide a { display: inline-block; min-height: 24px; margin-right: 1rem; }
.guide .facts { display: grid; grid-template-columns: 8.5rem minmax(0, 1fr); gap: .1rem 1rem; font-size: .875rem; }
.guide .facts dt { font-weight: 400; opacity: .8; }
.guide details { border-top: 1px solid var(--faint); padding: .25rem 0; }
.guide h3 { font-size: 1rem; font-weight: 600; margin: 1rem 0 .2rem; padding: 0; }
.guide details[open] { padding-bottom: .7rem; }
.guide summary { cursor: pointer; min-height: 24px; padding: .15rem 0; overflow-wrap: anywhere; }
.guide summary:focus-visible { outline: 3px solid; outline-offset: 1px; }
.guide code { font-size: .8125rem; margin-left: .5rem; opacity: .85; white-space: normal; }
.guide kbd { border: 1px solid; border-radius: 4px; padding: 0 .35rem; font: inherit; font-size: .8125rem; }
.guide .keys { display: grid; grid-template-columns: minmax(6rem, max-content) minmax(0, 1fr); gap: .3rem 1rem; }
@media (max-width: 640px) { .guide .facts, .guide .keys { grid-template-columns: minmax(0, 1fr); gap: 0 }
  .guide .facts dd, .guide .keys dd { margin-bottom: .4rem } }
</style>"""


def keys_list() -> str:
    """The keys of a matrix."""
    rows = "".join(f"<dt><kbd>{escape(key)}</kbd></dt><dd>{escape(does)}</dd>" for key, does in KEYS)
    return f'{STYLE}<div class="guide"><dl class="keys">{rows}</dl></div>'


def glossary(ways: Ways, titles: dict[str, str], layers: Sequence[RouterRule], model: str) -> str:
    """Every mechanism, what the model has of it, and the pages where it is seen; `titles` names the pages there are."""
    rows = []
    for each in MECHANISMS:
        here = in_rules(each.name, layers)
        sentence = f"<p>In {escape(model)}: {escape(here)}.</p>" if here else ""
        links = "".join(
            f'<a href="{escape(ways[page])}">{escape(titles[page])}</a>' for page in each.pages if page in titles
        )
        rows.append(f"<div><dt>{escape(each.name)}</dt><dd><p>{escape(each.says)}</p>{sentence}{links}</dd></div>")
    return f'{STYLE}<div class="guide"><dl class="words">{"".join(rows)}</dl></div>'


def in_rules(mechanism: str, layers: Sequence[RouterRule]) -> str:
    """What a model's rules say of a mechanism; empty where rules say nothing of it."""
    rule = layers[0]
    known = {
        "Gate scores": f"{rule.score} over {rule.experts} experts",
        "Top-k": f"{rule.k} of {rule.experts}",
        "Shared experts": f"{rule.shared_experts} in each of {len(layers)} layers" if rule.shared_experts else "none",
        "Group-limited routing": f"{rule.groups_kept} of {rule.groups} groups" if rule.groups > 1 else "none",
        "Selection bias": "yes" if rule.has_selection_bias else "none",
        "Capacity and dropped tokens": f"a slot stays empty {rule.empty_when}" if rule.empty_when else "none",
    }
    return known.get(mechanism, "")


def found_metrics(search: str) -> list[Metric]:
    """The metrics in which every word of a search occurs, in whatever is said of them; all for no words."""
    wanted = search.casefold().split()
    return [metric for metric in METRICS.values() if all(word in _searched(metric) for word in wanted)]


def metrics_list(metrics: Sequence[Metric], ways: Ways, titles: dict[str, str]) -> str:
    """Metrics by topic, each to unfold."""
    topics = dict.fromkeys(map(topic_of, metrics))
    parts = (
        f"<h3>{escape(topic.capitalize())}</h3>"
        + "".join(_metric(metric, ways, titles) for metric in metrics if topic_of(metric) == topic)
        for topic in topics
    )
    return f'{STYLE}<div class="guide">{"".join(parts)}</div>'


def metrics_frame(metrics: Sequence[Metric]) -> pd.DataFrame:
    """Metrics as a table, one a row."""
    rows = [{"name": metric.name, "topic": topic_of(metric), **_facts(metric)} for metric in metrics]
    frame = pd.DataFrame(rows, columns=["name", "topic", *_FACTS])
    return frame.astype("category")


_FACTS = ("title", "meaning", "unit", "range", "for each", "by", "chance", "an even router", "needs", "source", "page")


def _facts(metric: Metric) -> dict[str, str]:
    least, greatest = (f"{end:g}" if end is not None else "…" for end in metric.range)
    sentence = (
        metric.title,
        metric.meaning,
        metric.unit,
        f"{least} to {greatest}",
        " × ".join(AXES[letter] for letter in metric.axes) or "the whole",
        " or ".join(filter(None, metric.by)),
        metric.null,
        metric.uniform,
        ", ".join(metric.needs),
        metric.source,
        TOPICS[topic_of(metric)],
    )
    return dict(zip(_FACTS, sentence, strict=True))


def _searched(metric: Metric) -> str:
    return " ".join([metric.name, topic_of(metric), *_facts(metric).values()]).casefold()


def _metric(metric: Metric, ways: Ways, titles: dict[str, str]) -> str:
    facts = _facts(metric)
    page = facts.pop("page")
    shown = {name: text for name, text in facts.items() if text and name not in ("title", "meaning")}
    rows = "".join(f"<dt>{escape(name.capitalize())}</dt><dd>{escape(text)}</dd>" for name, text in shown.items())
    way = f'<a href="{escape(ways[page])}">See it: {escape(titles[page])}</a>' if page in titles else ""
    title = f"<summary>{escape(metric.title)}<code>{escape(metric.name)}</code></summary>"
    return f'<details>{title}<p>{escape(metric.meaning)}</p><dl class="facts">{rows}</dl>{way}</details>'


def measures(sought: str, ways: Ways, titles: dict[str, str]) -> Figure:
    """Every measure there is, or those that fit what is sought; `ways` are the addresses of pages."""
    found = found_metrics(sought)
    fit = " fit" if sought else ""
    return Figure(
        key="measures",
        takeaway=f"{len(found)} of {len(METRICS)} measures{fit}, each with its unit, range, null and source.",
        body=(Html(metrics_list(found, ways, titles), "guide-measures"),),
        frame=lambda: metrics_frame(found),
        code=CODE,
    )
