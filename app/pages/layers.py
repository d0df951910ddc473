"""How the work of a corpus is spread over experts, layer by layer."""

import numpy as np

from app.components import Pick, Scale, matrix
from app.figures.plots import NULL, A, add_line, plot
from app.sections import address
from app.sections.figure import Words, answering, chart, code_for, figure
from app.sections.looking import Page, open_page
from app.sections.messages import show_error
from app.sources import measure
from routing.errors import GatescopeError
from routing.groups import layer_names

PAGE = {
    "title": "Layers",
    "icon": ":material/layers:",
    "help": "How evenly each layer spreads its work over its experts, and which experts are hot, cold or dead.",
    "order": 40,
    "group": "Measure",
}


def main() -> None:
    """The page from top to bottom."""
    page = open_page("How is the work spread, layer by layer?", wants="corpus")
    if page is not None:
        _load(page)
        _gini(page)


def _load(page: Page) -> None:
    question = "Which experts get more than their share?"
    with answering(question):
        load = measure(page.source, "relative_load", scope=page.scope)
        busiest = np.unravel_index(np.nanargmax(load.value), load.value.shape)
        words = Words(
            question=question,
            takeaway=f"Busiest: expert {busiest[1]} of layer {busiest[0]}, {load.value[busiest]:.1f} times its share.",
            population=page.population,
            unit="multiple of an even share",
            null="1: an even router",
            badge="observed",
            metric="relative_load",
        )
        with figure(words, key="load", code=code_for(page.source, "relative_load")):
            matrix(
                load.value,
                rows=layer_names(page.source.record.layers),
                columns=None,
                scale=Scale.of(
                    load.value, "load over an even share", unit="×", palette="diverging", null=1.0, pool="far"
                ),
                pinned=None if page.view.expert is None else Pick(page.view.layer, page.view.expert),
                key="load",
                description=words.takeaway,
                on_pick=_pin,
            )


def _gini(page: Page) -> None:
    question = "How unequal are the experts of each layer?"
    with answering(question):
        gini = measure(page.source, "load_gini", scope=page.scope)
        words = Words(
            question=question,
            takeaway=f"From {np.nanmin(gini.value):.2f} to {np.nanmax(gini.value):.2f} over the layers.",
            population=page.population,
            metric="load_gini",
        )
        with figure(words, key="gini", is_chart=True, code=code_for(page.source, "load_gini")):
            shown = plot("layer", "Gini coefficient of the load")
            names = layer_names(page.source.record.layers)
            add_line(shown, names, gini.value, name="A", ink=A, low=gini.low, high=gini.high)
            if gini.null is not None:
                add_line(shown, names, gini.null, name="chance", ink=NULL)
            chart(shown, words, key="gini-chart")


def _pin(pick: Pick | None) -> None:
    layer, expert = (None, None) if pick is None else (pick.row, pick.column)
    address.change(layer=layer, expert=expert)


try:
    main()
except GatescopeError as error:
    show_error(error)
