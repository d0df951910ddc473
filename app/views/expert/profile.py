"""What one expert works on, and with whom: groups, places, classes of token, partners, before and after."""

import streamlit as st

from gatescope.analysis.comparison.expert_flow import flows, place_load
from gatescope.app.components.links import linked
from gatescope.app.shell import address
from gatescope.app.shell.figure import answering, chart, figure
from gatescope.app.shell.links import linker
from gatescope.app.shell.page import Page
from gatescope.app.views.expert import coactivation_figure as partners
from gatescope.app.views.expert import groups_figure as groups
from gatescope.app.views.expert.choice import Chosen
from gatescope.app.views.expert.texts import population
from gatescope.routing.errors import OptionError
from gatescope.server.measures import call, measure
from gatescope.server.sources import counted
from gatescope.server.view import LABELS


def work(page: Page, chosen: Chosen) -> None:
    """Domains or languages, places in the document, classes of token."""
    _groups(page, chosen)
    left, right = st.columns(2, gap="medium")
    with left:
        _places(page, chosen)
    with right:
        _classes(page, chosen)


def around(page: Page, chosen: Chosen) -> None:
    """Partners, and what comes before and after."""
    to_expert = linker("expert")

    def href(layer: int, expert: int | None) -> str:
        return to_expert(layer=layer, expert=expert)

    left, right = st.columns(2, gap="medium")
    with left:
        _partners(page, chosen, href)
    with right:
        _flow(page, chosen, href)


def _groups(page: Page, chosen: Chosen) -> None:
    by = page.view.by
    with answering(groups.groups_question(by)):
        _check_labels(page, by)
        share = measure(page.source, "token_share_of_group", by=by, scope=page.scope)
        lean = measure(page.source, "usage_difference", by=by, scope=page.scope)
        frame = groups.groups_frame(share, lean, chosen.layer, chosen.expert)
        rule = page.source.record.layers[chosen.layer]
        load = measure(page.source, "relative_load", scope=page.scope).value[chosen.layer, chosen.expert]
        whole = float(load) * rule.k / rule.experts
        words = groups.groups_words(frame, by, whole, page.population)
        with figure(words, key="groups", is_chart=True, at=chosen.place, frame=lambda: frame):
            _by(by)
            chart(groups.groups_plot(frame, whole), words, key="groups-chart")


def _check_labels(page: Page, by: str) -> None:
    if not any(getattr(document, by) for document in counted(page.source, page.scope).documents):
        raise OptionError(
            f"no document says its {by}",
            expected=f"texts labelled with a {by}",
            do="choose such a corpus as A in the side column, such as the probe set",
        )


def _by(by: str) -> None:
    st.session_state["expert-by"] = by
    st.segmented_control(
        "Groups by", LABELS, key="expert-by", required=True, on_change=_take_by, label_visibility="collapsed"
    )


def _take_by() -> None:
    address.change(by=st.session_state["expert-by"])


def _places(page: Page, chosen: Chosen) -> None:
    with answering(groups.PLACE):
        found = call(page.source, page.scope, place_load, chosen.layer, chosen.expert)
        frame = groups.places_frame(found)
        words = groups.places_words(frame, found, page.population)
        with figure(words, key="places", is_chart=True, at=chosen.place, frame=lambda: frame):
            chart(groups.places_plot(frame, found), words, key="places-chart")


def _classes(page: Page, chosen: Chosen) -> None:
    with answering(groups.CLASS):
        found = measure(page.source, "class_load", scope=page.scope)
        frame = groups.classes_frame(found, chosen.layer, chosen.expert)
        words = groups.classes_words(frame, page.population)
        with figure(words, key="classes", is_chart=True, frame=lambda: frame, at=chosen.place):
            chart(groups.classes_plot(frame), words, key="classes-chart")


def _partners(page: Page, chosen: Chosen, href: partners.Href) -> None:
    with answering(partners.PARTNERS):
        lift, support = (
            measure(page.source, name, scope=page.scope) for name in ("coactivation_lift", "coactivation_support")
        )
        frame = partners.partners_frame(lift, support, chosen.layer, chosen.expert)
        are_some = lift.places is not None
        words = partners.partners_words(frame, page.population, lift.warnings if are_some else (), are_some=are_some)
        with figure(words, key="partners", at=chosen.place, frame=lambda: frame):
            html = partners.partners_html(frame, chosen.layer, href)
            linked(html, key="partners-html", on_follow=address.visit_link)


def _flow(page: Page, chosen: Chosen, href: partners.Href) -> None:
    with answering(partners.FLOW):
        before, after = call(page.source, page.scope, flows, chosen.layer, chosen.expert, to="before, after")
        words = partners.flow_words(before, after, population(page, chosen))
        with figure(words, key="flow", at=chosen.place, frame=lambda: partners.flow_frame(before, after)):
            for name, flow in (("Before, layer", before), ("After, layer", after)):
                if flow is not None:
                    html = partners.flow_html(flow, f"{name} {flow.layer}", href)
                    linked(html, key=f"flow-{name}", on_follow=address.visit_link)
