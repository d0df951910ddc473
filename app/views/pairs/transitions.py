"""From layer to layer on the page: the steps of one expert's tokens, and the paths through all layers."""

from gatescope.app.components import matrix
from gatescope.app.shell.figure import Words, answering, chart, figure
from gatescope.app.shell.layer_charts import notes, of_b, population
from gatescope.app.shell.page import Page, headline
from gatescope.app.views.pairs.transitions_figure import (
    coverage_frame,
    coverage_scale,
    coverage_takeaway,
    same_frame,
    same_plot,
    same_takeaway,
    step_frame,
    step_from,
    step_plot,
    step_takeaway,
)
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names
from gatescope.server.measures import measure


def show_step(page: Page, layer: int, expert: int) -> None:
    """Where the tokens of one expert go in the next layer."""
    question = f"Where do the tokens of expert {expert} go next?"
    with answering(question):
        rules = page.source.record.layers
        if layer + 1 >= len(rules):
            raise OptionError(
                f"layer {layer} is the last one", expected="a layer with one after it", do="choose an earlier layer"
            )
        found = measure(page.source, "transition_share", scope=page.scope)
        names, ends = layer_names(rules), (rules[layer], rules[layer + 1])
        if expert >= ends[0].experts:
            raise OptionError(f"no expert {expert} in layer {layer}", expected="one of its own", do="choose another")
        step = step_from(found, *ends, expert)
        words = Words(
            question=question,
            takeaway=step_takeaway(step, expert, names[layer], names[layer + 1]),
            population=page.population,
            unit="share of the tokens whose first choice it is",
            null="chance: the next layer's first choices of all tokens; blue bands are 1.5 times that and more",
            badge="observed",
            metric="transition_share",
        )
        with figure(
            words,
            key="step",
            is_chart=True,
            at={"layer": layer, "expert": expert},
            frame=lambda: step_frame(found, *ends, expert),
        ):
            chart(step_plot(step, expert), words, key="step-chart")
            notes(found.warnings)


def show_coverage(page: Page) -> None:
    """How many paths carry how many of the tokens."""
    question = "How many paths carry the tokens?"
    with answering(question):
        found, count = (measure(page.source, name, scope=page.scope) for name in ("path_coverage", "path_count"))
        words = Words(
            question=question,
            takeaway=coverage_takeaway(found, count),
            population=page.population,
            unit="share of tokens, by first choices",
            badge="observed",
            metric="path_coverage",
        )
        with figure(words, key="coverage", frame=lambda: coverage_frame(found)):
            matrix(
                found.value,
                rows=found.labels["w"],
                columns=found.labels["r"],
                row_noun="through",
                column_noun="paths",
                scale=coverage_scale(),
                pinned=None,
                key="coverage-matrix",
                description=words.takeaway,
                attribution=headline(page.source),
            )
            notes(found.warnings)


def show_same_path(page: Page) -> None:
    """How likely two tokens take one path, beside layers that do not know of each other."""
    question = "Do layers follow one another?"
    with answering(question):
        found, other = measure(page.source, "same_path", scope=page.scope), of_b(page, "same_path")
        lines = [("A", found), *([] if other is None else [(other[0].name, other[1])])]
        words = Words(
            question=question,
            takeaway=same_takeaway(found),
            population=population(page),
            unit="probability that two tokens take one path",
            null="dotted: layers independent of each other, with their own loads",
            badge="observed",
            metric="same_path",
        )
        with figure(words, key="same", is_chart=True, frame=lambda: same_frame(lines)):
            chart(same_plot(lines), words, key="same-chart")
            notes(found.warnings)
